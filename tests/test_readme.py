"""The README's Python does what it says."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tlx
from tlx.cli.main import main
from tlx.tree import flatten

README = Path(__file__).resolve().parents[1] / "README.md"
OWN_LOOP = README.parent / "docs" / "own-loop.md"
BLOCKS = [
    block
    for page in (README, OWN_LOOP)
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
]


@pytest.mark.slow
def test_the_ten_lines_do_what_the_command_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(BLOCKS[0], names)
    printed = capsys.readouterr().out
    run = names["run"]
    with pytest.raises(SystemExit) as stop:
        main(["finetune", "--json"])
    assert not stop.value.code
    told = json.loads(capsys.readouterr().out)
    for key in ("test_accuracy", "test_loss", "scratch_accuracy"):
        assert told[key] == run.result[key]
    assert run.test_accuracy >= 0.95
    assert run.test_accuracy - run.scratch_accuracy >= 0.02
    assert f"transferred {run.test_accuracy:.1%}" in printed
    assert (tmp_path / "runs/digits/report.html").is_file()


def test_the_pieces_work_alone() -> None:
    base, data = tlx.load("cnn-mnist"), tlx.load_data("digits", labels_per_class=10)
    names: dict[str, Any] = {"tlx": tlx, "base": base, "data": data}
    exec(BLOCKS[1], names)
    assert int(names["state"].step) == len(data.train) // 20
    before, after = flatten(names["start"].variables["params"]), flatten(names["params"])
    changed = {path for path in before if not np.array_equal(before[path], after[path])}
    assert changed == {path for path in before if path.startswith("head/")}


def test_every_block_is_tested() -> None:
    assert len(BLOCKS) == 2
