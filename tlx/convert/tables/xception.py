"""Xception as Keras writes it."""

from tlx.convert.rules import Row, Table

SHORTCUTS = ("block2", "block3", "block4", "block13")  # Keras numbers their layers only
ROWS = (
    Row("conv", "block1_conv{c}", "base/block1_conv{c}/conv"),
    Row("norm", "block1_conv{c}_bn", "base/block1_conv{c}/conv_norm"),
    Row("separable", "block14_sepconv{c}", "base/block14_sepconv{c}"),
    Row("norm", "block14_sepconv{c}_bn", "base/block14_sepconv{c}/norm"),
    Row("separable", "block{b}_sepconv{c}", "base/block{b}/sepconv{c}"),
    Row("norm", "block{b}_sepconv{c}_bn", "base/block{b}/sepconv{c}/norm"),
    *(Row("conv", f"conv2d_{n}" if n else "conv2d", f"base/{block}/shortcut") for n, block in enumerate(SHORTCUTS)),
    *(
        Row("norm", f"batch_normalization_{n}" if n else "batch_normalization", f"base/{block}/shortcut_norm")
        for n, block in enumerate(SHORTCUTS)
    ),
    Row("dense", "predictions", "head/logits"),
)


def _layers() -> tuple[str, ...]:
    names = ["block1_conv1", "block1_conv1_bn", "block1_conv2", "block1_conv2_bn"]
    for block in range(2, 15):
        convolutions = 2 if block in (2, 3, 4, 13, 14) else 3
        names += [f"block{block}_sepconv{c}{end}" for c in range(1, convolutions + 1) for end in ("", "_bn")]
        if f"block{block}" in SHORTCUTS:
            number = SHORTCUTS.index(f"block{block}")
            names += [f"{kind}_{number}" if number else kind for kind in ("conv2d", "batch_normalization")]
    return (*names, "predictions")


TABLES = (
    Table(
        "keras/xception",
        "xception",
        "keras",
        ROWS,
        reference="keras:Xception",
        stages=(
            ("block1_conv{c}", "block1_conv{c}_act"),
            ("block14_sepconv{c}", "block14_sepconv{c}_act"),
            *((f"block{block}", f"Add#{block - 2}") for block in range(2, 14)),
        ),
        layers=_layers(),
    ),
)
