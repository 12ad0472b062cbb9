"""The parts and the targets of a table's rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tlx.data.readers.layout import SPLIT_NAMES, Listed, classes_of, notes_on
from tlx.data.readers.targets import Targets
from tlx.data.spec import PARTS, DataSpec
from tlx.data.validate import check_label_texts
from tlx.errors import DataError
from tlx.files.opening import shown


def rows_of_parts(splits: Sequence[str], lines: Sequence[int], spec: DataSpec, place: str) -> dict[str, np.ndarray]:
    """Return the rows of each part that a table has, by the texts of its column of splits.

    Args:
        splits: the text of each row; where nothing is asked for, an empty one is training.
        lines: the number of each row's line.
        spec: may name the splits.
        place: the table, as errors call it.

    Returns:
        The numbers of the rows, int64, by part.

    Raises:
        DataError: for a text that is no split, and a split that no row has.

    >>> rows_of_parts(["train", "dev", ""], [2, 3, 4], DataSpec(), "a.csv")["train"].tolist()
    [0, 2]
    """
    asked = {name: part for part, name in spec.splits().items()}
    known = asked or {**SPLIT_NAMES, "": "train"}
    parts = [known.get(split if asked else split.lower(), "") for split in splits]
    if not asked and "" in parts:
        row = parts.index("")
        raise DataError(
            f"{place}: line {lines[row]}: split {shown(splits[row])!r} is none of train, validation and test"
        )
    for name, part in asked.items():
        if part not in parts:
            raise DataError(f"{place}: no line has the split {shown(name)!r}, which --{part}-split names")
    array = np.array(parts)
    return {part: np.flatnonzero(array == part) for part in PARTS if part in parts}


def targets_of_rows(
    targets: Targets,
    name: str,
    texts: Sequence[Sequence[str]],
    lines: Sequence[int],
    rows: Mapping[str, np.ndarray],
    place: str,
    classes: tuple[str, ...] = (),
) -> tuple[np.ndarray, tuple[str, ...], list[str]]:
    """Return the targets of all rows as numbers.

    Args:
        targets: what `read_targets` found.
        name: the column of classes, for errors.
        texts: what each row says of its target.
        lines: the number of each row's line.
        rows: the rows of each part (`rows_of_parts`); the classes are those of training.
        place: the table, as errors call it.
        classes: the names of the classes, where their order is known.

    Returns:
        The targets, (N,) or (N, K), the names of classes or outputs, and notes.

    Raises:
        DataError: for a row without a label, a class that training does not have, and labels that are figures.

    >>> rows = {"train": np.array([0, 1])}
    >>> targets_of_rows(Targets("class"), "label", [["yes"], ["no"]], [2, 3], rows, "a.csv")[:2]
    (array([1, 0]), ('no', 'yes'))
    """
    if targets.rows is not None:
        return targets.rows, targets.names, [targets.note]
    labels = [row[0] for row in texts]
    if "" in labels:
        raise DataError(f"{place}: line {lines[labels.index('')]} has no {shown(name)}; add it, or leave the line out")
    check_label_texts(labels, lambda row: f"{place}: line {lines[row]}")
    listed = {
        part: [Listed("", labels[row], f"{place} line {lines[row]}") for row in held.tolist()]
        for part, held in rows.items()
    }
    classes = classes or classes_of(listed, place)
    told = [targets.note] if targets.note else []
    index = {label: number for number, label in enumerate(classes)}
    return np.array([index.get(label, -1) for label in labels]), classes, [*told, *notes_on(classes)]
