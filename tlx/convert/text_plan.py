"""Plan the conversion of a text model: which tensor fills which leaf, strictly both ways."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from tlx.convert.plan import Match, Plan, Unused, beside, faults_of
from tlx.convert.rules import KINDS, LeafRule, Row, Table
from tlx.convert.source import Source
from tlx.convert.tables.texts import TEXT_TABLES, TIED, TIED_BIAS
from tlx.convert.transforms import leaf_shape
from tlx.errors import ConfigError, WeightsError
from tlx.models.registry import ModelConfig, leaf_shapes
from tlx.tree.paths import quote, select

ANCHOR = "params/base/embeddings/word/embedding"  # by whose tensor the prefix of all names is found
OLD_NAMES = ((r"(.*LayerNorm)\.gamma", r"\1.weight"), (r"(.*LayerNorm)\.beta", r"\1.bias"))  # PyTorch's before 2019

LISTED = 6  # of each kind of fault, in a message


def make_text_plan(
    source: Source,
    table: Table,
    config: ModelConfig,
    *,
    head: bool | Literal["pretraining"] = True,
    prefix: str | None = None,
    ignored: Sequence[str] = (),
    fresh: Sequence[str] = (),
) -> Plan:
    """Match a source's tensors with the leaves of a text model by a table.

    Args:
        source: the weight file.
        table: how it names the tensors.
        config: the model, with its settings; classes and pooling are taken from the source, unless it pools by
            'average', 'max' or 'cls' and has no classes: then the source's head is left out.
        head: whether a head that the source has is taken; 'pretraining' for those of pretraining.
        prefix: what stands before the names of the tensors, where several would do.
        ignored: patterns of tensors to leave out, over the name with '.' as '/'.
        fresh: patterns of leaves, over 'base/…', that are initialised.

    Raises:
        WeightsError: naming all that does not fit at once.
        ConfigError: for a pattern that selects nothing.
    """
    names = {_current(name): name for name in source.tensors}
    start = _prefix(source, table, names, prefix)
    by_path = {name.replace(".", "/"): name for name in source.tensors}
    left_out = {by_path[path] for path in select(ignored, by_path)} if ignored else set()
    config = _with_own_head(source, table, config, names, start, head)
    if head == "pretraining":
        config = _with_pretraining(source, table, config, names, start)
    expected = expected_tensors(table, config, start)
    below = {path.partition("/")[2]: path for path in expected}
    stay_fresh = {below[path] for path in select(fresh, below)} if fresh else set()
    shapes = leaf_shapes(config)
    matches, missing, faults = [], [], []
    for path, (name, rule) in expected.items():
        if path in stay_fresh:
            continue
        tensor = source.tensors.get(names.get(name, ""))
        if tensor is None or tensor.name in left_out:
            missing.append(name)
            continue
        match = Match(path, shapes[path], tensor, rule.transform)
        matches.append(match)
        faults += faults_of(match)
    taken = {match.tensor.name for match in matches}
    dropped, unused = [], []
    for name, own in names.items():
        if own not in taken:
            found = _unused(table, name, own, start, config, left_out)
            dropped.append(found) if found else unused.append(own)
    _refuse(source, table, missing, unused, faults)
    return Plan(table, config, tuple(matches), tuple(dropped), tuple(sorted(stay_fresh)), start, "name")


def expected_tensors(table: Table, config: ModelConfig, prefix: str) -> dict[str, tuple[str, LeafRule]]:
    """Name the tensor of each leaf of a model, with what stands before it, and its rule."""
    named = {}
    for path in leaf_shapes(config):
        module, rule, row = table.entry(path)
        named[path] = ("" if row.outside else prefix) + table.name_of(module, rule), rule
    return named


def _current(name: str) -> str:
    """Return a tensor's name as PyTorch's users write it today."""
    for old, new in OLD_NAMES:
        name = re.sub(old, new, name)
    return name


def current_name(name: str, table: Table) -> str:
    """Return the name by which a table knows a tensor."""
    return _current(name) if table.dialect == "torch" else name


@dataclass(frozen=True)
class TextCandidate:
    """A table that a text model's file may have been written by: how many tensors it reads, and those it does not."""

    table: Table
    matched: int
    misfits: int
    prefix: str


def identify_text(source: Source) -> TextCandidate | None:
    """Return the table of text models that reads the most of a source's tensors, or None where none reads any."""
    found = []
    for table in TEXT_TABLES.values():
        names = [current_name(name, table) for name in source.tensors]
        module, rule, _ = table.entry(ANCHOR)
        anchor = table.name_of(module, rule)
        starts = [name.removesuffix(anchor) for name in names if name.endswith(anchor)]
        if starts:
            known = sum(_reads(table, name, starts[0]) for name in names)
            strange = [name for name in names if not _reads(table, name, starts[0])]
            misfits = sum(not (beside(n.removeprefix(starts[0]), table.ignored) or beside(n)) for n in strange)
            found.append(TextCandidate(table, known, misfits, starts[0]))
    return max(found, key=lambda each: (each.matched, -each.misfits), default=None)


def _reads(table: Table, name: str, start: str) -> bool:
    """Tell whether a table has a row for a tensor."""
    for row in table.rows:
        for rule in KINDS[table.dialect][row.kind]:
            ending = f"{table.separator}{rule.source}" if rule.source else ""
            own = name if row.outside else name.removeprefix(start)
            if own.endswith(ending) and row.target_of(own.removesuffix(ending) if ending else own):
                return True
    return False


def _prefix(source: Source, table: Table, names: dict[str, str], prefix: str | None) -> str:
    """Find what stands before the names of the network's tensors: 'bert.', say."""
    module, rule, _ = table.entry(ANCHOR)
    anchor = table.name_of(module, rule)
    starts = [name.removesuffix(anchor) for name in names if name.endswith(anchor)]
    starts = [start for start in starts if not start or start.endswith(table.separator)]
    if prefix is not None:
        wanted = prefix if not prefix or prefix.endswith(table.separator) else f"{prefix}{table.separator}"
        starts = [start for start in starts if start == wanted]
    if not starts:
        raise WeightsError(
            f"{source.path}: no tensor of {table.name} is in it ({anchor!r} is missing): it holds "
            f"{quote(source.tensors, 6)}"
        )
    if len(starts) > 1:
        raise WeightsError(
            f"{source.path}: holds {table.name} {len(starts)} times, under {quote(starts, 6)}: choose one (--prefix)"
        )
    return starts[0]


def _with_own_head(
    source: Source, table: Table, config: ModelConfig, names: dict[str, str], start: str, head: object
) -> ModelConfig:
    """Take the head that the source has: classes, hidden layers, or the pooler alone."""
    others = config.until is not None or config.pool not in ("pooler", table.pool)
    if config.classes or others or head == "pretraining":
        return config
    rows = {row.target: row for row in table.rows if row.target.startswith("head/")}

    def there(target: str) -> str | None:
        row: Row | None = rows.get(target)
        if row is None:
            return None
        (kernel, *_) = KINDS[table.dialect][row.kind]
        return names.get(("" if row.outside else start) + table.name_of(row.source, kernel))

    has_pooler, logits = there("head/pooler"), there("head/logits")
    own_pool = table.pool if table.pool != "pooler" or has_pooler else "cls"
    if head and logits is not None:
        hidden = (config.settings.hidden_size,) if there("head/hidden1") else ()
        (kernel, *_) = KINDS[table.dialect][rows["head/logits"].kind]
        shape = leaf_shape(kernel.transform, source.tensors[logits].shape) or (0,)
        return replace(config, classes=shape[-1], hidden=hidden, pool=own_pool)
    return replace(config, classes=0, hidden=(), pool="pooler" if has_pooler and head else "average")


def _with_pretraining(
    source: Source, table: Table, config: ModelConfig, names: dict[str, str], start: str
) -> ModelConfig:
    """Take the heads of pretraining that the source has."""
    if config.until is not None:
        raise ConfigError(f"{source.path}: the heads of pretraining belong to the whole network: leave out until")
    for tasks in ("mlm+nsp", "mlm"):
        made = replace(config, classes=0, hidden=(), pool="average", normalize=False, pretraining=tasks)
        try:
            expected = expected_tensors(table, made, start)
        except ConfigError:  # a table without a row for next sentence
            continue
        heads = {name for path, (name, _) in expected.items() if path.startswith("params/head/")}
        if heads <= names.keys():
            return made
    raise WeightsError(
        f"{source.path}: holds no heads of pretraining that {table.name} knows ({quote(sorted(heads), 3)}): fetch the "
        "weights as they were pretrained"
    )


def check_tied(plan: Plan, source: Source) -> None:
    """Raise `WeightsError` where the decoder of masked words is not the matrix of pieces, or has a bias of its own."""
    if plan.config.pretraining is None:
        return
    taken = {match.path: match.tensor for match in plan.matches}
    for pattern, path in ((TIED, ANCHOR), (TIED_BIAS, "params/head/mlm/bias")):
        for name in source.tensors:
            twin = source.tensors[name]
            if re.fullmatch(pattern, name) and path in taken:
                same = twin.shape == taken[path].shape and np.array_equal(twin.read(), taken[path].read())
                if not same:
                    raise WeightsError(
                        f"{source.path}: {name!r} differs from {taken[path].name!r}: a decoder that is not tied to the "
                        "embeddings is another network: leave its heads out"
                    )


def _unused(table: Table, name: str, own: str, start: str, config: ModelConfig, left_out: set[str]) -> Unused | None:
    """Say why a tensor that fills no leaf is of no use, or None where nobody said so."""
    if own in left_out:
        return Unused(own, "as asked for")
    if config.pretraining is not None and re.fullmatch(f"{TIED}|{TIED_BIAS}", name):
        return Unused(own, "tied: the same numbers as another tensor")
    rule = beside(name.removeprefix(start), table.ignored) or beside(name)
    if rule:
        return Unused(own, rule.reason, rule.kept)
    for row in table.rows:
        whole = ("" if row.outside else start) + row.source
        module = name.rpartition(table.separator)[0] if row.kind != "embedding" or table.dialect == "torch" else name
        if row.target.startswith("head/") and module == whole:
            return Unused(own, "of the head, which is not taken", True)
        if config.until is not None and row.target_of(module.removeprefix(start)):
            return Unused(own, f"of a stage above {config.until}")
    return None


def _refuse(source: Source, table: Table, missing: list[str], unused: list[str], faults: list[str]) -> None:
    """Raise `WeightsError` with everything that speaks against a plan."""
    told = [f"{len(missing)} tensors are missing: {quote(missing, LISTED)}"] if missing else []
    told += [*faults[:LISTED], *([f"{len(faults) - LISTED} more like these"] if len(faults) > LISTED else [])]
    told += [f"{len(unused)} tensors have no use: {quote(unused, LISTED)} (--ignore PATTERN)"] if unused else []
    if told:
        raise WeightsError(f"{source.path}: does not fit {table.name}: {'; '.join(told)}")
