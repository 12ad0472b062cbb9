"""Summaries count what lies on disk, and refuse what is damaged."""

import json
import shutil
import struct
import time

import numpy as np
import pytest
from safetensors.numpy import save_file

from tlx.errors import CheckpointError, ConfigError, WeightsError
from tlx.presets import PRESETS
from tlx.presets.summary import summarize_file, summarize_run

PROBE = [["base", "frozen"], ["head", "head"]]
TOP = [["base/dense1", "frozen"], ["base/dense2", "base"], ["head", "head"]]


@pytest.fixture
def run(tmp_path):
    """A run as far as its summary needs one."""
    shutil.copytree(PRESETS / "mlp-mnist", tmp_path / "run" / "export")
    phases = [{"name": "head", "rules": PROBE}, {"name": "again", "rules": TOP}, {"name": "again", "rules": PROBE}]
    (tmp_path / "run" / "run.json").write_text(json.dumps({"phases": phases}))
    return tmp_path / "run"


def test_a_preset_is_summarised_without_phases():
    summary, phases = summarize_run(PRESETS / "mlp-mnist")
    assert phases is None
    assert summary.totals() == {"total": 6366, "base": 6316, "head": 50, "trainable": 6366, "frozen": 0}


def test_a_run_is_summarised_by_phase(run):
    summary, phases = summarize_run(run / "export")
    assert [(phase["name"], phase["trainable"], phase["frozen"]) for phase in phases] == [
        ("head", 50, 6316),
        ("again", 50 + 36, 6280),
        ("again", 50, 6316),  # phases may share a name
    ]
    assert summary.trainable == 50  # the last phase
    assert summarize_run(run / "export", "head")[0].trainable == 50
    assert {row.label for row in summary.rows} == {"frozen", "head"}


def test_an_unknown_phase_is_refused(run):
    with pytest.raises(ConfigError, match="no phase 'x': the run's phases are 'head', 'again'"):
        summarize_run(run / "export", "x")
    with pytest.raises(ConfigError, match="not a run, so it has no phase 'head'"):
        summarize_run(PRESETS / "mlp-mnist", "head")


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "{}", '{"phases": 5}', '{"phases": []}', '{"phases": [{"name": "x"}]}', "[" * 100_000],
    ids=lambda content: content[:30],
)
def test_a_damaged_run_is_refused(run, content):
    (run / "run.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"run\.json: .*the run is damaged"):
        summarize_run(run / "export")


def test_a_file_is_summarised_from_its_header():
    summary, more = summarize_file(PRESETS / "cnn-mnist" / "model.safetensors")
    assert more == {"format": "safetensors", "looks_like": [], "stranger": None}
    assert summary.totals() == {"total": 93_322, "base": 55_744, "head": 37_578, "trainable": 93_322, "frozen": 0}
    assert {row.path for row in summary.rows} >= {"base/conv1/kernel", "head/logits/bias"}
    assert {row.stage for row in summary.rows} == {"conv1", "conv2", "conv3", "head"}


def test_statistics_count_as_frozen_and_other_names_stand_as_they_are(tmp_path):
    leaves = {"params/head/b": (3,), "batch_stats/base/n/mean": (4,), "model.layer.weight": (2, 5)}
    save_file({name: np.zeros(shape, np.float32) for name, shape in leaves.items()}, tmp_path / "a.safetensors")
    summary, _ = summarize_file(tmp_path / "a.safetensors")
    assert summary.totals() == {"total": 17, "base": 4, "head": 3, "trainable": 13, "frozen": 4}
    assert {(row.path, row.shape) for row in summary.rows} == {
        ("head/b", (3,)),
        ("base/n/mean", (4,)),
        ("model.layer.weight", (2, 5)),
    }


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 7,
        struct.pack("<Q", 2**63),
        struct.pack("<Q", 2**64 - 1) + b"{}",
        struct.pack("<Q", 5) + b"[[[[[",
        (PRESETS / "mlp-mnist" / "model.safetensors").read_bytes()[:-1],
        (PRESETS / "mlp-mnist" / "config.json").read_bytes(),
    ],
    ids=["empty", "short", "2^63", "2^64", "no json", "cut", "another file"],
)
def test_a_damaged_file_is_refused_by_name(tmp_path, content):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"a\.safetensors: "):
        summarize_file(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    (tmp_path / "folder.safetensors").mkdir()
    for name in ("folder.safetensors", "gone.safetensors"):
        with pytest.raises(WeightsError, match=name):
            summarize_file(tmp_path / name)


@pytest.mark.slow
def test_a_header_of_too_many_tensors_is_refused_soon(tmp_path):
    content = json.dumps({f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(120_000)})
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(content)) + content.encode())
    began = time.monotonic()
    with pytest.raises(WeightsError, match="more than 100000 tensors"):
        summarize_file(path)
    assert time.monotonic() - began < 5
