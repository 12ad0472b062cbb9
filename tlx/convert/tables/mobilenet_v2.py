"""MobileNet V2 as Keras, torchvision, timm and transformers write it."""

from tlx.convert.rules import Row, Table
from tlx.models.mobilenet_v2 import GROUPS

BLOCKS = [(group, index) for group, (_, _, count, _) in enumerate(GROUPS) for index in range(count)]
PARTS = ("expand", "depthwise", "project")


def _keras() -> Table:
    """Name block 0, which has no `expand`, 'expanded_conv', and the others by number."""
    rows = [
        Row("conv", "Conv1", "base/stem/conv"),
        Row("norm", "bn_Conv1", "base/stem/conv_norm"),
        Row("conv", "Conv_1", "base/top/conv"),
        Row("norm", "Conv_1_bn", "base/top/conv_norm"),
        Row("dense", "predictions", "head/logits"),
    ]
    for name, block in (("expanded_conv", "block0"), ("block_{i}", "block{i}")):
        for part in PARTS:
            kind = "depthwise" if part == "depthwise" else "conv"
            rows.append(Row(kind, f"{name}_{part}", f"base/{block}/{part}"))
            rows.append(Row("norm", f"{name}_{part}_BN", f"base/{block}/{part}_norm"))
    layers, stages = ["Conv1", "bn_Conv1"], [("stem", "Conv1_relu"), ("top", "out_relu")]
    for number, (_, index) in enumerate(BLOCKS):
        name = f"block_{number}" if number else "expanded_conv"
        layers += [f"{name}_{part}{end}" for part in (PARTS if number else PARTS[1:]) for end in ("", "_BN")]
        stages.append((f"block{number}", f"{name}_add" if index else f"{name}_project_BN"))
    return Table(
        "keras/mobilenet_v2",
        "mobilenet_v2_keras",
        "keras",
        tuple(rows),
        reference="keras:MobileNetV2",
        stages=tuple(stages),
        layers=(*layers, "Conv_1", "Conv_1_bn", "predictions"),
    )


def _torchvision() -> Table:
    rows = [
        Row("conv", "features.0.0", "base/stem/conv"),
        Row("norm", "features.0.1", "base/stem/conv_norm"),
        Row("conv", "features.18.0", "base/top/conv"),
        Row("norm", "features.18.1", "base/top/conv_norm"),
        Row("conv", "features.1.conv.0.0", "base/block0/depthwise"),
        Row("norm", "features.1.conv.0.1", "base/block0/depthwise_norm"),
        Row("conv", "features.1.conv.1", "base/block0/project"),
        Row("norm", "features.1.conv.2", "base/block0/project_norm"),
        Row("conv", "features.{i+1}.conv.0.0", "base/block{i}/expand"),
        Row("norm", "features.{i+1}.conv.0.1", "base/block{i}/expand_norm"),
        Row("conv", "features.{i+1}.conv.1.0", "base/block{i}/depthwise"),
        Row("norm", "features.{i+1}.conv.1.1", "base/block{i}/depthwise_norm"),
        Row("conv", "features.{i+1}.conv.2", "base/block{i}/project"),
        Row("norm", "features.{i+1}.conv.3", "base/block{i}/project_norm"),
        Row("dense", "classifier.1", "head/logits"),
    ]
    return Table(
        "torchvision/mobilenet_v2",
        "mobilenet_v2",
        "torch",
        tuple(rows),
        reference="torchvision:mobilenet_v2",
        stages=(("stem", "features.0"), ("top", "features.18"), ("block{i}", "features.{i+1}")),
    )


def _timm() -> Table:
    rows = [
        Row("conv", "conv_stem", "base/stem/conv"),
        Row("norm", "bn1", "base/stem/conv_norm"),
        Row("conv", "conv_head", "base/top/conv"),
        Row("norm", "bn2", "base/top/conv_norm"),
        Row("dense", "classifier", "head/logits"),
    ]
    stages = [("stem", "bn1"), ("top", "bn2")]
    for number, (group, index) in enumerate(BLOCKS):
        own = ("conv_pw", "conv_dw", "conv_pwl") if number else ("conv_dw", "conv_pw")
        for place, (name, part) in enumerate(zip(own, PARTS if number else PARTS[1:], strict=True), start=1):
            rows.append(Row("conv", f"blocks.{group}.{index}.{name}", f"base/block{number}/{part}"))
            rows.append(Row("norm", f"blocks.{group}.{index}.bn{place}", f"base/block{number}/{part}_norm"))
        stages.append((f"block{number}", f"blocks.{group}.{index}"))
    return Table(
        "timm/mobilenet_v2",
        "mobilenet_v2",
        "torch",
        tuple(rows),
        reference="timm:mobilenetv2_100",
        stages=tuple(stages),
    )


def _transformers() -> Table:
    """Read Google's weights, which transformers pads as TensorFlow does by default: the network is Keras's."""
    parts = (("expand_1x1", "expand"), ("conv_3x3", "depthwise"), ("reduce_1x1", "project"))
    places = [("conv_stem.first_conv", "base/stem/conv"), ("conv_1x1", "base/top/conv")]
    places += [(f"conv_stem.{theirs}", f"base/block0/{own}") for theirs, own in parts[1:]]
    places += [(f"layer.{{i-1}}.{theirs}", f"base/block{{i}}/{own}") for theirs, own in parts]
    rows = [Row("conv", f"{theirs}.convolution", own) for theirs, own in places]
    rows += [Row("norm", f"{theirs}.normalization", f"{own}_norm") for theirs, own in places]
    return Table(
        "transformers/mobilenet_v2",
        "mobilenet_v2_keras",
        "torch",
        (*rows, Row("dense", "classifier", "head/logits")),
        reference="",
        stages=(),
        classes=1001,
        sees_like="keras/mobilenet_v2",
    )


TABLES = (_keras(), _torchvision(), _timm(), _transformers())
