"""A checkpoint gives back what was saved, or is refused."""

import gc
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import ODD_NAN, assert_same_bits, plant
from toys import PLAIN

from tlx.errors import CheckpointError, StorageError
from tlx.training.checkpoint import Best, Checkpoints, Snapshot
from tlx.tree import flatten


def snapshot(**changes):
    """A snapshot with everything in it, in a leaf larger than what Orbax stores beside its index."""
    variables = PLAIN.variables()
    variables["params"]["head"]["logits"]["bias"] = plant(variables["params"]["head"]["logits"]["bias"], ODD_NAN)
    variables["params"]["base"]["wide"] = jnp.asarray(np.random.default_rng(0).normal(size=2000), jnp.float32)
    head = {path: leaf for path, leaf in flatten(variables["params"]).items() if path.startswith("head/")}
    memory = {path: {"age": 7, "mu": leaf * 2, "nu": leaf * 3} for path, leaf in head.items()}
    best = Best(1, 3, 0.5, 0.25, head, variables["batch_stats"], memory)
    whole = {
        "variables": variables,
        "memory": memory,
        "phase": 1,
        "epoch": 2,
        "step": 6,
        "val_loss": 0.1 + 0.2,
        "val_accuracy": None,
        "best": best,
        "records": ({"name": "head", "seconds": 0.125},),
        "sha256": "abc",
        "seconds": 1.5,
    }
    return Snapshot(**{**whole, **changes})


def assert_same(one, other):
    assert_same_bits(one.variables, other.variables)
    assert_same_memory(one.memory, other.memory)
    for name in ("phase", "epoch", "step", "val_loss", "val_accuracy", "sha256", "seconds"):
        assert getattr(one, name) == getattr(other, name)
    assert list(one.records) == list(other.records)
    assert (one.best is None) == (other.best is None)
    if one.best is not None:
        assert_same_bits(one.best.params, other.best.params)
        assert_same_bits(one.best.batch_stats, other.best.batch_stats)
        assert_same_memory(one.best.memory, other.best.memory)
        for name in ("epoch", "step", "val_loss", "val_accuracy"):
            assert getattr(one.best, name) == getattr(other.best, name)


def assert_same_memory(one, other):
    assert one.keys() == other.keys()
    for path in one:
        assert one[path].keys() == other[path].keys()
        assert one[path]["age"] == other[path]["age"]
        assert_same_bits(one[path], other[path])


def read(directory):
    checkpoints = Checkpoints(directory)
    try:
        return checkpoints.latest()
    finally:
        checkpoints.close()


def write(directory, *numbers, **changes):
    checkpoints = Checkpoints(directory)
    for number in numbers:
        checkpoints.save(number, snapshot(epoch=number, **changes))
    checkpoints.close()


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A directory of the checkpoints 1 and 2."""
    directory = tmp_path_factory.mktemp("two") / "checkpoints"
    write(directory, 1, 2)
    return directory


@pytest.fixture
def copy(two, tmp_path):
    yield shutil.copytree(two, tmp_path / "copy")
    gc.collect()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"best": None},
        {"memory": {}},
        {"best": None, "memory": {}, "records": (), "sha256": None, "val_loss": None},
        {"variables": {"params": PLAIN.variables()["params"]}},
    ],
    ids=["everything", "no best", "no memory", "bare", "no statistics"],
)
def test_what_is_read_is_what_was_saved(tmp_path, changes):
    write(tmp_path / "checkpoints", 2, **changes)
    assert_same(read(tmp_path / "checkpoints"), snapshot(**changes))


def test_the_last_two_are_kept_and_the_last_is_read(tmp_path):
    write(tmp_path / "checkpoints", 1, 5, 9)
    assert sorted(entry.name for entry in (tmp_path / "checkpoints").iterdir()) == ["5", "9"]
    assert read(tmp_path / "checkpoints").epoch == 9


def test_an_empty_directory_has_no_checkpoint(tmp_path):
    assert read(tmp_path / "checkpoints") is None


def test_one_is_due_after_a_while(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("tlx.training.checkpoint.time.monotonic", lambda: clock[0])
    checkpoints = Checkpoints(tmp_path / "checkpoints", every=10)
    due = []
    for clock[0] in (0.0, 9.9, 10.0, 11.0):
        due.append(checkpoints.due())
    checkpoints.save(1, snapshot())
    due.append(checkpoints.due())
    clock[0] = 21.0
    due.append(checkpoints.due())
    checkpoints.close()
    assert due == [False, False, True, True, False, True]


@pytest.mark.parametrize("name", ["notes", "3.orbax-checkpoint-tmp", "3.orbax-checkpoint-tmp-17", "-1"])
def test_foreign_folders_are_ignored(copy, name):
    (copy / name).mkdir()
    assert_same(read(copy), snapshot(epoch=2))


def files_of(directory):
    return sorted(path.relative_to(directory) for path in (directory / "2").rglob("*") if path.is_file())


# Orbax leaves coroutines behind when it fails, and Python tells of them when it collects them
leaves_coroutines = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def damaged(directory, caplog):
    """Read a damaged checkpoint: it is passed over for the one before, or what was damaged did not matter."""
    caplog.clear()
    found = read(directory)
    if found.epoch == 2:
        assert_same(found, snapshot(epoch=2))
        return False
    assert_same(found, snapshot(epoch=1))
    (warning,) = (record.getMessage() for record in caplog.records if record.name == "tlx")
    assert warning.startswith(f"tlx: {directory / '2'}: the checkpoint is damaged (")
    assert "\n" not in warning
    return True


@leaves_coroutines
def test_no_flipped_bit_is_ever_taken_for_a_weight(two, copy, caplog):
    draw = np.random.default_rng(0)
    refused = 0
    for file in files_of(two):
        if file.parts[1] == "best":  # stored as the others are
            continue
        sound = (two / file).read_bytes()
        places = draw.integers(0, len(sound), 1 if len(sound) < 3000 else 6) if sound else []
        for place in places:
            spoilt = bytearray(sound)
            spoilt[place] ^= 1 << draw.integers(8)
            (copy / file).write_bytes(spoilt)
            refused += damaged(copy, caplog)
        (copy / file).write_bytes(sound)
    assert refused > 10  # the rest lies in what need not be read


@leaves_coroutines
def test_the_record_of_progress_is_covered_too(copy, caplog):
    file = copy / "2" / "progress" / "metadata"
    file.write_text(file.read_text().replace('"step": 6', '"step": 5'))
    assert damaged(copy, caplog)


@leaves_coroutines
@pytest.mark.parametrize("way", ["removed", "cut"])
def test_a_file_that_is_missing_or_cut_is_noticed(two, copy, caplog, way):
    refused = 0
    for file in files_of(two):
        sound = (two / file).read_bytes()
        (copy / file).unlink() if way == "removed" else (copy / file).write_bytes(sound[: len(sound) // 2])
        refused += damaged(copy, caplog)
        (copy / file).write_bytes(sound)
    assert refused >= 8


@leaves_coroutines
def test_where_all_are_damaged_none_is_read_and_none_removed(copy):
    for number in ("1", "2"):
        shutil.rmtree(copy / number / "variables")
    with pytest.raises(CheckpointError, match="the checkpoint is damaged") as stop:
        read(copy)
    assert stop.value.exit_code == 5
    assert sorted(entry.name for entry in copy.iterdir()) == ["1", "2"]


@leaves_coroutines
@pytest.mark.parametrize("number", [2, 5])
def test_a_damaged_one_gives_way_to_those_saved_after_it_was_passed_over(copy, number):
    (copy / "2" / "progress" / "metadata").write_text("{}")
    (copy / "2").rename(copy / str(number))
    checkpoints = Checkpoints(copy)
    assert checkpoints.latest().epoch == 1
    checkpoints.save(2, snapshot(epoch=2))
    checkpoints.close()
    assert_same(read(copy), snapshot(epoch=2))
    assert sorted(entry.name for entry in copy.iterdir()) == ["1", "2"]


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

    monkeypatch.setattr(checkpoints._manager, "save", fail)
    with pytest.raises(StorageError, match=rf"checkpoints: a checkpoint cannot be written \({reason}\)"):
        checkpoints.save(1, snapshot())
    checkpoints.close()


def test_another_fault_is_not_taken_for_a_full_disk(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path / "checkpoints")

    def fail(*args, **kwargs):
        raise ValueError("a mistake of ours")

    monkeypatch.setattr(checkpoints._manager, "save", fail)
    with pytest.raises(ValueError, match="a mistake of ours") as stop:
        checkpoints.save(1, snapshot())
    assert not isinstance(stop.value, StorageError)
    checkpoints.close()


def test_what_is_read_can_be_trained_on(tmp_path):
    """Restored arrays are whole, on a device, and of their own type."""
    write(tmp_path / "checkpoints", 1)
    found = read(tmp_path / "checkpoints")
    assert all(isinstance(leaf, jax.Array) and leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(found.variables))
