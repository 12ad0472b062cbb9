"""Load what others publish: fetch the file, or take it from disk, and convert it in memory."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tlx.convert.leaves import Conversion
from tlx.convert.plan import Plan, make_plan
from tlx.convert.read import open_weights
from tlx.convert.rules import Table
from tlx.convert.source import Source
from tlx.convert.tables import TABLES, table_named, table_of
from tlx.errors import ConfigError
from tlx.models.registry import ModelConfig
from tlx.presets.catalogue import Published, class_names, published, published_names
from tlx.presets.hub import fetch
from tlx.presets.pretrained import Pretrained, fit_preprocess


@dataclass(frozen=True)
class Arch:
    """What `--arch` names: the table that reads its files, and the entry that says how it sees pictures."""

    table: Table
    entry: Published


def arch_named(name: str) -> Arch:
    """Return the table and the entry of a name such as 'keras/vgg16', 'timm/resnet50' or 'timm/resnet50.a1_in1k'.

    A name without the tag of one set of weights takes the source's first. Raise `ConfigError` with the nearest name.

    >>> arch_named("timm/resnet50").table.name
    'timm/resnet50'
    """
    if name in TABLES:
        table = TABLES[name]
        return Arch(table, next(entry for entry in map(published, published_names()) if entry_table(entry) is table))
    try:
        entry = published(name)
    except ConfigError:
        return Arch(table_named(name), published(name))
    return Arch(entry_table(entry), entry)


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
    size = (entry.preprocess.height, entry.preprocess.width)
    plan = make_plan(source, entry_table(entry), input_size=size, until=until, head=head)
    variables = Conversion(plan, str(source.path)).variables()
    return replace(describe(entry, plan, source), variables=variables)


def describe(entry: Published, plan: Plan, source: Source) -> Pretrained:
    """Describe what a plan makes of a source, its variables apart: preprocessing, classes and card."""
    config, names = plan.config, class_names(entry.classes)
    if config.classes != len(names):
        names = tuple(f"class {index}" for index in range(config.classes))
    card: dict[str, Any] = {
        "description": f"{entry.name}, converted by the table {plan.table.name}",
        "source": f"{source.path.name} ({source.format})",
        "licence": entry.licence,
        "paper": entry.paper,
        "page": entry.page,
    }
    return Pretrained(entry.name, config, {}, fit_preprocess(entry.preprocess, config.input_shape), names, card)
