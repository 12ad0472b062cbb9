"""A fit comes to the same on any number of devices, by jit and by pmap."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from many_devices import FITS

import tlx
from tlx.errors import ConfigError
from tlx.training.parallel import Parallel, Placement


@pytest.fixture(scope="module")
def fits():
    """What all of FITS came to, in a process with eight devices."""
    script = Path(__file__).resolve().parents[1] / "many_devices.py"
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, env=environment)
    assert not done.returncode, done.stderr[-3000:]
    return json.loads(done.stdout)


def other_of(name):
    """Name the fit that another is to be like."""
    kind, _, rest = name.partition(", ")
    return f"{kind}, jit {4 if kind == 'each' else 1}" if rest else "one"


@pytest.mark.parametrize("name", FITS)
def test_it_is_the_same_on_any_number_of_devices(fits, name):
    found, other = fits[name], fits[other_of(name)]
    known = len(found["losses"])  # a resumed fit has logged what came after
    epochs = slice(0, 10) if name.startswith("each") else slice(-known, None)  # norms of two rows are chaotic
    for what in ("losses", "validation"):
        np.testing.assert_allclose(found[what][epochs], other[what][-known:][epochs], rtol=1e-5, err_msg=what)
    assert found["accuracies"][epochs] == other["accuracies"][-known:][epochs]
    if not name.startswith("each"):
        assert found["predicted"] == other["predicted"]
        np.testing.assert_allclose(found["probabilities"], other["probabilities"], atol=1e-5)
        np.testing.assert_allclose(found["statistics"], other["statistics"], rtol=1e-4)


@pytest.mark.parametrize("name", [name for name in FITS if name not in ("one", "resumed")])
def test_it_trains_on_as_many_devices_as_it_says(fits, name):
    assert fits[name]["devices"] == FITS[name]["devices"]
    assert fits[name]["part"] == (1 / 4 if name == "all split" else 1)


@pytest.mark.parametrize("name", FITS)
def test_nothing_is_compiled_once_a_phase_runs(fits, name):
    """Arrays lie after a step as they lay before it."""
    compiled = fits[name]["compiled"]
    assert not any(each for epoch, each in enumerate(compiled) if epoch not in ((0,) if name == "resumed" else (0, 2)))


def test_each_device_s_norms_are_something_else(fits):
    assert abs(fits["each, jit 4"]["losses"][3] / fits["uneven, jit 1"]["losses"][3] - 1) > 1e-2


def test_half_of_the_steps_are_left_to_the_resumed_one(fits):
    assert 0 < len(fits["resumed"]["losses"]) < len(fits["one"]["losses"])


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"devices": 0}, "devices: 0 is not an integer of 1 or more"),
        ({"devices": True}, "devices: True is not"),
        ({"by": "pmaps"}, "by is one of jit, pmap, not 'pmaps'"),
        ({"shard": "params"}, "shard is one of nothing, optimizer, all"),
        ({"norms": "none"}, "norms is one of all, each"),
        ({"by": "pmap", "shard": "all"}, "pmap gives each device all"),
    ],
)
def test_what_cannot_be_is_refused(given, fault):
    with pytest.raises(ConfigError, match=fault):
        Parallel(**given)


def test_more_devices_than_there_are_are_refused():
    with pytest.raises(ConfigError, match=r"devices: 1000, and JAX finds \d+ \(.*\): ask for fewer"):
        tlx.Parallel(devices=1000).placement()


def test_one_device_needs_no_mesh():
    assert not Parallel(devices=1).placement().meshed
    assert Parallel(devices=1, by="pmap").placement().meshed
    assert Placement().count == 1
