"""Measure the memory of training: the optimizer's state, and the peak of a step on a frozen base.

    python benchmarks/memory.py [--networks resnet50 vgg16] [--quick] [--json]

**The optimizer's bytes** depend only on what trains: Adam's state after a step on the head alone, on the last block and
the head, and on everything (at 32x32, which parameters do not depend on; Keras on JAX stands for Keras). Beside the
bytes stand the parameters that train; `beyond` is what is kept beside two float32 numbers for each of them: counts and
rates. `ratio` is the smallest peer's bytes a trained parameter over tlx's (torchvision's ResNet50 has no biases).

**The peak of a step** of Adam on a new head, the base frozen, batch norms on their stored statistics, float32, on
random images at 224x224, 16 at once: each program as `benchmarks/networks.py` builds it, in a fresh process. `tlx`
pushes every batch through its base, as the peers do; `tlx, cached` is a whole `tlx.fit` of two epochs on three such
batches, with the activation cache in memory: the base is run once, ten images at a time.

Two steps (or one fit) come first and compile. Then what is free goes back to the system (`malloc_trim`), the kernel's
mark of the highest resident size is reset (`/proc/self/clear_refs`), and three steps (or a fit) are taken. In MiB:
`added` is that mark less what was resident after the imports: parameters, images, compiled code and all that a step
needs; `steps` is the mark itself; `process` is the highest of the whole process, its imports, the making of the network
and compilation included. `ratio` is the smallest peer's `added` over tlx's, `ratio_process` so of `process`. Where the
mark cannot be reset, `steps` is `process`. Figures are medians of processes started in turns. `frozen_unchanged`: tlx's
frozen bytes were the same after the steps as before.
"""

import ctypes
import functools
import gc
import importlib
import json
import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from networks import (
    CLASSES,
    LAST_BLOCKS,
    MAKERS,
    PROGRAMS,
    TLX,
    batch,
    import_keras,
    import_torchvision,
    least_of,
    tlx_phase,
    tlx_variables,
)
from turns import in_turns, median, serve, versions

MIB = 1 << 20
SIZE, SIDE = 16, 224
CACHED = "tlx, cached"
TRAINS = ("head", "block", "train")
STATUS = Path("/proc/self/status")


def import_libraries(program: str) -> None:
    """Import what a program needs, for it is not what is measured."""
    if program.startswith("keras"):
        import_keras(program.removeprefix("keras-"))
    elif program == "torch":
        import_torchvision()
    else:
        for name in ("flax.linen", "optax", "tlx.training", "tlx.recipes"):
            importlib.import_module(name)


def resident(key: str) -> float:
    """Read the resident size in MiB: "VmRSS" now, "VmHWM" at its highest since the mark was last reset."""
    if STATUS.exists():
        (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith(key + ":"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (MIB if sys.platform == "darwin" else 1024)


def reset_mark() -> None:
    """Give back what is free, and let the kernel forget how much memory there was."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    except (OSError, AttributeError):  # another system
        return


def peak(program: str, network: str) -> dict[str, Any]:
    """Be one process: take steps of a new head on a frozen base, and return what memory they needed."""
    import_libraries(program)
    imports = resident("VmRSS")
    if program == CACHED:
        run, unchanged = cached_fit(network)
        rest = 1
    else:
        made = MAKERS[program](network, "head", SIZE, SIDE)
        before, rest = made.frozen(), 3

        def run() -> None:
            made.step()
            made.wait()

        unchanged = lambda: made.frozen() == before  # noqa: E731
        run()
    run()
    earlier = resident("VmHWM")
    reset_mark()
    for _ in range(rest):
        run()
    steps = resident("VmHWM")
    return {
        "added": steps - imports,
        "steps": steps,
        "process": max(earlier, steps),
        "imports": imports,
        "frozen_unchanged": unchanged(),
    }


def cached_fit(network: str) -> tuple[Any, Any]:
    """Return a fit of a head from kept activations, and what tells whether the frozen bytes stayed the same."""
    from tlx.data import ArraySource
    from tlx.images import Preprocess
    from tlx.models import ModelConfig, build_model
    from tlx.training import ActivationCache, TrainOptions, fit

    config = ModelConfig(TLX.get(network, network), CLASSES, (SIDE, SIDE, 3))
    model, variables = build_model(config), tlx_variables(config)
    images, targets = batch(3 * SIZE, SIDE)
    train = ArraySource((images * 50 + 127).clip(0, 255).astype(np.uint8), targets)
    del images
    recipe = (tlx_phase(network, model, variables, "head", 2),)
    preprocess, kept = Preprocess(SIDE, SIDE, 3, scale=1 / 127.5, mean=(1.0,) * 3), ActivationCache("memory")
    phases: list[Any] = []

    def run() -> None:
        options = TrainOptions(batch_size=SIZE, cache=kept, preprocess=preprocess)
        phases.extend(fit(model, variables, recipe, train, options).phases)

    return run, lambda: all(phase.frozen_sha256_before == phase.frozen_sha256_after for phase in phases)


def optimizer_bytes(program: str, network: str, what: str) -> dict[str, int]:
    """Be one process: take a step, and weigh the optimizer's state."""
    side = 71 if network == "xception" else 32
    made = MAKERS[program](network, what, 2, side)
    made.step()
    made.wait()
    trained, held = made.optimizer()
    return {"trained": trained, "bytes": held, "beyond": held - 8 * trained}


@dataclass(frozen=True)
class Options:
    """Measure the memory of training."""

    networks: tuple[str, ...] = ("resnet50", "vgg16")
    """Those whose steps are measured; of `optimizer`, all that have a last block here."""
    programs: tuple[str, ...] = PROGRAMS
    rounds: int = 3
    """How many processes a figure."""
    quick: bool = False
    """One round, of ResNet50 only."""
    json: bool = False
    """Print one JSON object."""


def asked(kind: str, rounds: int, programs: tuple[str, ...], *what: str) -> tuple[dict[str, list[Any]], dict[str, str]]:
    """Start each program once a round, one at a time; return their answers and the programs that are absent."""
    answers: dict[str, list[Any]] = {}
    absent: dict[str, str] = {}
    for _ in range(rounds):
        for program in programs:
            found, lacking = in_turns({program: [sys.executable, __file__, kind, program, *what]}, 1)
            absent |= lacking
            for name, each in found.items():
                answers.setdefault(name, []).extend(each)
    return answers, absent


def measure_optimizers(options: Options) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for network in ("resnet50",) if options.quick else tuple(LAST_BLOCKS):
        for what in TRAINS:
            programs = tuple(name for name in options.programs if name != "keras-tensorflow")
            answers, absent = asked("optimizer", 1, programs, network, what)
            figures = {name: each[0] for name, each in answers.items()}
            each = {name: own["bytes"] / own["trained"] for name, own in figures.items()}
            _, least = least_of(each)
            found[f"{network}, {what}"] = {
                **figures,
                "depends_only_on_what_trains": abs(figures["tlx"]["beyond"]) <= 64,
                "ratio": round(least / each["tlx"], 4) if least else None,
                "absent": absent,
            }
    return found


def measure_peaks(network: str, options: Options) -> dict[str, Any]:
    programs = ("tlx", CACHED, *(name for name in options.programs if name != "tlx"))
    answers, absent = asked("peak", 1 if options.quick else options.rounds, programs, network)
    keys = ("added", "steps", "process", "imports")
    figures = {
        name: {key: round(median([answer[key] for answer in each]), 1) for key in keys}
        for name, each in answers.items()
    }
    found: dict[str, Any] = {"batch": SIZE, "side": SIDE, "mib": figures}
    for program in ("tlx", CACHED):
        row = found[program] = {}
        for key, ratio in (("added", "ratio"), ("process", "ratio_process")):
            peer, least = least_of({name: own[key] for name, own in figures.items()})
            row |= {f"smallest_peer_{key}": peer, ratio: round(least / figures[program][key], 3) if least else None}
    ours = [answer for name in ("tlx", CACHED) for answer in answers[name]]
    return {**found, "frozen_unchanged": all(answer["frozen_unchanged"] for answer in ours), "absent": absent}


def main(options: Options) -> None:
    optimizers = measure_optimizers(options)
    networks = options.networks[:1] if options.quick else options.networks
    steps = {network: measure_peaks(network, options) for network in networks}
    if options.json:
        names = ("tlx-jax", "jax", "keras", "tensorflow-cpu", "torch", "torchvision", "timm")
        print(json.dumps({"optimizer": optimizers, "step": steps, "versions": versions(*names)}, indent=2))
        return
    for name, row in optimizers.items():
        each = ", ".join(
            f"{program} {own['bytes']:,} bytes for {own['trained']:,} parameters"
            for program, own in row.items()
            if isinstance(own, dict) and "bytes" in own
        )
        print(f"{name}: {each}; ratio {row['ratio']}")
    for name, found in steps.items():
        print(f"{name}, a step of the head on {SIZE} x {SIDE} x {SIDE}, MiB:")
        for program, own in found["mib"].items():
            print(
                f"  {program:<17} added {own['added']:7.0f}, steps {own['steps']:7.0f}, process {own['process']:7.0f}"
            )
        for ours in ("tlx", CACHED):
            row = found[ours]
            print(f"  smallest peer over {ours}: {row['ratio']}, whole processes {row['ratio_process']}")
        print(f"  frozen unchanged {found['frozen_unchanged']}, absent {found['absent']}")


if __name__ == "__main__":
    kinds = {"peak": peak, "optimizer": optimizer_bytes}
    if sys.argv[1:] and sys.argv[1] in kinds:
        serve(lambda: functools.partial(dict, kinds[sys.argv[1]](*sys.argv[2:])))
    else:
        import tyro

        main(tyro.cli(Options, args=sys.argv[1:]))
