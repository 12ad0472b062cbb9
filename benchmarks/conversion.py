"""Time conversion, and measure its memory, beside the libraries that own the files.

    python benchmarks/conversion.py [--runs 5] [--json]

Three whole networks with random weights are made on the spot: VGG16 as Keras writes it (.h5), ResNet-152 as PyTorch
does (.pth), VGG16 with torchvision's names (.safetensors). tlx converts each (`tlx.convert_weights`: checked, hashed,
transposed, written with its certificate) and loads each (`tlx.load(…, weights=FILE)`: checked and transposed, nothing
written); the library that owns the file loads it, no more. So `load` is compared with its like, and `convert` with what
does less: it writes as much as it reads, and hashes both, tensor by tensor and as files. safetensors' `load_file` maps
the file and reads nothing; compared with is what it returns, copied into memory.

Each figure is the median of fresh processes, taken in turns so that a busy moment hits all alike; the files are in the
system's cache. Time begins after the imports, and for Keras after its network is built. Beside it stands the process's
own work (user and system), since others may hold a shared machine up; `ratio` is of the times. Memory is the highest
resident size of the process (`ru_maxrss`), whole and without what was resident after the imports. Peers that are not
installed are left out: `pip install keras torch`.
"""

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

MIB = 1 << 20
FILES = {  # the table by which tlx writes each, and the published model whose file it is
    "vgg16.h5": ("keras/vgg16", "keras/vgg16"),
    "resnet152.pth": ("torchvision/resnet152", "torchvision/resnet152.imagenet1k_v1"),
    "vgg16.safetensors": ("torchvision/vgg16", "torchvision/vgg16.imagenet1k_v1"),
}
MAKE = """
import importlib.util, pathlib, sys
import numpy as np
from tlx.convert.export import export
from tlx.convert.source import Tensor
from tlx.convert.tables import table_named
from tlx.models.registry import ARCHITECTURES, ModelConfig, leaf_shapes

path, table = pathlib.Path(sys.argv[1]), table_named(sys.argv[2])
shape = ARCHITECTURES[table.architecture].input_shape
config = ModelConfig(table.architecture, table.classes, shape, hidden=table.hidden, pool=table.pool)
draw = np.random.default_rng(0)
leaves = [
    Tensor(name, shape, "float32", lambda shape=shape: draw.standard_normal(shape, np.float32))
    for name, shape in leaf_shapes(config).items()
]
export(table, config, leaves, path)
if path.suffix == ".pth" and importlib.util.find_spec("torch"):
    import torch
    torch.save(torch.load(path), path)
"""
# What a process imports, what it makes ready, and what is measured.
PROGRAMS = {
    "tlx convert": (
        "import jax, h5py, tlx; tlx.convert_weights",
        "",
        "tlx.convert_weights(path, folder, arch=table)",
    ),
    "tlx load": (
        "import jax, h5py, tlx; tlx.load",
        "",
        "jax.block_until_ready(tlx.load(published, path).variables)",
    ),
    "keras load_weights": (
        "import jax, h5py, keras",
        "model = keras.applications.VGG16(weights=None)",
        "model.load_weights(path); jax.block_until_ready([weight.value for weight in model.weights])",
    ),
    "torch.load": (
        "import torch",
        "",
        "loaded = torch.load(path, weights_only=True)",
    ),
    "safetensors load_file": (  # a map of the file: nothing is read until it is used
        "import torch, safetensors.torch",
        "",
        "loaded = safetensors.torch.load_file(path)",
    ),
    "safetensors load_file, copied": (
        "import torch, safetensors.torch",
        "",
        "loaded = {name: tensor.clone() for name, tensor in safetensors.torch.load_file(path).items()}",
    ),
}
MEASURE = """
import json, os, resource, sys, time
path, folder, table, published = sys.argv[1:]
{imports}
unit = 1 if sys.platform == "darwin" else 1024
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
if os.path.exists("/proc/self/statm"):
    before = int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
{ready}
start, worked = time.perf_counter(), time.process_time()
{work}
seconds, cpu = time.perf_counter() - start, time.process_time() - worked
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
print(json.dumps({{"seconds": seconds, "cpu": cpu, "peak": peak, "added": peak - before}}))
"""
PEERS = {
    "vgg16.h5": ("keras load_weights",),
    "resnet152.pth": ("torch.load",),
    "vgg16.safetensors": ("safetensors load_file", "safetensors load_file, copied"),
}
NEEDS = {"keras load_weights": "keras"}  # the others need torch
READS_NOTHING = "safetensors load_file"  # shown, but not compared with


@dataclass(frozen=True)
class Options:
    """Time conversion and measure its memory."""

    runs: int = 5
    """Fresh processes a figure."""
    json: bool = False
    """Print one JSON object."""


def main(options: Options) -> None:
    absent = [name for name in ("keras", "torch") if importlib.util.find_spec(name) is None]
    with tempfile.TemporaryDirectory(prefix="tlx-benchmark-") as place:
        comparisons = _compare(Path(place), options.runs, absent)
    if options.json:
        print(json.dumps({"comparisons": comparisons, "absent": absent}, indent=2))
        return
    for name, comparison in comparisons.items():
        print(f"{name} ({comparison['file_mib']:.0f} MiB)")
        for program, own in comparison["figures"].items():
            peak = f"peak {own['peak_mib']:5.0f} MiB, {own['peak_over_file']:.2f} of the file"
            added = f"without the imports {own['added_mib']:5.0f} MiB, {own['added_over_file']:.2f}"
            print(f"  {program:<30} {own['seconds']:7.3f} s, {own['cpu_seconds']:.3f} of work; {peak}; {added}")
        print(f"  fastest peer / tlx: {comparison['ratio'] or 'no peer is installed'}")
    if absent:
        print(f"not installed: {', '.join(absent)}")


def _compare(place: Path, runs: int, absent: list[str]) -> dict[str, Any]:
    """Make the files and measure every program on each; return a comparison for each file and each thing tlx does."""
    taken: dict[tuple[str, str], list[dict[str, float]]] = {}
    for file, (table, _) in FILES.items():
        _run(MAKE, place / file, table)
    for turn in range(runs + 1):
        for file, (table, published) in FILES.items():
            peers = [name for name in PEERS[file] if NEEDS.get(name, "torch") not in absent]
            for name in ("tlx convert", "tlx load", *peers):
                program = MEASURE.format(**dict(zip(("imports", "ready", "work"), PROGRAMS[name], strict=True)))
                with tempfile.TemporaryDirectory(dir=place) as folder:
                    found = json.loads(_run(program, place / file, folder, table, published))
                if turn:  # the first warms the disk
                    taken.setdefault((file, name), []).append(found)
    comparisons = {}
    for file in FILES:
        size = (place / file).stat().st_size
        figures = {name: _figures(each, size) for (of, name), each in taken.items() if of == file}
        peers = {name: own for name, own in figures.items() if not name.startswith("tlx")}
        fastest = min((own["seconds"] for name, own in peers.items() if name != READS_NOTHING), default=None)
        for name in ("tlx convert", "tlx load"):
            comparisons[f"{name} {file}"] = {
                "file_mib": round(size / MIB, 1),
                "figures": {name: figures[name], **peers},
                "ratio": round(fastest / figures[name]["seconds"], 2) if fastest else None,
            }
    return comparisons


def _figures(taken: list[dict[str, float]], size: int) -> dict[str, float]:
    seconds, cpu, peak, added = (
        statistics.median(run[key] for run in taken) for key in ("seconds", "cpu", "peak", "added")
    )
    return {
        "seconds": round(seconds, 4),
        "cpu_seconds": round(cpu, 4),
        "peak_mib": round(peak / MIB, 1),
        "peak_over_file": round(peak / size, 2),
        "added_mib": round(added / MIB, 1),
        "added_over_file": round(added / size, 2),
    }


def _run(program: str, *arguments: object) -> str:
    """Run a program in a process of its own; return what it prints."""
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "TLX_OFFLINE": "1"}
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout


if __name__ == "__main__":
    main(tyro.cli(Options, args=sys.argv[1:]))
