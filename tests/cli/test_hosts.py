"""Two processes train one model: one of them dies, or is asked to stop, and the run goes on, in as many or in one."""

import json
import os
import socket
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.slow
RUN = ["--base", "mlp-mnist", "--head-epochs", "2", "--base-epochs", "150", "--patience", "150", "--base-rate", "0.001"]
RUN += ["--compare-scratch", "never", "--batch-size", "15", "--checkpoint-every", "1"]
TOGETHER = 120  # seconds within which the others end: JAX takes a process for dead after one minute


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def started(options, *own):
    """Start two processes that train together, each with options of its own."""
    address = f"127.0.0.1:{free_port()}"
    environment = {
        **os.environ,
        "JAX_ENABLE_COMPILATION_CACHE": "false",
        "JAX_PLATFORMS": "cpu",
        "GLIBC_TUNABLES": "glibc.malloc.hugetlb=0",
    }
    together = [sys.executable, "-m", "tlx", "finetune", "--coordinator", address, "--processes", "2", *options]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    own = own or ((), ())
    return [subprocess.Popen([*together, "--process", str(each), *own[each]], **pipes) for each in range(2)]


def ended(processes):
    """Return what each process said on standard error, and its exit code."""
    try:
        return [(process.communicate(timeout=TOGETHER)[1], process.returncode) for process in processes]
    finally:
        for process in processes:
            process.kill()


def lines(out):
    """Count the epochs that were noted."""
    metrics = out / "metrics.jsonl"
    return len(metrics.read_text().splitlines()) if metrics.exists() else 0


def wait_for(epochs, out, processes):
    end = time.monotonic() + 100
    while lines(out) < epochs and time.monotonic() < end and all(process.poll() is None for process in processes):
        time.sleep(0.02)
    if lines(out) < epochs:
        raise AssertionError(ended(processes))


def losses(out):
    return [json.loads(line)["val_loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_one_is_killed_then_asked_to_stop_and_one_finishes(call, tmp_path):
    out, reference = tmp_path / "run", tmp_path / "alone"
    processes = started([*RUN, "--out", str(out)])
    wait_for(30, out, processes)
    processes[1].kill()
    (said, code), _ = ended(processes)
    assert code == 6
    assert "another process of this run is gone" in said
    assert "start all of them again with --resume" in said

    before = lines(out)
    processes = started(["--resume", "--out", str(out)])
    wait_for(before + 20, out, processes)
    processes[1].terminate()
    for said, code in ended(processes):
        assert code == 75, said
        assert "stopped on request, all is saved" in said

    assert not call("finetune", "--resume", "--out", out).code
    assert not call("finetune", *RUN, "--out", reference).code
    assert losses(out) == pytest.approx(losses(reference), rel=1e-4)
    results = [json.loads((each / "result.json").read_text()) for each in (out, reference)]
    assert results[0]["test_accuracy"] == results[1]["test_accuracy"]
    assert results[0]["phases"][1]["epochs"] == 150


def test_what_differs_is_named_to_both(tmp_path):
    for said, code in ended(started([*RUN, "--out", str(tmp_path / "run")], ("--seed", "1"), ("--seed", "2"))):
        assert code == 2, said
        assert "not the same in all processes:" in said
        assert "seed" in said
    assert not (tmp_path / "run" / "run.json").exists()
