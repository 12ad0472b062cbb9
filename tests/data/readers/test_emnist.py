import numpy as np
import pytest

from tlx.data.readers.emnist import SUBSETS, read_mapping
from tlx.errors import DataError


def test_the_table_agrees_with_the_mapping_file(shared_data):
    assert read_mapping(shared_data / "letters47/emnist-balanced-mapping.txt") == SUBSETS["balanced"]


@pytest.mark.parametrize(
    ("subset", "classes", "first"),
    [
        ("byclass", 62, 0),
        ("bymerge", 47, 0),
        ("balanced", 47, 0),
        ("letters", 26, 1),
        ("digits", 10, 0),
        ("mnist", 10, 0),
    ],
)
def test_subsets_have_the_published_sizes(subset, classes, first):
    known = SUBSETS[subset]
    assert known.labels == tuple(range(first, first + classes))
    assert len(set(known.classes)) == classes


def test_labels_become_places():
    known = SUBSETS["letters"]
    assert known.indices(np.array([26, 1, 2], np.uint8), "y").tolist() == [25, 0, 1]


@pytest.mark.parametrize("label", [0, 27, 255])
def test_an_unknown_label_names_its_row(label, refuses):
    with refuses(DataError, "y: row 1: label", str(label), "1 to 26"):
        SUBSETS["letters"].indices(np.array([1, label], np.uint8), "y")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no line"),
        ("\n \n", "no line"),
        ("0 48\nfive 49\n", "line 2"),
        ("0 48\n1\n", "line 2"),
        ("-1 48\n", "line 1"),
        ("0 10\n", "line 1"),
        ("0 32\n", "line 1"),
        ("0 55296\n", "line 1"),
        ("0 99999999999999999999\n", "line 1"),
        ("0 48\n0 49\n", "twice"),
        ("0 48\n1 48\n", "twice"),
        ("\ufffe", "line 1"),
        ("x" * 2_000_000, "more than"),
    ],
)
def test_a_bad_mapping_names_its_line(tmp_path, text, words, refuses):
    path = tmp_path / "emnist-x-mapping.txt"
    path.write_text(text, encoding="utf-8")
    with refuses(DataError, str(path), words):
        read_mapping(path)
