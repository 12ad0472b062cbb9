"""A run that is told to stop saves what it has, exits with 75, and goes on to the same end."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

OPTIONS = ["finetune", "--base", "mlp-mnist", "--head-epochs", "40", "--base-epochs", "20", "--patience", "None"]
OPTIONS += ["--compare-scratch", "never"]


def start(*arguments):
    """Start the command as a process of its own, in small pages: where it has large ones it starts twice."""
    environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}
    command = [sys.executable, "-m", "tlx", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def wait_for(process, condition):
    end = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.005)


def epochs(out):
    metrics = out / "metrics.jsonl"
    if not metrics.exists():
        return []
    lines = [json.loads(line) for line in metrics.read_text().splitlines() if line.endswith("}")]
    return [{key: value for key, value in line.items() if key not in ("seconds", "compiled")} for line in lines]


def assert_same_run(out, whole):
    results = [json.loads((each / "result.json").read_text()) for each in (out, whole)]
    for name in ("test_accuracy", "test_loss"):
        assert results[0][name] == results[1][name]
    assert epochs(out) == epochs(whole)
    weights = [(each / "export" / "model.safetensors").read_bytes() for each in (out, whole)]
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_a_signal_saves_and_the_run_goes_on_to_the_same_end(call, tmp_path):
    """The run that is stopped is a process; the one that goes on, and one that was left alone, are in this one."""
    out, whole = tmp_path / "run", tmp_path / "whole"
    with start(*OPTIONS, "--out", out) as process:
        wait_for(process, lambda: len(epochs(out)) >= 3)
        process.send_signal(signal.SIGINT)
        printed, told = process.communicate(timeout=120)
    assert process.returncode == 75, told
    assert printed == ""
    assert told.splitlines()[-1] == f"tlx: {out}: stopped on request, all is saved: go on with --resume --out {out}"
    assert "Traceback" not in told
    assert not (out / "result.json").exists()
    assert not call("finetune", "--resume", "--out", out).code
    assert not call(*OPTIONS, "--out", whole).code
    assert_same_run(out, whole)


def test_a_signal_after_the_end_changes_nothing():
    program = (
        "import atexit, os, signal, sys; from tlx.cli.main import entry; sys.argv = ['tlx', '--help']\n"
        "atexit.register(os.kill, os.getpid(), signal.SIGTERM)\nentry()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "usage: tlx" in done.stdout
