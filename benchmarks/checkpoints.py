"""Measure what a checkpoint every 100 steps costs, in tlx and in PyTorch.

    python benchmarks/checkpoints.py [--cases cnn resnet50] [--quick] [--json]

The networks and pictures of `benchmarks/loop.py`. A program takes epochs of 100 steps, first without checkpoints, then
with one after each epoch, and again; the time runs from the end of the first epoch until the last checkpoint is
written. tlx: `tlx.fit` without validation and with `Checkpoints(…, steps=100)`: Adam's state, hashes, fsync and all,
written by a thread. PyTorch: its loop of `benchmarks/loop.py`, and `torch.save` of the model's and Adam's state to a
file beside, which is then renamed, as people do it: without hashes and without fsync. `overhead` is the median of with
over without, less 1; `ratio` is PyTorch's time with checkpoints over tlx's.
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

STEPS, EPOCHS = 100, 3
QUICK = 20
Take = Callable[[bool], float]
"""Takes epochs, with checkpoints or without, and returns the seconds."""


def by_tlx(case: str, steps: int) -> Take:
    import tlx
    from tlx.data import ArraySource, Preprocess
    from tlx.models import ModelConfig, build_model
    from tlx.training.checkpoint import Checkpoints
    from tlx.training.log import Log

    shape = loops.CASES[case][0]
    source = ArraySource(*loops.pictures(shape, steps))
    pool = "flatten" if case == "cnn" else "average"
    config = ModelConfig(networks.TLX.get(case, case), networks.CLASSES, shape, pool=pool)
    model, variables = build_model(config), networks.tlx_variables(config)
    preprocess = Preprocess(*shape, scale=1 / 127.5, mean=(1.0,) * shape[2])
    recipe = tlx.recipes.full(list(variables["params"]["base"]), epochs=EPOCHS + 1, norms="batch")

    class Clock(Log):
        started = 0.0

        def epoch(self, record: dict[str, Any]) -> None:
            self.started = self.started or time.perf_counter()

    def take(saving: bool) -> float:
        clock = Clock()
        with tempfile.TemporaryDirectory() as folder:
            kept = Checkpoints(Path(folder), steps=steps) if saving else None
            given = (model, variables, recipe, source, None, preprocess)
            tlx.fit(*given, batch_size=loops.BATCH, logs=[clock], checkpoints=kept)
            return time.perf_counter() - clock.started

    return take


def by_torch(case: str, steps: int) -> Take:
    import torch

    run, model, adam = loops.torch_loop(case, loops.CASES[case][0], steps)

    def take(saving: bool) -> float:
        ends: list[float] = []
        with tempfile.TemporaryDirectory() as folder:
            final = Path(folder) / "checkpoint.pt"

            def end() -> None:
                if saving:
                    torch.save({"model": model.state_dict(), "adam": adam.state_dict()}, f"{final}.partial")
                    os.replace(f"{final}.partial", final)
                ends.append(time.perf_counter())

            for _ in range(EPOCHS + 1):
                run()
                end()
        return ends[-1] - ends[0]

    return take


MAKERS = {"tlx": by_tlx, "torch": by_torch}


def prepare(program: str, case: str, steps: int) -> Callable[[], list[float]]:
    take = MAKERS[program](case, steps)
    take(False)
    return lambda: [take(False), take(True)]


@dataclass(frozen=True)
class Options:
    """Measure what a checkpoint every 100 steps costs."""

    cases: tuple[str, ...] = tuple(loops.CASES)
    rounds: int = 5
    """How often each program is asked, in turns, for a pair of fits."""
    quick: bool = False
    """One round, and a checkpoint every 20 steps."""
    json: bool = False
    """Print one JSON object."""


def measure(case: str, options: Options) -> dict[str, Any]:
    steps = QUICK if options.quick else STEPS
    programs = {name: [sys.executable, __file__, "serve", name, case, str(steps)] for name in MAKERS}
    answers, absent = in_turns(programs, 1 if options.quick else options.rounds)
    figures = {
        name: {
            "seconds_without": round(median([without for without, _ in pairs]), 3),
            "seconds_with": round(median([with_ for _, with_ in pairs]), 3),
            "overhead": round(median([with_ / without - 1 for without, with_ in pairs]), 4),
        }
        for name, pairs in answers.items()
    }
    peer = figures.get("torch")
    ratio = round(peer["seconds_with"] / figures["tlx"]["seconds_with"], 3) if peer else None
    return {**figures, "steps_a_checkpoint": steps, "checkpoints": EPOCHS, "ratio": ratio, "absent": absent}


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
