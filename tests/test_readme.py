"""The README's Python does what it says."""

import json
import re
from pathlib import Path

import pytest

from tlx.cli.main import main

README = Path(__file__).resolve().parents[1] / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


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
    names: dict[str, object] = {}
    exec(BLOCKS[1], names)
    assert names["params"]["base"]["conv1"]["kernel"].tolist() == [1.0, 1.0, 1.0]
    assert (names["params"]["head"]["kernel"] < 1.0).all()
    assert names["trainable"]["base"]["conv1"]["kernel"] is None


def test_every_block_is_tested() -> None:
    assert len(BLOCKS) == 2
