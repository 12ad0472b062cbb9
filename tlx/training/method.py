"""How the steps of a phase train: the forward pass and the update, whether a batch comes whole or in parts."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

from tlx.devices.parallel import ONE, Placement
from tlx.models.frozen import run_frozen
from tlx.training.evaluate import start_after
from tlx.training.loss import Loss
from tlx.training.mix import Mix
from tlx.training.state import TrainState
from tlx.tree.partition import combine
from tlx.tree.paths import Tree


@dataclass(frozen=True, eq=False)
class Method:
    """What `make_train_step` and `make_accumulated_step` have in common.

    `model` is a Linen module of a base and a head (`tlx.models.Classifier`), `labels` the label tree of its parameters.
    `mix` mixes pictures in pairs; with `stored_norms` batch norms run on their stored statistics. With `after` the
    images are what that stage makes of pictures, and no stage up to it runs. With `ema` the state's `average` follows
    the parameters: average += (1 - decay) * (params - average), the decay being `ema`, but at most
    (1 + step) / (10 + step), so that a short phase is not all beginning (as TensorFlow's `ExponentialMovingAverage`
    with `num_updates`). `placement` says on which devices.
    """

    model: Any
    labels: Tree
    tx: optax.GradientTransformationExtraArgs
    loss: Loss
    mix: Mix | None = None
    stored_norms: bool = False
    after: str | None = None
    ema: float | None = None
    placement: Placement = ONE

    def logits(
        self,
        trainable: Tree,
        frozen: Tree,
        stats: Tree,
        images: jax.Array,
        mask: jax.Array | None,
        dropout: jax.Array,
        **norms: Any,
    ) -> tuple[jax.Array, Tree]:
        """Return the logits in training, and the batch statistics after them; `norms` as `run_frozen` takes them."""
        variables = {"params": combine(trainable, frozen), "batch_stats": stats}
        norms = {"stored_norms": self.stored_norms, "groups": self.placement.groups, **norms}
        with run_frozen(self.labels, self.model.base.stage_names, mask, **norms):
            logits, changed = self.model.apply(
                variables,
                images,
                train=True,
                **start_after(self.after),
                mutable=["batch_stats"],
                rngs={"dropout": dropout},
            )
        return logits, changed.get("batch_stats", {})

    def update(
        self, state: TrainState, gradient: Tree, stats: Tree, value: jax.Array, correct: jax.Array, size: Any
    ) -> TrainState:
        """Return the state after a batch's gradient, batch statistics, loss, right answers and examples."""
        updates, opt_state = self.tx.update(gradient, state.opt_state, state.params, value=value)
        params = optax.apply_updates(state.params, updates)
        after = TrainState(
            step=state.step + 1,
            params=params,
            batch_stats=stats,
            opt_state=opt_state,
            key=state.key,
            totals=state.totals.after(state.step, value, correct, size),
            average=None if self.ema is None else averaged(state.average, params, state.step, self.ema),
        )
        return self.placement.state(after)


def correct_of(logits: jax.Array, targets: jax.Array, mask: jax.Array | None) -> jax.Array:
    """Count the right answers among the rows that the mask does not leave out."""
    return (logits.argmax(-1) == targets).sum(dtype=jnp.int32, where=mask)


def averaged(average: Tree, params: Tree, step: jax.Array, ema: float) -> Tree:
    """Move an average towards parameters, as `Method` says.

    >>> round(float(averaged({"w": jnp.zeros(())}, {"w": jnp.ones(())}, jnp.asarray(0), 0.999)["w"]), 4)
    0.9
    """
    decay = jnp.minimum(ema, (1 + step) / (10 + step))
    return jax.tree.map(lambda old, new: old + ((1 - decay) * (new - old)).astype(old.dtype), average, params)
