"""A run leaves a directory that tells all of it, is used once, and goes on after any interruption."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from cases import assert_same_bits, plain
from image_files import encoded, write_classes
from toys import Recorder, everything_in, finetune_toy, finetune_with, scalars_in, timeless

import tlx
from tlx.errors import CheckpointError, ConfigError, DataError, StorageError, WeightsError
from tlx.files.lock import locked
from tlx.images import Preprocess
from tlx.logs import JsonLines
from tlx.models import ModelConfig, leaf_shapes
from tlx.objectives import Classification
from tlx.optim import Adam, Constant, Cosine, Group, Phase
from tlx.presets import Pretrained
from tlx.records import Description
from tlx.runs import Run, evaluate_run
from tlx.runs.describe import stages_of
from tlx.runs.directory import entered
from tlx.training.checkpoint import Checkpoints
from tlx.tree import label_tree, unflatten

DATA = {"labels_per_class": 5}


class Killed(BaseException):
    """What stops a run in a test: nothing in the library catches it."""


def metrics(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def lasting(result):
    """Return a result without what another run in another place says otherwise."""
    plain = {key: value for key, value in result.items() if key not in ("seconds", "run_dir", "phases", "scratch")}
    return {**plain, "phases": timeless(result["phases"]), "scratch": timeless(result["scratch"]["phases"])}


# What a run leaves


def test_the_directory_holds_the_run(finished):
    assert {entry.name for entry in finished.iterdir()} == {
        *("run.json", "config.yaml", "metrics.jsonl", "checkpoints", "scratch", "tensorboard"),
        *("evaluation.npz", "result.json", "export", ".lock"),
    }
    assert {entry.name for entry in (finished / "export").iterdir()} == {
        "model.safetensors",
        "config.json",
        "README.md",
    }
    assert {entry.name for entry in (finished / "tensorboard").iterdir()} == {"transfer", "scratch"}
    assert not list(finished.rglob("*.partial"))
    assert yaml.safe_load((finished / "config.yaml").read_text()) == {"seed": 0}


def test_images_of_a_shape_that_the_base_does_not_take_end_a_run_before_it_begins(tmp_path):
    write_classes(tmp_path / "data")
    (tmp_path / "data/cat/strip.png").write_bytes(encoded(np.zeros((1, 3000), np.uint8)))
    base, data = tlx.load("mlp-mnist"), tlx.load_data(str(tmp_path / "data"))
    strict = Preprocess(28, 28, 1, resize=40)
    recipe = tlx.recipes.probe(base.stages, epochs=1)
    with pytest.raises(DataError, match=r"1 images cannot be used: .*strip\.png: 1 x 3000 would become 120000 pixels"):
        finetune_with(base, data, recipe, out=tmp_path / "run", preprocess=strict)
    assert not (tmp_path / "run").exists()
    with pytest.raises(DataError, match=r"strip\.png"):
        tlx.linear_probe(base, data, tlx.ProbeOptions(preprocess=strict))


@pytest.mark.slow
def test_without_a_word_the_batch_fits_small_data(tmp_path):
    data = tlx.load_data(str(write_classes(tmp_path / "data", {"cat": 4, "dog": 4})))
    base = tlx.load("mlp-mnist")
    run = finetune_with(
        base, data, tlx.recipes.probe(base.stages, epochs=1), out=tmp_path / "run", compare_scratch=False
    )
    assert json.loads((run.path / "run.json").read_text())["batch_size"] == len(data.train) == 4


def test_the_description_says_what_is_trained_on_what(finished, described):
    assert set(described) == {
        *("base", "base_sha256", "classes", "data", "data_sha256", "sizes", "notes", "skipped", "batch_size", "seed"),
        *(
            "preprocess",
            "model",
            "objective",
            "augment",
            "mix",
            "balanced",
            "keep_head",
            "cache",
            "accumulate",
            "ema",
            "phases",
            "compare_scratch",
            "versions",
        ),
        *("callbacks", "command", "identity"),
    }
    assert described["data"] == {
        "source": "digits",
        "seed": 0,
        "labels_per_class": 5,
        "validation": 0.15,
        "test": 0.3,
        "train_split": None,
        "validation_split": None,
        "test_split": None,
        "skip_bad": 0.0,
        "empty_classes": "refuse",
        "target": [],
        "target_kind": "auto",
        "inputs": [],
        "text": [],
        "test_data": None,
        "validation_data": None,
    }
    assert described["sizes"] == {"train": 50, "validation": 50, "test": 539}
    assert described["classes"] == list("0123456789")
    assert described["phases"][0]["rules"] == [["base", "frozen"], ["head", "head"]]
    assert described["phases"][0]["stages"] == {
        "dense1": {"label": "frozen", "parameters": 6280},
        "dense2": {"label": "frozen", "parameters": 36},
        "head": {"label": "head", "parameters": 50},
    }
    assert described["versions"].keys() >= {"tlx-jax", "jax", "flax", "optax"}
    assert described["command"] == f"tlx finetune --config {finished / 'config.yaml'}"


def test_stages_stand_in_the_networks_order(tmp_path):
    config = ModelConfig("mobilenet_v2", 0, (32, 32, 3))
    shapes = unflatten({path: np.zeros(shape, np.float32) for path, shape in leaf_shapes(config).items()})
    base = Pretrained("mobile", config, shapes, Preprocess(32, 32, 3), ()).with_head(("cat", "dog"))
    (phase,) = tlx.recipes.probe(base.stages)
    stages = [stage.name for stage in stages_of(base, label_tree(base.variables["params"], phase.rules))]
    assert stages == [*base.model.base.stage_names, "head"]
    assert stages != sorted(stages)


def test_the_result_says_what_it_came_to(finished):
    result = json.loads((finished / "result.json").read_text())
    assert set(result) == {
        *("test_accuracy", "test_loss", "test_examples", "scratch_accuracy", "seconds", "run_dir", "base", "data"),
        *("phases", "scratch", "test"),
    }
    assert result["run_dir"] == str(finished)
    assert result["data"] == {
        "source": "digits",
        "classes": 10,
        "train": 50,
        "validation": 50,
        "test": 539,
        "labels_per_class": 5,
    }
    head, whole = result["phases"]
    assert (head["name"], head["trainable"], head["frozen"], head["epochs"], head["steps"]) == ("head", 50, 6316, 2, 4)
    assert (whole["name"], whole["trainable"], whole["frozen"], whole["epochs"], whole["steps"]) == (
        "all",
        6366,
        0,
        2,
        4,
    )
    (scratch,) = result["scratch"]["phases"]
    assert (scratch["trainable"], scratch["epochs"]) == (6366, 4)
    for phase in (whole, scratch):
        assert phase["frozen_sha256_before"] is phase["frozen_sha256_after"] is None
    frozen = {"params": {"base": tlx.load("mlp-mnist").variables["params"]["base"], "head": None}}
    assert head["frozen_sha256_before"] == head["frozen_sha256_after"] == tlx.tree.fingerprint(frozen)
    assert 0 <= result["scratch_accuracy"] <= 1


def test_a_run_is_opened_again(finished):
    run = Run.open(finished)
    result = json.loads((finished / "result.json").read_text())
    assert (run.test_accuracy, run.scratch_accuracy) == (result["test_accuracy"], result["scratch_accuracy"])
    assert run.load().name == "mlp-mnist-digits"


def test_metrics_hold_each_epoch_of_both_models(finished):
    lines = metrics(finished)
    assert [(line["run"], line["phase"], line["epoch"]) for line in lines] == [
        ("transfer", "head", 1),
        ("transfer", "head", 2),
        ("transfer", "all", 3),
        ("transfer", "all", 4),
        *(("scratch", "scratch", epoch) for epoch in (1, 2, 3, 4)),
    ]
    result = json.loads((finished / "result.json").read_text())
    assert lines[3]["val_accuracy"] == result["phases"][1]["val_accuracy"]
    assert lines[7]["val_loss"] == result["scratch"]["phases"][0]["val_loss"]


def test_tensorboard_holds_the_same(finished):
    found = scalars_in(finished / "tensorboard" / "transfer")
    for line in metrics(finished)[:4]:
        assert found["val_accuracy", line["epoch"]] == pytest.approx(line["val_accuracy"])
        assert found["rate/head", line["epoch"]] == pytest.approx(0.05)


def test_the_test_results_are_kept(finished):
    result = json.loads((finished / "result.json").read_text())
    scores = evaluate_run(finished)
    with np.load(finished / "evaluation.npz") as kept:
        np.testing.assert_array_equal(kept["labels"], scores.labels)
        np.testing.assert_array_equal(kept["predicted"], scores.predicted)
        assert kept["confidence"].tobytes() == scores.confidence.tobytes()
        assert (kept["labels"] == kept["predicted"]).mean() == result["test_accuracy"]
        wrong = kept["mistakes"]
        assert 0 < len(wrong) <= 24
        assert kept["mistake_images"].shape == (len(wrong), 28, 28, 1)
        assert kept["mistake_images"].max() > 100
        assert (kept["labels"][wrong] != kept["predicted"][wrong]).all()
        assert (np.diff(kept["confidence"][wrong]) <= 0).all()


# Evaluation and export


def test_evaluating_again_repeats_the_test_exactly(finished):
    scores, result = evaluate_run(finished), json.loads((finished / "result.json").read_text())
    assert (scores.accuracy, scores.loss, len(scores.labels)) == (
        result["test_accuracy"],
        result["test_loss"],
        result["test_examples"],
    )


def test_a_run_can_be_evaluated_on_other_data(finished):
    data = tlx.load_data("digits", seed=5)
    scores = evaluate_run(finished, data)
    assert len(scores.labels) == len(data.test)
    np.testing.assert_array_equal(scores.labels, tlx.data.labels_of(data.test))


@pytest.mark.slow
def test_the_export_gives_the_same_bits_in_another_process(finished, tmp_path):
    data, own = tlx.load_data("digits", **DATA), Run.open(finished).load()
    images = np.stack([data.test[i]["input"] for i in range(40)])
    np.save(tmp_path / "images.npy", images)
    program = (
        "import sys, numpy, tlx; own = tlx.load(sys.argv[1]); "
        "inputs = own.preprocess(numpy.load(sys.argv[2])); "
        "numpy.save(sys.argv[3], tlx.predict(own.model, own.variables, inputs)); print(own.classes)"
    )
    found = tmp_path / "found.npy"
    command = [sys.executable, "-c", program, finished / "export", tmp_path / "images.npy", found]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(own.classes)
    expected = tlx.predict(own.model, own.variables, own.preprocess(images))
    assert np.load(found).tobytes() == expected.tobytes()


def test_a_run_and_its_export_load_alike(finished):
    one, other = tlx.load(finished), tlx.load(str(finished / "export"))
    assert_same_bits(one.variables, other.variables)
    assert (one.config, one.preprocess, one.classes, one.card) == (
        other.config,
        other.preprocess,
        other.classes,
        other.card,
    )
    assert "539 test examples" in one.card["accuracy"]


def test_a_run_is_not_mistaken_for_the_preset_of_its_name(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished, "cnn-mnist")
    assert evaluate_run("cnn-mnist").accuracy == Run.open(finished).test_accuracy
    assert Run.open("cnn-mnist").load().config.architecture == "mlp"


# A directory is used once


def test_a_directory_in_use_is_refused_and_left_alone(finished):
    before = everything_in(finished)
    with pytest.raises(ConfigError, match="is already in use") as stop:
        finetune_toy(finished)
    assert stop.value.exit_code == 2
    assert everything_in(finished) == before


def test_a_file_or_a_folder_of_other_things_is_refused(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").write_text("years of work")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for place in (tmp_path / "folder", tmp_path / "folder" / "thesis.tex", tmp_path / "dangling"):
        with pytest.raises(ConfigError, match="is already in use"):
            finetune_toy(place)
    assert (tmp_path / "folder" / "thesis.tex").read_text() == "years of work"


def test_a_place_that_cannot_be_made_is_a_storage_error_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr("tlx.runs.trainer.fit_task", lambda *_, **__: pytest.fail("trained"))
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "run", tmp_path / ("a" * 300)):
        with pytest.raises(StorageError, match="cannot be made") as stop:
            finetune_toy(place)
        assert stop.value.exit_code == 6


def test_a_description_that_cannot_be_written_is_a_storage_error(tmp_path, monkeypatch):
    monkeypatch.setattr("tlx.runs.trainer.fit_task", lambda *_, **__: pytest.fail("trained"))

    def full(self, *_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError, match=r"config\.yaml: cannot be written \(No space left on device\)"):
        finetune_toy(tmp_path / "run")


# What cannot be trained is refused before the directory is made


GROUP = Group(Constant(0.1), Adam())
WARM = Phase("warm", 1, (("**", "all"),), {"all": Group(Cosine(0.1, warmup=50))})


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"batch_size": 51}, DataError, "50 training examples are fewer than a batch of 51"),
        ({"batch_size": 0}, ConfigError, "batch_size: 0"),
        ({"seed": -1}, ConfigError, "seed must be at least 0"),
        ({"seed": 1.5}, ConfigError, r"seed must be .*, not 1\.5"),
        ({"allow": "data_sha256"}, ConfigError, "allow: 'data_sha256' is one string"),
        ({"seed": 1 << 70}, ConfigError, "seed must be at least 0"),
        ({"hidden": (0,)}, ConfigError, "sizes must be positive"),
        ({"dropout": 1.0}, ConfigError, "dropout"),
        ({"recipe": (WARM,)}, ConfigError, "warm-up of 50 steps does not fit"),
        ({"recipe": (Phase("x", 1, (("base", "b"),), {"b": GROUP}),)}, ConfigError, "no rule labels 'head"),
        ({"objective": Classification(class_weights=(1.0,))}, ConfigError, "1 class weights for 10 classes"),
        ({"preprocess": tlx.Preprocess(32, 32, 1)}, ConfigError, r"\(32, 32, 1\), the model takes \(28, 28, 1\)"),
    ],
    ids=plain,
)
def test_a_run_that_cannot_be_leaves_nothing(tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        finetune_toy(tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


def test_one_class_is_refused(tmp_path):
    data = tlx.data_from_arrays(np.zeros((60, 8, 8), np.uint8), np.zeros(60, int))
    with pytest.raises(DataError, match="only one class"):
        finetune_toy(tmp_path / "run", data=data)
    assert not (tmp_path / "run").exists()


# Resume


def test_a_finished_run_is_returned_and_nothing_is_written(finished, monkeypatch):
    monkeypatch.setattr("tlx.runs.trainer.fit_task", lambda *_, **__: pytest.fail("trained"))
    before, began = everything_in(finished), time.monotonic()
    run = finetune_toy(finished, resume=True)
    assert time.monotonic() - began < 5
    assert run.result == json.loads((finished / "result.json").read_text())
    assert everything_in(finished) == before


@pytest.mark.parametrize(
    ("changes", "keys"),
    [
        ({"batch_size": 10}, ["batch_size: 25 -> 10"]),
        ({"seed": 3}, ["seed: 0 -> 3"]),
        ({"hidden": (8,)}, ["model/hidden: [] -> [8]", "phases/0/stages/head/parameters: 50 -> 130"]),
        ({"objective": Classification(label_smoothing=0.1)}, ["objective/label_smoothing: 0.0 -> 0.1"]),
        ({"compare_scratch": False}, ["compare_scratch: True -> False"]),
        ({"preprocess": tlx.Preprocess(28, 28, 1)}, ["preprocess/margin: 4 -> 0"]),
        (
            {
                "recipe": tlx.recipes.finetune(
                    ("dense1", "dense2"),
                    head_epochs=3,
                    base_epochs=2,
                    head=Group(Constant(0.05)),
                    base=Group(Constant(0.01)),
                )
            },
            ["phases/0/epochs: 2 -> 3", "phases/1/groups/base/schedule/rate: 0.05 -> 0.01"],
        ),
        ({"data": tlx.load_data("digits", labels_per_class=6)}, ["data/labels_per_class: 5 -> 6", "data_sha256: "]),
        ({"data": tlx.load_data("digits", seed=1, labels_per_class=5)}, ["data/seed: 0 -> 1", "data_sha256: "]),
    ],
    ids=plain,
)
def test_another_run_is_not_resumed_and_the_difference_is_named(finished, changes, keys):
    before = everything_in(finished)
    with pytest.raises(CheckpointError, match="not the run that was begun there") as stop:
        finetune_toy(finished, resume=True, **changes)
    for key in keys:
        assert key in str(stop.value)
    assert stop.value.exit_code == 5
    assert len(str(stop.value)) < 1500
    assert everything_in(finished) == before


@pytest.mark.slow
def test_a_change_is_allowed_by_name_and_noted(finished, tmp_path, monkeypatch):
    path = tmp_path / "run"
    with monkeypatch.context() as patch:
        killed_at(patch, "transfer", 4)
        with pytest.raises(Killed):
            finetune_toy(path, config={"seed": 0})
    changes = {"batch_size": 10, "objective": Classification(label_smoothing=0.1), "config": {"batch_size": 10}}
    with pytest.raises(CheckpointError, match=r"batch_size: 25 -> 10.*by name \(--allow batch_size objective\)"):
        finetune_toy(path, resume=True, **changes)
    with pytest.raises(CheckpointError, match=r"\(objective/label_smoothing: 0.0 -> 0.1\)"):
        finetune_toy(path, resume=True, allow=["batch_size"], **changes)
    with pytest.raises(ConfigError, match="described by nothing called 'batchsize'"):
        finetune_toy(path, resume=True, allow=["batchsize"], **changes)
    run = finetune_toy(path, resume=True, allow=["batch_size", "objective/label_smoothing"], **changes)
    described = json.loads((path / "run.json").read_text())
    assert described["batch_size"] == 10
    assert described["changes"] == [{"batch_size": "25 -> 10", "objective/label_smoothing": "0.0 -> 0.1"}]
    assert yaml.safe_load((path / "config.yaml").read_text()) == {"batch_size": 10}
    assert finetune_toy(path, resume=True, **changes).result == run.result


@pytest.mark.slow
def test_two_processes_do_not_write_one_run(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    with locked(path), pytest.raises(StorageError, match="run: another process is writing this run"):
        finetune_toy(path)
    assert [entry.name for entry in path.iterdir()] == [".lock"]
    finetune_toy(path, compare_scratch=False)


def test_checkpoints_of_another_run_are_refused(finished, tmp_path):
    """Also where its model has the same shapes; those of a run that was begun alike are as good as one's own."""
    copy = shutil.copytree(finished, tmp_path / "run")
    (copy / "result.json").unlink()
    identity = json.loads((copy / "run.json").read_text())["identity"]
    shutil.rmtree(copy / "checkpoints")
    shutil.copytree(copy / "scratch", copy / "checkpoints")
    with pytest.raises(CheckpointError, match=f"of another run, {identity}/scratch, .* is {identity}/checkpoints"):
        finetune_toy(copy, resume=True)


def test_other_versions_than_a_run_was_begun_with_are_told_of(finished, tmp_path, caplog):
    copy = shutil.copytree(finished, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints", "scratch"))
    described = json.loads((copy / "run.json").read_text())
    described["versions"] |= {"tlx-jax": "0.0.1", "jax": "0.1"}
    (copy / "run.json").write_text(json.dumps(described))
    description = Description.read(finished / "run.json")
    with entered(copy, description, None, True, ()) as done:  # which is said of what is still to come only
        assert (done, caplog.text) == (True, "")
    (copy / "result.json").unlink()
    with entered(copy, description, None, True, ()) as done:
        assert not done
    assert re.search(r"run: begun with other versions \(tlx-jax 0.0.1 -> .*, jax 0.1 -> .*\): it may", caplog.text)


def test_changed_examples_are_noticed_though_the_source_has_one_name(finished, tmp_path):
    copy = shutil.copytree(finished, tmp_path / "run")
    described = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps({**described, "data_sha256": "0" * 64}))
    with pytest.raises(CheckpointError, match="data_sha256: '0000"):
        finetune_toy(copy, resume=True)
    with pytest.raises(CheckpointError, match="the data are not those of the run any more"):
        evaluate_run(copy)


@pytest.mark.parametrize("content", ["", "{", "[]", "[" * 100_000], ids=["empty", "cut", "list", "deep"])
@pytest.mark.parametrize("name", ["run.json", "result.json"])
def test_a_damaged_run_is_refused(finished, tmp_path, name, content):
    copy = shutil.copytree(finished, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints", "scratch"))
    (copy / name).write_text(content)
    with pytest.raises(CheckpointError, match=rf"{name}: .*not JSON|{name}: expected a JSON object"):
        evaluate_run(copy)
    with pytest.raises(CheckpointError, match=rf"{name}: .*not JSON|{name}: expected a JSON object"):
        finetune_toy(copy, resume=True)


def test_an_unfinished_run_cannot_be_evaluated(finished, tmp_path):
    copy = shutil.copytree(finished, tmp_path / "run")
    (copy / "result.json").unlink()
    with pytest.raises(CheckpointError, match=r"result\.json: missing; let the run come to its end"):
        evaluate_run(copy)


def test_a_damaged_export_is_refused(finished, tmp_path):
    copy = shutil.copytree(finished, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints", "scratch"))
    weights = copy / "export" / "model.safetensors"
    spoilt = bytearray(weights.read_bytes())
    spoilt[-1] ^= 1
    weights.write_bytes(spoilt)
    with pytest.raises(WeightsError, match="SHA-256"):
        evaluate_run(copy)


def killed_at(monkeypatch, name, epoch):
    """Kill the run as it notes an epoch of one of its two models."""
    own = JsonLines.epoch

    def noted(self, record):
        if (self.run, record["epoch"]) == (name, epoch):
            raise Killed
        own(self, record)

    monkeypatch.setattr(JsonLines, "epoch", noted)


@pytest.mark.slow
def test_a_run_killed_again_and_again_comes_to_the_same_bits(finished, tmp_path, monkeypatch):
    path = tmp_path / "run"
    monkeypatch.setattr(Checkpoints, "due", lambda self, steps: True)
    for name, epoch in (("transfer", 2), ("transfer", 4), ("scratch", 3)):
        with monkeypatch.context() as patch:
            killed_at(patch, name, epoch)
            with pytest.raises(Killed):
                finetune_toy(path, resume=True)
        assert not (path / "result.json").exists()
        with (path / "metrics.jsonl").open("a") as file:  # what a kill in the middle of a line leaves
            file.write('{"run": "' + name)
    run = finetune_toy(path, resume=True)
    assert lasting(run.result) == lasting(json.loads((finished / "result.json").read_text()))
    assert_same_bits(run.load().variables, Run.open(finished).load().variables)
    assert timeless(metrics(path)) == timeless(metrics(finished))
    assert not list(path.rglob("*.partial"))


@pytest.mark.slow
def test_a_run_killed_before_its_checkpoint_begins_again(finished, tmp_path, monkeypatch):
    """Within ten seconds nothing is saved in the middle of a phase; the lines of the lost epoch are dropped."""
    path = tmp_path / "run"
    with monkeypatch.context() as patch:
        killed_at(patch, "transfer", 2)
        with pytest.raises(Killed):
            finetune_toy(path, compare_scratch=False)
    assert [line["epoch"] for line in metrics(path)] == [1]
    finetune_toy(path, compare_scratch=False, resume=True)
    assert timeless(metrics(path)) == timeless(metrics(finished)[:4])


@pytest.mark.slow
@pytest.mark.parametrize("lost", [("result.json",), ("result.json", "export"), ("result.json", "evaluation.npz")])
def test_a_run_killed_as_it_ended_is_brought_to_its_end(finished, tmp_path, lost):
    copy = shutil.copytree(finished, tmp_path / "digits")
    for name in lost:
        shutil.rmtree(copy / name) if (copy / name).is_dir() else (copy / name).unlink()
    run = finetune_toy(copy, resume=True)
    assert lasting(run.result) == lasting(json.loads((finished / "result.json").read_text()))
    assert {entry.name for entry in copy.iterdir()} == {entry.name for entry in finished.iterdir()}
    assert (copy / "export" / "model.safetensors").read_bytes() == (
        finished / "export" / "model.safetensors"
    ).read_bytes()
    assert timeless(metrics(copy)) == timeless(metrics(finished))


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_killed_as_it_began_is_begun_again(tmp_path, monkeypatch, resume):
    path = tmp_path / "run"
    path.mkdir()
    (path / "config.yaml").write_text("seed: 7\n")
    (path / "run.json.partial").write_text("{")
    (path / ".lock").write_text("")
    monkeypatch.setattr("tlx.runs._finetune._run", lambda *_: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        finetune_toy(path, resume=resume)
    assert yaml.safe_load((path / "config.yaml").read_text()) == {"seed": 0}
    assert sorted(os.listdir(path)) == [".lock", "config.yaml", "run.json"]


# Arrays in memory


def test_arrays_in_memory_are_a_run_that_names_no_source(tmp_path):
    digits = tlx.load_data("digits")
    images, labels = digits.test.take(np.arange(200)).values()
    data = tlx.data_from_arrays(images, labels, labels_per_class=5)
    base = tlx.load("mlp-mnist")
    run = finetune_with(
        base,
        data,
        tlx.recipes.probe(base.stages, epochs=1),
        out=tmp_path / "run",
        batch_size=25,
        compare_scratch=False,
    )
    assert run.scratch_accuracy is None
    assert run.result["scratch"] is None
    assert run.result["data"]["source"] is None
    assert not (tmp_path / "run" / "config.yaml").exists()
    assert not (tmp_path / "run" / "scratch").exists()
    assert json.loads((tmp_path / "run" / "run.json").read_text())["command"] is None
    with pytest.raises(ConfigError, match="arrays in memory: name data to evaluate on"):
        evaluate_run(tmp_path / "run")
    assert evaluate_run(tmp_path / "run", data).accuracy == run.test_accuracy


# Training on, and what users bring


@pytest.mark.slow
def test_a_finished_run_trains_on_as_if_it_had_not_ended(finished):
    base, group = tlx.load("mlp-mnist"), Group(Constant(0.05))
    data = tlx.load_data("digits", labels_per_class=5)
    recipe = tlx.recipes.finetune(base, head_epochs=2, base_epochs=2, head=group, base=group, patience=None)
    more = tlx.recipes.further(base, epochs=1, group=group, patience=None)
    whole = tlx.fit(base.with_head(data.classes), (*recipe, *more), data, tlx.TrainOptions(batch_size=25))
    before = everything_in(finished)
    done = tlx.fit(Run.open(finished).load_fit(), more, data, tlx.TrainOptions(batch_size=25))
    assert_same_bits(done.variables, whole.variables)
    assert timeless(done.history) == timeless(whole.history)
    assert timeless(done.phases) == timeless(whole.phases)
    assert everything_in(finished) == before


def test_a_run_without_checkpoints_says_that_its_state_is_gone(finished, tmp_path):
    copy = shutil.copytree(finished, tmp_path / "copy")
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(CheckpointError, match=r"copy/checkpoints: holds no checkpoint"):
        Run.open(copy).load_fit()


def distances(logits, labels):
    return ((logits - jax.nn.one_hot(labels, logits.shape[-1])) ** 2).sum(-1)


def brighter(image, generator):
    return np.clip(image + generator.uniform(0, 30), 0, 255).astype(np.uint8)


@pytest.mark.slow
def test_functions_and_logs_of_a_user_s_own(tmp_path, caplog):
    class Failing(Recorder):
        def sync(self):
            raise RuntimeError("no network")

    logs, base = [Recorder(), Failing()], tlx.load("mlp-mnist")
    options = {"objective": Classification(loss=distances), "augment": brighter, "callbacks": logs}
    run = finetune_toy(tmp_path / "run", recipe=tlx.recipes.probe(base.stages, epochs=1), **options)
    assert [record["run"] for record in logs[0].records] == ["transfer", "scratch"]
    assert logs[0].records[:1] == run.history
    assert len(logs[1].records) == 2
    assert sum("the log Failing failed in sync (RuntimeError: no network)" in each for each in caplog.messages) == 2
    described = json.loads((tmp_path / "run" / "run.json").read_text())
    assert described["objective"]["loss"] == f"{__name__}.distances"
    assert described["augment"] == {"function": f"{__name__}.brighter"}
    assert run.history[0]["loss"] != pytest.approx(run.history[0]["val_loss"], rel=0.1)  # not cross-entropies both


class Ends(tlx.Callback):
    """End a phase after its first epoch, in the transfer alone; fail at the given epoch of it."""

    def __init__(self, fails_at=None):
        self.fails_at, self.seen = fails_at, []

    def stops_phase(self, record, state):
        self.seen.append((record["run"], record["epoch"]))
        if record["epoch"] == self.fails_at:
            raise RuntimeError("no such sensor")
        return record["run"] == "transfer" and state.epoch == 1


@pytest.mark.slow
def test_a_callback_ends_phases_of_a_run_and_its_failure_costs_no_run(tmp_path, monkeypatch):
    whole = finetune_toy(tmp_path / "whole", callbacks=[Ends()])
    assert [(phase["epochs"], phase["stopped_early"]) for phase in whole.result["phases"]] == [(1, True), (1, True)]
    assert [phase["epochs"] for phase in whole.result["scratch"]["phases"]] == [4]
    described = json.loads((whole.path / "run.json").read_text())
    assert described["callbacks"] == [f"{__name__}.Ends"]
    monkeypatch.setattr(Checkpoints, "due", lambda self, steps: True)
    with tlx.logs.CSV(tmp_path / "epochs.csv") as log:
        with pytest.raises(RuntimeError, match="no such sensor"):
            finetune_toy(tmp_path / "run", callbacks=[log, Ends(fails_at=2)])
        assert "transfer,all,1,2" in (tmp_path / "epochs.csv").read_text()
    with pytest.raises(CheckpointError, match=r"callbacks: \['.*Ends'\] -> \[\]"):
        finetune_toy(tmp_path / "run", resume=True)
    ends = Ends()
    with tlx.logs.CSV(tmp_path / "epochs.csv") as log:
        run = finetune_toy(tmp_path / "run", callbacks=[log, ends], resume=True)
    assert ends.seen[0] == ("transfer", 2)
    assert lasting(run.result) == lasting(whole.result)
    assert_same_bits(run.load().variables, whole.load().variables)
    with (tmp_path / "epochs.csv").open() as file:
        rows = [(row["run"], row["phase"], row["epoch"], float(row["loss"])) for row in csv.DictReader(file)]
    assert rows == [(each["run"], each["phase"], str(each["epoch"]), each["loss"]) for each in metrics(whole.path)]


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"objective": "mse"}, "objective: 'mse' is neither"),
        ({"objective": Classification(loss=lambda logits, labels: logits.mean())}, r"loss: .* returns \(\), expected"),
        ({"augment": lambda image: image}, "augment: .* cannot take an image, uint8"),
        ({"callbacks": [print]}, r"callbacks\[0\]: print has no method"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path, option, said):
    with pytest.raises(ConfigError, match=said):
        finetune_toy(tmp_path / "run", **option)
    assert not (tmp_path / "run").exists()


@dataclass(frozen=True)
class Ordinal(tlx.Objective):
    """How many ranks an answer is off."""

    target_kinds = ("class",)

    def __call__(self, outputs, batch, key=None):
        ranks = jnp.arange(outputs.shape[-1], dtype=jnp.float32)
        return {"loss": jnp.abs(jax.nn.softmax(outputs) @ ranks - batch["target"])}


@pytest.mark.slow
def test_an_objective_of_one_s_own_has_a_report_and_predicts(tmp_path):
    run = finetune_toy(tmp_path / "run", objective=Ordinal(), compare_scratch=False)
    assert set(run.test) == {"loss"}
    page = tlx.write_report(run.path).read_text()
    assert "What trained" in page
    assert "Class by class" not in page
    trained, data = run.load(), tlx.load_data("digits", labels_per_class=5)
    said = tlx.predict(trained, data.test)
    assert said.predictions.shape == (len(data.test), 10)
    with pytest.raises(ConfigError, match=r"trained for .*Ordinal, which is not tlx's: give it \(objective=\)"):
        tlx.evaluate(trained, data.test)
    assert tlx.evaluate(trained, data.test, objective=Ordinal()).loss == pytest.approx(run.test["loss"], rel=1e-5)
