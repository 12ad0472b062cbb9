"""What takes long is named on standard error, what is quick leaves no trace, and the library alone says nothing."""

import threading
import time
from itertools import pairwise

import pytest

from tlx import progress
from tlx.progress import Lines, counted, doing, lines, listening


def wait_for(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_a_line_says_what_is_being_done_how_much_of_it_and_for_how_long():
    work = Lines(now=10.0)
    work("features", 0, 9, now=11.0)
    work("features", 4, 9, now=13.5)
    assert work.due(12.9) == ""
    assert work.due(13.6) == "tlx: features, 4 of 9 (3 s)"


def test_work_that_changes_is_named_soon_and_work_that_goes_on_ever_more_rarely():
    work, said = Lines(now=0.0), []
    work("compiling", 0, 0, now=0.0)
    for quarter in range(4 * 600):
        said += [quarter / 4] if work.due(quarter / 4) else []
    gaps = [after - before for before, after in pairwise(said)]
    assert (said[0], max(gaps[:9])) == (3.0, 5.0)
    assert all(gap <= max(5, after / 9) for gap, after in zip(gaps, said[1:], strict=False))
    assert len(said) < 40
    work("testing", 0, 0, now=600.0)
    assert work.due(said[-1] + 3) == f"tlx: testing ({said[-1] + 3 - 600:.0f} s)"


def test_short_pieces_of_work_in_a_row_do_not_add_up_to_silence():
    work, said = Lines(now=0.0), []
    for second in range(10):
        work(f"piece {second}", 0, 0, now=float(second))
        said += [second] if work.due(second + 0.5) else []
    assert said == [3, 6, 9]


def test_nothing_is_written_of_nothing():
    work = Lines(now=0.0)
    work("compiling", 0, 0, now=0.0)
    work("", 0, 0, now=1.0)
    assert work.due(100.0) == ""


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.delenv("TLX_PROGRESS")
    monkeypatch.setattr(progress, "FIRST", 0.0)
    monkeypatch.setattr(progress, "_TICK", 0.001)


def test_lines_go_to_standard_error(capsys, impatient):
    told = []
    with lines():
        doing("compiling")
        wait_for(lambda: told.append(capsys.readouterr()) or told[-1].err)
    assert (told[-1].out, told[-1].err) == ("", "tlx: compiling (0 s)\n")


def test_the_environment_turns_them_off(impatient, monkeypatch):
    monkeypatch.setenv("TLX_PROGRESS", "off")
    before = threading.active_count()
    with lines():
        doing("compiling")
        assert threading.active_count() == before


def test_a_closed_standard_error_is_no_fault(monkeypatch, impatient):
    written = []

    class Closed:
        def write(self, text):
            written.append(text)
            raise ValueError("I/O operation on closed file")

    monkeypatch.setattr("sys.stderr", Closed())
    with lines():
        doing("compiling")
        wait_for(lambda: written)
    monkeypatch.setattr("sys.stderr", None)
    with lines():
        doing("compiling")


def test_whoever_listens_first_hears_all():
    heard = []
    with listening(lambda *what: heard.append(what)):
        with lines():
            doing("compiling")
        with listening(None):
            doing("unheard")
            assert list(counted("ab", 2, "unheard")) == ["a", "b"]
        list(counted("ab", 2, "reading"))
    doing("afterwards")
    assert heard == [("compiling", 0, 0), ("reading", 0, 2), ("reading", 1, 2), ("reading", 2, 2)]


def test_a_bar_stands_on_a_terminal_alone(capsys, monkeypatch):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    heard = []
    with listening(lambda *what: heard.append(what)):
        for number in counted(range(220), 220, "counting"):
            print(number)
    shown = capsys.readouterr()
    assert shown.out.split() == [str(number) for number in range(220)]
    assert "counting" in shown.err
    assert heard == [("", 0, 0)]  # the bar says it
    monkeypatch.setenv("TTY_COMPATIBLE", "0")
    for listener in (None, lambda *_: None):
        with listening(listener):
            assert list(counted(range(220), 220, "counting")) == list(range(220))
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("done", [0, 3])
def test_a_fault_among_counted_items_passes(done):
    def items():
        yield from range(done)
        raise KeyError("fault")

    with listening(lambda *_: None), pytest.raises(KeyError):
        list(counted(items(), 5, "reading"))
