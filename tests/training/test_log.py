"""Logs hold what a run told them, and can be cut back to a checkpoint."""

import importlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from toys import events_in, scalars_in

import tlx
from tlx.errors import ConfigError, StorageError
from tlx.progress import listening
from tlx.training.log import (
    Guarded,
    JsonLines,
    Log,
    ProgressBar,
    TensorBoard,
    _hidden,
    check_logs,
    progress_log,
    truncate_lines,
)


def record(epoch, **changes):
    whole = {"phase": "head", "phase_index": 0, "epoch": epoch, "step": 3 * epoch, "loss": 0.5 / epoch}
    scores = {"accuracy": 0.75, "val_loss": 0.25, "val_accuracy": 0.5, "seconds": 0.1, "rates": {"head": 0.125}}
    return {**whole, **scores, **changes}


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_epoch_is_a_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for run in ("transfer", "scratch"):
        log = JsonLines(path, run)
        log.phase("head", 2, 6, 0)
        log.steps(3)
        log.epoch(record(1))
        log.epoch(record(2, val_loss=None))
        log.close()
    assert lines(path) == [
        {"run": "transfer", **record(1)},
        {"run": "transfer", **record(2, val_loss=None)},
        {"run": "scratch", **record(1)},
        {"run": "scratch", **record(2, val_loss=None)},
    ]


def test_lines_that_cannot_be_written_are_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match=r"gone/metrics\.jsonl: cannot be written \(No such file"):
        JsonLines(tmp_path / "gone" / "metrics.jsonl", "transfer").epoch(record(1))


def test_truncating_drops_what_comes_after_and_spares_the_other_run(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for run, epochs in (("transfer", 3), ("scratch", 2)):
        for epoch in range(1, epochs + 1):
            JsonLines(path, run).epoch(record(epoch))
    truncate_lines(path, "transfer", 1)
    assert [(line["run"], line["epoch"]) for line in lines(path)] == [("transfer", 1), ("scratch", 1), ("scratch", 2)]
    truncate_lines(path, "scratch", 0)
    assert lines(path) == [{"run": "transfer", **record(1)}]
    assert [entry.name for entry in tmp_path.iterdir()] == ["metrics.jsonl"]


@pytest.mark.parametrize("cut", [1, 20, -1])
def test_a_line_cut_short_is_dropped_and_a_whole_one_without_its_end_is_kept(tmp_path, cut):
    path = tmp_path / "metrics.jsonl"
    for epoch in (1, 2):
        JsonLines(path, "transfer").epoch(record(epoch))
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + second[:cut])
    truncate_lines(path, "transfer", 5)
    assert [line["epoch"] for line in lines(path)] == ([1, 2] if cut == -1 else [1])
    assert path.read_bytes().endswith(b"}\n")


def test_truncating_nothing_is_nothing(tmp_path):
    truncate_lines(tmp_path / "metrics.jsonl", "transfer", 1)
    assert not list(tmp_path.iterdir())


def test_tensorboard_reads_the_same_figures(tmp_path):
    log = TensorBoard(tmp_path / "run")
    log.epoch(record(1))
    log.epoch(record(2, val_loss=None, val_accuracy=None))
    log.close()
    assert scalars_in(tmp_path / "run") == {
        ("loss", 1): 0.5,
        ("accuracy", 1): 0.75,
        ("val_loss", 1): 0.25,
        ("val_accuracy", 1): 0.5,
        ("rate/head", 1): 0.125,
        ("loss", 2): 0.25,
        ("accuracy", 2): 0.75,
        ("rate/head", 2): 0.125,
    }


def test_tensorboard_is_told_what_a_resume_makes_void(tmp_path):
    from tensorboardX.proto.event_pb2 import SessionLog

    log = TensorBoard(tmp_path / "run", done=3)
    log.close()
    starts = [event.step for event in events_in(tmp_path / "run") if event.session_log.status == SessionLog.START]
    assert starts == [4]  # TensorBoard drops what other files of the run hold from this step on


def test_tensorboard_that_cannot_be_written_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="file/run: cannot be written"):
        TensorBoard(tmp_path / "file" / "run")


def test_a_log_for_tensorboard_imports_no_pytorch_and_leaves_it_to_others(tmp_path):
    (tmp_path / "torch.py").write_text("class Tensor: pass")
    program = (
        "import sys; from pathlib import Path; from tlx.training.log import TensorBoard;"
        "TensorBoard(Path('run')).close(); assert 'torch' not in sys.modules; import torch; TensorBoard(Path('run'))"
    )
    path = os.pathsep.join([str(tmp_path), str(Path(tlx.__file__).parents[1])])
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, check=True)


def test_what_is_hidden_from_a_thread_is_there_for_others(monkeypatch, tmp_path):
    (tmp_path / "only_here.py").write_text("value = 3")
    monkeypatch.syspath_prepend(tmp_path)
    with ThreadPoolExecutor(1) as other, _hidden("only_here"):
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("only_here")
        assert other.submit(importlib.import_module, "only_here").result().value == 3
    assert importlib.import_module("only_here").value == 3
    del sys.modules["only_here"]


def test_the_progress_bar_goes_to_standard_error(capsys):
    log = ProgressBar("transfer")
    log.phase("[bold]all[/bold]", 2, 6, 3)
    log.steps(1)
    log.steps(2)
    log.epoch(record(2, val_accuracy=0.625))
    log.epoch(record(2, val_accuracy=None))
    log.close()
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "transfer: [bold]all[/bold]" in printed.err  # names are text, never markup
    assert "6/6" in printed.err
    assert "loss 0.2500" in printed.err


# What users bring


def test_a_log_lacks_no_method():
    check_logs([Log(), JsonLines(Path("x"), "transfer")])
    with pytest.raises(ConfigError, match=r"logs\[1\]: print has no method phase, .*derive a class from tlx\.Log"):
        check_logs([Log(), print])
    with pytest.raises(ConfigError, match=r"logs\[0\]: Log is a class, not an object"):
        check_logs([Log])
    with pytest.raises(ConfigError, match=r"logs: Log is not a list of logs: write logs=\[log\]"):
        check_logs(Log())


class Failing(Log):
    def __init__(self, error):
        self.error, self.told = error, []

    def steps(self, count):
        self.told.append(count)

    def epoch(self, record):
        self.told.append(record)
        raise self.error


def test_a_guarded_log_that_fails_is_left_out(caplog):
    log = Failing(RuntimeError("no network\nat all"))
    guarded = Guarded(log, "transfer")
    guarded.phase("head", 1, 1, 0)
    guarded.steps(2)
    guarded.epoch(record(1))
    guarded.epoch(record(2))
    guarded.steps(1)
    guarded.sync()
    assert log.told == [2, {"run": "transfer", **record(1)}]
    (warning,) = caplog.messages
    assert warning == "tlx: the log Failing failed in epoch (RuntimeError: no network): it is told no more"


@pytest.mark.parametrize("error", [StorageError("the disk is full"), KeyboardInterrupt()])
def test_what_is_no_fault_of_a_log_passes(error):
    with pytest.raises(type(error)):
        Guarded(Failing(error), "transfer").epoch(record(1))


def test_without_widgets_a_notebook_has_a_line_an_epoch(monkeypatch, capsys):
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setitem(sys.modules, "ipywidgets", None)  # as if it were not installed
    log = progress_log("fit")
    log.phase("head", 3, 6, 2)
    log.steps(2)
    log.epoch(record(2, loss=0.25))
    log.steps(2)
    log.epoch(record(3, loss=0.125, val_accuracy=None))
    log.close()
    assert capsys.readouterr().err.splitlines() == [
        "fit: head 2/3 loss 0.2500 val_accuracy 0.5000 0.1 s",
        "fit: head 3/3 loss 0.1250 val_loss 0.2500 0.1 s",
    ]


def test_on_a_terminal_progress_is_a_bar(monkeypatch):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    log = progress_log("fit")
    log.close()
    assert isinstance(log, ProgressBar)


def test_in_a_file_progress_is_a_plain_line_a_phase(monkeypatch, capsys):
    monkeypatch.setenv("TTY_COMPATIBLE", "0")
    heard = []
    log = progress_log("fit")
    with listening(lambda *what: heard.append(what)):
        log.phase("head", 3, 6, 2)
        log.steps(2)
        log.epoch(record(2))
        log.epoch(record(3, loss=0.125, val_accuracy=None))
        log.phase("all", 3, 6, 0)
        log.steps(1)
        log.close()
        log.close()
    assert capsys.readouterr().err.splitlines() == [
        "tlx: fit: head, 4 of 6 steps loss 0.1250 val_loss 0.2500",
        "tlx: fit: all, 1 of 6 steps",
    ]
    assert heard == [("training fit: head", 4, 6), ("training fit: all", 1, 6)]
