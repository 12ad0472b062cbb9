"""`metrics.jsonl`: what each epoch measured, one JSON object a line."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tlx.records.fields import figures, number, parse, read_text, take

METRICS = "metrics.jsonl"
PLACE = frozenset({"run", "phase", "phase_index", "epoch", "step", "seconds", "rates", "compiled"})
"""What a line says beside figures."""


@dataclass(frozen=True)
class Epoch:
    """Hold one line of `metrics.jsonl`; a figure that was not finite or not taken is NaN."""

    run: str
    phase: str
    phase_index: int
    epoch: int
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float
    rates: Mapping[str, float]
    figures: Mapping[str, float] = field(default_factory=dict)
    """All that was measured, by name."""


def read_epochs(path: Path) -> tuple[Epoch, ...]:
    """Read all lines; raise `CheckpointError` that numbers the one that is not what tlx wrote."""
    epochs = []
    # Not splitlines: a name may hold U+2028 and the like, which JSON leaves as they are.
    for at, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        place = f" in line {at}"
        row = parse(path, line, place)
        rates = take(path, row, "rates", "table", {}, place)
        epochs.append(
            Epoch(
                run=take(path, row, "run", "text", "transfer", place),
                phase=take(path, row, "phase", "text", place=place),
                phase_index=take(path, row, "phase_index", "count", 0, place),
                epoch=take(path, row, "epoch", "count", place=place),
                loss=number(path, row, "loss", place=place),
                accuracy=number(path, row, "accuracy", place=place),
                val_loss=number(path, row, "val_loss", place=place),
                val_accuracy=number(path, row, "val_accuracy", place=place),
                seconds=number(path, row, "seconds", place=place),
                rates={label: number(path, rates, label, place=place) for label in rates},
                figures=figures(path, {name: row[name] for name in row if name not in PLACE}, place),
            )
        )
    return tuple(epochs)
