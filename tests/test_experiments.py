"""The experiments on published bases run from end to end, small, on real weights."""

import importlib
import json
import sys
from pathlib import Path

import pytest
from image_files import write_classes
from text_models import write_text_folder

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"
BASE, WEIGHTS = "cifar/resnet20", "weights/resnet20-12fca82f.th"  # trains whole in seconds


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "phases"),
    [
        ("resnet50_emnist", [], {"head": 270_448}),
        ("inception_features", [], {"head": 270_448}),
        ("xception_flowers", ["--fine-epochs", "1"], {"head": 270_448, "all": 0}),
        (
            "vgg16_two_phase",
            ["--fine-epochs", "1", "--thaw-from", "block3_3"],
            {"head": 270_448, "block3_3 and up": 270_448 - 2 * (9 * 64 * 64 + 4 * 64), "all": 0},
        ),
    ],
)
def test_an_experiment(name, options, phases, shared_data, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    folder = write_classes(tmp_path / "data", {"cat": 8, "dog": 8})
    given = ["--data", folder, "--base", BASE, "--weights", shared_data / WEIGHTS]
    given += ["--input-size", "32", "32", "--epochs", "1", "--batch-size", "8", "--out", tmp_path / "run", *options]
    monkeypatch.setattr(sys, "argv", [name, *map(str, given)])
    experiment = importlib.import_module(name)
    experiment.start(experiment.main)
    assert "test accuracy" in capsys.readouterr().out
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert {phase["name"]: phase["frozen"] for phase in result["phases"]} == phases
    assert (tmp_path / "run/report.html").is_file()


@pytest.mark.parametrize(
    ("name", "options", "code", "words"),
    [
        ("resnet50_emnist", [], 7, "resnet50"),
        ("mnist_cnn_to_letters", ["--data", "idx:nowhere"], 4, "nowhere"),
        ("mnist_mlp_to_emnist", ["--data", "idx:nowhere"], 4, "nowhere"),
    ],
)
def test_what_is_missing_is_said_in_one_line(name, options, code, words, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    monkeypatch.setenv("TLX_OFFLINE", "1")
    monkeypatch.setenv("TLX_CACHE", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [name, "--out", str(tmp_path / "run"), *options])
    experiment = importlib.import_module(name)
    with pytest.raises(SystemExit) as ended:
        experiment.start(experiment.main)
    said = capsys.readouterr().err
    assert ended.value.code == code
    assert words in said
    assert said.count("\n") == 1


@pytest.mark.slow
def test_words_are_added_and_probes_compared(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    base = write_text_folder(tmp_path / "bert")
    words = {"a": "films fine playing", "b": "cars dull not"}
    rows = [f"{number} {text} films,{label}" for number in range(20) for label, text in words.items()]
    (tmp_path / "texts.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    given = ["--data", tmp_path / "texts.csv", "--base", base, "--target", "label", "--counts", "0", "2"]
    given += ["--compared", "2", "--seeds", "2"]
    monkeypatch.setattr(sys, "argv", ["medical_vocabulary", *map(str, given)])
    experiment = importlib.import_module("medical_vocabulary")
    experiment.start(experiment.main)
    said = capsys.readouterr().out
    for expected in ("pieces a word", "test accuracy, 2 words added: ", "95% interval"):
        assert expected in said
