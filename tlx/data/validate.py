"""Check labels, class names and pixel values, naming the first row that is wrong (rows count from 0)."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tlx.errors import ConfigError, DataError

_MAX_UNNAMED_CLASSES = 1_000_000
NOT_CLASSES = "a source's target_kind, 'regression' or 'multi-label' (--objective)"


def check_labels(
    labels: Any, name: str = "labels", classes: int | None = None, rows: Sequence[int] | np.ndarray | None = None
) -> np.ndarray:
    """Return class numbers as an (N,) integer array, or raise a `DataError` that names the first bad row.

    Every source's labels go through here. Nothing is rounded or cast: booleans, floats (whole ones, too), text, None
    and one-hot rows are refused, whichever row they begin in.

    Args:
        labels: (N,), an array or a sequence of anything that Python takes for an index.
        name: what errors call the labels.
        classes: how many classes there are, if that is known; larger numbers are refused.
        rows: (N,), what errors call the rows; by default 0 to N - 1.

    Raises:
        DataError: for what is no integer from 0 up to (not including) `classes`, with its row and value.

    >>> check_labels([2, 0])
    array([2, 0])
    """
    array = np.asarray(labels) if hasattr(labels, "dtype") else _numbers(labels, name, rows)
    if array.ndim != 1:
        raise DataError(f"{name}: shape {array.shape}, expected (N,); {_cure_of_rows(array)}")
    if array.dtype.kind not in "iu":
        array = _numbers(array, name, rows)
    wrong = array < 0 if classes is None else (array < 0) | (array >= classes)
    if wrong.any():
        place = int(wrong.argmax())
        fault = "is negative; number the classes from 0"
        if array[place] >= 0:
            fault = f"is out of range for {classes} classes"
        raise DataError(f"{name}: row {place if rows is None else rows[place]}: label {array[place]} {fault}")
    return array


def _numbers(labels: Any, name: str, rows: Sequence[int] | np.ndarray | None) -> np.ndarray:
    """Turn labels of any type into integers, or raise `DataError` for one that is none."""
    try:
        values = list(labels)
    except TypeError as error:
        raise DataError(f"{name}: {labels!r:.60} is no sequence; give a label for each image") from error
    bad = [place for place, value in enumerate(values) if not _is_integer(value)]
    if bad:
        # Of floats, a whole one is only a matter of type: name the first that could not be cast.
        place = next((place for place in bad if not _is_whole(values[place])), bad[0])
        raise DataError(f"{name}: row {place if rows is None else rows[place]}: {_fault(values[place])}")
    numbers = [operator.index(value) for value in values]
    large = next((place for place, number in enumerate(numbers) if not -(1 << 63) <= number < 1 << 63), None)
    if large is not None:
        row = large if rows is None else rows[large]
        raise DataError(f"{name}: row {row}: label {numbers[large]} is out of range; number the classes from 0")
    return np.array(numbers, np.int64)


def _is_integer(value: Any) -> bool:
    try:
        operator.index(value)
    except TypeError:
        return False
    return not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, (float, np.floating)) and float(value).is_integer()


def _fault(label: Any) -> str:
    """Say what a label is that is no integer, and the cure."""
    cure = "number the classes from 0"
    if _is_whole(label):
        what, cure = "is a float", "convert them with labels.astype(int)"
    elif isinstance(label, (float, np.floating)):
        what, cure = "is not a whole number", f"{cure}, or say that they are numbers to predict: {NOT_CLASSES}"
    elif isinstance(label, (bool, np.bool_)):
        what, cure = "is a boolean", "give 0 and 1"
    elif isinstance(label, (str, bytes)):
        what = "is text"
    elif label is None:
        what = "is missing"
    else:
        rows = label if hasattr(label, "dtype") or isinstance(label, list | tuple) else ()
        what, cure = f"is of type {type(label).__name__}", _cure_of_rows(np.asarray(rows, object)[None])
    plain = label.item() if isinstance(label, np.str_ | np.bytes_) else label
    value = " ".join((str(plain) if isinstance(plain, np.generic) else repr(plain)).split())
    return f"label {value:.60} {what}, expected integers; {cure}"


def _cure_of_rows(rows: np.ndarray) -> str:
    """Say what to give for rows of several numbers, (N, C)."""
    if rows.ndim == 2 and rows.shape[1] == 1:
        return "give labels[:, 0]"
    if rows.ndim == 2 and ((rows == 0) | (rows == 1)).all() and (np.sum(rows == 1, axis=1) == 1).all():
        return "for one-hot rows give labels.argmax(axis=1)"
    return f"give each example one class, or say that several may apply: {NOT_CLASSES}"


def check_numbers(
    targets: Any,
    kind: str,
    name: str = "targets",
    outputs: int | None = None,
    rows: Sequence[int] | np.ndarray | None = None,
) -> np.ndarray:
    """Return targets that are no classes, or raise a `DataError` that names the first bad row.

    Args:
        targets: (N,) or (N, K), an array or a sequence of rows.
        kind: "regression", "soft" or "multi-label" (`tlx.data.Source`).
        name: what errors call the targets.
        outputs: how many numbers a row has, if that is known.
        rows: (N,), what errors call the rows; by default 0 to N - 1.

    Returns:
        (N, K) float32, or bool for "multi-label".

    Raises:
        DataError: for rows of other lengths, what is no number or not finite, probabilities that are negative or do not
            sum to 1, and labels other than 0 and 1.

    >>> check_numbers([1.5, 2], "regression").tolist(), check_numbers([[0, 1]], "multi-label").tolist()
    ([[1.5], [2.0]], [[False, True]])
    """
    try:
        array = np.asarray(targets)
        numbers = array.astype(np.float64) if array.dtype.kind in "biuf" else np.array(list(targets), np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name}: {kind} targets are numbers, as many in each row: {targets!r:.60}") from error
    numbers = numbers[:, None] if numbers.ndim == 1 else numbers
    if numbers.ndim != 2 or (outputs and numbers.shape[1] != outputs):
        raise DataError(f"{name}: shape {np.shape(targets)}, expected (N, {outputs or 'K'}) for {kind} targets")
    checks: dict[str, tuple[Any, str]] = {"finite": (np.isfinite(numbers).all(1), "is not finite (NaN)")}
    if kind == "multi-label":
        checks["0 or 1"] = ((numbers == 0) | (numbers == 1)).all(1), "is not made of 0 and 1"
    if kind == "soft":
        good = (numbers >= 0).all(1) & (np.abs(numbers.sum(1) - 1) < 1e-3)
        checks["probabilities"] = good, "is not made of probabilities that sum to 1"
    for good, fault in checks.values():
        if not good.all():
            place = int(good.argmin())
            raise DataError(f"{name}: row {place if rows is None else rows[place]}: {numbers[place].tolist()} {fault}")
    return numbers.astype(bool if kind == "multi-label" else np.float32)


def check_tags(
    tags: Any, name: str = "tags", classes: int | None = None, rows: Sequence[int] | np.ndarray | None = None
) -> np.ndarray:
    """Return the tags of texts' words as (N, W) int32, with -1 behind the last word, or raise a `DataError`.

    Args:
        tags: (N, W), an array; or a sequence of N sequences of whole numbers, each as long as the text has words.
        name: what errors call the tags.
        classes: how many tags there are, if that is known.
        rows: (N,), what errors call the rows; by default 0 to N - 1.

    Raises:
        DataError: for what is no such number, and for a text without any, with its row.

    >>> check_tags([[0, 2], [1]]).tolist()
    [[0, 2], [1, -1]]
    """
    if isinstance(tags, np.ndarray) and tags.ndim == 2 and tags.dtype.kind in "iu":
        array = tags.astype(np.int32, copy=False)
    else:
        listed = [each.tolist() if hasattr(each, "tolist") else list(each) for each in tags]
        for place, each in enumerate(listed):
            if not all(map(_is_integer, each)):
                raise DataError(
                    f"{name}: row {place if rows is None else rows[place]}: {each!r:.60} are no numbers of tags"
                )
        array = np.full((len(listed), max(map(len, listed), default=0)), -1, np.int32)
        for own, each in zip(array, listed, strict=True):
            own[: len(each)] = each
    present = array >= 0
    wrong = (array < -1).any(1) | ~present.any(1) | (np.diff(present.astype(np.int8), axis=1) > 0).any(1)
    wrong |= (array >= (classes or _MAX_UNNAMED_CLASSES)).any(1)
    if wrong.any():
        place = int(wrong.argmax())
        among = f" of {classes}" if classes is not None else ""
        raise DataError(
            f"{name}: row {place if rows is None else rows[place]}: {array[place].tolist()!s:.60} are not the numbers"
            f"{among} of a text's tags, one a word from the first one on"
        )
    return array


def check_label_texts(labels: Sequence[str], place: Callable[[int], str]) -> None:
    """Raise `DataError` for labels that are all numbers and not all whole: figures to predict, or missing ones.

    Args:
        labels: (N,), the names of classes, as a table gives them.
        place: what errors call a row.

    >>> check_label_texts(["1", "2"], "row {}".format), check_label_texts(["0.5 mm", "-1", "2"], "row {}".format)
    (None, None)
    >>> check_label_texts(["1", "2", "2.5"], "row {}".format)
    Traceback (most recent call last):
        ...
    tlx.errors.DataError: row 2: label '2.5' is not a whole number of 0 or more, though all labels are numbers; ...
    """
    distinct = dict.fromkeys(labels)
    if not distinct or not all(map(_is_number, distinct)):
        return
    figures = [text for text in distinct if not (text.isascii() and text.isdigit())]
    if figures:
        missing = [text for text in figures if not math.isfinite(float(text))]
        text = (missing or figures)[0]
        raise DataError(
            f"{place(list(labels).index(text))}: label {text!r} is not a whole number of 0 or more, though all labels "
            "are numbers; number the classes from 0, give them names, or say that they are figures to predict "
            "(--target COLUMN --objective regression)"
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def check_classes(classes: Sequence[str] | None, labels: np.ndarray, name: str = "labels") -> tuple[str, ...]:
    """Return the names of the classes, or raise a `DataError` for a bad name or a label without one.

    >>> check_classes(None, np.array([2, 0]))
    ('0', '1', '2')
    """
    largest = int(labels.max()) if labels.size else -1
    if classes is None:
        if largest >= _MAX_UNNAMED_CLASSES:
            raise DataError(f"{name}: row {labels.argmax()}: label {largest} is no class number; pass classes=(...)")
        return tuple(str(number) for number in range(largest + 1))
    given = list(classes)
    names = tuple(str(name) for name in given if isinstance(name, str) and name)
    if isinstance(classes, str) or len(names) != len(given) or len(set(names)) != len(names):
        raise DataError(f"classes: the names must be different strings, none empty; got {classes!r:.200}")
    check_labels(labels, name, len(names))
    return names


def numbered_classes(labels: np.ndarray, name: str = "labels") -> tuple[str, ...]:
    """Name classes "0" to the largest label, or raise a `DataError` where a number below it has no row.

    >>> numbered_classes(np.array([1, 0, 2, 1]))
    ('0', '1', '2')
    """
    present = np.unique(labels)
    gaps = np.flatnonzero(present != np.arange(len(present)))
    if gaps.size:
        row = int((labels > gaps[0]).argmax())
        raise DataError(
            f"{name}: row {row}: label {labels[row]}, though no row has label {gaps[0]}; "
            "mend the label or name the classes"
        )
    return check_classes(None, labels, name)


def as_array(values: Any, name: str = "images") -> np.ndarray:
    """Return values as an array of numbers, or raise a `DataError`.

    >>> as_array([[1, 2]]).shape
    (1, 2)
    """
    try:
        array = np.asarray(values)
    except ValueError as error:  # ragged
        raise DataError(f"{name}: not an array of one shape; resize the images to one size first") from error
    if array.dtype.kind not in "biuf" and array.size:
        raise DataError(f"{name}: type {array.dtype}, expected numbers")
    return array


def on_scale(images: np.ndarray, value_range: tuple[float, float] | None, name: str = "images") -> np.ndarray:
    """Return images as uint8 or float32 on the scale 0..255, or raise a `DataError`; `ArraySource` states the rules.

    >>> on_scale(np.array([[[0.0, 0.5]]]), (0, 1)).tolist()
    [[[0.0, 127.5]]]
    """
    if images.ndim not in (3, 4):
        raise DataError(f"{name}: shape {images.shape}, expected (N, H, W) or (N, H, W, C)")
    if images.ndim == 4 and images.shape[3] not in (1, 3, 4) and images.shape[1] in (1, 3, 4):
        raise DataError(f"{name}: shape {images.shape} has channels first: transpose it to (N, H, W, C)")
    if 0 in images.shape:
        raise DataError(f"{name}: shape {images.shape} holds no images; give at least one, of at least one pixel")
    kind = images.dtype.kind
    if kind == "f":
        finite = np.isfinite(images).reshape(len(images), -1).all(axis=1)
        if not finite.all():
            raise DataError(f"{name}: image {finite.argmin()} has pixels that are not finite (NaN or infinity)")
        if value_range is None:
            raise DataError(
                f"{name}: type {images.dtype} from {images.min():g} to {images.max():g}: "
                "say which values are black and white with value_range=(low, high), such as (0, 1) or (0, 255)"
            )
    low, high = (0, 1 if kind == "b" else 255) if value_range is None else _check_range(value_range)
    if images.dtype == np.uint8 and (low, high) == (0, 255):
        return images.view()
    slack = 1e-5 * (high - low) if kind == "f" else 0.0  # resizing and rounding overshoot a little
    outside = ((images < low - slack) | (images > high + slack)).reshape(len(images), -1).any(axis=1)
    if outside.any():
        row = int(outside.argmax())
        raise DataError(
            f"{name}: image {row} has pixels from {images[row].min():g} to {images[row].max():g}, outside the range "
            f"{low:g} to {high:g}; say which values are black and white with value_range=(low, high)"
        )
    if (low, high) == (0, 255) and kind != "f":
        return images.astype(np.uint8)
    scaled = np.empty(images.shape, np.float32)
    for start in range(0, len(images), 1024):  # a little at a time: float64 is eight times the size of uint8
        block = slice(start, start + 1024)
        scaled[block] = np.clip((images[block].astype(np.float64) - low) * (255 / (high - low)), 0, 255)
    return scaled


def _check_range(value_range: tuple[float, float]) -> tuple[float, float]:
    try:
        low, high = (float(value) for value in value_range)
    except (TypeError, ValueError):
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ConfigError(f"value_range: {value_range!r} is not a pair (low, high) of numbers with low < high")
    return low, high
