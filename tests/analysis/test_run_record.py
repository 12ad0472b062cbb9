"""Reading a run directory: what it holds comes back, and nothing broken or hostile gets past."""

import json
import math
import os
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tlx.records.evaluation
from tlx.analysis import read_run
from tlx.errors import CheckpointError, TlxError, UnsafeFileError

MakeRun = Callable[..., Path]
FILES = ("run.json", "result.json", "metrics.jsonl", "evaluation.npz")


def test_everything_written_is_read(make_run: MakeRun) -> None:
    run = read_run(make_run())
    assert (run.base, run.source, run.labels_per_class, run.batch_size, run.seed) == ("cnn-mnist", "digits", 10, 32, 0)
    assert run.classes == tuple("0123456789")
    assert run.sizes == {"train": 100, "validation": 100, "test": 540}
    assert run.notes == ("digits: 8x8 images resized to 28x28",)
    assert run.versions["jax"] == "0.10.2"
    assert run.preprocess["margin"] == 4
    assert run.model["units"] == [64]
    assert run.command == "tlx finetune --base cnn-mnist --data digits --recipe gradual --seed 0"
    assert run.config == "base: cnn-mnist\ndata: digits\n"
    assert (run.test_loss, run.scratch_accuracy, run.seconds) == (0.113, 0.8574, 48.3)
    assert run.test_examples == 540 == len(run.evaluation.labels)
    assert run.test_accuracy == np.mean(run.evaluation.labels == run.evaluation.predicted)
    assert [(phase.name, phase.trainable, phase.frozen, phase.epochs) for phase in run.phases] == [
        ("head", 37_578, 55_744, 4),
        ("top", 74_506, 18_816, 5),
        ("all", 93_322, 0, 6),
    ]
    assert [phase.stopped_early for phase in run.phases] == [False, True, False]
    assert [(stage.name, stage.label, stage.parameters) for stage in run.phases[1].stages] == [
        ("conv1", "frozen", 320),
        ("conv2", "frozen", 18_496),
        ("conv3", "base", 36_928),
        ("head", "head", 37_578),
    ]
    assert run.phases[1].plan["groups"]["base"]["schedule"]["rate"] == 1e-4
    assert [phase.name for phase in run.scratch] == ["scratch"]
    assert run.scratch[0].plan == {}
    assert run.scratch[0].stages == ()
    assert [(e.run, e.phase_index, e.epoch) for e in run.metrics[3:6]] == [
        ("transfer", 0, 4),
        ("transfer", 1, 5),
        ("transfer", 1, 6),
    ]
    assert run.metrics[0].rates == {"head": 1e-3}
    assert run.evaluation.labels.dtype == np.int64
    assert run.evaluation.mistake_images.dtype == np.uint8
    assert run.evaluation.mistake_maps.shape == (24, 28, 28)
    assert run.evaluation.mistake_names[0] == f"images/{run.evaluation.mistakes[0]}.png"
    assert run.evaluation.map_rows.tolist() == list(range(0, 540, 3))
    assert run.evaluation.map_points.shape == (180, 2)


def test_a_run_written_before_there_were_maps(make_run: MakeRun) -> None:
    evaluation = read_run(make_run(old=True)).evaluation
    assert len(evaluation.mistake_images) == 24
    assert len(evaluation.mistake_maps) == len(evaluation.mistake_names) == 0
    assert len(evaluation.map_rows) == len(evaluation.map_points) == 0


def test_what_was_not_measured_is_nan_or_absent(make_run: MakeRun) -> None:
    path = make_run(
        run={"base": None, "data": None, "command": None, "notes": ...},
        result={"scratch": None, "scratch_accuracy": None, "test_loss": math.inf},
        metrics=lambda rows: [{**row, "loss": math.nan, "val_loss": None, "val_accuracy": None} for row in rows],
        config=None,
    )
    run = read_run(path)
    assert (run.base, run.command, run.config, run.notes, run.scratch) == (None, None, None, (), ())
    assert run.source == "digits"  # result.json says it too
    assert math.isnan(run.scratch_accuracy)
    assert math.isnan(run.test_loss)
    assert all(math.isnan(row.val_loss) and math.isnan(row.loss) and row.accuracy > 0 for row in run.metrics)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("fault", ["missing", "a directory", "empty", "cut in half", "not text"])
def test_a_broken_file_is_named_with_a_cure(make_run: MakeRun, name: str, fault: str) -> None:
    path = make_run() / name
    whole = path.read_bytes()
    path.unlink()
    if fault == "a directory":
        path.mkdir()
    elif fault != "missing":
        path.write_bytes(
            {"empty": b"", "cut in half": whole[: len(whole) // 2 - 3], "not text": b"\xff\xfe\x00"}[fault]
        )
    if (name, fault) == ("metrics.jsonl", "empty"):
        assert read_run(path.parent).metrics == ()  # a run without an epoch is one
        return
    with pytest.raises(CheckpointError) as error:
        read_run(path.parent)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert "run it again" in str(error.value) or "run again" in str(error.value)


@pytest.mark.parametrize("name", FILES)
def test_a_device_or_a_pipe_is_not_waited_for(make_run: MakeRun, name: str) -> None:
    path = make_run() / name
    path.unlink()
    path.symlink_to(os.devnull)
    with pytest.raises(CheckpointError, match=f"{name}: not a file"):
        read_run(path.parent)


def test_no_directory() -> None:
    with pytest.raises(CheckpointError, match="no/such/run: no such run directory"):
        read_run("no/such/run")


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("run", {"classes": "abc"}, "'classes' must be a list, found a text"),
        ("run", {"classes": ["a", 1]}, "'classes' item 1 must be a text, found a number"),
        ("run", {"classes": ...}, "'classes' is missing"),
        ("run", {"base": 3}, "'base' must be a text, found a number"),
        ("run", {"sizes": {"train": -1}}, "'train' must be an integer of at least 0"),
        ("run", {"sizes": {"train": True}}, "'train' must be an integer of at least 0, found true or false"),
        ("run", {"phases": [7]}, "phase 1 must be an object, found a number"),
        (
            "run",
            {"phases": [{"stages": {"conv1": {"label": 1}}}]},
            "'label' of stage 'conv1' of phase 1 must be a text",
        ),
        ("run", {"phases": [{"stages": {"conv1": None}}]}, "'conv1' in the stages of phase 1 is null"),
        ("run", {"preprocess": []}, "'preprocess' must be an object, found a list"),
        ("result", {"test_accuracy": None}, "'test_accuracy' is null"),
        ("result", {"test_accuracy": "0.9"}, "'test_accuracy' must be a number, found a text"),
        ("result", {"test_accuracy": 10**400}, "'test_accuracy' must be a number"),
        ("result", {"phases": None}, "'phases' is null"),
        ("result", {"phases": [{"name": "head"}]}, "'trainable' of phase 1 is missing"),
        ("result", {"scratch": [1]}, "'scratch' must be an object, found a list"),
        ("result", {"test_examples": 3}, "counts 3 test examples, evaluation.npz holds 540"),
    ],
)
def test_a_wrong_type_is_named(make_run: MakeRun, file: str, changes: dict[str, Any], message: str) -> None:
    path = make_run(**{file: changes})
    with pytest.raises(CheckpointError) as error:
        read_run(path)
    assert f"{file}.json: {message}" in str(error.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"run": "transfer", "phase": "head", "epoch": 1.5}', "'epoch' in line 31 must be an integer"),
        ('{"run": "transfer", "phase": "head"}', "'epoch' in line 31 is missing"),
        ("[]", "expected a JSON object in line 31, found a list"),
        ('{"run": "transfer", "ph', "not JSON in line 31"),
        ("[" * 200_000, "not JSON in line 31"),
    ],
)
def test_a_bad_line_of_metrics_is_numbered(make_run: MakeRun, line: str, message: str) -> None:
    path = make_run()
    with (path / "metrics.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(CheckpointError) as error:
        read_run(path)
    assert f"metrics.jsonl: {message}" in str(error.value)


def test_line_separators_within_a_name_do_not_break_a_line(make_run: MakeRun) -> None:
    path = make_run()
    row = {"run": "transfer", "phase": "a\u2028b\x85c", "epoch": 16}
    with (path / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")
    assert read_run(path).metrics[-1].phase == "a\u2028b\x85c"


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"labels": ...}, "no array 'labels'"),
        ({"labels": np.zeros(3, np.int32)}, "'predicted' has 540 rows, 'labels' has 3"),
        ({"labels": np.zeros((540, 1), np.int32)}, "'labels' must have one axis"),
        ({"labels": np.int32(1)}, "'labels' must have one axis"),
        ({"labels": np.zeros(540)}, "'labels' has dtype float64, expected integers"),
        ({"labels": np.full(540, 10)}, "'labels' row 0 is 10, outside 0..9"),
        ({"predicted": np.full(540, -1)}, "'predicted' row 0 is -1, outside 0..9"),
        ({"predicted": np.full(540, 2**63 + 1, np.uint64)}, "'predicted' row 0 is 9223372036854775809"),
        ({"confidence": np.zeros(540, np.int32)}, "'confidence' has dtype int32, expected floats"),
        ({"mistakes": np.array([540]), "mistake_images": np.zeros((1, 2, 2), np.uint8)}, "'mistakes' row 0 is 540"),
        ({"mistakes": np.arange(3)}, "images, 'mistakes' has 3"),
        ({"mistakes": np.arange(1), "mistake_images": np.zeros((1, 2, 2, 2), np.uint8)}, "found (1, 2, 2, 2)"),
        ({"mistakes": np.arange(1), "mistake_images": np.zeros((1, 0, 2), np.uint8)}, "found (1, 0, 2)"),
        ({"mistake_images": np.zeros((3, 2, 2), np.uint16)}, "'mistake_images' has dtype uint16, expected uint8"),
        ({"mistake_images": np.uint8(1)}, "'mistake_images' must have one axis"),
        ({"mistake_maps": ..., "map_rows": ...}, "no array 'mistake_maps', 'map_rows'"),
        ({"mistake_maps": np.zeros((24, 28), np.uint8)}, "'mistake_maps' must have 3 axes, found (24, 28)"),
        ({"mistake_maps": np.zeros((24, 28, 27), np.uint8)}, "'mistake_maps' has shape (24, 28, 27)"),
        ({"mistake_maps": np.zeros((23, 28, 28), np.uint8)}, "'mistake_maps' has shape (23, 28, 28)"),
        ({"mistake_maps": np.zeros((24, 28, 28), np.uint16)}, "'mistake_maps' has dtype uint16, expected uint8"),
        ({"mistake_names": np.full(23, "a")}, "'mistake_names' has 23 rows, 'mistakes' has 24"),
        ({"mistake_names": np.full(24, b"a")}, "'mistake_names' has dtype |S1, expected texts"),
        (
            {"mistake_names": np.full(24, 0x110000, np.uint32).view("U1")},
            "'mistake_names' holds characters that do not exist",
        ),
        ({"map_rows": np.full(180, 540)}, "'map_rows' row 0 is 540, outside 0..539"),
        ({"map_rows": np.arange(3)}, "'map_points' must be two finite numbers for each of 'map_rows', found (180, 2)"),
        ({"map_points": np.zeros((180, 3))}, "'map_points' must be two finite numbers"),
        ({"map_points": np.full((180, 2), np.nan)}, "'map_points' must be two finite numbers"),
        ({"map_points": np.full((180, 2), 1e9)}, "'map_points' must be two finite numbers"),
    ],
)
def test_arrays_at_odds_are_named(make_run: MakeRun, arrays: dict[str, Any], message: str) -> None:
    path = make_run(arrays=arrays)
    with pytest.raises(CheckpointError) as error:
        read_run(path)
    assert message in str(error.value)
    assert "evaluation.npz" in str(error.value)


class Canary:
    """Create a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_nothing_is_unpickled(make_run: MakeRun, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    path = make_run(arrays={"labels": np.array([Canary(canary)], dtype=object)})
    with pytest.raises(UnsafeFileError, match="'labels': holds Python objects"):
        read_run(path)
    assert not canary.exists()
    with np.load(path / "evaluation.npz", allow_pickle=True) as archive:
        assert archive["labels"].shape == (1,)
        assert canary.exists()


def test_a_pickle_in_place_of_the_archive(make_run: MakeRun, tmp_path: Path) -> None:
    path, canary = make_run(), tmp_path / "canary"
    (path / "evaluation.npz").write_bytes(pickle.dumps(Canary(canary)))
    with pytest.raises(CheckpointError, match="damaged zip file"):
        read_run(path)
    assert not canary.exists()


def _replace(path: Path, name: str, payload: bytes) -> None:
    """Replace one member of the archive."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    members[name] = payload
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, value in members.items():
            archive.writestr(key, value)


def test_a_header_that_claims_more_than_there_is(make_run: MakeRun) -> None:
    path = make_run()
    header = b"{'descr': '<i4', 'fortran_order': False, 'shape': (1000000000000,), }"
    payload = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"\0" * 64
    _replace(path / "evaluation.npz", "labels.npy", payload)
    with pytest.raises(CheckpointError, match=r"'labels': damaged, the header announces shape \(1000000000000,\)"):
        read_run(path)


def test_a_bomb_is_refused_before_it_goes_off(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_run()
    small = replace(tlx.records.evaluation._ANSWERS, max_unpacked=1 << 20)
    monkeypatch.setattr("tlx.records.evaluation._ANSWERS", small)
    _replace(path / "evaluation.npz", "mistake_images.npy", b"\0" * (2 << 20))
    assert (path / "evaluation.npz").stat().st_size < 1 << 16
    with pytest.raises(UnsafeFileError, match="claims to unpack to 2"):
        read_run(path)


def test_trailing_bytes_are_refused(make_run: MakeRun) -> None:
    path = make_run()
    with zipfile.ZipFile(path / "evaluation.npz") as archive:
        whole = archive.read("loss.npy")
    _replace(path / "evaluation.npz", "loss.npy", whole + b"\0")
    with pytest.raises(CheckpointError, match="'loss': damaged, the header announces shape"):
        read_run(path)


def test_every_cut_and_flip_is_refused_or_harmless(make_run: MakeRun) -> None:
    """No damage to the archive ends in anything but one of our errors; damage to the numbers is always seen."""
    path = make_run(image=(2, 2))
    file = path / "evaluation.npz"
    whole, before = file.read_bytes(), read_run(path).evaluation
    random = np.random.default_rng(0)
    for cut in random.integers(0, len(whole), 60):
        file.write_bytes(whole[:cut])
        with pytest.raises(TlxError):
            read_run(path)
    refused = 0
    for at in random.integers(0, len(whole), 300):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << random.integers(8)
        file.write_bytes(damaged)
        try:
            after = read_run(path).evaluation
        except TlxError:
            refused += 1
        else:
            assert all(np.array_equal(getattr(before, name), getattr(after, name)) for name in vars(before))
    assert refused > 200
