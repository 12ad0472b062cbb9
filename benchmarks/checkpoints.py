"""Measure what a checkpoint every 100 steps costs, in tlx and in PyTorch.

    python benchmarks/checkpoints.py [--cases cnn resnet50] [--quick] [--json]

All parameters train by Adam: a small CNN at 28x28x1 in batches of 32, ResNet50 at 32x32 in batches of 256 and at
224x224 in batches of 16. A program takes epochs, first without checkpoints, then with one after each epoch, and again;
the time runs from the end of the first epoch to the end of the last, and three checkpoints are written meanwhile. An
epoch has 100 steps for the CNN and 10 for ResNet50, which are enough to hold a checkpoint. `checkpoint` is the median
of with less without, in seconds for each checkpoint, and `overhead` is its share of 100 steps without.

tlx: `tlx.fit` without validation and with `Checkpoints(…, steps=…)`: Adam's state, hashes, fsync, reading back and all,
by a thread. PyTorch: its loop of `benchmarks/loop.py`, and `torch.save` of the model's and Adam's state to a file
beside, which is then renamed, as people do it: without hashes and without fsync, while the training waits.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import loop as loops
import networks
from turns import in_turns, median, serve, versions

EPOCHS, EVERY = 3, 100
CASES = {  # network, shape, batch, steps an epoch
    "cnn": ("cnn", (28, 28, 1), 32, 100),
    "resnet50 at 32x32": ("resnet50", (32, 32, 3), 256, 10),
    "resnet50": ("resnet50", (224, 224, 3), 16, 10),
}
QUICK = 2
Take = Callable[[bool], float]
"""Takes epochs, with checkpoints or without, and returns the seconds."""


def by_tlx(network: str, shape: tuple[int, int, int], batch: int, steps: int) -> Take:
    import tlx
    from tlx.data import ArraySource
    from tlx.images import Preprocess
    from tlx.logs import Log
    from tlx.models import ModelConfig, build_model
    from tlx.training.checkpoint import Checkpoints

    source = ArraySource(*loops.images(shape, steps, batch))
    pool = "flatten" if network == "cnn" else "average"
    config = ModelConfig(networks.TLX.get(network, network), networks.CLASSES, shape, pool=pool)
    model, variables = build_model(config), networks.tlx_variables(config)
    preprocess = Preprocess(*shape, scale=1 / 127.5, mean=(1.0,) * shape[2])
    recipe = tlx.recipes.full(list(variables["params"]["base"]), epochs=EPOCHS + 1, norms="batch")

    class Clock(Log):
        def __init__(self) -> None:
            self.ends: list[float] = []

        def epoch(self, record: dict[str, Any]) -> None:
            self.ends.append(time.perf_counter())

    def take(saving: bool) -> float:
        clock = Clock()
        with tempfile.TemporaryDirectory() as folder:
            kept = Checkpoints(Path(folder), steps=steps) if saving else None
            options = tlx.TrainOptions(batch_size=batch, preprocess=preprocess)
            tlx.fit(model, variables, recipe, source, options, callbacks=[clock], checkpoints=kept)
        return clock.ends[-1] - clock.ends[0]

    return take


def by_torch(network: str, shape: tuple[int, int, int], batch: int, steps: int) -> Take:
    import torch

    run, model, adam = loops.torch_loop(network, shape, steps, batch)

    def take(saving: bool) -> float:
        ends: list[float] = []
        with tempfile.TemporaryDirectory() as folder:
            final = Path(folder) / "checkpoint.pt"
            for _ in range(EPOCHS + 1):
                run()
                if saving:
                    torch.save({"model": model.state_dict(), "adam": adam.state_dict()}, f"{final}.partial")
                    os.replace(f"{final}.partial", final)
                ends.append(time.perf_counter())
        return ends[-1] - ends[0]

    return take


MAKERS = {"tlx": by_tlx, "torch": by_torch}


def prepare(program: str, case: str, steps: int) -> Callable[[], list[float]]:
    network, shape, batch, _ = CASES[case]
    take = MAKERS[program](network, shape, batch, steps)
    take(False)
    return lambda: [take(False), take(True)]


@dataclass(frozen=True)
class Options:
    """Measure what a checkpoint every 100 steps costs."""

    cases: tuple[str, ...] = tuple(CASES)
    rounds: int = 5
    """How often each program is asked, in turns, for a pair of fits."""
    quick: bool = False
    """One round of short epochs."""
    json: bool = False
    """Print one JSON object."""


def measure(case: str, options: Options) -> dict[str, Any]:
    steps = QUICK if options.quick else CASES[case][3]
    programs = {name: [sys.executable, __file__, "serve", name, case, str(steps)] for name in MAKERS}
    answers, absent = in_turns(programs, 1 if options.quick else options.rounds)
    figures: dict[str, Any] = {}
    for name, pairs in answers.items():
        step = median([without for without, _ in pairs]) / (EPOCHS * steps)
        costs = [(with_ - without) / EPOCHS for without, with_ in pairs]
        figures[name] = {
            "step": round(step, 4),
            "checkpoint": round(median(costs), 3),
            "overhead": round(median(costs) / (EVERY * step), 4),
        }
    return {**figures, "steps_an_epoch": steps, "absent": absent}


def main(options: Options) -> None:
    figures = {}
    for case in options.cases:
        figures[case] = found = measure(case, options)
        if not options.json:
            print(f"{case}: {found}", flush=True)
    if options.json:
        print(json.dumps({**figures, "versions": versions("tlx-jax", "jax", "orbax-checkpoint", "torch")}, indent=2))


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        name, case, steps = sys.argv[2:]
        serve(lambda: prepare(name, case, int(steps)))
    else:
        import tyro

        main(tyro.cli(Options, args=sys.argv[1:]))
