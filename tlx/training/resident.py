"""Activations that a device holds as a whole, and an epoch of a head's training that runs there."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from tlx.data.pipeline import Feed, rows_of_epoch
from tlx.models.head import Head
from tlx.models.staged import StagedModel
from tlx.training.activations import Activations
from tlx.training.cache_parts import Frozen, on_disk
from tlx.training.programs import Program
from tlx.training.state import EpochFunction, TrainState
from tlx.tree.paths import Tree

MOST = 1 << 30  # bytes
PIECE = 500  # steps that the device takes before the host is asked whether to go on


def fits(model: StagedModel, after: str | None, count: int, example: Tree, accumulate: int = 1) -> bool:
    """Tell whether a head alone trains after a stage, and on so little that the device may hold it all.

    A head that drops, and is told to take its batches in parts, drops for each part: it trains as from raw inputs.
    """
    head_alone = isinstance(model.head, Head) and after == model.base.stage_names[-1]
    if not head_alone or (accumulate > 1 and model.head.dropout):
        return False
    each: int = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(example))
    return count * each <= MOST


@dataclass(frozen=True)
class Resident:
    """What a head trains on: all views of all examples, one after the other, on the device."""

    activations: Activations
    examples: dict[str, Any]
    epoch: EpochFunction
    orders: dict[int, Any] = field(default_factory=dict)  # made while the device was busy with the epoch before

    @classmethod
    def of(cls, program: Program, kept: Frozen) -> "Resident | None":
        """Move them to the device, or return None where more than a head trains or they are too large."""
        train, options = kept.train, program.options
        if train is None or train.sizes is not None:  # or each text is of another length
            return None
        shapes = jax.tree.map(lambda rows: jax.ShapeDtypeStruct(rows.shape[2:], rows.dtype), train.rows)
        example = jax.eval_shape(train.spec.on_device, shapes)
        given = (program.model, train.after, train.views * len(train), example, options.accumulate)
        if on_disk(train) or not fits(*given):
            return None
        order = slice(None) if train.places is None else train.places.of_example
        flat = jax.tree.map(lambda rows: rows[:, order].reshape(-1, *rows.shape[2:]), train.rows)
        columns = {name: np.concatenate([column] * train.views) for name, column in train.columns.items()}
        return cls(train, options.placement.replicated({"input": flat, **columns}), program.epoch)

    def steps(
        self, state: TrainState, frozen: Tree, feed: Feed, epoch: int, first: int
    ) -> Iterator[tuple[TrainState, int]]:
        """Take the steps of an epoch from `first` on, in the order of `tlx.data.batches`; yield how many are done."""
        rows, mask = self.orders.pop(epoch, None) or self._order(feed, epoch)
        while first < len(rows):
            end = min(first + PIECE, len(rows))
            state = self.epoch(state, frozen, self.examples, rows, mask, np.int32(first), np.int32(end))
            if end == len(rows):
                self.orders[epoch + 1] = self._order(feed, epoch + 1)
            yield state, end
            first = end

    def _order(self, feed: Feed, epoch: int) -> tuple[np.ndarray, np.ndarray | None]:
        rows, mask = rows_of_epoch(self.activations, feed, epoch)
        return rows + np.int32(len(self.activations) * self.activations.of_epoch(epoch).view), mask
