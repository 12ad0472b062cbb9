"""Inception V3 as Keras, torchvision and timm write it."""

from tlx.convert.rules import Ignored, Row, Table
from tlx.models.inception_v3 import MIXED, Fork, Unit

UNITS = [  # every convolution of the mixed blocks, as (block, name), in the order in which Keras makes them
    (number, unit.name)
    for number, branches in enumerate(MIXED)
    for branch in branches
    for part in branch
    for unit in (part.units if isinstance(part, Fork) else (part,))
    if isinstance(unit, Unit)
]
STEM = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3")
BLOCKS = tuple(f"Mixed_{name}" for name in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c"))

# Keras sorts layers by their depth, so that branches interleave: convolutions (c) and batch norms (b) by number, in the
# order of `keras.applications.InceptionV3().layers`.
KERAS_ORDER = """
c0 b0 c1 b1 c2 b2 c3 b3 c4 b4 c8 b8 c6 c9 b6 b9 c5 c7 c10 c11 b5 b7 b10 b11 c15 b15 c13 c16 b13 b16 c12 c14 c17 c18
b12 b14 b17 b18 c22 b22 c20 c23 b20 b23 c19 c21 c24 c25 b19 b21 b24 b25 c27 b27 c28 b28 c26 c29 b26 b29 c34 b34 c35 b35
c31 c36 b31 b36 c32 c37 b32 b37 c30 c33 c38 c39 b30 b33 b38 b39 c44 b44 c45 b45 c41 c46 b41 b46 c42 c47 b42 b47 c40 c43
c48 c49 b40 b43 b48 b49 c54 b54 c55 b55 c51 c56 b51 b56 c52 c57 b52 b57 c50 c53 c58 c59 b50 b53 b58 b59 c64 b64 c65 b65
c61 c66 b61 b66 c62 c67 b62 b67 c60 c63 c68 c69 b60 b63 b68 b69 c72 b72 c73 b73 c70 c74 b70 b74 c71 c75 b71 b75 c80 b80
c77 c81 b77 b81 c78 c79 c82 c83 c76 b78 b79 b82 b83 c84 b76 b84 c89 b89 c86 c90 b86 b90 c87 c88 c91 c92 c85 b87 b88 b91
b92 c93 b85 b93
""".split()  # noqa: SIM905


def _numbered(kind: str, number: int) -> str:
    return f"{kind}_{number}" if number else kind


def _keras() -> Table:
    targets = [f"base/conv{n}/conv" for n in range(1, 6)] + [f"base/mixed{block}/{name}" for block, name in UNITS]
    rows = [Row("dense", "predictions", "head/logits")]
    for number, target in enumerate(targets):
        rows.append(Row("conv", _numbered("conv2d", number), target))
        rows.append(Row("norm", _numbered("batch_normalization", number), f"{target}_norm"))
    kinds = {"c": "conv2d", "b": "batch_normalization"}
    return Table(
        "keras/inception_v3",
        "inception_v3_keras",
        "keras",
        tuple(rows),
        reference="keras:InceptionV3",
        stages=(
            ("mixed{i}", "mixed{i}"),
            ("conv{n+1}", "Activation#{n}"),
            ("pool{n+1}", "MaxPooling2D#{n}"),
        ),
        layers=(*(_numbered(kinds[token[0]], int(token[1:])) for token in KERAS_ORDER), "predictions"),
    )


def _torch(source: str) -> Table:
    rows, stages = [Row("dense", "fc", "head/logits")], []
    for number, name in enumerate(STEM, start=1):
        rows += [
            Row("conv", f"{name}.conv", f"base/conv{number}/conv"),
            Row("norm", f"{name}.bn", f"base/conv{number}/conv_norm"),
        ]
        stages.append((f"conv{number}", name))
    for number, name in enumerate(BLOCKS):
        stages.append((f"mixed{number}", name))
    for number, unit in UNITS:
        rows += [
            Row("conv", f"{BLOCKS[number]}.{unit}.conv", f"base/mixed{number}/{unit}"),
            Row("norm", f"{BLOCKS[number]}.{unit}.bn", f"base/mixed{number}/{unit}_norm"),
        ]
    pools = {"torchvision": ("maxpool1", "maxpool2"), "timm": ("Pool1", "Pool2")}[source]
    stages += [(f"pool{number}", name) for number, name in enumerate(pools, start=1)]
    return Table(
        f"{source}/inception_v3",
        "inception_v3",
        "torch",
        tuple(rows),
        reference=f"{source}:inception_v3",
        stages=tuple(stages),
        ignored=(Ignored(r"AuxLogits\..*", "the auxiliary classifier, of use in training only"),),
    )


TABLES = (_keras(), _torch("torchvision"), _torch("timm"))
