"""Write a run's report: one HTML page that needs nothing but itself."""

import hashlib
import json
import math
import os
import shlex
import uuid
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from tlx.analysis.feature_map import MOST_COLOURED, class_mark, feature_map
from tlx.analysis.image_data import data_uri, heat_over
from tlx.analysis.metrics import accuracy_interval, class_figures, expected_calibration_error, most_confused
from tlx.analysis.names import shown
from tlx.analysis.plots import confusion, curves, reliability, scatter, words
from tlx.analysis.run_record import PlannedPhase, RunRecord, read_run
from tlx.analysis.sharing import shareable
from tlx.analysis.texts import mistaken, text_data
from tlx.errors import StorageError
from tlx.files import home
from tlx.records.epoch import Epoch
from tlx.records.evaluation import Evaluation

if TYPE_CHECKING:
    from jinja2 import Environment

_OPEN_CLASSES = 15  # as many are listed at once, the rest behind a click
_MOST_SKIPPED = 200  # bad images that are listed
_PLOTTED = 6  # numbers to predict that have a plot each
_COLOURS = 6  # of trainable labels, in the style sheet: .label-0 and on
NOTHING = hashlib.sha256().hexdigest()  # what older runs recorded where nothing was hashed
USAGE = """\
import tlx

print(tlx.predict(tlx.load({run}), {inputs}))"""
_INPUTS: dict[Any, str] = {
    None: "photos/",
    "vectors": "new.csv",
    "tokens": "new.txt",
}  # what is predicted, by the kind of input spec
_QUIET = {"b1", "b2", "eps", "no_decay", "slots"}  # of a group: left to the full plan


def write_report(run_dir: str | os.PathLike[str]) -> Path:
    """Read a run and write `report.html` into its directory, whole or not at all; return its path.

    The page may be shared: it names files and data without the folders above them (`tlx.analysis.sharing`).

    Raises what `read_run` raises, and `StorageError` where the page cannot be written.

    >>> write_report("no/such/run")
    Traceback (most recent call last):
        ...
    tlx.errors.CheckpointError: no/such/run: no such run directory; give the directory that `tlx finetune` wrote
    """
    path = home(run_dir) / "report.html"
    page = render(shareable(read_run(run_dir))).encode("utf-8")
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        try:
            with open(temporary, "xb") as file:
                file.write(page)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}); free the disk or its permissions") from error
    return path


def render(run: RunRecord) -> str:
    """Lay a run out as one self-contained HTML page: no script, no request, every text of the run escaped."""
    from markupsafe import Markup

    evaluation, classes = run.evaluation, run.classes
    labels, predicted = evaluation.labels, evaluation.predicted
    contestants = _contestants(run)
    inputs = _INPUTS.get(run.preprocess.get("kind"), _INPUTS[None])
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            run=run,
            title=f"{shown(run.base or 'a base of your own', 60)} → {data_name(run.source)}",
            contestants=contestants,
            verdict=_verdict(contestants),
            headline=_headline(run),
            outcome=_outcome(run),
            colours=_label_colours(run.phases + run.scratch),
            stages=list(dict.fromkeys(stage.name for phase in run.phases for stage in phase.stages)),
            curves=[
                (words(quantity), Markup(curves(run.metrics, quantity))) for quantity in _drawn(run) if run.metrics
            ],
            measured=_measured(run),
            unfinite=[row for row in run.metrics if not _finite(run, row)],
            validated=any(math.isfinite(row.val_loss) or math.isfinite(row.val_accuracy) for row in run.metrics),
            matrix=Markup(confusion(labels, predicted, classes)) if len(labels) else None,
            confused=most_confused(labels, predicted),
            wrong=int((labels != predicted).sum()),
            figures=_by_difficulty(labels, predicted, len(classes)),
            open_classes=_OPEN_CLASSES,
            calibration=_calibration(labels == predicted, evaluation.confidence),
            map=_feature_map(run),
            mistakes=_mistakes(run),
            mistaken_texts=_mistaken_texts(run),
            texts=text_data(run.texts, run.preprocess),
            noun="examples" if run.tags is None else "words",
            most_skipped=_MOST_SKIPPED,
            predict=f"tlx predict {shlex.quote(run.path.name)} {inputs}",
            unbettered=_unbettered(run.phases),
            usage=USAGE.format(run=json.dumps(run.path.name), inputs=json.dumps(inputs)),
            nothing=NOTHING,
            nan=math.nan,
            plan=json.dumps([dict(phase.plan) for phase in run.phases], indent=2, ensure_ascii=False),
        )
    )


def data_name(source: str | None) -> str:
    """Name a data source for a title: the last part of a path, the rest as it is.

    >>> data_name("idx:/data/letters47/"), data_name("digits"), data_name(None)
    ('letters47', 'digits', 'arrays in memory')
    """
    if not source:
        return "arrays in memory"
    kind, _, place = source.partition(":")
    return shown(
        PurePath(place).name or source if kind in ("folder", "manifest", "idx", "npz") and place else source, 60
    )


def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("tlx.analysis"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        shown=shown,
        percent=_percent,
        figure=_figure,
        duration=_duration,
        say=_say,
        group=_group,
        whole=_whole,
        lines=_lines,
        size=_size,
        words=words,
    )
    return environment


def _contestants(run: RunRecord) -> list[dict[str, Any]]:
    """List the transfer and, if there is one, the baseline: accuracy and 95% interval (None without examples)."""
    rows = [("transfer", "transfer", run.test_accuracy), ("scratch", "from scratch", run.scratch_accuracy)]
    examples = run.test_examples
    return [
        {"key": key, "name": name, "accuracy": accuracy,
         "interval": accuracy_interval(accuracy, examples) if examples and 0 <= accuracy <= 1 else None}
        for key, name, accuracy in rows
        if key == "transfer" or math.isfinite(accuracy) or (run.outcome and run.scratch)
    ]  # fmt: skip


def _headline(run: RunRecord) -> str:
    """Say in a figure what the run came to."""
    if run.tags is not None and "f1" in run.test:
        return f"F1 {_percent(run.test['f1'])}"
    if run.outcome is None:
        return _percent(run.test_accuracy)
    return f"{words(run.metric)} {_figure(run.test.get(run.metric, math.nan))}"


def _outcome(run: RunRecord) -> dict[str, Any] | None:
    """List what each label or number came to, with a plot of each of the first numbers; None for classes."""
    from markupsafe import Markup

    outcome = run.outcome
    if outcome is None:
        return None
    figures = outcome.figures() if len(outcome.targets) else []
    rows = [{"name": name, **found} for name, found in zip(run.classes, figures, strict=False)]
    pairs = [] if outcome.of_labels else list(zip(outcome.targets.T, outcome.predictions.T, strict=True))
    plots = [
        (run.classes[at], Markup(scatter(targets, predictions, run.classes[at], at)))
        for at, (targets, predictions) in enumerate(pairs[:_PLOTTED])
    ]
    return {"of_labels": outcome.of_labels, "rows": rows, "plots": plots}


def _measured(run: RunRecord) -> list[str]:
    """Name what the epochs measured: of a classification always the same four."""
    if run.outcome is None and run.tags is None:
        return ["loss", "accuracy", "val_loss", "val_accuracy"]
    return list(dict.fromkeys(name for row in run.metrics for name in row.figures))


def _drawn(run: RunRecord) -> list[str]:
    """Name the quantities that have a curve each."""
    f1 = ["f1"] if run.tags is not None and "f1" in run.test else []
    return list(dict.fromkeys(["loss", run.metric, *f1]))


def _finite(run: RunRecord, row: Epoch) -> bool:
    """Tell whether what an epoch measured on its training examples is finite."""
    found = row.accuracy if run.outcome is None else row.figures.get(run.metric, 0.0)
    return math.isfinite(row.loss) and math.isfinite(found)


def _verdict(contestants: list[dict[str, Any]]) -> str:
    """Say in a sentence what the transfer was worth, whichever way it went."""
    if len(contestants) < 2 or not math.isfinite(contestants[0]["accuracy"]):
        return ""
    transfer, scratch = contestants
    if transfer["interval"] and scratch["interval"]:
        (low, high), (from_scratch_low, from_scratch_high) = transfer["interval"], scratch["interval"]
        if low <= from_scratch_high and from_scratch_low <= high:
            return "The intervals of the transfer and of the same budget from scratch overlap."
    if scratch["accuracy"] >= transfer["accuracy"]:
        return "The same budget from scratch did better: here the transfer did harm."
    if transfer["accuracy"] >= 1:
        return "The same budget from scratch made mistakes, the transfer none."
    ratio = (1 - scratch["accuracy"]) / (1 - transfer["accuracy"])
    return f"The same budget from scratch made {ratio:.1f} times as many mistakes."


def _label_colours(phases: tuple[PlannedPhase, ...]) -> dict[str, str]:
    """Give each label a class of the style sheet, in the order of appearance."""
    labels = dict.fromkeys(label for phase in phases for label in (*(s.label for s in phase.stages), *phase.labels))
    trainable = [label for label in labels if label != "frozen"]
    return {"frozen": "label-frozen"} | {label: f"label-{i % _COLOURS}" for i, label in enumerate(trainable)}


def _by_difficulty(labels: np.ndarray, predicted: np.ndarray, classes: int) -> list[dict[str, Any]]:
    """List the figures of each class, the lowest F1 first, classes without any last."""
    figures = class_figures(labels, predicted, classes)
    return [
        {"index": index, "precision": figures.precision[index], "recall": figures.recall[index],
         "f1": figures.f1[index], "support": int(figures.support[index])}
        for index in np.argsort(figures.f1, kind="stable").tolist()
    ]  # fmt: skip


def _calibration(correct: np.ndarray, confidence: np.ndarray) -> dict[str, Any] | None:
    """Say how well the confidence fits; None without examples or where a confidence is not a number."""
    from markupsafe import Markup

    error = expected_calibration_error(correct, confidence)
    if not math.isfinite(error):
        return None
    accuracy, mean = float(correct.mean()), float(confidence.mean(dtype=np.float64))
    return {"error": error, "accuracy": accuracy, "mean": mean, "diagram": Markup(reliability(correct, confidence))}


def _feature_map(run: RunRecord) -> dict[str, Any] | None:
    """Draw the map of the features, with its legend; None for a run that has none."""
    from markupsafe import Markup

    evaluation, rows = run.evaluation, run.evaluation.map_rows
    if not len(rows):
        return None
    labels, predicted = evaluation.labels[rows], evaluation.predicted[rows]
    drawn = feature_map(evaluation.map_points, labels, predicted, run.classes, rows)
    coloured = len(run.classes) if len(run.classes) <= MOST_COLOURED else 0
    legend = [(Markup(class_mark(number)), run.classes[number]) for number in range(coloured)]
    return {"drawn": Markup(drawn), "legend": legend, "count": len(rows)}


def _mistakes(run: RunRecord) -> list[dict[str, Any]]:
    evaluation = run.evaluation
    if not len(evaluation.mistake_images):  # the inputs are no images
        return []
    maps, names = evaluation.mistake_maps, evaluation.mistake_names
    images = evaluation.mistake_images if len(evaluation.mistake_images) else (None,) * len(evaluation.mistakes)
    return [
        {
            **_answer(evaluation, index),
            "name": names[place] if names else "",
            "image": None if image is None else data_uri(image),
            "heat": data_uri(heat_over(image, maps[place])) if len(maps) and image is not None else None,
            "small": image is not None and max(image.shape[:2]) <= 64,
        }
        for place, (index, image) in enumerate(zip(evaluation.mistakes.tolist(), images, strict=True))
    ]


def _mistaken_texts(run: RunRecord) -> list[dict[str, Any]]:
    """List the most confident mistakes as texts with their words marked; none where the inputs are others."""
    found = () if run.texts is None else run.texts.mistakes
    rows = zip(run.evaluation.mistakes.tolist(), found, strict=bool(found))
    return [{**_answer(run.evaluation, index), **mistaken(mistake)} for index, mistake in rows]


def _answer(evaluation: Evaluation, index: int) -> dict[str, Any]:
    """Say what was answered to a test example."""
    return {
        "index": index,
        "label": evaluation.labels[index],
        "predicted": evaluation.predicted[index],
        "confidence": float(evaluation.confidence[index]),
        "truth": math.exp(-max(float(evaluation.loss[index]), 0.0)),  # the loss is -log of that probability
    }


def _unbettered(phases: tuple[PlannedPhase, ...]) -> list[PlannedPhase]:
    """List the phases that ended with the weights which they began with, since no epoch of theirs was better."""
    return [phase for phase in phases[1:] if phase.best_epoch == 0]


def _size(count: int) -> str:
    return f"{count / 1e6:.1f}\N{NO-BREAK SPACE}MB" if count >= 1e5 else f"{count / 1e3:.1f}\N{NO-BREAK SPACE}kB"


def _lines(text: str) -> str:
    """Keep the lines of a text, and show in each what would reorder or hide a part of it."""
    return "\n".join(shown(line, 10_000) if line.strip() else "" for line in text.split("\n"))


def _percent(value: float, digits: int = 1) -> str:
    return f"{100 * value:.{digits}f}%" if math.isfinite(value) else "–"


def _figure(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "–"


def _whole(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _duration(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "–"
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _group(phase: PlannedPhase, label: str) -> str:
    """Say in a line how a label trained: schedule, optimizer and the options that are not at nothing."""
    groups = phase.plan.get("groups")
    group = groups.get(label) if isinstance(groups, dict) else None
    if not isinstance(group, dict):
        return ""
    inner = [_say(each) for each in group.values() if isinstance(each, dict)]
    options = {key: each for key, each in group.items() if key != "kind" and not isinstance(each, dict)}
    return " · ".join(filter(None, [*inner, _say(options)]))


def _say(value: object) -> str:
    """Write data as a phrase: what kind it is first, then its options, leaving out those that are empty or zero."""
    if isinstance(value, Mapping):
        kind = value.get("kind", "")
        options = [
            f"{k.replace('_', ' ')} {_say(v)}" for k, v in value.items() if v and k != "kind" and k not in _QUIET
        ]
        return f"{_say(kind)} {', '.join(options)}".strip()
    if isinstance(value, list | tuple):
        return ", ".join(map(_say, value)) or "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return str(value)
