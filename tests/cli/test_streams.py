"""Closed, full and broken standard streams: the exit code is the same, and errors stay off standard output."""

import os
import subprocess
import sys

import pytest

from tlx.cli.main import main
from tlx.cli.streams import Forgiving

TLX = f"{sys.executable} -m tlx"


def shell(command):
    done = subprocess.run(["sh", "-c", command.replace("tlx", TLX)], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("command", "code", "out"),
    [
        ("tlx nonsense 2>&-", 2, ""),
        ("tlx nonsense 2>/dev/full", 2, ""),
        ("tlx nonsense <&- >&- 2>&-", 2, ""),
        ("tlx --version >&-", 0, ""),
        ("tlx --version 2>&-", 0, "tlx"),
    ],
)
def test_the_exit_code_does_not_depend_on_the_streams(command, code, out):
    returned, said, _ = shell(command)
    assert (returned, said[:3]) == (code, out)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_what_cannot_be_written_on_standard_output_is_a_failure_to_store():
    code, _, said = shell("tlx --version >/dev/full")
    assert (code, said.count("\n")) == (6, 1)
    assert said.startswith("tlx: No space left on device")


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_error():
    assert shell("{ tlx presets; echo $? >&2; } | head -c1")[::2] == (0, "141\n")


def test_images_named_on_a_closed_standard_input_are_refused(refused, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    assert "standard input cannot be read (it is closed)" in refused(4, "predict", "mlp-mnist", "-")


def test_main_needs_no_streams(monkeypatch):
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert not stop.value.code


def test_a_forgiving_stream_is_the_other_in_all_else(capsys):
    stream = Forgiving(sys.stdout)
    stream.writelines(["a", "b"])
    stream.flush()
    assert (capsys.readouterr().out, stream.encoding) == ("ab", sys.stdout.encoding)
