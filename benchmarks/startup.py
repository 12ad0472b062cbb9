"""Time what a user waits for before anything happens: importing tlx, and `tlx --help`.

    python benchmarks/startup.py [--runs 7] [--json]

Each figure is the median of several fresh processes, taken in turns so that a busy moment hits all alike. What tlx adds
is measured within the process, after its dependencies are imported. The peer is `import keras` on its JAX backend
(`pip install keras`), where it is installed.
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

DEPENDENCIES = "import time, jax, flax, optax; start = time.perf_counter(); "
PROGRAMS = {
    "import tlx and its dependencies": [sys.executable, "-c", "import jax, flax, optax, tlx; tlx.finetune; tlx.load"],
    "import keras on jax": [sys.executable, "-c", "import keras"],
    "tlx --help": [sys.executable, "-m", "tlx", "--help"],
    "tlx finetune --help": [sys.executable, "-m", "tlx", "finetune", "--help"],
}
WITHIN = {
    "added by import tlx": DEPENDENCIES + "import tlx; print(time.perf_counter() - start)",
    "added by use": DEPENDENCIES + "import tlx; tlx.finetune; tlx.load; print(time.perf_counter() - start)",
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
    times: dict[str, list[float]] = {name: [] for name in (*programs, *WITHIN)}
    for _ in range(options.runs + 1):
        for name, program in programs.items():
            times[name].append(_run(program)[0])
        for name, program in WITHIN.items():
            times[name].append(float(_run([sys.executable, "-c", program])[1]))
    seconds = {
        name: round(statistics.median(taken[1:]), 4) for name, taken in times.items()
    }  # the first warms the disk
    ours, peer = (seconds.get(name) for name in ("import tlx and its dependencies", "import keras on jax"))
    figures = {
        "seconds": seconds,
        "ratio": round(peer / ours, 2) if peer else None,
        "absent": [] if peer else ["keras"],
    }
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    for name, value in seconds.items():
        print(f"{name:<32} {value:.3f} s")
    print(f"keras / tlx: {figures['ratio'] or 'keras is not installed'}")


def _run(program: list[str]) -> tuple[float, str]:
    """Run a program; return its seconds and what it printed."""
    started = time.perf_counter()
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    done = subprocess.run(program, check=True, capture_output=True, text=True, env=environment)
    return time.perf_counter() - started, done.stdout


if __name__ == "__main__":
    main(tyro.cli(Options, args=sys.argv[1:]))
