"""Optimizers by name: plain data that says which optax transformation makes an update of a gradient."""

from dataclasses import dataclass
from typing import ClassVar

import optax

from tlx.errors import check_flags, check_fraction, check_positive
from tlx.optim.brief import brief


@dataclass(frozen=True, repr=False)
class Sgd:
    """Stochastic gradient descent with momentum, Nesterov's by choice; weight decay joins the gradient."""

    momentum: float = 0.9
    nesterov: bool = False
    decoupled: ClassVar[bool] = False

    __repr__ = brief

    def __post_init__(self) -> None:
        check_fraction(self, momentum=self.momentum)
        check_flags(nesterov=self.nesterov)

    def transform(self) -> optax.GradientTransformation:
        """Build the transformation, which knows no learning rate."""
        return optax.trace(self.momentum, nesterov=self.nesterov)


@dataclass(frozen=True, repr=False)
class Adam:
    """Adam (D. Kingma and J. Ba, 2015); weight decay joins the gradient."""

    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    decoupled: ClassVar[bool] = False

    __repr__ = brief

    def __post_init__(self) -> None:
        check_fraction(self, b1=self.b1, b2=self.b2)
        check_positive(self, eps=self.eps)

    def transform(self) -> optax.GradientTransformation:
        """Build the transformation, which knows no learning rate."""
        return optax.scale_by_adam(self.b1, self.b2, self.eps)


@dataclass(frozen=True, repr=False)
class AdamW(Adam):
    """Adam with decoupled weight decay (I. Loshchilov and F. Hutter, 2019)."""

    decoupled: ClassVar[bool] = True
