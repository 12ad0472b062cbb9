"""ResNet: residual blocks (K. He et al., 2015, arXiv:1512.03385), for ImageNet and for CIFAR."""

from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp

from tlx.errors import ConfigError, check_choice
from tlx.models._lowerings.pooling import max_pool
from tlx.models.base import Base, Stage
from tlx.models.layers import TORCH, ConvNorm, DType, Norm, conv_norm, relu

BLOCKS = {  # blocks in each of the four groups
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
    "resnet152": (3, 8, 36, 3),
}
BASIC = ("resnet18", "resnet34")  # blocks of two 3x3 convolutions; the others' are bottlenecks


@dataclass(frozen=True)
class Arrangement:
    """How a source arranges ResNet: which convolution of a bottleneck has the stride, biases, batch norms."""

    strided: int
    bias: bool
    norm: Norm


ARRANGEMENTS = {
    "torchvision": Arrangement(strided=2, bias=False, norm=TORCH),  # "ResNet v1.5"
    "keras": Arrangement(strided=1, bias=True, norm=Norm(epsilon=1.001e-5, momentum=0.99)),
}


class Stem(nn.Module):
    """A 7x7 convolution, batch norm, ReLU and 3x3 max-pool, each halving height and width.

    The pool pads with minus infinity. Keras pads with zeros, which is the same after a ReLU.
    """

    arrangement: Arrangement
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = conv_norm(
            x,
            train,
            64,
            7,
            name="conv",
            norm=self.arrangement.norm,
            dtype=self.dtype,
            strides=2,
            padding=3,
            bias=self.arrangement.bias,
        )
        return max_pool(x, 3, 2, ((1, 1), (1, 1)))


class Bottleneck(nn.Module):
    """Convolutions 1x1, 3x3, 1x1 to four times `features`, beside a shortcut."""

    features: int
    arrangement: Arrangement
    strides: int = 1
    projected: bool = False
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        how = self.arrangement
        shared = {"norm": how.norm, "bias": how.bias, "dtype": self.dtype}
        strides = {index: self.strides if index == how.strided else 1 for index in (1, 2)}
        y = conv_norm(x, train, self.features, 1, name="conv1", strides=strides[1], padding=0, **shared)
        y = conv_norm(y, train, self.features, 3, name="conv2", strides=strides[2], padding=1, **shared)
        y = conv_norm(y, train, 4 * self.features, 1, name="conv3", activation=None, **shared)
        if self.projected:
            more = {"strides": self.strides, "padding": 0, "activation": None, **shared}
            x = conv_norm(x, train, 4 * self.features, 1, name="shortcut", **more)
        return relu(x + y)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut: as it is, projected by a 1x1 convolution, or `padded`.

    A padded shortcut ("option A") takes every second pixel and adds channels of zeros on both sides.
    """

    features: int
    strides: int = 1
    projected: bool = False
    padded: bool = False
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        shared = {"norm": TORCH, "dtype": self.dtype}
        y = conv_norm(x, train, self.features, 3, name="conv1", strides=self.strides, padding=1, **shared)
        y = conv_norm(y, train, self.features, 3, name="conv2", padding=1, activation=None, **shared)
        if self.projected:
            more = {"strides": self.strides, "padding": 0, "activation": None, **shared}
            x = conv_norm(x, train, self.features, 1, name="shortcut", **more)
        if self.padded:
            side = (self.features - x.shape[-1]) // 2
            x = jnp.pad(x[:, :: self.strides, :: self.strides], ((0, 0), (0, 0), (0, 0), (side, side)))
        return relu(x + y)


def resnet(variant: str, arrangement: str = "torchvision", *, dtype: DType = jnp.float32) -> Base:
    """Build a ResNet base for ImageNet: features (B, ceil(H / 32), ceil(W / 32), 512 or 2048).

    Stages are the `stem` and the blocks `block1_1`, `block1_2`, …, `block4_3`. The arrangement 'keras' exists for
    bottlenecks only (Keras's `ResNet50` and on).

    >>> resnet("resnet50").stage_names[:4], len(resnet("resnet50").stages)
    (('stem', 'block1_1', 'block1_2', 'block1_3'), 17)
    """
    check_choice("variant", variant, BLOCKS)
    check_choice("arrangement", arrangement, ARRANGEMENTS)
    how = ARRANGEMENTS[arrangement]
    stages = [Stage("stem", Stem(how, dtype=dtype))]
    for group, blocks in enumerate(BLOCKS[variant]):
        features = 64 * 2**group
        for index in range(blocks):
            strides = 2 if group and not index else 1
            layer: nn.Module
            if variant in BASIC:
                layer = BasicBlock(features, strides, projected=strides == 2, dtype=dtype)
            else:
                layer = Bottleneck(features, how, strides, projected=not index, dtype=dtype)
            stages.append(Stage(f"block{group + 1}_{index + 1}", layer))
    return Base(tuple(stages))


def cifar_resnet(depth: int, *, dtype: DType = jnp.float32) -> Base:
    """Build the ResNet of 20, 32, 44 or 56 layers for CIFAR: features (B, ceil(H / 4), ceil(W / 4), 64).

    Shortcuts are option A, without parameters (section 4.2 of the paper; Y. Idelbayev's pytorch_resnet_cifar10).

    >>> cifar_resnet(20).stage_names[-1]
    'block3_3'
    """
    if depth < 8 or depth % 6 != 2:
        raise ConfigError(f"depth: {depth} is not 6 n + 2 layers, such as 20, 32, 44 or 56")
    stages = [Stage("stem", ConvNorm(16, 3, TORCH, padding=1, dtype=dtype))]
    for group, features in enumerate((16, 32, 64)):
        for index in range((depth - 2) // 6):
            narrows = bool(group) and not index
            layer = BasicBlock(features, 2 if narrows else 1, padded=narrows, dtype=dtype)
            stages.append(Stage(f"block{group + 1}_{index + 1}", layer))
    return Base(tuple(stages))
