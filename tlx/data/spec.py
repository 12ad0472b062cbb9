"""Say which data a run uses, what a reader is asked for and returns, and hold the three parts of a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypedDict

from tlx.data.inputs import InputSpec, Vectors
from tlx.data.source import Source, TargetKind, target_kind
from tlx.errors import ConfigError
from tlx.images.preprocess import Preprocess
from tlx.tree.paths import quote

VALIDATION, TEST = 0.2, 0.2  # by default: of each class a fifth for testing, and a fifth of the rest
EMPTY_CLASSES = ("refuse", "skip")
KINDS_OF_TARGETS = ("auto", "class", "multi-label", "regression", "tags")


@dataclass(frozen=True)
class DataSpec:
    """Say which examples a run uses, so that they can be loaded again.

    Args:
        source: the path of a folder of images, with a folder for each class (`read_image_folder`), of a .csv, .tsv or
            .jsonl manifest (`read_manifest`), of an .npz file, or of a table of numbers (.parquet, or .csv without a
            column of paths: `tlx.data.readers.numbers`), or of a table of texts (`tlx.data.readers.texts`), or of
            tagged words (.conll, .conllu, .bio, .iob, or a folder of such parts: `tlx.data.readers.tags`); or one of
            "digits", "folder:DIR", "manifest:FILE", "idx:DIR", "idx:DIR/PREFIX", "npz:FILE", "table:FILE",
            "texts:FILE", "tags:FILE", "tfds:NAME" and "hf:NAME".
        seed: of the split and of which examples a cap takes.
        labels_per_class: caps training and validation at that many examples a class, so that no label beyond them is
            used; None takes all, but 10 for digits, as the notes and `Data.spec` say (a number above what there is
            takes all).
        validation: the share of the training examples kept for validation where the source has no such part; None takes
            a fifth of each class (0.15 for digits). Training, testing and validation, in this order, get at least one
            example of a class.
        test: the share kept for testing before that; None takes a fifth (0.3 for digits).
        train_split: which of the source's parts to train on: a folder, a split of a manifest, or a slice such as
            "train[:10%]" with tfds and hf.
        validation_split: which part to validate on, named likewise.
        test_split: which part to test on, named likewise.
        skip_bad: the share of the images that may be bad; they are left out and listed (`Data.skipped`).
        empty_classes: whether a class folder without images is refused ("refuse") or left out and noted ("skip").
        target: the column of a table that is to be predicted, or several.
        target_kind: what these hold: "class", "multi-label" (labels between bars, semicolons or commas, or a column of
            zeros and ones for each), "regression" (numbers), "tags" (one for each word: `tlx.data.readers.tags`), or
            "auto", what they look like, which a note says (`tlx.data.readers.targets`).
        inputs: the columns of a table of numbers that are the inputs, by name or pattern such as "f*"; by default all
            that hold numbers, are no target and are not named as an index.
        text: the column of a table of texts that is the input, or two for pairs: by name, or by number from 1 where the
            table has no header; by default the column with a usual name, or of the longest prose.
        test_data: another source of the same kind and columns, whose examples are the test part.
        validation_data: another one, whose examples are the validation part.

    Raises:
        ConfigError: for shares outside [0, 1), a negative seed, fewer than one label a class, one name for two parts,
            and a part that is named twice.

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
    inputs: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    test_data: str | None = None
    validation_data: str | None = None

    def __post_init__(self) -> None:
        for name in ("target", "inputs", "text"):
            given = getattr(self, name)
            columns = (given,) if isinstance(given, str) else tuple(given)
            object.__setattr__(self, name, columns)
            if len(set(columns)) < len(columns) or not all(isinstance(column, str) and column for column in columns):
                raise ConfigError(f"{name}: {list(columns)} are not different names of columns")
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
        if len(self.text) > 2:
            raise ConfigError(f"text: {len(self.text)} columns; name one, or two for pairs of texts")
        if self.text and self.inputs:
            raise ConfigError("text: goes with texts, and inputs with vectors of numbers; give one of the two")
        for part in ("test", "validation"):
            other = getattr(self, f"{part}_data")
            if other is not None and not (isinstance(other, str) and other):
                raise ConfigError(f"{part}_data: {other!r} is not a path")
            if other is not None and getattr(self, f"{part}_split") is not None:
                raise ConfigError(f"{part}_data: goes without {part}_split; give one of the two")

    def splits(self) -> dict[str, str]:
        """Return the splits that are named, by part.

        >>> DataSpec("tfds:tf_flowers", train_split="train[10%:]").splits()
        {'train': 'train[10%:]'}
        """
        named = {"train": self.train_split, "validation": self.validation_split, "test": self.test_split}
        return {part: name for part, name in named.items() if name is not None}


class SplitFields(TypedDict, total=False):
    """The fields of `DataSpec` that say how examples are split, as keyword arguments."""

    seed: int
    labels_per_class: int | None
    validation: float | None
    test: float | None
    target_kind: str


class DataFields(SplitFields, total=False):
    """The fields of `DataSpec` but its source, as keyword arguments."""

    train_split: str | None
    validation_split: str | None
    test_split: str | None
    skip_bad: float
    empty_classes: str
    target: str | Sequence[str]
    inputs: str | Sequence[str]
    text: str | Sequence[str]
    test_data: str | None
    validation_data: str | None


PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Request:
    """What a reader is asked for: the place that stands after the kind's colon, and what `load_data` was given."""

    where: str = ""
    spec: DataSpec = DataSpec()
    preprocess: InputSpec | None = None
    progress: bool = False

    @property
    def images(self) -> Preprocess | None:
        """The input spec, where the base takes images."""
        return self.preprocess if isinstance(self.preprocess, Preprocess) else None

    @property
    def takes_text(self) -> bool:
        """Whether the base is known to take texts."""
        return bool(getattr(self.preprocess, "takes_text", False))

    @property
    def may_be_texts(self) -> bool:
        """Whether nothing says that the inputs are images or vectors."""
        return not isinstance(self.preprocess, Preprocess | Vectors) and not self.spec.inputs


class Parts(NamedTuple):
    """What a kind of source reads: training examples, its own test and validation sets if it has them, notes for the
    user, a line for each example that was left out, of a table of numbers the columns that are the inputs, and of a
    table of texts those that are the text and the target.
    """

    train: Source
    test: Source | None
    notes: tuple[str, ...]
    validation: Source | None = None
    skipped: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    target: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class Data:
    """Hold the three parts that a run uses, the classes, where they came from (None: memory), notes for the user, and a
    line for each example that was left out.
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
