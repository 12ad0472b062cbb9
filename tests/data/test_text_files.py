"""Texts to predict from: lines, tables, JSON, and what is refused."""

import pytest

from tlx.data import text_files, texts
from tlx.data.text_arrays import holds_texts
from tlx.errors import DataError


@pytest.fixture
def write(tmp_path):
    def write(content, name):
        (tmp_path / name).write_text(content, encoding="utf-8")
        return tmp_path / name

    return write


def inputs(source):
    return [source[row]["input"] for row in range(len(source))]


def test_lines_and_tables_together(write):
    lines = write("a film\n\n  no film  \r\n", "a.txt")
    table = write("id,review\n1,what a film\n2,what no film\n", "b.csv")
    source = text_files([lines, table])
    assert inputs(source) == ["a film", "no film", "what a film", "what no film"]
    assert source.names == (f"{lines} line 1", f"{lines} line 3", f"{table} line 2", f"{table} line 3")
    assert source.target_kind == "none"
    assert source.notes[0] == f"{lines}: 1 empty lines are left out"
    assert "the text is column 'review', no target" in source.notes[1]


def test_tables_without_a_header_or_a_label(write):
    assert inputs(text_files([write("1\ta film of joy\n0\tno film at all\n", "a.tsv")])) == [
        "a film of joy",
        "no film at all",
    ]
    one = write('text\na film\n"no, film"\n', "b.csv")
    assert inputs(text_files([one])) == ["a film", "no, film"]
    assert inputs(text_files([write("text\na film\nno, film\n", "b.csv")])) == ["a film", "no, film"]
    pairs = write("a\ta film\tno film\nb\tone\ttwo\n", "c.tsv")
    assert inputs(text_files([pairs], ("2", "3")))[1] == {"text": "one", "pair": "two"}
    assert inputs(text_files([write("a\tb\n", "d.txt")], ("2",))) == ["b"]


def test_json_lines_of_objects_and_of_texts(write):
    path = write('{"text": "a film", "stars": 3}\n\n"no film"\n', "a.jsonl")
    source = text_files([path])
    assert inputs(source) == ["a film", "no film"]
    assert source.names[1] == f"{path} line 3"


def test_what_is_no_text_is_named(write, refuses):
    with refuses(DataError, "no texts; name a .txt file or a table"):
        text_files([])
    with refuses(DataError, "a.txt: holds no text; give one a line"):
        text_files([write(" \n", "a.txt")])
    with refuses(DataError, "1 of 2 texts are bad", "b.csv line 3: its text is empty; mend these lines"):
        text_files([write("text,label\na film,1\n,0\n", "b.csv")])
    with refuses(DataError, "c.csv: line 3 has 3 values for 2 columns"):
        text_files([write("text,label\na film,1\na, film,0\n", "c.csv")])
    with refuses(DataError, "d.csv: has no column 'body'; its columns are text, label"):
        text_files([write("text,label\na film,1\n", "d.csv")], ("body",))
    with refuses(DataError, "no column holds texts; its columns are 1, 2"):
        text_files([write("a,b\n1,2\n3,4\n", "e.csv")])
    pair = write("text\tpair\na film\tno film\n", "f.tsv")
    with refuses(DataError, "texts and pairs of texts do not go together"):
        text_files([pair, write("a film\n", "g.txt")])


def test_texts_in_memory(refuses):
    source = texts([" a film ", "no film"], [1, 0], ("bad", "good"))
    assert source[0] == {"input": "a film", "target": 1}
    assert holds_texts(source)
    both = texts({"text": ["a", "b"], "pair": ["c", "d"]}, [[0.5], [1.5]], target_kind="regression")
    assert both[1]["input"] == {"text": "b", "pair": "d"}
    assert (both.classes, holds_texts(both)) == (("0",), True)
    for bad, message in (
        (["a", ""], "inputs: row 1 is empty"),
        (["a", 3], "inputs: row 1 is 3, and no text"),
        (["a", "\ud800"], "inputs: row 1 is no Unicode text"),
        ([("a", "b"), ("c",)], "inputs: row 1 is ('c',), expected a pair of texts"),
        ({"text": ["a"], "pair": []}, "inputs: 1 texts and 0 pairs"),
        ({"text": ["a"], "other": ["b"]}, "inputs: columns text, other; pairs of texts have text and pair"),
    ):
        with refuses(DataError, message):
            texts(bad)
