"""The record of a phase: what it trained and left alone, and what validation says of the weights it left."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any


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

    def __str__(self) -> str:
        counts = f"{self.trainable:,} parameters trained, {self.frozen:,} frozen"
        scored = reversed([(name, value) for name, value in self.scores.items() if value is not None])
        scores = "".join(f", {name} {value:.4f}" for name, value in scored)
        epochs = f"{self.epochs} epoch{'s' if self.epochs != 1 else ''}"
        best = {None: "", 0: ", none better than its start"}.get(self.best_epoch, f", the best {self.best_epoch}")
        return f"{self.name}: {epochs}{best}, {counts}{scores}"
