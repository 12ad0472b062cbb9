"""Columns of a manifest are classes, several labels or numbers: as they look, or as is said."""

import numpy as np
import pytest
from PIL import Image

import tlx
from tlx.data.readers.targets import read_targets
from tlx.data.source import digests_of, target_kind, targets_of
from tlx.errors import ConfigError, DataError


def read(columns, *rows, kind="auto"):
    rows = [[row] if isinstance(row, str) else list(row) for row in rows]
    return read_targets("a.csv", columns, rows, range(2, 2 + len(rows)), kind)


@pytest.mark.parametrize(
    ("columns", "rows", "kind", "names"),
    [
        (["kind"], ["cat", "dog", "cat"], "class", ()),
        (["kind"], ["1", "2", "10"], "class", ()),
        (["kind"], ["Smith, John", "Miller, Ann"], "class", ()),  # no part is shared
        (["height"], ["1.5", "-2", "3e2"], "regression", ("height",)),
        (["height"], [str(number) for number in range(100, 130)], "regression", ("height",)),
        (["colours"], ["red|blue", "red", ""], "multi-label", ("blue", "red")),
        (["colours"], ["red, blue", "blue; red", "dark"], "multi-label", ("blue", "dark", "red")),
        (["10s"], ["10|9", "9"], "multi-label", ("9", "10")),
        (["red", "blue"], [("0", "1"), ("1", "1")], "multi-label", ("red", "blue")),
        (["red", "blue"], [("False", "true"), ("1.0", "0")], "multi-label", ("red", "blue")),
        (["x", "y"], [("0", "1"), ("1", "2.5")], "regression", ("x", "y")),
    ],
)
def test_targets_are_what_they_look_like(columns, rows, kind, names):
    found = read(columns, *rows)
    assert (found.kind, found.names) == (kind, names)
    assert (found.rows is None) == (kind == "class")


def test_what_is_said_wins():
    assert read(["a"], "1", "2", kind="regression").rows.tolist() == [[1.0], [2.0]]
    assert read(["a"], "1.5", "2", kind="class").kind == "class"
    assert read(["a"], "x, y", "z", kind="multi-label").rows.tolist() == [[1, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize(
    ("columns", "rows", "kind", "said"),
    [
        (["h"], ["1.5", "tall", ""], "regression", "expected a figure: line 3: h is 'tall'; line 4: h is ''"),
        (["h"], ["1.5", "nan"], "regression", "line 3: h is 'nan'"),
        (["h"], ["1.5", "inf"], "regression", "line 3: h is 'inf'"),
        (["h"], ["1_5"], "regression", "line 2: h is '1_5'"),
        (["a", "b"], [("0", "2")], "multi-label", "expected 0 or 1: line 2: b is '2'"),
        (["a", "b"], [("cat", "2")], "auto", r"2 columns are to be the target \(a, b\), and they hold neither"),
        (["a"], ["", ""], "multi-label", "a names no label in any line"),
        (["a"], ["red|Red ", "\uff32ed"], "multi-label", "look alike"),
    ],
)
def test_texts_that_are_no_targets_are_named(columns, rows, kind, said):
    with pytest.raises(DataError, match=said):
        read(columns, *rows, kind=kind)


@pytest.fixture
def manifest(tmp_path):
    """Write images, and a table of what they are."""
    draw = np.random.default_rng(0)
    lines = ["path,split,kind,height,tags,red,blue"]
    for number in range(12):
        Image.fromarray(draw.integers(0, 256, (8, 8), dtype=np.uint8)).save(tmp_path / f"{number}.png")
        split = ("train", "train", "validation", "test")[number % 4]
        tags = ("red|blue", "red", "")[number % 3]
        row = (f"{number}.png", split, "cat" if number % 2 else "dog", number / 4, tags, number % 2, 1)
        lines.append(",".join(map(str, row)))
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    return str(tmp_path / "a.csv")


def test_a_manifest_s_columns_become_targets_of_each_part(manifest):
    data = tlx.load_data(manifest, target="height")
    assert (data.target_kind, data.classes) == ("regression", ("height",))
    assert targets_of(data.test).tolist() == [[0.75], [1.75], [2.75]]
    assert "targets: numbers to predict: height" in data.notes
    data = tlx.load_data(manifest, target="tags")
    assert (target_kind(data.validation), data.classes) == ("multi-label", ("blue", "red"))
    assert targets_of(data.train).sum(0).tolist() == [2, 4]
    assert any("4 examples have none" in note for note in data.notes)
    data = tlx.load_data(manifest, target=["red", "blue"])
    assert data.classes == ("red", "blue")
    assert tlx.load_data(manifest, target="kind").classes == ("cat", "dog")
    assert data.spec.target == ("red", "blue")
    assert tlx.load_data(**{**vars(data.spec), "source": manifest}).classes == data.classes


def test_the_fingerprint_and_the_rows_know_the_targets(manifest):
    one, other = (tlx.load_data(manifest, target=name) for name in ("height", "tags"))
    assert digests_of(one.train) == digests_of(other.train)
    assert tlx.data.fingerprint(one) != tlx.data.fingerprint(other)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"target": "weight"}, "its first line names no column weight"),
        ({"target": "split"}, "the column 'split' of a manifest has another meaning"),
        ({}, "names no column label"),
    ],
)
def test_columns_that_are_not_there_are_named(manifest, options, said):
    with pytest.raises(DataError, match=said):
        tlx.load_data(manifest, **options)


def test_options_that_make_no_sense_are_refused(manifest):
    with pytest.raises(ConfigError, match="target_kind: 'ranking' is not one of auto, class"):
        tlx.load_data(manifest, target="height", target_kind="ranking")
    with pytest.raises(ConfigError, match=r"target: \['a', 'a'\] are not different names"):
        tlx.load_data(manifest, target=("a", "a"))
    with pytest.raises(ConfigError, match=r"for a table .*, and not for digits"):
        tlx.load_data("digits", target="height")
    with pytest.raises(ConfigError, match="the targets are no classes"):
        tlx.load_data(manifest, target="height", labels_per_class=2)


def test_equal_images_of_other_targets_are_two_lines_at_odds(manifest, tmp_path):
    with open(manifest, "a") as file:
        file.write("0.png,train,dog,9,red,0,1\n")
    with pytest.raises(DataError, match=r"line 14: 0\.png is"):
        tlx.load_data(manifest, target="height")


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["149.5", "151.5", "abc", "150"], "line 4: height is 'abc'; the others are figures"),
        (["149.5", "", "151.5", "150"], "line 3: height is ''; the others are figures"),
        (["149,93", "151,2", "150"], "line 2: height is '149,93': write figures with a point"),
        (["1.5", "1e39", "2"], "line 3: height is '1e39'"),
    ],
)
def test_figures_with_odd_ones_among_them_are_refused_by_their_line(texts, words, refuses):
    with refuses(DataError, words):
        read_targets("a.csv", ["height"], [[text] for text in texts], range(2, 2 + len(texts)))


def test_names_and_numbers_of_classes_may_stand_together():
    found = read_targets("a.csv", ["digit"], [["1"], ["2"], ["none"], ["3"]], range(2, 6))
    assert (found.kind, found.note) == ("class", "targets: 4 classes: 1, 2, 3, none")
