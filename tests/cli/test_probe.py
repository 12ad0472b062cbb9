"""`tlx probe`: what it prints, saves and refuses."""

import os

import pytest

import tlx

FEW = ["--base", "mlp-mnist", "--labels-per-class", 4, "--l2", 1, 0.1]


@pytest.fixture(scope="module")
def probed(tmp_path_factory):
    return tmp_path_factory.mktemp("probe") / "probed"


def test_it_prints_one_json_object_and_saves_the_model(call, probed):
    called = call("probe", *FEW, "--shots", 1, "--draws", 2, "--out", probed, "--json")
    assert called.code == 0, called.err
    found = called.json
    assert found["data"] == {"source": "digits", "classes": 10, "train": 40, "validation": 40, "test": 539}
    assert {"base", "method", "l2", "validation_accuracy", "test_accuracy", "activations", "seconds"} <= set(found)
    assert [(point["shots"], point["draws"]) for point in found["curve"]] == [(1, 2), (None, 1)]
    assert [(fit["shots"], fit["draw"], fit["l2"]) for fit in found["fits"]] == [
        (shots, draw, l2) for shots, draw in ((1, 0), (1, 1), (None, None)) for l2 in (1.0, 0.1)
    ]
    assert found["path"] == str(probed)
    assert "4 labels a class" in called.err  # which labels were used
    saved = tlx.load(probed)
    data = tlx.load_data("digits", labels_per_class=4)
    assert tlx.evaluate(saved, data.test).accuracy == found["test_accuracy"]
    assert call("evaluate", probed, "--data", "digits", "--json").json["accuracy"] == found["test_accuracy"]


@pytest.mark.slow
def test_training_begins_with_the_head_that_it_left(call, refused, probed, tmp_path):
    if not probed.exists():
        assert call("probe", *FEW, "--out", probed).code == 0
    options = ["--base", probed, "--labels-per-class", 4, "--recipe", "full", "--head-epochs", 1, "--base-epochs", 1]
    options += ["--base-rate", 1e-7, "--head-rate", 1e-7, "--compare-scratch", "never"]
    found = call("finetune", *options, "--keep-head", "--out", tmp_path / "run", "--json").json
    before = call("evaluate", probed, "--data", "digits", "--json").json
    assert found["test_accuracy"] == before["accuracy"]
    assert found["test_loss"] == pytest.approx(before["loss"], rel=1e-3)
    assert call("finetune", "--resume", "--out", tmp_path / "run", "--json").json == found
    line = refused(2, "finetune", *options[2:], "--base", "cnn-mnist", "--keep-head", "--hidden", 3)
    assert "keep_head" in line


def test_it_shows_tables(call):
    called = call("probe", *FEW, "--method", "ridge", "--shots", 1, "--draws", 2, "--scale", "each", "--cache", "off")
    assert called.code == 0
    for words in ("shots", "deviation", "all", "test accuracy", "ridge, all training examples", "features off"):
        assert words in called.out


def test_options_may_stand_in_a_file(call, tmp_path):
    config = tmp_path / "probe.yaml"
    config.write_text("base: mlp-mnist\nlabels-per-class: 2\nmethod: ridge\nl2: [1, 2]\nshots: [1]\ndraws: 1\n")
    found = call("probe", "--config", config, "--json").json
    assert [(fit["shots"], fit["l2"]) for fit in found["fits"]] == [(1, 1.0), (1, 2.0), (None, 1.0), (None, 2.0)]


@pytest.mark.parametrize(
    ("code", "arguments", "words"),
    [
        (2, ["--metod", "ridge"], "did you mean --method?"),
        (2, ["--method", "sgd"], "--method"),
        (2, ["--l2", 0], "l2: (0.0,) must be"),
        (2, ["--l2", "nan"], "l2: (nan,) must be"),
        (2, ["--shots", 0], "integers of 1 or more"),
        (2, ["--draws", 0], "draws=0"),
        (2, ["--max-iterations", 0], "max_iterations=0"),
        (2, ["--out", ""], "--out is empty"),
        (2, ["--cache-limit", -1], "--cache-limit"),
        (2, ["--until", "dense9"], "dense1"),
        (4, ["--labels-per-class", 4, "--data", "digits", "--validation", 0.9, "--shots", 200], "ask for fewer shots"),
    ],
)
def test_bad_options_leave_nothing_behind(call, tmp_path, monkeypatch, code, arguments, words):
    monkeypatch.chdir(tmp_path)
    called = call("probe", "--base", "mlp-mnist", "--labels-per-class", 2, *arguments) if code == 2 else call(
        "probe", "--base", "mlp-mnist", *arguments
    )  # fmt: skip
    assert (called.code, called.out) == (code, "")
    assert words in called.err.splitlines()[-1]
    assert called.err.splitlines()[-1].startswith("tlx: ")
    assert list(tmp_path.iterdir()) == []


def test_a_place_in_use_is_refused_before_any_work(refused, tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    line = refused(2, "probe", "--data", "nowhere/at/all", "--out", tmp_path)
    assert "is already there" in line
    assert [path.read_text() for path in tmp_path.iterdir()] == ["precious"]


def test_a_place_that_cannot_be_written_leaves_nothing(call, tmp_path):
    (tmp_path / "file").write_text("")
    called = call("probe", *FEW, "--out", tmp_path / "file" / "probed")
    assert (called.code, called.out) == (6, "")
    assert "cannot be written" in called.err
    assert os.listdir(tmp_path) == ["file"]
