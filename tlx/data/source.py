"""Hold examples for random access: images on the scale 0..255 and integer labels."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypedDict

import numpy as np

from tlx.data.validate import as_array, check_classes, check_labels, on_scale
from tlx.errors import ConfigError, DataError
from tlx.tree.paths import quote

if TYPE_CHECKING:
    from PIL.Image import Image

    from tlx.images.preprocess import Preprocess

Images = np.ndarray | Iterable["np.ndarray | Image"]
"""Images of one size, (B, H, W[, C]), or one by one, whose sizes may differ: arrays, or Pillow's of L, RGB or RGBA."""


class Example(TypedDict):
    """An image, (H, W) or (H, W, C), uint8 or float32 on the scale 0..255, and its class's index."""

    image: np.ndarray
    label: int


class Source(Protocol):
    """Examples by number, with the names of their classes.

    These three are enough. A source may also offer `labels` (an (N,) array), `digests` (a tuple of SHA-256 digests, one
    an image), `names` (a tuple of strings, paths mostly) and `take(indices)` (images (B, H, W[, C]) and labels (B,) at
    once); `labels_of`, `digests_of`, `names_of` and `gather` use these where they stand and do without where not.
    Examples are asked for from several threads at a time.
    """

    @property
    def classes(self) -> tuple[str, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...


def describe(source: Source) -> str:
    """Say in a line what a source holds; the `repr` of tlx's own.

    >>> ArraySource(np.zeros((3, 8, 8), np.uint8), [0, 1, 2])
    ArraySource(3 images, 3 classes: '0', '1', '2')
    """
    return f"{type(source).__name__}({len(source):,} images, {len(source.classes)} classes: {quote(source.classes, 3)})"


class ArraySource:
    """Hold images and labels in memory, checked when built.

    `images` is (N, H, W) or (N, H, W, C), C as many as the preprocessing takes; `labels` is (N,) of integers;
    `classes` defaults to "0" to the largest label. `value_range` says which two values are black and white: it defaults
    to (0, 255) for integers and (False, True) for booleans and is required for floats. uint8 stays as it is when the
    range is (0, 255); the rest becomes float32 on the scale 0..255.

    Raises `DataError` for other shapes or types, unequal lengths, no images, pixels that are not finite or outside the
    range, and labels outside the classes, naming the first row (counted from 0). `images_name` and `labels_name` are
    what errors call the arrays.

    >>> source = ArraySource(np.array([[[0, 128]], [[255, 3]]], np.uint8), [1, 0], classes=("cat", "dog"))
    >>> source[0]["label"], source.classes[source[0]["label"]]
    (1, 'dog')
    """

    def __init__(
        self,
        images: Any,
        labels: Any,
        classes: Sequence[str] | None = None,
        *,
        value_range: tuple[float, float] | None = None,
        images_name: str = "images",
        labels_name: str = "labels",
    ) -> None:
        self.images = on_scale(as_array(images, images_name), value_range, images_name)
        numbers = check_labels(labels, labels_name)
        if len(numbers) != len(self.images):
            raise DataError(
                f"{labels_name}: {len(numbers)} labels for {len(self.images)} images in {images_name}; give one each"
            )
        self.classes = check_classes(classes, numbers, labels_name)
        self.labels = numbers.astype(np.int32)
        for array in (self.images, self.labels):
            array.setflags(write=False)

    __repr__ = describe

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Example:
        return {"image": self.images[index], "label": int(self.labels[index])}

    def take(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gather images (B, H, W[, C]) and labels (B,) int32 at once."""
        return self.images[indices], self.labels[indices]

    @cached_property
    def digests(self) -> tuple[bytes, ...]:
        return tuple(digest(image) for image in self.images)


class Subset:
    """See the examples of a source at `indices`, in that order.

    >>> digits = ArraySource(np.zeros((3, 1, 1), np.uint8), [0, 1, 2])
    >>> [example["label"] for example in Subset(digits, [2, 0])]
    [2, 0]
    """

    def __init__(self, source: Source, indices: Any) -> None:
        self.source = source
        self.indices = np.asarray(indices, np.int64).reshape(-1)
        outside = (self.indices < 0) | (self.indices >= len(source))
        if outside.any():
            raise DataError(f"indices: {self.indices[outside][0]} is not one of the source's {len(source)} examples")

    @property
    def classes(self) -> tuple[str, ...]:
        return self.source.classes

    __repr__ = describe

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Example:
        return self.source[int(self.indices[index])]

    @property
    def labels(self) -> np.ndarray:
        return labels_of(self.source)[self.indices]

    @property
    def digests(self) -> tuple[bytes, ...]:
        whole = digests_of(self.source)
        return tuple(whole[i] for i in self.indices)

    @property
    def names(self) -> tuple[str, ...] | None:
        whole = names_of(self.source)
        return whole if whole is None else tuple(whole[i] for i in self.indices)

    @property
    def shapes(self) -> np.ndarray | None:
        whole = shapes_of(self.source)
        return whole if whole is None else whole[self.indices]

    def take(self, indices: np.ndarray) -> tuple[Images, np.ndarray]:
        """Gather images and labels as the source does."""
        return take(self.source, self.indices[indices])


class Relabelled:
    """See a source's examples with the classes of a model, by their names.

    Raise `DataError` for a class of the source that is none of `classes`.

    >>> pets = ArraySource(np.zeros((2, 1, 1), np.uint8), [0, 1], ("cat", "dog"))
    >>> labels_of(Relabelled(pets, ("ant", "bee", "cat", "dog"))).tolist()
    [2, 3]
    """

    def __init__(self, source: Source, classes: Sequence[str]) -> None:
        extra = [name for name in source.classes if name not in classes]
        if extra:
            listed = ", ".join(map(repr, extra[:5])) + (", ..." if len(extra) > 5 else "")
            raise DataError(f"data: {len(extra)} classes that the model does not know: {listed}; rename or remove them")
        self.source, self.classes = source, tuple(classes)
        self._index = np.array([self.classes.index(name) for name in source.classes], np.int32)

    __repr__ = describe

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Example:
        example = self.source[index]
        [label] = check_labels([example["label"]], "labels", len(self._index), [index])
        return {"image": example["image"], "label": int(self._index[label])}

    @property
    def labels(self) -> np.ndarray:
        return self._index[labels_of(self.source)]

    @property
    def digests(self) -> tuple[bytes, ...]:
        return digests_of(self.source)

    @property
    def names(self) -> tuple[str, ...] | None:
        return names_of(self.source)

    def take(self, indices: np.ndarray) -> tuple[Images, np.ndarray]:
        """Gather images as the source does, and the labels' new indices."""
        images, labels = take(self.source, indices)
        return images, self._index[labels]


def check_source(source: Any, name: str) -> None:
    """Raise `DataError` for what is no source of examples: a `Data` of three parts, or something else.

    >>> check_source([1, 2], "source")
    Traceback (most recent call last):
        ...
    tlx.errors.DataError: source: list is no source of examples: it lacks classes
    """
    if isinstance(source, Data):
        raise DataError(f"{name}: a Data has three parts: give one, such as data.train or data.test")
    missing = [each for each in ("classes", "__len__", "__getitem__") if not hasattr(source, each)]
    if missing:
        raise DataError(f"{name}: {type(source).__name__} is no source of examples: it lacks {', '.join(missing)}")


class Scanned:
    """See a source that has no labels or digests at hand, and look at each example once to have them.

    >>> pets = Scanned(Subset(ArraySource(np.zeros((2, 1, 1), np.uint8), [0, 1], ("cat", "dog")), [1]))
    >>> labels_of(pets).tolist()
    [1]
    """

    def __init__(self, source: Source) -> None:
        self.source, self.classes = source, tuple(source.classes)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Example:
        return self.source[index]

    @property
    def labels(self) -> Any:
        own = getattr(self.source, "labels", None)
        return self._scanned[0] if own is None else own

    @property
    def digests(self) -> tuple[bytes, ...]:
        own = getattr(self.source, "digests", None)
        return self._scanned[1] if own is None else own

    @cached_property
    def _scanned(self) -> tuple[list[Any], tuple[bytes, ...]]:
        labels, digests = [], []
        for index in range(len(self.source)):
            example = self.source[index]
            labels.append(example["label"])
            digests.append(digest(example["image"]))
        return labels, tuple(digests)

    @property
    def names(self) -> tuple[str, ...] | None:
        return names_of(self.source)

    def take(self, indices: np.ndarray) -> tuple[Images, np.ndarray]:
        """Gather images and labels as the source does."""
        return take(self.source, indices)


def in_memory(source: Source) -> bool:
    """Tell whether the images are an array in memory, so that to gather some is to copy them.

    >>> in_memory(Subset(ArraySource(np.zeros((3, 1, 1), np.uint8), [0, 1, 2]), [2, 0]))
    True
    """
    while isinstance(source, (Subset, Relabelled)):
        source = source.source
    return isinstance(source, ArraySource)


def labels_of(source: Source, name: str = "labels") -> np.ndarray:
    """Return the labels, (N,) int32, without decoding an image where the source can.

    Args:
        source: any source.
        name: what errors call the labels.

    Raises:
        DataError: for labels that are not the numbers of the source's classes (`tlx.data.validate.check_labels`).

    >>> labels_of(ArraySource(np.zeros((2, 1, 1), np.uint8), [1, 0])).tolist()
    [1, 0]
    """
    labels = getattr(source, "labels", None)
    if labels is None:
        labels = [source[i]["label"] for i in range(len(source))]
    numbers = check_labels(labels, name, len(source.classes))
    if len(numbers) != len(source):
        raise DataError(f"{name}: {len(numbers)} labels for {len(source)} examples; give one each")
    return numbers.astype(np.int32, copy=False)


def digests_of(source: Source) -> tuple[bytes, ...]:
    """Return a SHA-256 digest for each image; equal images of one source have equal digests.

    >>> first, second = digests_of(ArraySource(np.zeros((2, 1, 1), np.uint8), [1, 0]))
    >>> first == second
    True
    """
    digests = getattr(source, "digests", None)
    return digests if digests is not None else tuple(digest(source[i]["image"]) for i in range(len(source)))


def names_of(source: Source) -> tuple[str, ...] | None:
    """Return what the source calls its examples (paths, mostly), or None where it has no names for them.

    >>> names_of(ArraySource(np.zeros((2, 1, 1), np.uint8), [1, 0])) is None
    True
    """
    names: tuple[str, ...] | None = getattr(source, "names", None)
    return names


def shapes_of(source: Source) -> np.ndarray | None:
    """Return height, width and channels of each image, (N, 3) int32, where the source knows them without decoding.

    >>> shapes_of(Subset(ArraySource(np.zeros((2, 1, 1), np.uint8), [1, 0]), [0])) is None
    True
    """
    shapes: np.ndarray | None = getattr(source, "shapes", None)
    return shapes


def take(source: Source, indices: np.ndarray) -> tuple[Images, np.ndarray]:
    """Gather examples: images, one array (B, H, W[, C]) where the sizes agree and else a list, and labels (B,) int32.

    >>> images, labels = take(ArraySource(np.zeros((3, 4, 5), np.uint8), [0, 1, 2]), np.array([2, 1]))
    >>> images.shape, labels.tolist()
    ((2, 4, 5), [2, 1])
    """
    at_once = getattr(source, "take", None)
    if at_once is not None:
        images, labels = at_once(indices)
    else:
        examples = [source[int(i)] for i in indices]
        several = [example["image"] for example in examples]
        alike = len({(image.shape, image.dtype) for image in several}) == 1
        images, labels = np.stack(several) if alike else several, [example["label"] for example in examples]
    return images, check_labels(labels, "labels", len(source.classes), indices).astype(np.int32, copy=False)


def digest(image: np.ndarray) -> bytes:
    """Hash an image's type, shape and pixels.

    >>> digest(np.zeros((2, 3))) == digest(np.zeros((3, 2)))
    False
    """
    return hashlib.sha256(f"{image.dtype.str}{image.shape}".encode() + image.tobytes()).digest()


VALIDATION, TEST = 0.2, 0.2  # by default: of each class a fifth for testing, and a fifth of the rest
EMPTY_CLASSES = ("refuse", "skip")


@dataclass(frozen=True)
class DataSpec:
    """Say which examples a run uses, so that they can be had again.

    `source` is what `load_data` takes; `labels_per_class` caps training and validation at that many a class;
    `validation` and `test` are the shares of the training examples kept for these where the source has no such part
    (None: as `load_data` takes them of that kind);
    `train_split`, `validation_split` and `test_split` name the source's parts; `skip_bad` is the share of the images
    that may be bad and are left out; `empty_classes` says whether a class folder without images is refused ("refuse")
    or left out and noted ("skip"). Raises `ConfigError` for shares outside [0, 1), a negative seed, fewer than one
    label a class, and for one name for two parts.

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

    def __post_init__(self) -> None:
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

    def __repr__(self) -> str:
        sizes = ", ".join(f"{len(getattr(self, part)):,} {part}" for part in PARTS)
        source = f"{self.spec.source!r}: " if self.spec else ""
        more = [f"{len(self.notes)} notes"] * bool(self.notes) + [f"{len(self.skipped)} left out"] * bool(self.skipped)
        classes = f"{len(self.classes)} classes: {quote(self.classes, 3)}"
        return f"Data({'; '.join([f'{source}{sizes} images', classes, *more])})"
