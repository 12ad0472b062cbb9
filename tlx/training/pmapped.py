"""The second way to many devices: the same step through `jax.pmap`, which JAX keeps for programs written with it."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from tlx.devices.parallel import AXIS, Placement
from tlx.training.accumulate import add_part, apply_parts, key_of, no_parts
from tlx.training.method import Method, Part, Reductions
from tlx.training.state import StepFunction, TrainState
from tlx.tree.paths import Tree


class OfAxis(Reductions):
    """What a program on one of pmap's devices sees: its own rows, and by name those of the others."""

    def __init__(self, placement: Placement) -> None:
        self.count = placement.count
        self.norms: Mapping[str, Any] = {"axis_name": AXIS if placement.norms == "all" else None}

    def total(self, value: Any) -> Any:
        """Add what the devices have, all leaves in one message: the processes of CPUs would send them one by one."""
        joined, apart = ravel_pytree(value)  # counts become floats, which hold those of 16 million rows
        return apart(jax.lax.psum(joined, AXIS))

    def gathered(self, rows: Tree) -> Tree:
        return jax.tree.map(lambda leaf: jax.lax.all_gather(leaf, AXIS, tiled=True), rows)

    def local(self, rows: Tree) -> Tree:
        def take(leaf: jax.Array) -> jax.Array:
            each = len(leaf) // self.count
            return jax.lax.dynamic_slice_in_dim(leaf, jax.lax.axis_index(AXIS) * each, each)

        return jax.tree.map(take, rows)

    def counted(self, mask: jax.Array | None) -> jax.Array | None:
        if mask is None or self.norms["axis_name"]:
            return mask
        return mask | ~mask.any()  # what is all padding must be finite


def make_pmapped_step(method: Method, placement: Placement) -> StepFunction:
    """Build the step of `make_train_step` for pmap: one program a device, whose sums are added among them.

    Batches come as `Placement.batch` puts them. Batch norms take statistics of all devices' rows, or each of its own,
    as `placement` says; `flax.linen.Dropout` drops what it would drop in one program for all. Other randomness in a
    model is the same on each device. The parts of a batch are one program, which takes longer to compile than theirs.
    """
    devices, parts = OfAxis(placement), method.options.accumulate

    def step(state: TrainState, frozen: Tree, batch: dict[str, Any]) -> TrainState:
        so_far = no_parts(state)
        with nn.intercept_methods(_drop_as_one(devices)):
            for number in range(parts):
                part = batch if parts == 1 else jax.tree.map(lambda each, number=number: each[number], batch)
                key = jax.random.fold_in(state.key, state.step) if parts == 1 else key_of(state, number)
                stats = so_far.stats
                so_far = add_part(method, so_far, state, frozen, part, key, devices)
                if placement.norms == "each":
                    so_far = so_far.replace(stats=_averaged(devices, so_far.stats, stats, part))
        gradient, sums = devices.total((so_far.gradient, so_far.sums))
        return apply_parts(method, state, Part(gradient, sums, so_far.stats))

    mapped: StepFunction = jax.pmap(
        step,
        axis_name=AXIS,
        in_axes=(None, None, 0 if parts == 1 else 1),
        out_axes=None,
        devices=placement.devices if placement.local == placement.devices else None,  # else those of all processes
        donate_argnums=0,
    )
    return mapped


def _averaged(devices: OfAxis, stats: Tree, before: Tree, rows: Mapping[str, Any]) -> Tree:
    """Average batch statistics over the devices on which something counts."""
    mask = rows.get("mask")
    some = jnp.ones(()) if mask is None else mask.any().astype(jnp.float32)
    among, total = devices.total((some, jax.tree.map(lambda leaf: some * leaf, stats)))
    return jax.tree.map(lambda new, old: jnp.where(among > 0, new / jnp.maximum(among, 1), old), total, before)


def _drop_as_one(devices: OfAxis) -> Any:
    """Return an interceptor under which `flax.linen.Dropout` draws for the rows of all devices, and takes its own."""

    def intercept(
        call: Any, args: tuple[Any, ...], kwargs: dict[str, Any], context: nn.module.InterceptorContext
    ) -> Any:
        module = context.module
        if not isinstance(module, nn.Dropout) or context.method_name != "__call__":
            return call(*args, **kwargs)
        x, given = args[0], dict(zip(("deterministic", "rng"), args[1:], strict=False)) | kwargs
        deterministic = nn.merge_param("deterministic", module.deterministic, given.get("deterministic"))
        if deterministic or module.rate in (0, 1) or 0 in module.broadcast_dims:
            return call(*args, **kwargs)
        key = given.get("rng")
        key = module.make_rng(module.rng_collection) if key is None else key
        rest = tuple(1 if axis in module.broadcast_dims else size for axis, size in enumerate(x.shape[1:], 1))
        kept = jax.random.bernoulli(key, 1 - module.rate, (devices.count * len(x), *rest))
        return jnp.where(devices.local(kept), x / (1 - module.rate), jnp.zeros_like(x))

    return intercept
