"""All tables by name."""

from collections.abc import Container

from tlx.convert.rules import Table
from tlx.convert.tables import inception_v3, mobilenet_v2, resnet, vgg, xception
from tlx.errors import ConfigError, check_choice, suggestion
from tlx.models.installed import load_installed

TABLES: dict[str, Table] = {
    table.name: table for family in (vgg, resnet, xception, inception_v3, mobilenet_v2) for table in family.TABLES
}


def table_named(name: str) -> Table:
    """Return the table of a source and architecture such as 'keras/vgg16'; raise `ConfigError` with the nearest name.

    >>> table_named("torchvision/resnet50").architecture
    'resnet50'
    """
    if name not in TABLES:
        load_installed()
    if name not in TABLES:
        raise ConfigError(f"unknown table {name!r}{suggestion(name, TABLES) or ':'} it is one of {', '.join(TABLES)}")
    return TABLES[name]


BUILT_IN = frozenset(TABLES)


def check_free_name(table: Table, own: Container[str]) -> None:
    """Raise `ConfigError` for a table whose name is taken, but by an `own` one, or is not 'SOURCE/NETWORK'."""
    source, _, network = table.name.partition("/")
    if not source or not network:
        raise ConfigError(f"table: {table.name!r} is not 'SOURCE/NETWORK', such as 'lab/{table.architecture}'")
    if table.name in BUILT_IN or (table.name in TABLES and table.name not in own):
        raise ConfigError(f"table: {table.name!r} is there already: choose another name")


def sources() -> tuple[str, ...]:
    """Name who writes files that tables read.

    >>> sources()[:2]
    ('keras', 'torchvision')
    """
    load_installed()
    return tuple(dict.fromkeys(name.partition("/")[0] for name in TABLES))


def targets() -> tuple[str, ...]:
    """Name whose files tlx writes: not of those who put another library's network under names of their own.

    >>> set(sources()) - set(targets()) == {"fastai", "transformers"}
    True
    """
    load_installed()
    return tuple(dict.fromkeys(name.partition("/")[0] for name, table in TABLES.items() if not table.sees_like))


def table_of(source: str, architecture: str) -> Table:
    """Return the table by which a source ('keras', 'torchvision', 'timm', 'cifar') writes an architecture.

    >>> table_of("keras", "resnet50_keras").name
    'keras/resnet50'
    """
    check_choice("source", source, sources())
    for table in TABLES.values():
        if table.architecture == architecture and table.name.startswith(f"{source}/"):
            return table
    raise ConfigError(f"{source} has no network that is arranged as {architecture!r} is, so it cannot hold its weights")
