"""Many devices: a step's arrays over a mesh, whose number changes what a step costs and not what it does."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tlx.devices import hosts
from tlx.errors import ConfigError, check_choice
from tlx.tree.paths import Tree

State = TypeVar("State")
AXIS = "data"
LEAST = 1 << 12  # numbers of a leaf that is worth splitting
By = Literal["jit", "pmap"]
Shard = Literal["nothing", "optimizer", "all"]
Norms = Literal["all", "each"]


@dataclass(frozen=True)
class Devices:
    """Say on which devices to train, and how (`tlx.fit`).

    The rows of each batch go to the first `count` that JAX has (None: all, those of other hosts included), in equal
    numbers, filled up with rows that do not count. Loss, gradient, statistics of batch norms, dropout and mixing are
    those of the whole batch, whatever the number of devices. With `norms` "each", batch norms take the statistics of
    each device's rows by themselves, and keep their average.

    `shard` "optimizer" splits moving averages of gradients and what else optimizers remember among the devices, "all"
    the parameters, too, which are gathered as they are needed (ZeRO: S. Rajbhandari et al., 2020); by default each
    device has all. `by` "pmap" runs the same step through `jax.pmap`, which JAX maintains for old programs' sake; it
    does not shard. In several processes (`tlx.initialize_distributed`) the devices are those of all, and none can be
    left out.

    Raise `ConfigError` for what none of it can be.

    >>> Devices(1).placement().count
    1
    """

    count: int | None = None
    by: By = "jit"
    shard: Shard = "nothing"
    norms: Norms = "all"

    def __post_init__(self) -> None:
        for name, options in (("by", By), ("shard", Shard), ("norms", Norms)):
            check_choice(f"Devices.{name}", getattr(self, name), get_args(options))
        if self.count is not None and (
            isinstance(self.count, bool) or not isinstance(self.count, int) or self.count < 1
        ):
            raise ConfigError(f"Devices.count: {self.count!r} is not an integer of 1 or more, nor None")
        if self.by == "pmap" and self.shard != "nothing":
            raise ConfigError(f"devices: pmap gives each device all; shard={self.shard!r} goes with by='jit'")

    def placement(self) -> "Placement":
        """Find the devices; raise `ConfigError` where there are too few."""
        found = _devices()
        if self.count is not None and self.count > len(found):
            raise ConfigError(f"devices: {self.count}, and JAX finds {len(found)} ({found[0].platform}): ask for fewer")
        if hosts.count() > 1 and self.count not in (None, len(found)):
            raise ConfigError(f"devices: {self.count}, and the processes have {len(found)}: leave it out, all train")
        return Placement(tuple(found[: self.count]), self.by, self.shard, self.norms)


def _devices() -> list[jax.Device]:
    """Return the devices to compute on, those of a host beside each other."""
    default = jax.config.jax_default_device  # type: ignore[attr-defined]
    platform = getattr(default, "platform", default)
    return sorted(jax.devices(platform), key=lambda device: (device.process_index, device.id))


@dataclass(frozen=True)
class Placement:
    """Where the arrays of a step lie. On one device it leaves everything as it is."""

    devices: tuple[jax.Device, ...] = ()
    by: By = "jit"
    shard: Shard = "nothing"
    norms: Norms = "all"

    @property
    def count(self) -> int:
        return max(len(self.devices), 1)

    @functools.cached_property
    def local(self) -> tuple[jax.Device, ...]:
        """Those of the devices that are of this process."""
        return tuple(device for device in self.devices if device.process_index == jax.process_index())

    @functools.cached_property
    def mesh(self) -> Mesh:
        """The mesh that a program is for: all devices, or in a process of pmap's its own."""
        return Mesh(np.array(self.local if self.by == "pmap" else self.devices), (AXIS,))

    @property
    def jitted(self) -> "Placement":
        """The same devices for what runs by jit all the same: evaluation and activations."""
        return replace(self, by="jit") if self.by == "pmap" and self.count > 1 else self

    @property
    def meshed(self) -> bool:
        """Tell whether arrays lie on a mesh, and not where JAX puts them by default."""
        return self.count > 1 or self.by == "pmap"

    @property
    def groups(self) -> int:
        """How many groups of a batch's rows batch norms look at by themselves, in a program for all devices."""
        return self.count if self.norms == "each" else 1

    @property
    def host(self) -> int:
        """Which of the processes that train together this is, from 0."""
        return jax.process_index()

    @property
    def hosts(self) -> int:
        """How many processes train together."""
        return hosts.count()

    def leading(self, rows: int, parts: int = 1) -> tuple[int, ...]:
        """Return the first axes of a batch of so many rows as steps take it: parts if several, devices for pmap."""
        axes = ((parts,) if parts > 1 else ()) + ((len(self.local),) if self.by == "pmap" else ())
        return (*axes, rows // math.prod(axes))

    def batch(self, batch: dict[str, Any], parts: int = 1) -> dict[str, Any]:
        """Put the rows that `share` asked for on the devices, for a step that takes them in so many parts."""
        if parts == 1 and not self.meshed:
            return batch  # the step puts it
        shaped = jax.tree.map(lambda rows: rows.reshape(*self.leading(len(rows), parts), *rows.shape[1:]), batch)
        arrays: dict[str, Any] = self.rows(shaped, parts)
        return arrays

    def rows(self, batch: Tree, parts: int = 1) -> Any:
        """Put this process's arrays (rows, …) or, of `parts`, (parts, rows, …) on the devices, rows by rows."""
        axis = 1 if parts > 1 else 0
        over = self._over(PartitionSpec(*[None] * axis, AXIS)) if self.meshed else None
        if not self._spans or _is_abstract(batch):
            times = hosts.count() if self._spans else 1
            longer = jax.tree.map(lambda leaf: _longer(leaf, axis, times), batch) if times > 1 else batch
            return self._put(longer, lambda: jax.tree.map(lambda _: over, batch))
        return jax.tree.map(lambda leaf: jax.make_array_from_process_local_data(over, leaf), batch)

    def replicated(self, tree: Tree) -> Tree:
        """Give each device all of a tree."""
        return self._put(tree, lambda: self._split(tree, False))

    def parameters(self, tree: Tree) -> Tree:
        """Put parameters, or what has their shapes, on the devices."""
        return self._put(tree, lambda: self._split(tree, self.shard == "all"))

    def state(self, state: State) -> State:
        """Put the state of a training step (`tlx.training.TrainState`) on the devices."""
        placed: State = self._put(state, lambda: self._of_state(state))
        return placed

    def whole(self, tree: Tree) -> Tree:
        """Return arrays of which other processes have a part as arrays of NumPy; others stay as they are."""
        return jax.tree.map(self._whole, tree)

    def _whole(self, leaf: Any) -> Any:
        if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
            return leaf
        return np.asarray(leaf if leaf.is_fully_replicated else _moved(leaf, self._over(PartitionSpec())))

    @property
    def _spans(self) -> bool:
        """Tell whether arrays lie on devices of several processes."""
        return self.by == "jit" and len(self.local) < len(self.devices)

    def _put(self, tree: Any, where: Callable[[], Any]) -> Any:
        """Put arrays somewhere; of those that are traced, and of mere shapes, say that they lie there."""
        if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree)):
            return jax.lax.with_sharding_constraint(tree, where()) if self.meshed else tree
        if _is_abstract(tree):
            return jax.tree.map(_shape_at, tree, where()) if self.meshed else tree
        if self._spans:
            return jax.tree.map(_spread, tree, where())
        return jax.device_put(tree, where()) if self.meshed else jax.device_put(tree)

    def _of_state(self, state: Any) -> Any:
        """Return where each leaf of a state lies, by their shapes."""
        all_split, memory_split = self.shard == "all", self.shard != "nothing"
        return state.replace(
            step=self._split(state.step, False),
            params=self._split(state.params, all_split),
            batch_stats=self._split(state.batch_stats, False),
            opt_state=self._split(state.opt_state, memory_split),
            key=self._split(state.key, False),
            totals=self._split(state.totals, False),
            average=self._split(state.average, all_split),
        )

    def _split(self, tree: Tree, split: bool) -> Any:
        """Return where each leaf lies: with `split`, in equal parts along the longest axis that has such."""

        def over(leaf: Any) -> NamedSharding:
            shape = leaf.shape
            axes = [axis for axis, length in enumerate(shape) if length % self.count == 0]
            if not split or not axes or leaf.size < LEAST:
                return self._over(PartitionSpec())
            longest = max(axes, key=lambda axis: shape[axis])
            return self._over(PartitionSpec(*(AXIS if axis == longest else None for axis in range(longest + 1))))

        return jax.tree.map(over, tree)

    def _over(self, spec: PartitionSpec) -> NamedSharding:
        return NamedSharding(self.mesh, spec)


def _is_abstract(tree: Any) -> bool:
    return any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(tree))


def _shape_at(leaf: Any, where: NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where)


def _longer(leaf: Any, axis: int, times: int) -> jax.ShapeDtypeStruct:
    """Return the shape of an array of which a process has one part of so many along an axis."""
    shape = [length * times if place == axis else length for place, length in enumerate(leaf.shape)]
    return jax.ShapeDtypeStruct(tuple(shape), leaf.dtype)


def _spread(leaf: Any, where: NamedSharding) -> jax.Array:
    """Put an array that each process has, or that lies on the devices of all, somewhere among these."""
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_spread(jax.random.key_data(leaf), where), impl=jax.random.key_impl(leaf))
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        return leaf if leaf.sharding == where else _moved(leaf, where)
    here = np.asarray(leaf)
    return jax.make_array_from_callback(here.shape, where, lambda index: here[index])


def _moved(leaf: jax.Array, where: NamedSharding) -> jax.Array:
    return _mover(where)(leaf)


@functools.cache
def _mover(where: NamedSharding) -> Any:
    return jax.jit(lambda leaf: leaf, out_shardings=where)


ONE = Placement()
