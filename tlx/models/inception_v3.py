"""Inception V3: blocks of parallel branches (C. Szegedy et al., 2015, arXiv:1512.00567), in two arrangements."""

from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp

from tlx.errors import check_choice
from tlx.models._lowerings.pooling import avg_pool_3x3, max_pool
from tlx.models.base import Base, Stage
from tlx.models.layers import ConvNorm, DType, MaxPool, Norm, conv_norm


@dataclass(frozen=True)
class Arrangement:
    """How a source arranges Inception V3: its batch norms, and whether zeros beyond the edge count in averages."""

    norm: Norm
    count_padding: bool


ARRANGEMENTS = {
    "keras": Arrangement(Norm(epsilon=1e-3, momentum=0.99, use_scale=False), count_padding=False),
    "torchvision": Arrangement(Norm(epsilon=1e-3, momentum=0.9), count_padding=True),
}


@dataclass(frozen=True)
class Unit:
    """One convolution of a branch: its name, features and kernel; those that `narrow` have stride 2 and no padding."""

    name: str
    features: int
    kernel: int | tuple[int, int]
    narrows: bool = False


@dataclass(frozen=True)
class Fork:
    """The end of a branch that splits in two convolutions, whose outputs are joined."""

    units: tuple[Unit, Unit]


@dataclass(frozen=True)
class Pool:
    """The beginning of a branch: the average, or the maximum of every second pixel's, of each 3x3 square."""

    narrows: bool = False


Branch = tuple[Unit | Fork | Pool, ...]


class Mixed(nn.Module):
    """Branches side by side, their outputs joined along the channels."""

    branches: tuple[Branch, ...]
    arrangement: Arrangement
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        return jnp.concatenate([self._branch(x, branch, train) for branch in self.branches], axis=-1)

    def _branch(self, x: jax.Array, branch: Branch, train: bool) -> jax.Array:
        for part in branch:
            if isinstance(part, Fork):
                x = jnp.concatenate([self._unit(x, unit, train) for unit in part.units], axis=-1)
            elif isinstance(part, Unit):
                x = self._unit(x, part, train)
            elif part.narrows:
                x = max_pool(x, 3, 2)
            else:
                x = avg_pool_3x3(x, count_padding=self.arrangement.count_padding)
        return x

    def _unit(self, x: jax.Array, unit: Unit, train: bool) -> jax.Array:
        how = {"strides": 2, "padding": "VALID"} if unit.narrows else {}
        more = {"name": unit.name, "norm": self.arrangement.norm, "dtype": self.dtype, **how}
        return conv_norm(x, train, unit.features, unit.kernel, **more)


def _wide(pooled: int) -> tuple[Branch, ...]:
    """Branches of the blocks 0 to 2 (torchvision's InceptionA)."""
    return (
        (Unit("branch1x1", 64, 1),),
        (Unit("branch5x5_1", 48, 1), Unit("branch5x5_2", 64, 5)),
        (Unit("branch3x3dbl_1", 64, 1), Unit("branch3x3dbl_2", 96, 3), Unit("branch3x3dbl_3", 96, 3)),
        (Pool(), Unit("branch_pool", pooled, 1)),
    )


def _factorised(features: int) -> tuple[Branch, ...]:
    """Branches of the blocks 4 to 7 (InceptionC): 7x7 convolutions as 1x7 and 7x1."""
    row, column = (1, 7), (7, 1)
    return (
        (Unit("branch1x1", 192, 1),),
        (Unit("branch7x7_1", features, 1), Unit("branch7x7_2", features, row), Unit("branch7x7_3", 192, column)),
        (
            Unit("branch7x7dbl_1", features, 1),
            Unit("branch7x7dbl_2", features, column),
            Unit("branch7x7dbl_3", features, row),
            Unit("branch7x7dbl_4", features, column),
            Unit("branch7x7dbl_5", 192, row),
        ),
        (Pool(), Unit("branch_pool", 192, 1)),
    )


_NARROW_3 = (  # InceptionB
    (Unit("branch3x3", 384, 3, narrows=True),),
    (Unit("branch3x3dbl_1", 64, 1), Unit("branch3x3dbl_2", 96, 3), Unit("branch3x3dbl_3", 96, 3, narrows=True)),
    (Pool(narrows=True),),
)
_NARROW_8 = (  # InceptionD
    (Unit("branch3x3_1", 192, 1), Unit("branch3x3_2", 320, 3, narrows=True)),
    (
        Unit("branch7x7x3_1", 192, 1),
        Unit("branch7x7x3_2", 192, (1, 7)),
        Unit("branch7x7x3_3", 192, (7, 1)),
        Unit("branch7x7x3_4", 192, 3, narrows=True),
    ),
    (Pool(narrows=True),),
)
_FORKED = (  # InceptionE
    (Unit("branch1x1", 320, 1),),
    (
        Unit("branch3x3_1", 384, 1),
        Fork((Unit("branch3x3_2a", 384, (1, 3)), Unit("branch3x3_2b", 384, (3, 1)))),
    ),
    (
        Unit("branch3x3dbl_1", 448, 1),
        Unit("branch3x3dbl_2", 384, 3),
        Fork((Unit("branch3x3dbl_3a", 384, (1, 3)), Unit("branch3x3dbl_3b", 384, (3, 1)))),
    ),
    (Pool(), Unit("branch_pool", 192, 1)),
)

MIXED: tuple[tuple[Branch, ...], ...] = (
    _wide(32),
    _wide(64),
    _wide(64),
    _NARROW_3,
    _factorised(128),
    _factorised(160),
    _factorised(160),
    _factorised(192),
    _NARROW_8,
    _FORKED,
    _FORKED,
)


def inception_v3(arrangement: str = "torchvision", *, dtype: DType = jnp.float32) -> Base:
    """Build the Inception V3 base: features (B, H', W', 2048), 8 by 8 for 299 by 299; images from 75 by 75.

    Stages: `conv1` to `conv5` with `pool1` after the third and `pool2` at the end, then `mixed0` to `mixed10` (Keras's
    numbers; torchvision's Mixed_5b to Mixed_7c). Torchvision's auxiliary classifier, of use in its training only, is
    not part of it.

    >>> inception_v3().stage_names[-2:]
    ('mixed9', 'mixed10')
    """
    check_choice("arrangement", arrangement, ARRANGEMENTS)
    how = ARRANGEMENTS[arrangement]
    valid = {"norm": how.norm, "padding": "VALID", "dtype": dtype}
    stages = [
        Stage("conv1", ConvNorm(32, 3, strides=2, **valid)),
        Stage("conv2", ConvNorm(32, 3, **valid)),
        Stage("conv3", ConvNorm(64, 3, norm=how.norm, dtype=dtype)),
        Stage("pool1", MaxPool(3, 2)),
        Stage("conv4", ConvNorm(80, 1, **valid)),
        Stage("conv5", ConvNorm(192, 3, **valid)),
        Stage("pool2", MaxPool(3, 2)),
    ]
    stages += [Stage(f"mixed{i}", Mixed(branches, how, dtype=dtype)) for i, branches in enumerate(MIXED)]
    return Base(tuple(stages))
