"""What fits come to on one, two, four and eight devices, or in several processes: JSON, by name.

    XLA_FLAGS=--xla_force_host_platform_device_count=2 python many_devices.py few FOLDER
    XLA_FLAGS=--xla_force_host_platform_device_count=8 python many_devices.py one FOLDER
    XLA_FLAGS=--xla_force_host_platform_device_count=2 python many_devices.py processes FOLDER 127.0.0.1:12345 2 0

In FOLDER are the checkpoints of fits that others go on with.
"""

import contextlib
import json
import shutil
import sys
from pathlib import Path

import jax
import numpy as np
import optax
from toys import KINDS as INPUTS
from toys import SPEC, Recorder, toy_source
from toys import fit_sources as fit

import tlx
from tlx.devices import Devices
from tlx.errors import StoppedError
from tlx.models import Base, Classifier, Head, Stage, initialise
from tlx.models.layers import ConvNorm, Norm
from tlx.optim import Adam, Constant, Group, Phase, Sgd
from tlx.training import ActivationCache, Mixup, evaluate
from tlx.training.checkpoint import Checkpoints
from tlx.tree import flatten

TRAIN, VALIDATION = toy_source(22), toy_source(9, seed=1)
NORM = Norm(1e-3, 0.5)
MODEL = Classifier(
    Base((Stage("stem", ConvNorm(64, 3, NORM, strides=2, bias=True)),)),
    Head(3, hidden=(64,), dropout=0.3),
)
SLOW, FAST = Group(Constant(0.01), Sgd(0.9)), Group(Constant(0.05), Adam())
RECIPE = (Phase("all", 17, (("**", "all"),), {"all": SLOW}),)
TWO = (Phase("head", 2, (("base", "frozen"), ("head", "head")), {"head": FAST}), *RECIPE)
MUON, LION = Group(optax.contrib.muon(0.01)), Group(Constant(1e-3), optax.scale_by_lion(), weight_decay=0.1)
ANY = (
    Phase("head", 2, (("base", "frozen"), ("head", "head")), {"head": MUON}),
    Phase("all", 4, (("base", "base"), ("head", "head")), {"base": LION, "head": MUON}),
)
KINDS = {
    "two phases": {"recipe": TWO},
    "uneven": {"batch_size": 6},
    "parts": {"accumulate": 2, "mix": Mixup(1.0, 1.0)},
    "any optimizer": {"recipe": ANY},
    "tokens": {"inputs": "tokens"},
    "numbers": {"inputs": "numbers"},
}
SPLITS = [("jit", 1), ("jit", 2), ("jit", 8), ("pmap", 1), ("pmap", 2), ("pmap", 8)]  # four: with each of the kinds
ONE = {
    "one": {"devices": 1},
    **{f"{by} {count}": {"devices": count, "by": by} for by, count in SPLITS},
    **{
        f"{name}, {by} {count}": {"devices": count, "by": by, **how}
        for name, how in KINDS.items()
        for by, count in (("jit", 1), ("jit", 4), ("pmap", 4))
    },
    "two phases, optimizer split": {"devices": 4, "shard": "optimizer", "recipe": TWO},
    "any optimizer, split": {"devices": 4, "shard": "optimizer", "recipe": ANY},
    "two phases, all split": {"devices": 4, "shard": "all", "recipe": TWO},
    **{f"each, {by} 4": {"devices": 4, "by": by, "norms": "each", "batch_size": 6} for by in ("jit", "pmap")},
    "two phases, stopped": {"devices": 4, "shard": "all", "recipe": TWO, "stops": True},
    "two phases, resumed": {"devices": 2, "recipe": TWO, "resumes": "two phases, stopped"},
}
FEW = {name: ONE[name] for name in ("jit 1", "jit 2", "pmap 2")}
PROCESSES = {
    "jit": {},
    "pmap": {"by": "pmap"},
    "uneven, pmap": {"by": "pmap", **KINDS["uneven"]},
    "parts, jit": KINDS["parts"],
    "tokens, jit": KINDS["tokens"],
    "numbers, pmap": {"by": "pmap", **KINDS["numbers"]},
    "two phases, stopped processes": {"shard": "all", "recipe": TWO, "stops": True},
    "two phases, resumed processes": {"recipe": TWO, "resumes": "two phases, stopped processes"},
}
LATER = {
    f"two phases, from processes, {count}": {
        "devices": count,
        "recipe": TWO,
        "resumes": "two phases, stopped processes",
    }
    for count in (1, 4)
}
STOP_AT = 32  # steps after which some stop, in the middle of an epoch, for others to go on on other devices


class StopAt:
    """Ask for a stop after so many steps."""

    def __init__(self, steps):
        self.left = steps

    def __call__(self):
        self.left -= 1
        return self.left == 0


def run(
    name,
    folder,
    devices=None,
    by="jit",
    shard="nothing",
    norms="all",
    recipe=RECIPE,
    batch_size=8,
    stops=False,
    resumes=None,
    inputs=None,
    **how,
):
    """Fit; return the losses, what evaluation says, and how a large leaf lies at the end."""
    log, parallel = Recorder(), Devices(devices, by, shard, norms)
    given = INPUTS[inputs] if inputs else None  # no images
    model = given.case.model if given else MODEL
    variables = given.case.variables() if given else initialise(MODEL, (6, 6, 1), 0)
    train, validation = (given.source(22), given.source(9, 1)) if given else (TRAIN, VALIDATION)
    spec = given.spec if given else SPEC
    options = {
        "batch_size": batch_size,
        "cache": ActivationCache("memory"),
        "ema": 0.9,
        "devices": parallel,
        "callbacks": [log],
        **how,
    }
    if stops:
        options |= {"checkpoints": Checkpoints(folder / name), "stop": StopAt(STOP_AT)}
    if resumes:
        options["checkpoints"] = Checkpoints(copied(folder / resumes, folder / name))
        assert options["checkpoints"].latest().batch
    try:
        done = fit(model, variables, recipe, train, validation, spec, **options)
    except StoppedError:
        saved = options["checkpoints"].latest()
        return {"step": saved.step, "losses": [record["loss"] for record in log.records]}
    finally:
        if "checkpoints" in options:
            options["checkpoints"].close()
    found = evaluate(done, validation, batch_size=4, placement=parallel.placement())
    leaf = done.variables["params"]["head"]["logits" if inputs else "hidden1"]["kernel"]
    return {
        "losses": [record["loss"] for record in log.records],
        "accuracies": [record.get("accuracy") for record in log.records],
        "validation": [[value for name, value in record.items() if name.startswith("val_")] for record in log.records],
        "statistics": [float(np.sum(each)) for each in flatten(done.variables.get("batch_stats", {})).values()],
        "predicted": found.predicted.tolist(),
        "probabilities": found.predictions.tolist(),
        "devices": len(leaf.sharding.device_set) if isinstance(leaf, jax.Array) else 1,
        "part": leaf.addressable_shards[0].data.size / leaf.size if isinstance(leaf, jax.Array) else 1,
        "compiled": [record["compiled"] for record in log.records],
    }


def copied(origin, place):
    """Copy checkpoints, by one process of those that will read them."""
    tlx.devices.hosts.broadcast_from_first(lambda: shutil.copytree(origin, place) and None)
    return place


def main(kind, folder, coordinator=None, processes=None, process=None):
    folder = Path(folder)
    if kind == "few":
        fits = FEW
    elif kind == "processes":
        tlx.initialize_distributed(coordinator, int(processes), int(process))
        fits = PROCESSES if jax.device_count() == 4 else {name: PROCESSES[name] for name in ("jit", "pmap")}
    else:
        fits = {**ONE, **LATER} if (folder / "two phases, stopped processes").exists() else ONE
    with contextlib.redirect_stdout(sys.stderr):  # Gloo says that it is connected
        found = {name: run(name, folder, **how) for name, how in fits.items()}
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
