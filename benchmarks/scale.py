"""Measure what sharing a batch among devices costs and saves: memory on each, the efficiency of two processes.

    python benchmarks/scale.py [--network resnet50]

`memory`: what XLA says a device needs (`memory_analysis`) for a step of Adam on all parameters, 224x224, 32 images a
device, on one device and on eight of a CPU's, with all on each (`nothing`), and with the optimizer's state or the
parameters, too, split among them. Compiled, not run.

`efficiency`: a process that computes with one thread takes steps of 16 images of 64x64; then two such processes take
steps of 32 between them, by `tlx.initialize_distributed` over 127.0.0.1 and `tlx.fit`. The median step of the one over
that of the two, in turns: 1 would be no cost at all. The peer is PyTorch's `DistributedDataParallel` over gloo with
each process's own batch norm statistics; tlx's are those of all rows, and with `norms="each"` as PyTorch's.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import networks
import numpy as np
from turns import median, versions

EACH, SIDE, STEPS, EPOCHS, ROUNDS = 16, 64, 4, 4, 3
SHARDS = ("nothing", "optimizer", "all")
PROGRAMS: dict[str, dict[str, Any]] = {  # tlx's with what they give `tlx.Devices`
    "tlx": {},
    "tlx, norms of each": {"norms": "each"},
    "tlx, pmap": {"by": "pmap"},
    "tlx, pmap, norms of each": {"by": "pmap", "norms": "each"},
    "torch": {},
}


def memory(network: str) -> dict[str, int]:
    """Return the bytes of a step by how many devices share it, and what is split."""
    import tlx
    from tlx.data import ArraySource
    from tlx.images import Preprocess
    from tlx.models import ModelConfig, build_model
    from tlx.runs.estimate import memory_of
    from tlx.training.prepare import activation_cache, make_task
    from tlx.training.shapes import predicted_shapes

    config = ModelConfig(networks.TLX.get(network, network), networks.CLASSES, (224, 224, 3))
    model, variables = build_model(config), networks.tlx_variables(config)
    recipe = (networks.tlx_phase(network, model, variables, "train"),)
    found = {}
    for devices, shards in ((1, SHARDS[:1]), (8, SHARDS)):
        source = ArraySource(np.zeros((32 * devices, 224, 224, 3), np.uint8), np.zeros(32 * devices, np.int32), NAMES)
        for shard in shards:
            parallel = tlx.Devices(devices, shard=shard)
            options = tlx.TrainOptions(32 * devices, preprocess=Preprocess(224, 224, 3), devices=parallel)
            task = make_task(model, variables, recipe, source, options)
            shapes = predicted_shapes(task, 0, activation_cache(task), variables, {})
            found[f"{devices} x {shard}"] = memory_of(shapes)
            print(f"{devices} x {shard}: {found[f'{devices} x {shard}']:,}", file=sys.stderr)
    return found


NAMES = tuple("abcdefghij")


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Have XLA, which makes a thread for each core that it may use, make one; afterwards all may run anywhere."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    yield
    for thread in os.listdir("/proc/self/task"):
        os.sched_setaffinity(int(thread), cores)


def by_tlx(program: str, network: str, processes: int, process: int, address: str) -> float:
    """Take steps and return the median's seconds."""
    import jax

    import tlx
    from tlx.data import ArraySource
    from tlx.images import Preprocess
    from tlx.logs import Log
    from tlx.models import ModelConfig, build_model

    with one_thread():
        if processes > 1:
            tlx.initialize_distributed(address, processes, process)
        jax.devices()
    random, batch = np.random.default_rng(0), EACH * processes
    images = random.integers(0, 256, (STEPS * batch, SIDE, SIDE, 3)).astype(np.uint8)
    source = ArraySource(images, random.integers(0, len(NAMES), STEPS * batch), NAMES)
    config = ModelConfig(networks.TLX.get(network, network), networks.CLASSES, (SIDE, SIDE, 3))
    model, variables = build_model(config), networks.tlx_variables(config)
    recipe = tlx.recipes.full(list(variables["params"]["base"]), epochs=1 + EPOCHS, norms="batch", patience=None)
    seconds: list[float] = []

    class Clock(Log):
        def epoch(self, record: dict[str, Any]) -> None:
            seconds.append(record["seconds"] / STEPS)

    spec, parallel = Preprocess(SIDE, SIDE, 3, scale=1 / 255), tlx.Devices(**PROGRAMS[program])
    options = tlx.TrainOptions(batch, preprocess=spec, devices=parallel)
    tlx.fit(model, variables, recipe, source, options, callbacks=[Clock()])
    return median(seconds[1:])


def by_torch(network: str, processes: int, process: int, address: str) -> float:
    """Take steps and return the median's seconds."""
    import torch
    from torch import distributed, nn

    torch.set_num_threads(1)
    model, _ = networks.torch_model(network, "train", networks.CLASSES)
    run: Any = model
    if processes > 1:
        distributed.init_process_group("gloo", f"tcp://{address}", rank=process, world_size=processes)
        run = nn.parallel.DistributedDataParallel(model)
    images, targets = networks.batch(EACH, SIDE)
    tensors = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    answers, adam = torch.from_numpy(targets).long(), torch.optim.Adam(model.parameters(), networks.RATE)
    seconds = []
    for _ in range(1 + EPOCHS):
        began = time.perf_counter()
        for _ in range(STEPS):
            adam.zero_grad()
            nn.functional.cross_entropy(run(tensors), answers).backward()
            adam.step()
        seconds.append((time.perf_counter() - began) / STEPS)
    return median(seconds[1:])


def one_process(program: str, network: str, processes: str, process: str, address: str) -> None:
    """Be one of the processes."""
    place = (network, int(processes), int(process), address)
    found = by_torch(*place) if program == "torch" else by_tlx(program, *place)
    print(f"\n{found}")


def turn(program: str, network: str, processes: int) -> float:
    """Start the processes and return the slower one's median step."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    given = [sys.executable, __file__, "process", program, network, str(processes)]
    environment = {**os.environ, "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    pipe = subprocess.PIPE
    started = [
        subprocess.Popen([*given, str(each), address], stdout=pipe, text=True, env=environment)
        for each in range(processes)
    ]
    return max(float(process.communicate()[0].splitlines()[-1]) for process in started)


def efficiency(network: str, rounds: int) -> dict[str, dict[str, float]]:
    """Return, for each program, the seconds of a step in one process and in two, and their ratio."""
    took: dict[str, dict[int, list[float]]] = {program: {1: [], 2: []} for program in PROGRAMS}
    for _ in range(rounds):
        for program, times in took.items():
            for processes in times:
                times[processes].append(turn(program, network, processes))
                print(f"{program}, {processes}: {times[processes][-1]:.3f} s", file=sys.stderr)
    found = {}
    for program, times in took.items():
        one, two = (median(times[processes]) for processes in (1, 2))
        found[program] = {"one": one, "two": two, "efficiency": one / two}
    return found


@dataclass(frozen=True)
class Options:
    """Measure what sharing a batch among devices costs and saves."""

    network: str = "resnet50"
    rounds: int = ROUNDS
    what: tuple[str, ...] = ("memory", "efficiency")


def main(options: Options) -> None:
    found: dict[str, Any] = {"versions": versions("jax", "torch"), "network": options.network}
    if "memory" in options.what:
        found["memory"] = memory(options.network)
    if "efficiency" in options.what:
        found["efficiency"] = efficiency(options.network, options.rounds)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    if sys.argv[1:2] == ["process"]:
        one_process(*sys.argv[2:])
    else:
        os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
        import tyro

        main(tyro.cli(Options))
