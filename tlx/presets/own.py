"""Architectures of one's own: module, tables, preprocessing and classes, registered in one call."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tlx.convert.rules import Table
from tlx.convert.tables import TABLES, check_free_name
from tlx.errors import ConfigError
from tlx.images.preprocess import Preprocess
from tlx.models.base import Base
from tlx.models.head import Pool
from tlx.models.installed import load_installed
from tlx.models.registry import ARCHITECTURES, Architecture, Build, check_own_name
from tlx.tree.paths import quote


@dataclass(frozen=True)
class Own:
    """How the networks of a registered table see images, and what their outputs are called; None and () if not said."""

    preprocess: Preprocess | None = None
    classes: tuple[str, ...] = ()


OWN: dict[str, Own] = {}
"""What was registered with a table, by the table's name."""


def list_own() -> tuple[str, ...]:
    """Name the registered tables, those of installed packages included."""
    load_installed()
    return tuple(OWN)


def register_architecture(
    name: str,
    build: Build,
    *,
    input_shape: tuple[int, int, int],
    pool: Pool = "average",
    minimum: int = 1,
    tables: Sequence[Table] = (),
    preprocess: Preprocess | None = None,
    classes: Sequence[str] = (),
) -> None:
    """Register an architecture of your own, so that it can be trained, saved, loaded and converted to by name.

    To have it in every command, name the file that calls this (`tlx COMMAND --import FILE.py`), or install a package
    with an entry point of the group `tlx.architectures`. A name may be registered again, as a notebook's cell does.

    Args:
        name: What `ModelConfig.architecture` calls it.
        build: Called as `build(dtype=...)`; returns the `tlx.models.Base`.
        input_shape: Height, width and channels of the images that it was made for.
        pool: How new heads pool its features.
        minimum: The least height and width that it takes.
        tables: How weight files name its tensors; `--arch` takes the name of a table.
        preprocess: How networks read by these tables see images.
        classes: What their outputs are called, in order.

    Raises:
        ConfigError: For a name that is tlx's own, and for what does not fit together.

    >>> from tlx.models.small import mlp
    >>> register_architecture("doc_mlp", mlp, input_shape=(28, 28, 1), pool="flatten")
    >>> from tlx.models import ModelConfig
    >>> ModelConfig("doc_mlp", classes=3, input_shape=(28, 28, 1), pool="flatten").architecture
    'doc_mlp'
    >>> from tlx.models import ARCHITECTURES
    >>> _ = ARCHITECTURES.pop("doc_mlp")  # this example alone takes it back
    """
    if isinstance(classes, str):
        raise ConfigError(f"classes: {classes!r} is one string; give a tuple of names")
    check_own_name(name)
    architecture, own = Architecture(build, input_shape, pool, minimum), Own(preprocess, tuple(classes))
    if preprocess is not None and preprocess.channels != input_shape[2]:
        raise ConfigError(f"{name}: preprocess makes {preprocess.channels} channels, input_shape has {input_shape[2]}")
    twice = [each for each, count in Counter(own.classes).items() if count > 1]
    if twice:
        raise ConfigError(f"{name}: class names must be different; {quote(twice)} come more than once")
    if (preprocess or own.classes) and not tables:
        raise ConfigError(
            f"{name}: preprocess and classes belong to what a table reads: give tables=, or leave them out"
        )
    for table in tables:
        check_free_name(table, OWN)
        if table.architecture != name:
            raise ConfigError(f"table {table.name} is of the architecture {table.architecture!r}, not {name!r}")
        if own.classes and len(own.classes) != table.classes:
            raise ConfigError(
                f"{name}: {len(own.classes)} class names; table {table.name} says classes={table.classes}"
            )
    base = build()
    if not isinstance(base, Base):
        raise ConfigError(f"{name}: build returned {type(base).__name__}, expected a tlx.models.Base")
    ARCHITECTURES[name] = architecture
    for table in tables:
        TABLES[table.name], OWN[table.name] = table, own
