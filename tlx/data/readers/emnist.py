"""Know EMNIST's layout: transposed images, class names, and labels that need not start at 0."""

from __future__ import annotations

import os
from dataclasses import dataclass
from string import ascii_lowercase, ascii_uppercase, digits

import numpy as np

from tlx.errors import DataError
from tlx.files.opening import open_regular, shown

UPRIGHT_NOTE = "EMNIST stores each image transposed; the images were turned upright"
_MAX_MAPPING_BYTES = 1 << 20


@dataclass(frozen=True)
class LabelMap:
    """Hold the stored labels in ascending order and the name of each one's class, whose index is its place here."""

    labels: tuple[int, ...]
    classes: tuple[str, ...]

    def indices(self, labels: np.ndarray, name: str) -> np.ndarray:
        """Turn stored labels (N,) into class indices, or raise a `DataError` that names the first unknown one.

        >>> SUBSETS["letters"].indices(np.array([1, 26]), "labels").tolist()
        [0, 25]
        """
        known = np.array(self.labels, np.int64)
        found = np.minimum(np.searchsorted(known, labels), len(known) - 1)
        wrong = known[found] != labels
        if wrong.any():
            row = int(wrong.argmax())
            raise DataError(
                f"{name}: row {row}: label {labels[row]} is out of range: "
                f"the {len(known)} classes have labels {known[0]} to {known[-1]}"
            )
        return found


def _numbered(classes: str, first: int = 0) -> LabelMap:
    return LabelMap(tuple(range(first, first + len(classes))), tuple(classes))


_BALANCED = _numbered(digits + ascii_uppercase + "abdefghnqrt")

SUBSETS = {
    "balanced": _BALANCED,
    "bymerge": _BALANCED,
    "byclass": _numbered(digits + ascii_uppercase + ascii_lowercase),
    "letters": LabelMap(
        tuple(range(1, 27)), tuple(a + b for a, b in zip(ascii_uppercase, ascii_lowercase, strict=True))
    ),
    "digits": _numbered(digits),
    "mnist": _numbered(digits),
}
"""The mapping of each EMNIST subset, for data sets that come without the mapping file.

G. Cohen and others, "EMNIST: an extension of MNIST to handwritten letters", 2017, arXiv:1702.05373.
"""


def read_mapping(path: str | os.PathLike[str]) -> LabelMap:
    """Read a mapping file, whose lines are a label and the code points of its characters.

    A class that holds several characters (as in EMNIST letters: "1 65 97") is named by all of them ("Aa").
    Raises `DataError` naming the line.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     _ = file.write(b"2 66 98\\n1 65 97\\n")
    ...     file.flush()
    ...     read_mapping(file.name)
    LabelMap(labels=(1, 2), classes=('Aa', 'Bb'))
    """
    name = shown(path)
    with open_regular(path) as file:
        content = file.read(_MAX_MAPPING_BYTES + 1)
    if len(content) > _MAX_MAPPING_BYTES:
        raise DataError(f"{name}: more than {_MAX_MAPPING_BYTES} bytes is no mapping of labels to characters")
    names: dict[int, str] = {}
    for number, line in enumerate(content.splitlines(), 1):
        words = line.split()
        if not words:
            continue
        try:
            label, *codes = (int(word) for word in words)
            text = "".join(chr(code) for code in codes)
        except (ValueError, OverflowError):
            label, text = -1, ""
        if label < 0 or not text.isprintable() or not text.strip():
            raise DataError(f"{name}: line {number}: {line[:60]!r} is not a label and character codes such as '10 65'")
        if label in names or text in names.values():
            raise DataError(f"{name}: line {number}: label {label} or {text!r} is there twice; keep one line")
        names[label] = text
    if not names:
        raise DataError(f"{name}: no line maps a label to a character; an example is '10 65'")
    labels = tuple(sorted(names))
    return LabelMap(labels, tuple(names[label] for label in labels))
