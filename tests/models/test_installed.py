"""Installed packages that register architectures: one that fails keeps nobody from the others."""

import sys
from importlib import metadata

import pytest

from tlx.models import installed


@pytest.mark.parametrize("code", ["print('hello')", "raise RuntimeError('no')", "import sys; sys.exit(3)"])
def test_an_entry_point_neither_ends_the_process_nor_prints_on_standard_output(
    tmp_path, monkeypatch, capsys, caplog, code
):
    (tmp_path / "lab_point.py").write_text(code)
    monkeypatch.delitem(sys.modules, "lab_point", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    points = [metadata.EntryPoint("own", value, installed.GROUP) for value in ("lab_point", "tlx.recipes")]
    monkeypatch.setattr(installed, "_points", lambda path: points)
    monkeypatch.setattr(installed, "_loaded", set())
    installed.load_installed()
    assert installed._loaded == {"lab_point", "tlx.recipes"}
    assert capsys.readouterr().out == ""
    assert [("cannot be loaded" in line) for line in caplog.messages] == [True] * ("print" not in code)
