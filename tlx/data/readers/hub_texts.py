"""Read the texts of Hugging Face's tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tlx.data.readers.text_columns import find_columns, is_prose
from tlx.data.readers.text_table import TextTable
from tlx.data.readers.texts import Rows, parts_of_rows, rows_of
from tlx.data.spec import Parts, Request

_LOOKED_AT = 256  # rows that tell whether a table is one of texts


def holds_texts(datasets: Any, table: Any, request: Request) -> bool:
    """Tell whether a table is read as one of texts: it is asked for, or it has prose and no images."""
    if request.spec.text or request.takes_text:
        return True
    features = table.features
    if not request.may_be_texts or {"image", "img"} & set(features):
        return False
    if any(isinstance(feature, datasets.Image) for feature in features.values()):
        return False
    return any(_is_text(feature) and is_prose(table[:_LOOKED_AT][name]) for name, feature in features.items())


def read_hub_texts(datasets: Any, tables: Mapping[str, Any], request: Request, place: str) -> Parts:
    """Read the texts of tables, one for each part, with the columns that `find_columns` finds in training.

    Classes keep the order of `datasets`' class labels. A part none of whose rows has a label (-1) is left out and
    noted: public benchmarks keep the labels of their test part to themselves.

    Args:
        datasets: the library.
        tables: the table of each part.
        request: what is wanted.
        place: the data set, as errors call it.
    """
    spec, train = request.spec, _columns(datasets, tables["train"])
    found = find_columns(place, train, True, spec.text, spec.target)
    feature = tables["train"].features[found.target[0]]
    classes = tuple(feature.names) if isinstance(feature, datasets.ClassLabel) else ()
    every = Rows([], [], [], [], [])
    notes: list[str] = []
    for part, table in tables.items():
        columns = train if part == "train" else _columns(datasets, table)
        asked = find_columns(f"{place} {part}", columns, True, found.text, found.target)
        names = f"{place} {part}"
        rows = rows_of(TextTable(columns, list(range(len(table))), True, []), asked, names)
        if part != "train" and not any(any(row) for row in rows.targets):
            notes.append(f"{names}: no row has a label; the part is left out")
            continue
        every.texts.extend(rows.texts)
        every.targets.extend(rows.targets)
        every.splits.extend([part] * len(rows.texts))
        every.names.extend(f"{names}#{row}" for row in rows.lines)
        every.lines.extend(range(len(every.lines), len(every.lines) + len(rows.texts)))
    plain = replace(spec, train_split=None, validation_split=None, test_split=None)
    used = {text for row in every.targets for text in row}
    parts = parts_of_rows(every, found, plain, place, classes=classes if used <= set(classes) else ())
    return parts._replace(notes=(*parts.notes, *notes))


def _columns(datasets: Any, table: Any) -> dict[str, list[Any]]:
    """Return the columns of a table; classes by their names, nothing where a row has none."""
    columns = {}
    for name, feature in table.features.items():
        if not _is_text(feature) and not isinstance(feature, datasets.ClassLabel) and not _is_plain(feature):
            continue  # images and the like are not fetched
        values = table[name][:]
        if isinstance(feature, datasets.ClassLabel):
            known = feature.names
            values = [known[value] if value is not None and 0 <= value < len(known) else "" for value in values]
        columns[name] = values
    return columns


def _is_text(feature: Any) -> bool:
    return getattr(feature, "dtype", None) in ("string", "large_string")


def _is_plain(feature: Any) -> bool:
    """Tell whether a feature holds numbers or truth values, or lists of labels."""
    inner = getattr(feature, "feature", feature)
    return str(getattr(inner, "dtype", "")).startswith(("int", "uint", "float", "bool", "string"))
