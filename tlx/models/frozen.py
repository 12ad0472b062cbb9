"""Run what is frozen as in inference: stored batch statistics, no dropout."""

import contextlib
from typing import Any

import flax.linen as nn
import jax

from tlx.errors import ConfigError
from tlx.models.batch_norm import BatchNorm
from tlx.tree.labels import FROZEN
from tlx.tree.paths import Tree, flatten
from tlx.tree.summary import stage_of


def frozen_modules(labels: Tree) -> frozenset[str]:
    """Name the modules that own parameters all of which are frozen, by path.

    >>> sorted(frozen_modules({"base": {"conv": {"kernel": "frozen"}, "bn": {"scale": "base", "bias": "frozen"}}}))
    ['base/conv']
    """
    owned: dict[str, list[str]] = {}
    for path, label in flatten(labels).items():
        owned.setdefault(path.rpartition("/")[0], []).append(label)
    return frozenset(owner for owner, own in owned.items() if all(label == FROZEN for label in own))


def frozen_stages(labels: Tree, stage_names: tuple[str, ...]) -> frozenset[str]:
    """Name the frozen stages of a base, and 'head' if it is frozen.

    A stage is frozen when all its parameters are. One without parameters is frozen when every stage before it is; where
    none before it has parameters, it goes with the first stage that has.

    >>> sorted(frozen_stages({"base": {"a": {"w": "frozen"}, "c": {"w": "base"}}, "head": {"w": "head"}},
    ...                      ("a", "drop", "c", "drop2")))
    ['a', 'drop']
    """
    own: dict[str, set[str]] = {}
    for path, label in flatten(labels).items():
        own.setdefault(stage_of(path), set()).add(label)
    chain = (*stage_names, "head")
    frozen = {name for name, held in own.items() if held == {FROZEN}}
    all_before = next((name in frozen for name in chain if name in own), False)
    for name in chain:
        if name in own:
            all_before = all_before and name in frozen
        elif all_before:
            frozen.add(name)
    return frozenset(frozen)


def frozen_statistics(labels: Tree, stage_names: tuple[str, ...], batch_stats: Tree) -> Tree:
    """Return the batch statistics that `run_frozen` leaves alone, as a flat dict by path.

    >>> labels = {"base": {"bn": {"scale": "frozen"}, "bn2": {"scale": "base"}}}
    >>> frozen_statistics(labels, ("bn", "bn2"), {"base": {"bn": {"mean": 0.0}, "bn2": {"mean": 1.0}}})
    {'base/bn/mean': 0.0}
    """
    modules, stages = frozen_modules(labels), frozen_stages(labels, stage_names)
    return {
        path: leaf
        for path, leaf in flatten(batch_stats).items()
        if path.rpartition("/")[0] in modules or stage_of(path) in stages
    }


def run_frozen(
    labels: Tree,
    stage_names: tuple[str, ...],
    mask: jax.Array | None = None,
    *,
    stored_norms: bool = False,
    groups: int = 1,
    axis_name: str | None = None,
) -> contextlib.AbstractContextManager[Any]:
    """Return a context in which Linen modules that are frozen under `labels` run as in inference.

    In it a frozen stage (or head) is called with `train=False`, so that no dropout drops and no BatchNorm updates. In a
    stage that trains, a BatchNorm whose own parameters are all frozen (with `stored_norms`, every one) runs on its
    stored statistics and leaves them alone. Rows where `mask` (B,) is false do not count in the statistics of the
    others, which look at each of so many `groups` of rows by itself, and at those of all devices along `axis_name`
    (`tlx.models.BatchNorm`). It wraps the tracing of a training step:

        with run_frozen(labels, base.stage_names):
            logits, changed = model.apply(variables, x, train=True, mutable=["batch_stats"], rngs=rngs)
    """
    modules = frozen_modules(labels)
    stages = {name if name == "head" else f"base/{name}" for name in frozen_stages(labels, stage_names)}

    def intercept(
        call: Any, args: tuple[Any, ...], kwargs: dict[str, Any], context: nn.module.InterceptorContext
    ) -> Any:
        module = context.module
        if context.method_name != "__call__":
            return call(*args, **kwargs)
        path = "/".join(module.path)
        if path in stages and len(args) == 2:  # called as layer(x, train); a layer's super().__call__(x) has one
            return call(args[0], False)
        if path in stages and "train" in kwargs:
            return call(*args, **{**kwargs, "train": False})
        if (stored_norms or path in modules) and isinstance(module, nn.BatchNorm):
            # The field and the argument exclude each other, and a bound module's fields cannot be set otherwise.
            object.__setattr__(module, "use_running_average", None)
            return call(*args[:1], **{**kwargs, "use_running_average": True})
        if isinstance(module, nn.BatchNorm):
            _look_at(module, groups, axis_name)
            shown = {} if mask is None else {"mask": mask.reshape(-1, *[1] * (args[0].ndim - 1))}
            return call(*args, **{**kwargs, **shown})
        return call(*args, **kwargs)

    return nn.intercept_methods(intercept)


def _look_at(norm: nn.BatchNorm, groups: int, axis_name: str | None) -> None:
    """Say what a bound batch norm takes its statistics of."""
    if groups > 1:
        if not isinstance(norm, BatchNorm):
            raise ConfigError(
                f"{'/'.join(norm.path)}: Flax's own BatchNorm takes its statistics of all rows: use "
                "tlx.models.BatchNorm, or Parallel(norms='all')"
            )
        object.__setattr__(norm, "groups", groups)
    if axis_name is not None:
        object.__setattr__(norm, "axis_name", axis_name)
