"""Toys for whole fits: pictures whose class shows, a small model, and logs that remember and stop."""

import struct
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from cases import Case

import tlx
from tlx.data import ArraySource
from tlx.images import Preprocess
from tlx.models import Base, Classifier, Head, Stage
from tlx.optim import Constant, Group
from tlx.training.log import Log

SPEC = Preprocess(6, 6, 1)


class DenseNorm(nn.Module):
    """A dense layer, a BatchNorm, a ReLU and a dropout: quick to compile."""

    features: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = nn.Dense(self.features, use_bias=False, name="dense")(x.reshape(x.shape[0], -1))
        x = nn.relu(nn.BatchNorm(momentum=0.5, name="norm")(x, use_running_average=not train))
        return nn.Dropout(self.dropout, name="dropout")(x, deterministic=not train)


def _toy(name: str, dropout: float) -> Case:
    return Case(
        name,
        Classifier(Base((Stage("stem", DenseNorm(6)), Stage("block", DenseNorm(5, dropout)))), Head(3)),
        (6, 6, 1),
        ("stem", "block"),
        "base/block/dense/kernel",
        {"stem": 216 + 12 + 12, "block": 30 + 10 + 10, "head": 18},
    )


PLAIN, RANDOM = _toy("plain", 0.0), _toy("random", 0.3)  # without dropout and with it


def toy_source(count: int = 14, classes: int = 3, seed: int = 0) -> ArraySource:
    """Make grey pictures of 6x6 in which the class is a bright pair of rows, in noise."""
    draw = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    images = draw.integers(0, 120, (count, 6, 6))
    for image, label in zip(images, labels, strict=True):
        image[2 * label : 2 * label + 2] += 130
    return ArraySource(images.astype(np.uint8), labels, tuple("abcdef"[:classes]))


def toy_features(count: int, width: int, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw features of unlike sizes and means, one of them constant, and labels that they tell a little of."""
    draw = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    features = draw.normal(size=(count, width)) + draw.normal(size=(classes, width))[labels]
    features = features * np.geomspace(0.1, 10, width)[None] + draw.normal(size=(1, width)) * 5
    features[:, 1] = 0.1
    return features.astype(np.float32), labels


class Stopped(Exception):
    """What a test raises to stop a run."""


class Recorder(Log):
    """Remember what a run tells; raise `Stopped` at epoch `stop_at` or at step `stop_at_step`."""

    def __init__(self, stop_at: int | None = None, stop_at_step: int | None = None) -> None:
        self.phases: list[tuple[str, int, int, int]] = []
        self.records: list[dict[str, Any]] = []
        self.taken = 0
        self.stop_at, self.stop_at_step = stop_at, stop_at_step

    def phase(self, name: str, epochs: int, steps: int, done: int) -> None:
        self.phases.append((name, epochs, steps, done))

    def steps(self, count: int) -> None:
        self.taken += count
        if self.taken == self.stop_at_step:
            raise Stopped

    def epoch(self, record: dict[str, Any]) -> None:
        if record["epoch"] == self.stop_at:
            raise Stopped
        self.records.append(record)


def timeless(records: Any) -> list[dict[str, Any]]:
    """Return records without their seconds, and without how often XLA compiled, which a resume does again."""
    plain = [record if isinstance(record, dict) else vars(record) for record in records]
    return [{key: value for key, value in record.items() if key not in ("seconds", "compiled")} for record in plain]


def fit_toy(recipe: Any, case: Case = RANDOM, **options: Any) -> tlx.Fit:
    """Fit a toy to twelve pictures in batches of four, validated on eight others."""
    given = {"train": toy_source(12), "validation": toy_source(8, seed=1), "preprocess": SPEC, "batch_size": 4}
    return tlx.fit(case.model, case.variables(), recipe, **{**given, **options})


def finetune_toy(out: Path, **changes: Any) -> tlx.Run:
    """Run the MLP to five digits a class: two epochs of the head, two of everything, and four from scratch."""
    base = tlx.load("mlp-mnist")
    head = Group(Constant(0.05))
    options = {
        "data": tlx.load_data("digits", labels_per_class=5),
        "recipe": tlx.recipes.finetune(base.stages, head_epochs=2, base_epochs=2, head=head, base=head),
        "batch_size": 25,
        "config": {"seed": 0},
        **changes,
    }
    return tlx.finetune(base, out=out, **options)


def everything_in(directory: Path) -> dict[str, tuple[int, bytes]]:
    """Return the time of change and the content of each file below a directory."""
    return {
        str(path.relative_to(directory)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def events_in(directory: Path) -> list[Any]:
    """Read TensorBoard's files as its format says: length, checksum, protobuf, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted(directory.glob("events.out.tfevents.*")):
        content, place = path.read_bytes(), 0
        while place < len(content):
            (length,) = struct.unpack_from("<Q", content, place)
            event = Event()
            event.ParseFromString(content[place + 12 : place + 12 + length])
            found.append(event)
            place += 12 + length + 4
        assert place == len(content)
    return found


def scalars_in(directory: Path) -> dict[tuple[str, int], float]:
    """Read the scalars among TensorBoard's events: (tag, step) to value."""
    return {
        (value.tag, event.step): value.simple_value
        for event in events_in(directory)
        for value in event.summary.value
        if value.WhichOneof("value") == "simple_value"
    }
