"""Epochs of a transfer, in tlx and its peers: a new head on a frozen base, or the base's last block with it.

    python benchmarks/epochs.py TASK PROGRAM [COUNT …]

is one process of `benchmarks/frozen_epochs.py` and `benchmarks/last_block.py`, asked over standard input
(`turns.serve`) to train. TASK is a `Task` as JSON, COUNT a number of epochs for which tlx fits. PROGRAM `accuracy of …`
trains COUNT epochs and answers with the accuracy on the images held out; `weights` writes the file of weights that
the task names, drawn by Keras.
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
from networks import RATE, TLX, import_keras, keras_base, keras_model, least_of, tlx_phase, tlx_variables, torch_model
from turns import in_turns, median, serve

DATA = Path(os.environ.get("TLX_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
BATCH = 32
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]


@dataclass(frozen=True)
class Task:
    """A network, the images it is trained on, at what size and how many (None: all), and what trains (`networks`).

    A third as many as `images` are validated on. tlx and Keras take the base's weights from the file `weights` of
    Keras's, if there is one; else each draws its own, as PyTorch does.
    """

    network: str
    data: Literal["letters47", "flowers"]
    side: int
    what: Literal["head", "block"] = "head"
    images: int | None = None
    weights: str | None = None


def examples(task: Task) -> Arrays:
    """Return images on 0..255 and labels to train on, the same to validate on, and the number of classes."""
    from tlx.data import gather, load_data
    from tlx.images import Preprocess

    if task.data == "letters47":
        data = load_data(f"idx:{DATA / 'letters47' / 'emnist-balanced'}", validation=0.0)
        train, held_out, preprocess = data.train, data.test, Preprocess(task.side, task.side, 3, scale=1.0, margin=2)
    else:
        folder = tempfile.TemporaryDirectory()  # until the process ends
        atexit.register(folder.cleanup)
        zipfile.ZipFile(DATA / "flowers.zip").extractall(folder.name)
        data = load_data(str(next(Path(folder.name).rglob("train")).parent))
        train, held_out, preprocess = data.train, data.validation, Preprocess(task.side, task.side, 3, scale=1.0)
    counts = (task.images or len(train), task.images // 3 if task.images else len(held_out))
    parts = [
        gather(part, preprocess, np.linspace(0, len(part) - 1, count).round().astype(int))  # of all classes alike
        for part, count in zip((train, held_out), counts, strict=True)
    ]
    (images, labels), (others, answers) = ((part["input"].astype(np.uint8), part["target"]) for part in parts)
    return images, labels, others, answers, len(data.classes)


def tlx_start(task: Task, classes: int) -> tuple[Any, Any]:
    """Return a model of tlx's, and its variables, with a new head."""
    import tlx
    from tlx.models import ModelConfig, build_model

    if task.weights:
        base = tlx.load(f"keras/{task.network}", task.weights, head=False)
        start = base.with_head([str(each) for each in range(classes)], pool="average")
        return start.model, start.variables
    config = ModelConfig(TLX.get(task.network, task.network), classes, (task.side, task.side, 3))
    return build_model(config), tlx_variables(config)


def tlx_fit(task: Task) -> Callable[..., dict[str, Any]]:
    """Return what fits for so many epochs, with the cache or without, and says how it went."""
    import tlx
    from tlx.data import ArraySource
    from tlx.images import Preprocess
    from tlx.training import ActivationCache, TrainOptions, fit

    side = task.side
    images, labels, others, answers, classes = examples(task)
    model, variables = tlx_start(task, classes)
    train, held_out = ArraySource(images, labels), ArraySource(others, answers)
    preprocess = Preprocess(side, side, 3, scale=1 / 127.5, mean=(1.0,) * 3)

    def run(epochs: int, cached: bool = True, seed: int = 0) -> dict[str, Any]:
        recipe = (tlx_phase(task.network, model, variables, task.what, epochs),)
        heard = Losses()
        started = time.perf_counter()
        cache = ActivationCache("memory" if cached else "off")
        options = TrainOptions(batch_size=BATCH, seed=seed, cache=cache, preprocess=preprocess)
        done = fit(model, variables, recipe, (train, held_out), options, callbacks=[heard])
        (phase,) = done.phases
        return {
            "seconds": time.perf_counter() - started,
            "losses": heard.losses,
            "accuracy": heard.accuracy,
            "frozen_unchanged": phase.frozen_sha256_before == phase.frozen_sha256_after,
            "activations": phase.activations,
        }

    class Losses(tlx.Log):
        def __init__(self) -> None:
            self.losses: list[float] = []

        def epoch(self, record: dict[str, Any]) -> None:
            self.losses.append(record["loss"])
            self.accuracy = record["val_accuracy"]

    return run


def by_tlx(task: Task, cached: bool, counts: Sequence[int]) -> Callable[[], dict[str, Any]]:
    run = tlx_fit(task)
    run(2, cached)
    return (lambda: {str(n): run(n) for n in counts}) if cached else (lambda: run(2, cached=False))


def keras_fit(backend: str, task: Task) -> tuple[Callable[[int], Any], Callable[[], float]]:
    """Return what trains for so many epochs more, and what gives the accuracy on the images held out."""
    keras = import_keras(backend)
    images, labels, others, answers, classes = examples(task)
    scaled, beside = (each.astype(np.float32) / 127.5 - 1 for each in (images, others))
    model = keras_model(keras, task.network, task.what, task.side, classes, task.weights)

    def run(epochs: int) -> None:
        model.fit(scaled, labels, BATCH, epochs=epochs, validation_data=(beside, answers), verbose=0)

    def accuracy() -> float:
        return float((model.predict(beside, BATCH, verbose=0).argmax(-1) == answers).mean())

    return run, accuracy


def by_keras(backend: str, task: Task) -> Callable[[], float]:
    run, _ = keras_fit(backend, task)

    def epoch() -> float:
        started = time.perf_counter()
        run(1)
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


def draw_weights(task: Task) -> None:
    """Write the task's file of weights, of a base that Keras draws."""
    keras_base(import_keras("jax"), task.network, task.side).save_weights(task.weights)


def accuracy_after(name: str, task: Task, epochs: int) -> list[float]:
    """Train a program of tlx, with each of five seeds, or of Keras, and return accuracies on the images held out."""
    if name == "tlx":
        run = tlx_fit(task)
        return [run(epochs, seed=seed)["accuracy"] for seed in range(5)]
    train, accuracy = keras_fit(name.removeprefix("keras-"), task)
    train(epochs)
    return [accuracy()]


def accuracies(task: Task, programs: Sequence[str], epochs: int) -> dict[str, list[float]]:
    """Train so long in tlx and Keras, from the same base, and return each one's accuracies on what was held out."""
    command = [sys.executable, __file__, json.dumps(asdict(task))]
    names = ("tlx", *(name for name in programs if name.startswith("keras")))
    answers, _ = in_turns({name: [*command, f"accuracy of {name}", str(epochs)] for name in names}, 1)
    return {name: answer for name, (answer,) in answers.items()}


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
        "tlx": lambda: by_tlx(task, True, counts),
        "uncached": lambda: by_tlx(task, False, counts),
        "keras-jax": lambda: by_keras("jax", task),
        "keras-tensorflow": lambda: by_keras("tensorflow", task),
        "torch": lambda: by_torch(task),
    }
    if name == "weights":
        draw_weights(task)
    elif name.startswith("accuracy of "):
        serve(lambda: functools.partial(accuracy_after, name.removeprefix("accuracy of "), task, *counts))
    else:
        serve(makers[name])
