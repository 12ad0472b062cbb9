"""Read the test and validation parts of a run that lie in sources of their own."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

from tlx.data.source import Source, target_kind
from tlx.data.spec import DataSpec, Parts, Request
from tlx.data.views import Relabelled
from tlx.errors import ConfigError, DataError
from tlx.files import home
from tlx.files.opening import shown
from tlx.tree.paths import quote

OTHERS = ("validation", "test")


def at_home(spec: DataSpec, name: str, path_of: str) -> DataSpec:
    """Return a spec whose further sources are absolute paths, so that a run finds them from another directory.

    Raise `ConfigError` where the kind of data, `name`, is none of files or folders (`path_of`), and `DataError` where
    nothing is there, or a file instead of a folder.
    """
    for part in OTHERS:
        given = getattr(spec, f"{part}_data")
        if given is None:
            continue
        if path_of not in ("file", "folder", "file or folder"):
            raise ConfigError(f"{part}_data: is for files and folders, and not for {name}; leave it out")
        path = given if os.path.lexists(home(given)) else given.rpartition(":")[2]  # after a kind, as of the source
        if not os.path.lexists(home(path)):
            raise DataError(f"{shown(path)}: no such file or folder; check {part}_data (--{part}-data)")
        if path_of != "file or folder" and os.path.isdir(home(path)) != (path_of == "folder"):
            raise DataError(f"{shown(path)}: no {path_of}, and the data to train on are one; name one (--{part}-data)")
        spec = replace(spec, **{f"{part}_data": os.path.abspath(home(path))})  # type: ignore[arg-type]
    return spec


def with_other_parts(parts: Parts, request: Request, read: Callable[[Request], Parts]) -> Parts:
    """Add the test and validation parts that lie in sources of their own, `test_data` and `validation_data`.

    They are read as training was, from the same columns; their classes are matched by name.

    Args:
        parts: what was read of the source itself.
        request: what was asked for.
        read: the reader of the source's kind.

    Raises:
        DataError: for a part that the source has, too; for a source that is divided itself; and for classes and targets
            that are not those of training.
    """
    for part in OTHERS:
        path = getattr(request.spec, f"{part}_data")
        if path is None:
            continue
        if getattr(parts, part) is not None:
            raise DataError(
                f"{shown(request.where)}: has a {part} part of its own, beside {part}_data (--{part}-data): leave one "
                "of the two out"
            )
        kind = target_kind(parts.train)
        spec = replace(
            request.spec,
            train_split=None,
            validation_split=None,
            test_split=None,
            inputs=parts.inputs,
            text=_as_asked(request.spec.text, parts.text),
            target=_as_asked(request.spec.target, parts.target),
            target_kind=request.spec.target_kind if kind in ("none", "soft") else kind,
        )
        other = read(replace(request, where=path, spec=spec))
        if other.test is not None or other.validation is not None:
            raise DataError(f"{shown(path)}: is divided into parts itself; name a {part} part alone (--{part}-data)")
        source = _matched(other.train, parts.train, path, part)
        parts = parts._replace(test=source) if part == "test" else parts._replace(validation=source)
        notes = (*parts.notes, *(note for note in other.notes if note not in parts.notes))
        parts = parts._replace(notes=notes, skipped=(*parts.skipped, *other.skipped))
    return parts


def _as_asked(asked: tuple[str, ...], found: tuple[str, ...]) -> tuple[str, ...]:
    """Return the columns that were found, but numbers as they were asked for: only one of the tables may have names.

    >>> _as_asked(("1",), ("text",)), _as_asked((), ("text",)), _as_asked(("Text",), ("text",))
    (('1',), ('text',), ('text',))
    """
    return asked if not found or (asked and all(map(str.isdigit, asked))) else found


def _matched(source: Source, train: Source, path: str, part: str) -> Source:
    """Number the classes of a source as those of training."""
    if target_kind(source) != target_kind(train):
        raise DataError(
            f"{shown(path)}: targets of kind {target_kind(source)!r}, training's are {target_kind(train)!r}"
        )
    if extra := [name for name in source.classes if name not in train.classes]:
        raise DataError(
            f"{shown(path)}: {part} has the class {shown(extra[0])!r}, which training has not"
            + (f" (nor {len(extra) - 1} more)" if len(extra) > 1 else "")
            + "; add it to training or take it out"
        )
    missing = [name for name in train.classes if name not in source.classes]
    if missing and target_kind(train) not in ("class", "tags"):
        raise DataError(f"{shown(path)}: lacks {len(missing)} targets of training: {quote(missing, 5)}; add them")
    return source if tuple(source.classes) == tuple(train.classes) else Relabelled(source, train.classes)
