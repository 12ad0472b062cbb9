"""Time training and feature extraction on a GPU in bfloat16, beside PyTorch and the card's limits.

    python benchmarks/gpu.py [--networks resnet50 vgg16 xception] [--batch 128] [--quick] [--json]
    python benchmarks/gpu.py --device cpu --batch 2 --side 32 --steps 1 --networks resnet50 --quick

The second line only shows that it runs; without a GPU the first says so and exits with 2. For each network: `train`, a
whole step of Adam on all parameters, batch norms on the batch's statistics; `head`, a step on the head alone, the base
frozen and pushed through; `forward`, the features of a batch. ImageFiles of 224x224 are random and on the card already.
Parameters and optimizer are float32, the computation is bfloat16: in tlx by the model's type (`ModelConfig.dtype`), in
PyTorch by `autocast`, with channels last, cuDNN's own choice of algorithms (`benchmark`) and the fused Adam; `torch`
runs eagerly, `torch-compile` the model through `torch.compile`. tlx and torch are processes on the same card, asked in
turns for 20 steps, after which they wait for the card once; JAX takes four tenths of its memory, so both find room.

A figure is the median, `ratio` the fastest peer's time over tlx's. The roofline: XLA's own count of the FLOPs and bytes
of tlx's compiled step (`cost_analysis`), over what the card's data sheet promises (dense bfloat16, memory bandwidth),
gives the least time it could take; `share` is that over the time it took, `bound` says which of the two limits it.
Cards that are not in the table have no share. `frozen_unchanged`: in `head`, the frozen bytes were the same after the
steps as before.
"""

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from networks import least_of, prepare, tlx_program, torch_program
from turns import Absent, in_turns, median, serve, versions

CARDS = {  # by the name that JAX gives: dense bfloat16 FLOPs and bytes of memory a second, of NVIDIA's data sheets
    "NVIDIA H200": (989e12, 4.8e12),
    "NVIDIA H100 80GB HBM3": (989e12, 3.35e12),
    "NVIDIA H100 NVL": (835e12, 3.9e12),
    "NVIDIA H100 PCIe": (756e12, 2.0e12),
    "NVIDIA A100-SXM4-80GB": (312e12, 2.039e12),
    "NVIDIA A100-SXM4-40GB": (312e12, 1.555e12),
    "NVIDIA A100 80GB PCIe": (312e12, 1.935e12),
    "NVIDIA A100-PCIE-40GB": (312e12, 1.555e12),
    "NVIDIA L40S": (362e12, 864e9),
    "NVIDIA L4": (121e12, 300e9),
    "NVIDIA A10": (125e12, 600e9),
}
PROGRAMS = ("tlx", "torch", "torch-compile")
WHAT = ("train", "head", "forward")
LOOK = "import jax; device = jax.devices()[0]; print(device.platform, device.device_kind, sep='/')"


@dataclass(frozen=True)
class Options:
    """Time training and feature extraction on a GPU."""

    networks: tuple[str, ...] = ("resnet50", "vgg16", "xception")
    what: tuple[str, ...] = WHAT
    programs: tuple[str, ...] = PROGRAMS
    batch: int = 128
    side: int = 224
    compute_dtype: Literal["bfloat16", "float32"] = "bfloat16"
    steps: int = 20
    """How many steps are taken before the card is waited for."""
    rounds: int = 5
    """How often each program is asked, in turns."""
    device: Literal["gpu", "cpu"] = "gpu"
    """A CPU only shows that the benchmark runs."""
    quick: bool = False
    """One round."""
    json: bool = False
    """Print one JSON object."""


def run(program: str, network: str, what: str, options: Options) -> Callable[[], dict[str, Any]]:
    """Be one process: build, warm up, and return what answers with the seconds of a step and XLA's counts."""
    if program == "tlx":
        made = tlx_program(network, what, options.batch, options.side, options.compute_dtype)
    else:
        import torch

        if options.device == "gpu" and not torch.cuda.is_available():
            raise Absent("PyTorch finds no CUDA")
        torch.backends.cudnn.benchmark = True
        device, compiled = "cuda" if options.device == "gpu" else "cpu", program == "torch-compile"
        made = torch_program(network, what, options.batch, options.side, options.compute_dtype, device, compiled)
    before = made.frozen()
    timed, costs = prepare(made, options.steps), made.costs()
    counts = {"flops": costs.get("flops"), "bytes": costs.get("bytes accessed")}
    return lambda: {"seconds": timed(), **counts, "frozen_unchanged": made.frozen() == before}


def roofline(card: str, flops: float, count: float, seconds: float) -> dict[str, Any]:
    """Say what share of the card's limits a step reaches; nothing of a card that is not known.

    >>> roofline("NVIDIA L4", 121e12, 30e9, 2.0)
    {'share': 0.5, 'bound': 'compute'}
    """
    if card not in CARDS or not flops or not count:
        return {}
    least = dict(zip(("compute", "bandwidth"), (flops / CARDS[card][0], count / CARDS[card][1]), strict=True))
    bound = max(least, key=least.__getitem__)
    return {"share": round(least[bound] / seconds, 4), "bound": bound}


def measure(network: str, what: str, options: Options, card: str) -> dict[str, Any]:
    said = json.dumps({**vars(options), "networks": (), "what": (), "programs": ()})
    programs = {name: [sys.executable, __file__, "serve", name, network, what, said] for name in options.programs}
    answers, absent = in_turns(programs, 1 if options.quick else options.rounds)
    seconds = {name: median([answer["seconds"] for answer in each]) for name, each in answers.items()}
    fastest, least = least_of(seconds)
    (ours, *_) = answers["tlx"]
    return {
        "images_a_second": {name: round(options.batch / each, 1) for name, each in seconds.items()},
        "milliseconds": {name: round(1000 * each, 3) for name, each in seconds.items()},
        "fastest_peer": fastest,
        "ratio": round(least / seconds["tlx"], 3) if least else None,
        "over_peers": {name: round(each / seconds["tlx"], 3) for name, each in seconds.items() if name != "tlx"},
        "flops": ours["flops"],
        "bytes": ours["bytes"],
        **roofline(card, ours["flops"], ours["bytes"], seconds["tlx"]),
        "frozen_unchanged": all(answer["frozen_unchanged"] for answer in answers["tlx"]),
        "absent": absent,
    }


def card_of(device: str) -> str:
    """Name the card that JAX finds; end with 2 where there is none. A process of its own holds it no longer."""
    found = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True)
    platform, _, card = found.stdout.strip().partition("/")
    if device == "gpu" and platform != "gpu":
        print("gpu.py: JAX finds no GPU here: run it on a machine with one (--device cpu: dry run)", file=sys.stderr)
        raise SystemExit(2)
    return card


def main(options: Options) -> None:
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.4")
    if options.device == "cpu":
        os.environ["JAX_PLATFORMS"] = "cpu"
    card = card_of(options.device)
    figures: dict[str, Any] = {"card": card, "batch": options.batch, "side": options.side}
    for network in options.networks:
        for what in options.what:
            figures[f"{network}, {what}"] = found = measure(network, what, options, card)
            if options.json:
                continue
            speeds = ", ".join(f"{name} {each}" for name, each in found["images_a_second"].items())
            print(f"{network}, {what}: images a second: {speeds}; over {found['fastest_peer']} {found['ratio']}")
            if "share" in found:
                print(f"  {found['share']:.1%} of what {card} could do, bound by {found['bound']}")
            print(f"  frozen unchanged {found['frozen_unchanged']}, absent {found['absent']}", flush=True)
    if options.json:
        print(json.dumps({**figures, "versions": versions("tlx-jax", "jax", "jaxlib", "torch", "timm")}, indent=2))


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        program, network, what, said = sys.argv[2:]
        serve(functools.partial(run, program, network, what, Options(**json.loads(said))))
    else:
        import tyro

        main(tyro.cli(Options, args=sys.argv[1:]))
