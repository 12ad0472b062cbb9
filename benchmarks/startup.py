"""Time what a user waits for before anything happens: importing tlx, and `tlx --help`.

    python benchmarks/startup.py [--runs 7] [--json]

Each figure is the median of several fresh processes, taken in turns so that a busy moment hits all alike. The peer is
`import keras` on its JAX backend (`pip install keras`), where it is installed.
"""

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

import tyro

DEPENDENCIES = "import jax, flax, optax"
PROGRAMS = {
    "dependencies": [sys.executable, "-c", DEPENDENCIES],
    "tlx": [sys.executable, "-c", f"{DEPENDENCIES}, tlx"],
    "tlx, all names used": [sys.executable, "-c", f"{DEPENDENCIES}, tlx; tlx.finetune; tlx.load"],
    "help": [sys.executable, "-m", "tlx", "--help"],
    "finetune help": [sys.executable, "-m", "tlx", "finetune", "--help"],
    "keras on jax": [sys.executable, "-c", "import keras"],
}


@dataclass(frozen=True)
class Options:
    """Time the start of tlx."""

    runs: int = 7
    """Fresh processes a figure."""
    json: bool = False
    """Print one JSON object."""


def main(options: Options) -> None:
    keras = importlib.util.find_spec("keras") is not None
    programs = {name: program for name, program in PROGRAMS.items() if keras or "keras" not in name}
    times: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(options.runs + 1):
        for name, program in programs.items():
            times[name].append(_seconds(program))
    medians = {name: statistics.median(taken[1:]) for name, taken in times.items()}  # the first round warms the disk
    ours = medians["tlx, all names used"]
    figures = {
        "seconds": {name: round(value, 3) for name, value in medians.items()},
        "added_by_tlx": round(medians["tlx"] - medians["dependencies"], 3),
        "added_by_all_names": round(ours - medians["dependencies"], 3),
        "ratio": round(medians["keras on jax"] / ours, 2) if keras else None,
        "absent": [] if keras else ["keras"],
    }
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    for name, value in figures["seconds"].items():
        print(f"{name:<22} {value:.3f} s")
    print(f"tlx adds {figures['added_by_tlx']:.3f} s to its dependencies, {figures['added_by_all_names']:.3f} s in use")
    print(f"keras on jax / tlx in use: {figures['ratio'] or 'keras is not installed'}")


def _seconds(program: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(program, check=True, capture_output=True, env={**os.environ, "KERAS_BACKEND": "jax"})
    return time.perf_counter() - started


if __name__ == "__main__":
    main(tyro.cli(Options, args=sys.argv[1:]))
