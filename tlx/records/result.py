"""`result.json`: what a run came to; that it is there makes a run finished."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tlx.records.fields import REQUIRED, figures, number, read_json, take
from tlx.records.phase import PhaseRecord

RESULT = "result.json"


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a run came to on its test examples, and its phases.

    `test` are the metrics by name. Those of the model trained from scratch are in `scratch_test`; where none was
    trained, `scratch_phases` is empty. A figure that was not taken is None when written and NaN when read.
    """

    test_accuracy: float | None
    test_loss: float | None
    test: Mapping[str, float]
    test_examples: int | None
    scratch_accuracy: float | None
    seconds: float
    run_dir: str = ""
    base: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    phases: tuple[PhaseRecord, ...]
    scratch_phases: tuple[PhaseRecord, ...] = ()
    scratch_test: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_classified(self) -> bool:
        """Whether an accuracy was measured; older runs wrote no metrics by name, and all measured it."""
        return not self.test or "accuracy" in self.test

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as data for JSON; `read` is the inverse."""
        scratch = {"phases": [each.to_dict() for each in self.scratch_phases], "test": dict(self.scratch_test)}
        return {
            "test_accuracy": self.test_accuracy,
            "test_loss": self.test_loss,
            "test": dict(self.test),
            "test_examples": self.test_examples,
            "scratch_accuracy": self.scratch_accuracy,
            "seconds": self.seconds,
            "run_dir": self.run_dir,
            "base": self.base,
            "data": dict(self.data),
            "phases": [each.to_dict() for each in self.phases],
            "scratch": scratch if self.scratch_phases else None,
        }

    @classmethod
    def read(cls, path: Path) -> "Result":
        """Read and check a `result.json`, of older versions, too; raise `CheckpointError` naming field and cure.

        >>> Result.read(Path("no/such/result.json"))
        Traceback (most recent call last):
            ...
        tlx.errors.CheckpointError: no/such/result.json: missing; let the run come to its end ...
        """
        plain = read_json(path)
        test, scratch = (take(path, plain, name, "table", {}) for name in ("test", "scratch"))
        classified = not test or "accuracy" in test
        return cls(
            test_accuracy=number(path, plain, "test_accuracy", REQUIRED if classified else math.nan),
            test_loss=number(path, plain, "test_loss"),
            test=figures(path, test),
            test_examples=take(path, plain, "test_examples", "count", None),
            scratch_accuracy=number(path, plain, "scratch_accuracy"),
            seconds=number(path, plain, "seconds"),
            run_dir=take(path, plain, "run_dir", "text", ""),
            base=take(path, plain, "base", "text", None),
            data=take(path, plain, "data", "table", {}),
            phases=_phases(path, take(path, plain, "phases", "list")),
            scratch_phases=_phases(path, take(path, scratch, "phases", "list", [])),
            scratch_test=figures(path, take(path, scratch, "test", "table", {})),
        )


def _phases(path: Path, plain: list[Any]) -> tuple[PhaseRecord, ...]:
    return tuple(PhaseRecord.read(path, each, at) for at, each in enumerate(plain))
