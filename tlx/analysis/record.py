"""Read a run's directory into one checked record."""

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tlx.analysis.evaluation import NOTHING, Evaluation, read_evaluation
from tlx.analysis.outcome import UNKNOWN, Outcome, read_outcome
from tlx.errors import CheckpointError
from tlx.files import home

_CURES = {
    "run.json": "give the directory that `tlx finetune` wrote, or run it again",
    "result.json": "let the run come to its end (`tlx finetune --resume`), or run it again",
    "metrics.jsonl": "restore it from a copy, or run again",
    "config.yaml": "restore it from a copy, or remove it: a report can do without",
}
_MOST_TEXT = 256 << 20  # bytes of one JSON or YAML file
_REQUIRED: Any = object()
_NOTHING = hashlib.sha256().hexdigest()  # stands in older runs where there was nothing to fingerprint


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


@dataclass(frozen=True)
class Stage:
    """Hold what one stage of the base, or the head, was in a phase: its label and its parameters."""

    name: str
    label: str
    parameters: int


@dataclass(frozen=True)
class PhaseRecord:
    """Hold one phase: what came of it, the plan it followed (`{}` if unknown) and its stages (if known)."""

    name: str
    trainable: int
    frozen: int
    labels: Mapping[str, int]
    epochs: int
    steps: int
    val_accuracy: float
    val_loss: float
    seconds: float
    stopped_early: bool
    best_epoch: int | None
    frozen_sha256_before: str | None
    frozen_sha256_after: str | None
    running_statistics: int
    plan: Mapping[str, Any]
    stages: tuple[Stage, ...]
    scores: Mapping[str, float] = field(default_factory=dict)
    """What validation measured, by name ("val_loss", …)."""


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
    phases: tuple[PhaseRecord, ...]
    scratch: tuple[PhaseRecord, ...]
    metrics: tuple[Epoch, ...]
    evaluation: Evaluation
    outcome: Outcome | None = None
    """What was answered where the targets are no classes; `evaluation` is empty then."""
    test: Mapping[str, float] = field(default_factory=dict)
    scratch_test: Mapping[str, float] = field(default_factory=dict)

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
    type, and what `tlx.analysis.evaluation.read_evaluation` raises. Figures that are null or not finite become NaN.

    >>> read_run("no/such/run")
    Traceback (most recent call last):
        ...
    tlx.errors.CheckpointError: no/such/run: no such run directory; give the directory that `tlx finetune` wrote
    """
    path = home(run_dir)
    if not path.is_dir():
        raise CheckpointError(f"{path}: no such run directory; give the directory that `tlx finetune` wrote")
    run, result = _read_json(path / "run.json"), _read_json(path / "result.json")
    at, of = path / "run.json", path / "result.json"
    classes = _texts(at, run, "classes", _REQUIRED)
    data = _take(at, run, "data", "table", {})
    measured = _take(of, result, "data", "table", {})
    sizes = _take(at, run, "sizes", "table", {})
    baseline = _take(of, result, "scratch", "table", {})
    tested = _take(of, result, "test", "table", {})
    evaluation, outcome = NOTHING, None
    if tested and "accuracy" not in tested:
        kind = _take(at, run, "objective", "table", {}).get("kind")
        known = kind in ("MultiLabel", "Regression")
        outcome = read_outcome(path / "evaluation.npz", len(classes)) if known else UNKNOWN
    else:
        evaluation = read_evaluation(path / "evaluation.npz", len(classes))
    held = len(evaluation.labels) if outcome is None else len(outcome.targets)
    examples = _take(of, result, "test_examples", "count", held)
    if examples != held and outcome is not UNKNOWN:
        raise _fault(of, f"counts {examples} test examples, evaluation.npz holds {held}")
    return RunRecord(
        path=path,
        base=_take(at, run, "base", "text", None),
        classes=classes,
        source=_take(at, data, "source", "text", None) or _take(of, measured, "source", "text", None),
        labels_per_class=_take(at, data, "labels_per_class", "count", None),
        sizes={part: _take(at, sizes, part, "count", 0) for part in ("train", "validation", "test")},
        notes=_texts(at, run, "notes", []),
        skipped=_texts(at, run, "skipped", []),
        batch_size=_take(at, run, "batch_size", "count", None),
        seed=_take(at, run, "seed", "integer", None),
        preprocess=_take(at, run, "preprocess", "table", {}),
        model=_take(at, run, "model", "table", {}),
        versions=_take(at, run, "versions", "table", {}),
        command=_take(at, run, "command", "text", None),
        config=_read_text(path / "config.yaml") if (path / "config.yaml").exists() else None,
        test_accuracy=_number(of, result, "test_accuracy", _REQUIRED if outcome is None else math.nan),
        test_loss=_number(of, result, "test_loss"),
        test_examples=examples,
        scratch_accuracy=_number(of, result, "scratch_accuracy"),
        seconds=_number(of, result, "seconds"),
        exported=_size(path / "export" / "model.safetensors"),
        phases=_phases(of, _take(of, result, "phases", "list"), at, _take(at, run, "phases", "list")),
        scratch=_phases(of, _take(of, baseline, "phases", "list", []), at, []),
        metrics=_read_metrics(path / "metrics.jsonl"),
        evaluation=evaluation,
        outcome=outcome,
        test=_figures(of, tested),
        scratch_test=_figures(of, _take(of, baseline, "test", "table", {})),
    )


def _size(path: Path) -> int | None:
    """Return the size of a file in bytes, or None where it is not there."""
    try:
        return path.stat().st_size
    except OSError:
        return None


def _fault(path: Path, what: str) -> CheckpointError:
    return CheckpointError(f"{path}: {what}; {_CURES[path.name]}")


def _read_text(path: Path) -> str:
    try:
        if not path.is_file():  # a pipe or a device would hang or never end
            raise _fault(path, "missing" if not path.exists() else "not a file")
        if path.stat().st_size > _MOST_TEXT:
            raise _fault(path, f"larger than {_MOST_TEXT >> 20} MiB, so not written by a run")
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise _fault(path, f"cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise _fault(path, f"not UTF-8 at byte {error.start}") from error


def _parse(path: Path, text: str, place: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _fault(path, f"not JSON{place} (cut short?): {error}") from error
    if not isinstance(value, dict):
        raise _fault(path, f"expected a JSON object{place}, found {_kind(value)}")
    return value


def _read_json(path: Path) -> dict[str, Any]:
    return _parse(path, _read_text(path), "")


def _kind(value: object) -> str:
    """Name the JSON type of `value`."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "text": ("a text", lambda value: isinstance(value, str)),
    "integer": ("an integer", _is_integer),
    "count": ("an integer of at least 0", lambda value: _is_integer(value) and value >= 0),
    "number": ("a number", lambda value: isinstance(value, float) or _is_integer(value)),
    "flag": ("true or false", lambda value: isinstance(value, bool)),
    "table": ("an object", lambda value: isinstance(value, dict)),
    "list": ("a list", lambda value: isinstance(value, list)),
}


def _take(path: Path, table: Mapping[str, Any], key: str, kind: str, default: Any = _REQUIRED, place: str = "") -> Any:
    """Return `table[key]` if it is of the named kind; null and absence alike give the default, if there is one."""
    value = table.get(key)
    if value is None:
        if default is _REQUIRED:
            raise _fault(path, f"{key!r}{place} is {'null' if key in table else 'missing'}")
        return default
    name, holds = _KINDS[kind]
    if not holds(value):
        raise _fault(path, f"{key!r}{place} must be {name}, found {_kind(value)}")
    return value


def _number(path: Path, table: Mapping[str, Any], key: str, default: Any = math.nan, place: str = "") -> float:
    """Return a finite number as it is, null, absence and infinity as NaN."""
    value = float(_take(path, table, key, "number", default, place))
    return value if math.isfinite(value) else math.nan


def _texts(path: Path, table: Mapping[str, Any], key: str, default: Any) -> tuple[str, ...]:
    values = _take(path, table, key, "list", default)
    for index, value in enumerate(values):
        if not isinstance(value, str):
            raise _fault(path, f"{key!r} item {index} must be a text, found {_kind(value)}")
    return tuple(values)


def _phases(path: Path, outcomes: list[Any], plan_path: Path, plans: list[Any]) -> tuple[PhaseRecord, ...]:
    phases = []
    for index, outcome in enumerate(outcomes):
        place = f" of phase {index + 1}"
        plan = plans[index] if index < len(plans) else {}
        for at, value in ((path, outcome), (plan_path, plan)):
            if not isinstance(value, dict):
                raise _fault(at, f"phase {index + 1} must be an object, found {_kind(value)}")
        labels = _take(path, outcome, "labels", "table", {}, place)
        phases.append(
            PhaseRecord(
                name=_take(path, outcome, "name", "text", place=place),
                trainable=_take(path, outcome, "trainable", "count", place=place),
                frozen=_take(path, outcome, "frozen", "count", place=place),
                labels={label: _take(path, labels, label, "count", place=place) for label in labels},
                epochs=_take(path, outcome, "epochs", "count", 0, place),
                steps=_take(path, outcome, "steps", "count", 0, place),
                val_accuracy=_number(path, outcome, "val_accuracy", place=place),
                val_loss=_number(path, outcome, "val_loss", place=place),
                seconds=_number(path, outcome, "seconds", place=place),
                stopped_early=_take(path, outcome, "stopped_early", "flag", False, place),
                best_epoch=_take(path, outcome, "best_epoch", "count", None, place),
                frozen_sha256_before=_sha256(path, outcome, "frozen_sha256_before", place),
                frozen_sha256_after=_sha256(path, outcome, "frozen_sha256_after", place),
                running_statistics=_take(path, outcome, "running_statistics", "count", 0, place),
                plan=plan,
                stages=_stages(plan_path, _take(plan_path, plan, "stages", "table", {}, place), place),
                scores=_figures(path, {name: outcome[name] for name in outcome if name.startswith("val_")}, place),
            )
        )
    return tuple(phases)


_PLACE = {"run", "phase", "phase_index", "epoch", "step", "seconds", "rates", "compiled"}  # beside figures


def _figures(path: Path, table: Mapping[str, Any], place: str = "") -> dict[str, float]:
    return {name: _number(path, table, name, place=place) for name in table}


def _sha256(path: Path, outcome: Mapping[str, Any], key: str, place: str) -> str | None:
    """Read a fingerprint; that of no bytes at all proves nothing, and is none."""
    found: str | None = _take(path, outcome, key, "text", None, place)
    return None if found == _NOTHING else found


def _stages(path: Path, stages: Mapping[str, Any], place: str) -> tuple[Stage, ...]:
    return tuple(
        Stage(
            name=name,
            label=_take(path, stage, "label", "text", place=f" of stage {name!r}{place}"),
            parameters=_take(path, stage, "parameters", "count", 0, f" of stage {name!r}{place}"),
        )
        for name in stages
        for stage in [_take(path, stages, name, "table", place=f" in the stages{place}")]
    )


def _read_metrics(path: Path) -> tuple[Epoch, ...]:
    epochs = []
    # Not splitlines: a name may hold U+2028 and the like, which JSON leaves as they are.
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        place = f" in line {number}"
        row = _parse(path, line, place)
        rates = _take(path, row, "rates", "table", {}, place)
        epochs.append(
            Epoch(
                run=_take(path, row, "run", "text", "transfer", place),
                phase=_take(path, row, "phase", "text", place=place),
                phase_index=_take(path, row, "phase_index", "count", 0, place),
                epoch=_take(path, row, "epoch", "count", place=place),
                loss=_number(path, row, "loss", place=place),
                accuracy=_number(path, row, "accuracy", place=place),
                val_loss=_number(path, row, "val_loss", place=place),
                val_accuracy=_number(path, row, "val_accuracy", place=place),
                seconds=_number(path, row, "seconds", place=place),
                rates={label: _number(path, rates, label, place=place) for label in rates},
                figures=_figures(path, {name: row[name] for name in row if name not in _PLACE}, place),
            )
        )
    return tuple(epochs)
