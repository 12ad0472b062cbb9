"""Architectures of one's own: registered in one call, refused where that could not work, known after it."""

import json
import logging
from types import SimpleNamespace
from unittest import mock

import jax.numpy as jnp
import numpy as np
import pytest
from own_architecture import CODE, write_weights

import tlx
from tlx.convert import TABLES, Row, Table
from tlx.errors import ConfigError
from tlx.models import ARCHITECTURES, ModelConfig, Stage, architecture_named, installed
from tlx.models.small import cnn, mlp
from tlx.presets import convert_weights, register_architecture
from tlx.presets.own import OWN

SHAPE = (28, 28, 1)
ROWS = (Row("dense", "a{n}", "base/dense{n}"), Row("dense", "fc", "head/logits"))
TABLE = Table("lab/own", "own", "torch", ROWS, classes=3, pool="flatten")


@pytest.fixture(autouse=True)
def registries():
    with mock.patch.dict(ARCHITECTURES), mock.patch.dict(TABLES), mock.patch.dict(OWN):
        yield


@pytest.fixture
def own():
    exec(compile(CODE, "lab_own.py", "exec"), {"__name__": "lab_own"})


def test_one_call_and_the_architecture_is_trained_saved_loaded_and_converted_to(tmp_path, own):
    weights = write_weights(tmp_path)
    done = convert_weights(weights, tmp_path / "made", arch="lab/own")
    found = tlx.load(tmp_path / "made")
    assert (done.preprocessing, found.name) == ("that of lab/own", "lab/own")
    assert (found.preprocess, found.classes[9]) == (tlx.Preprocess(8, 8, 1), "digit 9")
    assert not {"licence", "paper", "page"} & found.card.keys()
    assert json.loads((tmp_path / "made" / "config.json").read_text())["registered_in"] == "lab_own"
    assert tlx.load("lab/own", weights).classes == found.classes
    assert tlx.load("lab/own", weights, until="c1").stages == ("c1",)
    tlx.export_weights(tmp_path / "made", tmp_path / "back.pth", "lab")
    back, first = tlx.convert.open_weights(tmp_path / "back.pth").tensors, np.load(weights)
    assert {name: each.read().tobytes() for name, each in back.items()} == {n: first[n].tobytes() for n in first}


def test_what_a_file_holds_is_told_by_names_too(tmp_path, own):
    done = convert_weights(write_weights(tmp_path), tmp_path / "made")
    assert (done.arch, done.preprocessing) == ("lab/own", "assumed to be that of lab/own")


def test_without_its_registration_it_is_unknown_and_the_file_is_named(tmp_path, own):
    convert_weights(write_weights(tmp_path), tmp_path / "made")
    del ARCHITECTURES["own"]
    with pytest.raises(ConfigError) as caught:
        tlx.load(tmp_path / "made")
    assert "unknown architecture 'own', one of somebody's own: name the file" in str(caught.value)
    assert "(--import lab_own, or import it first)" in str(caught.value)
    config = tmp_path / "config.yaml"  # the folder is then the export of a run
    for noted in ("import: /lab/own.py\n", "import: 3\n", "[", "import: !!python/name:os.system\n"):
        config.write_text(noted)
        with pytest.raises(
            ConfigError, match="name it again" if "/lab" in noted or "3" in noted else "import it first"
        ):
            tlx.load(tmp_path / "made")


def test_preprocessing_and_classes_may_be_said_when_converting(tmp_path, own):
    OWN["lab/own"] = type(OWN["lab/own"])()
    weights = write_weights(tmp_path)
    with pytest.raises(ConfigError, match="lab/own: nothing says how it sees images: give preprocess="):
        convert_weights(weights, tmp_path / "made", arch="lab/own")
    with pytest.raises(ConfigError, match="nothing says how it sees images"):
        tlx.load("lab/own", weights)
    see, names = tlx.Preprocess(8, 8, 1, scale=1.0), tuple("abcdefghij")
    done = convert_weights(
        weights, tmp_path / "made", arch="lab/own", options=tlx.ConvertOptions(preprocess=see, classes=names)
    )
    found = tlx.load(tmp_path / "made")
    assert (found.preprocess, found.classes) == (see, names)
    assert (done.preprocessing, done.class_names) == ("as asked for", "as asked for")


def test_a_table_without_weights_says_what_to_give(own):
    with pytest.raises(ConfigError, match="nothing says where its weights are: give --weights FILE"):
        tlx.load("lab/own")


def test_a_cell_may_be_run_again_and_tlx_own_names_are_taken():
    for build in (mlp, cnn):
        register_architecture("own", build, input_shape=SHAPE, tables=[TABLE])
    assert architecture_named("own").build is cnn
    with pytest.raises(ConfigError, match="'cnn' is one of tlx's own"):
        register_architecture("cnn", cnn, input_shape=SHAPE)
    table = Table("keras/vgg16", "own", "torch", ROWS)
    with pytest.raises(ConfigError, match="'keras/vgg16' is there already"):
        register_architecture("own", mlp, input_shape=SHAPE, tables=[table])


REFUSED = {
    "no name": ({"name": "lab/own"}, "'lab/own' is not a name"),
    "no function": ({"build": "mlp"}, "build: 'mlp' is not a function"),
    "no base": ({"build": lambda **_: Stage("a", cnn())}, "build returned Stage, expected a tlx.models.Base"),
    "a shape": ({"input_shape": (28, 28)}, r"input_shape is \(height, width, channels\)"),
    "no sizes": ({"input_shape": (28, 28, 0)}, "whole numbers above 0"),
    "a pool": ({"pool": "flaten"}, "unknown pool 'flaten', did you mean 'flatten'"),
    "a minimum": ({"minimum": 0}, "minimum: 0"),
    "one string": ({"classes": "abc"}, "'abc' is one string"),
    "classes twice": ({"classes": ("a", "b", "a")}, "'a' come more than once"),
    "too few classes": ({"classes": ("a", "b")}, "2 class names; table lab/own says classes=3"),
    "nothing that reads": ({"tables": (), "classes": ("a",)}, "belong to what a table reads"),
    "another's table": ({"name": "other"}, "table lab/own is of the architecture 'own', not 'other'"),
    "channels": ({"preprocess": tlx.Preprocess(28, 28, 3)}, "makes 3 channels, input_shape has 1"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_could_not_work_is_refused_and_registers_nothing(what):
    change, words = REFUSED[what]
    given = {"name": "own", "build": mlp, "input_shape": SHAPE, "tables": [TABLE], **change}
    with pytest.raises(ConfigError, match=words):
        register_architecture(given.pop("name"), given.pop("build"), **given)
    assert "own" not in ARCHITECTURES
    assert "lab/own" not in TABLES


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dialect": "pytorch"}, "unknown dialect 'pytorch', did you mean 'torch'"),
        ({"pool": "avrage"}, "unknown pool 'avrage', did you mean 'average'"),
        ({"rows": (Row("cnov", "a", "b"),)}, "unknown kind of row 'a' 'cnov', did you mean 'conv'"),
        ({"reference": "torchvison:x"}, "unknown reference library 'torchvison', did you mean 'torchvision'"),
        ({"classes": -1}, "classes must be at least 0"),
    ],
)
def test_a_table_is_checked_when_it_is_made(change, words):
    with pytest.raises(ConfigError, match=words):
        Table(**{"name": "lab/own", "architecture": "own", "dialect": "torch", "rows": ROWS, **change})


# Installed packages


@pytest.fixture
def entry_points(monkeypatch):
    """Let packages be installed that have these entry points."""

    def install(*points):
        monkeypatch.setattr(installed, "_loaded", set())
        monkeypatch.setattr(installed, "_points", lambda path: points)

    return install


def point(name, load):
    return SimpleNamespace(name=name, value=f"lab.{name}", load=load)


def test_what_installed_packages_register_is_known(entry_points, caplog):
    def register():
        register_architecture("own", mlp, input_shape=SHAPE, tables=[TABLE])

    def broken():
        raise ImportError("no module called x")

    loads = []
    module = SimpleNamespace()  # registers as it is imported
    entry_points(
        point("broken", broken), point("function", lambda: register), point("module", lambda: loads.append(1) or module)
    )
    assert ModelConfig("own", 3, SHAPE, pool="flatten").architecture == "own"
    assert "the entry point broken of tlx.architectures cannot be loaded (ImportError: no module" in caplog.text
    with pytest.raises(ConfigError, match=r"unknown architecture 'onw', did you mean 'own'.*--import FILE\.py"):
        ModelConfig("onw", 3, SHAPE)
    assert (loads, len(caplog.records)) == ([1], 1)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_a_package_that_looks_up_what_nobody_has_does_not_go_round(entry_points):
    entry_points(point("round", lambda: lambda: architecture_named("nobody's")))
    with pytest.raises(ConfigError, match="unknown architecture"):
        architecture_named("nobody's")


def test_known_names_load_no_packages(entry_points):
    entry_points(point("never", lambda: pytest.fail("was loaded")))
    assert architecture_named("cnn").build(dtype=jnp.float32).stage_names[0] == "conv1"
