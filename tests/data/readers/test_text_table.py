"""Tables of texts: headers, separators and columns found by how they look; damaged files end in one line."""

import csv
import io
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tlx.data.readers.text_columns import find_columns, is_header
from tlx.data.readers.text_table import read_text_table
from tlx.errors import DataError

CELLS = st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"]), min_size=1, max_size=12)
ROWS = st.integers(2, 4).flatmap(lambda width: st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1))


@given(ROWS.map(lambda rows: [[cell.replace("\t", " ").replace("\n", " ") for cell in row] for row in rows]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_joined_by_tabs_comes_back(tmp_path, rows):
    """Characters between tabs stay as they are, unless all quotes enclose values and one is needed."""
    rows = [[cell.strip() or "x" for cell in row] for row in rows]
    if all(cell.startswith('"') == cell.endswith('"') or '"' not in cell for row in rows for cell in row):
        rows[0][0] = f'{rows[0][0]} " '.strip() + "x"
    path = tmp_path / "a.tsv"
    path.write_text("".join("\t".join(row) + "\n" for row in rows), newline="")
    table = read_text_table(str(path))
    found = [list(table.columns)] * table.headed + list(map(list, zip(*table.columns.values(), strict=True)))
    assert [[cell.strip() for cell in row] for row in found] == [[cell.strip() for cell in row] for row in rows]


@given(ROWS.map(lambda rows: [[re.sub(r"[\t;|]", ",", cell) for cell in row] for row in rows]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_the_csv_module_writes_comes_back(tmp_path, rows):
    content = io.StringIO(newline="")
    csv.writer(content, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    path = tmp_path / "a.csv"
    path.write_text(content.getvalue(), newline="")
    table = read_text_table(str(path))
    found = [list(table.columns)] * table.headed + list(map(list, zip(*table.columns.values(), strict=True)))
    assert [[cell.strip() for cell in row] for row in found] == [[cell.strip() for cell in row] for row in rows]


@given(st.binary(max_size=300), st.sampled_from(["a.csv", "a.tsv", "a.jsonl", "a.txt"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
def test_any_bytes_end_in_a_table_or_in_one_line(tmp_path, content, name):
    path = tmp_path / name
    path.write_bytes(content)
    message = ""
    try:
        table = read_text_table(str(path))
        find_columns("a", table.columns, table.headed)
    except DataError as error:
        message = str(error)
    assert "\n" not in message


PROSE = ["a film of joy", "no film at all", "what a waste of time", "the best in years"]


@pytest.mark.parametrize(
    ("first", "below", "expected"),
    [
        (["label", "text"], ["1", "0", "1", "0"], True),
        (["Rater's verdict", "said"], ["1", "0", "1", "0"], True),
        (["", "words"], ["1", "0", "1", "0"], True),
        (["1", "a film"], ["1", "0", "1", "0"], False),
        (["spam", "text"], ["ham", "spam", "ham", "spam"], False),
        (["good", "short text"], ["good", "bad", "bad", "good"], False),
        (["text", "text"], ["1", "0", "1", "0"], True),
        (["word", "word"], ["1", "0", "1", "0"], False),
        (["label", "a text that is far too long for the name of a column"], ["1", "0", "1", "0"], False),
    ],
)
def test_headers(first, below, expected):
    rows = [[label, text] for label, text in zip(below, PROSE, strict=True)]
    assert is_header(first, rows) is expected


@pytest.mark.parametrize("end", [",", ",,"])
def test_a_header_may_end_in_separators(tmp_path, end):
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["text,label" + end, *(f"{text},{row % 2}{end}" for row, text in enumerate(PROSE))]))
    table = read_text_table(str(path))
    assert (table.headed, table.columns["text"], table.columns["label"]) == (True, PROSE, ["0", "1", "0", "1"])


def test_a_name_that_stands_twice_is_no_row(tmp_path, refuses):
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["text,text,label", *(f"{text},{text},{row % 2}" for row, text in enumerate(PROSE))]))
    with refuses(DataError, "a.csv: a column is named twice in its first line, text; rename one"):
        read_text_table(str(path))


def test_a_header_that_the_user_names():
    rows = [["x", "y"], ["x", "z"]]
    assert not is_header(["verdict", "word"], rows)
    assert is_header(["verdict", "word"], rows, asked=["word"])


@pytest.mark.parametrize(
    ("columns", "headed", "expected"),
    [
        ({"label": "0", "sentence": PROSE}, True, (("sentence",), ("label",))),
        ({"review": PROSE, "summary": PROSE, "stars": "1"}, True, (("review",), ("stars",))),
        (
            {"id": "7", "medical_abstract": PROSE, "condition_label": "1"},
            True,
            (("medical_abstract",), ("condition_label",)),
        ),
        (
            {"question1": PROSE, "question2": PROSE, "is_duplicate": "1"},
            True,
            (("question1", "question2"), ("is_duplicate",)),
        ),
        ({"words": PROSE, "verdict": "a"}, True, (("words",), ("verdict",))),
        ({"1": "gj04", "2": list("0101"), "3": "", "4": PROSE}, False, (("4",), ("2",))),
        ({"1": PROSE, "2": PROSE, "3": list("0011")}, False, (("1", "2"), ("3",))),
        ({"1": PROSE, "2": [3 * text for text in PROSE], "3": list("0011")}, False, (("2",), ("3",))),
        ({"1": ["自然言語処理は楽しい", "映画はとても良かった"], "2": ["0", "1"]}, False, (("1",), ("2",))),
    ],
)
def test_columns(columns, headed, expected):
    full = {name: values if isinstance(values, list) else [values] * 4 for name, values in columns.items()}
    assert find_columns("a", full, headed)[:2] == expected
