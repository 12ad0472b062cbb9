"""`--import` runs the code that a user names, and no folder or file makes tlx run any."""

import os
import sys
from unittest import mock

import numpy as np
import pytest
import yaml
from own_architecture import CODE, write_code, write_weights

from tlx.cli.finetune import Finetune
from tlx.cli.imports import import_named, named_imports
from tlx.cli.options import parse
from tlx.convert import TABLES
from tlx.errors import ConfigError
from tlx.models import ARCHITECTURES
from tlx.presets.own import OWN

RUN = ["--recipe", "probe", "--head-epochs", 1, "--labels-per-class", 2, "--compare-scratch", "never"]


@pytest.fixture(autouse=True)
def process(monkeypatch):
    """Leave the process as it was: what is registered, imported and on the path."""
    monkeypatch.delenv("TLX_IMPORT", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with mock.patch.dict(ARCHITECTURES), mock.patch.dict(TABLES), mock.patch.dict(OWN), mock.patch.dict(sys.modules):
        yield


def forget():
    """Stand for the next process."""
    for registry, name in ((ARCHITECTURES, "own"), (TABLES, "lab/own"), (OWN, "lab/own")):
        registry.pop(name, None)


def test_an_own_architecture_reaches_the_next_process(call, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, weights = write_code(tmp_path), write_weights(tmp_path)
    assert "--import FILE.py" in refused(2, "convert", weights, "made", "--arch", "lab/own")
    assert not call("convert", weights, "made", "--arch", "lab/own", "--import", "lab_own.py").code
    forget()
    line = refused(2, "inspect", "made")
    assert "made/config.json: unknown architecture 'own', one of somebody's own" in line
    assert "--import lab_own.py" in line
    assert call("inspect", "--import", code, "made", "--json").json["certificate"]["leaves"] == 6
    assert parse(Finetune, "tlx finetune", ["--import", "lab_own.py", "--base", "made"]).load_base().stages == (
        "c1",
        "c2",
    )


def test_a_run_says_what_it_was_made_with(call, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, weights = write_code(tmp_path), write_weights(tmp_path)
    command = parse(Finetune, "tlx finetune", ["--import", "lab_own.py", "--base", "made"])
    noted = command.resolved("digits")
    assert noted["import"] == str(code)
    assert not call("convert", weights, "run/export", "--arch", "lab/own", "--import", "lab_own.py").code
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(noted))
    np.save("x.npy", np.zeros((1, 8, 8), np.uint8))
    forget()
    for arguments in (["evaluate", "run"], ["predict", "run", "x.npy"], ["inspect", "run"]):
        assert f"the run was made with --import {code}: name it again" in refused(2, *arguments)
    for arguments in (["--resume", "--out", "run"], ["--config", "run/config.yaml", "--out", "again"]):
        assert f"was made with --import {code}: name it again" in refused(2, "finetune", *arguments)
    assert len(call("predict", "run", "x.npy", "--import", code, "--json").json["predictions"]) == 1
    given = ["--config", "run/config.yaml", f"--import={code}"]
    assert parse(Finetune, "tlx finetune", given).base == str(tmp_path / "made")


def test_the_environment_may_name_it(call, tmp_path, monkeypatch):
    monkeypatch.setenv("TLX_IMPORT", f"{write_code(tmp_path, code=CODE + 'print(1)')}{os.pathsep}json")
    assert call("inspect", "lab/own", "--json").json["base"] == 336


def test_names_of_files_hold_from_any_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TLX_IMPORT", os.pathsep.join(["a.py", "lab.nets"]))
    assert named_imports(f"b.py{os.pathsep}a.py") == (str(tmp_path / "a.py"), "lab.nets", str(tmp_path / "b.py"))
    assert named_imports("~/x.py")[-1] == os.path.expanduser("~/x.py")


def test_a_file_may_import_what_lies_beside_it_and_dataclasses_find_their_module(tmp_path):
    write_code(tmp_path, "lab_beside.py", "NAME = 'own'")
    text = "from dataclasses import dataclass\nfrom lab_beside import NAME\n@dataclass\nclass A:\n    x: 'int' = 1\n"
    import_named([str(write_code(tmp_path, code=text + CODE))])
    assert "own" in ARCHITECTURES


FAULTY = {
    "an error": ("\n\n1 / 0", r"ZeroDivisionError: division by zero \(line 3\)"),
    "an exit": ("import sys\nsys.exit(0)", r"SystemExit: 0 \(line 2\)"),
    "a syntax error": ("def", r"SyntaxError: .*line 1"),
    "a missing module": ("import lab_nowhere", r"No module named 'lab_nowhere' \(line 1\)"),
    "what tlx refuses": (
        "import tlx\ntlx.register_architecture('cnn', print, input_shape=(1, 1, 1))",
        "one of tlx's own",
    ),
}


@pytest.mark.parametrize("what", FAULTY)
def test_a_file_that_fails_is_one_line(refused, tmp_path, what):
    code, words = FAULTY[what]
    path = write_code(tmp_path, code=code)
    line = refused(2, "inspect", "cnn-mnist", "--import", path)
    assert line.startswith(f"tlx: --import {path}: ")
    with pytest.raises(ConfigError, match=words):
        import_named([str(path)])
    assert not [name for name in sys.modules if name.startswith("tlx_import")]


def test_what_is_not_there_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_code(tmp_path)
    for name, words in (
        (str(tmp_path / "none.py"), "no such file"),
        ("lab_own", r"name the file, lab_own\.py"),
        ("lab_none", r"no module is called so: install it, or name a file \(FILE\.py\)"),
        ("json.none", "No module named 'json.none'"),
        (str(tmp_path), "no such file"),
        ("./notes.txt", "no such file"),
    ):
        with pytest.raises(ConfigError, match=words):
            import_named([name])


def test_no_folder_or_configuration_runs_code(refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    canary = write_code(tmp_path, "canary.py", "open('ran', 'w')")
    (tmp_path / "config.yaml").write_text(f"import: {canary}\nbase: cnn-mnist\n")
    refused(2, "finetune", "--config", "config.yaml", *RUN, "--out", "run")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(f"import: [{canary}]\n")
    refused(2, "finetune", "--resume", "--out", "run")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("command", ["finetune", "probe", "evaluate", "predict", "embed", "convert", "inspect"])
def test_every_command_that_reads_a_base_takes_it(call, command):
    assert "--import" in call(command, "--help").out
