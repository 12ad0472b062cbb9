"""Which network a name or a file stands for: a table, and what belongs to the weights that it reads."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tlx.convert.rules import Table
from tlx.convert.tables import TABLES, table_of
from tlx.errors import ConfigError, suggestion
from tlx.images.preprocess import Preprocess
from tlx.models.installed import load_installed
from tlx.models.registry import ModelConfig, architecture_named
from tlx.presets.catalogue import Published, class_names, list_published, published
from tlx.presets.hub import Url
from tlx.presets.own import OWN, Own


@dataclass(frozen=True)
class Arch:
    """What `--arch` names: the table that reads its files, how its networks see images, what their outputs are called.

    `name` says whose preprocessing, classes and `card` (licence, paper, page) these are: an `entry` of the catalogue's,
    or a table of one's own. It is `exact` where one set of weights was named, or its hash is the file's, and `assumed`
    where nobody named it: then the class names and the licence are not the entry's, either.
    """

    table: Table
    name: str
    preprocess: Preprocess | None
    classes: tuple[str, ...] = ()
    card: Mapping[str, str] = field(default_factory=dict)
    entry: Published | None = None
    exact: bool = False
    assumed: bool = False

    @property
    def size(self) -> tuple[int, int] | None:
        """The height and width of its inputs, where they are known."""
        return None if self.preprocess is None else (self.preprocess.height, self.preprocess.width)

    @property
    def seen(self) -> Preprocess:
        """How its networks see images; raise `ConfigError` where nothing says so."""
        if self.preprocess is None:
            raise ConfigError(
                f"{self.name}: nothing says how it sees images: give preprocess= (--preprocess FILE), or register it so"
            )
        return self.preprocess

    @property
    def tag(self) -> str:
        """Which of a source's sets of weights for the architecture it is: 'imagenet1k_v2', say, or ''."""
        return self.entry.name.partition(".")[2] if self.entry else ""

    def config(self, until: str | None = None) -> ModelConfig:
        """Return the configuration of the model before any file is there: with its head, or cut and without one."""
        table, seen = self.table, self.seen
        head: dict[str, Any] = {"classes": table.classes, "hidden": table.hidden, "pool": table.pool}
        if until is not None:
            head = {"classes": 0, "pool": architecture_named(table.architecture).pool}
        shape = (seen.height, seen.width, seen.channels)
        return ModelConfig(table.architecture, input_shape=shape, until=until, **head)


def arch_named(name: str) -> Arch:
    """Return the table and the entry of a name such as 'keras/vgg16', 'timm/resnet50' or 'timm/resnet50.a1_in1k'.

    A name without the tag of one set of weights takes the source's first; a table of one's own has what it was
    registered with. Raise `ConfigError` with the nearest name.

    >>> arch_named("timm/resnet50").table.name
    'timm/resnet50'
    """
    if name not in TABLES:
        load_installed()
    if name in TABLES:
        entries = _entries_of(TABLES[name])
        if entries:
            return _arch_of(entries[0])
        if TABLES[name].sees_like:
            return replace(_arch_of(published(TABLES[name].sees_like)), table=TABLES[name], assumed=True)
        own = OWN.get(name, Own())
        return Arch(TABLES[name], name, own.preprocess, own.classes)
    try:
        return _arch_of(published(name), exact=True)
    except ConfigError:
        near = suggestion(name, (*TABLES, *list_published()))
        raise ConfigError(
            f"unknown architecture {name!r}{near or ':'} tlx presets lists them; one of your own is there when the "
            "file that registers it is named (--import FILE.py) or imported first"
        ) from None


def _arch_of(entry: Published, *, exact: bool = False) -> Arch:
    card = {"licence": entry.licence, "paper": entry.paper, "page": entry.page}
    names = class_names(entry.classes)
    return Arch(entry_table(entry), entry.name, entry.preprocess, names, card, entry, exact)


def arch_of_file(tables: Sequence[Table], path: Path) -> Arch:
    """Return which published weights a file holds, by the hash that its publisher gives, or the first table's, assumed.

    `tables` are those that read the file.
    """
    hashes = {kind: _file_hash(path, kind) for kind in ("sha256", "md5")}
    for table in tables:
        for entry in _entries_of(table):
            for location in (entry.location, entry.location_notop):
                if isinstance(location, Url) and location.is_of(hashes["sha256"], hashes["md5"]):
                    return _arch_of(entry, exact=True)
    return replace(arch_named(tables[0].name), assumed=True)


def _entries_of(table: Table) -> list[Published]:
    return [entry for entry in map(published, list_published()) if entry_table(entry) is table]


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
    return _arch_of(entry).config()


def named_arch(name: str) -> Arch:
    """Return what a published model's name stands for, or a registered table's; raise `ConfigError` else."""
    if name in OWN:
        return arch_named(name)
    return _arch_of(published(name), exact=name not in TABLES)
