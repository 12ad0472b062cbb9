"""ResNet as Keras, torchvision, timm, pytorch_resnet_cifar10, fastai and transformers write it."""

from tlx.convert.rules import Row, Table
from tlx.models.resnet import BASIC, BLOCKS

KERAS_ROWS = (
    Row("conv", "conv1_conv", "base/stem/conv"),
    Row("norm", "conv1_bn", "base/stem/conv_norm"),
    Row("conv", "conv{g+1}_block{i}_0_conv", "base/block{g}_{i}/shortcut"),
    Row("norm", "conv{g+1}_block{i}_0_bn", "base/block{g}_{i}/shortcut_norm"),
    Row("conv", "conv{g+1}_block{i}_{n}_conv", "base/block{g}_{i}/conv{n}"),
    Row("norm", "conv{g+1}_block{i}_{n}_bn", "base/block{g}_{i}/conv{n}_norm"),
    Row("dense", "predictions", "head/logits"),
)
BLOCK_ROWS = (
    Row("conv", "layer{g}.{i}.conv{n}", "base/block{g}_{i+1}/conv{n}"),
    Row("norm", "layer{g}.{i}.bn{n}", "base/block{g}_{i+1}/conv{n}_norm"),
    Row("conv", "layer{g}.{i}.downsample.0", "base/block{g}_{i+1}/shortcut"),
    Row("norm", "layer{g}.{i}.downsample.1", "base/block{g}_{i+1}/shortcut_norm"),
    Row("conv", "conv1", "base/stem/conv"),
    Row("norm", "bn1", "base/stem/conv_norm"),
)
# fastai, as others, puts the children of torchvision's network into a Sequential: relu and maxpool are 2 and 3.
NUMBERED_ROWS = (
    Row("conv", "{g+3}.{i}.conv{n}", "base/block{g}_{i+1}/conv{n}"),
    Row("norm", "{g+3}.{i}.bn{n}", "base/block{g}_{i+1}/conv{n}_norm"),
    Row("conv", "{g+3}.{i}.downsample.0", "base/block{g}_{i+1}/shortcut"),
    Row("norm", "{g+3}.{i}.downsample.1", "base/block{g}_{i+1}/shortcut_norm"),
    Row("conv", "0", "base/stem/conv"),
    Row("norm", "1", "base/stem/conv_norm"),
    Row("dense", "10", "head/logits"),
)
_BLOCK, _STEM = "encoder.stages.{g-1}.layers.{i}", "embedder.embedder"
TRANSFORMERS_ROWS = (
    Row("conv", f"{_BLOCK}.layer.{{n-1}}.convolution", "base/block{g}_{i+1}/conv{n}"),
    Row("norm", f"{_BLOCK}.layer.{{n-1}}.normalization", "base/block{g}_{i+1}/conv{n}_norm"),
    Row("conv", f"{_BLOCK}.shortcut.convolution", "base/block{g}_{i+1}/shortcut"),
    Row("norm", f"{_BLOCK}.shortcut.normalization", "base/block{g}_{i+1}/shortcut_norm"),
    Row("conv", f"{_STEM}.convolution", "base/stem/conv"),
    Row("norm", f"{_STEM}.normalization", "base/stem/conv_norm"),
    Row("dense", "classifier.1", "head/logits"),
)


def _keras_layers(blocks: tuple[int, ...]) -> tuple[str, ...]:
    layers = ["conv1_conv", "conv1_bn"]
    first = ("1_conv", "1_bn", "2_conv", "2_bn", "0_conv", "3_conv", "0_bn", "3_bn")
    others = tuple(part for part in first if not part.startswith("0"))
    for group, count in enumerate(blocks, start=2):
        for index in range(1, count + 1):
            layers += [f"conv{group}_block{index}_{part}" for part in (first if index == 1 else others)]
    return (*layers, "predictions")


def _keras(variant: str) -> Table:
    return Table(
        f"keras/{variant}",
        f"{variant}_keras",
        "keras",
        KERAS_ROWS,
        reference=f"keras:{variant.replace('resnet', 'ResNet')}",
        stages=(("stem", "pool1_pool"), ("block{g}_{i}", "conv{g+1}_block{i}_out")),
        layers=_keras_layers(BLOCKS[variant]),
    )


def _torch(source: str, variant: str) -> Table:
    return Table(
        f"{source}/{variant}",
        variant,
        "torch",
        (*BLOCK_ROWS, Row("dense", "fc", "head/logits")),
        reference=f"{source}:{variant}",
        stages=(("stem", "maxpool"), ("block{g}_{i+1}", "layer{g}.{i}")),
    )


def _renamed(source: str, variant: str, rows: tuple[Row, ...], sees_like: str) -> Table:
    return Table(f"{source}/{variant}", variant, "torch", rows, reference="", stages=(), sees_like=sees_like)


def _cifar(depth: int) -> Table:
    return Table(
        f"cifar/resnet{depth}",
        f"resnet{depth}",
        "torch",
        (*BLOCK_ROWS, Row("dense", "linear", "head/logits")),
        reference="",  # Y. Idelbayev's pytorch_resnet_cifar10 is no package
        stages=(("block{g}_{i+1}", "layer{g}.{i}"),),
        classes=10,
    )


TABLES = (
    *(_keras(variant) for variant in BLOCKS if variant not in BASIC),
    *(_torch(source, variant) for source in ("torchvision", "timm") for variant in BLOCKS),
    *(_cifar(depth) for depth in (20, 32, 44, 56)),
    *(_renamed("fastai", variant, NUMBERED_ROWS, f"torchvision/{variant}") for variant in BLOCKS),
    *(_renamed("transformers", variant, TRANSFORMERS_ROWS, f"timm/{variant}.gluon_in1k") for variant in BLOCKS),
)
