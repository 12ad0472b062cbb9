"""What fits come to on one, two, four and eight devices, where the process has so many: JSON, by name.

XLA_FLAGS=--xla_force_host_platform_device_count=8 makes so many of one CPU.
"""

import contextlib
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from toys import SPEC, Recorder, toy_source

from tlx.errors import StoppedError
from tlx.models import Base, Classifier, Head, Stage, initialise
from tlx.models.layers import ConvNorm, Norm
from tlx.optim import Adam, Constant, Group, Phase, Sgd
from tlx.training import Cache, Mix, Parallel, evaluate, fit
from tlx.training.checkpoint import Checkpoints
from tlx.tree import flatten

TRAIN, VALIDATION = toy_source(22), toy_source(9, seed=1)
NORM = Norm(1e-3, 0.5)
MODEL = Classifier(
    Base((Stage("stem", ConvNorm(16, 3, NORM, bias=True)), Stage("block", ConvNorm(32, 3, NORM, strides=2)))),
    Head(3, hidden=(32,), dropout=0.3),
)
SLOW, FAST = Group(Constant(0.01), Sgd(0.9)), Group(Constant(0.05), Adam())
RECIPE = (
    Phase("head", 2, (("base", "frozen"), ("head", "head")), {"head": FAST}),
    Phase("all", 17, (("**", "all"),), {"all": SLOW}),
)
FITS = {
    "one": {},
    **{f"{by} {count}": {"devices": count, "by": by} for by in ("jit", "pmap") for count in (1, 2, 4, 8)},
    "optimizer split": {"devices": 4, "shard": "optimizer"},
    "all split": {"devices": 4, "shard": "all"},
    **{
        f"{name}, {by} {count}": {"devices": count, "by": by, **how}
        for name, how in {
            "uneven": {"batch_size": 6},
            "parts": {"accumulate": 2},
            "mixed": {"mix": Mix(1.0, 1.0)},
        }.items()
        for by, count in (("jit", 1), ("jit", 4), ("pmap", 4))
    },
    **{f"each, {by} 4": {"devices": 4, "by": by, "norms": "each", "batch_size": 6} for by in ("jit", "pmap")},
    "resumed": {"devices": 2, "resumes": {"devices": 4, "shard": "all"}},
}
STOP_AT = 32  # steps after which "resumed" goes on on other devices, in the middle of an epoch


class StoppedAt:
    """Ask for a stop after so many steps."""

    def __init__(self, steps):
        self.left = steps

    def __call__(self):
        self.left -= 1
        return self.left == 0


def begun(folder, how):
    """Begin a fit that is stopped, and return where it was saved."""
    checkpoints = Checkpoints(folder)
    with contextlib.suppress(StoppedError):
        run(**how, checkpoints=checkpoints, stop=StoppedAt(STOP_AT))
    assert checkpoints.latest().step
    return checkpoints


def run(devices=1, by="jit", shard="nothing", norms="all", batch_size=8, resumes=None, **how):
    """Fit; return the losses, what evaluation says, and how a large leaf and its momentum lie at the end."""
    log, parallel = Recorder(), Parallel(devices, by, shard, norms)
    if resumes:
        how["checkpoints"] = begun(Path(tempfile.mkdtemp()), resumes)
    variables = initialise(MODEL, (6, 6, 1), 0)
    options = {"batch_size": batch_size, "cache": Cache("memory"), "ema": 0.9, "parallel": parallel, **how}
    done = fit(MODEL, variables, RECIPE, TRAIN, VALIDATION, SPEC, logs=[log], **options)
    found = evaluate(MODEL, done.variables, VALIDATION, SPEC, 4, placement=parallel.placement())
    leaf = done.variables["params"]["base"]["block"]["conv"]["kernel"]
    return {
        "losses": [record["loss"] for record in log.records],
        "accuracies": [record["accuracy"] for record in log.records],
        "validation": [[record["val_loss"], record["val_accuracy"]] for record in log.records],
        "statistics": [float(np.sum(each)) for each in flatten(done.variables["batch_stats"]).values()],
        "predicted": found.predicted.tolist(),
        "probabilities": found.probabilities.tolist(),
        "devices": len(leaf.sharding.device_set),
        "part": leaf.addressable_shards[0].data.size / leaf.size,
        "compiled": [record["compiled"] for record in log.records],
    }


if __name__ == "__main__":
    wanted = sys.argv[1:] or list(FITS)
    print(json.dumps({name: run(**FITS[name]) for name in wanted}))
