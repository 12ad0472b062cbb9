"""Examples by number: what a source of data offers, and how its parts are had where it offers less."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import Any, Literal, Protocol, get_args

import numpy as np

from tlx.data.validate import check_labels, check_numbers, check_tags
from tlx.errors import DataError
from tlx.text.sentences import are_sentences
from tlx.tree.paths import quote

Example = Mapping[str, Any]
"""One example: `input`, `target` and any further columns, by name."""

Columns = dict[str, Any]
"""Several examples: `input` and `target`, arrays (B, …) or trees of such, and any further columns, by name.

The inputs of images may be a list or an iterator instead, of arrays or of Pillow's images, whose sizes may differ.
"""

TargetKind = Literal["class", "soft", "multi-label", "regression", "tags", "none"]
TARGET_KINDS = get_args(TargetKind)


class Source(Protocol):
    """Examples by number, with the names of their classes.

    These three are enough. An example is a mapping of an `input` (an image on the scale 0..255, a vector, tokens: what
    the model's input spec takes), a `target` and any further columns (`weight`, `group`, …).

    `classes` names what the model's outputs stand for. The class attribute `target_kind` says what targets are:

    - "class" (the default): an integer, the number of a class;
    - "soft": a probability of each class, (C,) floats;
    - "multi-label": whether each of the classes applies, (C,) booleans;
    - "regression": one number, or one for each of `classes`, floats;
    - "tags": the number of a class for each word of a text, (W,) integers, and the input is a tuple of W words;
    - "none": there is no target.

    A source may also offer `targets` (an array (N, …)), `digests` (a tuple of SHA-256 digests, one for each input),
    `names` (a tuple of strings, paths mostly) and `take(indices)`, which returns `Columns` at once; `targets_of`,
    `digests_of`, `names_of` and `take` use these where they stand and do without where not. Examples are asked for from
    several threads at a time.

    >>> class Squares:
    ...     classes = ("area",)
    ...     target_kind = "regression"
    ...     def __len__(self):
    ...         return 20
    ...     def __getitem__(self, index):
    ...         return {"input": np.full(3, index, np.float32), "target": float(index**2)}
    >>> targets_of(Squares())[:3].tolist()
    [[0.0], [1.0], [4.0]]
    """

    @property
    def classes(self) -> tuple[str, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...


def describe(source: Source) -> str:
    """Say in a line what a source holds; the `repr` of tlx's own.

    >>> from tlx.data import ArraySource
    >>> ArraySource(np.zeros((3, 8, 8), np.uint8), [0, 1, 2])
    ArraySource(3 examples, 3 classes: '0', '1', '2')
    """
    noun = {"regression": "outputs", "multi-label": "labels", "tags": "tags"}.get(target_kind(source), "classes")
    what = f", {len(source.classes)} {noun}: {quote(source.classes, 3)}" if source.classes else ""
    return f"{type(source).__name__}({len(source):,} examples{what})"


def check_source(source: Any, name: str) -> None:
    """Raise `DataError` for what is no source of examples: a `Data` of three parts, or something else.

    >>> check_source([1, 2], "source")
    Traceback (most recent call last):
        ...
    tlx.errors.DataError: source: list is no source of examples: it lacks classes
    """
    if hasattr(source, "train") and hasattr(source, "validation"):
        raise DataError(f"{name}: a Data has three parts: give one, such as data.train or data.test")
    missing = [each for each in ("classes", "__len__", "__getitem__") if not hasattr(source, each)]
    if missing:
        raise DataError(f"{name}: {type(source).__name__} is no source of examples: it lacks {', '.join(missing)}")
    kind = getattr(source, "target_kind", "class")
    if kind not in TARGET_KINDS:
        raise DataError(f"{name}: its target_kind {kind!r} is none of {', '.join(TARGET_KINDS)}")


def target_kind(source: Source) -> TargetKind:
    """Return what the targets of a source are (`Source`)."""
    kind: TargetKind = getattr(source, "target_kind", "class")
    return kind


def targets_of(source: Source, name: str = "targets") -> np.ndarray:
    """Return the targets, without decoding an input where the source can.

    Args:
        source: any source with targets.
        name: what errors call them.

    Returns:
        (N,) int32 of classes; (N, C) float32 of soft labels; (N, C) bool of several labels; (N, K) float32 of numbers;
        (N, W) int32 of tags, with -1 behind the words of texts that have fewer than W.

    Raises:
        DataError: for what is no such target, with its row.

    >>> from tlx.data import ArraySource
    >>> targets_of(ArraySource(np.zeros((2, 1, 1), np.uint8), [1, 0])).tolist()
    [1, 0]
    """
    targets = getattr(source, "targets", None)
    if targets is None:
        targets = [source[i]["target"] for i in range(len(source))]
    checked = check_targets(targets, source, name)
    if len(checked) != len(source):
        raise DataError(f"{name}: {len(checked)} targets for {len(source)} examples; give one each")
    return checked


def check_targets(targets: Any, source: Source, name: str, rows: Any = None) -> np.ndarray:
    """Return targets as `targets_of` does, checked; `rows` is what errors call them."""
    kind, classes = target_kind(source), len(source.classes)
    if kind == "class":
        return check_labels(targets, name, classes, rows).astype(np.int32, copy=False)
    if kind == "tags":
        return check_tags(targets, name, classes, rows)
    return check_numbers(targets, kind, name, classes, rows)


def labels_of(source: Source, name: str = "labels") -> np.ndarray:
    """Return the classes' numbers, (N,) int32, of a source whose targets are classes (`targets_of`).

    >>> from tlx.data import ArraySource
    >>> labels_of(ArraySource(np.zeros((2, 1, 1), np.uint8), [1, 0])).tolist()
    [1, 0]
    """
    if target_kind(source) != "class":
        raise DataError(f"{name}: the targets are of the kind {target_kind(source)!r}, and classes are needed")
    return targets_of(source, name)


def digests_of(source: Source) -> tuple[bytes, ...]:
    """Return a SHA-256 digest for each input; equal inputs of one source have equal digests.

    >>> from tlx.data import ArraySource
    >>> first, second = digests_of(ArraySource(np.zeros((2, 1, 1), np.uint8), [1, 0]))
    >>> first == second
    True
    """
    digests = getattr(source, "digests", None)
    return digests if digests is not None else tuple(digest(source[i]["input"]) for i in range(len(source)))


def names_of(source: Source) -> tuple[str, ...] | None:
    """Return what the source calls its examples (paths, mostly), or None where it has no names for them.

    >>> from tlx.data import ArraySource
    >>> names_of(ArraySource(np.zeros((2, 1, 1), np.uint8), [1, 0])) is None
    True
    """
    names: tuple[str, ...] | None = getattr(source, "names", None)
    return names


def shapes_of(source: Source) -> np.ndarray | None:
    """Return height, width and channels of each image, (N, 3) int32, where the source knows them without decoding.

    >>> from tlx.data import ArraySource, Subset
    >>> shapes_of(Subset(ArraySource(np.zeros((2, 1, 1), np.uint8), [1, 0]), [0])) is None
    True
    """
    shapes: np.ndarray | None = getattr(source, "shapes", None)
    return shapes


def sizes_of(source: Source) -> np.ndarray | None:
    """Return to which length each input is padded, (N,) int64, or None where all have one shape.

    >>> from tlx.data import ArraySource
    >>> sizes_of(ArraySource(np.zeros((2, 1, 1), np.uint8), [1, 0])) is None
    True
    """
    sizes: np.ndarray | None = getattr(source, "sizes", None)
    return sizes


def is_of_texts(source: Source) -> bool:
    """Tell whether a source's inputs are texts, pairs of them, or sentences of words, by its first example.

    >>> from tlx.data import ColumnSource
    >>> is_of_texts(ColumnSource({"input": ["a text"]}))
    True
    """
    first = getattr(source, "first_input", None)  # of a source that was looked at once already
    if first is None and len(source):
        first = source[0]["input"]
    if isinstance(first, dict):
        return "text" in first or "ids" in first
    return isinstance(first, str) or are_sentences([first])


def take(source: Source, indices: np.ndarray) -> Columns:
    """Gather examples: each column as one array (B, …) where its values agree in shape and type, and else as a list.

    >>> from tlx.data import ArraySource
    >>> columns = take(ArraySource(np.zeros((3, 4, 5), np.uint8), [0, 1, 2]), np.array([2, 1]))
    >>> columns["input"].shape, columns["target"].tolist()
    ((2, 4, 5), [2, 1])
    """
    at_once = getattr(source, "take", None)
    if at_once is not None:
        columns = dict(at_once(indices))
    else:
        examples = [source[int(i)] for i in indices]
        several = {name: [example[name] for example in examples] for name in (examples or [{}])[0]}
        # Targets are checked one by one, for NumPy would make numbers of what is none (a boolean among integers).
        columns = {name: each if name == "target" else stacked(each) for name, each in several.items()}
    if "target" in columns:
        columns["target"] = check_targets(columns["target"], source, "targets", indices)
    return columns


def is_numeric(column: Any) -> bool:
    """Tell whether a column is an array of numbers or truth values, which can go to a device."""
    return isinstance(column, np.ndarray) and column.dtype.kind in "biuf"


def columns_of(source: Source, names: Collection[str], at_once: int = 256) -> dict[str, np.ndarray]:
    """Return columns of numbers other than the inputs, (N, …), without decoding an input where the source can.

    >>> from tlx.data import ColumnSource
    >>> source = ColumnSource({"input": np.zeros((3, 8)), "target": [0, 1, 1], "group": [7, 7, 8]}, "ab")
    >>> columns = columns_of(source, ["target", "group"])
    >>> {name: column.tolist() for name, column in columns.items()}
    {'target': [0, 1, 1], 'group': [7, 7, 8]}
    """
    if not names:
        return {}
    if set(names) == {"target"} and getattr(source, "targets", None) is not None:
        return {"target": targets_of(source)}
    parts = [take(source, np.arange(row, min(row + at_once, len(source)))) for row in range(0, len(source), at_once)]
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def stacked(values: list[Any]) -> Any:
    """Stack arrays, or mappings of them, of one shape and type along a new first axis; else return the list.

    >>> stacked([{"ids": np.zeros(3)}, {"ids": np.ones(3)}])["ids"].shape
    (2, 3)
    """
    first = values[0]
    if isinstance(first, Mapping):
        return {name: stacked([value[name] for value in values]) for name in first}
    if not hasattr(first, "dtype"):
        whole = isinstance(first, str) or hasattr(first, "mode") or are_sentences([first])
        return values if whole else _array_or_list(values)
    return np.stack(values) if len({(value.shape, value.dtype) for value in values}) == 1 else values


def _array_or_list(values: list[Any]) -> Any:
    try:
        array = np.asarray(values)
    except ValueError:  # ragged
        return values
    return values if array.dtype == object else array


def digest(value: Any) -> bytes:
    """Hash an input: an array's type, shape and numbers; of a mapping the names, too; a text's characters.

    >>> digest(np.zeros((2, 3))) == digest(np.zeros((3, 2)))
    False
    """
    if isinstance(value, Mapping):
        parts = b"".join(name.encode() + b"\0" + digest(value[name]) for name in sorted(value))
        return hashlib.sha256(parts).digest()
    if isinstance(value, str):
        return hashlib.sha256(value.encode()).digest()
    array = np.asarray(value)
    return hashlib.sha256(f"{array.dtype.str}{array.shape}".encode() + array.tobytes()).digest()
