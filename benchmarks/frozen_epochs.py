"""Time the usual beginning of a transfer, some epochs of a new head on a frozen base, beside Keras and PyTorch.

    python benchmarks/frozen_epochs.py [--tasks letters47 flowers] [--quick] [--json]

`letters47`: ResNet50 on 4,960 pictures of handwriting at 32x32, validated on 1,240 after every epoch; `flowers`:
MobileNet V2 on 600 photographs at 224x224, validated on 200. Batches of 32, Adam, a linear head on average-pooled
features, float32. The pictures are decoded and scaled in memory before any clock runs; the base's weights
are random, for time does not depend on them.

tlx runs `tlx.fit` with `recipes.probe`, whole, for each number of epochs. A fit of two epochs comes first, which
compiles the base as a peer's first epoch does; the head's step is compiled in every fit, and counts. The peers do it
their usual way, the base in every epoch: Keras by `fit` with `trainable = False`, PyTorch by a loop, under `no_grad`
for validation. Their epochs are all alike, so the time of n of them is n times the median of those measured. `uncached`
is tlx with `Cache("off")`, measured likewise. All are asked in turns. `ratio` is the fastest peer's time over tlx's;
`same_loss` says that tlx's training losses with the cache and without are the same to 1e-4, and `frozen_unchanged` that
the frozen bytes were the same after as before. What was measured stands in benchmarks/README.md.
"""

import atexit
import functools
import json
import os
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from networks import KERAS, PROGRAMS, TLX, torch_base
from turns import in_turns, median, serve, versions

DATA = Path(os.environ.get("TLX_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
BATCH, RATE = 32, 1e-3
TASKS = {"letters47": ("resnet50", 32), "flowers": ("mobilenet_v2", 224)}
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]


def examples(task: str) -> Arrays:
    """Return pictures on 0..255 and labels to train on, the same to validate on, and the number of classes."""
    from tlx.data import Preprocess, gather, load_data

    side = TASKS[task][1]
    if task == "letters47":
        data = load_data(f"idx:{DATA / 'letters47' / 'emnist-balanced'}", validation=0.0)
        train, held_out, preprocess = data.train, data.test, Preprocess(side, side, 3, scale=1.0, margin=2)
    else:
        folder = tempfile.TemporaryDirectory()  # until the process ends
        atexit.register(folder.cleanup)
        zipfile.ZipFile(DATA / "flowers.zip").extractall(folder.name)
        data = load_data(str(next(Path(folder.name).rglob("train")).parent))
        train, held_out, preprocess = data.train, data.validation, Preprocess(side, side, 3, scale=1.0)
    parts = [gather(part, preprocess, np.arange(len(part))) for part in (train, held_out)]
    (images, labels), (others, answers) = ((part["image"].astype(np.uint8), part["label"]) for part in parts)
    return images, labels, others, answers, len(data.classes)


def by_tlx(task: str, cached: bool) -> Callable[[], dict[str, Any]]:
    import tlx
    from tlx.data import ArraySource, Preprocess
    from tlx.models import ModelConfig, build_model, init_variables
    from tlx.training import Cache, fit

    network, side = TASKS[task]
    images, labels, others, answers, classes = examples(task)
    config = ModelConfig(TLX.get(network, network), classes, (side, side, 3))
    model, variables = build_model(config), init_variables(config)
    train, held_out = ArraySource(images, labels), ArraySource(others, answers)
    preprocess = Preprocess(side, side, 3, scale=1 / 127.5, mean=(1.0,) * 3)

    def run(epochs: int) -> dict[str, Any]:
        recipe = tlx.recipes.probe(model.base.stage_names, epochs=epochs)
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
    return (lambda: {str(n): run(n) for n in (10, 50)}) if cached else (lambda: run(2))


def by_keras(backend: str, task: str) -> Callable[[], float]:
    os.environ["KERAS_BACKEND"] = backend
    if backend == "tensorflow":
        import tensorflow  # noqa: F401
    import keras

    network, side = TASKS[task]
    images, labels, others, answers, classes = examples(task)
    scaled, beside = (each.astype(np.float32) / 127.5 - 1 for each in (images, others))
    base = getattr(keras.applications, KERAS[network])(include_top=False, weights=None, input_shape=(side, side, 3))
    base.trainable = False
    pooled = keras.layers.GlobalAveragePooling2D()(base(base.input, training=False))
    model = keras.Model(base.input, keras.layers.Dense(classes)(pooled))
    model.compile(keras.optimizers.Adam(RATE), keras.losses.SparseCategoricalCrossentropy(from_logits=True))

    def epoch() -> float:
        started = time.perf_counter()
        model.fit(scaled, labels, BATCH, epochs=1, validation_data=(beside, answers), verbose=0)
        return time.perf_counter() - started

    epoch()
    return epoch


def by_torch(task: str) -> Callable[[], float]:
    import torch
    from torch import nn

    images, labels, others, answers, classes = examples(task)
    base, channels = torch_base(TASKS[task][0])
    model = nn.Sequential(base, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))
    model = model.to(memory_format=torch.channels_last)
    base.requires_grad_(False)
    base.eval()
    scaled, beside = (
        torch.from_numpy(each.astype(np.float32) / 127.5 - 1).permute(0, 3, 1, 2) for each in (images, others)
    )
    targets, known = torch.from_numpy(labels).long(), torch.from_numpy(answers).long()
    trained = torch.optim.Adam(model[-1].parameters(), RATE)

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


@dataclass(frozen=True)
class Options:
    """Time epochs of a new head on a frozen base."""

    tasks: tuple[str, ...] = tuple(TASKS)
    rounds: int = 3
    """How often each program is asked."""
    programs: tuple[str, ...] = PROGRAMS
    quick: bool = False
    """One round."""
    json: bool = False
    """Print one JSON object."""


def measure(task: str, options: Options) -> dict[str, Any]:
    names = {name: [sys.executable, __file__, "serve", task, name] for name in ("tlx", *options.programs, "uncached")}
    answers, absent = in_turns(names, 1 if options.quick else options.rounds)
    uncached = median([answer["seconds"] / 2 for answer in answers["uncached"]])
    peers = {name: median(times) for name, times in answers.items() if name not in ("tlx", "uncached")}
    fastest = min(peers, key=peers.__getitem__) if peers else None
    found: dict[str, Any] = {"network": TASKS[task][0], "seconds_an_epoch": {**peers, "tlx, uncached": uncached}}
    for count in ("10", "50"):
        ours = median([answer[count]["seconds"] for answer in answers["tlx"]])
        found[f"{count} epochs"] = {
            "tlx": ours,
            **{name: int(count) * each for name, each in peers.items()},
            "fastest_peer": fastest,
            "ratio": int(count) * peers[fastest] / ours if fastest else None,
            "over_uncached": int(count) * uncached / ours,
        }
    kept = [run for answer in answers["tlx"] for run in answer.values()]
    plain = answers["uncached"][0]["losses"]
    found["same_loss"] = all(np.allclose(run["losses"][: len(plain)], plain, rtol=1e-4) for run in kept)
    found["frozen_unchanged"] = all(run["frozen_unchanged"] for run in (*kept, *answers["uncached"]))
    return {**found, "activations": kept[0]["activations"], "absent": absent}


def main(options: Options) -> None:
    figures: dict[str, Any] = {task: measure(task, options) for task in options.tasks}
    figures["versions"] = versions("tlx-jax", "jax", "keras", "tensorflow-cpu", "torch")
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    for task in options.tasks:
        found = figures[task]
        each = ", ".join(f"{name} {seconds:.2f}" for name, seconds in found["seconds_an_epoch"].items())
        print(f"{task}, {found['network']}: seconds an epoch: {each}; tlx keeps {found['activations']}")
        for count in ("10 epochs", "50 epochs"):
            row = found[count]
            beside = f"{row['ratio']:.1f} times faster than {row['fastest_peer']}, " if row["ratio"] else ""
            print(f"  {count}: tlx {row['tlx']:.2f} s, {beside}{row['over_uncached']:.1f} than without the cache")
        print(
            f"  same loss {found['same_loss']}, frozen unchanged {found['frozen_unchanged']}, absent {found['absent']}"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        task, name = sys.argv[2:]
        makers: dict[str, Callable[[], Callable[[], Any]]] = {
            "tlx": functools.partial(by_tlx, task, True),
            "uncached": functools.partial(by_tlx, task, False),
            "keras-jax": functools.partial(by_keras, "jax", task),
            "keras-tensorflow": functools.partial(by_keras, "tensorflow", task),
            "torch": functools.partial(by_torch, task),
        }
        serve(makers[name])
    else:
        main(tyro.cli(Options, args=sys.argv[1:]))
