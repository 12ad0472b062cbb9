"""The classifier: a base and a head on top, with features and logits apart."""

import flax.linen as nn

from tlx.models.base import Base
from tlx.tree.paths import Tree


class Classifier(nn.Module):
    """Run a base, then a head. Its variables are `{'params': {'base': …, 'head': …}, 'batch_stats': {'base': …}}`.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> from tlx.models.head import Head
    >>> from tlx.models.small import mlp
    >>> model = Classifier(base=mlp(), head=Head(classes=10))
    >>> variables = model.init(jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
    >>> model.apply(variables, jnp.zeros((2, 28, 28, 1))).shape
    (2, 10)
    >>> model.apply(variables, jnp.zeros((2, 28, 28, 1)), until="dense1", method="features").shape
    (2, 8)
    """

    base: Base
    head: nn.Module

    def __repr__(self) -> str:
        fields = {name: getattr(self.head, name) for name in ("classes", "hidden", "pool") if hasattr(self.head, name)}
        head = ", ".join(f"{name}={value!r}" for name, value in fields.items())
        return f"Classifier({self.base!r}, {type(self.head).__name__}({head}))"

    def __call__(self, x: Tree, train: bool = False, *, after: str | None = None) -> Tree:
        """Return what the head makes of inputs (B, …), or of what stage `after` returned: logits (B, classes)."""
        return self.logits(self.features(x, train, after=after), train)

    def features(self, x: Tree, train: bool = False, *, after: str | None = None, until: str | None = None) -> Tree:
        """Return the base's output, or run a part of it only (`Base.__call__`)."""
        return self.base(x, train, after=after, until=until)

    def logits(self, features: Tree, train: bool = False) -> Tree:
        """Return what the head makes of the whole base's features."""
        return self.head(features, train)
