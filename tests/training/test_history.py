"""A history tells every epoch: as a list, a table of pandas's, a plot; after a resume, and from disk."""

import json
import sys
from dataclasses import replace

import pytest
from toys import Recorder, Stopped, fit_toy, timeless

import tlx
from tlx.errors import CheckpointError, ConfigError
from tlx.optim import Constant, Group, Phase
from tlx.training import History
from tlx.training.checkpoint import Checkpoints

FAST = Group(Constant(0.02))
HEAD = (("base", "frozen"), ("head", "head"))
TWO = (
    Phase("head", 1, HEAD, {"head": FAST}),
    Phase("all", 2, (("**", "all"),), {"all": FAST}),
)


def record(epoch, phase="head", index=0, **changes):
    scores = {"accuracy": 0.5, "val_loss": None, "val_accuracy": None, "seconds": 0.1, "rates": {"head": 0.125}}
    return {"phase": phase, "phase_index": index, "epoch": epoch, "loss": 2.0 / epoch, **scores, **changes}


HISTORY = History([record(1), record(2), record(3, "<all>", 1, val_loss=0.25, rates={"head": 0.1, "base": 0.01})])


@pytest.fixture(scope="module")
def fitted():
    """A fit, and a log of it."""
    log = Recorder()
    return fit_toy(TWO, callbacks=[log]), log


@pytest.mark.slow
def test_a_history_is_a_list_of_what_the_logs_are_told(fitted):
    done, log = fitted
    assert done.history == log.records
    assert [(each["phase"], each["epoch"]) for each in done.history] == [*(("head", 1), ("all", 2), ("all", 3))]


@pytest.mark.slow
def test_a_log_that_changes_its_record_changes_no_history():
    class Taker(tlx.Log):
        def epoch(self, record):
            record.clear()

    assert fit_toy(TWO[:1], callbacks=[Taker()]).history[0]["phase"] == "head"


def test_after_a_resume_it_is_whole(tmp_path, fitted):
    checkpoints = Checkpoints(tmp_path / "checkpoints", steps=1)
    with pytest.raises(Stopped):
        fit_toy(TWO, callbacks=[Recorder(stop_at_step=7)], checkpoints=checkpoints)
    assert timeless(fit_toy(TWO, checkpoints=checkpoints).history) == timeless(fitted[0].history)


def test_a_checkpoint_without_a_history_begins_one(tmp_path):
    from tlx.training.snapshot import Snapshot, pack, unpack

    arrays, plain = pack(Snapshot({"params": {"head": {"bias": 1.0}}}))
    del plain["history"]
    assert unpack(arrays, plain).history == ()


def test_its_repr_is_a_line():
    assert repr(HISTORY) == "History(3 epochs: head 1-2, <all> 3; loss 0.6667, accuracy 0.5000, val_loss 0.2500)"
    assert repr(History()) == "History(0 epochs)"


def test_its_html_is_a_table_of_text():
    shown = HISTORY._repr_html_()
    assert shown.count("<tr>") == 4
    assert "<td>&lt;all&gt;</td>" in shown
    assert "<all>" not in shown


def test_pandas_takes_it():
    frame = HISTORY.to_pandas()
    assert frame["epoch"].tolist() == [1, 2, 3]
    assert frame["rate/head"].tolist() == [0.125, 0.125, 0.1]
    assert frame["rate/base"].isna().tolist() == [True, True, False]
    assert "rates" not in frame


def test_without_pandas_it_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigError, match=r"to_pandas needs pandas .*pip install pandas"):
        HISTORY.to_pandas()


def test_a_plot_has_two_axes_and_marks_the_phases():
    from matplotlib.figure import Figure

    axes = Figure().subplots(1, 2)
    assert HISTORY.plot(axes=axes, scratch=[record(1, val_accuracy=0.5)]) is axes
    loss, accuracy = axes
    assert [line.get_label() for line in loss.lines[:3]] == [
        *("transfer, training", "transfer, validation", "scratch, training")
    ]
    assert loss.lines[0].get_ydata().tolist() == pytest.approx([2.0, 1.0, 2 / 3])
    assert loss.lines[-1].get_xdata() == [2.5, 2.5]
    assert [text.get_text() for text in loss.texts] == ["<all>"]
    assert accuracy.get_ylabel() == "accuracy"
    assert len(accuracy.lines) == 4  # no validation accuracy of transfer's, and the mark


def test_a_plot_makes_a_figure_of_pyplot_s():
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    loss, _ = HISTORY.plot()
    assert pyplot.gcf() is loss.figure
    pyplot.close(loss.figure)


@pytest.fixture
def run(tmp_path):
    """What of a finished run its history needs."""
    (tmp_path / "result.json").write_text('{"test_accuracy": 0.5, "scratch_accuracy": null, "phases": []}')
    epochs = {"transfer": HISTORY, "scratch": HISTORY[:2]}
    lines = [{"run": name, **record} for name, records in epochs.items() for record in records]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tlx.Run.open(tmp_path)


def test_a_run_has_its_history_and_that_from_scratch_apart(run):
    assert run.history == [{"run": "transfer", **each} for each in HISTORY]
    assert run.scratch_history == [{"run": "scratch", **each} for each in HISTORY[:2]]
    assert repr(run.history) == repr(HISTORY)


@pytest.mark.parametrize("damage", ['{"run": "transfer"}', "[1]", '{"ru', "\udcff"])
def test_damaged_metrics_are_refused(run, damage):
    metrics = run.path / "metrics.jsonl"
    metrics.write_text(metrics.read_text() + damage, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl: (line 6 )?is not what tlx wrote"):
        run.history
    metrics.unlink()
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl: cannot be read"):
        run.history


def test_a_phase_s_record_is_a_line(fitted):
    done, _ = fitted
    assert str(done.phases[0]).startswith("head: 1 epoch, 18 parameters trained, 290 frozen, val_accuracy 0.")
    assert str(replace(done.phases[0], epochs=2, best_epoch=0)).startswith(
        "head: 2 epochs, none better than its start, "
    )
    assert repr(done).splitlines() == ["Fit(2 phases, 3 epochs)", *(f"  {phase}" for phase in done.phases)]
