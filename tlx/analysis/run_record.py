"""Read a run's directory into one checked record, for what shows it."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from itertools import starmap, zip_longest
from pathlib import Path
from typing import Any

from tlx.errors import CheckpointError
from tlx.files import home
from tlx.records.description import RUN, Description
from tlx.records.epoch import METRICS, Epoch, read_epochs
from tlx.records.evaluation import EVALUATION, NOTHING, Evaluation, read_evaluation
from tlx.records.fields import fault, read_text, take
from tlx.records.outcome import UNKNOWN, Outcome, read_outcome
from tlx.records.phase import PhasePlan, PhaseRecord, Stage
from tlx.records.result import RESULT, Result
from tlx.records.tags import TagRecord, read_tag_record
from tlx.records.texts import TextRecord, read_texts

CONFIG = "config.yaml"


@dataclass(frozen=True)
class PlannedPhase(PhaseRecord):
    """What came of a phase, beside the plan it followed (`{}` if unknown) and its stages (if known)."""

    plan: Mapping[str, Any] = field(default_factory=dict)
    stages: tuple[Stage, ...] = ()

    @classmethod
    def of(cls, record: PhaseRecord, plan: PhasePlan | None = None) -> "PlannedPhase":
        """Put a record beside its plan."""
        own = {each.name: getattr(record, each.name) for each in fields(record)}
        own["scores"] = {name: _or_nan(value) for name, value in record.scores.items()}
        return cls(**own) if plan is None else cls(**own, plan=plan.to_dict(), stages=plan.stages)

    @property
    def val_accuracy(self) -> float:
        """The accuracy on the validation examples, NaN where it was not measured."""
        return _or_nan(self.scores.get("val_accuracy"))


@dataclass(frozen=True)
class RunRecord:
    """Hold everything that a run left behind, checked.

    `scratch` is empty where no baseline was trained; `exported` is the size of the trained model's file in bytes.
    """

    path: Path
    base: str | None
    classes: tuple[str, ...]
    source: str | None
    labels_per_class: int | None
    sizes: Mapping[str, int]
    notes: tuple[str, ...]
    skipped: tuple[str, ...]
    batch_size: int | None
    seed: int | None
    preprocess: Mapping[str, Any]
    model: Mapping[str, Any]
    versions: Mapping[str, Any]
    command: str | None
    config: str | None
    test_accuracy: float
    test_loss: float
    test_examples: int
    scratch_accuracy: float
    seconds: float
    exported: int | None
    phases: tuple[PlannedPhase, ...]
    scratch: tuple[PlannedPhase, ...]
    metrics: tuple[Epoch, ...]
    evaluation: Evaluation
    outcome: Outcome | None = None
    """What was answered where the targets are no classes; `evaluation` is empty then."""
    test: Mapping[str, float] = field(default_factory=dict)
    scratch_test: Mapping[str, float] = field(default_factory=dict)
    texts: TextRecord | None = None
    """What the run kept of its texts; None where the inputs are others."""
    tags: TagRecord | None = None
    """What became of entities, and of words without a prediction; None where no words are tagged."""

    @property
    def metric(self) -> str:
        """The metric that stands for all: accuracy, where there is one."""
        if self.outcome is None:
            return "accuracy"
        named = [name for name in self.test if name != "loss"]
        return "mean_average_precision" if "mean_average_precision" in named else (*named, "loss")[0]


def read_run(run_dir: str | os.PathLike[str]) -> RunRecord:
    """Read and check `run.json`, `result.json`, `metrics.jsonl`, `evaluation.npz` and, if there, `config.yaml`.

    Raises `CheckpointError` naming the file, the field and the cure for whatever is missing, cut short or of the wrong
    type, and what `tlx.records.read_evaluation` raises. Figures that are null or not finite become NaN.

    >>> read_run("no/such/run")
    Traceback (most recent call last):
        ...
    tlx.errors.CheckpointError: no/such/run: no such run directory; give the directory that `tlx finetune` wrote
    """
    path = home(run_dir)
    if not path.is_dir():
        raise CheckpointError(f"{path}: no such run directory; give the directory that `tlx finetune` wrote")
    begun, result = Description.read(path / RUN), Result.read(path / RESULT)
    evaluation, outcome = NOTHING, None
    if result.is_classified:
        evaluation = read_evaluation(path / EVALUATION, len(begun.classes))
    elif begun.objective.get("kind") in ("MultiLabel", "Regression"):
        outcome = read_outcome(path / EVALUATION, len(begun.classes))
    else:
        outcome = UNKNOWN
    held = len(evaluation.labels) if outcome is None else len(outcome.targets)
    examples = held if result.test_examples is None else result.test_examples
    if examples != held and outcome is not UNKNOWN:
        raise fault(path / RESULT, f"counts {examples} test examples, evaluation.npz holds {held}")
    data, measured = begun.data or {}, result.data
    return RunRecord(
        path=path,
        base=begun.base,
        classes=begun.classes,
        source=take(path / RUN, data, "source", "text", None) or take(path / RESULT, measured, "source", "text", None),
        labels_per_class=take(path / RUN, data, "labels_per_class", "count", None),
        sizes=begun.sizes,
        notes=begun.notes,
        skipped=begun.skipped,
        batch_size=begun.batch_size,
        seed=begun.seed,
        preprocess=begun.preprocess,
        model=begun.model,
        versions=begun.versions,
        command=begun.command,
        config=read_text(path / CONFIG) if (path / CONFIG).exists() else None,
        test_accuracy=_or_nan(result.test_accuracy),
        test_loss=_or_nan(result.test_loss),
        test_examples=examples,
        scratch_accuracy=_or_nan(result.scratch_accuracy),
        seconds=result.seconds,
        exported=_size(path / "export" / "model.safetensors"),
        phases=tuple(starmap(PlannedPhase.of, zip_longest(result.phases, begun.phases[: len(result.phases)]))),
        scratch=tuple(map(PlannedPhase.of, result.scratch_phases)),
        metrics=read_epochs(path / METRICS),
        evaluation=evaluation,
        outcome=outcome,
        test=result.test,
        scratch_test=result.scratch_test,
        texts=read_texts(path / EVALUATION, len(evaluation.mistakes)) if (path / EVALUATION).is_file() else None,
        tags=read_tag_record(path / EVALUATION) if (path / EVALUATION).is_file() else None,
    )


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _size(path: Path) -> int | None:
    """Return the size of a file in bytes, or None where it is not there."""
    try:
        return path.stat().st_size
    except OSError:
        return None
