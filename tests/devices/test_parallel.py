"""A fit comes to the same on any number of devices, by jit and by pmap, in one process and in several."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from many_devices import FEW, LATER, ONE, PROCESSES

import tlx
from tlx.devices.parallel import Devices, Placement
from tlx.errors import ConfigError

EACH = ("2 x 1", "2 x 2")  # processes x devices
RUNS = [("one", name) for name in (*ONE, *LATER)] + [("2 x 1", "jit"), ("2 x 1", "pmap")]
RUNS += [("2 x 2", name) for name in PROCESSES]
WHOLE = [(where, name) for where, name in RUNS if "stopped" not in name]


def started(devices, *arguments):
    script = Path(__file__).resolve().parents[1] / "many_devices.py"
    environment = {
        **os.environ,
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # those of XLA on one device, which take a third of the time
    }
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    return subprocess.Popen([sys.executable, script, *map(str, arguments)], **pipes)


def said(process):
    found, faults = process.communicate(timeout=500)
    assert not process.returncode, faults[-3000:]
    return json.loads(found.splitlines()[-1])


@pytest.fixture(scope="module")
def fits(tmp_path_factory):
    """What all fits came to: those in two processes, then those in one with eight devices, which go on with some."""
    found = {}
    for devices, each in enumerate(EACH, 1):
        folder = tmp_path_factory.mktemp("fits")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        first, second = (started(devices, "processes", folder, address, 2, process) for process in range(2))
        found[each], other = said(first), said(second)
        assert {name: fit["losses"] for name, fit in other.items()} == {
            name: fit["losses"] for name, fit in found[each].items()
        }
    return found | {"one": said(started(8, "one", folder))}


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """What a few fits came to in one process with two devices."""
    return said(started(2, "few", tmp_path_factory.mktemp("few")))


def like(fits, name):
    """Return the fit on one device that another is to be like."""
    if name.startswith("each"):
        return fits["one"]["each, jit 4"]
    return fits["one"].get(f"{name.partition(',')[0]}, jit 1", fits["one"]["one"])


@pytest.mark.slow
@pytest.mark.parametrize(("where", "name"), WHOLE)
def test_it_is_the_same_on_any_number_of_devices(fits, where, name):
    found, other = fits[where][name], like(fits, name)
    known = len(found["losses"])  # a resumed fit has logged what came after
    epochs = slice(0, 10) if name.startswith("each") else slice(-known, None)  # norms of two rows are chaotic
    assert_same_curves(found, other, epochs)
    if not name.startswith("each"):
        assert_same_end(found, other)


def assert_same_curves(found, other, epochs=slice(None)):
    known = len(found["losses"])
    for what in ("losses", "validation"):
        np.testing.assert_allclose(found[what][epochs], other[what][-known:][epochs], rtol=1e-5, err_msg=what)
    assert found["accuracies"][epochs] == other["accuracies"][-known:][epochs]


def assert_same_end(found, other):
    assert found["predicted"] == other["predicted"]
    np.testing.assert_allclose(found["probabilities"], other["probabilities"], atol=1e-5)
    np.testing.assert_allclose(found["statistics"], other["statistics"], rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in FEW if ONE[name]["devices"] > 1])
def test_two_devices_come_to_the_same_as_one(few, name):
    assert_same_curves(few[name], few["jit 1"])
    assert_same_end(few[name], few["jit 1"])
    assert few[name]["devices"] == 2
    assert not any(few[name]["compiled"][1:])


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ONE if ("one", name) in WHOLE])
def test_it_trains_on_as_many_devices_as_it_says(fits, name):
    assert fits["one"][name]["devices"] == ONE[name]["devices"]
    assert fits["one"][name]["part"] == (1 / 4 if name.endswith("all split") else 1)


@pytest.mark.slow
@pytest.mark.parametrize(("where", "name"), WHOLE)
def test_nothing_is_compiled_once_a_phase_runs(fits, where, name):
    """Arrays lie after a step as they lay before it."""
    compiled = fits[where][name]["compiled"]
    begins = (0, 2) if len(compiled) == 19 or "any" in name else (0,)  # of two phases, the first has two epochs
    assert not any(each for epoch, each in enumerate(compiled) if epoch not in begins)


@pytest.mark.slow
def test_each_device_s_norms_are_something_else(fits):
    assert abs(fits["one"]["each, jit 4"]["losses"][3] / fits["one"]["uneven, jit 1"]["losses"][3] - 1) > 1e-2


@pytest.mark.slow
@pytest.mark.parametrize(("where", "name"), [run for run in RUNS if run not in WHOLE])
def test_what_was_stopped_had_begun(fits, where, name):
    assert 0 < fits[where][name]["step"] < 51


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"count": 0}, "Devices.count: 0 is not an integer of 1 or more"),
        ({"count": True}, "Devices.count: True is not"),
        ({"by": "pmaps"}, "unknown Devices.by 'pmaps', did you mean 'pmap'"),
        ({"shard": "params"}, "unknown Devices.shard 'params': use one of 'nothing', 'optimizer', 'all'"),
        ({"norms": "none"}, "unknown Devices.norms 'none': use one of 'all', 'each'"),
        ({"by": "pmap", "shard": "all"}, "pmap gives each device all"),
    ],
)
def test_what_cannot_be_is_refused(given, fault):
    with pytest.raises(ConfigError, match=fault):
        Devices(**given)


def test_more_devices_than_there_are_are_refused():
    with pytest.raises(ConfigError, match=r"devices: 1000, and JAX finds \d+ \(.*\): ask for fewer"):
        tlx.Devices(count=1000).placement()


def test_one_device_needs_no_mesh():
    assert not Devices(count=1).placement().meshed
    assert Devices(count=1, by="pmap").placement().meshed
    assert Placement().count == 1
