"""The registry: architectures by name, and the configuration that builds a model from one."""

import functools
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import jax
import jax.numpy as jnp

from tlx.errors import ConfigError
from tlx.models.base import Base
from tlx.models.classifier import Classifier
from tlx.models.head import Head, Pool
from tlx.models.small import cnn, mlp
from tlx.tree.paths import Tree, quote


@dataclass(frozen=True)
class Architecture:
    """How to build a base, the shape of picture it was made for, and the pooling its heads take by default."""

    build: Callable[[], Base]
    input_shape: tuple[int, int, int]
    pool: Pool


ARCHITECTURES: dict[str, Architecture] = {
    "mlp": Architecture(mlp, (28, 28, 1), "flatten"),
    "cnn": Architecture(cnn, (28, 28, 1), "flatten"),
}


@dataclass(frozen=True)
class ModelConfig:
    """What a model is made of; plain data, so that it can be stored beside weights.

    `input_shape` is (height, width, channels); `hidden`, `pool` and `dropout` describe the head (`Head`).
    """

    architecture: str
    classes: int
    input_shape: tuple[int, int, int]
    hidden: tuple[int, ...] = ()
    pool: Pool = "average"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("input_shape", "hidden"):  # lists would make the model unhashable, and jit needs the hash
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.architecture not in ARCHITECTURES:
            raise ConfigError(f"unknown architecture {self.architecture!r}: use one of {quote(ARCHITECTURES)}")
        if len(self.input_shape) != 3:
            raise ConfigError(f"input_shape is (height, width, channels), not {self.input_shape}")
        if self.classes < 1 or any(size < 1 for size in (*self.hidden, *self.input_shape)):
            raise ConfigError(
                f"sizes must be positive: classes={self.classes}, hidden={self.hidden}, input_shape={self.input_shape}"
            )
        if self.pool not in ("flatten", "average", "max"):
            raise ConfigError(f"unknown pool {self.pool!r}: use 'flatten', 'average' or 'max'")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout must be at least 0 and under 1, not {self.dropout}")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain data; the inverse of `from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "ModelConfig":
        """Build a configuration from plain data; raise `ConfigError` for keys that are missing or unknown."""
        plain: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()
        }
        try:
            return cls(**plain)
        except TypeError as error:
            raise ConfigError(f"model configuration {fields}: {error}") from None


def build_model(config: ModelConfig) -> Classifier:
    """Build the classifier that a configuration describes.

    >>> model = build_model(ModelConfig("cnn", classes=10, input_shape=(28, 28, 1), hidden=(64,), pool="flatten"))
    >>> model.base.stage_names
    ('conv1', 'conv2', 'conv3')
    """
    head = Head(config.classes, hidden=config.hidden, pool=config.pool, dropout=config.dropout)
    return Classifier(base=ARCHITECTURES[config.architecture].build(), head=head)


def init_variables(config: ModelConfig, seed: int = 0) -> Tree:
    """Initialise the variables of the model that a configuration describes (`initialise`).

    >>> variables = init_variables(ModelConfig("mlp", classes=10, input_shape=(28, 28, 1)))
    >>> sum(leaf.size for leaf in jax.tree.leaves(variables))
    6366
    """
    return initialise(build_model(config), config.input_shape, seed)


def initialise(model: Any, input_shape: tuple[int, int, int], seed: int) -> Tree:
    """Initialise the variables of a Linen module for pictures (B, *input_shape), as nested dicts of float32 arrays."""
    variables: Tree = _initialise(model, input_shape, jax.random.key(seed))
    return variables


@functools.partial(jax.jit, static_argnums=(0, 1))
def _initialise(model: Any, input_shape: tuple[int, int, int], key: jax.Array) -> Tree:
    return model.init(key, jnp.zeros((1, *input_shape), jnp.float32))
