"""Split examples into training, validation and test: seeded, stratified, and blind to their order."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tlx.data.arrays import ArraySource
from tlx.data.source import Source, digests_of, labels_of, names_of, target_kind, targets_of
from tlx.data.spec import TEST, VALIDATION, Data, DataSpec, Parts
from tlx.data.text_arrays import holds_texts
from tlx.data.views import Subset
from tlx.errors import ConfigError
from tlx.files.opening import shown

_TRAIN, _VALIDATION, _TEST = 0, 1, 2
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
    together: bool = True,
) -> Split:
    """Divide rows class by class, in the order of SHA-256(seed, image digest).

    A class of n rows gives round(test * n) to the test part, round(validation * rest) of what is left to validation
    and the rest to training. Training always keeps at least one; then testing and validation, in this order, get at
    least one, if their shares are above 0. Then training and validation keep at most
    `labels_per_class`. The parts depend on the examples and the seed, not on the order of the rows, and fewer labels a
    class are always among more labels a class.

    With `together`, rows of equal digests land in one part, whatever their classes: in training, where the shares would
    divide them, so that another part then gets fewer than its share.

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
    part_of = np.zeros(len(order), np.int8)  # of each place in the order
    for label in np.unique(ordered):
        places = np.flatnonzero(ordered == label)
        tested = _share(len(places), test)
        rest = places[tested:]
        part_of[places[:tested]] = _TEST
        # Validation is taken from the far end, so that its share does not move the first training rows.
        part_of[rest[len(rest) - _share(len(rest), validation) :]] = _VALIDATION
    if together:
        _keep_together([digests[row] for row in order], part_of)
    train, validated = np.flatnonzero(part_of == _TRAIN), np.flatnonzero(part_of == _VALIDATION)
    if labels_per_class is not None:
        train = _first_of_each(train, ordered, labels_per_class)
        validated = _first_of_each(validated[::-1], ordered, labels_per_class)
    return Split(order[train], order[validated], order[part_of == _TEST])


def _keep_together(digests: Sequence[bytes], part_of: np.ndarray) -> None:
    """Put the rows of equal digests that lie in several parts into training, in place."""
    first: dict[bytes, int] = {}
    divided = {each for at, each in enumerate(digests) if part_of[first.setdefault(each, at)] != part_of[at]}
    if divided:
        part_of[[at for at, each in enumerate(digests) if each in divided]] = _TRAIN


def _first_of_each(places: np.ndarray, labels: np.ndarray, most: int) -> np.ndarray:
    """Return at most so many places of each label, the first of them, in the order of their numbers."""
    firsts = [places[labels[places] == label][:most] for label in np.unique(labels)]
    return np.sort(np.concatenate([np.empty(0, np.int64), *firsts]))


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
    shares = {
        "validation": 0.0
        if parts.validation is not None
        else VALIDATION
        if spec.validation is None
        else spec.validation,
        "test": 0.0 if parts.test is not None else TEST if spec.test is None else spec.test,
    }
    noun = noun_of(parts.train)
    how = {"seed": spec.seed, "labels_per_class": spec.labels_per_class, "together": noun == "texts"}
    rows = split_rows(_strata(parts.train), digests, **how, **shares)  # type: ignore[arg-type]
    train = Subset(parts.train, rows.train)
    validation = Subset(parts.train, rows.validation) if parts.validation is None else _capped(parts.validation, spec)
    test = parts.test if parts.test is not None else Subset(parts.train, rows.test)
    notes = list(parts.notes)
    alike = ", pixel for pixel" if noun == "images" else ""
    if isinstance(parts.train, ArraySource) and (brightest := parts.train.images.max()) < _DARK:
        notes.append(
            f"the brightest pixel is {brightest:g} on the scale 0..255; "
            "if it should be white, say so with value_range=(low, high)"
        )
    if spec.labels_per_class is not None:
        counts = f"{len(train)} for training, {len(validation)} for validation"
        notes.append(f"at most {spec.labels_per_class} labels a class: {counts}")
    notes += contradictions(parts)
    if any(shares.values()) and noun == "texts":
        notes += _repeated(digests, noun)
    seen = {"training": {digests[row] for row in rows.train}}
    held_out: tuple[tuple[str, Source], ...] = (("validation", validation), ("test", test))
    for name, part in held_out:
        own = digests_of(part)
        for other, earlier in seen.items():
            repeated = sum(digest in earlier for digest in own)
            if repeated:
                notes.append(f"{repeated} of {len(part)} {name} {noun} are also in {other}{alike}")
        seen[name] = set(own)
        if len(part):
            notes += _absent(part, name, noun.removesuffix("s"))
    return Data(train, validation, test, parts.train.classes, spec, tuple(notes), parts.skipped)


def _absent(part: Source, name: str, noun: str) -> list[str]:
    """Name the classes, or the tags, of which a part has no example, in at most one note."""
    kind = target_kind(part)
    if kind not in ("class", "tags"):
        return []
    present = labels_of(part) if kind == "class" else targets_of(part)
    absent = sorted(set(range(len(part.classes))) - set(np.unique(present).tolist()))
    if not absent:
        return []
    listed = ", ".join(shown(part.classes[i]) for i in absent[:10]) + (", ..." if len(absent) > 10 else "")
    count = f"{len(absent)} of {len(part.classes)} {'classes' if kind == 'class' else 'tags'}"
    return [f"no {name} {noun if kind == 'class' else 'word'} of {count}: {listed}"]


def _strata(source: Source) -> np.ndarray:
    """Return the number of each example's stratum, (N,): its class, or 0 where targets are no classes."""
    return labels_of(source) if target_kind(source) == "class" else np.zeros(len(source), np.int32)


def noun_of(source: Source) -> str:
    """Say what a source is known to hold, "images", "texts" or "examples", without asking it for one.

    >>> noun_of(ArraySource(np.zeros((2, 1, 1), np.uint8), [0, 1]))
    'images'
    """
    if isinstance(source, ArraySource) or hasattr(source, "shapes"):
        return "images"
    return "texts" if holds_texts(source) else "examples"


def _repeated(digests: Sequence[bytes], noun: str) -> list[str]:
    """Say in at most one note how many inputs stand in several rows, and what becomes of these."""
    several = [count for count in Counter(digests).values() if count > 1]
    if not several:
        return []
    stand = f"1 {noun.removesuffix('s')} stands" if len(several) == 1 else f"{len(several)} {noun} stand"
    return [f"{stand} in several rows, {sum(several)} in all; all rows of one are in the same part"]


def contradictions(parts: Parts) -> list[str]:
    """Name equal images of different classes, of which one label must be wrong, in at most one note.

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
    return [
        f"{len(found)} {noun_of(parts.train)} are equal to one of another class, so that a label is wrong: "
        f"{'; '.join(said)}{more}"
    ]


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
