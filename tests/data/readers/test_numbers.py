"""Tables of numbers: what is taken for input, target and split, and how a bad value is named."""

import json

import numpy as np
import pytest

from tlx.data import labels_of, load_data, targets_of
from tlx.data.readers.numbers import read_vectors
from tlx.errors import ConfigError, DataError
from tlx.runs import FeatureLabels, write_features

VECTORS = np.random.default_rng(0).normal(size=(60, 3))
CLASSES = ["yes" if row[0] > 0 else "no" for row in VECTORS]
HEIGHTS = VECTORS @ [1.0, 2.0, 3.0] + 5.0


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.csv"
    lines = [",".join(["id", "a", "b", "c", "class", "height", "note"])]
    for number, (row, name, height) in enumerate(zip(VECTORS.tolist(), CLASSES, HEIGHTS.tolist(), strict=True)):
        lines.append(",".join([str(number), *map(repr, row), name, repr(height), "x"]))
    path.write_text("\n".join(lines))
    return path


def vectors_of(data):
    parts = (data.train, data.validation, data.test)
    return np.concatenate([[part[row]["input"] for row in range(len(part))] for part in parts])


def same_rows(found, expected):
    found, expected = (np.asarray(each, np.float32) for each in (found, expected))
    return sorted(map(tuple, found.tolist())) == sorted(map(tuple, expected.tolist()))


def test_columns_of_numbers_are_the_inputs_but_for_the_target_and_the_index(table):
    data = load_data(table, inputs=("a", "b", "c"))
    assert data.classes == ("no", "yes")
    assert same_rows(vectors_of(data), VECTORS)
    by_default = load_data(table, target="height")
    assert by_default.spec.inputs == ("a", "b", "c")  # no id, no class, no note
    assert by_default.target_kind == "regression"
    assert same_rows(vectors_of(by_default), VECTORS)
    assert "columns not used: id, class, note" in by_default.notes[0]
    numbers = np.concatenate([targets_of(part) for part in (by_default.train, by_default.validation, by_default.test)])
    assert np.allclose(sorted(numbers[:, 0]), sorted(HEIGHTS), atol=1e-5)
    assert load_data(by_default.spec).spec == by_default.spec  # what a run keeps loads the same again


def test_a_pattern_chooses_columns_in_the_order_given(table):
    data = load_data(table, target="height", inputs=("c", "[ab]"))
    assert data.spec.inputs == ("c", "a", "b")
    assert same_rows(vectors_of(data), VECTORS[:, [2, 0, 1]])


def test_json_lines_hold_lists_of_numbers_and_of_labels(tmp_path):
    path = tmp_path / "table.jsonl"
    rows = [
        {"x": row.tolist(), "tags": [CLASSES[i], "all"], "split": "test" if i < 9 else "train"}
        for i, row in enumerate(VECTORS)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    data = load_data(path, target="tags", target_kind="multi-label")
    assert (data.classes, data.target_kind, len(data.test)) == (("all", "no", "yes"), "multi-label", 9)
    assert same_rows([data.test[row]["input"] for row in range(9)], VECTORS[:9])
    assert targets_of(data.test)[:, 0].all()


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_features_that_tlx_wrote_come_back_with_their_parts_and_names(tmp_path, suffix):
    pytest.importorskip("pyarrow")
    path = tmp_path / f"features{suffix}"
    numbers = np.array([int(name == "yes") for name in CLASSES])
    parts = ("train",) * 30 + ("validation",) * 10 + ("test",) * 20
    names = [f"{number}.png" for number in range(60)]
    write_features(path, VECTORS.astype(np.float32), names, FeatureLabels(numbers, ("no", "yes"), parts))
    data = load_data(path)
    assert data.classes == ("no", "yes")
    held = {"train": slice(0, 30), "validation": slice(30, 40), "test": slice(40, 60)}
    for part, rows in held.items():
        source = getattr(data, part)
        order = np.argsort([int(name.removesuffix(".png")) for name in source.names])
        assert [source.names[row] for row in order] == names[rows]
        assert (labels_of(source)[order] == numbers[rows]).all()
        assert same_rows([source[row]["input"] for row in range(len(source))], VECTORS[rows])


def test_parquet_has_columns_of_numbers_and_numbers_to_predict(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame(VECTORS, columns=list("abc")).assign(height=HEIGHTS, count=range(60))
    frame.to_parquet(tmp_path / "table.parquet")
    data = load_data(tmp_path / "table.parquet", target=("height", "count"))
    assert (data.classes, data.target_kind) == (("height", "count"), "regression")
    assert same_rows(vectors_of(data), VECTORS)
    vectors, names = read_vectors(str(tmp_path / "table.parquet"), ("a", "c"))
    assert same_rows(vectors, VECTORS[:, [0, 2]])
    assert names[1] == f"{tmp_path / 'table.parquet'} line 2"


BAD = {
    "an empty value": ("a,label\n1,p\n,q\n", {}, "line 3: the column 'a' is empty; mend it"),
    "a text": ("a,label\n1,p\nx,q\n", {}, "line 3: the column 'a' is 'x', no finite number"),
    "not finite": ("a,label\n1,p\nnan,q\n", {}, "line 3: the column 'a' is 'nan', no finite number"),
    "beyond float32": ("a,label\n1e39,p\n", {}, "line 2: the column 'a' is '1e39', no finite number of float32"),
    "no target": ("a,b\n1,2\n", {}, "names no column class, label or target"),
    "no such target": ("a,label\n1,p\n", {"target": "size"}, "has no column 'size'; its columns are a, label"),
    "no such input": ("a,label\n1,p\n", {"inputs": "f*"}, "has no column 'f*'"),
    "a class without a name": ("a,label\n1,p\n2,\n", {}, "line 3 has no label; add it"),
    "another split": ("a,label,split\n1,p,later\n", {}, "line 2: split 'later' is none of train"),
    "a split that is not there": ("a,label,split\n1,p,x\n", {"test_split": "y"}, "no line has the split 'y'"),
    "no training rows": ("a,label,split\n1,p,test\n", {}, "no row is of the training split"),
    "figures as classes": ("a,label\n1,0.5\n2,1.5\n", {}, "line 2: label '0.5' is not a whole number"),
    "a class of one part": (
        "a,label,split\n1,p,train\n2,q,test\n",
        {},
        "test has the class 'q', which training has not",
    ),
    "a name twice": ("a,a,label\n1,2,p\n", {}, "a column is named twice in its first line, a"),
    "a short line": ("a,b,label\n1,2,p\n1,p\n", {}, "line 3 has 2 values for 3 columns"),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_table_names_the_line_and_the_column(tmp_path, fault, refuses):
    text, options, words = BAD[fault]
    (tmp_path / "bad.csv").write_text(text)
    with refuses(DataError, "bad.csv", words):
        load_data(tmp_path / "bad.csv", **options)


def test_an_input_is_no_target_and_images_have_no_columns(table, refuses):
    with refuses(ConfigError, "inputs: 'height' is the target"):
        load_data(table, target="height", inputs=("a", "height"))
    with refuses(ConfigError, "inputs: columns are for a table of numbers, and not for digits"):
        load_data("digits", inputs="a")


def test_rows_of_lists_must_be_as_long(tmp_path, refuses):
    (tmp_path / "bad.jsonl").write_text('{"x": [1, 2], "label": "p"}\n{"x": [1], "label": "q"}\n')
    with refuses(DataError, "bad.jsonl", "'x' holds lists of different lengths"):
        load_data(tmp_path / "bad.jsonl")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + bytes(200) + b"PAR1"])
def test_a_damaged_parquet_file_is_one_line(tmp_path, content, refuses):
    pytest.importorskip("pyarrow")
    (tmp_path / "bad.parquet").write_bytes(content)
    with refuses(DataError, "bad.parquet", "no Parquet file that can be read"):
        load_data(tmp_path / "bad.parquet")


def test_a_manifest_of_images_stays_one(tmp_path, refuses):
    (tmp_path / "list.csv").write_text("path,label,height\nno.png,p,3\n")
    with refuses(DataError, "no.png"):
        load_data(tmp_path / "list.csv")


@pytest.mark.parametrize("kind", ["multi-label", "regression"])
@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_features_with_labels_or_numbers_come_back(tmp_path, suffix, kind):
    pytest.importorskip("pyarrow")
    targets = (VECTORS > 0) if kind == "multi-label" else VECTORS * 10
    path = tmp_path / f"features{suffix}"
    labels = FeatureLabels(targets, ("a", "b", "c"), ("train",) * 40 + ("test",) * 20, kind)
    write_features(path, VECTORS.astype(np.float32), [f"{number:02}" for number in range(60)], labels)
    data = load_data(path, target=() if suffix == ".npz" else ("a", "b", "c"))
    assert (data.classes, data.target_kind, len(data.test)) == (("a", "b", "c"), kind, 20)
    order = np.argsort(data.test.names)
    np.testing.assert_allclose(targets_of(data.test)[order], targets[40:], rtol=1e-5)
    assert same_rows(vectors_of(data), VECTORS)


def test_an_npz_file_that_says_a_wrong_kind_of_targets_is_refused(tmp_path, refuses):
    np.savez(tmp_path / "bad.npz", features=VECTORS, labels=np.zeros(60, int), target_kind="words")
    with refuses(DataError, "bad.npz[target_kind]: 'words' is none of class, multi-label, regression"):
        load_data(tmp_path / "bad.npz")
    np.savez(tmp_path / "bad.npz", features=VECTORS, labels=np.zeros(60, int), parts=np.array(["train"] * 59 + ["x"]))
    with refuses(DataError, "bad.npz[parts]: expected train, validation or test for each row"):
        load_data(tmp_path / "bad.npz")
    np.savez(tmp_path / "bad.npz", features=np.where(VECTORS > 2, np.inf, VECTORS), labels=np.zeros(60, int))
    with refuses(DataError, "bad.npz[features]: row", "not finite"):
        load_data(tmp_path / "bad.npz")


def test_another_array_can_be_the_target(tmp_path, refuses):
    np.savez(tmp_path / "a.npz", features=VECTORS, heights=HEIGHTS)
    data = load_data(tmp_path / "a.npz", target="heights", target_kind="regression")
    assert (data.target_kind, len(data.classes)) == ("regression", 1)
    with refuses(DataError, "target: name one of its arrays, beside images or features"):
        load_data(tmp_path / "a.npz", target="widths")


def test_an_empty_value_in_the_first_row_does_not_hide_a_column(tmp_path, refuses):
    (tmp_path / "bad.csv").write_text("a,b,label\n,2,x\n3,4,y\n5,6,x\n")
    with refuses(DataError, "bad.csv: line 2: the column 'a' is empty; mend it"):
        load_data(tmp_path / "bad.csv")
