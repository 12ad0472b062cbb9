"""VGG as Keras, torchvision, timm and fastai write it."""

from dataclasses import replace

from tlx.convert.rules import Row, Table
from tlx.models.vgg import BLOCKS

HIDDEN = (4096, 4096)


def _keras(variant: str) -> Table:
    convolutions = [f"block{b}_conv{c}" for b, count in enumerate(BLOCKS[variant], 1) for c in range(1, count + 1)]
    return Table(
        f"keras/{variant}",
        variant,
        "keras",
        (
            Row("conv", "block{b}_conv{c}", "base/block{b}_conv{c}"),
            Row("dense", "fc{n}", "head/hidden{n}"),
            Row("dense", "predictions", "head/logits"),
        ),
        reference=f"keras:{variant.upper()}",
        stages=(("{stage}", "{stage}"),),
        hidden=HIDDEN,
        pool="flatten",
        layers=(*convolutions, "fc1", "fc2", "predictions"),
    )


def _torch(source: str, variant: str, norm: bool) -> Table:
    """Number the modules of `features` as torchvision counts them: convolution, batch norm, ReLU, pool."""
    rows, stages, number = [], [], 0
    for block, count in enumerate(BLOCKS[variant], 1):
        for index in range(1, count + 1):
            stage = f"block{block}_conv{index}"
            if norm:
                rows.append(Row("conv", f"features.{number}", f"base/{stage}/conv"))
                rows.append(Row("norm", f"features.{number + 1}", f"base/{stage}/conv_norm"))
            else:
                rows.append(Row("conv", f"features.{number}", f"base/{stage}"))
            number += 3 if norm else 2
            stages.append((stage, f"features.{number - 1}"))
        stages.append((f"block{block}_pool", f"features.{number}"))
        number += 1
    heads = {
        "torchvision": (
            Row("dense_7x7x512", "classifier.0", "head/hidden1"),
            Row("dense", "classifier.3", "head/hidden2"),
            Row("dense", "classifier.6", "head/logits"),
        ),
        "timm": (
            Row("conv_7x7x512", "pre_logits.fc1", "head/hidden1"),
            Row("conv_1x1", "pre_logits.fc2", "head/hidden2"),
            Row("dense", "head.fc", "head/logits"),
        ),
    }
    name = f"{variant}_bn" if norm else variant
    return Table(
        f"{source}/{name}",
        name,
        "torch",
        (*rows, *heads[source]),
        reference=f"{source}:{name}",
        stages=tuple(stages),
        hidden=HIDDEN,
        pool="average7x7",
    )


def _fastai(variant: str, norm: bool) -> Table:
    """Number the modules as torchvision's `features` alone does, which fastai puts into a Sequential."""
    table = _torch("torchvision", variant, norm)
    rows = tuple(replace(row, source=row.source.removeprefix("features.")) for row in table.rows)
    name = table.name.replace("torchvision/", "fastai/")
    return replace(table, name=name, rows=rows, reference="", stages=(), sees_like=table.name)


TABLES = (
    _keras("vgg16"),
    _keras("vgg19"),
    *(_torch(source, name, norm) for source in ("torchvision", "timm") for name in BLOCKS for norm in (False, True)),
    *(_fastai(name, norm) for name in BLOCKS for norm in (False, True)),
)
