"""Run what is frozen as in inference: stored batch statistics, no dropout."""

import contextlib
import dataclasses
import inspect
from typing import Any

import flax.linen as nn
import jax
from flax.errors import InvalidRngError, ModifyScopeVariableError

from tlx.errors import ConfigError
from tlx.models.batch_norm import BatchNorm
from tlx.tree.labels import FROZEN
from tlx.tree.paths import Tree, flatten
from tlx.tree.summary import stage_of

# The arguments and fields by which Linen modules are told that they do not train, and what they then are
INFERENCE = {
    "train": False,
    "training": False,
    "is_training": False,
    "deterministic": True,
    "use_running_average": True,
}
STATISTICS = ("mean", "var")  # the names of Flax's batch norms


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


def frozen_statistics(
    labels: Tree, stage_names: tuple[str, ...], batch_stats: Tree, *, stored_norms: bool = False
) -> dict[str, Any]:
    """Return the batch statistics that `run_frozen`, called alike, leaves alone, as a flat dict by path.

    >>> labels = {"base": {"bn": {"scale": "frozen"}, "bn2": {"scale": "base"}}}
    >>> stats = {"base": {"bn": {"mean": 0.0}, "bn2": {"mean": 1.0}}}
    >>> frozen_statistics(labels, ("bn", "bn2"), stats)
    {'base/bn/mean': 0.0}
    >>> frozen_statistics(labels, ("bn", "bn2"), stats, stored_norms=True)
    {'base/bn/mean': 0.0, 'base/bn2/mean': 1.0}
    """
    modules, stages = frozen_modules(labels), frozen_stages(labels, stage_names)
    return {
        path: leaf
        for path, leaf in flatten(batch_stats).items()
        for owner, _, name in [path.rpartition("/")]
        if owner in modules or stage_of(path) in stages or (stored_norms and name in STATISTICS)
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

    In it a frozen stage (or head), and every module inside it, is called with `train=False`, `deterministic=True` or
    `use_running_average=True`, whichever its signature or its fields know (`INFERENCE`), so that no dropout drops and
    no BatchNorm updates. In a stage that trains, a BatchNorm whose own parameters are all frozen (with `stored_norms`,
    every one) runs on its stored statistics and leaves them alone. Rows where `mask` (B,) is false do not count in the
    statistics of the others, which look at each of so many `groups` of rows by itself, and at those of all devices
    along `axis_name` (`tlx.models.BatchNorm`). It wraps the tracing of a training step:

        with run_frozen(labels, base.stage_names):
            logits, changed = model.apply(variables, x, train=True, mutable=["batch_stats"], rngs=rngs)

    Raises:
        ConfigError: While the model is traced, for a frozen stage that draws random numbers or changes its batch
            statistics all the same, because nothing tells it that it does not train.
    """
    modules = frozen_modules(labels)
    stages = {name if name == "head" else f"base/{name}" for name in frozen_stages(labels, stage_names)}
    inside = False  # of a frozen stage

    def intercept(
        call: Any, args: tuple[Any, ...], kwargs: dict[str, Any], context: nn.module.InterceptorContext
    ) -> Any:
        nonlocal inside
        module = context.module
        if context.method_name != "__call__":
            return call(*args, **kwargs)
        if inside:
            return _call_in_inference(call, args, kwargs, context)
        path = "/".join(module.path)
        if path in stages:
            inside = True
            try:
                return _sealed(module, *args, **kwargs)
            except (InvalidRngError, ModifyScopeVariableError) as error:
                raise ConfigError(
                    f"stage {path!r} is frozen, and does not run as in inference ({_first_sentence(error)}): let its "
                    f"__call__ take `train` or another of {', '.join(INFERENCE)}, and heed it"
                ) from error
            finally:
                inside = False
        if not isinstance(module, nn.BatchNorm):
            return call(*args, **kwargs)
        if stored_norms or path in modules:
            return _call_in_inference(call, args, kwargs, context)
        fields: dict[str, Any] = {} if axis_name is None else {"axis_name": axis_name}
        fields |= {"groups": groups} if groups > 1 else {}
        if "groups" in fields and not isinstance(module, BatchNorm):
            raise ConfigError(
                f"{path}: Flax's own BatchNorm takes its statistics of all rows: use tlx.models.BatchNorm, or "
                "Devices(norms='all')"
            )
        if changed := _with_fields(module, fields):
            return changed(*args, **kwargs)
        shown = {} if mask is None else {"mask": mask.reshape(-1, *[1] * (args[0].ndim - 1))}
        return call(*args, **{**kwargs, **shown})

    return nn.intercept_methods(intercept)


def _call_in_inference(
    call: Any, args: tuple[Any, ...], kwargs: dict[str, Any], context: nn.module.InterceptorContext
) -> Any:
    """Call a module with every argument and field of `INFERENCE` that it knows as there."""
    signature = inspect.signature(context.orig_method)
    arguments = signature.bind(*args, **kwargs)
    known = INFERENCE.keys() & signature.parameters.keys()
    arguments.arguments.update({name: INFERENCE[name] for name in known})
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD and name in arguments.arguments:
            more = arguments.arguments[name]
            arguments.arguments[name] = {**more, **{each: INFERENCE[each] for each in INFERENCE.keys() & more.keys()}}
    # A field and an argument of one name exclude each other (flax.linen.merge_param).
    fields = {field.name for field in dataclasses.fields(context.module)} & INFERENCE.keys()
    wanted = {name: None if name in known else INFERENCE[name] for name in fields}
    if changed := _with_fields(context.module, wanted):
        return changed(*arguments.args, **arguments.kwargs)
    return call(*arguments.args, **arguments.kwargs)


def _with_fields(module: nn.Module, fields: dict[str, Any]) -> nn.Module | None:
    """Return a bound module with other fields and the same variables, or None where all are so already."""
    if all(getattr(module, name) == value for name, value in fields.items()):
        return None
    scope = module.scope
    assert scope is not None  # it is bound
    # Rewound, for the other's `setup` takes the same names again.
    return module.clone(parent=scope.rewound(), **fields)


def _call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
    return module(*args, **kwargs)


# Call a bound module so that nothing in it can draw random numbers or change a batch statistic: what tries raises.
_sealed = nn.map_variables(_call, "batch_stats", mutable=False, rngs=False)


def _first_sentence(error: Exception) -> str:
    return str(error).partition(" (https://")[0].rstrip(".")
