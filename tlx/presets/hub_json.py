"""JSON files that others write: read in bounds, each value with the file and the key that say it."""

import json
import math
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlx.errors import WeightsError
from tlx.files.opening import RegularFile, one_line, shown

MAX_BYTES = 16 << 20  # 22,000 classes by name, twice, take two million bytes


@dataclass(frozen=True)
class Said:
    """One thing that a configuration says, the file and the key that say it."""

    value: Any
    file: Path
    key: str

    @property
    def where(self) -> str:
        """The file and the key, for a message."""
        return f"{shown(self.file)}: {self.key!r}"

    @property
    def by(self) -> str:
        """The file's name and the key, without its folder, for a card."""
        return f"{self.file.name} ({self.key})"


@dataclass(frozen=True)
class JsonFile:
    """A JSON object, and where it came from; `above` is the key that it stands below."""

    file: Path
    content: Mapping[str, Any]
    above: str = ""

    def get(self, key: str, expected: str, *kinds: type) -> Said | None:
        """Return the value of a key, or None where it is absent or null; raise `WeightsError` for another type."""
        value = self.content.get(key)
        if value is None:
            return None
        wrong = not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)
        if wrong or (isinstance(value, float) and not math.isfinite(value)):
            raise WeightsError(f"{self.said(key).where} is {value!r:.60}, expected {expected}")
        return self.said(key)

    def said(self, key: str) -> Said:
        return Said(self.content.get(key), self.file, f"{self.above}{key}")

    def below(self, key: str) -> "JsonFile":
        found = self.get(key, "an object", dict)
        return JsonFile(self.file, found.value if found else {}, f"{self.above}{key}/")

    def is_on(self, key: str, default: bool) -> bool:
        found = self.get(key, "true or false", bool)
        return default if found is None else found.value

    def numbers(self, key: str, count: int | None = None) -> Said | None:
        """Return a list of finite numbers, `count` of them where that is known."""
        found = self.get(key, "a list of numbers", list)
        if found and not all(is_number(each) for each in found.value):
            raise WeightsError(f"{found.where} is {found.value!r:.60}, expected a list of numbers")
        if found and count is not None and len(found.value) != count:
            raise WeightsError(f"{found.where} has {len(found.value)} values, expected {count}, one for each channel")
        return found


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def read_json_file(path: Path) -> JsonFile | None:
    """Read a JSON object; None where there is no such file."""
    if not os.path.lexists(path):
        return None
    if not path.is_file():
        raise WeightsError(f"{shown(path)}: not a file that can be read (--no-hub-config leaves it out)")
    file = RegularFile.at(path)
    if file.size > MAX_BYTES:
        raise WeightsError(f"{shown(path)}: {file.size:,} bytes, which no configuration has (--no-hub-config)")
    try:
        text = file.read(0, file.size).tobytes().decode("utf-8-sig")
        content = json.loads(text, object_pairs_hook=_distinct, parse_int=_integer)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{shown(path)}: not JSON ({one_line(error)}): mend it, or --no-hub-config") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{shown(path)}: a JSON {type(content).__name__}, expected an object (--no-hub-config)")
    return JsonFile(path, content)


def _integer(digits: str) -> int:
    if len(digits) > 18:  # the next step might make it a float, and fail
        raise ValueError(f"an integer of {len(digits)} digits")
    return int(digits)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {twice!r} is there more than once")
    return found
