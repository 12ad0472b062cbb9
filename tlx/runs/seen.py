"""What is kept of test examples while they are tested, so that none is decoded again to be interpreted."""

import heapq
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np

from tlx.data import Batch, Source
from tlx.data.inputs import Showable
from tlx.devices import hosts
from tlx.objectives import Classification, TokenClassification
from tlx.presets.pretrained import Pretrained
from tlx.training.features import features_of
from tlx.tree.paths import Tree

MISTAKES = 24  # most confident mistakes that a run keeps
MAPPED = 1000  # examples on the map at most; as many take t-SNE about two seconds
_TOGETHER = 64  # inputs that go through the base at once


@dataclass
class Seen:
    """Keep the most confident mistakes, and the features of evenly spread examples, of batches tested.

    It is called with each batch (`Watch`). `mistakes` has frames (height, width, channels) uint8
    by row, `features` (M, D) float32 those of the `rows` that the map shows.
    """

    trained: Pretrained
    rows: np.ndarray
    mistakes: dict[int, np.ndarray] = field(default_factory=dict)
    _worst: list[tuple[float, int]] = field(default_factory=list)  # a heap of (confidence, -row), the least first
    _inputs: list[Tree] = field(default_factory=list)  # of rows whose features are still to be computed
    _numbers: list[int] = field(default_factory=list)  # of the examples, as they came
    _features: list[np.ndarray] = field(default_factory=list)

    @classmethod
    def of(cls, trained: Pretrained, source: Source, *, interpret: bool) -> "Seen | None":
        """Begin to look at a source's examples; None where there is nothing to keep.

        That is where several hosts share them, and none sees them all, and where the words of texts are tagged.
        """
        if hosts.count() > 1 or isinstance(trained.objective, TokenClassification):
            return None
        trained = replace(trained, variables=jax.device_put(trained.variables))
        return cls(trained, mapped_rows(len(source)) if interpret else np.zeros(0, np.int64))

    def __call__(self, numbers: np.ndarray, batch: Batch, predictions: Any) -> None:
        if isinstance(predictions, dict):
            return
        if isinstance(self.trained.objective, Classification) and "target" in batch:
            self._keep_mistakes(numbers, batch, predictions)
        for row in np.flatnonzero(np.isin(numbers, self.rows)).tolist():
            self._inputs.append(jax.tree.map(lambda leaf, row=row: leaf[row], batch["input"]))
            self._numbers.append(int(numbers[row]))
        while len(self._inputs) >= _TOGETHER:
            self._compute()

    def _keep_mistakes(self, numbers: np.ndarray, batch: Batch, predictions: np.ndarray) -> None:
        frames, labels = batch["input"], np.asarray(batch["target"])[: len(predictions)]
        if not isinstance(self.trained.preprocess, Showable) or frames.dtype != np.uint8:
            return  # floats are prepared for the network already, and lie in memory as they were
        labels = labels if labels.ndim == 1 else labels.argmax(-1)
        confidence = predictions.max(-1)
        for row in np.flatnonzero(predictions.argmax(-1) != labels).tolist():
            entry = (float(confidence[row]), -int(numbers[row]))
            if len(self._worst) < MISTAKES:
                heapq.heappush(self._worst, entry)
            elif entry > self._worst[0]:
                del self.mistakes[-heapq.heapreplace(self._worst, entry)[1]]
            else:
                continue
            self.mistakes[int(numbers[row])] = frames[row].copy()  # of its own, and not a view of the batch

    def _compute(self) -> None:
        inputs, self._inputs = self._inputs[:_TOGETHER], self._inputs[_TOGETHER:]
        size = min(_TOGETHER, len(self.rows))
        filled = inputs + inputs[:1] * (size - len(inputs))  # so that one shape is compiled
        trained = self.trained
        stack: Any = getattr(trained.preprocess, "stack", lambda trees: jax.tree.map(lambda *x: np.stack(x), *trees))
        collated = stack(filled)
        pieces = (trained.model, trained.variables, trained.preprocess, collated)
        self._features.append(features_of(*pieces, pool=trained.config.pool)[: len(inputs)])

    def features(self) -> np.ndarray:
        """Return the features of `rows`, once all batches were seen."""
        while self._inputs:
            self._compute()
        places = np.argsort(self._numbers, kind="stable")
        found: np.ndarray = np.concatenate(self._features)[places]
        return found


def mapped_rows(count: int) -> np.ndarray:
    """Return the rows that the map shows: all, or as many as it can show, evenly spread.

    >>> mapped_rows(3).tolist(), len(mapped_rows(5000))
    ([0, 1, 2], 1000)
    """
    return np.linspace(0, count - 1, min(count, MAPPED)).round().astype(np.int64)
