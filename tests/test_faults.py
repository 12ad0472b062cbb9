"""The fault harness finds nothing in a run, and finds what is broken on purpose."""

import importlib
import random
from pathlib import Path

import pytest

from tlx.cli.main import main
from tlx.stop import StopOnSignals
from tlx.training import checkpoint

SHORT = {"12": "4", "8": "3"}  # epochs, of four steps each: the 20th step is in the second phase


@pytest.mark.slow
def test_a_short_round_of_faults(monkeypatch, tmp_path):
    """A resume without the optimizer's state has another digest; one after a kill, in a process of its own, has not."""
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "experiments"))
    module = importlib.import_module("faults")
    monkeypatch.setattr(module, "STOP_AT", 20)

    def finish(given, *codes):
        arguments = given[given.index("finetune") :]
        with pytest.raises(SystemExit) as stop:
            module._child([*given[3:5], *arguments]) if given[2] == "child" else main(arguments)
        assert (stop.value.code or 0) in codes
        return 0

    run = [*module.WORKLOADS["images"](tmp_path), *module.RUN]
    faults = module.Faults(tmp_path, random.Random(0), [SHORT.get(each, each) for each in run])
    with monkeypatch.context() as patch:
        replaced = [(StopOnSignals, "__enter__"), (StopOnSignals, "__exit__"), (checkpoint, "unpack")]
        for what, name in (*replaced, (checkpoint.Checkpoints, "due"), (checkpoint.Checkpoints, "save")):
            patch.setattr(what, name, getattr(what, name))  # the harness replaces them, for good in its own processes
        patch.setattr(module, "finish", finish)
        patch.setattr(module, "VARIANTS", {"optimizer": module.VARIANTS["optimizer"]})
        faults.reference()
        assert faults.variants() == {"nothing": "same", "optimizer": "differs"}
    assert faults.flips(16) == {
        **{"flips": 16, "loaded in silence": 0, "older taken": 14, "older not taken": 0},
        **{"none taken, both flipped": 2, "differing digests": False},
    }
    found = faults.kills(1)
    assert found["kills"] == 1
    assert found["differing digests"] == 0
