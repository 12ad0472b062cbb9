"""Identify: tell which architecture a weight file holds, from its names and shapes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tlx.convert.names import check_prefix, is_dense, prefixes, with_dot
from tlx.convert.plan import Survey, beside, survey
from tlx.convert.rules import KINDS, Table
from tlx.convert.source import Source
from tlx.convert.tables import TABLES
from tlx.errors import WeightsError
from tlx.models.installed import load_installed
from tlx.models.registry import architecture_named
from tlx.tree.paths import matches
from tlx.tree.summary import stage_of

MAX_MODULES = 5_000  # more than any network of the tables has
_MADE_UP = re.compile(r"(conv2d|depthwise_conv2d|separable_conv2d|batch_normalization|dense)(_\d+)?")  # by Keras


@dataclass(frozen=True)
class Candidate:
    """A table that a file may have been written by: how many tensors it has, lacks, and has that do not fit.

    `misfits` are tensors that the table has no use for, or that have another shape than it expects. `prefixes` stand
    before the names of the base, each where the file holds it once.
    """

    table: Table
    matched: int
    missing: int
    misfits: int
    prefixes: tuple[str, ...] = ("",)

    @property
    def is_complete(self) -> bool:
        """Whether the file holds just what the table says; a missing head is no fault."""
        return not self.missing and not self.misfits


def identify(source: Source, prefix: str | None = None, ignored: Sequence[str] = ()) -> tuple[Candidate, ...]:
    """Return the tables that a source fills, or else those that it fills in part, the best first.

    Nothing is read but names and shapes. Networks whose tables agree on the file (torchvision's ResNet and timm's) are
    all returned, the older library first. `prefix` and `ignored` are as in `make_plan`. Raise `WeightsError` for a
    prefix that no name has.
    """
    load_installed()
    check_prefix(source, prefix)
    left_out = {name for name in source.tensors if any(matches(pattern, name.replace(".", "/")) for pattern in ignored)}
    left_out |= {name for name in source.tensors if beside(name)}
    scored = {table.name: _score(source, table, prefix, left_out) for table in TABLES.values()}
    scores = {name: score for name, score in scored.items() if score is not None}
    least = min(scores.values(), default=None)
    found = []
    for name, score in scores.items():
        if score == least:
            try:
                surveyed = survey(source, TABLES[name], prefix=prefix, ignored=ignored)
            except WeightsError:
                continue
            candidate = _candidate(surveyed)
            if candidate.misfits and source.layers and all(_MADE_UP.fullmatch(each.name) for each in source.layers):
                continue  # the layers of any network are called so
            found += [candidate] if len(surveyed.plan.matches) > len(surveyed.unused) else []
    complete = [candidate for candidate in found if candidate.is_complete]
    shortest = min((len(candidate.prefixes[0]) for candidate in complete), default=0)  # 'features.' may be of the names
    complete = [candidate for candidate in complete if len(candidate.prefixes[0]) == shortest]
    if complete or not found:
        return tuple(complete)
    nearest = min((each.misfits, each.missing) for each in found)
    return tuple(each for each in found if (each.misfits, each.missing) == nearest)


def _candidate(found: Survey) -> Candidate:
    matched, misfits = len(found.plan.matches), len(found.unused) + len(found.faults)
    prefixes = (found.plan.prefix, *found.plan.copies)
    return Candidate(TABLES[found.plan.table.name], matched, len(found.missing), misfits, prefixes)


def _score(source: Source, table: Table, prefix: str | None, ignored: set[str]) -> tuple[int, int] | None:
    """Count the modules that a table does not know, and the stages that a source does not have: cheap, but rough."""
    if (table.dialect == "keras") != bool(source.layers):
        return None
    order = architecture_named(table.architecture).build().stage_names
    stages = {name for name in order if "pool" not in name}
    if source.layers:
        layers = [layer.name for layer in source.layers if not is_dense(source, layer)]
        body = len(table.layers) - len(table.hidden) - 1
        if len(layers) == body and any(name not in table.layers for name in layers):
            return 0, 0  # names that Keras made up: position decides
        return _foreign([f"{name}/" for name in layers], "", table, stages)
    names = [name for name in source.tensors if name not in ignored and not beside(name, table.ignored)]
    if prefix is not None:
        names = [name for name in names if name.startswith(with_dot(prefix))]
    starts = prefixes(names, _first_names(table, order[0]))
    return min((_foreign(names, start, table, stages) for start in starts), key=lambda found: (found[1], found[0]))


def _first_names(table: Table, stage: str) -> list[str]:
    """Name the tensors of a table's first stage."""
    names = []
    for path in (f"base/{stage}", f"base/{stage}/conv", f"base/{stage}/conv_norm"):
        for row in table.rows:
            module = row.source_of(path)
            if module is not None:
                names += [f"{module}.{rule.source}" for rule in KINDS[table.dialect][row.kind]]
    return names


def _foreign(names: Sequence[str], start: str, table: Table, stages: set[str]) -> tuple[int, int]:
    """Count the modules below `start` that a table does not know, heads apart, and its stages that no module is of."""
    modules = {re.split(r"[/.](?=[^/.]*$)", name.removeprefix(start))[0] for name in names if name.startswith(start)}
    if len(modules) > MAX_MODULES:
        return len(modules), len(stages)
    roots = {row.source.split(".")[0] for row in table.rows if row.target.startswith("head/")}
    modules = {module for module in modules if module.split(".")[0] not in roots}
    targets = [next(filter(None, (row.target_of(module) for row in table.rows)), None) for module in modules]
    return targets.count(None), len(stages - {stage_of(f"{target}/kernel") for target in targets if target})
