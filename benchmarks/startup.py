"""Time what a user waits for before anything happens: importing tlx, `tlx --help`, and the first training step.

    python benchmarks/startup.py [--runs 7] [--first-runs 3] [--quick] [--json]

Each figure is the median of several fresh processes, taken in turns so that a busy moment hits all alike. What tlx adds
is measured within the process, after its dependencies are imported. The peer is `import keras` on its JAX backend
(`pip install keras`), where it is installed.

The first step is that of a new head on a frozen ResNet50 at 32x32: from the start of the process to the end of the
step, so imports, building and compiling (`benchmarks/first_step.py` says how each program takes it). tlx is given a new
folder as its cache (TLX_CACHE): the first process to use it is `cold`, the next one `warm`, and finds what the first
left there. The peers, Keras on JAX and on TensorFlow and PyTorch, keep nothing from process to process. `ratio` is the
fastest peer's time over tlx's; so is `over_keras_on_jax`, which compiles with XLA as tlx does.
"""

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from networks import PROGRAMS as PEERS
from networks import least_of
from turns import versions

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
    first_runs: int = 3
    """Fresh processes a figure of the first step, which takes longer."""
    programs: tuple[str, ...] = PEERS
    """Those that take a first step."""
    quick: bool = False
    """One run of each."""
    json: bool = False
    """Print one JSON object."""


def main(options: Options) -> None:
    keras = importlib.util.find_spec("keras") is not None
    programs = {name: program for name, program in PROGRAMS.items() if keras or "keras" not in name}
    times: dict[str, list[float]] = {name: [] for name in (*programs, *WITHIN)}
    for _ in range(1 if options.quick else options.runs + 1):
        for name, program in programs.items():
            times[name].append(_run(program)[0])
        for name, program in WITHIN.items():
            times[name].append(float(_run([sys.executable, "-c", program])[1]))
    seconds = {
        name: round(statistics.median(taken[1:] or taken), 4) for name, taken in times.items()
    }  # the first warms the disk
    ours, peer = (seconds.get(name) for name in ("import tlx and its dependencies", "import keras on jax"))
    figures = {
        "seconds": seconds,
        "ratio": round(peer / ours, 2) if peer else None,
        "absent": [] if peer else ["keras"],
        "first_step": _first_steps(options.programs, 1 if options.quick else options.first_runs),
        "versions": versions("tlx-jax", "jax", "flax", "optax", "keras", "tensorflow-cpu", "torch", "torchvision"),
    }
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    for name, value in seconds.items():
        print(f"{name:<32} {value:.3f} s")
    print(f"keras / tlx: {figures['ratio'] or 'keras is not installed'}")
    first = figures["first_step"]
    for name, value in first["seconds"].items():
        print(f"{'first step, ' + name:<32} {value:.3f} s")
    for kind in ("cold", "warm"):
        row = first[kind]
        print(f"{first['fastest_peer']} / tlx, {kind}: {row['ratio']}; keras-jax / tlx: {row['over_keras_on_jax']}")
    print(f"absent {first['absent']}")


def _first_steps(programs: tuple[str, ...], runs: int) -> dict[str, Any]:
    """Time the first step of each program; those of tlx with a cache that is empty, then with what it left there."""
    script = Path(__file__).with_name("first_step.py")
    taken: dict[str, list[float]] = {}
    absent: dict[str, str] = {}
    for _ in range(runs):
        with tempfile.TemporaryDirectory(prefix="tlx-benchmark-") as folder:
            for name in ("tlx, cold", "tlx, warm", *(each for each in programs if each != "tlx")):
                if name in absent:
                    continue
                program = [sys.executable, str(script), name.partition(",")[0]]
                seconds, said = _run(program, TLX_CACHE=folder)
                if said.startswith("absent"):
                    absent[name] = said.strip()
                else:
                    taken.setdefault(name, []).append(seconds)
    seconds = {name: round(statistics.median(each), 3) for name, each in taken.items()}
    fastest, least = least_of(seconds)
    found: dict[str, Any] = {"seconds": seconds, "fastest_peer": fastest, "absent": absent}
    for kind in ("cold", "warm"):
        ours, keras = seconds[f"tlx, {kind}"], seconds.get("keras-jax")
        found[kind] = {
            "ratio": round(least / ours, 3) if least else None,
            "over_keras_on_jax": round(keras / ours, 3) if keras else None,
        }
    return found


def _run(program: list[str], **more: str) -> tuple[float, str]:
    """Run a program, with more in its environment; return its seconds and what it printed."""
    environment = {**os.environ, "KERAS_BACKEND": "jax", **more}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)  # which would warm Keras, and tlx from elsewhere
    started = time.perf_counter()
    done = subprocess.run(program, check=True, capture_output=True, text=True, env=environment)
    return time.perf_counter() - started, done.stdout


if __name__ == "__main__":
    main(tyro.cli(Options, args=sys.argv[1:]))
