"""Labels that are no class numbers are refused, whatever holds them, with the row and the value."""

import json

import numpy as np
import pytest
from image_files import numbered_images

from tlx.data import (
    ArraySource,
    EncodedSource,
    Relabelled,
    Subset,
    data_from_arrays,
    data_from_sources,
    labels_of,
    load_data,
)
from tlx.data.source import take
from tlx.data.validate import check_label_texts, check_labels
from tlx.errors import DataError

WRONG = {
    "fractions": ([0, 1, 0.05, 1], "row 2: label 0.05 is not a whole number, expected integers"),
    "NaN": (
        [0, 1, float("nan"), 1],
        "label nan is not a whole number, expected integers; number the classes from 0, or say that they are",
    ),
    "infinity": ([0, 1, 1, np.inf], "row 3: label inf is not a whole number"),
    "whole floats": ([0.0, 1.0, 0.0, 1.0], "row 0: label 0.0 is a float, expected integers; convert them with labels."),
    "booleans": ([False, True, False, True], "row 0: label False is a boolean"),
    "text": (["cat", "dog", "cat", "dog"], "row 0: label 'cat' is text"),
    "a number as text": (["0", "1", "0", "1"], "row 0: label '0' is text"),
    "missing": ([0, None, 0, 1], "row 1: label None is missing"),
    "one-hot rows": ([[1, 0], [0, 1], [1, 0], [0, 1]], "for one-hot rows give labels.argmax(axis=1)"),
    "several labels": (
        [[1, 0, 1], [0, 1, 1], [0, 0, 0], [1, 0, 0]],
        "give each example one class, or say that several may apply",
    ),
    "shares": ([[0.5, 0.5], [0, 1], [1, 0], [1, 0]], "give each example one class, or say that several may apply"),
    "columns": ([[0], [1], [0], [1]], "give labels[:, 0]"),
    "negative": ([0, 1, -1, 1], "row 2: label -1 is negative"),
    "out of range": ([0, 1, 1, 2], "row 3: label 2 is out of range for 2 classes"),
    "beyond int32": ([0, 1, 1 << 32, 1], "row 2: label 4294967296 is out of range for 2 classes"),
    "beyond int64": ([0, 1, 1 << 70, 1], "row 2: label 1180591620717411303424 is out of range"),
}
CHANGING = {
    "float": ([0, 1, 0, 0.5], "row 3: label 0.5 is not a whole number"),
    "boolean": ([0, 1, 0, True], "row 3: label True is a boolean"),
    "text": ([0, 1, "1", 0], "row 2: label '1' is text"),
    "an array": ([0, 1, np.array([1]), 0], "row 2: label array([1]) is of type ndarray"),
}
IMAGES = np.arange(4, dtype=np.uint8).reshape(4, 1, 1)


class Own:
    """A source of somebody's own, with nothing but the protocol."""

    classes = ("a", "b")

    def __init__(self, labels):
        self.own = labels

    def __len__(self):
        return len(self.own)

    def __getitem__(self, index):
        return {"input": IMAGES[index], "target": self.own[index]}


class WithLabels(Own):
    @property
    def targets(self):
        return self.own


class Short(WithLabels):
    def __len__(self):
        return 3


class AtOnce(WithLabels):
    def take(self, indices):
        return {"input": IMAGES[indices], "target": [self.own[int(i)] for i in indices]}


HOLDERS = {
    "array": lambda labels: ArraySource(IMAGES, labels, ("a", "b")),
    "arrays": lambda labels: data_from_arrays(IMAGES, labels, classes=("a", "b")),
    "encoded": lambda labels: EncodedSource(lambda i: b"", "wxyz", labels, ("a", "b")),
    "own": lambda labels: data_from_sources(Own(labels)),
    "own test set": lambda labels: data_from_sources(Own([0, 1, 0, 1]), test=Own(labels)),
    "own labels": lambda labels: data_from_sources(WithLabels(labels)),
    "labels of a part": lambda labels: labels_of(Subset(Own(labels), range(4))),
    "a batch": lambda labels: take(Own(labels), np.arange(4)),
    "a batch at once": lambda labels: take(AtOnce(labels), np.arange(4)),
    "an example of a renamed source": lambda labels: [Relabelled(Own(labels), ("b", "a"))[i] for i in range(4)],
}


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("fault", [*WRONG, *(f"changes to {kind}" for kind in CHANGING)])
def test_what_is_no_class_number_is_refused_by_every_source(holder, fault, refuses):
    labels, words = WRONG[fault] if fault in WRONG else CHANGING[fault.removeprefix("changes to ")]
    with refuses(DataError, words):
        HOLDERS[holder](labels)


IN_NPZ = ("fractions", "NaN", "whole floats", "booleans", "negative", "text")
IN_IDX = ("fractions", "NaN", "whole floats", "negative")  # which have no booleans and no text


@pytest.mark.parametrize(
    ("kind", "fault"), [*(("npz", fault) for fault in IN_NPZ), *(("idx", fault) for fault in IN_IDX)]
)
def test_files_of_arrays(tmp_path, write_idx, kind, fault, refuses):
    labels, words = WRONG[fault]
    if kind == "npz":
        np.savez(tmp_path / "a.npz", images=IMAGES, labels=np.array(labels))
    else:
        stored = np.array(labels)
        write_idx(tmp_path / "train-images-idx3-ubyte", IMAGES)
        stored = stored.astype("f4" if stored.dtype.kind == "f" else "i1")
        write_idx(tmp_path / "train-labels-idx1-ubyte", stored)
    with refuses(DataError, words.partition(", expected")[0]):
        load_data(f"{tmp_path}/a.npz" if kind == "npz" else f"idx:{tmp_path}")


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint64, object])
def test_integers_of_any_type_are_labels(dtype):
    assert check_labels(np.array([0, 1, 1], dtype)).tolist() == [0, 1, 1]
    assert check_labels([np.uint8(1), np.array(0), 1]).tolist() == [1, 0, 1]
    assert labels_of(WithLabels(np.array([1, 0, 1, 0], dtype))).dtype == np.int32


def test_what_is_no_row_of_labels(refuses):
    with refuses(DataError, "labels: 3 is no sequence; give a label for each image"):
        check_labels(3)
    with refuses(DataError, "labels: shape (2, 2), expected (N,); for one-hot rows"):
        check_labels(np.eye(2, dtype=int))
    with refuses(DataError, "train: 2 targets for 3 examples; give one each"):
        labels_of(Short([0, 1]), "train")


def test_of_floats_the_first_fraction_is_named(refuses):
    for labels in ([0.0, 1.0, 0.05], np.array([0.0, 1.0, 0.05])):
        with refuses(DataError, "row 2: label 0.05 is not a whole number"):
            check_labels(labels)


@pytest.mark.parametrize(
    ("labels", "fault"),
    [
        (["1", "2", "0.5"], "line 4: label '0.5' is not a whole number of 0 or more"),
        (["1", "nan", "2"], "line 3: label 'nan'"),
        (["1.0", "2.0", "2.0"], "line 2: label '1.0'"),
        (["1", "-1", "1"], "line 3: label '-1'"),
        (["a", "0.5", "nan"], None),
        (["0.5 mm", "1 mm", "2 mm"], None),
        (["01", "2", "3"], None),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_table_of_figures_is_no_table_of_classes(tmp_path, labels, fault, suffix, refuses):
    for number, content in enumerate(numbered_images(3)):
        (tmp_path / f"{number}.png").write_bytes(content)
    rows = [{"path": f"{i}.png", "label": label} for i, label in enumerate(labels)]
    lines = ["path,label", *(f"{row['path']},{row['label']}" for row in rows)]
    if suffix == "jsonl":
        lines = ["", *map(json.dumps, rows)]
    (tmp_path / f"a.{suffix}").write_text("\n".join(lines))
    if fault is None:
        assert len(load_data(str(tmp_path / f"a.{suffix}")).classes) == 3
        return
    with refuses(DataError, f"a.{suffix} {fault}", "number the classes from 0, give them names"):
        load_data(str(tmp_path / f"a.{suffix}"))


def test_names_of_classes_may_hold_anything_but_figures(refuses):
    check_label_texts([], str)
    check_label_texts(["1e5x", "2"], str)
    with refuses(DataError, "1: label '1e5'"):
        check_label_texts(["1", "1e5"], str)
