"""Load what others publish: fetch the file, or take it from disk, and convert it in memory."""

import difflib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tlx.convert.keras_model import check_graph, read_graph
from tlx.convert.leaves import Conversion
from tlx.convert.plan import Plan, make_plan
from tlx.convert.read import open_weights
from tlx.convert.rules import Table
from tlx.convert.source import Source
from tlx.convert.tables import TABLES, table_of
from tlx.errors import ConfigError
from tlx.models.registry import ModelConfig
from tlx.presets.catalogue import Published, class_names, published, published_names
from tlx.presets.hub import Url, fetch
from tlx.presets.pretrained import Pretrained, fit_preprocess


@dataclass(frozen=True)
class Arch:
    """What `--arch` names: the table that reads its files, and the entry that says how it sees pictures.

    It is `assumed` where nobody named it and no published hash tells that the file is the entry's: then the class names
    and the licence are not the entry's, either.
    """

    table: Table
    entry: Published
    assumed: bool = False

    @property
    def tag(self) -> str:
        """Which of a source's sets of weights for the architecture it is: 'imagenet1k_v2', say, or ''."""
        return self.entry.name.partition(".")[2]


def arch_named(name: str) -> Arch:
    """Return the table and the entry of a name such as 'keras/vgg16', 'timm/resnet50' or 'timm/resnet50.a1_in1k'.

    A name without the tag of one set of weights takes the source's first. Raise `ConfigError` with the nearest name.

    >>> arch_named("timm/resnet50").table.name
    'timm/resnet50'
    """
    if name in TABLES:
        entries = _entries_of(TABLES[name])
        if not entries:
            raise ConfigError(f"{name} has a table, but no published entry that says how it sees pictures")
        return Arch(TABLES[name], entries[0])
    try:
        entry = published(name)
    except ConfigError:
        near = difflib.get_close_matches(name, [*TABLES, *published_names()], 1, 0)
        raise ConfigError(f"unknown architecture {name!r}, did you mean {near[0]!r}? See tlx presets") from None
    return Arch(entry_table(entry), entry)


def arch_of_file(tables: Sequence[Table], path: Path) -> Arch:
    """Return which published weights a file holds, by the hash that its publisher gives, or the first table's, assumed.

    `tables` are those that read the file.
    """
    hashes = {kind: _file_hash(path, kind) for kind in ("sha256", "md5")}
    for table in tables:
        for entry in _entries_of(table):
            for location in (entry.location, entry.location_notop):
                if isinstance(location, Url) and location.is_of(hashes["sha256"], hashes["md5"]):
                    return Arch(table, entry)
    return replace(arch_named(tables[0].name), assumed=True)


def _entries_of(table: Table) -> list[Published]:
    return [entry for entry in map(published, published_names()) if entry_table(entry) is table]


def _file_hash(path: Path, kind: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()


def entry_table(entry: Published) -> Table:
    """Return the table that reads an entry's files."""
    return table_of(entry.source, entry.architecture)


def config_of(entry: Published) -> ModelConfig:
    """Return the configuration of a published model with its head, before any file is there.

    >>> config_of(published("keras/resnet50")).input_shape
    (224, 224, 3)
    """
    table, size = entry_table(entry), (entry.preprocess.height, entry.preprocess.width)
    return ModelConfig(entry.architecture, table.classes, (*size, 3), hidden=table.hidden, pool=table.pool)


def load_published(
    name: str, weights: str | Path | None = None, *, until: str | None = None, head: bool = True
) -> Pretrained:
    """Load a published model from `weights`, a file as its source publishes it, or else from the cache or the network.

    With `until` the base ends after that stage; the file may end there, too. Without `head` the base is alone. Raise
    `ConfigError` for an unknown name or stage, `WeightsError` for a file that does not fit, `UnsafeFileError`,
    `DownloadError`.
    """
    entry = published(name)
    if weights is None:
        alone = entry.location_notop if until is not None or not head else None
        weights = fetch(alone or entry.location)
    source = open_weights(weights)
    graph, size = read_graph(source), (entry.preprocess.height, entry.preprocess.width)
    if graph is not None and head and until is None:
        check_graph(source, graph, entry_table(entry))
    size = (graph and graph.input_size) or size
    plan = make_plan(source, entry_table(entry), input_size=size, until=until, head=head)
    variables = Conversion(plan, str(source.path)).variables()
    return replace(describe(Arch(plan.table, entry), plan, source), variables=variables)


def describe(known: Arch, plan: Plan, source: Source) -> Pretrained:
    """Describe what a plan makes of a source, its variables apart: preprocessing, classes and card.

    The published class names, licence and paper are those of the published weights alone: not of a head with another
    number of classes or a fresh one, nor where the entry is `assumed`.
    """
    entry, config, names = known.entry, plan.config, class_names(known.entry.classes)
    own_head = config.classes in (0, len(names)) and not any(path.startswith("params/head/") for path in plan.fresh)
    is_published = own_head and not known.assumed
    card: dict[str, Any] = {
        "description": f"{source.path.name} ({source.format}), converted by the table {plan.table.name}",
        "source": entry.name if is_published else source.path.name,
        "preprocessing": f"{'assumed to be that' if known.assumed else 'that'} of {entry.name}",
    }
    if is_published:
        card |= {"licence": entry.licence, "paper": entry.paper, "page": entry.page}
    if not is_published or not config.classes:
        names = tuple(f"class {index}" for index in range(config.classes))
    name = entry.name if is_published else source.path.stem
    return Pretrained(name, config, {}, fit_preprocess(entry.preprocess, config.input_shape), names, card)
