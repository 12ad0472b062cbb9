"""Tables keep names whole and stay within the terminal's width as long as names do."""

from pathlib import Path

import pytest

from tlx.cli.outcome import show_result
from tlx.cli.output import print_facts, print_table

NAMES = ["state_dict.module.layer1.0.conv1.weight", "b"]
REASON = "of the head, which was not asked for"


@pytest.fixture
def table(capsys, monkeypatch):
    """Print a table at a width; return its lines."""

    def table(width, title, columns, rows, **options):
        monkeypatch.setenv("COLUMNS", str(width))
        print_table(title, columns, rows, **options)
        return capsys.readouterr().out.splitlines()

    return table


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("width", [45, 60, 80, 200])
def test_names_stay_whole_at_any_width(table, width, plain):
    rows = [(name, "3x3x64x64", "float32", 36_864) for name in NAMES]
    columns, optional = ("path", "shape", "dtype", "parameters"), ("shape", "dtype")
    lines = table(width, "a model", columns, rows, optional=optional, plain=plain)
    assert all(any(name in line.split() for line in lines) for name in NAMES)
    assert max(map(len, lines)) <= width
    assert "36,864" in "".join(lines)
    assert width == 60 or "float32" in "".join(lines)  # where no table fits, nothing need be left out


def test_what_there_is_no_room_for_is_left_out_the_last_first_and_said(table):
    rows, options = [(NAMES[0], "3x3", "float32")], {"optional": ("shape", "dtype")}
    columns = ("path", "shape", "dtype")
    assert "no room" not in table(66, "m", columns, rows, **options)[-1]
    assert table(60, "m", columns, rows, **options)[-1] == "(no room for dtype: widen the window, or see --json)"
    assert "(no room for shape, dtype: " in table(43, "m", columns, rows, **options)[-2]


def test_prose_is_folded_between_words(table):
    lines = table(66, "not used", ("tensor", "reason"), [(NAMES[0], REASON)], prose=("reason",))
    assert max(map(len, lines)) <= 66
    words = [word for line in lines[4:-1] for word in line.replace("│", " ").split()]
    assert words == [NAMES[0], *REASON.split()]


def test_what_may_be_cut_takes_one_line(table):
    lines = table(
        56, "t", ("name", "licence"), [(NAMES[0], "CC BY 4.0: University of Oxford")], cut=("licence",), plain=True
    )
    assert lines[2] == f"{NAMES[0]}  CC BY 4.0: Uni…"


def test_headers_are_folded_before_anything_is_left_out(table):
    lines = table(20, "t", ("a", "validation accuracy"), [("b", 0.5)], optional=("validation accuracy",))
    assert any("validation" in line for line in lines)
    assert not any("validation accuracy" in line for line in lines)


def test_rows_become_lines_where_no_table_fits(table):
    lines = table(30, "t", ("path", "best"), [(NAMES[0], "Egyptian cat 60%"), ("b", "dog 1%")])
    assert lines == ["t", NAMES[0], "  best Egyptian cat 60%", "b", "  best dog 1%"]


def test_many_facts_of_a_row_are_folded_between_them(table):
    lines = table(30, "t", ("path", "1.", "2.", "3."), [(NAMES[0], "cat 60%", "dog 30%", "cow 10%")])
    assert lines == ["t", NAMES[0], "  1. cat 60%   2. dog 30%", "  3. cow 10%"]


def test_facts_are_folded_between_them(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    print_facts(["run /a/long/path/that/is/kept/whole", "report b", "3 s"])
    assert capsys.readouterr().out.splitlines() == ["run /a/long/path/that/is/kept/whole", "report b   3 s"]


def test_wide_characters_count_twice(table):
    lines = table(20, "t", ("name", "n"), [("日本語日本語", 1)], plain=True)
    assert lines[2].split() == ["日本語日本語", "1"]
    lines = table(12, "t", ("name", "n"), [("日本語日本語", 1)], plain=True)
    assert lines[1:] == ["日本語日本語", "  n 1"]


def test_a_title_keeps_its_words(table):
    title = "keras/mobilenet_v2 to folder:/some/where/that/is/long: 120 training labels"
    lines = table(40, title, ("a",), [("b",)], plain=True)
    assert " ".join(lines[:3]).startswith("keras/mobilenet_v2 to folder:/some/where/that/is/long: 120")


def test_what_a_terminal_would_obey_is_shown(table):
    assert "\\x1b[31m" in "".join(table(80, "t", ("a",), [("\x1b[31m",)]))
    assert "[red]" in "".join(table(80, "[b]t", ("a",), [("[red]",)]))


def test_an_empty_table_has_its_headers(table):
    assert table(80, "t", ("path", "n"), [], plain=True) == ["t", "path  n"]


def test_a_phase_that_bettered_nothing_is_named(capsys):
    phase = {"trainable": 5, "frozen": 3, "epochs": 2, "val_accuracy": 0.5, "seconds": 1.0, "best_epoch": 0}
    data = {"labels_per_class": None, "source": "digits", "train": 8, "validation": 2, "test": 2}
    result = {
        "base": "cnn-mnist",
        "data": data,
        "phases": [{"name": "head", **phase}, {"name": "all", **phase}, {"name": "more", **phase, "best_epoch": 1}],
        "scratch": None,
        "test_accuracy": 0.5,
        "run_dir": "run",
        "seconds": 2.0,
    }
    show_result(result, Path("report.html"))
    named = [line for line in capsys.readouterr().out.splitlines() if "bettered" in line]
    assert named == ["phase all bettered validation in no epoch: the weights are those it began with"]
