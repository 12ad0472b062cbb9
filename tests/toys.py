"""Toys for whole fits: images whose class shows, a small model, and logs that remember and stop."""

import struct
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from cases import CASE, Case

import tlx
from tlx.data import ArraySource
from tlx.images import Preprocess
from tlx.logs import Log
from tlx.models import Base, Classifier, Head, Stage
from tlx.optim import Constant, Group

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
    """Make grey images of 6x6 in which the class is a bright pair of rows, in noise."""
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


OPTIONS = {field.name for field in fields(tlx.RunOptions)}


def split_options(how: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split keyword arguments into those of an options record and others."""
    return {k: v for k, v in how.items() if k in OPTIONS}, {k: v for k, v in how.items() if k not in OPTIONS}


def fit_sources(
    model: Any, variables: Any, recipe: Any, train: Any, validation: Any = None, preprocess: Any = SPEC, **how: Any
) -> tlx.Fit:
    """Fit a model in pieces to two sources; options of `tlx.TrainOptions` go by their names."""
    options, rest = split_options({"preprocess": preprocess, "batch_size": 32, **how})
    return tlx.fit(model, variables, recipe, (train, validation), tlx.TrainOptions(**options), **rest)


def fit_toy(recipe: Any, case: Case = RANDOM, **options: Any) -> tlx.Fit:
    """Fit a toy to twelve images in batches of four, validated on eight others."""
    given = {"train": toy_source(12), "validation": toy_source(8, seed=1), "batch_size": 4}
    return fit_sources(case.model, case.variables(), recipe, **{**given, **options})


def finetune_toy(out: Path, **changes: Any) -> tlx.Run:
    """Run the MLP to five digits a class: two epochs of the head, two of everything, and four from scratch."""
    base = tlx.load("mlp-mnist")
    head = Group(Constant(0.05))
    options = {
        "data": tlx.load_data("digits", labels_per_class=5),
        "recipe": tlx.recipes.finetune(base, head_epochs=2, base_epochs=2, head=head, base=head, patience=None),
        "batch_size": 25,
        "config": {"seed": 0},
        **changes,
    }
    return finetune_with(base, out=out, **options)


def finetune_with(base: Any, data: Any, recipe: Any, **how: Any) -> tlx.Run:
    """Run `tlx.finetune`; options of `tlx.RunOptions` go by their names."""
    options, rest = split_options(how)
    return tlx.finetune(base, data, recipe, tlx.RunOptions(**options), **rest)


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


# Inputs that are no images


@dataclass(frozen=True)
class Letters:
    """Turn texts into the numbers of their letters, those after a comma in a second segment."""

    length: int = 5

    def collate(self, inputs: Any) -> Any:
        ids, segments = np.zeros((2, len(inputs), self.length), np.uint8)
        for row, text in enumerate(inputs):
            letters = [
                (ord(letter) - ord("a") + 1, part) for part, half in enumerate(text.split(",")) for letter in half
            ]
            for place, (number, part) in enumerate(letters[: self.length]):
                ids[row, place], segments[row, place] = number, part
        return {"ids": ids, "segments": segments}

    def on_device(self, arrays: Any) -> Any:
        ids, segments = (arrays[name].astype(np.int32) for name in ("ids", "segments"))
        return {"ids": ids, "segments": segments, "mask": ids > 0}

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "letters", "length": self.length}


def toy_texts(count: int = 12, seed: int = 0) -> tlx.data.ColumnSource:
    """Make texts in which the class is a letter, beside others."""
    draw = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    texts = []
    for label in labels:
        letters = [*draw.choice(list("defghij"), draw.integers(0, 4)), "abc"[label]]
        draw.shuffle(letters)
        texts.append(",".join(["".join(letters[:2]), "".join(letters[2:])]))
    return tlx.data.ColumnSource({"input": texts, "target": labels, "weight": np.ones(count, np.float32)}, "xyz")


def toy_numbers(count: int = 12, seed: int = 0) -> tlx.data.ColumnSource:
    """Make vectors, and two numbers that depend on them, in units of their own."""
    draw = np.random.default_rng(seed)
    vectors = draw.normal(size=(count, 7)).astype(np.float32)
    targets = np.stack([vectors[:, 0] * 100 + 1000, vectors[:, 1] - vectors[:, 2]], 1)
    return tlx.data.ColumnSource({"input": vectors, "target": targets}, ("height", "tilt"), "regression")


@dataclass(frozen=True)
class Kind:
    """A kind of inputs and targets: a model, its input spec, and examples."""

    case: Case
    spec: Any
    source: Any

    def fit(self, recipe: Any, **how: Any) -> tlx.Fit:
        """Fit to twelve examples in batches of five, validated on eight others."""
        options, rest = split_options({"preprocess": self.spec, "batch_size": 5, **how})
        parts = rest.pop("parts", (self.source(12), self.source(8, 1)))
        variables = rest.pop("variables", None) or self.case.variables()
        return tlx.fit(self.case.model, variables, recipe, parts, tlx.TrainOptions(**options), **rest)


KINDS = {
    "tokens": Kind(CASE["tokens"], Letters(), toy_texts),
    "numbers": Kind(CASE["numbers"], tlx.data.Vectors(7), toy_numbers),
}


class StopAt:
    """Ask for a stop at the given question."""

    def __init__(self, question):
        self.question, self.asked = question, 0

    def __call__(self):
        self.asked += 1
        return self.asked == self.question
