"""Say which data a run uses, what a reader is asked for and returns, and hold the three parts of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from tlx.data.source import Source, TargetKind, target_kind
from tlx.errors import ConfigError
from tlx.tree.paths import quote

if TYPE_CHECKING:
    from tlx.images.preprocess import Preprocess

VALIDATION, TEST = 0.2, 0.2  # by default: of each class a fifth for testing, and a fifth of the rest
EMPTY_CLASSES = ("refuse", "skip")
KINDS_OF_TARGETS = ("auto", "class", "multi-label", "regression")


@dataclass(frozen=True)
class DataSpec:
    """Say which examples a run uses, so that they can be had again.

    `source` is what `load_data` takes; `labels_per_class` caps training and validation at that many a class;
    `validation` and `test` are the shares of the training examples kept for these where the source has no such part
    (None: as `load_data` takes them of that kind);
    `train_split`, `validation_split` and `test_split` name the source's parts; `skip_bad` is the share of the images
    that may be bad and are left out; `empty_classes` says whether a class folder without images is refused ("refuse")
    or left out and noted ("skip"); `target` names the columns of a manifest that are to be predicted, and `target_kind`
    says what they hold ("auto": as they look). Raises `ConfigError` for shares outside [0, 1), a negative seed, fewer
    than one label a class, and for one name for two parts.

    >>> DataSpec("idx:mnist", validation=0.1).labels_per_class is None
    True
    """

    source: str = "digits"
    seed: int = 0
    labels_per_class: int | None = None
    validation: float | None = None
    test: float | None = None
    train_split: str | None = None
    validation_split: str | None = None
    test_split: str | None = None
    skip_bad: float = 0.0
    empty_classes: str = "refuse"
    target: tuple[str, ...] = ()
    target_kind: str = "auto"

    def __post_init__(self) -> None:
        target = (self.target,) if isinstance(self.target, str) else tuple(self.target)
        object.__setattr__(self, "target", target)
        if len(set(target)) < len(target) or not all(isinstance(name, str) and name for name in target):
            raise ConfigError(f"target: {list(target)} are not different names of columns")
        if self.target_kind not in KINDS_OF_TARGETS:
            raise ConfigError(f"target_kind: {self.target_kind!r} is not one of {', '.join(KINDS_OF_TARGETS)}")
        if not isinstance(self.source, str):
            raise ConfigError(f"source: {self.source!r} is not a string; name one such as digits or idx:DIR")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise ConfigError(f"seed: {self.seed!r} is not an integer of 0 or more")
        cap = self.labels_per_class
        if cap is not None and (isinstance(cap, bool) or not isinstance(cap, int) or cap < 1):
            raise ConfigError(f"labels_per_class: {cap!r} is not an integer of 1 or more, nor None")
        for name in ("validation", "test", "skip_bad"):
            share = getattr(self, name)
            if share is None and name != "skip_bad":
                continue
            number = isinstance(share, (int, float)) and not isinstance(share, bool)
            if not (number and math.isfinite(share) and 0 <= share < 1):
                raise ConfigError(f"{name}: {share!r} is not a share from 0 up to (not including) 1")
        if self.empty_classes not in EMPTY_CLASSES:
            raise ConfigError(f"empty_classes: {self.empty_classes!r} is not one of {', '.join(EMPTY_CLASSES)}")
        named = [part for part in (self.train_split, self.validation_split, self.test_split) if part is not None]
        if len(set(named)) < len(named):
            raise ConfigError(f"splits: two of {', '.join(map(repr, named))} are the same; name different ones")


PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Request:
    """What a kind of source is asked for: `where` stands after its colon, the rest as in `load_data`."""

    where: str = ""
    train_split: str | None = None
    validation_split: str | None = None
    test_split: str | None = None
    skip_bad: float = 0.0
    empty_classes: str = "refuse"
    preprocess: Preprocess | None = None
    progress: bool = False
    target: tuple[str, ...] = ()
    target_kind: str = "auto"

    def splits(self) -> dict[str, str]:
        """Return the splits that are named, by part.

        >>> Request("tf_flowers", train_split="train[10%:]").splits()
        {'train': 'train[10%:]'}
        """
        named = {"train": self.train_split, "validation": self.validation_split, "test": self.test_split}
        return {part: name for part, name in named.items() if name is not None}


class Parts(NamedTuple):
    """What a kind of source reads: training examples, its own test and validation sets if it has them, notes for the
    user, and a line for each picture that was left out.
    """

    train: Source
    test: Source | None
    notes: tuple[str, ...]
    validation: Source | None = None
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class Data:
    """Hold the three parts that a run uses, the classes, where they came from (None: memory), notes for the user, and a
    line for each picture that was left out.
    """

    train: Source
    validation: Source
    test: Source
    classes: tuple[str, ...]
    spec: DataSpec | None = None
    notes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()

    @property
    def target_kind(self) -> TargetKind:
        """What the targets are (`tlx.data.Source`)."""
        return target_kind(self.train)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{len(getattr(self, part)):,} {part}" for part in PARTS)
        source = f"{self.spec.source!r}: " if self.spec else ""
        more = [f"{len(self.notes)} notes"] * bool(self.notes) + [f"{len(self.skipped)} left out"] * bool(self.skipped)
        classes = f"{len(self.classes)} classes: {quote(self.classes, 3)}"
        return f"Data({'; '.join([f'{source}{sizes} examples', classes, *more])})"
