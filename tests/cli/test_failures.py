"""Whatever fails on the way, the command ends with one last line and the right exit code."""

import importlib
import json
import os
import shlex
import subprocess
import sys
from types import SimpleNamespace

import pytest

from tlx.cli import main as program
from tlx.errors import StorageError

QUICK = ["--base", "mlp-mnist", "--recipe", "probe", "--head-epochs", 1, "--labels-per-class", 2]
QUICK += ["--compare-scratch", "never"]
LOAD = importlib.import_module("tlx.presets.load")  # the name stands for the function, too


def raising(error):
    def fail(*_, **__):
        raise error

    return fail


def caused(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (MemoryError(), 6, "out of memory: lower --batch-size"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes"), 6, "lower --batch-size"),
        (RuntimeError("std::bad_alloc"), 6, "out of memory: lower --batch-size"),
        (OSError(12, "Cannot allocate memory"), 6, "out of memory: lower --batch-size"),
        (ImportError("libx.so: failed to map segment from shared object"), 6, "out of memory"),
        (RuntimeError("can't start new thread"), 6, "out of memory"),
        (caused(ValueError("odd"), MemoryError()), 6, "out of memory"),
        (SystemError("error return without exception set"), 1, "internal error, SystemError"),
        (OSError(28, "No space left on device", "/disk/file"), 6, "/disk/file: No space left on device"),
        (PermissionError(13, "Permission denied", "/root"), 6, "/root: Permission denied"),
        (OSError("odd"), 6, "odd"),
        (StorageError("two\nlines"), 6, "tlx: two lines\n"),
        (KeyError("odd"), 1, "internal error, KeyError: 'odd' (please report it"),
    ],
    ids=str,
)
def test_a_fault_on_the_way(refused, monkeypatch, error, code, words):
    monkeypatch.setattr(LOAD, "load_bundle", raising(error))
    assert words in refused(code, "evaluate", "mlp-mnist", "--data", "digits")


def limited(monkeypatch, size):
    monkeypatch.setattr("tlx.cli.memory.address_limit", lambda: size)


def test_a_limit_under_which_no_library_loads_is_refused_before_one_is_loaded(refused, monkeypatch):
    limited(monkeypatch, 1_500_000_000)
    assert "may map 1.5 GB (ulimit -v)" in refused(6, "evaluate", "mlp-mnist", "--data", "digits")


def test_under_a_limit_what_extensions_fail_to_say_is_memory(monkeypatch):
    limited(monkeypatch, 5_000_000_000)
    fault = program._explain(SystemError("error return without exception set"))
    assert (fault.exit_code, str(fault).endswith("; this process may map 5.0 GB (ulimit -v)")) == (6, True)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on addresses")
def test_an_abort_under_a_limit_ends_with_the_code_for_memory():
    code = "import os; from tlx.cli.memory import check_limit; check_limit(); os.abort()"
    command = f"ulimit -v 90000000; exec {sys.executable} -c '{code}'"
    assert subprocess.run(["sh", "-c", command], check=False).returncode == 6


def test_debug_shows_where_and_keeps_the_exit_code(call):
    called = call("inspect", "nowhere", "--debug")
    assert called.code == 2
    assert called.err.startswith("Traceback")
    assert called.err.splitlines()[-1].startswith("tlx: no preset and no folder is called 'nowhere'")


def test_an_interrupt_is_a_line_and_130(refused, monkeypatch):
    monkeypatch.setattr(LOAD, "load_bundle", raising(KeyboardInterrupt()))
    assert "--resume" in refused(130, "evaluate", "mlp-mnist", "--data", "digits")


def test_an_interrupt_of_an_import_is_the_same_line_and_unwinds_nothing(tmp_path):
    """A library in C++ that is being set up would crash, or make another error of it: here the options' parser is."""
    module = "import os\ntry:\n    os.kill(os.getpid(), 2)\nfinally:\n    print('unwound', flush=True)\n"
    (tmp_path / "tyro.py").write_text(module)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    command = [sys.executable, "-m", "tlx", "inspect", "mlp-mnist"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", f"{program.INTERRUPTED_LINE}\n")


def test_a_model_of_other_classes_is_not_evaluated(refused, shared_data):
    assert "classes" in refused(4, "evaluate", "mlp-mnist", "--data", f"idx:{shared_data}/letters47")


def test_a_seed_too_large_is_refused_before_the_run(refused, tmp_path):
    assert "under 2**32" in refused(2, "finetune", *QUICK, "--seed", 1 << 70, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_that_cannot_be_is_told_in_one_line_and_leaves_nothing(refused, tmp_path):
    """Also where the fault shows only beside the data, after which notes on them would come."""
    for options in (
        ["--batch-size", 21],
        ["--schedule", "cosine", "--warmup", 99],
    ):
        refused(4 if "--batch-size" in options else 2, "finetune", *QUICK, *options, "--out", tmp_path / "run")
        assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_an_interrupted_run_goes_on_with_its_own_options(call, tmp_path, monkeypatch):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("tlx.runs._finetune.write_evaluation", raising(KeyboardInterrupt()))
        assert call("finetune", *QUICK, "--seed", 3, "--out", out).code == 130
    called = call("finetune", "--resume", "--out", out, "--json")
    assert called.code == 0
    assert (out / "report.html").is_file()
    assert json.loads((out / "run.json").read_text())["seed"] == 3
    assert called.json["phases"][0]["epochs"] == 1


READ_ONLY = "mount --bind kept kept && mount -o remount,bind,ro kept && exec "


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param(
            ["finetune", *QUICK, "--out", "kept/run"],
            "kept/run: cannot be made (Read-only file system)",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["finetune", *QUICK, "--out", "kept/empty"],
            "kept/empty/config.yaml: cannot be written (Read-only file",
            marks=pytest.mark.slow,
        ),
        (["embed", "mlp-mnist", "no.png", "--out", "kept/a.npz"], "kept/a.npz: its folder cannot be written to"),
    ],
)
def test_a_place_that_is_read_only_is_told_before_the_work_begins(tmp_path, arguments, told):
    if subprocess.run(["unshare", "-Urm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no user namespaces here, and root may write whatever the rights say")
    (tmp_path / "kept/empty").mkdir(parents=True)
    command = shlex.join([sys.executable, "-m", "tlx", *map(str, arguments)])
    command = ["unshare", "-Urm", "sh", "-c", READ_ONLY + command]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout) == (6, "")
    assert done.stderr.splitlines()[-1].startswith(f"tlx: {told}")  # after what took long
    assert done.stderr.count("\n") == 1  # of a run's phases nothing
    assert [path.name for path in (tmp_path / "kept").rglob("*")] == ["empty"]


@pytest.mark.slow
def test_a_full_disk_ends_the_run_with_its_own_code(tmp_path):
    """The limit on a file's size stands for the end of the disk."""
    limited = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)); from tlx.cli.main import entry; "
    )
    command = [sys.executable, "-c", limited + "entry()", "finetune", *map(str, QUICK), "--out", "run"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 6
    told = [line for line in done.stderr.splitlines() if line.startswith("tlx: ")]
    assert "cannot be written (File too large)" in told[-1]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run" / "result.json").exists()


def test_of_what_threads_cannot_raise_only_a_closed_loop_is_not_said(monkeypatch):
    said = []
    monkeypatch.setattr(sys, "__unraisablehook__", said.append)
    closed, other = (SimpleNamespace(exc_value=RuntimeError(words)) for words in ("Event loop is closed", "other"))
    for each in (closed, other):
        program._say_unraisable(each)
    assert said == [other]
