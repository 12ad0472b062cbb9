"""Split examples into training, validation and test: seeded, stratified, and blind to their order."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tlx.data.arrays import ArraySource
from tlx.data.source import Source, digests_of, is_of_texts, labels_of, names_of, target_kind
from tlx.data.spec import TEST, VALIDATION, Data, DataSpec, Parts
from tlx.data.views import Subset
from tlx.errors import ConfigError
from tlx.files.opening import shown

_PAIRS = 5  # contradictions that are named
_DARK = 64  # no image of a whole data set brighter than this: its scale was hardly 0..255


class Split(NamedTuple):
    """Row numbers of each part, int64; each part is in the seeded order of its images' hashes."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def split_rows(
    labels: np.ndarray,
    digests: Sequence[bytes],
    *,
    seed: int = 0,
    validation: float = VALIDATION,
    test: float = 0.0,
    labels_per_class: int | None = None,
) -> Split:
    """Divide rows class by class, in the order of SHA-256(seed, image digest).

    A class of n rows gives round(test * n) to the test part, round(validation * rest) of what is left to validation
    and the rest to training. Training always keeps at least one; then testing and validation, in this order, get at
    least one, if their shares are above 0. Then training and validation keep at most
    `labels_per_class`. The parts depend on the examples and the seed, not on the order of the rows, and fewer labels a
    class are always among more labels a class.

    >>> parts = split_rows(np.array([0, 0, 0, 0, 1, 1]), [bytes([i]) for i in range(6)], validation=0.25, test=0.5)
    >>> [len(part) for part in parts]
    [2, 1, 3]
    """
    salt = hashlib.sha256(f"{seed}:".encode())
    keys = []
    for digest in digests:
        ranked = salt.copy()
        ranked.update(digest)
        keys.append(ranked.digest())
    numbers = np.asarray(labels).tolist()
    order = np.array(sorted(range(len(keys)), key=lambda row: (keys[row], numbers[row])), np.int64)
    ordered = np.asarray(labels)[order]
    train_places, validation_places, test_places = ([np.empty(0, np.int64)] for _ in range(3))
    for label in np.unique(ordered):
        places = np.flatnonzero(ordered == label)
        tested = _share(len(places), test)
        rest = places[tested:]
        validated = _share(len(rest), validation)
        test_places.append(places[:tested])
        train_places.append(rest[: len(rest) - validated][:labels_per_class])
        # Validation is taken from the far end, so that its share does not move the first training rows.
        validation_places.append(rest[::-1][:validated][:labels_per_class])
    parts = (train_places, validation_places, test_places)
    return Split(*(order[np.sort(np.concatenate(part))] for part in parts))


def split_together(labels: np.ndarray, digests: Sequence[bytes], **how: Any) -> Split:
    """Divide rows as `split_rows` does, and put equal inputs, whatever their labels, into one part: that of the first.

    >>> parts = split_together(np.array([0, 1, 0, 1]), [b"a", b"a", b"b", b"c"], validation=0.0, test=0.5)
    >>> {0, 1} <= set(parts.train.tolist()) or {0, 1} <= set(parts.test.tolist())
    True
    """
    first: dict[bytes, int] = {}
    for row, digest in enumerate(digests):
        first.setdefault(digest, row)
    if len(first) == len(digests):
        return split_rows(labels, digests, **how)
    chosen = np.array(list(first.values()), np.int64)
    found = split_rows(np.asarray(labels)[chosen], [digests[row] for row in chosen.tolist()], **how)
    others: dict[int, list[int]] = {}
    for row, digest in enumerate(digests):
        others.setdefault(first[digest], []).append(row)
    return Split(*(np.array([row for at in part for row in others[int(chosen[at])]], np.int64) for part in found))


def split_parts(parts: Parts, spec: DataSpec) -> Data:
    """Make the three parts of a run from what a source holds, and count what its user should know.

    The test and validation sets are the source's own where it has them; else they are split off training. Images
    of validation or test that are also in training, those of test that are also in validation (pixel for pixel, or byte
    for byte), equal images of different classes, and classes of which a part has no example are noted. `Data.spec` is
    `spec`.

    >>> images = np.arange(20, dtype=np.uint8).reshape(20, 1, 1)
    >>> data = split_parts(Parts(ArraySource(images, [0, 1] * 10), None, ()), DataSpec(validation=0.2))
    >>> len(data.train), len(data.validation), len(data.test)
    (12, 4, 4)
    """
    if spec.labels_per_class is not None and target_kind(parts.train) != "class":
        raise ConfigError("labels_per_class: the targets are no classes; leave it out")
    digests = digests_of(parts.train)
    split = split_together if is_of_texts(parts.train) else split_rows
    rows = split(
        _strata(parts.train),
        digests,
        seed=spec.seed,
        validation=0.0 if parts.validation is not None else VALIDATION if spec.validation is None else spec.validation,
        test=0.0 if parts.test is not None else TEST if spec.test is None else spec.test,
        labels_per_class=spec.labels_per_class,
    )
    train = Subset(parts.train, rows.train)
    validation = Subset(parts.train, rows.validation) if parts.validation is None else _capped(parts.validation, spec)
    test = parts.test if parts.test is not None else Subset(parts.train, rows.test)
    notes = list(parts.notes)
    noun, alike = ("images", ", pixel for pixel") if _of_images(parts.train) else ("examples", "")
    noun = "texts" if is_of_texts(parts.train) else noun
    repeated = len(digests) - len(set(digests))
    if noun == "texts" and repeated:
        notes.append(f"{repeated} of {len(digests)} texts stand there before: all of one text are in one part")
    if isinstance(parts.train, ArraySource) and (brightest := parts.train.images.max()) < _DARK:
        notes.append(
            f"the brightest pixel is {brightest:g} on the scale 0..255; "
            "if it should be white, say so with value_range=(low, high)"
        )
    if spec.labels_per_class is not None:
        counts = f"{len(train)} for training, {len(validation)} for validation"
        notes.append(f"at most {spec.labels_per_class} labels a class: {counts}")
    notes += contradictions(parts, noun)
    seen = {"training": {digests[row] for row in rows.train}}
    held_out: tuple[tuple[str, Source], ...] = (("validation", validation), ("test", test))
    for name, part in held_out:
        own = digests_of(part)
        for other, earlier in seen.items():
            repeated = sum(digest in earlier for digest in own)
            if repeated:
                notes.append(f"{repeated} of {len(part)} {name} {noun} are also in {other}{alike}")
        seen[name] = set(own)
        classes = target_kind(part) == "class" and len(part)
        absent = sorted(set(range(len(part.classes))) - set(labels_of(part).tolist())) if classes else []
        if absent:
            listed = ", ".join(shown(part.classes[i]) for i in absent[:10]) + (", ..." if len(absent) > 10 else "")
            count = f"{len(absent)} of {len(part.classes)} classes"
            notes.append(f"no {name} {noun.removesuffix('s')} of {count}: {listed}")
    return Data(train, validation, test, parts.train.classes, spec, tuple(notes), parts.skipped)


def _strata(source: Source) -> np.ndarray:
    """Return the number of each example's stratum, (N,): its class, or 0 where targets are no classes."""
    return labels_of(source) if target_kind(source) == "class" else np.zeros(len(source), np.int32)


def _of_images(source: Source) -> bool:
    """Tell whether a source is known to hold images, without asking it for one."""
    return isinstance(source, ArraySource) or hasattr(source, "shapes")


def contradictions(parts: Parts, noun: str = "images") -> list[str]:
    """Name equal images, or what else `noun` says, of different classes, of which one label must be wrong, in a note.

    >>> [note] = contradictions(Parts(ArraySource(np.zeros((2, 1, 1), np.uint8), [0, 1], ("cat", "dog")), None, ()))
    >>> note.partition(": ")[2]
    "training row 0 is 'cat', training row 1 'dog'"
    """
    if target_kind(parts.train) != "class":
        return []
    first: dict[bytes, tuple[int, str, int]] = {}  # of each image: its label, its part and its row there
    found = []
    own = {"training": parts.train, "validation": parts.validation, "test": parts.test}
    sources = {part: source for part, source in own.items() if source is not None}
    for part, source in sources.items():
        for row, (digest, label) in enumerate(zip(digests_of(source), labels_of(source).tolist(), strict=True)):
            before = first.setdefault(digest, (label, part, row))
            if before[0] != label:
                found.append((before, (label, part, row)))
    if not found:
        return []

    def describe(label: int, part: str, row: int) -> tuple[str, str]:
        names = names_of(sources[part])
        return f"{part} row {row}" if names is None else shown(names[row]), shown(parts.train.classes[label])

    said = []
    for one, other in found[:_PAIRS]:
        (name, label), (name_of_other, label_of_other) = describe(*one), describe(*other)
        said.append(f"{name} is {label!r}, {name_of_other} {label_of_other!r}")
    more = f"; and {len(found) - _PAIRS} more" if len(found) > _PAIRS else ""
    return [f"{len(found)} {noun} are equal to one of another class, so that a label is wrong: {'; '.join(said)}{more}"]


def _capped(source: Source, spec: DataSpec) -> Source:
    """Return a part of its own with at most `labels_per_class` examples a class."""
    if spec.labels_per_class is None:
        return source
    rows = split_rows(
        _strata(source), digests_of(source), seed=spec.seed, validation=0.0, labels_per_class=spec.labels_per_class
    )
    return Subset(source, rows.train)


def _share(count: int, share: float) -> int:
    return max(0, min(max(int(count * share + 0.5), int(share > 0)), count - 1))
