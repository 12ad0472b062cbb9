"""Summaries of what lies on disk: a bundle, a run with the labels of its phases, a weights file."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from tlx.errors import CheckpointError, ConfigError, WeightsError
from tlx.presets.bundle import load_bundle
from tlx.tree.labels import label_tree
from tlx.tree.paths import quote
from tlx.tree.summary import Row, Summary, stage_of, summarize

MAX_TENSORS = 100_000  # more than any model has, and few enough to list in a second or two


def summarize_run(bundle: Path, phase: str | None = None) -> tuple[Summary, list[dict[str, Any]] | None]:
    """Summarise a bundle, with the labels of a phase (the last by default) where it is the export of a run.

    Returns the summary, and for a run the totals of each phase. Raise `ConfigError` for an unknown phase.
    """
    variables = load_bundle(bundle).variables
    description = bundle.parent / "run.json"
    if bundle.name != "export" or not description.is_file():
        if phase is not None:
            raise ConfigError(f"{bundle}: not a run, so it has no phase {phase!r}")
        return summarize(variables), None
    try:
        phases = json.loads(description.read_text(encoding="utf-8"))["phases"]
        rules = [(record["name"], [tuple(rule) for rule in record["rules"]]) for record in phases]
        summaries = [(name, summarize(variables, label_tree(variables["params"], rule))) for name, rule in rules]
        last = summaries[-1][0]
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{description}: cannot be read ({error}): the run is damaged") from error
    chosen = [summary for name, summary in summaries if name == (phase or last)]
    if not chosen:
        raise ConfigError(f"no phase {phase!r}: the run's phases are {quote([name for name, _ in summaries])}")
    return chosen[-1], [{"name": name, **summary.totals()} for name, summary in summaries]


def summarize_file(path: Path) -> Summary:
    """Summarise a safetensors file from its header alone; raise `WeightsError` where it is damaged.

    Names such as 'params/base/conv1/kernel' are read as tlx writes them; others are listed as they are.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            names = file.keys()
            if len(names) > MAX_TENSORS:
                raise WeightsError(f"{path}: {len(names)} tensors are more than the {MAX_TENSORS} that can be listed")
            slices = {name: file.get_slice(name) for name in names}
            return Summary(tuple(_row(name, part) for name, part in slices.items()))
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path}: not a safetensors file ({error})") from error


def _row(name: str, part: Any) -> Row:
    kind, _, path = name.partition("/")
    if kind not in ("params", "batch_stats"):
        path = name
    shape = tuple(part.get_shape())
    label = "frozen" if kind == "batch_stats" else "trainable"
    return Row(path, shape, part.get_dtype(), int(np.prod(shape)), label, stage_of(path), kind == "batch_stats")
