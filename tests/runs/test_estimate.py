"""An estimate says what a run would take, and leaves nothing."""

import dataclasses
import json
import math
import sys

import pytest

import tlx
from tlx.cli.finetune import Finetune
from tlx.cli.main import main
from tlx.cli.options import parse
from tlx.errors import ConfigError
from tlx.models import leaf_shapes
from tlx.recipes import finetune as two_phases
from tlx.runs.estimate import Estimate, PhaseEstimate, estimate
from tlx.tree import flatten


@pytest.fixture(scope="module")
def given():
    base = tlx.load("cnn-mnist")
    data = tlx.load_data("digits", labels_per_class=5)
    return base, data, two_phases(base.stages, head_epochs=2, base_epochs=3)


@pytest.fixture(scope="module")
def found(given):
    return estimate(*given, tlx.RunOptions(batch_size=10))


@pytest.mark.slow
def test_it_foretells_what_a_run_does(given, found, tmp_path):
    run = tlx.finetune(*given, tlx.RunOptions(batch_size=10, compare_scratch=False), out=tmp_path / "run")
    for phase, done in zip(found.phases, run.result["phases"], strict=True):
        assert (phase.name, phase.epochs, phase.steps) == (done["name"], done["epochs"], done["steps"])
        where = f"{phase.after}, in memory" if phase.after else phase.activations
        assert done["activations"].endswith(where)
    assert [phase.after for phase in found.phases] == ["conv3", None]


@pytest.mark.slow
def test_times_are_times(found):
    head, all_ = found.phases
    assert head.before > 0
    assert head.reading is None
    assert all_.before == 0
    assert all_.reading > 0
    for phase in found.phases:
        assert 0 < phase.seconds < 60
        assert phase.total == phase.before + phase.steps * max(phase.seconds, phase.reading or 0)
    assert found.seconds == head.total + all_.total


def test_memory_is_at_least_that_of_what_is_held(given, found):
    """Adam has two numbers a parameter; the best epoch's weights and theirs come beside; and all parameters go in."""
    leaves = tlx.tree.flatten(given[0].with_head(given[1].classes).variables["params"]).values()
    size = 4 * sum(leaf.size for leaf in leaves)
    assert found.phases[1].memory > 6 * size
    assert found.memory == found.phases[1].memory < 100 * size + 20_000_000


@pytest.mark.slow
def test_memory_grows_with_the_batch_and_falls_with_its_parts(given, found):
    def needed(**how):
        return estimate(*given, tlx.RunOptions(**how)).phases[1].memory

    larger = needed(batch_size=40)
    assert larger > found.phases[1].memory
    assert needed(batch_size=40, accumulate=4) < larger


def test_what_does_not_fit_is_not_run(given, monkeypatch):
    monkeypatch.setattr(sys.modules[estimate.__module__], "free_memory", lambda: 1_000_000)
    tight = estimate(*given, tlx.RunOptions(batch_size=10))
    assert not tight.fits
    assert [phase.seconds is None for phase in tight.phases] == [
        phase.memory > tight.available for phase in tight.phases
    ]
    assert tight.seconds is None


def test_what_a_run_would_refuse_is_refused(given):
    with pytest.raises(ConfigError, match="accumulate: 3 does not divide a batch of 10"):
        estimate(*given, tlx.RunOptions(batch_size=10, accumulate=3))


def test_totals():
    phase = PhaseEstimate("all", 1, 10, None, "off", 5, 0.1, 0.2, 1.0)
    assert phase.total == 3.0
    assert not Estimate("cpu", 1, 4, (phase,)).fits
    assert Estimate("cpu", 1, 5, (phase, dataclasses.replace(phase, memory=2))).fits
    assert Estimate("cpu", 1, 4, (phase, dataclasses.replace(phase, seconds=None))).seconds is None


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main(["finetune", "--dry-run", *(() if "--base" in arguments else ("--base", "mlp-mnist")), *arguments])
    return stop.value.code or 0, capsys.readouterr()


@pytest.mark.slow
def test_the_command_says_it_and_writes_nothing(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, said = run(capsys)
    assert code == 0
    assert "It fits." in said.out
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_command_says_it_as_json(capsys):
    code, said = run(capsys, "--json")
    told = json.loads(said.out)
    assert code == 0
    assert told["fits"] is True
    assert math.isfinite(told["seconds"])
    assert {phase["name"] for phase in told["phases"]} == {"head", "all"}


def test_the_command_fails_where_it_does_not_fit(capsys, monkeypatch):
    monkeypatch.setattr(sys.modules[estimate.__module__], "free_memory", lambda: 1000)
    code, said = run(capsys)
    assert code == 6
    assert "are needed on a device and 1 kB are there: lower --batch-size" in said.err


@pytest.fixture
def offline(monkeypatch, tmp_path):
    monkeypatch.setenv("TLX_OFFLINE", "1")
    monkeypatch.setenv("TLX_CACHE", str(tmp_path))


def test_a_published_base_is_estimated_without_its_weights(capsys, offline, monkeypatch):
    phase = PhaseEstimate("head", 1, 10, None, "", memory=5, seconds=None, reading=None, before=1.0)
    monkeypatch.setattr(tlx, "estimate", lambda base, *_, **__: Estimate(base.name, 1, 5, (phase,)))
    few = ("--labels-per-class", "2", "--recipe", "probe", "--batch-size", "8", "--input-size", "8", "8", "--json")
    code, said = run(capsys, "--base", "cifar/resnet20", *few)
    assert code == 0
    assert json.loads(said.out)["device"] == "cifar/resnet20"
    with pytest.raises(SystemExit) as stop:
        main(["finetune", "--base", "cifar/resnet20", *few])
    assert stop.value.code == 7


@pytest.mark.parametrize(
    ("arguments", "classes", "last", "dtype"),
    [
        (("--base", "keras/vgg16"), 1000, "block5_pool", "float32"),
        (("--base", "cifar/resnet32", "--until", "block2_1"), 0, "block2_1", "float32"),
        (("--base", "cifar/resnet32", "--dtype", "bfloat16"), 10, "block3_5", "bfloat16"),
    ],
)
def test_shapes_alone_are_as_the_options_say(offline, arguments, classes, last, dtype):
    base = parse(Finetune, "tlx finetune", [*arguments, "--dry-run"]).load_base()
    assert (base.config.classes, base.model.base.stage_names[-1], base.config.dtype) == (classes, last, dtype)
    assert {path: leaf.shape for path, leaf in flatten(base.variables).items()} == leaf_shapes(base.config)
