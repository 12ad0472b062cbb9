"""Regression: one or several numbers, standardised inside and told in their own units."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tlx.data.source import Source, targets_of
from tlx.errors import ConfigError, check_choice, check_positive
from tlx.objectives.objective import Objective

Kind = Literal["squared", "absolute", "huber"]


@dataclass(frozen=True)
class Regression(Objective):
    """Predict one number or several; targets are (B, K) floats in any units.

    The model's outputs stand for targets less their mean over their standard deviation, which the training targets
    give (`fitted`), so that a head that begins at zero begins with the mean, and a learning rate serves any units.

    Args:
        loss: "squared", "absolute", or "huber", which is squared up to `delta` and absolute from there on (P. Huber,
            1964); in standard deviations, the mean of outputs.
        delta: in standard deviations.
        mean: (K,), by default that of the training targets.
        std: (K,), likewise.

    Metrics, in the targets' units, the means of outputs: "mae", the mean absolute error; "rmse", the root of the mean
    squared error; "r2", the share of the variance that is explained.

    >>> metres = Regression(mean=(2.0,), std=(0.5,))
    >>> metres.predict(jnp.array([[1.0]])).tolist()
    [[2.5]]
    """

    loss: Kind = "squared"
    delta: float = 1.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    higher_is_better: ClassVar[frozenset[str]] = frozenset({"r2"})
    target_kinds: ClassVar[tuple[str, ...] | None] = ("regression",)
    metrics: ClassVar[tuple[str, ...]] = ("mae", "rmse", "r2")

    def __post_init__(self) -> None:
        check_choice("loss", self.loss, get_args(Kind))
        check_positive(self, delta=self.delta)
        for name in ("mean", "std"):
            object.__setattr__(self, name, tuple(map(float, getattr(self, name))))
        if len(self.mean) != len(self.std) or any(each <= 0 for each in self.std):
            raise ConfigError("Regression: mean and std go together, one number an output, std above 0")

    def __call__(self, outputs: Any, batch: Mapping[str, Any], key: jax.Array | None = None) -> Mapping[str, Any]:
        """Return the terms `loss` and `mae` of outputs (B, K)."""
        wanted = batch["target"]
        errors = outputs - (wanted - self._row(self.mean, 0.0, outputs)) / self._row(self.std, 1.0, outputs)
        match self.loss:
            case "squared":
                losses = errors**2
            case "absolute":
                losses = jnp.abs(errors)
            case _:
                losses = optax.huber_loss(errors, delta=self.delta)
        return {"loss": losses.mean(-1), "mae": jnp.abs(self.predict(outputs) - wanted).mean(-1)}

    def _row(self, values: tuple[float, ...], default: float, outputs: Any) -> jax.Array:
        return jnp.asarray(values or (default,) * outputs.shape[-1], jnp.float32)[None]

    def check(self, outputs: Any, source: Source) -> None:
        """Raise `ConfigError` where the outputs are not (B, K) for the source's K numbers."""
        shape: tuple[int, ...] = getattr(outputs, "shape", ())
        count = len(source.classes)
        if len(shape) != 2 or shape[1] != count or len(self.mean) not in (0, count):
            raise ConfigError(
                f"the data have {count} numbers to predict, and the model's outputs are {shape}: give it a new head"
            )

    def fitted(self, source: Source) -> "Regression":
        """Return the objective with mean and standard deviation of the training targets, where it has none."""
        if self.mean:
            return self
        targets = targets_of(source).astype(np.float64)
        std = targets.std(0)
        return replace(self, mean=tuple(targets.mean(0)), std=tuple(np.where(std > 0, std, 1.0)))

    def predict(self, outputs: Any) -> jax.Array:
        """Return numbers (B, K) float32 in the targets' units."""
        found: jax.Array = outputs * self._row(self.std, 1.0, outputs) + self._row(self.mean, 0.0, outputs)
        return found

    def measure(self, predictions: Any, targets: Any) -> dict[str, float]:
        """Return "mae", "rmse" and "r2" of predictions (N, K) and targets (N, K)."""
        predictions, targets = (np.asarray(each, np.float64) for each in (predictions, targets))
        errors = predictions - targets
        spread = ((targets - targets.mean(0)[None]) ** 2).sum(0)
        explained = np.where(spread > 0, 1 - (errors**2).sum(0) / np.where(spread > 0, spread, 1), 0.0)
        return {
            "mae": float(np.abs(errors).mean()),
            "rmse": float(np.sqrt((errors**2).mean(0)).mean()),
            "r2": float(explained.mean()),
        }
