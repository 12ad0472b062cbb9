"""What the engine asks of a model: to be applied and, to be trained, to name the stages of its base."""

from typing import Any, Protocol

from tlx.tree.paths import Tree


class Model(Protocol):
    """A network apart from its variables: any Linen module.

    It must be hashable, and equal to another that computes the same, for compiled programs are known by it.
    """

    def init(self, *arguments: Any, **options: Any) -> Any:
        """Return fresh variables."""

    def apply(self, variables: Tree, *arguments: Any, **options: Any) -> Any:
        """Return outputs (B, …) of inputs (B, …); with `mutable`, changed collections beside them."""


class StagedBase(Protocol):
    """A chain of named stages (`tlx.models.Base`)."""

    @property
    def stage_names(self) -> tuple[str, ...]:
        """The stages, from input to output."""


class StagedModel(Model, Protocol):
    """A network whose parameters are those of a `base`, a chain of stages, and of a `head` on it.

    `tlx.models.Classifier` is one, and computes between stages, too, which the cache of activations needs.
    """

    @property
    def base(self) -> StagedBase:
        """The chain of stages."""

    @property
    def head(self) -> Any:
        """The module on it; a `tlx.models.Head` pools, and may train alone on the device."""
