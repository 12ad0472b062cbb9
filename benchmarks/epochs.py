"""Epochs of a transfer, in tlx and its peers: a new head on a frozen base, or the base's last block with it.

    python benchmarks/epochs.py TASK PROGRAM [COUNT …]

is one process of `benchmarks/frozen_epochs.py` and `benchmarks/last_block.py`, asked over standard input
(`turns.serve`) to train. TASK is a `Task` as JSON, COUNT a number of epochs for which tlx fits.
"""

import atexit
import functools
import json
import os
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from networks import RATE, TLX, import_keras, keras_model, least_of, tlx_phase, tlx_variables, torch_model
from turns import in_turns, median, serve

DATA = Path(os.environ.get("TLX_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
BATCH = 32
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]


@dataclass(frozen=True)
class Task:
    """A network, the pictures it is trained on, at what size and how many (None: all), and what trains (`networks`).

    A third as many as `pictures` are validated on.
    """

    network: str
    data: Literal["letters47", "flowers"]
    side: int
    what: Literal["head", "block"] = "head"
    pictures: int | None = None


def examples(task: Task) -> Arrays:
    """Return pictures on 0..255 and labels to train on, the same to validate on, and the number of classes."""
    from tlx.data import Preprocess, gather, load_data

    if task.data == "letters47":
        data = load_data(f"idx:{DATA / 'letters47' / 'emnist-balanced'}", validation=0.0)
        train, held_out, preprocess = data.train, data.test, Preprocess(task.side, task.side, 3, scale=1.0, margin=2)
    else:
        folder = tempfile.TemporaryDirectory()  # until the process ends
        atexit.register(folder.cleanup)
        zipfile.ZipFile(DATA / "flowers.zip").extractall(folder.name)
        data = load_data(str(next(Path(folder.name).rglob("train")).parent))
        train, held_out, preprocess = data.train, data.validation, Preprocess(task.side, task.side, 3, scale=1.0)
    counts = (task.pictures or len(train), task.pictures // 3 if task.pictures else len(held_out))
    parts = [
        gather(part, preprocess, np.linspace(0, len(part) - 1, count).round().astype(int))  # of all classes alike
        for part, count in zip((train, held_out), counts, strict=True)
    ]
    (images, labels), (others, answers) = ((part["image"].astype(np.uint8), part["label"]) for part in parts)
    return images, labels, others, answers, len(data.classes)


def by_tlx(task: Task, cached: bool, counts: Sequence[int]) -> Callable[[], dict[str, Any]]:
    import tlx
    from tlx.data import ArraySource, Preprocess
    from tlx.models import ModelConfig, build_model
    from tlx.training import Cache, fit

    side = task.side
    images, labels, others, answers, classes = examples(task)
    config = ModelConfig(TLX.get(task.network, task.network), classes, (side, side, 3))
    model, variables = build_model(config), tlx_variables(config)
    train, held_out = ArraySource(images, labels), ArraySource(others, answers)
    preprocess = Preprocess(side, side, 3, scale=1 / 127.5, mean=(1.0,) * 3)

    def run(epochs: int) -> dict[str, Any]:
        recipe = (tlx_phase(task.network, model, variables, task.what, epochs),)
        heard = Losses()
        started = time.perf_counter()
        cache = Cache("memory" if cached else "off")
        done = fit(model, variables, recipe, train, held_out, preprocess, batch_size=BATCH, logs=[heard], cache=cache)
        (phase,) = done.phases
        return {
            "seconds": time.perf_counter() - started,
            "losses": heard.losses,
            "frozen_unchanged": phase.frozen_sha256_before == phase.frozen_sha256_after,
            "activations": phase.activations,
        }

    class Losses(tlx.training.log.Log):
        def __init__(self) -> None:
            self.losses: list[float] = []

        def epoch(self, record: dict[str, Any]) -> None:
            self.losses.append(record["loss"])

    run(2)
    return (lambda: {str(n): run(n) for n in counts}) if cached else (lambda: run(2))


def by_keras(backend: str, task: Task) -> Callable[[], float]:
    keras = import_keras(backend)
    images, labels, others, answers, classes = examples(task)
    scaled, beside = (each.astype(np.float32) / 127.5 - 1 for each in (images, others))
    model = keras_model(keras, task.network, task.what, task.side, classes)

    def epoch() -> float:
        started = time.perf_counter()
        model.fit(scaled, labels, BATCH, epochs=1, validation_data=(beside, answers), verbose=0)
        return time.perf_counter() - started

    epoch()
    return epoch


def by_torch(task: Task) -> Callable[[], float]:
    import torch
    from torch import nn

    images, labels, others, answers, classes = examples(task)
    model, parameters = torch_model(task.network, task.what, classes)
    scaled, beside = (
        torch.from_numpy(each.astype(np.float32) / 127.5 - 1).permute(0, 3, 1, 2) for each in (images, others)
    )
    targets, known = torch.from_numpy(labels).long(), torch.from_numpy(answers).long()
    trained = torch.optim.Adam(parameters, RATE)

    def epoch() -> float:
        started = time.perf_counter()
        for rows in torch.randperm(len(scaled)).split(BATCH):
            trained.zero_grad()
            nn.functional.cross_entropy(model(scaled[rows]), targets[rows]).backward()
            trained.step()
        with torch.no_grad():
            for first in range(0, len(beside), BATCH):
                nn.functional.cross_entropy(model(beside[first : first + BATCH]), known[first : first + BATCH]).item()
        return time.perf_counter() - started

    epoch()
    return epoch


def measure(task: Task, counts: Sequence[int], programs: Sequence[str], rounds: int) -> dict[str, Any]:
    """Time tlx's fits of so many epochs each, with its cache, beside as many of the peers' and its own without."""
    command = [sys.executable, __file__, json.dumps(asdict(task))]
    names = {name: [*command, name, *map(str, counts)] for name in ("tlx", *programs, "uncached")}
    answers, absent = in_turns(names, rounds)
    uncached = median([answer["seconds"] / 2 for answer in answers["uncached"]])
    peers = {name: median(times) for name, times in answers.items() if name not in ("tlx", "uncached")}
    fastest, least = least_of(peers)
    found: dict[str, Any] = {"network": task.network, "seconds_an_epoch": {**peers, "tlx, uncached": uncached}}
    for count in counts:
        ours = median([answer[str(count)]["seconds"] for answer in answers["tlx"]])
        found[f"{count} epochs"] = {
            "tlx": ours,
            **{name: count * each for name, each in peers.items()},
            "fastest_peer": fastest,
            "ratio": count * least / ours if least else None,
            "over_uncached": count * uncached / ours,
        }
    kept = [run for answer in answers["tlx"] for run in answer.values()]
    plain = answers["uncached"][0]["losses"]
    found["same_loss"] = all(np.allclose(run["losses"][: len(plain)], plain, rtol=1e-4) for run in kept)
    found["frozen_unchanged"] = all(run["frozen_unchanged"] for run in (*kept, *answers["uncached"]))
    return {**found, "activations": kept[0]["activations"], "absent": absent}


def say(name: str, found: dict[str, Any], counts: Sequence[int]) -> None:
    """Print what `measure` found of a task."""
    each = ", ".join(f"{program} {seconds:.2f}" for program, seconds in found["seconds_an_epoch"].items())
    print(f"{name}, {found['network']}: seconds an epoch: {each}; tlx keeps {found['activations']}")
    for count in counts:
        row = found[f"{count} epochs"]
        beside = f"{row['ratio']:.1f} times faster than {row['fastest_peer']}, " if row["ratio"] else ""
        print(f"  {count} epochs: tlx {row['tlx']:.2f} s, {beside}{row['over_uncached']:.1f} than without the cache")
    same, unchanged, absent = (found[key] for key in ("same_loss", "frozen_unchanged", "absent"))
    print(f"  same loss {same}, frozen unchanged {unchanged}, absent {absent}", flush=True)


if __name__ == "__main__":
    said, name, *rest = sys.argv[1:]
    task, counts = Task(**json.loads(said)), tuple(map(int, rest))
    makers: dict[str, Callable[[], Callable[[], Any]]] = {
        "tlx": functools.partial(by_tlx, task, True, counts),
        "uncached": functools.partial(by_tlx, task, False, counts),
        "keras-jax": functools.partial(by_keras, "jax", task),
        "keras-tensorflow": functools.partial(by_keras, "tensorflow", task),
        "torch": functools.partial(by_torch, task),
    }
    serve(makers[name])
