"""The fields of what a run wrote as JSON, each read with its type checked."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tlx.errors import CheckpointError

CURE = "restore it from a copy, or run again"
_CURES = {
    "run.json": "give the directory that `tlx finetune` wrote, or run it again",
    "result.json": "let the run come to its end (`tlx finetune --resume`), or run it again",
    "config.yaml": "restore it from a copy, or remove it: a report can do without",
}
_MOST_TEXT = 256 << 20  # bytes of one JSON or YAML file
REQUIRED: Any = object()
"""The default of a field that has none."""


def fault(path: Path, what: str) -> CheckpointError:
    """Say what is wrong with a file of a run, and the cure."""
    return CheckpointError(f"{path}: {what}; {_CURES.get(path.name, CURE)}")


def read_text(path: Path) -> str:
    """Read a text file of a run; raise `CheckpointError` where it is missing, no file, too large or no text."""
    try:
        if not path.is_file():  # a pipe or a device would hang or never end
            raise fault(path, "missing" if not path.exists() else "not a file")
        if path.stat().st_size > _MOST_TEXT:
            raise fault(path, f"larger than {_MOST_TEXT >> 20} MiB, so not written by a run")
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise fault(path, f"cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise fault(path, f"not UTF-8 at byte {error.start}") from error


def parse(path: Path, text: str, place: str) -> dict[str, Any]:
    """Parse a JSON object; `place` says where in the file it stands (" in line 3")."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise fault(path, f"not JSON{place} (cut short?): {error}") from error
    if not isinstance(value, dict):
        raise fault(path, f"expected a JSON object{place}, found {kind_of(value)}")
    return value


def read_json(path: Path) -> dict[str, Any]:
    """Read a file that holds one JSON object."""
    return parse(path, read_text(path), "")


def kind_of(value: object) -> str:
    """Name the JSON type of a value."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "text": ("a text", lambda value: isinstance(value, str)),
    "integer": ("an integer", _is_integer),
    "count": ("an integer of at least 0", lambda value: _is_integer(value) and value >= 0),
    "number": ("a number", lambda value: isinstance(value, float) or _is_integer(value)),
    "flag": ("true or false", lambda value: isinstance(value, bool)),
    "table": ("an object", lambda value: isinstance(value, dict)),
    "list": ("a list", lambda value: isinstance(value, list)),
}


def take(path: Path, table: Mapping[str, Any], key: str, kind: str, default: Any = REQUIRED, place: str = "") -> Any:
    """Return `table[key]` if it is of the named kind; null and absence alike give the default, if there is one."""
    value = table.get(key)
    if value is None:
        if default is REQUIRED:
            raise fault(path, f"{key!r}{place} is {'null' if key in table else 'missing'}")
        return default
    name, holds = _KINDS[kind]
    if not holds(value):
        raise fault(path, f"{key!r}{place} must be {name}, found {kind_of(value)}")
    return value


def number(path: Path, table: Mapping[str, Any], key: str, default: Any = math.nan, place: str = "") -> float:
    """Return a finite number as it is, null, absence and infinity as NaN."""
    value = float(take(path, table, key, "number", default, place))
    return value if math.isfinite(value) else math.nan


def texts(path: Path, table: Mapping[str, Any], key: str, default: Any) -> tuple[str, ...]:
    """Return a list of texts."""
    values = take(path, table, key, "list", default)
    for index, value in enumerate(values):
        if not isinstance(value, str):
            raise fault(path, f"{key!r} item {index} must be a text, found {kind_of(value)}")
    return tuple(values)


def figures(path: Path, table: Mapping[str, Any], place: str = "") -> dict[str, float]:
    """Return all that a table holds, as numbers."""
    return {name: number(path, table, name, place=place) for name in table}
