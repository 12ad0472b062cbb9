"""MobileNet V2: inverted residuals (M. Sandler et al., 2018, arXiv:1801.04381), in two arrangements."""

from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp

from tlx.errors import check_choice
from tlx.models.base import Base, Stage
from tlx.models.layers import TORCH, ConvNorm, DType, Norm, Padding, conv_norm

GROUPS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
# expansion, features, blocks, stride of the first


@dataclass(frozen=True)
class Arrangement:
    """How a source arranges MobileNet V2: the padding of its 3x3 convolutions, and its batch norms."""

    padding: Padding
    norm: Norm


ARRANGEMENTS = {
    "keras": Arrangement("SAME", Norm(epsilon=1e-3, momentum=0.999)),  # pads even sizes at the end only
    "torchvision": Arrangement(1, TORCH),
}


class InvertedResidual(nn.Module):
    """A 1x1 convolution `expand` (none where `expansion` is 1), a 3x3 `depthwise` and a linear 1x1 `project`.

    Where the shape stays, the input is added.
    """

    features: int
    expansion: int
    strides: int
    arrangement: Arrangement
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        shared = {"norm": self.arrangement.norm, "dtype": self.dtype}
        y, channels = x, x.shape[-1] * self.expansion
        if self.expansion != 1:
            y = conv_norm(y, train, channels, 1, name="expand", activation=nn.relu6, **shared)
        how = {"strides": self.strides, "padding": self.arrangement.padding, "activation": nn.relu6, **shared}
        y = conv_norm(y, train, channels, 3, name="depthwise", groups=channels, **how)
        y = conv_norm(y, train, self.features, 1, name="project", activation=None, **shared)
        return x + y if x.shape == y.shape else y


def mobilenet_v2(arrangement: str = "torchvision", *, dtype: DType = jnp.float32) -> Base:
    """Build the MobileNet V2 base of width 1: features (B, ceil(H / 32), ceil(W / 32), 1280).

    Stages: `stem`, `block0` to `block16` (Keras's numbers; its `expanded_conv` is `block0`), `top`.

    >>> mobilenet_v2().stage_names[-2:]
    ('block16', 'top')
    """
    check_choice("arrangement", arrangement, ARRANGEMENTS)
    how = ARRANGEMENTS[arrangement]
    shared = {"norm": how.norm, "activation": nn.relu6, "dtype": dtype}
    stages = [Stage("stem", ConvNorm(32, 3, strides=2, padding=how.padding, **shared))]
    for expansion, features, blocks, first in GROUPS:
        for index in range(blocks):
            layer = InvertedResidual(features, expansion, 1 if index else first, how, dtype=dtype)
            stages.append(Stage(f"block{len(stages) - 1}", layer))
    return Base((*stages, Stage("top", ConvNorm(1280, 1, **shared))))
