"""Every command says what it is doing while it does it, to whoever listens."""

import numpy as np
import pytest
from PIL import Image

from tlx.cli.main import entry
from tlx.progress import listening

FEW = ["--base", "mlp-mnist", "--labels-per-class", 2]
SHORT = [*FEW, "--recipe", "probe", "--head-epochs", 2, "--compare-scratch", "never", "--json"]


@pytest.fixture
def doings(call):
    """Call a command and return what it said it did, each thing once in a row."""

    def doings(*arguments):
        heard = []
        with listening(lambda what, *_: heard.append(what)):
            called = call(*arguments)
        assert called.code == 0, called.err
        assert "tlx: loading" not in called.err  # it was quick
        return [what for what, before in zip(heard, [None, *heard], strict=False) if what and what != before]

    return doings


@pytest.fixture
def image(tmp_path):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


@pytest.mark.slow
def test_finetune(doings, tmp_path):
    assert doings("finetune", *SHORT, "--out", tmp_path / "run") == [
        "starting",
        "loading mlp-mnist",
        "reading the data",
        "looking at the first batch",
        "fingerprinting the base and the data",
        "preparing phase 'head'",
        "computing the features",
        "compiling the step of phase 'head'",
        "training transfer: head",
        "compiling the validation of phase 'head'",
        "training transfer: head",
        "testing",
        "saving the model",
        "looking at the mistakes",
        "mapping the features",
        "writing the report",
    ]


def test_a_dry_run(doings):
    heard = doings("finetune", *SHORT, "--dry-run")
    assert heard[3:] == ["compiling the programs of phase 'head'", "timing phase 'head'", "computing the features"]


@pytest.mark.slow
def test_probe(doings):
    heard = doings("probe", *FEW, "--l2", 1, "--json")
    assert heard == [
        "starting",
        "loading mlp-mnist",
        "reading the data",
        "computing the features",
        "fitting linear heads",
    ]


@pytest.mark.slow
def test_predict_embed_evaluate_and_inspect(doings, image, run_dir, tmp_path):
    assert doings("predict", "mlp-mnist", image, "--json") == ["starting", "loading mlp-mnist", "predicting"]
    embedded = doings("embed", "mlp-mnist", image, "--out", tmp_path / "a.npz")
    assert embedded == ["starting", "loading mlp-mnist", "embedding"]
    assert doings("evaluate", "mlp-mnist", "--data", "digits", "--json")[-2:] == ["reading the data", "testing"]
    assert doings("evaluate", run_dir, "--json")[-2:] == ["reading the data", "testing"]
    assert doings("inspect", "mlp-mnist", "--json") == ["starting", "reading mlp-mnist"]
    assert doings("convert", "mlp-mnist", tmp_path / "a.safetensors", "--to", "safetensors")[1:] == [
        "converting mlp-mnist"
    ]
    assert doings("report", run_dir) == ["starting", "writing the report"]


def test_images_are_counted_as_they_are_looked_at(call, image):
    counts = []
    with listening(lambda *what: counts.append(what)):
        call("predict", "mlp-mnist", image, image, image)
    assert [what for what in counts if what[0] == "predicting"] == [("predicting", done, 3) for done in range(4)]


@pytest.mark.parametrize(("arguments", "level"), [([], "3"), (["--debug"], None)])
def test_xla_gives_no_alarm_about_slow_compilation(monkeypatch, arguments, level):
    import os

    monkeypatch.setattr("sys.argv", ["tlx", "presets", "--help", *arguments])
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "")  # so that it is put back
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    monkeypatch.setattr("tlx.cli.main.signal.signal", lambda *_: None)
    monkeypatch.setattr("sys.unraisablehook", None)
    with pytest.raises(SystemExit):
        entry()
    assert os.environ.get("TF_CPP_MIN_LOG_LEVEL") == level
