"""Summaries of what lies on disk or is published: a bundle, a run with its labels, a weight file, a preset."""

import functools
import json
import math
from pathlib import Path
from typing import Any

import jax

from tlx.convert.identify import identify
from tlx.convert.read import open_weights
from tlx.convert.source import Tensor
from tlx.convert.strangers import stranger
from tlx.convert.text_plan import identify_text
from tlx.errors import CheckpointError, ConfigError
from tlx.models.registry import init_variables
from tlx.presets.arch import named_arch
from tlx.presets.bundle import load_bundle
from tlx.tree.labels import FROZEN, label_tree
from tlx.tree.paths import quote
from tlx.tree.summary import Row, Summary, stage_of, summarize


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


def summarize_file(path: str | Path) -> tuple[Summary, dict[str, Any]]:
    """Summarise a weight file of any format from its names and shapes alone, and say what it looks like.

    Names such as 'params/base/conv1/kernel' are read as tlx writes them; others are listed as they are. Returns the
    summary, and the format with the architectures that fit best. Raise `WeightsError` or `UnsafeFileError`.
    """
    source = open_weights(path)
    found = identify(source)
    looks = [
        {
            "arch": each.table.name,
            "matched": each.matched,
            "missing": each.missing,
            "misfits": each.misfits,
            "prefixes": list(each.prefixes),
        }
        for each in found
    ]
    if not found and (text := identify_text(source)) is not None:
        more = {"missing": 0, "misfits": text.misfits, "prefixes": [text.prefix]}
        looks.append({"arch": text.table.name, "matched": text.matched, **more})
    about = {"format": source.format, "looks_like": looks, "stranger": None if looks else stranger(source.tensors)}
    return Summary(tuple(map(_row, source.tensors.values()))), about


def summarize_published(name: str) -> tuple[Summary, dict[str, Any]]:
    """Summarise a published model from its architecture alone: no weights, no network.

    >>> summarize_published("keras/resnet50")[0].totals()["base"]
    23587712
    """
    known = named_arch(name)
    variables = jax.eval_shape(functools.partial(init_variables, known.config()))
    more = {"name": known.name, "architecture": known.table.architecture, "licence": known.card.get("licence")}
    return summarize(variables), more


def _row(tensor: Tensor) -> Row:
    kind, _, path = tensor.name.partition("/")
    if kind not in ("params", "batch_stats"):
        path = tensor.name
    label = FROZEN if kind == "batch_stats" else "trainable"
    size = math.prod(tensor.shape)
    return Row(path, tensor.shape, tensor.dtype, size, label, stage_of(path), kind == "batch_stats")
