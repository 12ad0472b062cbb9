"""Logs hold what a run told them, and can be cut back to a checkpoint."""

import csv
import importlib
import json
import os
import struct
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from toys import events_in, scalars_in

import tlx
from tlx.errors import ConfigError, StorageError
from tlx.logs import CSV, JsonLines, Log, MLflow, ProgressBar, TensorBoard, Trackio, WandB
from tlx.logs.guarded import Guarded
from tlx.logs.json_lines import truncate_lines
from tlx.logs.progress import progress_log
from tlx.logs.tensorboard import _hidden
from tlx.progress import listening
from tlx.training.callback import check_callbacks


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

    log = TensorBoard(tmp_path / "run")
    log.epoch(record(4))
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
        "import sys; from pathlib import Path; from tlx.logs import TensorBoard;"
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


# Tables


def table(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_each_epoch_is_a_row_and_a_phase_may_bring_columns(tmp_path):
    path = tmp_path / "epochs.csv"
    with CSV(path) as log:
        log.epoch(record(1))
        log.epoch(record(2, val_loss=None))
        before = path.read_text()
        log.epoch(record(3, phase="a, b", rates={"head": 0.125, "base": 0.5}, margin=2.0))
        log.epoch(record(4))
        log.sync()
    assert before.splitlines() == [
        "phase,phase_index,epoch,step,loss,accuracy,val_loss,val_accuracy,seconds,rate/head",
        "head,0,1,3,0.5,0.75,0.25,0.5,0.1,0.125",
        "head,0,2,6,0.25,0.75,,0.5,0.1,0.125",
    ]
    rows = table(path)
    assert list(rows[0])[-3:] == ["rate/head", "margin", "rate/base"]
    assert [(row["phase"], row["epoch"], row["margin"], row["rate/base"]) for row in rows] == [
        ("head", "1", "", ""),
        ("head", "2", "", ""),
        ("a, b", "3", "2.0", "0.5"),
        ("head", "4", "", ""),
    ]
    assert [entry.name for entry in tmp_path.iterdir()] == ["epochs.csv"]


@pytest.mark.parametrize("cut", [0, 1, 20, -1])
def test_a_table_goes_on_at_the_epoch_that_is_trained_again(tmp_path, cut):
    path = tmp_path / "epochs.csv"
    with CSV(path) as log:
        for run, epochs in (("transfer", 2), ("scratch", 3)):
            for epoch in range(1, epochs + 1):
                log.epoch({"run": run, **record(epoch)})
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - 1 - cut] if cut >= 0 else content)  # what a kill left
    with CSV(path) as log:
        log.epoch({"run": "scratch", **record(2, loss=7.0)})
        log.epoch({"run": "scratch", **record(3, loss=8.0)})
    found = [(row["run"], row["epoch"], row["loss"]) for row in table(path)]
    first = [("transfer", "1", "0.5"), ("transfer", "2", "0.25"), ("scratch", "1", "0.5")]
    assert found == [*first, ("scratch", "2", "7.0"), ("scratch", "3", "8.0")]


def test_the_rows_of_a_fit_that_begins_anew_replace_those_that_are_there(tmp_path):
    for epochs in (3, 1):
        with CSV(tmp_path / "epochs.csv") as log:
            for epoch in range(1, epochs + 1):
                log.epoch(record(epoch))
    assert [row["epoch"] for row in table(tmp_path / "epochs.csv")] == ["1"]


OTHER = ["name,age\nAda,36\n", "phase,epoch\nhead,one\n", "phase,epoch\nhead,1,2\n", '{"a": 1}\n', "no table"]


@pytest.mark.parametrize("content", [*map(str.encode, OTHER), b"\xff\xfe\n\x00\n"])
@pytest.mark.parametrize("kind", [CSV, JsonLines])
def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path, kind, content):
    path = tmp_path / "mine"
    path.write_bytes(content)
    if kind is JsonLines and content == b"no table":
        path.write_bytes(b"no table\n")
    with pytest.raises(ConfigError, match="mine: holds something else than the epochs of a fit: name another file"):
        kind(path)
    assert path.read_bytes().strip() == content.strip()


@pytest.mark.parametrize("kind", [CSV, JsonLines])
def test_an_empty_file_can_be_written(tmp_path, kind):
    (tmp_path / "epochs").touch()
    log = kind(tmp_path / "epochs")
    log.epoch(record(1))
    assert len((tmp_path / "epochs").read_text().splitlines()) == (2 if kind is CSV else 1)


def test_a_table_that_cannot_be_written_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match=r"gone/epochs\.csv: cannot be written \(No such file"):
        CSV(tmp_path / "gone" / "epochs.csv").epoch(record(1))


def test_lines_of_ones_own_go_on_at_the_epoch_that_is_trained_again(tmp_path):
    for epochs in ((1, 2, 3), (2, 3)):
        log = JsonLines(tmp_path / "epochs.jsonl")
        for epoch in epochs:
            log.epoch(record(epoch, loss=float(len(epochs))))
    assert [(line["epoch"], line["loss"]) for line in lines(tmp_path / "epochs.jsonl")] == [
        (1, 3.0),
        (2, 2.0),
        (3, 2.0),
    ]


def test_each_run_has_a_folder_of_events(tmp_path):
    with TensorBoard(tmp_path) as log:
        log.epoch({"run": "transfer", **record(1)})
        log.epoch({"run": "scratch", **record(1, loss=4.0)})
    assert scalars_in(tmp_path / "transfer")["loss", 1] == 0.5
    assert scalars_in(tmp_path / "scratch")["loss", 1] == 4.0


# Services, each the real package where it is installed, without a network

RECORDS = [
    {"run": "transfer", **record(1)},
    {"run": "transfer", **record(2, val_loss=None)},
    {"run": "scratch", **record(1, rates={"all@1": 0.5})},
]
TOLD = {
    ("transfer/loss", 1): 0.5,
    ("transfer/loss", 2): 0.25,
    ("transfer/val_loss", 1): 0.25,
    ("transfer/rate/head", 2): 0.125,
    ("scratch/loss", 1): 0.5,
    ("scratch/rate/all@1", 1): 0.5,
}


def tell(log):
    log.phase("head", 2, 6, 0)
    for each in RECORDS:
        log.epoch(each)
    log.close()
    log.close()


@pytest.mark.parametrize(("kind", "module"), [(WandB, "wandb"), (MLflow, "mlflow"), (Trackio, "trackio")])
def test_a_service_that_is_not_installed_is_a_line_that_names_the_extra(monkeypatch, kind, module):
    monkeypatch.setitem(sys.modules, module, None)
    said = rf"tlx\.logs\.{kind.__name__} needs {module} \(.*\): pip install 'tlx-jax\[{module}\]'"
    with pytest.raises(ConfigError, match=said):
        kind()


@pytest.mark.parametrize("kind", [WandB, MLflow, Trackio])
def test_each_service_has_an_extra(kind):
    extras = tomllib.loads((Path(tlx.__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert any(
        each.startswith(kind.__name__.lower()) for each in extras["optional-dependencies"][kind.__name__.lower()]
    )


def blocks_of(content):
    """Split an offline run of wandb into its records: LevelDB's log format, the header of a file before it."""
    place, found, part = 7, [], b""
    while place + 7 <= len(content):
        if (left := 32768 - place % 32768) < 7:  # of a block, too little for a header
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        part += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or its last piece
            found, part = [*found, part], b""
    return found


@pytest.mark.filterwarnings("default")
def test_wandb_has_the_figures_of_each_epoch(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb", exc_type=ImportError)
    from wandb.proto import wandb_internal_pb2

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_SILENT", "true")
    log = WandB(project="tlx", mode="offline", dir=str(tmp_path), settings={"x_disable_stats": True})
    assert log.run is None  # nothing is there before a run begins
    tell(log)
    wandb.teardown()  # its own process, which writes the file a little later
    (path,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    found, axes = {}, set()
    for data in blocks_of(path.read_bytes()):
        entry = wandb_internal_pb2.Record.FromString(data)
        items = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in entry.history.item}
        for name, value in items.items():
            run = name.partition("/")[0]
            if f"{run}/epoch" in items:
                found[name, items[f"{run}/epoch"]] = value
        if entry.HasField("metric"):
            axes.add((entry.metric.glob_name, entry.metric.step_metric))
    assert {key: found.get(key) for key in TOLD} == TOLD
    assert ("transfer/val_loss", 2) not in found
    assert {("transfer/*", "transfer/epoch"), ("scratch/*", "scratch/epoch")} <= axes


@pytest.mark.filterwarnings("default")
def test_mlflow_has_the_figures_of_each_epoch_and_goes_on(tmp_path, monkeypatch, capsys):
    pytest.importorskip("mlflow", exc_type=ImportError)
    monkeypatch.chdir(tmp_path)
    log = MLflow("flowers", run_name="first", tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    log.phase("head", 2, 6, 0)
    number = log.run.info.run_id
    tell(log)
    client = importlib.import_module("mlflow").MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    run = client.get_run(number)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "first")
    names = {name: name.replace("@", "_") for name, _ in TOLD}
    found = {(name, m.step): m.value for name in names for m in client.get_metric_history(number, names[name])}
    assert {key: found.get(key) for key in TOLD} == TOLD
    assert ("transfer/val_loss", 2) not in found
    again = MLflow("flowers", run_name="first", resume=True, tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    again.epoch(record(3))
    assert again.run.info.run_id == number
    assert client.get_run(number).info.status == "RUNNING"
    again.close()
    assert client.get_run(number).info.status == "FINISHED"
    assert [each.step for each in client.get_metric_history(number, "loss")] == [3]
    fresh = MLflow("flowers", run_name="it's", resume=True, tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    fresh.epoch(record(1))
    assert fresh.run.info.run_id != number
    fresh.close()
    with pytest.raises(ConfigError, match="resume: no run to go on with is named: give run_name, too"):
        MLflow("flowers", resume=True)
    assert capsys.readouterr().out == ""


@pytest.mark.filterwarnings("default")
def test_trackio_has_the_figures_of_each_epoch(tmp_path, monkeypatch, capsys):
    trackio = pytest.importorskip("trackio", exc_type=ImportError)
    from trackio.sqlite_storage import SQLiteStorage

    for module in ("trackio.utils", "trackio.sqlite_storage"):
        monkeypatch.setattr(f"{module}.TRACKIO_DIR", tmp_path)
    tell(Trackio("flowers", name="first", embed=False, auto_log_cpu=False, auto_log_gpu=False))
    found = {
        (name, row["step"]): value
        for row in SQLiteStorage.get_logs("flowers", "first")
        for name, value in row.items()
        if "/" in name
    }
    assert {key: found.get(key) for key in TOLD} == TOLD
    assert ("transfer/val_loss", 2) not in found
    assert capsys.readouterr().out == ""
    assert trackio.__version__


# What users bring


def test_a_log_lacks_no_method():
    check_callbacks([Log(), JsonLines(Path("x"), "transfer")])
    with pytest.raises(ConfigError, match=r"callbacks\[1\]: print has no method phase, .*derive a class from tlx\.Log"):
        check_callbacks([Log(), print])
    with pytest.raises(ConfigError, match=r"callbacks\[0\]: Log is a class, not an object"):
        check_callbacks([Log])
    with pytest.raises(
        ConfigError, match=r"callbacks: Log is not a list of logs and callbacks: write callbacks=\[log\]"
    ):
        check_callbacks(Log())


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
