"""Each command does what its help says, and prints one JSON object with --json."""

import json
from html.parser import HTMLParser

import numpy as np
import pytest
import yaml
from PIL import Image

import tlx

PHASE = {"name", "trainable", "frozen", "epochs", "val_accuracy", "frozen_sha256_before", "frozen_sha256_after"}


def test_finetune_prints_one_json_object_and_progress_elsewhere(call, tmp_path):
    quick = ["--head-epochs", "1", "--base-epochs", "1", "--labels-per-class", "2"]
    done = call("finetune", "--json", "--out", tmp_path / "run", *quick)
    found = done.json
    assert {"test_accuracy", "scratch_accuracy", "phases", "seconds", "run_dir"} <= set(found)
    assert [PHASE - set(phase) for phase in found["phases"]] == [set(), set()]
    assert [phase["name"] for phase in found["phases"]] == ["head", "all"]
    assert [(phase["trainable"], phase["frozen"]) for phase in found["phases"]] == [(5_770, 55_744), (61_514, 0)]
    assert all(phase["frozen_sha256_before"] == phase["frozen_sha256_after"] for phase in found["phases"])
    assert found["run_dir"] == str(tmp_path / "run")
    assert found == json.loads((tmp_path / "run/result.json").read_text())
    assert "transfer: head" in done.err
    assert "20 for training" in done.err  # which labels were used


@pytest.mark.slow
def test_finetune_takes_parts_averages_rematerialisation_and_types(call, tmp_path):
    few = ("--head-epochs", "1", "--base-epochs", "1", "--labels-per-class", "2", "--compare-scratch", "never")
    out = tmp_path / "run"
    options = ("--accumulate", "2", "--ema", "0.9", "--remat", "--dtype", "bfloat16", "--base", "mlp-mnist")
    call("finetune", *few, *options, "--out", str(out), "--json")
    begun = json.loads((out / "run.json").read_text())
    assert (begun["accumulate"], begun["ema"], begun["model"]["dtype"]) == (2, 0.9, "bfloat16")
    assert yaml.safe_load((out / "config.yaml").read_text())["remat"] is True
    assert tlx.Run.open(out).load().config.dtype == "bfloat16"


@pytest.mark.slow
def test_finetune_shows_a_table_of_phases_with_scratch_beside(call, tmp_path):
    quick = ("--base", "mlp-mnist", "--recipe", "probe", "--head-epochs", 1, "--labels-per-class", 2)
    called = call("finetune", "--out", tmp_path / "run", *quick)
    assert called.code == 0
    assert "6,316" in called.out
    assert "from scratch" in called.out
    assert "2 a class" in called.out
    assert (tmp_path / "run/report.html").is_file()


@pytest.mark.slow
def test_the_default_directory_is_a_new_one(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/mlp-mnist-digits-1").mkdir(parents=True)
    quick = ["--recipe", "probe", "--head-epochs", 1, "--labels-per-class", 2, "--compare-scratch", "never", "--json"]
    called = call("finetune", "--base", "mlp-mnist", *quick)
    assert called.json["run_dir"] == "runs/mlp-mnist-digits-2"
    assert called.json["scratch_accuracy"] is None


@pytest.mark.slow
def test_the_stored_config_says_the_same_as_the_flags(call, tmp_path, run_dir):
    stored = yaml.safe_load((run_dir / "config.yaml").read_text())
    assert (stored["head_epochs"], stored["labels_per_class"], stored["base"]) == (2, 4, "cnn-mnist")
    called = call("finetune", "--config", run_dir / "config.yaml", "--out", tmp_path / "again", "--json")
    assert called.code == 0
    assert yaml.safe_load((tmp_path / "again/config.yaml").read_text()) == stored
    before = json.loads((run_dir / "result.json").read_text())
    for key in ("test_accuracy", "test_loss", "scratch_accuracy"):
        assert called.json[key] == before[key]


@pytest.mark.slow
def test_flags_win_over_the_config_file(call, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(
        "base: mlp-mnist\nrecipe: probe\nhead-epochs: 5\nhead_rate: 1e-2\nlabels_per_class: 2\n"
        "hidden: [6, 5]\ncompare_scratch: never\noptimizer: sgd\nmomentum: 0.5\n"
    )
    called = call("finetune", "--config", config, "--head-epochs", 1, "--out", tmp_path / "run", "--json")
    assert called.code == 0
    stored = yaml.safe_load((tmp_path / "run/config.yaml").read_text())
    assert (stored["head_epochs"], stored["hidden"], stored["head_rate"]) == (1, [6, 5], [0.01])
    phase = json.loads((tmp_path / "run/run.json").read_text())["phases"][0]
    assert phase["groups"]["head"]["optimizer"] == {"kind": "Sgd", "momentum": 0.5, "nesterov": False}


@pytest.mark.slow
def test_a_finished_run_is_resumed_without_a_write(call, run_dir, result):
    before = {path: path.stat().st_mtime_ns for path in run_dir.rglob("*")}
    called = call("finetune", "--resume", "--out", run_dir, "--json")
    assert (called.code, called.json) == (0, result)
    assert {path: path.stat().st_mtime_ns for path in run_dir.rglob("*")} == before


def test_a_second_run_does_not_touch_the_first(refused, run_dir):
    before = {path: path.stat().st_mtime_ns for path in run_dir.rglob("*")}
    assert "already in use" in refused(2, "finetune", "--base", "mlp-mnist", "--out", run_dir)
    assert {path: path.stat().st_mtime_ns for path in run_dir.rglob("*")} == before


def test_evaluate_repeats_the_test_accuracy_exactly(call, run_dir, result):
    found = call("evaluate", run_dir, "--json").json
    assert (found["accuracy"], found["loss"]) == (result["test_accuracy"], result["test_loss"])
    assert found["examples"] == result["test_examples"]
    assert "539 examples" in call("evaluate", run_dir).out


def test_evaluate_any_model_on_data(call):
    assert 0.5 < call("evaluate", "cnn-mnist", "--data", "digits", "--json").json["accuracy"] < 1


@pytest.fixture
def image(tmp_path):
    digits = tlx.load_data("digits")
    path = tmp_path / "seven.png"
    Image.fromarray(np.asarray(digits.test[0]["input"])).save(path)
    return path


def test_predict_names_classes(call, run_dir, image, tmp_path):
    array = tmp_path / "two.npy"
    np.save(array, np.zeros((2, 8, 8), np.uint8))
    found = call("predict", run_dir, image, array, "--top", 2, "--json").json["predictions"]
    assert [prediction["path"] for prediction in found] == [str(image), f"{array}#0", f"{array}#1"]
    for prediction in found:
        assert [set(top) for top in prediction["top"]] == [{"index", "label", "probability"}] * 2
        first, second = prediction["top"]
        assert 1 >= first["probability"] >= second["probability"] >= 0
        assert first["label"] == str(first["index"])
    trained = tlx.load(run_dir)
    inputs = trained.preprocess(np.asarray(Image.open(image))[None])
    expected = tlx.predict(trained.model, trained.variables, inputs)[0]
    assert found[0]["top"][0]["probability"] == pytest.approx(float(expected.max()), rel=1e-6)
    assert str(image.name) in call("predict", run_dir, image).out.replace("\n", "")


def test_predict_inverted_sees_the_other_image(call, run_dir, image, tmp_path):
    dark = tmp_path / "dark.png"
    Image.fromarray(255 - np.asarray(Image.open(image))).save(dark)
    plain = call("predict", run_dir, image, "--json").json["predictions"][0]["top"]
    assert call("predict", run_dir, dark, "--invert", "--json").json["predictions"][0]["top"] == plain
    assert call("predict", run_dir, dark, "--json").json["predictions"][0]["top"] != plain


def test_inspect_a_run(call, run_dir):
    found = call("inspect", run_dir, "--json").json
    assert {key: found[key] for key in ("total", "base", "head", "trainable", "frozen")} == {
        "total": 61_514,
        "base": 55_744,
        "head": 5_770,
        "trainable": 61_514,
        "frozen": 0,
    }
    assert [(phase["name"], phase["trainable"]) for phase in found["phases"]] == [("head", 5_770), ("all", 61_514)]
    assert call("inspect", run_dir, "--phase", "head", "--json").json["frozen"] == 55_744
    assert "base/conv1/kernel" in call("inspect", run_dir).out


@pytest.mark.parametrize(("preset", "total", "head"), [("cnn-mnist", 93_322, 37_578), ("mlp-mnist", 6_366, 50)])
def test_inspect_a_preset_and_its_file(call, preset, total, head):
    found = call("inspect", preset, "--json").json
    assert (found["total"], found["head"], found["trainable"]) == (total, head, total)
    from_file = call("inspect", tlx.presets.PRESETS / preset / "model.safetensors", "--json").json
    assert {key: from_file[key] for key in ("total", "head", "leaves")} | {"leaves": None} == {
        "total": total,
        "head": head,
        "leaves": None,
    }


@pytest.mark.slow
def test_inspect_a_probe_of_47_classes(call, tmp_path, shared_data):
    folder = f"idx:{shared_data}/letters47"
    quick = ["--recipe", "probe", "--head-epochs", 1, "--labels-per-class", 2, "--compare-scratch", "never", "--json"]
    called = call("finetune", "--base", "mlp-mnist", "--data", folder, "--out", tmp_path / "run", *quick)
    assert called.json["phases"][0]["trainable"] == 235
    found = call("inspect", tmp_path / "run", "--json").json
    assert (found["total"], found["trainable"], found["frozen"]) == (6_551, 235, 6_316)


def test_presets(call):
    found = call("presets", "--json").json["presets"]
    assert [preset["name"] for preset in found][:3] == ["cnn-mnist", "mlp-mnist", "keras/vgg16"]
    assert {"architecture", "data", "accuracy", "licence", "sha256", "command"} <= set(found[0])
    assert {"architecture", "data", "accuracy", "licence", "location", "preprocess"} <= set(found[2])
    assert "cnn-mnist" in call("presets").out


def test_report_is_written_again(call, run_dir):
    page = run_dir / "report.html"
    page.unlink()
    assert call("report", run_dir, "--json").json == {"report": str(page)}
    HTMLParser().feed(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "command", ["finetune", "probe", "evaluate", "predict", "convert", "inspect", "presets", "report"]
)
def test_help(call, command):
    called = call(command, "--help")
    assert (called.code, called.err) == (0, "")
    assert f"tlx {command}" in called.out
    assert command in call("--help").out
