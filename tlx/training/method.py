"""How the steps of a phase train: the forward pass, a part's gradient, and the update."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from tlx.data.inputs import InputSpec
from tlx.devices.parallel import ONE, Placement
from tlx.images.mix import Mixup
from tlx.models.frozen import run_frozen
from tlx.models.staged import StagedModel
from tlx.objectives.objective import Objective, Sums, checked_terms, mean_of, sums_of
from tlx.training.evaluate import start_after
from tlx.training.state import TrainState
from tlx.tree.partition import combine
from tlx.tree.paths import Tree


@dataclass(frozen=True)
class StepOptions:
    """What a step does beside the gradient of its objective.

    Args:
        spec: the device half of it turns `batch["input"]` into what the model takes; None where it is that already.
        mix: mixes the model's inputs in pairs.
        stored_norms: batch norms run on their stored statistics.
        after: `batch["input"]` is what this stage returns, and no stage up to it runs.
        accumulate: a batch goes through the model in so many parts, which must divide it.
        ema: the state's `average` follows the parameters: average += (1 - decay) * (params - average), the decay being
            `ema`, but at most (1 + step) / (10 + step), so that a short phase is not all beginning (as TensorFlow's
            `ExponentialMovingAverage` with `num_updates`).
        placement: on which devices.
    """

    spec: InputSpec | None = None
    mix: Mixup = field(default_factory=Mixup)
    stored_norms: bool = False
    after: str | None = None
    accumulate: int = 1
    ema: float | None = None
    placement: Placement = ONE


@dataclass(frozen=True, eq=False)
class Method:
    """What all kinds of steps have in common: a Linen module of a base and a head, its label tree, and the rest."""

    model: StagedModel
    labels: Tree
    tx: optax.GradientTransformationExtraArgs
    objective: Objective
    options: StepOptions

    def inputs(self, batch: Mapping[str, Any]) -> Tree:
        """Return what the model takes of a batch."""
        spec = self.options.spec
        return batch["input"] if spec is None else spec.on_device(batch["input"])

    def outputs(
        self,
        trainable: Tree,
        frozen: Tree,
        stats: Tree,
        inputs: Tree,
        mask: jax.Array | None,
        dropout: jax.Array,
        **norms: Any,
    ) -> tuple[Tree, Tree]:
        """Return the outputs in training, and the batch statistics after them; `norms` as `run_frozen` takes them."""
        options = self.options
        variables = {"params": combine(trainable, frozen), "batch_stats": stats}
        norms = {"stored_norms": options.stored_norms, "groups": options.placement.groups, **norms}
        with run_frozen(self.labels, self.model.base.stage_names, mask, **norms):
            outputs, changed = self.model.apply(
                variables,
                inputs,
                train=True,
                **start_after(options.after),
                mutable=["batch_stats"],
                rngs={"dropout": dropout},
            )
        return outputs, changed.get("batch_stats", {})

    def sums(self, outputs: Tree, batch: Mapping[str, Any], key: jax.Array, size: Any) -> Sums:
        """Return the sums of the objective's terms; a column `weight` says how much each example's loss counts."""
        return training_sums(self.objective, outputs, batch, key, size)

    def update(self, state: TrainState, gradient: Tree, stats: Tree, sums: Sums) -> TrainState:
        """Return the state after a batch's gradient, batch statistics and sums."""
        ema = self.options.ema
        updates, opt_state = self.tx.update(gradient, state.opt_state, state.params, value=mean_of(sums))
        params = optax.apply_updates(state.params, updates)
        after = TrainState(
            step=state.step + 1,
            params=params,
            batch_stats=stats,
            opt_state=opt_state,
            key=state.key,
            totals=state.totals.after(state.step, sums),
            average=None if ema is None else averaged(state.average, params, state.step, ema),
        )
        return self.options.placement.state(after)


def training_sums(objective: Objective, outputs: Tree, batch: Mapping[str, Any], key: jax.Array, size: Any) -> Sums:
    """Return the sums of an objective's terms in training, the loss's as float32 whatever weighs it."""
    terms = checked_terms(objective(outputs, batch, key))
    if "weight" in batch:
        terms["loss"] = _weighted(terms["loss"], batch["weight"])
    sums = sums_of(terms, batch.get("mask"), size)
    value, weight = sums["loss"]
    return {**sums, "loss": (value.astype(jnp.float32), weight.astype(jnp.float32))}


def _weighted(term: Any, weight: jax.Array) -> tuple[jax.Array, jax.Array]:
    value, own = term if isinstance(term, tuple) else (term, jnp.ones(jnp.shape(term)))
    return value * weight, own * weight


class Reductions:
    """What a program sees of a batch: all of it, though it lie on many devices."""

    norms: Mapping[str, Any] = {}
    """How its batch norms run, as `tlx.models.frozen.run_frozen` takes it."""

    def total(self, value: Any) -> Any:
        """Sum over all devices."""
        return value

    def gathered(self, rows: Tree) -> Tree:
        """Gather the rows of all devices."""
        return rows

    def local(self, rows: Tree) -> Tree:
        """Take this device's of the rows of all."""
        return rows

    def counted(self, mask: jax.Array | None) -> jax.Array | None:
        """Say which rows batch norms are to look at."""
        return mask


ALL = Reductions()


class Part(flax.struct.PyTreeNode):
    """What a batch, or a part of one, comes to: a gradient, the sums of the terms, and the batch statistics after."""

    gradient: Tree
    sums: Sums
    stats: Tree


def part_of(
    method: Method,
    state: TrainState,
    frozen: Tree,
    stats: Tree,
    batch: Mapping[str, Any],
    key: jax.Array,
    devices: Reductions = ALL,
    *,
    mean: bool = False,
) -> Part:
    """Return what a batch or a part of one comes to; the gradient is that of the sum of the loss, or of its mean."""
    mix, mask = method.options.mix, batch.get("mask")
    inputs = method.inputs(batch)
    size = len(jax.tree.leaves(inputs)[0]) if mask is None else mask.sum()
    dropout, mixing = jax.random.split(key)
    own_key = jax.random.fold_in(mixing, 1)
    others: dict[str, Any] | None = None
    share = jnp.ones(())
    if mix:
        mixed = mix(devices.gathered(inputs), mixing, jnp.maximum(devices.total(size), 1))
        inputs, share = devices.local(mixed.inputs), mixed.share
        targets = devices.local(jax.tree.map(lambda each: each[mixed.partner], devices.gathered(batch["target"])))
        others = {**batch, "target": targets}

    def loss(trainable: Tree) -> tuple[jax.Array, tuple[Sums, Tree]]:
        norms = dict(devices.norms)
        outputs, after = method.outputs(trainable, frozen, stats, inputs, devices.counted(mask), dropout, **norms)
        sums = method.sums(outputs, batch, own_key, size)
        if others is not None:
            (value, weight), (other, beside) = sums["loss"], method.sums(outputs, others, own_key, size)["loss"]
            sums["loss"] = share * value + (1 - share) * other, share * weight + (1 - share) * beside
        return mean_of(sums) if mean else sums["loss"][0], (sums, after)

    gradient, (sums, after) = jax.grad(loss, has_aux=True)(state.params)
    return Part(gradient, sums, after)


def averaged(average: Tree, params: Tree, step: jax.Array, ema: float) -> Tree:
    """Move an average towards parameters, as `StepOptions.ema` says.

    >>> round(float(averaged({"w": jnp.zeros(())}, {"w": jnp.ones(())}, jnp.asarray(0), 0.999)["w"]), 4)
    0.9
    """
    decay = jnp.minimum(ema, (1 + step) / (10 + step))
    return jax.tree.map(lambda old, new: old + ((1 - decay) * (new - old)).astype(old.dtype), average, params)
