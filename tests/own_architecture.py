"""A file of a user's that registers an architecture of their own, and weights for it."""

from pathlib import Path

import numpy as np

CODE = """
import flax.linen as nn
import jax.numpy as jnp

import tlx
from tlx.convert import Row, Table
from tlx.models import Base, Stage


class Layer(nn.Module):
    features: int
    dtype: object = jnp.float32

    @nn.compact
    def __call__(self, x, train=False):
        return nn.relu(nn.Conv(self.features, (3, 3), dtype=self.dtype, name="conv")(x))


def own(*, dtype=jnp.float32):
    return Base((Stage("c1", Layer(4, dtype)), Stage("c2", Layer(8, dtype))))


rows = (Row("conv", "c{i}", "base/c{i}/conv"), Row("dense", "fc", "head/logits"))
tlx.register_architecture(
    "own",
    own,
    input_shape=(8, 8, 1),
    tables=[Table("lab/own", "own", "torch", rows, classes=10)],
    preprocess=tlx.Preprocess(8, 8, 1),
    classes=[f"digit {n}" for n in range(10)],
)
"""


def write_code(folder: Path, name: str = "lab_own.py", code: str = CODE) -> Path:
    path = folder / name
    path.write_text(code)
    return path


def write_weights(folder: Path) -> Path:
    draw = np.random.default_rng(0)
    shapes = {"c1.weight": (4, 1, 3, 3), "c1.bias": (4,), "c2.weight": (8, 4, 3, 3), "c2.bias": (8,)}
    shapes |= {"fc.weight": (10, 8), "fc.bias": (10,)}
    arrays = {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    np.savez(folder / "own.npz", **arrays)
    return folder / "own.npz"
