"""A checkpoint gives back what was saved, or is refused."""

import concurrent.futures
import dataclasses
import json
import os
import shutil
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import ODD_NAN, assert_same_bits, assert_same_memory, plant
from toys import PLAIN

import tlx
from tlx.errors import CheckpointError, StorageError
from tlx.files.checksums import write_manifest
from tlx.optim import Memory
from tlx.training.checkpoint import Checkpoints
from tlx.training.snapshot import FORMAT, Best, Snapshot
from tlx.tree import flatten


def snapshot(**changes):
    """A snapshot with everything in it, in a leaf larger than what Orbax stores beside its index."""
    variables = PLAIN.variables()
    variables["params"]["head"]["logits"]["bias"] = plant(variables["params"]["head"]["logits"]["bias"], ODD_NAN)
    variables["params"]["base"]["wide"] = jnp.asarray(np.random.default_rng(0).normal(size=2000), jnp.float32)
    head = {path: leaf for path, leaf in flatten(variables["params"]).items() if path.startswith("head/")}
    memory = Memory(
        leaves={path: {"0.State.mu": leaf * 2, "1./%": leaf.sum()} for path, leaf in head.items()},
        shared={"0:a/b@0": {"0.State.count": jnp.int32(7)}},
        cohorts=dict.fromkeys(head, "0:a/b@0"),
        sizes={"0:a/b@0": len(head)},
        shapes={path: leaf.shape for path, leaf in head.items()},
    )
    best = Best(1, 3, {"val_loss": 0.5, "val_accuracy": 0.25}, head, variables["batch_stats"], memory)
    whole = {
        "variables": variables,
        "memory": memory,
        "phase": 1,
        "epoch": 2,
        "step": 6,
        "batch": 2,
        "totals": {"sums": {"loss": [0.1 + 0.2, 8.0], "accuracy": [3, 8]}, "bad_step": 2**31 - 1},
        "key": (0, 2**32 - 1),
        "scores": {"val_loss": 0.1 + 0.2, "val_accuracy": None},
        "best": best,
        "records": ({"name": "head", "seconds": 0.125},),
        "sha256": "abc",
        "plan": "[1, 2]",
        "seconds": 1.5,
    }
    return Snapshot(**{**whole, **changes})


def assert_same(one, other):
    assert_same_bits(one.variables, other.variables)
    assert_same_memory(one.memory, other.memory)
    for name in ("phase", "epoch", "step", "batch", "totals", "key", "scores", "sha256", "seconds"):
        assert getattr(one, name) == getattr(other, name)
    assert (one.records, one.plan) == (other.records, other.plan)
    assert (one.best is None) == (other.best is None)
    if one.best is not None:
        assert_same_bits(one.best.params, other.best.params)
        assert_same_bits(one.best.batch_stats, other.best.batch_stats)
        assert_same_memory(one.best.memory, other.best.memory)
        for name in ("epoch", "step", "scores"):
            assert getattr(one.best, name) == getattr(other.best, name)


def read(directory):
    checkpoints = Checkpoints(directory)
    try:
        return checkpoints.latest()
    finally:
        checkpoints.close()


def write(directory, *epochs, **changes):
    checkpoints = Checkpoints(directory)
    for epoch in epochs:
        checkpoints.save(snapshot(epoch=epoch, **changes))
    checkpoints.close()


def names(directory):
    return sorted(entry.name for entry in directory.iterdir())


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A directory of the checkpoints 1 and 2."""
    directory = tmp_path_factory.mktemp("two") / "checkpoints"
    write(directory, 1, 2)
    return directory


@pytest.fixture
def copy(two, tmp_path):
    return shutil.copytree(two, tmp_path / "copy")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"best": None},
        {"memory": Memory()},
        {"best": None, "memory": Memory(), "records": (), "sha256": None, "scores": {}},
        {"variables": {"params": PLAIN.variables()["params"]}},
    ],
    ids=["everything", "no best", "no memory", "bare", "no statistics"],
)
def test_what_is_read_is_what_was_saved(tmp_path, changes):
    write(tmp_path / "checkpoints", 2, **changes)
    assert_same(read(tmp_path / "checkpoints"), snapshot(**changes))


def test_the_last_two_are_kept_and_the_last_is_read(tmp_path):
    write(tmp_path / "checkpoints", 1, 5, 9)
    assert names(tmp_path / "checkpoints") == ["2", "3"]
    assert read(tmp_path / "checkpoints").epoch == 9


def test_an_empty_directory_has_no_checkpoint(tmp_path):
    assert read(tmp_path / "checkpoints") is None


def test_one_is_due_after_a_while(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("tlx.training.checkpoint.time.monotonic", lambda: clock[0])
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    due = []
    for clock[0] in (0.0, 9.9, 10.0, 11.0):
        due.append(checkpoints.due(1))
    checkpoints.save(snapshot())
    due.append(checkpoints.due(1))
    checkpoints.wait()
    clock[0] = 21.0
    due.append(checkpoints.due(1))
    checkpoints.close()
    assert due == [False, False, True, True, False, True]


@pytest.mark.parametrize(("every", "expected"), [(None, [False, False, True]), (12.0, [True, True, True])])
def test_slow_saving_is_done_more_rarely_unless_told_how_often(tmp_path, monkeypatch, every, expected):
    clock = [0.0]
    monkeypatch.setattr("tlx.training.checkpoint.time.monotonic", lambda: clock[0])
    own = tlx.training.checkpoint.write_manifest

    def slowly(directory):
        own(directory)
        clock[0] += 3.0

    monkeypatch.setattr("tlx.training.checkpoint.write_manifest", slowly)
    checkpoints = Checkpoints(tmp_path / "checkpoints", every)
    checkpoints.save(snapshot())
    checkpoints.wait()
    due = []
    for clock[0] in (12.0, 149.0, 150.0):
        due.append(checkpoints.due(1))
    checkpoints.close()
    assert due == expected


def test_or_after_so_many_steps(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints", every=0, steps=3)
    due = [checkpoints.due(1), checkpoints.due(1), checkpoints.due(0), checkpoints.due(1), checkpoints.due(5)]
    checkpoints.save(snapshot())
    due.append(checkpoints.due(2))
    checkpoints.close()
    assert due == [False, False, False, True, True, False]


@pytest.mark.parametrize("name", ["notes", "3.orbax-checkpoint-tmp", ".next.partial", "-1", "3"])
def test_foreign_and_empty_folders_are_ignored(copy, name, caplog):
    (copy / name).mkdir()
    assert_same(read(copy), snapshot(epoch=2))
    assert not caplog.records


def test_what_a_killed_process_left_goes_and_nothing_else(copy):
    for name in (".next.partial", "notes"):
        (copy / name).mkdir()
        (copy / name / "file").touch()
    write(copy, 3)
    assert names(copy) == ["2", "3", "notes"]


def files_of(directory):
    return sorted(path.relative_to(directory) for path in (directory / "2").rglob("*") if path.is_file())


def assert_passed_over(directory, caplog):
    """Read a directory whose checkpoint 2 is damaged: 1 is taken, with a line about the other."""
    caplog.clear()
    assert_same(read(directory), snapshot(epoch=1))
    (warning,) = (record.getMessage() for record in caplog.records if record.name == "tlx")
    assert warning.startswith(f"tlx: {directory / '2'}: the checkpoint is damaged (")
    assert "\n" not in warning


@pytest.mark.slow
def test_no_flipped_bit_is_loaded(two, copy, caplog):
    draw = np.random.default_rng(0)
    for file in files_of(two):
        sound = (two / file).read_bytes()
        for place in draw.integers(0, len(sound), 10) if sound else []:
            spoilt = bytearray(sound)
            spoilt[place] ^= 1 << draw.integers(8)
            (copy / file).write_bytes(spoilt)
            assert_passed_over(copy, caplog)
        (copy / file).write_bytes(sound)


@pytest.mark.parametrize("way", ["removed", "cut", "longer"])
def test_a_file_that_is_missing_or_of_another_length_is_noticed(two, copy, caplog, way):
    for file in files_of(two):
        sound = (two / file).read_bytes()
        if way == "cut" and not sound:
            continue
        if way == "removed":
            (copy / file).unlink()
        else:
            (copy / file).write_bytes(sound[: len(sound) // 2] if way == "cut" else sound + b"x")
        assert_passed_over(copy, caplog)
        (copy / file).write_bytes(sound)


def test_where_all_are_damaged_none_is_read_and_none_removed(copy):
    for number in ("1", "2"):
        shutil.rmtree(copy / number / "arrays")
    with pytest.raises(CheckpointError, match="the checkpoint is damaged") as stop:
        read(copy)
    assert stop.value.exit_code == 5
    assert names(copy) == ["1", "2"]


def rewritten(where, *left_out, **changes):
    """Change what a checkpoint says of itself, as whoever wrote it might have."""
    plain = {**json.loads((where / "progress.json").read_text()), **changes}
    kept = {key: value for key, value in plain.items() if key not in left_out}
    (where / "progress.json").write_text(json.dumps(kept))
    (where / "manifest.json").unlink()
    write_manifest(where)


def test_one_of_another_run_is_refused_by_both_names_and_none_taken_in_its_place(copy):
    rewritten(copy / "2", run="theirs/checkpoints", directory="/somewhere/else")
    fault = "2: a checkpoint of another run, theirs/checkpoints, written in /somewhere/else, and this run is ours/check"
    with pytest.raises(CheckpointError, match=fault) as stop:
        Checkpoints(copy, run="ours/checkpoints").latest()
    assert stop.value.exit_code == 5
    assert names(copy) == ["1", "2"]
    assert Checkpoints(copy, run="theirs/checkpoints").latest().epoch == 2
    assert Checkpoints(copy).latest().epoch == 2  # who names no run is told of none


@pytest.mark.parametrize(
    ("own", "epoch"),
    [({}, None), ({"1"}, None), ({"2"}, 2), ({"1", "2"}, 2)],
    ids=["none", "the last is not", "the one before is not", "all"],
)
def test_whatever_is_of_another_run_is_not_gone_on_from(copy, own, epoch):
    for number in ("1", "2"):
        rewritten(copy / number, run="ours" if number in own else "theirs")
    checkpoints = Checkpoints(copy, run="ours")
    if epoch is None:
        with pytest.raises(CheckpointError, match="2: a checkpoint of another run, theirs"):
            checkpoints.latest()
    else:
        assert checkpoints.latest().epoch == epoch


def test_one_of_another_run_is_not_taken_for_one_s_own_that_is_damaged(copy):
    rewritten(copy / "1", run="theirs")
    rewritten(copy / "2", run="ours")
    shutil.rmtree(copy / "2" / "arrays")
    with pytest.raises(CheckpointError, match="1: a checkpoint of another run, theirs"):
        Checkpoints(copy, run="ours").latest()


def test_the_best_epoch_of_a_model_without_batch_norms_comes_back(tmp_path):
    best = dataclasses.replace(snapshot().best, batch_stats={})
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(snapshot(best=best))
    assert checkpoints.latest().best.batch_stats == {}
    checkpoints.close()


def test_its_own_run_reads_what_it_saved(tmp_path):
    for epoch in (1, 2):
        checkpoints = Checkpoints(tmp_path / "checkpoints", run="ours")
        before = checkpoints.latest()
        assert (before and before.epoch) == (None if epoch == 1 else 1)
        checkpoints.save(snapshot(epoch=epoch))
        checkpoints.close()


def test_a_newer_format_is_refused_by_its_number(copy):
    rewritten(copy / "2", format=99)
    with pytest.raises(CheckpointError, match="2: a checkpoint of format 99, and this version of tlx reads formats up"):
        read(copy)


def test_an_older_format_is_read_and_its_epoch_begins_anew(copy):
    plain = json.loads((copy / "2" / "progress.json").read_text())
    (loss, examples), (correct, _) = (plain["totals"]["sums"][name] for name in ("loss", "accuracy"))
    totals = [loss, correct, examples, plain["totals"]["bad_step"]]
    best = {key: value for key, value in (plain["best"] | plain["best"]["scores"]).items() if key != "scores"}
    rewritten(copy / "2", "format", "history", "scores", totals=totals, best=best, **plain["scores"])
    found = read(copy)
    assert (found.totals, found.scores) == (snapshot().totals, snapshot().scores)
    assert found.best.scores == snapshot().best.scores
    assert (found.epoch, found.history) == (2, ())
    assert found.plan != snapshot().plan


def test_a_digit_of_the_format_that_flipped_is_damage(copy, caplog):
    text = (copy / "2" / "progress.json").read_text()
    assert f'"format": {FORMAT}' in text
    (copy / "2" / "progress.json").write_text(text.replace(f'"format": {FORMAT}', '"format": 6'))
    assert_passed_over(copy, caplog)


def test_a_damaged_one_goes_when_the_next_is_saved(copy):
    (copy / "2" / "manifest.json").write_text("{}")
    checkpoints = Checkpoints(copy)
    assert checkpoints.latest().epoch == 1
    assert names(copy) == ["1", "2"]
    checkpoints.save(snapshot(epoch=2))
    checkpoints.close()
    assert names(copy) == ["1", "3"]
    assert_same(read(copy), snapshot(epoch=2))


def test_what_cannot_be_read_is_not_damaged(copy, monkeypatch):
    def fail(directory):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("tlx.training.checkpoint.check_manifest", fail)
    with pytest.raises(StorageError, match=r"2: cannot be read \(Input/output error"):
        read(copy)
    assert names(copy) == ["1", "2"]


def test_what_is_not_read_as_it_was_written_is_a_storage_error(copy, monkeypatch):
    def fail(directory):
        raise ValueError("progress.json is not what was saved")

    checkpoints = Checkpoints(copy)
    monkeypatch.setattr("tlx.training.checkpoint.check_manifest", fail)
    checkpoints.save(snapshot(epoch=3))
    with pytest.raises(StorageError, match=r"what was written is not what can be read \(progress.json is not"):
        checkpoints.close()
    assert names(copy) == ["1", "2"]


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="nothing tells this system to forget a file")
def test_it_is_read_back_from_the_disk(tmp_path, monkeypatch):
    """The system forgets every file before it is compared with the manifest."""
    forgotten, compared = set(), []
    monkeypatch.setattr(os, "posix_fadvise", lambda file, *_: forgotten.add(os.fstat(file).st_ino))

    def compare(directory):
        files = {entry.stat().st_ino for entry in directory.rglob("*") if entry.is_file()}
        compared.append(len(files) > 3 and files <= forgotten)

    monkeypatch.setattr("tlx.training.checkpoint.check_manifest", compare)
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(snapshot(epoch=1))
    checkpoints.close()
    assert compared == [True]


@pytest.mark.parametrize("where", ["write_manifest", "check_manifest", "sync"])
def test_the_last_good_one_stays_until_the_next_is_proven(copy, monkeypatch, where):
    """Fail at each step of saving: the two that were there are there, and no half of a third."""

    def fail(path):
        raise OSError(5, "Input/output error")

    checkpoints = Checkpoints(copy)
    with monkeypatch.context() as patch:
        patch.setattr(f"tlx.training.checkpoint.{where}", fail)
        checkpoints.save(snapshot(epoch=3))
        with pytest.raises(StorageError, match="Input/output error"):
            checkpoints.wait()
    checkpoints.close()
    assert {"1", "2"} <= set(names(copy)) <= {"1", "2", "3"}  # 3 is whole, though its name may not be on the disk
    assert read(copy).epoch == (3 if where == "sync" else 2)


def test_what_the_next_step_takes_is_copied_before(tmp_path, monkeypatch):
    """Saving waits in its thread while the arrays change."""
    wait = threading.Event()
    own = Checkpoints._write
    monkeypatch.setattr(Checkpoints, "_write", lambda *given: wait.wait(60) and own(*given))
    value = jnp.arange(3.0)
    variables = {"params": {"head": {"bias": value, "kernel": jnp.ones(2)}}}
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(Snapshot(variables), donated={"params": {"bias": value}})
    jax.jit(lambda x: x + 1, donate_argnums=0)(value).block_until_ready()
    assert value.is_deleted()
    wait.set()
    checkpoints.close()
    assert read(tmp_path / "checkpoints").variables["params"]["head"]["bias"].tolist() == [0.0, 1.0, 2.0]


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot be written") as stop:
        Checkpoints(tmp_path / "file" / "checkpoints")
    assert stop.value.exit_code == 6


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (ValueError("RESOURCE_EXHAUSTED: Error writing \"a\" [os_error_code='28']"), "No space left on device"),
        (ValueError("OUT_OF_RANGE: Failed to write 9 bytes [os_error_code='27']"), "File too large"),
    ],
    ids=str,
)
def test_a_full_disk_is_a_storage_error(tmp_path, monkeypatch, error, reason):
    checkpoints = Checkpoints(tmp_path / "checkpoints")

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr("orbax.checkpoint.Checkpointer.save", fail)
    checkpoints.save(snapshot())
    with pytest.raises(StorageError, match=rf"checkpoints: a checkpoint cannot be written \({reason}\)"):
        checkpoints.wait()
    checkpoints.close()
    assert not names(tmp_path / "checkpoints")


def test_a_fault_is_told_of_at_the_next_look(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path / "checkpoints", steps=1000)

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("orbax.checkpoint.Checkpointer.save", fail)
    checkpoints.save(snapshot())
    concurrent.futures.wait([checkpoints._saving])
    with pytest.raises(StorageError, match="No space left"):
        checkpoints.due(0)
    checkpoints.close()


def test_another_fault_is_not_taken_for_a_full_disk(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path / "checkpoints")

    def fail(*args, **kwargs):
        raise ValueError("a mistake of ours")

    monkeypatch.setattr("orbax.checkpoint.Checkpointer.save", fail)
    checkpoints.save(snapshot())
    with pytest.raises(ValueError, match="a mistake of ours") as stop:
        checkpoints.close()
    assert not isinstance(stop.value, StorageError)


def test_what_is_read_can_be_trained_on(tmp_path):
    """Restored arrays are whole, on a device, and of their own type."""
    write(tmp_path / "checkpoints", 1)
    found = read(tmp_path / "checkpoints")
    assert all(isinstance(leaf, jax.Array) and leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(found.variables))


def test_what_is_empty_comes_back_empty(tmp_path):
    """A model without batch norms has no statistics to keep with its best epoch."""
    cohort, shapes = {"head/bias": "0:head@0"}, {"head/bias": (3,)}
    memory = Memory({"head/bias": {"mu": jnp.ones(3)}}, {"0:head@0": {}}, cohort, {"0:head@0": 1}, shapes)
    best = Best(1, 2, {"val_loss": 0.1}, {"head/bias": jnp.ones(3)}, {}, memory)
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for snapshot in (Snapshot({"params": {"bias": jnp.ones(3)}}), Snapshot({"params": {}}, memory, best=best)):
        checkpoints.save(snapshot)
        found = checkpoints.latest()
        assert_same_memory(found.memory, snapshot.memory)
        assert found.best is None or found.best.batch_stats == {}
    checkpoints.close()
