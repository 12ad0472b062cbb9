"""A home directory is meant by `~` wherever a path is taken, in Python as on the command line."""

from pathlib import Path

import numpy as np
import pytest

import tlx
from tlx.errors import CheckpointError, ConfigError, DataError
from tlx.files import home
from tlx.runs import Run, write_features


@pytest.fixture
def at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_home_of_nobody_is_refused():
    with pytest.raises(ConfigError, match=r"^~nobody-of-this-name/run: no home directory is known"):
        home("~nobody-of-this-name/run")


def test_every_path_of_the_library_may_begin_at_home(at_home):
    assert tlx.save(tlx.load("mlp-mnist"), "~/saved") == at_home / "saved"
    assert tlx.load("~/saved").name == "mlp-mnist"
    write_features("~/a.npz", np.zeros((1, 2), np.float32), ["x"])
    assert (at_home / "a.npz").is_file()
    with pytest.raises(CheckpointError, match=f"{at_home}/run/result.json: missing"):
        Run.open("~/run")
    with pytest.raises(CheckpointError, match=f"{at_home}/run: no such run directory"):
        tlx.write_report("~/run")
    for source in ("folder:~/none", "npz:~/none.npz", "manifest:~/none.csv", "idx:~/none"):
        with pytest.raises(DataError, match=str(at_home)):
            tlx.load_data(source)
    assert not Path("~").exists()


def test_every_path_of_the_command_may_begin_at_home(at_home, capsys):
    from tlx.cli.main import main

    tlx.save(tlx.load("mlp-mnist"), "~/saved")
    (at_home / "c.yaml").write_text("lerning_rate: 1")

    def run(*arguments):
        with pytest.raises(SystemExit) as stop:
            main(list(arguments))
        return stop.value.code or 0, capsys.readouterr()

    code, said = run("inspect", "~/saved", "--json")
    assert (code, '"total": 6366' in said.out) == (0, True)
    code, said = run("convert", "~/saved", "~/back.safetensors", "--to", "safetensors")
    assert (code, (at_home / "back.safetensors").is_file()) == (0, True)
    code, said = run("inspect", "~/back.safetensors")
    assert code == 0
    code, said = run("finetune", "--config", "~/c.yaml")
    assert (code, f"{at_home}/c.yaml: unknown key 'lerning_rate'" in said.err) == (2, True)
    code, said = run("finetune", "--resume", "--out", "~/run")
    assert code == 5
    code, said = run("embed", "~/none.png", "--base", "~/saved", "--out", "~/saved")
    assert (code, f"{at_home}/saved: is already there" in said.err) == (2, True)
    code, said = run("predict", "~/saved", "~/none*.png")
    assert (code, f"{at_home}/none*.png: nothing matches" in said.err) == (4, True)
    assert not Path("~").exists()
