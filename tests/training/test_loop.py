"""A fit runs its phases, keeps what is frozen, stops early, and goes on after any interruption to the same bits."""

import math
import shutil
import time
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import assert_same_bits, begin, bits, plain
from marks import slow_but
from toys import PLAIN, RANDOM, SPEC, Recorder, StopAt, Stopped, timeless, toy_source
from toys import fit_sources as fit

import tlx.training.phase
import tlx.training.resident
from tlx.data import Feed, Subset, batches
from tlx.errors import CheckpointError, ConfigError, DataError, DivergedError, StoppedError
from tlx.images import Augment
from tlx.models import initialise
from tlx.objectives import Classification
from tlx.optim import Adam, AdamW, Constant, Cosine, Group, Phase, Sgd
from tlx.recipes import finetune, full, gradual, probe, scratch
from tlx.training import ActivationCache, Mixup
from tlx.training.checkpoint import Checkpoints
from tlx.training.method import StepOptions
from tlx.training.snapshot import Snapshot
from tlx.tree import fingerprint, flatten, map_with_path, matches, unflatten

TRAIN, VALIDATION = toy_source(12), toy_source(8, seed=1)
UNEVEN = toy_source(14)  # leaves a partial batch of two
FAST = Group(Constant(0.02), Adam())

HEAD = (("base", "frozen"), ("head", "head"))
BLOCK = (("base/stem", "frozen"), ("base/block", "base"), ("head", "head"))
ALL = (("**", "all"),)

THREE = (
    Phase("head", 1, HEAD, {"head": Group(Constant(0.01), Sgd(0.9))}),
    Phase("block", 2, BLOCK, {"head": FAST, "base": Group(Cosine(0.01, warmup=3), AdamW(), 0.01, 1.0)}),
    Phase("last", 1, BLOCK, {"head": FAST, "base": FAST}, fresh=("head/logits",)),
)


def train(recipe, case=RANDOM, variables=None, **options):
    variables = case.variables() if variables is None else variables
    options = {"train": TRAIN, "validation": VALIDATION, "preprocess": SPEC, "batch_size": 4, **options}
    return fit(case.model, variables, recipe, **options)


@pytest.fixture(scope="module")
def three():
    """An uninterrupted fit of three phases, and what its log was told."""
    log = Recorder()
    return train(THREE, callbacks=[log]), log


# What a fit is


@pytest.mark.slow
def test_an_epoch_s_seconds_are_those_of_the_devices(monkeypatch):
    """The loop comes to its end before they do, and waits for them when it looks at what they made."""
    own = tlx.training.phase.all_finite
    monkeypatch.setattr(tlx.training.phase, "all_finite", lambda params: time.sleep(0.2) or own(params))
    log = Recorder()
    done = train((Phase("head", 2, HEAD, {"head": FAST}),), callbacks=[log])
    assert all(record["seconds"] >= 0.2 for record in log.records)
    assert done.phases[0].seconds >= 0.4


def test_a_phase_is_the_step_over_shuffled_batches():
    """Take two epochs by hand."""
    group = Group(Constant(0.01), Sgd(0.9))
    run = begin(RANDOM, HEAD, group, steps=8, options=StepOptions(SPEC))
    run.state = run.state.replace(key=jax.random.fold_in(jax.random.key(0), 0))
    sizes = []
    for epoch in (1, 2):
        for batch in batches(UNEVEN, SPEC, Feed(4, shuffle=True, pad=True), epoch=epoch):
            sizes.append(int(batch["mask"].sum()))
            run.train(batch)
    assert sizes == [4, 4, 4, 2] * 2
    log = Recorder()
    done = train((Phase("head", 2, HEAD, {"head": group}),), train=UNEVEN, callbacks=[log])
    for path, leaf in flatten(done.variables["params"]).items():  # from activations, computed in larger batches
        np.testing.assert_allclose(leaf, run.params()[path], rtol=1e-5, atol=1e-6, err_msg=path)
    assert_same_bits(done.variables["batch_stats"], run.stats())
    assert log.taken == done.phases[0].steps == 8
    assert [record["step"] for record in log.records] == [4, 8]
    for record in log.records:  # each of the 14 and of the 8 counts once
        assert record["accuracy"] * 14 == pytest.approx(round(record["accuracy"] * 14), abs=1e-5)
        assert record["val_accuracy"] * 8 == pytest.approx(round(record["val_accuracy"] * 8), abs=1e-5)
    assert 0 < log.records[1]["accuracy"] < 1


def test_the_log_is_told_everything(three):
    _, log = three
    assert log.phases == [("head", 1, 3, 0), ("block", 2, 6, 0), ("last", 1, 3, 0)]
    assert [(r["phase"], r["phase_index"], r["epoch"], r["step"]) for r in log.records] == [
        ("head", 0, 1, 3),
        ("block", 1, 2, 3),
        ("block", 1, 3, 6),
        ("last", 2, 4, 3),
    ]
    assert set(log.records[0]) == {
        *("phase", "phase_index", "epoch", "step", "loss", "accuracy", "val_loss", "val_accuracy", "seconds", "rates"),
        "compiled",
    }
    assert log.records[1]["rates"] == pytest.approx({"head": 0.02, "base": 0.01 * 2 / 3})  # the third step of a warm-up


def test_records_say_what_each_phase_came_to(three):
    done, log = three
    assert [(p.name, p.trainable, p.frozen, p.epochs, p.steps) for p in done.phases] == [
        ("head", 18, 240 + 50, 1, 3),
        ("block", 18 + 40, 240, 2, 6),
        ("last", 18 + 40, 240, 1, 3),
    ]
    assert [p.running_statistics for p in done.phases] == [0, 10, 10]
    for phase, last in zip(done.phases, (log.records[0], log.records[2], log.records[3]), strict=True):
        assert (phase.val_loss, phase.val_accuracy) == (last["val_loss"], last["val_accuracy"])
        assert (phase.stopped_early, phase.best_epoch) == (False, None)
        assert sum(phase.labels.values()) == phase.trainable + phase.frozen
        assert phase.seconds > 0


@pytest.mark.slow
def test_it_learns():
    done = train((Phase("all", 25, ALL, {"all": FAST}),), case=PLAIN)
    assert done.phases[0].val_accuracy >= 7 / 8


def test_the_seed_decides_everything():
    one, same, other = (train(THREE[:1], seed=seed).variables for seed in (0, 0, 1))
    assert_same_bits(one, same)
    assert bits(one["params"]["head"]["logits"]["bias"]) != bits(other["params"]["head"]["logits"]["bias"])


def test_the_given_variables_are_left_alone():
    variables = RANDOM.variables()
    before = jax.tree.map(np.array, variables)
    train((Phase("all", 1, ALL, {"all": FAST}),), variables=variables)
    assert_same_bits(variables, before)


# Frozen means frozen


def test_frozen_leaves_keep_their_bits_and_their_fingerprint(three):
    done, _ = three
    start = RANDOM.variables()
    for phase, rules in zip(done.phases, (HEAD, BLOCK, BLOCK), strict=True):
        frozen = {
            path: leaf
            for path, leaf in flatten(start["params"]).items()
            if next(label for pattern, label in rules if matches(pattern, path)) == "frozen"
        }
        kept = map_with_path(lambda path, leaf, own=frozen: leaf if path in own else None, start["params"])
        own = start["batch_stats"]["base"]
        statistics = {"base": own if rules is HEAD else {"stem": own["stem"]}}
        expected = fingerprint({"params": kept, "batch_stats": statistics})
        assert phase.frozen_sha256_before == phase.frozen_sha256_after == expected
    assert_same_bits(done.variables["params"]["base"]["stem"], start["params"]["base"]["stem"])
    assert_same_bits(done.variables["batch_stats"]["base"]["stem"], start["batch_stats"]["base"]["stem"])


FREEZING = {
    (name, norms): recipe(("stem", "block"), **{"norms": norms} | rates)
    for norms in ("stored", "batch")
    for name, recipe, rates in [
        ("finetune", finetune, {"head_epochs": 1, "base_epochs": 1, "head": FAST, "base": FAST}),
        ("gradual", gradual, {"head_epochs": 1, "stage_epochs": 1, "head": FAST, "base": FAST}),
        ("full", full, {"epochs": 1, "head": FAST, "base": FAST}),
    ]
}
FREEZING["probe", "batch"] = probe((), epochs=1, head=FAST)
FREEZING["scratch", "batch"] = scratch((), epochs=1, group=FAST)


@pytest.mark.slow
@pytest.mark.parametrize("way", FREEZING, ids=" ".join)
def test_what_counts_as_frozen_is_what_does_not_move_and_what_is_fingerprinted(way):
    variables = RANDOM.variables()
    for phase in FREEZING[way]:
        before = {path: np.array(leaf) for path, leaf in flatten(variables).items()}
        done = train((phase,), variables=variables)
        (record,), variables = done.phases, done.variables
        still = {path: leaf for path, leaf in flatten(variables).items() if bits(leaf) == bits(before[path])}
        sha256 = fingerprint(unflatten(still)) if still else None
        assert (record.frozen_sha256_before, record.frozen_sha256_after) == (sha256, sha256)
        assert record.frozen == record.labels.get("frozen", 0) == sum(leaf.size for leaf in still.values())
        moving = sum(leaf.size for path, leaf in before.items() if path.startswith("batch") and path not in still)
        assert record.running_statistics == moving
        assert record.trainable + record.frozen + moving == sum(leaf.size for leaf in before.values())


@pytest.mark.slow
def test_without_anything_frozen_there_is_no_fingerprint_and_nothing_counts():
    (record,) = train(FREEZING["full", "batch"]).phases
    assert (record.frozen, record.frozen_sha256_before, record.frozen_sha256_after) == (0, None, None)
    (record,) = train(FREEZING["full", "stored"]).phases  # two batch norms, of 6 and of 5 features
    assert (record.frozen, len(record.frozen_sha256_before)) == (2 * 6 + 2 * 5, 64)


def test_what_is_not_frozen_moves(three):
    done, _ = three
    start = flatten(RANDOM.variables())
    moved = {path for path, leaf in flatten(done.variables).items() if bits(leaf) != bits(start[path])}
    assert moved == {path for path in start if "stem" not in path}


def test_a_frozen_base_keeps_all_its_bits():
    done = train(THREE[:1])
    start = RANDOM.variables()
    assert_same_bits(done.variables["params"]["base"], start["params"]["base"])
    assert_same_bits(done.variables["batch_stats"], start["batch_stats"])


def test_the_fingerprint_is_taken_after_the_phase_and_not_before(monkeypatch):
    """Break the step so that it changes a frozen leaf; the record must tell."""
    spoil = tlx.training.phase.PhaseRun.finish

    def finish(self, snapshot, index):
        params = snapshot.variables["params"]
        stem = jax.tree.map(lambda leaf: leaf + 1, params["base"]["stem"])
        broken = {**snapshot.variables, "params": {**params, "base": {**params["base"], "stem": stem}}}
        return spoil(self, tlx.training.phase.replace(snapshot, variables=broken), index)

    monkeypatch.setattr(tlx.training.phase.PhaseRun, "finish", finish)
    (phase,) = train(THREE[:1]).phases
    assert phase.frozen_sha256_before != phase.frozen_sha256_after


# Memory across phases


@pytest.mark.slow
@pytest.mark.parametrize("group", [FAST, Group(Constant(0.02), Sgd(0.9))], ids=["adam", "momentum"])
def test_two_phases_of_one_kind_are_one_long_phase(group):
    def halves(*epochs):
        return tuple(Phase(f"part {index}", count, ALL, {"all": group}) for index, count in enumerate(epochs))

    assert_same_bits(train(halves(1, 2), PLAIN).variables, train(halves(3), PLAIN).variables)


@pytest.mark.slow
def test_fresh_leaves_are_initialised_anew_and_their_memory_forgotten():
    """A phase with fresh leaves is a phase from a tree that has them, as the first phase left the others."""
    warm = Phase("warm", 1, ALL, {"all": FAST})
    again = Phase("again", 1, ALL, {"all": FAST}, fresh=("**",))
    fresh = initialise(PLAIN.model, (6, 6, 1), seed=0)
    reset = train((warm, again), PLAIN)
    never = train((Phase("idle", 1, (("head", "head"), ("**", "frozen")), {"head": FAST}), again), PLAIN)
    assert_same_bits(reset.variables, never.variables)  # whatever there was before
    done = train((Phase("base", 1, (("base", "base"), ("head", "frozen")), {"base": FAST}, fresh=("head",)),), PLAIN)
    assert_same_bits(done.variables["params"]["head"], fresh["params"]["head"])
    assert bits(fresh["params"]["head"]["logits"]["kernel"]) != bits(
        PLAIN.variables()["params"]["head"]["logits"]["kernel"]
    )
    done = train((Phase("head", 1, HEAD, {"head": FAST}, fresh=("head",)),), PLAIN)
    assert_same_bits(done.variables["params"]["base"], PLAIN.variables()["params"]["base"])


def test_scratch_forgets_the_start_batch_statistics_included():
    recipe = scratch((), epochs=1, group=FAST)
    one, other = PLAIN.variables(), jax.tree.map(lambda leaf: leaf + 1, PLAIN.variables())
    assert_same_bits(train(recipe, PLAIN, one).variables, train(recipe, PLAIN, other).variables)


# Early stopping


class Script:
    """Stand in for `evaluated`: say the scores that are scripted, and keep the variables that were to be scored."""

    def __init__(self, losses, accuracies=None):
        self.scores = list(zip(losses, accuracies or [0.5] * len(losses), strict=True))
        self.seen = []

    def __call__(self, model, variables, *given, after=None):
        loss, accuracy = self.scores[len(self.seen)]
        self.seen.append(jax.tree.map(np.array, variables))
        return type("Scores", (), {"metrics": {"loss": loss, "accuracy": accuracy}})


def stopping(patience, epochs=9, monitor="val_loss", rules=ALL):
    groups = {label: FAST for _, label in rules if label != "frozen"}
    return Phase("stop", epochs, rules, groups, patience=patience, monitor=monitor)


@pytest.mark.parametrize(
    ("losses", "patience", "epochs", "best"),
    [
        ([1.0, 0.8, 0.9, 0.8], 2, 4, 2),  # a tie is not better
        ([1.0, 0.8, 0.9, 0.7, 0.8, 0.9], 2, 6, 4),  # a better one starts the count again
        ([1.0, 1.1], 1, 2, 1),
        ([0.5, 0.6, 0.7, 0.8], 3, 4, 1),
        ([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1], 1, 9, 9),  # never
        ([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.3], 2, 9, 8),  # too late to stop, yet the best comes back
    ],
    ids=plain,
)
def test_patience_counts_and_the_best_epoch_comes_back(monkeypatch, losses, patience, epochs, best):
    script = Script(losses)
    monkeypatch.setattr(tlx.training.phase, "evaluated", script)
    done = train((stopping(patience),))
    (phase,) = done.phases
    assert (len(script.seen), phase.epochs, phase.steps) == (epochs, epochs, 3 * epochs)
    assert (phase.best_epoch, phase.val_loss, phase.stopped_early) == (best, losses[best - 1], epochs < 9)
    assert_same_bits(done.variables, script.seen[best - 1])
    if best < epochs:
        assert bits(script.seen[-1]["batch_stats"]["base"]["stem"]["norm"]["mean"]) != bits(
            done.variables["batch_stats"]["base"]["stem"]["norm"]["mean"]
        )


def test_accuracy_can_be_watched_instead(monkeypatch):
    script = Script([0.1, 0.2, 0.3, 0.4], [0.5, 0.7, 0.7, 0.6])
    monkeypatch.setattr(tlx.training.phase, "evaluated", script)
    done = train((stopping(2, monitor="val_accuracy"),))
    assert (done.phases[0].best_epoch, done.phases[0].epochs, done.phases[0].val_accuracy) == (2, 4, 0.7)
    assert_same_bits(done.variables, script.seen[1])


def steps_by_path(memory):
    return {path: int(memory.shared[name]["ScaleByAdamState.count"]) for path, name in memory.cohorts.items()}


@pytest.mark.slow
def test_the_next_phase_goes_on_from_the_best_epoch_and_its_memory(monkeypatch):
    script = Script([1.0, 0.8, 0.9, 0.95, 1.0])
    handed = []

    def install(opt_state, params, cohorts, memory, step):
        handed.append((steps_by_path(memory), {path: each.origin for each in cohorts for path in each.paths}))
        return tlx.optim.install(opt_state, params, cohorts, memory, step)

    monkeypatch.setattr(tlx.training.phase, "evaluated", script)
    monkeypatch.setattr(tlx.training.phase, "install", install)
    done = train((stopping(2, rules=HEAD), Phase("on", 1, BLOCK, {"base": FAST, "head": FAST})), PLAIN)
    assert done.phases[0].best_epoch == 2
    steps, origins = handed[1]
    assert steps == {"head/logits/kernel": 2 * 3, "head/logits/bias": 2 * 3}
    assert {origin for path, origin in origins.items() if path.startswith("base")} == {None}


@pytest.mark.slow
@pytest.mark.parametrize(
    "second", [pytest.param([0.9, 0.95], marks=pytest.mark.slow), [0.8, 0.81]], ids=["worse", "no better"]
)
def test_a_phase_that_betters_nothing_leaves_what_it_was_given(monkeypatch, tmp_path, second):
    losses = [1.0, 0.8, 0.9, 0.95, *second, 0.5]
    last = Phase("last", 1, BLOCK, {"base": FAST, "head": FAST})
    recipe = (stopping(2, rules=HEAD), stopping(2, rules=BLOCK), last)
    handed = []

    def install(opt_state, params, cohorts, memory, step):
        handed.append((steps_by_path(memory), {path: each.origin for each in cohorts for path in each.paths}))
        return tlx.optim.install(opt_state, params, cohorts, memory, step)

    script = Script(losses)
    monkeypatch.setattr(tlx.training.phase, "evaluated", script)
    monkeypatch.setattr(tlx.training.phase, "install", install)
    done = train(recipe, PLAIN)
    assert [phase.best_epoch for phase in done.phases] == [2, 0, None]
    assert [phase.epochs for phase in done.phases] == [4, 2, 1]
    assert done.phases[1].val_loss == 0.8
    # The last phase begins as the second did: the head as epoch 2 left it, the base as if it had never trained
    assert handed[2] == handed[1]
    assert handed[2][0] == {"head/logits/kernel": 6, "head/logits/bias": 6}

    resumed = Script(losses[5:])
    monkeypatch.setattr(tlx.training.phase, "evaluated", Script(losses[:5]))
    checkpoints = Checkpoints(tmp_path / "checkpoints", steps=1)
    with pytest.raises(IndexError):  # the script has no more
        train(recipe, PLAIN, checkpoints=checkpoints)
    monkeypatch.setattr(tlx.training.phase, "evaluated", resumed)
    again = train(recipe, PLAIN, checkpoints=checkpoints)
    checkpoints.close()
    assert_same_bits(again.variables, done.variables)


# Resume


@pytest.mark.parametrize("epoch", slow_but("1", "2", of=[1, 2, 3, 4]))
def test_a_fit_stopped_in_any_epoch_goes_on_to_the_same_bits(three, tmp_path, epoch):
    whole, log = three
    first, second = Recorder(stop_at=epoch), Recorder()
    for recorder in (first, second):
        checkpoints = Checkpoints(tmp_path / "checkpoints", steps=1)
        try:
            done = train(THREE, callbacks=[recorder], checkpoints=checkpoints)
        except Stopped:
            assert recorder is first
        finally:
            checkpoints.close()
    assert_same_bits(done.variables, whole.variables)
    assert timeless(done.phases) == timeless(whole.phases)
    assert timeless(first.records + second.records) == timeless(log.records)
    if epoch == 3:
        assert second.phases[0] == ("block", 2, 6, 5)  # all but its last step and validation were done before


def test_a_fit_stopped_between_two_steps_goes_on_to_the_same_bits(three, tmp_path):
    whole, _ = three
    for recorder in (Recorder(stop_at_step=8), Recorder()):
        checkpoints = Checkpoints(tmp_path / "checkpoints", steps=1)
        try:
            done = train(THREE, callbacks=[recorder], checkpoints=checkpoints)
        except Stopped:
            pass
        finally:
            checkpoints.close()
    assert_same_bits(done.variables, whole.variables)


RICH = (
    Phase("head", 2, HEAD, {"head": FAST}),  # a head on activations: its epochs are calls of the device
    Phase("block", 2, BLOCK, {"head": FAST, "base": Group(Cosine(0.01, warmup=3), AdamW(), 0.01, 1.0)}, patience=2),
    Phase("last", 1, ALL, {"all": FAST}, fresh=("head/logits",)),
)


@pytest.mark.slow
def test_a_fit_stopped_after_any_step_goes_on_to_the_same_bits(monkeypatch, tmp_path):
    """Asked are all steps, and the validation before each of its batches: in each place a run stops and goes on."""
    monkeypatch.setattr(tlx.training.resident, "PIECE", 1)
    log, questions = Recorder(), StopAt(0)
    options = {"augment": Augment(flip=True), "cache": ActivationCache(views=2), "ema": 0.9}
    whole = train(RICH, callbacks=[log], stop=questions, **options)
    assert questions.asked > 15 + 10  # steps, batches
    for question in range(1, questions.asked + 1):
        directory, records = tmp_path / str(question), []
        for stop in (StopAt(question), StopAt(0)):
            recorder, checkpoints = Recorder(), Checkpoints(directory, steps=1000)
            try:
                done = train(RICH, callbacks=[recorder], checkpoints=checkpoints, stop=stop, **options)
            except StoppedError:
                assert stop.asked == question
            finally:
                checkpoints.close()
            records += recorder.records
        assert_same_bits(done.variables, whole.variables)
        assert timeless(done.phases) == timeless(whole.phases)
        assert timeless(records) == timeless(log.records)


def test_a_fit_without_checkpoints_stops_too():
    with pytest.raises(StoppedError, match="stopped on request"):
        train(THREE, stop=lambda: True)


@pytest.mark.slow
def test_the_optimizers_arrays_are_saved_while_steps_go_on(three, tmp_path):
    """Every step is saved, and each such checkpoint, alone, leads to the same end."""
    whole, _ = three
    kept = tmp_path / "kept"
    own = Checkpoints.save

    class Keeping(Checkpoints):
        def save(self, snapshot, donated=None):
            own(self, snapshot, donated)
            self.wait()
            for entry in self.directory.iterdir():
                if not (kept / entry.name).exists():
                    shutil.copytree(entry, kept / entry.name / entry.name)

    checkpoints = Keeping(tmp_path / "checkpoints", steps=1)
    train(THREE, checkpoints=checkpoints)
    checkpoints.close()
    assert len(list(kept.iterdir())) == 12
    for directory in kept.iterdir():
        checkpoints = Checkpoints(directory, steps=1000)
        done = train(THREE, checkpoints=checkpoints)
        checkpoints.close()
        assert_same_bits(done.variables, whole.variables)
        assert timeless(done.phases) == timeless(whole.phases)


def stopped_at(question, tmp_path, recipe=THREE, **options):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    with pytest.raises(StoppedError):
        train(recipe, checkpoints=checkpoints, stop=StopAt(question), cache=ActivationCache("off"), **options)
    return checkpoints


@pytest.mark.slow
def test_a_phase_that_is_no_more_is_refused(tmp_path):
    checkpoints = stopped_at(7, tmp_path)
    with pytest.raises(CheckpointError, match="of phase 2 and the recipe has 1"):
        train(THREE[:1], checkpoints=checkpoints)
    checkpoints.close()


@pytest.mark.slow
def test_a_changed_phase_begins_its_epoch_anew(tmp_path):
    checkpoints = stopped_at(7, tmp_path)  # three steps and two batches of validation, and two steps
    assert (checkpoints.latest().phase, checkpoints.latest().batch) == (1, 2)
    log = Recorder()
    train(THREE, checkpoints=checkpoints, callbacks=[log], batch_size=6)
    assert [record["step"] for record in log.records] == [2 + 2, 2 + 4, 2]
    checkpoints.close()


@pytest.mark.slow
def test_a_phase_cut_short_of_the_epoch_it_is_in_is_refused(tmp_path):
    checkpoints = stopped_at(3 + 2 + 3 + 2 + 1, tmp_path)
    assert (checkpoints.latest().phase, checkpoints.latest().epoch, checkpoints.latest().batch) == (1, 1, 1)
    with pytest.raises(CheckpointError, match="the checkpoint is of epoch 2, and now it has 1"):
        train((THREE[0], replace(THREE[1], epochs=1, groups=THREE[2].groups), THREE[2]), checkpoints=checkpoints)
    checkpoints.close()


def test_checkpoints_of_another_model_are_refused(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(Snapshot({"params": {"head": {"logits": {"bias": jnp.zeros(3)}}}}))
    with pytest.raises(CheckpointError, match=r"of another model \(batch_stats/.*: None -> .*and \d+ more\)"):
        train(THREE, checkpoints=checkpoints)
    checkpoints.close()


def test_a_damaged_checkpoint_costs_a_step_and_no_more(three, tmp_path):
    whole, _ = three
    for recorder in (Recorder(stop_at=4), Recorder()):
        checkpoints = Checkpoints(tmp_path / "checkpoints", steps=1)
        try:
            done = train(THREE, callbacks=[recorder], checkpoints=checkpoints)
        except Stopped:
            checkpoints.wait()
            last = max((tmp_path / "checkpoints").iterdir(), key=lambda entry: int(entry.name))
            (last / "progress.json").write_text("{}")
        finally:
            checkpoints.close()
    assert [record["epoch"] for record in recorder.records] == [4]
    assert_same_bits(done.variables, whole.variables)


@pytest.mark.slow
@pytest.mark.parametrize("epoch", slow_but("4", of=[3, 4, 5]))
def test_early_stopping_goes_on_where_it_was(monkeypatch, tmp_path, epoch):
    losses = [1.0, 0.8, 0.9, 0.95, 1.0, 0.5]  # best of the first phase: 2, stopped after 4
    recipe = (stopping(2, rules=HEAD), Phase("last", 2, ALL, {"all": FAST}))
    monkeypatch.setattr(tlx.training.phase, "evaluated", Script(losses))
    whole = train(recipe)
    assert [(p.epochs, p.best_epoch) for p in whole.phases] == [(4, 2), (2, None)]
    first = Recorder(stop_at=epoch)
    for recorder, script in ((first, Script(losses)), (Recorder(), Script(losses[epoch - 1 :]))):
        monkeypatch.setattr(tlx.training.phase, "evaluated", script)
        checkpoints = Checkpoints(tmp_path / "checkpoints", steps=1)
        try:
            done = train(recipe, callbacks=[recorder], checkpoints=checkpoints)
        except Stopped:
            assert recorder is first
        finally:
            checkpoints.close()
    assert_same_bits(done.variables, whole.variables)
    assert timeless(done.phases) == timeless(whole.phases)


def test_a_finished_fit_is_not_trained_again(tmp_path):
    for steps in (3, 0):
        log, checkpoints = Recorder(), Checkpoints(tmp_path / "checkpoints", every=1e9)
        done = train((Phase("all", 1, ALL, {"all": FAST}),), PLAIN, callbacks=[log], checkpoints=checkpoints)
        checkpoints.close()
        assert log.taken == steps
        if steps:
            first = done
    assert_same_bits(done.variables, first.variables)
    assert timeless(done.phases) == timeless(first.phases)


# Divergence


HUGE = Group(Constant(1e30), Sgd(0.0))


def test_divergence_names_phase_and_step_and_the_last_good_checkpoint_stays(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints", steps=1)
    recipe = (*THREE[:1], Phase("wild", 3, ALL, {"all": HUGE}))
    with pytest.raises(DivergedError, match=r"'wild', step [12]: the loss is not finite.*lower the learn") as stop:
        train(recipe, checkpoints=checkpoints)
    assert stop.value.exit_code == 9
    checkpoints.close()
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    good = checkpoints.latest()
    checkpoints.close()
    assert (good.phase, good.step) == (1, 1)  # one step of it was not wild yet
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(good.variables))


@pytest.mark.slow
def test_a_parameter_that_overflows_is_divergence_though_the_loss_was_finite():
    wild = Phase("wild", 1, ALL, {"all": Group(Constant(3e38), Sgd(0.0))})
    start = jax.tree.map(lambda leaf: leaf * 100, PLAIN.variables())
    with pytest.raises(DivergedError, match="phase 'wild', step 0: a trained parameter is no longer finite"):
        train((wild,), PLAIN, start, batch_size=12)


def test_a_validation_loss_that_is_not_finite_is_divergence(monkeypatch):
    monkeypatch.setattr(tlx.training.phase, "evaluated", Script([0.5, math.nan]))
    with pytest.raises(DivergedError, match="phase 'all', step 5: the validation loss is nan"):
        train((Phase("all", 3, ALL, {"all": FAST}),), PLAIN)


@pytest.mark.slow
def test_divergence_is_seen_before_the_epoch_ends(monkeypatch):
    monkeypatch.setattr(tlx.training.phase, "CHECK_EVERY", 3)
    log = Recorder()
    with pytest.raises(DivergedError):
        train((Phase("wild", 1, ALL, {"all": HUGE}),), batch_size=2, callbacks=[log])
    assert log.taken == 5  # the sixth is the second look, for what the first one saw


# What does not fit is refused before the first step


def test_without_validation_no_phase_stops_early():
    for none in (None, Subset(TRAIN, [])):
        (phase,) = train((stopping(1, epochs=3),), PLAIN, validation=none).phases
        assert (phase.epochs, phase.stopped_early, phase.best_epoch) == (3, False, None)


def test_without_validation_there_are_no_scores():
    for none in (None, Subset(TRAIN, [])):
        log = Recorder()
        (phase,) = train((Phase("all", 1, ALL, {"all": FAST}),), PLAIN, validation=none, callbacks=[log]).phases
        assert (phase.val_loss, phase.val_accuracy) == (None, None)
        assert (log.records[0]["val_loss"], log.records[0]["val_accuracy"]) == (None, None)


GOOD = Phase("good", 1, ALL, {"all": FAST})


@pytest.mark.parametrize(
    ("phase", "options", "message"),
    [
        (stopping(1, monitor="val_f1"), {}, "monitor 'val_f1' is no metric of Classification: choose .*val_accuracy"),
        (Phase("bad", 1, (("base", "b"),), {"b": FAST}), {}, "no rule labels 'head/"),
        (Phase("bad", 1, ALL, {"b": FAST}), {}, "without a group 'all', without a leaf 'b'"),
        (Phase("bad", 1, ALL, {"all": FAST}, fresh=("base/x",)), {}, "nothing is selected by 'base/x'"),
        (Phase("bad", 1, ALL, {"all": Group(Cosine(0.1, warmup=3))}), {}, "warm-up of 3 steps does not fit"),
        (GOOD, {"batch_size": 0}, "batch_size: 0"),
        (GOOD, {"objective": Classification(class_weights=(1.0, 2.0))}, "2 class weights for 3 classes"),
    ],
    ids=plain,
)
def test_a_fault_of_a_later_phase_is_found_before_the_first_step(phase, options, message):
    log = Recorder()
    with pytest.raises(ConfigError, match=message):
        train((GOOD, phase), callbacks=[log], **options)
    assert log.taken == 0


def test_more_classes_than_outputs_are_refused():
    source = toy_source(8, classes=3)
    source.classes = ("a", "b", "c", "d")
    with pytest.raises(ConfigError, match="the data have 4 classes and the model 3"):
        train((GOOD,), train=source)


def test_nothing_to_train_on_is_refused():
    with pytest.raises(DataError, match="no examples to train on"):
        train((GOOD,), train=Subset(TRAIN, []))


@pytest.mark.slow
def test_arrays_of_jax_and_of_numpy_train_alike():
    recipe = (Phase("all", 1, ALL, {"all": FAST}),)
    plain = jax.tree.map(np.asarray, PLAIN.variables())
    assert_same_bits(
        train(recipe, PLAIN, plain).variables, train(recipe, PLAIN, jax.tree.map(jnp.asarray, plain)).variables
    )


# Feeding


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits_whatever_the_number_of_threads():
    options = {"augment": Augment(flip=True, rotate=30, erase=0.5), "mix": Mixup(0.4, 1.0), "balanced": True}
    logs = [Recorder() for _ in range(3)]
    runs = [
        train(THREE, train=UNEVEN, callbacks=[log], workers=workers, **options)
        for log, workers in zip(logs, (0, 1, 3), strict=True)
    ]
    for run, log in zip(runs[1:], logs[1:], strict=True):
        assert_same_bits(run.variables, runs[0].variables)
        assert timeless(log.records) == timeless(logs[0].records)
    plain = train(THREE, train=UNEVEN)
    for name in options:
        varied = train(THREE, train=UNEVEN, **{name: options[name]})
        assert bits(varied.variables["params"]["head"]["logits"]["kernel"]) != bits(
            plain.variables["params"]["head"]["logits"]["kernel"]
        )
