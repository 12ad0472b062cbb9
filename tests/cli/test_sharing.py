"""What a run leaves to be shared, its report and its export, names no folder or user of the machine."""

import shutil

import numpy as np
import pytest
from PIL import Image

import tlx

USER = "ann smith"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Make a home directory with images, one of them bad, and a base; go there."""
    home = tmp_path / USER
    random = np.random.default_rng(0)
    for name in ("cats", "dogs"):
        (home / "my photos" / name).mkdir(parents=True)
        for number in range(9):
            Image.fromarray(random.integers(0, 256, (9, 9)).astype(np.uint8)).save(
                home / "my photos" / name / f"{number}.png"
            )
    (home / "my photos/cats/cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (home / "my photos/cats/notes.txt").write_text("")
    shutil.copytree(tlx.presets.PRESETS / "mlp-mnist", home / "my base")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    return home


def private(folder, tmp_path):
    """List the files of a folder that name the user or the folders of the machine."""
    files = [path for path in (folder.rglob("*") if folder.is_dir() else [folder]) if path.is_file()]
    assert files
    return [path.name for path in files if any(word in path.read_bytes() for word in (USER.encode(), bytes(tmp_path)))]


@pytest.mark.slow
def test_report_export_and_probe_name_no_place(call, home, tmp_path):
    data = ["--data", home / "my photos", "--base", home / "my base", "--skip-bad", "20%"]
    short = ["--recipe", "probe", "--head-epochs", 1, "--compare-scratch", "never", "--batch-size", 4]
    out = home / "my run"
    called = call("finetune", *data, *short, "--out", out)
    assert called.code == 0, called.err
    assert call("probe", *data, "--l2", 1, "--out", home / "probed").code == 0
    assert private(out / "report.html", tmp_path) == []
    assert private(out / "export", tmp_path) == []
    assert private(home / "probed", tmp_path) == []
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "cats/cut.png" in page
    assert "tlx predict &#39;my run&#39; photos/" in page
    assert "folder:my photos: 2 classes" in (out / "export/README.md").read_text()
    assert {"run.json", "config.yaml"} <= set(private(out, tmp_path))  # which a resume needs
    converted = [home / "my run/export", home / "weights.safetensors", "--to", "safetensors"]
    assert call("convert", *converted).code == 0
    assert private(home / "weights.safetensors", tmp_path) == []


@pytest.mark.slow
def test_the_python_of_the_report_runs(run_dir, tmp_path, monkeypatch, capsys):
    import re
    from html import unescape

    page = tlx.write_report(run_dir).read_text(encoding="utf-8")
    (code,) = re.findall(r"<code>(import tlx.*?)</code>", page, re.DOTALL)
    (tmp_path / "photos").mkdir()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "photos/a.png")
    (tmp_path / run_dir.name).symlink_to(run_dir)
    monkeypatch.chdir(tmp_path)
    exec(unescape(code), {})
    printed = capsys.readouterr().out
    assert "photos/a.png" in printed
    assert any(label in printed for label in tlx.load(run_dir).classes)
