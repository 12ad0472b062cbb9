"""Load the examples of a run by the name of their source, check them, and fingerprint them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from tlx.data.arrays import ArraySource
from tlx.data.inputs import InputSpec
from tlx.data.kinds import KINDS, check_place, kind_of
from tlx.data.source import Source, digests_of, labels_of, names_of, shapes_of, target_kind, targets_of
from tlx.data.spec import TEST, VALIDATION, Data, DataSpec, Parts, Request
from tlx.data.splits import split_parts
from tlx.data.validate import check_classes, check_labels, numbered_classes
from tlx.data.views import Scanned
from tlx.errors import ConfigError, DataError
from tlx.files import home
from tlx.files.opening import shown
from tlx.images.preprocess import Preprocess


def load_data(
    source: str | os.PathLike[str] = "digits",
    *,
    seed: int = 0,
    labels_per_class: int | None = None,
    validation: float | None = None,
    test: float | None = None,
    train_split: str | None = None,
    validation_split: str | None = None,
    test_split: str | None = None,
    skip_bad: float = 0.0,
    empty_classes: Literal["refuse", "skip"] = "refuse",
    target: str | Sequence[str] = (),
    target_kind: Literal["auto", "class", "multi-label", "regression"] = "auto",
    preprocess: InputSpec | None = None,
    progress: bool = False,
) -> Data:
    """Load and split examples by the name of their source.

    It is the path of a folder of pictures, with a folder for each class (`read_image_folder`), or of a .csv, .tsv or
    .jsonl manifest (`read_manifest`) or .npz file; or one of "digits", "folder:DIR", "manifest:FILE", "idx:DIR",
    "idx:DIR/PREFIX", "npz:FILE", "tfds:NAME" and "hf:NAME".

    `labels_per_class` caps training and validation at that many a class, so that no label beyond them is used; None
    means all of them, but 10 for digits, as the notes and `Data.spec` say (a number above what there is takes all).

    `validation` and `test` are shares of the training examples, and count only where the source has no such part of
    its own. By default a fifth of each class is set apart for testing and a fifth of the rest for validation (0.3 and
    0.15 for digits); training, testing and validation, in this order, get at least one example of a class.
    `train_split`, `validation_split` and `test_split` name the parts: folders, the splits of a manifest, or slices such
    as "train[:10%]" with tfds and hf.

    Of image files each is looked at once; `skip_bad` is the share that may be bad (`Data.skipped` lists them), and
    `progress` shows a bar. With `preprocess`, mostly that of the base, an image whose shape it does not take counts as
    bad; else `tlx.finetune` refuses it. A class folder that holds no images is refused, or left out and noted where
    `empty_classes` is "skip".

    `target` names the column of a manifest that is to be predicted, or several, and `target_kind` what they hold: a
    class, several labels (between bars, semicolons or commas, or a column of zeros and ones for each) or numbers; by
    default what they look like, which a note says (`tlx.data.readers.targets`).

    Raises `ConfigError` for an unknown source or a bad number and `DataError` or `UnsafeFileError` for bad files.

    >>> data = load_data("digits", labels_per_class=5)
    >>> len(data.train), len(data.validation), len(data.test)
    (50, 50, 539)
    """
    source = os.fspath(source) if isinstance(source, os.PathLike) else source
    splits = (train_split, validation_split, test_split)
    columns = (target,) if isinstance(target, str) else tuple(target)
    spec = DataSpec(
        source, seed, labels_per_class, validation, test, *splits, skip_bad, empty_classes, columns, target_kind
    )
    name, where = kind_of(source)
    kind = KINDS[name]
    if kind.path and where:  # so that the run can be tested again from another directory
        where = os.path.abspath(home(where))
        spec = replace(spec, source=f"{name}:{where}")
    spec = replace(
        spec,
        labels_per_class=kind.labels_per_class if labels_per_class is None else labels_per_class,
        validation=kind.validation if validation is None else validation,
        test=kind.test if test is None else test,
    )
    if empty_classes != "refuse" and name != "folder":
        raise ConfigError(f"empty_classes: {empty_classes!r} is for folders, and not for {name}; leave it out")
    if (spec.target or target_kind not in ("auto", "class")) and name != "manifest":
        raise ConfigError(
            f"target: its columns are for a manifest (.csv, .tsv, .jsonl), and not for {name}; leave it out"
        )
    images = preprocess if isinstance(preprocess, Preprocess) else None
    try:
        parts = kind.read(Request(where, *splits, skip_bad, empty_classes, images, progress, spec.target, target_kind))
    except DataError:
        check_place(name, where)  # says it better where nothing is there
        raise
    data = split_parts(parts, spec)
    return replace(data, notes=(*data.notes, *_kept(parts, data)))


def _kept(parts: Parts, data: Data) -> list[str]:
    """Say how many examples are kept from training where the user did not say which."""
    kept = [
        f"{len(part)} for {name} (--{name.removesuffix('ing')})"
        for name, own, part in (("testing", parts.test, data.test), ("validation", parts.validation, data.validation))
        if own is None and len(part)
    ]
    return [f"of {len(parts.train)} examples, kept from training: {', '.join(kept)}"] if kept else []


def data_from_sources(
    train: Source,
    validation: Source | None = None,
    test: Source | None = None,
    *,
    seed: int = 0,
    labels_per_class: int | None = None,
    validation_share: float = VALIDATION,
    test_share: float = TEST,
) -> Data:
    """Make the data of a run from sources of your own (`Source`); what is None is split off `train` by its share.

    The classes are those of `train`, and the others must have the same; `Data.spec` is None. Raises `DataError` for
    other classes, and for a label that is no class.

    >>> class Squares:
    ...     classes = ("dark", "bright")
    ...     def __len__(self):
    ...         return 20
    ...     def __getitem__(self, index):
    ...         return {"input": np.full((8, 8), 12 * index, np.uint8), "target": index // 10}
    >>> data = data_from_sources(Squares())
    >>> len(data.train), len(data.validation), len(data.test)
    (12, 4, 4)
    """
    spec = DataSpec("sources", seed, labels_per_class, validation_share, test_share)
    train = _scanned(train)
    validation, test = (None if part is None else _scanned(part) for part in (validation, test))
    for name, part in (("train", train), ("validation", validation), ("test", test)):
        if part is None:
            continue
        if tuple(part.classes) != tuple(train.classes):
            raise DataError(f"{name}: its classes are not those of train; give all the same, in the same order")
        if target_kind(part) != target_kind(train):
            raise DataError(f"{name}: its targets are {target_kind(part)!r}, and those of train {target_kind(train)!r}")
        if target_kind(part) == "class":
            check_classes(train.classes, labels_of(part, name), name)
    return replace(split_parts(Parts(train, test, (), validation), spec), spec=None)


def _scanned(source: Source) -> Source:
    wanted = ("digests",) if target_kind(source) == "none" else ("targets", "digests")
    known = all(getattr(source, name, None) is not None for name in wanted)
    return source if known else Scanned(source)


def data_from_arrays(
    images: Any,
    labels: Any,
    *,
    test_images: Any = None,
    test_labels: Any = None,
    classes: Sequence[str] | None = None,
    value_range: tuple[float, float] | None = None,
    seed: int = 0,
    labels_per_class: int | None = None,
    validation: float = VALIDATION,
    test: float = TEST,
) -> Data:
    """Split images (N, H, W[, C]) and labels (N,) in memory as `load_data` does; `Data.spec` is None.

    `ArraySource` says what arrays may be; `value_range` is required for floats. With `test_images` and `test_labels`
    nothing is split off for testing. Raises `DataError` and `ConfigError` naming the array and the row.

    >>> images = np.arange(40, dtype=np.uint8).reshape(40, 1, 1)
    >>> data = data_from_arrays(images, np.arange(40) % 2, labels_per_class=3)
    >>> len(data.train), len(data.validation), len(data.test)
    (6, 6, 8)
    """
    spec = DataSpec("arrays", seed, labels_per_class, validation, test)
    if (test_images is None) != (test_labels is None):
        raise ConfigError("test_images and test_labels go together; give both or neither")
    numbers = check_labels(labels)
    names = numbered_classes(numbers) if classes is None else classes
    train = ArraySource(images, numbers, names, value_range=value_range)
    own_test = None
    if test_images is not None:
        own_test = ArraySource(
            test_images,
            test_labels,
            train.classes,
            value_range=value_range,
            images_name="test_images",
            labels_name="test_labels",
        )
    return replace(split_parts(Parts(train, own_test, ()), spec), spec=None)


def check_data(data: Data, batch_size: int) -> None:
    """Raise `DataError` for data that no classifier can be trained on.

    That is: no training or test images, a single class, a class without a training example, or fewer training images
    than one batch.

    >>> check_data(load_data("digits", labels_per_class=1), 10)
    """
    for name, part in (("training", data.train), ("test", data.test)):
        if not len(part):
            raise DataError(
                f"data: no {name} images, of {sum(map(len, (data.train, data.validation, data.test)))} in all; a class "
                "gives one to testing where it has two or more and the share (--test, --validation) is above 0: add "
                "images, change the shares, or name a set (--train-split, --test-split)"
            )
    if data.target_kind == "class":
        _check_classes(data)
    if len(data.train) < batch_size:
        raise DataError(
            f"data: {len(data.train)} training images are fewer than a batch of {batch_size}; lower batch_size "
            "(--batch-size)"
        )


def _check_classes(data: Data) -> None:
    counts = np.bincount(labels_of(data.train), minlength=len(data.classes))
    absent = [data.classes[i] for i in np.flatnonzero(counts == 0)]
    if len(absent) == len(data.classes) - 1:
        raise DataError(
            f"data: only one class, {data.classes[counts.argmax()]!r}, has training images; give two or more"
        )
    if absent:
        listed = ", ".join(map(repr, absent[:10])) + (", ..." if len(absent) > 10 else "")
        raise DataError(f"data: {len(absent)} classes have no training image: {listed}; add some or leave them out")


def check_shapes(data: Data, preprocess: InputSpec) -> None:
    """Raise `DataError` that names the images whose shape a `Preprocess` does not take, where the sources know it.

    >>> check_shapes(load_data("digits"), Preprocess(28, 28, 1))
    """
    if not isinstance(preprocess, Preprocess):
        return
    faults = []
    for part in (data.train, data.validation, data.test):
        shapes, names = shapes_of(part), names_of(part)
        if shapes is None or names is None:
            continue
        kinds, kind_of = np.unique(shapes, axis=0, return_inverse=True)
        for number, shape in enumerate(kinds.tolist()):
            try:
                preprocess.check_shape(tuple(shape), "")
            except DataError as error:
                faults += [f"{shown(names[row])}{error}" for row in np.flatnonzero(kind_of.reshape(-1) == number)]
    if faults:
        more = f"; and {len(faults) - 10} more" if len(faults) > 10 else ""
        raise DataError(
            f"{len(faults)} images cannot be used: {'; '.join(faults[:10])}{more}; or leave them out: load the data "
            "with preprocess=base.preprocess and skip_bad"
        )


def fingerprint(data: Data) -> str:
    """Return a SHA-256, in hexadecimal, over the images and labels of the three parts and the class names.

    >>> fingerprint(load_data("digits")) == fingerprint(load_data("digits", seed=1))
    False
    """
    total = hashlib.sha256(repr(data.classes).encode())
    for part in (data.train, data.validation, data.test):
        total.update(f"{len(part)}:".encode())
        if data.target_kind == "class":
            total.update(labels_of(part).astype("<i4").tobytes())
        elif data.target_kind != "none":
            total.update(data.target_kind.encode() + np.ascontiguousarray(targets_of(part)).tobytes())
        total.update(b"".join(digests_of(part)))
    return total.hexdigest()
