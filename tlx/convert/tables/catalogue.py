"""All tables by name."""

import difflib

from tlx.convert.rules import Table
from tlx.convert.tables import inception_v3, mobilenet_v2, resnet, vgg, xception
from tlx.errors import ConfigError

TABLES: dict[str, Table] = {
    table.name: table for family in (vgg, resnet, xception, inception_v3, mobilenet_v2) for table in family.TABLES
}


def table_named(name: str) -> Table:
    """Return the table of a source and architecture such as 'keras/vgg16'; raise `ConfigError` with the nearest name.

    >>> table_named("torchvision/resnet50").architecture
    'resnet50'
    """
    if name not in TABLES:
        near = difflib.get_close_matches(name, TABLES, 1, 0)
        raise ConfigError(f"unknown architecture {name!r}, did you mean {near[0]!r}? It is one of {', '.join(TABLES)}")
    return TABLES[name]


def table_of(source: str, architecture: str) -> Table:
    """Return the table by which a source ('keras', 'torchvision', 'timm', 'cifar') writes an architecture.

    >>> table_of("keras", "resnet50_keras").name
    'keras/resnet50'
    """
    for table in TABLES.values():
        if table.architecture == architecture and table.name.startswith(f"{source}/"):
            return table
    raise ConfigError(f"{source} has no network that is arranged as {architecture!r} is, so it cannot hold its weights")
