"""VGG: plain chains of 3x3 convolutions (K. Simonyan, A. Zisserman, 2014, arXiv:1409.1556)."""

import jax.numpy as jnp

from tlx.errors import check_choice
from tlx.models.base import Base, Stage
from tlx.models.layers import TORCH, Conv, ConvNorm, DType, MaxPool

BLOCKS = {  # convolutions in each of the five blocks
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}
FEATURES = (64, 128, 256, 512, 512)


def vgg(variant: str, *, norm: bool = False, dtype: DType = jnp.float32) -> Base:
    """Build a VGG base: 'vgg11', 'vgg13', 'vgg16' or 'vgg19'; features (B, H // 32, W // 32, 512).

    Stages are the convolutions with their ReLU, `block1_conv1` and on, and the pools, `block1_pool` and on, as Keras
    names them. With `norm` a batch norm stands before each ReLU (torchvision's `_bn` variants), and a stage holds
    `conv` and `conv_norm`.

    >>> vgg("vgg16").stage_names[:4]
    ('block1_conv1', 'block1_conv2', 'block1_pool', 'block2_conv1')
    """
    check_choice("variant", variant, BLOCKS)
    stages = []
    for block, (convolutions, features) in enumerate(zip(BLOCKS[variant], FEATURES, strict=True), start=1):
        for index in range(1, convolutions + 1):
            layer = (
                ConvNorm(features, 3, TORCH, bias=True, dtype=dtype) if norm else Conv(features, (3, 3), dtype=dtype)
            )
            stages.append(Stage(f"block{block}_conv{index}", layer))
        stages.append(Stage(f"block{block}_pool", MaxPool(2, 2)))
    return Base(tuple(stages))
