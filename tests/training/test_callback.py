"""A callback ends a phase, reads what training came to and alters none of it, and a resume keeps what it decided."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import assert_same_bits
from toys import RANDOM, Recorder, StopAt, Stopped, fit_toy, timeless, toy_source

import tlx
from tlx.errors import ConfigError, StoppedError
from tlx.optim import Adam, Constant, Group, Phase
from tlx.training import Callback, EpochState
from tlx.training.checkpoint import Checkpoints
from tlx.tree import flatten

GROUP = Group(Constant(0.02), Adam())
HEAD, ALL = (("base", "frozen"), ("head", "head")), (("**", "all"),)
TWO = (Phase("head", 3, HEAD, {"head": GROUP}), Phase("all", 4, ALL, {"all": GROUP}))


class StopAfter(Callback):
    """End each phase after an epoch of it, by what came before, and keep what was asked."""

    def __init__(self, head=2, all=3):
        self.epochs, self.asked = {"head": head, "all": all}, []

    def stops_phase(self, record, state):
        self.asked.append((state.phase, state.epoch, state.epochs, state.step))
        return sum(each["phase"] == record["phase"] for each in state.history) >= self.epochs[state.phase]


def train(callbacks, recipe=TWO, **options):
    return fit_toy(recipe, RANDOM, callbacks=callbacks, **options)


@pytest.fixture(scope="module")
def stopped():
    """An uninterrupted fit of which a callback ended both phases, and what its log was told."""
    log = Recorder()
    return train([StopAfter(), log]), log


@pytest.mark.slow
def test_a_phase_ends_where_a_callback_says_so_and_the_next_begins(stopped):
    done, log = stopped
    assert [(phase.name, phase.epochs, phase.steps, phase.stopped_early) for phase in done.phases] == [
        ("head", 2, 6, True),
        ("all", 3, 9, True),
    ]
    assert [(each["phase"], each["epoch"]) for each in log.records] == [
        *(("head", 1), ("head", 2)),
        *(("all", 3), ("all", 4), ("all", 5)),
    ]
    shorter = [Phase(p.name, epochs, p.rules, p.groups) for p, epochs in zip(TWO, (2, 3), strict=True)]
    assert_same_bits(done.variables, train([], shorter).variables)


@pytest.mark.slow
def test_every_epoch_is_asked_about_and_each_callback_each_time():
    first, second = StopAfter(1, 9), StopAfter(9, 2)
    train([first, second])
    assert first.asked == second.asked == [("head", 1, 3, 3), ("all", 1, 4, 3), ("all", 2, 4, 6)]


def test_the_last_epoch_of_a_phase_is_no_early_stop():
    (phase,) = train([StopAfter(3)], TWO[:1]).phases
    assert (phase.epochs, phase.stopped_early) == (3, False)


@pytest.mark.slow
def test_a_phase_with_patience_gives_its_best_epoch_though_a_callback_ends_it():
    class Third(Callback):
        def stops_phase(self, record, state):
            return state.epoch == 3

    wild = Phase("all", 6, ALL, {"all": Group(Constant(0.3), Adam())}, patience=5)
    (phase,) = train([Third()], (wild,)).phases
    assert phase.epochs == 3
    losses = [each["val_loss"] for each in train([Third()], (wild,)).history]
    assert losses[phase.best_epoch - 1] == min(losses) == phase.val_loss


# What it reads


class Meddler(Callback):
    """Alter whatever can be altered, and keep what was read."""

    def __init__(self):
        self.kept, self.states = [], []

    def stops_phase(self, record, state):
        self.states.append(state)
        self.kept.append(state.variables)
        for leaf in jax.tree.leaves(state.variables):
            with pytest.raises((TypeError, ValueError)):
                leaf[...] = 0
        record["rates"].clear()
        record["loss"] = 0.0
        state.history.clear()
        for kind in ("params", "batch_stats"):
            self.kept[-1] = {**self.kept[-1], kind: dict(state.variables[kind])}
            state.variables[kind].clear()
        state.variables.clear()
        with pytest.raises(AttributeError):
            state.epoch = 7


class Clearing(tlx.Log):
    def epoch(self, record):
        record["rates"].clear()


@pytest.mark.slow
@pytest.mark.parametrize("ema", [None, 0.9])
def test_what_a_callback_does_to_what_it_reads_alters_nothing(ema):
    untouched, meddlers = train([], ema=ema), (Meddler(), Meddler())
    done = train([Clearing(), *meddlers], ema=ema)
    assert_same_bits(done.variables, untouched.variables)
    assert timeless(done.history) == timeless(untouched.history)
    assert timeless(done.phases) == timeless(untouched.phases)
    for meddler in meddlers:
        assert_same_bits(meddler.kept[-1], done.variables)
        for epoch in (1, 3):  # there still, though the next steps took the arrays
            ended = train([StopAfter(epoch)], TWO[:1], ema=ema).variables
            assert_same_bits(meddler.kept[epoch - 1], ended)


def test_the_state_says_where_training_is(stopped):
    class Reader(Callback):
        def stops_phase(self, record, state):
            assert state.history[-1] == record
            assert len(state.history) == record["epoch"]
            assert (state.phase, state.step) == (record["phase"], record["step"])
            frozen = flatten(state.variables["params"])["base/stem/dense/kernel"]
            held = flatten(RANDOM.variables()["params"])["base/stem/dense/kernel"]
            assert (state.phase == "head") == bool((np.asarray(frozen) == held).all())

    assert len(train([Reader()]).history) == 7


def test_variables_are_read_before_the_callback_returns():
    late = Meddler()
    late.stops_phase = lambda record, state: late.states.append(state)
    train([late], TWO[:1])
    with pytest.raises(ConfigError, match="the epoch is over, and training went on: read it within stops_phase"):
        late.states[0].variables
    assert len(late.states[0].history) == 1


# What it answers


@pytest.mark.parametrize(
    ("answer", "epochs"),
    [(True, 1), (np.bool_(True), 1), (jnp.asarray(True), 1), (False, 3), (None, 3), (np.bool_(False), 3)],
)
def test_an_answer_is_true_or_not(answer, epochs):
    callback = Callback()
    callback.stops_phase = lambda record, state: answer
    assert train([callback], TWO[:1]).phases[0].epochs == epochs


@pytest.mark.parametrize("answer", ["stop", 1, 0.5, np.array([True])])
def test_another_answer_is_refused(answer):
    callback = Callback()
    callback.stops_phase = lambda record, state: answer
    with pytest.raises(ConfigError, match=r"Callback\.stops_phase returned .*: return True or False"):
        train([callback], TWO[:1])


def test_an_object_with_the_method_is_a_callback_and_one_can_be_a_log_too():
    class Bare:
        def stops_phase(self, record, state):
            return True

    class Both(Recorder, Callback):
        def stops_phase(self, record, state):
            return len(self.records) == 2

    both = Both()
    assert [phase.epochs for phase in train([both, StopAfter(9, 1)]).phases] == [2, 1]
    assert (len(both.phases), len(both.records)) == (2, 3)
    assert [phase.epochs for phase in train([Bare()]).phases] == [1, 1]
    with pytest.raises(ConfigError, match=r"callbacks\[0\]: Both is a class, not an object"):
        train([Both])


def test_what_a_callback_raises_ends_a_fit():
    class Failing(Callback):
        def stops_phase(self, record, state):
            raise RuntimeError("no such sensor")

    with pytest.raises(RuntimeError, match="no such sensor"):
        train([Failing()])


# Resume


@pytest.mark.slow
def test_a_fit_stopped_after_any_step_goes_on_to_the_same_bits(stopped, tmp_path):
    whole, log = stopped
    questions = StopAt(0)
    train([StopAfter()], stop=questions)
    assert questions.asked > 12
    for question in range(1, questions.asked + 1):
        records = []
        for stop in (StopAt(question), StopAt(0)):
            recorder, checkpoints = Recorder(), Checkpoints(tmp_path / str(question), steps=1000)
            try:
                done = train([StopAfter(), recorder], checkpoints=checkpoints, stop=stop)
            except StoppedError:
                assert stop.asked == question
            finally:
                checkpoints.close()
            records += recorder.records
        assert_same_bits(done.variables, whole.variables)
        assert timeless(done.phases) == timeless(whole.phases)
        assert timeless(records) == timeless(log.records)


@pytest.mark.slow
@pytest.mark.parametrize("epoch", [1, 2, 3, 4, 5])
def test_a_fit_killed_in_any_epoch_goes_on_to_the_same_bits(stopped, tmp_path, epoch):
    whole, log = stopped
    first, second = Recorder(stop_at=epoch), Recorder()
    for recorder in (first, second):
        checkpoints = Checkpoints(tmp_path / "checkpoints", steps=1)
        try:
            done = train([StopAfter(), recorder], checkpoints=checkpoints)
        except Stopped:
            assert recorder is first
        finally:
            checkpoints.close()
    assert_same_bits(done.variables, whole.variables)
    assert timeless(done.phases) == timeless(whole.phases)
    assert timeless(first.records + second.records) == timeless(log.records)


class EndAtPhase(tlx.Log):
    """End the fit as its second phase begins: the last checkpoint is that of the first one's end."""

    def __init__(self):
        self.begun = 0

    def phase(self, name, epochs, steps, done):
        self.begun += 1
        if self.begun == 2:
            raise Stopped


@pytest.mark.parametrize("steps", [1, 1000])
def test_the_checkpoint_of_the_epoch_holds_the_decision(tmp_path, steps):
    checkpoints = Checkpoints(tmp_path / "checkpoints", steps=steps)
    with pytest.raises(Stopped):
        train([StopAfter(1), EndAtPhase()], checkpoints=checkpoints)
    checkpoints.close()
    checkpoints = Checkpoints(tmp_path / "checkpoints", steps=steps)
    saved = checkpoints.latest()
    assert (saved.phase, saved.epoch, saved.stopped) == (0, 1, True)
    never = StopAfter(9, 9)
    done = train([never], checkpoints=checkpoints)
    checkpoints.close()
    assert [phase.epochs for phase in done.phases] == [1, 4]  # what was decided stands
    assert [phase for phase, *_ in never.asked] == ["all"] * 4


def test_what_a_fit_continues_is_in_the_history_and_decides_nothing():
    half = train([StopAfter(1)], TWO[:1])
    seen = []

    class Reader(Callback):
        def stops_phase(self, record, state):
            seen.append([each["epoch"] for each in state.history])

    more = fit_toy_on(half, [Reader()])
    assert seen == [[1, 2], [1, 2, 3], [1, 2, 3, 4], [1, 2, 3, 4, 5]]
    assert [phase.epochs for phase in more.phases] == [1, 4]


def fit_toy_on(fit, callbacks):
    parts = (toy_source(12), toy_source(8, seed=1))
    return tlx.fit(fit, TWO[1:], parts, tlx.TrainOptions(batch_size=4), callbacks=callbacks)


def test_the_state_of_an_epoch_is_public():
    assert EpochState("head", 1, 2, 3).history == []
    assert repr(EpochState("head", 1, 2, 3)) == "EpochState(phase='head', epoch=1, epochs=2, step=3)"


# Several processes

PROGRAM = """
import json, sys
import jax
import tlx

address, process = sys.argv[1], int(sys.argv[2])
tlx.initialize_distributed(address, 2, process)
from test_callback import TWO
from toys import RANDOM, fit_toy


class Ours(tlx.Callback):
    asked = 0

    def stops_phase(self, record, state):
        self.asked += 1
        total = sum(float(abs(leaf).sum()) for leaf in jax.tree.leaves(state.variables["params"]))
        return total > 0 and state.epoch == 2 - process


ours, parallel = Ours(), tlx.Devices(shard="all")
done = fit_toy(TWO, RANDOM, callbacks=[ours], devices=parallel)
try:
    fit_toy(TWO, RANDOM, callbacks=[ours][process:], devices=parallel)
except tlx.errors.ConfigError as error:
    refused = str(error)


class Failing(Ours):
    def stops_phase(self, record, state):
        raise RuntimeError("no such sensor")


try:
    fit_toy(TWO, RANDOM, callbacks=[Failing()], devices=parallel)
except Exception as error:
    failed = str(error)
print()
print(json.dumps([[phase.epochs for phase in done.phases], ours.asked, refused, failed]))
"""


@pytest.mark.slow
def test_all_processes_do_as_the_first_one_s_callback_says():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    tests = Path(__file__).resolve().parent
    path = os.pathsep.join([str(Path(tlx.__file__).parents[1]), str(tests), str(tests.parent)])
    environment = {**os.environ, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    both = [subprocess.Popen([sys.executable, "-c", PROGRAM, address, str(each)], **pipes) for each in range(2)]
    said = [process.communicate(timeout=300) for process in both]
    for process, (found, faults), asked in zip(both, said, (4, 0), strict=True):
        assert not process.returncode, faults[-3000:]
        epochs, times, refused, failed = json.loads(found.splitlines()[-1])
        assert (epochs, times) == ([2, 2], asked)
        assert refused == "not the same in all processes: callbacks: give each the same options and data"
        assert failed == "no such sensor"
