"""Load the examples of a run by the name of their source, check them, and fingerprint them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Unpack, cast, get_type_hints

import numpy as np

from tlx.data.arrays import ArraySource, vectors
from tlx.data.inputs import InputSpec, check_inputs_spec
from tlx.data.kinds import KINDS, check_place, kind_for
from tlx.data.other_parts import at_home, with_other_parts
from tlx.data.source import Source, TargetKind, digests_of, labels_of, names_of, shapes_of, target_kind, targets_of
from tlx.data.spec import TEST, VALIDATION, Data, DataFields, DataSpec, Parts, Request, SplitFields
from tlx.data.splits import noun_of, split_parts
from tlx.data.tag_arrays import are_tagged, tagged
from tlx.data.text_arrays import are_texts, texts
from tlx.data.validate import check_classes, check_labels, numbered_classes
from tlx.data.views import Scanned
from tlx.errors import ConfigError, DataError, suggestion
from tlx.files import home
from tlx.files.opening import shown
from tlx.images.preprocess import Preprocess


def load_data(
    source: str | os.PathLike[str] | DataSpec = "digits",
    *,
    preprocess: InputSpec | None = None,
    progress: bool = False,
    **fields: Unpack[DataFields],
) -> Data:
    """Load and split examples by the name of their source.

    Args:
        source: a folder, a file or one of the other names that `tlx.data.DataSpec` lists; or a `DataSpec`.
        preprocess: the input spec of the base; an image whose shape it does not take then counts as bad. Without it
            `tlx.finetune` refuses such an image. Where the base takes texts, tables and folders are read as texts.
        progress: whether a bar shows while image files are looked at, each once.
        **fields: what the `DataSpec` says beside the source: `labels_per_class`, `validation`, `test`, `target`, `seed`
            and the others.

    Returns:
        The training, validation and test examples, their classes and notes.

    Raises:
        ConfigError: for an unknown source or option, or a bad number.
        DataError, UnsafeFileError: for bad files.

    >>> data = load_data("digits", labels_per_class=5)
    >>> len(data.train), len(data.validation), len(data.test)
    (50, 50, 539)
    """
    if not isinstance(source, str | os.PathLike | DataSpec):
        raise ConfigError(f"source: {source!r:.60} is neither a path or name nor a tlx.data.DataSpec")
    if preprocess is not None:
        check_inputs_spec(preprocess)
    spec = source if isinstance(source, DataSpec) else DataSpec(os.fspath(source))
    spec = _with_fields(spec, fields, DataFields, "load_data")
    name, where = kind_for(spec, preprocess)
    kind = KINDS[name]
    if kind.path and where:  # so that the run can be tested again from another directory
        where = os.path.abspath(home(where))
        spec = replace(spec, source=f"{name}:{where}")
    spec = at_home(spec, name, kind.path)
    spec = replace(
        spec,
        labels_per_class=kind.labels_per_class if spec.labels_per_class is None else spec.labels_per_class,
        validation=kind.validation if spec.validation is None else spec.validation,
        test=kind.test if spec.test is None else spec.test,
    )
    if spec.empty_classes != "refuse" and name != "folder":
        raise ConfigError(f"empty_classes: {spec.empty_classes!r} is for folders, and not for {name}; leave it out")
    if (spec.target or spec.target_kind not in ("auto", "class")) and not (kind.targets or name == "hf"):
        raise ConfigError(
            f"target: its columns are for a table (.csv, .tsv, .jsonl, .parquet), and not for {name}; leave it out"
        )
    if spec.inputs and (not kind.targets or name in ("texts", "tags")):
        raise ConfigError(f"inputs: columns are for a table of numbers, and not for {name}; leave it out")
    if spec.text and name not in ("texts", "tags", "hf"):
        raise ConfigError(f"text: columns are for a table of texts, and not for {name}; leave it out")
    request = Request(where, spec, preprocess, progress)
    try:
        parts = with_other_parts(kind.read(request), request, kind.read)
    except DataError:
        check_place(name, where)  # says it better where nothing is there
        raise
    data = split_parts(parts, replace(spec, inputs=parts.inputs))
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
    inputs: Any,
    targets: Any,
    *,
    test_inputs: Any = None,
    test_targets: Any = None,
    classes: Sequence[str] | None = None,
    value_range: tuple[float, float] | None = None,
    **fields: Unpack[SplitFields],
) -> Data:
    """Split images, vectors or texts in memory and their targets as `load_data` does; `Data.spec` is None.

    Args:
        inputs: images (N, H, W[, C]), as `ArraySource` takes them, vectors (N, D), N texts, N pairs of texts, or the
            words of N texts where each is to have a tag.
        targets: (N,) integers, the numbers of classes; or as the `target_kind` among the fields says; of words N lists
            of their tags.
        test_inputs: such inputs to test on; then nothing is split off for testing.
        test_targets: their targets.
        classes: the names of the classes, labels or numbers; by default "0" and on.
        value_range: which values are black and white, required for images of floats.
        **fields: `target_kind`, `seed`, `labels_per_class`, `validation` and `test` of `DataSpec`.

    Raises:
        DataError, ConfigError: naming the array and the row.

    >>> images = np.arange(40, dtype=np.uint8).reshape(40, 1, 1)
    >>> data = data_from_arrays(images, np.arange(40) % 2, labels_per_class=3)
    >>> len(data.train), len(data.validation), len(data.test)
    (6, 6, 8)
    >>> data_from_arrays([f"film number {n}" for n in range(40)], np.arange(40) % 2).train[0]["input"][:11]
    'film number'
    """
    spec = _with_fields(DataSpec("arrays"), fields, SplitFields, "data_from_arrays")
    if spec.target_kind == "auto" and are_tagged(inputs, targets):
        spec = replace(spec, target_kind="tags")
    if (test_inputs is None) != (test_targets is None):
        raise ConfigError("test_inputs and test_targets go together; give both or neither")
    kind: TargetKind = "class" if spec.target_kind == "auto" else cast(TargetKind, spec.target_kind)
    if kind == "class":
        targets = check_labels(targets)
        classes = numbered_classes(targets) if classes is None else classes

    def source(inputs: Any, targets: Any, classes: Sequence[str] | None, prefix: str) -> Source:
        if kind == "tags":
            return tagged(inputs, targets, classes, inputs_name=f"{prefix}inputs")
        if are_texts(inputs):
            return texts(inputs, targets, classes, kind, inputs_name=f"{prefix}inputs")
        if np.ndim(inputs) == 2:
            return vectors(inputs, targets, classes, kind, inputs_name=f"{prefix}inputs")
        names = {"images_name": f"{prefix}inputs", "labels_name": f"{prefix}targets"}
        return ArraySource(inputs, targets, classes, value_range=value_range, target_kind=kind, **names)

    train = source(inputs, targets, classes, "")
    own_test = None if test_inputs is None else source(test_inputs, test_targets, train.classes, "test_")
    return replace(split_parts(Parts(train, own_test, ()), spec), spec=None)


def _with_fields(spec: DataSpec, fields: Mapping[str, Any], kind: type, function: str) -> DataSpec:
    """Return a spec with some fields changed; raise `ConfigError` for a name that is none of the kind's."""
    known = get_type_hints(kind)
    unknown = next((name for name in fields if name not in known), None)
    if unknown is not None:
        raise ConfigError(f"{function}: unknown option {unknown!r}{suggestion(unknown, known)}")
    return replace(spec, **fields)


def check_data(data: Data, batch_size: int) -> None:
    """Raise `DataError` for data that no classifier can be trained on.

    That is: no training or test examples, a single class, a class without a training example, or fewer training
    examples than one batch.

    >>> check_data(load_data("digits", labels_per_class=1), 10)
    """
    _check_any(data, "training", data.train)
    if data.target_kind == "class":
        _check_classes(data)
    if data.target_kind == "tags":
        _check_tags(data)
    _check_any(data, "test", data.test)
    if len(data.train) < batch_size:
        raise DataError(
            f"data: {len(data.train)} training examples are fewer than a batch of {batch_size}; lower batch_size "
            "(--batch-size)"
        )


def _check_any(data: Data, name: str, part: Source) -> None:
    if not len(part):
        raise DataError(
            f"data: no {name} examples, of {sum(map(len, (data.train, data.validation, data.test)))} in all; a "
            "class gives one to testing where it has two or more and the share (--test, --validation) is above 0: "
            "add examples, change the shares, or name a set (--train-split, --test-split)"
        )


def _check_classes(data: Data) -> None:
    counts = np.bincount(labels_of(data.train), minlength=len(data.classes))
    absent = [data.classes[i] for i in np.flatnonzero(counts == 0)]
    if len(absent) == len(data.classes) - 1:
        raise DataError(
            f"data: only one class, {data.classes[counts.argmax()]!r}, has training examples; give two or more"
        )
    if absent:
        listed = ", ".join(map(repr, absent[:10])) + (", ..." if len(absent) > 10 else "")
        noun = noun_of(data.train).removesuffix("s")
        raise DataError(f"data: {len(absent)} classes have no training {noun}: {listed}; add some or leave them out")


def _check_tags(data: Data) -> None:
    tags = targets_of(data.train)
    known = np.unique(tags[tags >= 0])
    if len(known) < 2:
        only = data.classes[int(known[0])] if len(known) else ""
        raise DataError(f"data: all words of the training texts have one tag, {only!r}; give words of two tags or more")


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
