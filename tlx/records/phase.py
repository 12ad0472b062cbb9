"""The record of a phase: what it trained and left alone, and what validation says of the weights it left."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from tlx.records.fields import fault, kind_of, number, take

_NOTHING = hashlib.sha256().hexdigest()  # stands in older runs where there was nothing to fingerprint


@dataclass(frozen=True)
class PhaseRecord:
    """What a phase came to: parameters trained and frozen, epochs and steps run, the validation of the weights it left.

    `frozen` counts the numbers in `frozen_leaves`, batch statistics among them, and the two SHA-256 are of these leaves
    and equal; both are None where nothing is frozen. `running_statistics` counts the batch statistics that the phase
    updates, which are neither trained nor frozen. `labels` counts the parameters of each label, 'frozen' as above.
    `activations` says what was kept of the frozen stages, or why nothing was. `scores` is what validation measured,
    by name ("val_loss", "val_accuracy", …), None without validation.
    """

    name: str
    trainable: int
    frozen: int
    epochs: int
    steps: int
    seconds: float
    stopped_early: bool
    best_epoch: int | None
    labels: dict[str, int]
    frozen_sha256_before: str | None
    frozen_sha256_after: str | None
    activations: str = ""
    running_statistics: int = 0
    scores: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def val_loss(self) -> float | None:
        """The loss on the validation examples."""
        return self.scores.get("val_loss")

    @property
    def val_accuracy(self) -> float | None:
        """The accuracy of a classification on the validation examples."""
        return self.scores.get("val_accuracy")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as data for JSON, the scores among them; `from_dict` is the inverse."""
        plain = asdict(self)
        return plain | plain.pop("scores")

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "PhaseRecord":
        """Build a record from `to_dict`'s data."""
        known = {each.name for each in fields(cls)}
        scores = {name: value for name, value in plain.items() if name.startswith("val_")}
        return cls(**{name: value for name, value in plain.items() if name in known}, scores=scores)

    @classmethod
    def read(cls, path: Path, plain: Any, index: int) -> "PhaseRecord":
        """Build record `index` from what stands in a file; `CheckpointError` for what `to_dict` does not write."""
        place = f" of phase {index + 1}"
        if not isinstance(plain, dict):
            raise fault(path, f"phase {index + 1} must be an object, found {kind_of(plain)}")
        labels = take(path, plain, "labels", "table", {}, place)
        return cls(
            name=take(path, plain, "name", "text", place=place),
            trainable=take(path, plain, "trainable", "count", place=place),
            frozen=take(path, plain, "frozen", "count", place=place),
            epochs=take(path, plain, "epochs", "count", 0, place),
            steps=take(path, plain, "steps", "count", 0, place),
            seconds=number(path, plain, "seconds", place=place),
            stopped_early=take(path, plain, "stopped_early", "flag", False, place),
            best_epoch=take(path, plain, "best_epoch", "count", None, place),
            labels={label: take(path, labels, label, "count", place=place) for label in labels},
            frozen_sha256_before=_sha256(path, plain, "frozen_sha256_before", place),
            frozen_sha256_after=_sha256(path, plain, "frozen_sha256_after", place),
            activations=take(path, plain, "activations", "text", "", place),
            running_statistics=take(path, plain, "running_statistics", "count", 0, place),
            scores={
                name: None if plain[name] is None else number(path, plain, name, place=place)
                for name in plain
                if name.startswith("val_")
            },
        )

    def __str__(self) -> str:
        counts = f"{self.trainable:,} parameters trained, {self.frozen:,} frozen"
        scored = reversed([(name, value) for name, value in self.scores.items() if value is not None])
        scores = "".join(f", {name} {value:.4f}" for name, value in scored)
        epochs = f"{self.epochs} epoch{'s' if self.epochs != 1 else ''}"
        best = {None: "", 0: ", none better than its start"}.get(self.best_epoch, f", the best {self.best_epoch}")
        return f"{self.name}: {epochs}{best}, {counts}{scores}"


def _sha256(path: Path, plain: Mapping[str, Any], key: str, place: str) -> str | None:
    """Read a fingerprint; that of no bytes at all proves nothing, and is none."""
    found: str | None = take(path, plain, key, "text", None, place)
    return None if found == _NOTHING else found


@dataclass(frozen=True)
class Stage:
    """What one stage of the base, or the head, is in a phase: its label and its parameters."""

    name: str
    label: str
    parameters: int


@dataclass(frozen=True)
class PhasePlan:
    """What a phase is begun with: the phase as plain data (`tlx.optim.phases.to_plain`), and its stages."""

    phase: Mapping[str, Any] = field(default_factory=dict)
    stages: tuple[Stage, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as data for JSON; `read` is the inverse."""
        stages = {stage.name: {"label": stage.label, "parameters": stage.parameters} for stage in self.stages}
        return {**self.phase, "stages": stages}

    @classmethod
    def read(cls, path: Path, plain: Any, index: int) -> "PhasePlan":
        """Build plan `index` from what stands in a file; `CheckpointError` for what `to_dict` does not write."""
        place = f" of phase {index + 1}"
        if not isinstance(plain, dict):
            raise fault(path, f"phase {index + 1} must be an object, found {kind_of(plain)}")
        stages = take(path, plain, "stages", "table", {}, place)
        found = []
        for name in stages:
            stage, at = take(path, stages, name, "table", place=f" in the stages{place}"), f" of stage {name!r}{place}"
            label, count = take(path, stage, "label", "text", place=at), take(path, stage, "parameters", "count", 0, at)
            found.append(Stage(name, label, count))
        return cls({key: value for key, value in plain.items() if key != "stages"}, tuple(found))
