"""Toy pictures whose class shows, and logs that remember, stop or count."""

from typing import Any

import numpy as np

from tlx.data import ArraySource, Preprocess
from tlx.training.log import Log

SPEC = Preprocess(6, 6, 1)


def toy_source(count: int = 14, classes: int = 3, seed: int = 0) -> ArraySource:
    """Make grey pictures of 6x6 in which the class is a bright pair of rows, in noise."""
    draw = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    images = draw.integers(0, 120, (count, 6, 6))
    for image, label in zip(images, labels, strict=True):
        image[2 * label : 2 * label + 2] += 130
    return ArraySource(images.astype(np.uint8), labels, tuple("abcdef"[:classes]))


class Stopped(Exception):
    """What a test raises to stop a run."""


class Recorder(Log):
    """Remember what a run tells; raise `Stopped` at epoch `stop_at` or at step `stop_at_step`."""

    def __init__(self, stop_at: int | None = None, stop_at_step: int | None = None) -> None:
        self.phases: list[tuple[str, int, int, int]] = []
        self.records: list[dict[str, Any]] = []
        self.steps = 0
        self.stop_at, self.stop_at_step = stop_at, stop_at_step

    def phase(self, name: str, epochs: int, steps: int, done: int) -> None:
        self.phases.append((name, epochs, steps, done))

    def step(self) -> None:
        self.steps += 1
        if self.steps == self.stop_at_step:
            raise Stopped

    def epoch(self, record: dict[str, Any]) -> None:
        if record["epoch"] == self.stop_at:
            raise Stopped
        self.records.append(record)


def timeless(records: Any) -> list[dict[str, Any]]:
    """Return records without their seconds."""
    plain = [record if isinstance(record, dict) else vars(record) for record in records]
    return [{key: value for key, value in record.items() if key != "seconds"} for record in plain]
