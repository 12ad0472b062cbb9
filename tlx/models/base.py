"""The staged base: a network as a chain of named stages that can run from any stage to any other."""

import inspect
from dataclasses import dataclass
from typing import Any

import flax.linen as nn

from tlx.errors import ConfigError, suggestion
from tlx.models.frozen import INFERENCE
from tlx.tree.labels import FROZEN
from tlx.tree.paths import Tree, quote


@dataclass(frozen=True)
class Stage:
    """One link of the chain: a name, and a Linen module of one input and one output, each an array or a tree of them.

    Any layer of Flax's serves, or one of your own. Where its `__call__` names `train`, `training`, `is_training`,
    `deterministic` or `use_running_average`, it is told so whether it trains (`call_layer`). The name is part of paths,
    patterns and labels: a Python identifier, but not 'head', 'frozen' or an attribute of `Base`. Raise `ConfigError`
    for another, and for a layer that is no module or cannot be hashed.
    """

    name: str
    layer: nn.Module

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or self.name in ("head", FROZEN, "stages") or hasattr(Base, self.name):
            raise ConfigError(f"stage name {self.name!r} is reserved or not an identifier: use one such as 'conv1'")
        if not isinstance(self.layer, nn.Module):
            raise ConfigError(
                f"stage {self.name!r}: {self.layer!r:.60} is no object of a Linen module: give one such as "
                "nn.Dense(8), and nn.Sequential((nn.relu,)) for a function"
            )
        try:
            hash(self.layer)
        except TypeError as error:
            raise ConfigError(
                f"stage {self.name!r}: {type(self.layer).__name__} has a field that cannot be hashed, as JAX needs it: "
                "give tuples for lists, such as nn.Sequential((nn.Dense(8), nn.relu))"
            ) from error


class Base(nn.Module):
    """Run stages one after another.

    The parameters of a stage stand under its name. A stage is the finest point at which a network is sequential, so
    what happens inside one (branches, shortcuts) is its layer's affair. With `remat`, training keeps what goes from
    stage to stage, and computes what is inside one again for the gradient (`jax.checkpoint`).

    >>> from tlx.models.small import Dense
    >>> base = Base((Stage("dense1", Dense(8)), Stage("dense2", Dense(4))))
    >>> base.stage_names
    ('dense1', 'dense2')
    """

    stages: tuple[Stage, ...]
    remat: bool = False

    def setup(self) -> None:
        for stage in self.stages:
            setattr(self, stage.name, stage.layer.copy())

    def __repr__(self) -> str:
        return f"Base({' -> '.join(self.stage_names)})"

    @property
    def stage_names(self) -> tuple[str, ...]:
        """The names of the stages, first to last."""
        return tuple(stage.name for stage in self.stages)

    def __call__(self, x: Tree, train: bool = False, *, after: str | None = None, until: str | None = None) -> Tree:
        """Run the stages after `after` (from the first, if None) until and with `until` (to the last, if None).

        `x` is a batch of inputs, images (B, H, W, C) or a tree of arrays (B, …), or what stage `after` returned. Raise
        `ConfigError` for an unknown stage and for stages in the wrong order.
        """
        for name in self.span(after, until):
            layer = getattr(self, name)
            x = _rematerialised(layer, x) if self.remat and train else call_layer(layer, x, train)
        return x

    def span(self, after: str | None = None, until: str | None = None) -> tuple[str, ...]:
        """Name the stages after `after` until and with `until`."""
        names = self.stage_names
        for stage in (after, until):
            if stage is not None and stage not in names:
                hint = suggestion(stage, names)
                raise ConfigError(f"unknown stage {stage!r}{hint}: the stages are {quote(names, 40)}")
        first = 0 if after is None else names.index(after) + 1
        last = len(names) if until is None else names.index(until) + 1
        if last < first:
            raise ConfigError(f"stage {until!r} comes before {after!r}: the stages are {quote(names, 40)}")
        return names[first:last]


def call_layer(layer: nn.Module, x: Tree, train: bool) -> Tree:
    """Call a bound module, and tell it whether it trains in its own words, if it has any (`INFERENCE`).

    A second argument of another name is given `train` where it has no default or a boolean one.

    >>> import jax
    >>> nn.Dropout(0.5).apply({}, jax.numpy.ones(2), False, method=call_layer).tolist()
    [1.0, 1.0]
    """
    others = list(inspect.signature(layer.__call__).parameters.values())[1:]
    told = next((each for each in others if each.name in INFERENCE), None)
    found: Tree
    if told is not None and told.default is None and getattr(layer, told.name, None) is not None:
        found = layer(x)  # a field says it, and excludes the argument (flax.linen.merge_param)
    elif told is not None:
        found = layer(x, **{told.name: not INFERENCE[told.name] if train else INFERENCE[told.name]})
    elif others and others[0].kind is others[0].POSITIONAL_OR_KEYWORD and _may_be_a_flag(others[0]):
        found = layer(x, train)
    else:
        found = layer(x)
    return found


def _may_be_a_flag(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty or isinstance(parameter.default, bool)


@nn.remat
def _rematerialised(layer: nn.Module, x: Tree) -> Tree:
    return call_layer(layer, x, True)


def rematerialised(model: Any) -> Any:
    """Return a model whose base keeps little for the gradient (`Base`); its parameters are the same.

    Raise `ConfigError` for a model without a `Base`.

    >>> from tlx.models.classifier import Classifier
    >>> from tlx.models.head import Head
    >>> from tlx.models.small import cnn
    >>> rematerialised(Classifier(cnn(), Head(10))).base.remat
    True
    """
    if not isinstance(getattr(model, "base", None), Base):
        raise ConfigError(
            f"remat: {type(model).__name__} has no tlx.models.Base: rematerialise within it, or leave it off"
        )
    return model.clone(base=model.base.clone(remat=True))


def cut(base: Base, until: str) -> Base:
    """Return the base that ends with stage `until`; raise `ConfigError` for an unknown one.

    >>> from tlx.models.small import cnn
    >>> cut(cnn(), "conv2").stage_names
    ('conv1', 'conv2')
    """
    return Base(base.stages[: len(base.span(until=until))])
