"""Identify: tell which architecture a weight file holds, from its names and shapes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tlx.convert.names import prefixes
from tlx.convert.plan import BESIDE, Survey, survey
from tlx.convert.rules import Table
from tlx.convert.source import Source
from tlx.convert.tables import TABLES
from tlx.errors import WeightsError
from tlx.models.installed import load_installed
from tlx.models.registry import architecture_named
from tlx.tree.paths import matches
from tlx.tree.summary import stage_of

MAX_MODULES = 5_000  # more than any network of the tables has


@dataclass(frozen=True)
class Candidate:
    """A table that a file may have been written by: how many tensors it has, lacks, and has that do not fit.

    `misfits` are tensors that the table has no use for, or that have another shape than it expects.
    """

    table: Table
    matched: int
    missing: int
    misfits: int

    @property
    def is_complete(self) -> bool:
        """Whether the file holds just what the table says; a missing head is no fault."""
        return not self.missing and not self.misfits


def identify(source: Source, prefix: str | None = None, ignored: Sequence[str] = ()) -> tuple[Candidate, ...]:
    """Return the tables that a source fills, or else those that it fills in part, the best first.

    Nothing is read but names and shapes. Networks whose tables agree on the file (torchvision's ResNet and timm's) are
    all returned, the older library first. `prefix` and `ignored` are as in `make_plan`.
    """
    load_installed()
    left_out = {name for name in source.tensors if any(matches(pattern, name.replace(".", "/")) for pattern in ignored)}
    scored = {table.name: _score(source, table, prefix, left_out) for table in TABLES.values()}
    scores = {name: score for name, score in scored.items() if score is not None}
    least = min(scores.values(), default=None)
    found = []
    for name, score in scores.items():
        if score == least:
            try:
                candidate = _candidate(survey(source, TABLES[name], prefix=prefix, ignored=ignored))
            except WeightsError:
                continue
            found += [candidate] if candidate.matched > candidate.misfits else []
    complete = [candidate for candidate in found if candidate.is_complete]
    return tuple(complete or sorted(found, key=lambda each: (each.misfits, each.missing)))


def _candidate(found: Survey) -> Candidate:
    matched, misfits = len(found.plan.matches), len(found.unused) + len(found.faults)
    return Candidate(found.plan.table, matched, len(found.missing), misfits)


def _score(source: Source, table: Table, prefix: str | None, ignored: set[str]) -> tuple[int, int] | None:
    """Count the modules that a table does not know, and the stages that a source does not have: cheap, but rough."""
    if (table.dialect == "keras") != bool(source.layers):
        return None
    stages = {name for name in architecture_named(table.architecture).build().stage_names if "pool" not in name}
    if source.layers:
        whole, body = len(table.layers), len(table.layers) - len(table.hidden) - 1
        if len(source.layers) in (whole, body) and any(layer.name not in table.layers for layer in source.layers):
            return 0, 0  # names that Keras made up: position decides
        starts, names = [""], [f"{layer.name}/" for layer in source.layers]
    else:
        names = [name for name in source.tensors if name not in ignored and not _is_beside(name, table)]
        starts = prefixes(names) if prefix is None else [prefix]
    return min((_foreign(names, start, table, stages) for start in starts), key=lambda found: (found[1], found[0]))


def _foreign(names: Sequence[str], start: str, table: Table, stages: set[str]) -> tuple[int, int]:
    """Count the modules below `start` that a table does not know, and its stages that no module is of."""
    modules = {re.split(r"[/.](?=[^/.]*$)", name.removeprefix(start))[0] for name in names if name.startswith(start)}
    if len(modules) > MAX_MODULES:
        return len(modules), len(stages)
    targets = [next(filter(None, (row.target_of(module) for row in table.rows)), None) for module in modules]
    return targets.count(None), len(stages - {stage_of(f"{target}/kernel") for target in targets if target})


def _is_beside(name: str, table: Table) -> bool:
    return any(re.fullmatch(rf"(.*\.)?({rule.pattern})", name) for rule in (*table.ignored, *BESIDE))
