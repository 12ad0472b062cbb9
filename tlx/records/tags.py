"""What a run that tags words keeps of its test in `evaluation.npz`: texts, entities, and words without a prediction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tlx.records.evaluation import read_arrays
from tlx.records.fields import fault

_ARRAYS = {"tagged_texts": "iu", "untagged_words": "iu", "entity_types": "U", "entity_counts": "iu"}


@dataclass(frozen=True)
class TagRecord:
    """Hold how many `texts` were tested, how many of their words have no prediction, and what became of entities.

    `entities` has for each type how many are right, said and true; it is empty where tags mark none.

    >>> record = TagRecord(2, 0, {"LOC": (1, 2, 1)})
    >>> record.figures()
    [{'type': 'LOC', 'precision': 0.5, 'recall': 1.0, 'f1': 0.6666666666666666, 'support': 1}]
    """

    texts: int
    without: int
    entities: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the record as plain arrays by name; `read_tag_record` is the inverse."""
        return {
            "tagged_texts": np.array([self.texts], np.int64),
            "untagged_words": np.array([self.without], np.int64),
            "entity_types": np.array(list(self.entities), np.str_),
            "entity_counts": np.array(list(self.entities.values()), np.int64).reshape(-1, 3),
        }

    def figures(self) -> list[dict[str, float | int | str]]:
        """Return precision, recall and F1 of each type, and how many entities there are of it."""
        return [
            {
                "type": kind,
                "precision": right / said if said else 0.0,
                "recall": right / true if true else 0.0,
                "f1": 2 * right / (said + true) if right else 0.0,
                "support": true,
            }
            for kind, (right, said, true) in self.entities.items()
        ]


def read_tag_record(path: Path) -> TagRecord | None:
    """Read and check what an `evaluation.npz` holds of tags; None where words were not tagged.

    Raises:
        CheckpointError: for a file that is missing, cut short, altered or at odds with itself.
        UnsafeFileError: for arrays of Python objects, and such as would unpack to more than 1 GiB.
    """
    empty = dict.fromkeys(_ARRAYS, np.zeros(0))
    arrays = read_arrays(path, _ARRAYS, empty, (set(), set(_ARRAYS)))
    if all(array is empty[name] for name, array in arrays.items()):
        return None
    for name in ("tagged_texts", "untagged_words"):
        if arrays[name].shape != (1,) or not 0 <= arrays[name][0] < 1 << 60:
            raise fault(path, f"{name!r} must be one count, found {arrays[name].tolist()!s:.60}")
    types, counts = arrays["entity_types"], arrays["entity_counts"]
    if types.ndim != 1 or counts.shape != (len(types), 3):
        raise fault(path, f"'entity_counts' must be ({len(types)}, 3), found {counts.shape}")
    if counts.size and (counts.min() < 0 or counts.max() >= 1 << 60 or (counts[:, :1] > counts[:, 1:]).any()):
        raise fault(path, "'entity_counts' holds other things than counts of entities")
    entities = {str(kind): (int(a), int(b), int(c)) for kind, (a, b, c) in zip(types, counts.tolist(), strict=True)}
    return TagRecord(int(arrays["tagged_texts"][0]), int(arrays["untagged_words"][0]), entities)
