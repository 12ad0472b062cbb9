"""Measure what the training loop costs beside the bare step: examples a second of each, in tlx and its peers.

    python benchmarks/loop.py [--cases cnn resnet50] [--quick] [--json]

`cnn`: three convolutions and a linear head (`tlx.models`, `cnn`) on images of 28x28x1 in batches of 32, where a step
takes a few milliseconds and all else shows; `resnet50`: at 32x32x3 in batches of 32. All parameters train by Adam,
float32, batch norms on the batch's statistics. The images are random bytes in memory, as many as fill whole batches.

`loop` is an epoch as people run it, from the end of the one before to its own end, shuffling and batching included,
with no validation: `tlx.fit` with its threads, its checks that the loss is finite, and a `JsonLines` log, images
scaled on the way; Keras's `fit` on float32 arrays scaled beforehand; PyTorch's `DataLoader` over a `TensorDataset` of
such, in its own process as it is by default. `bare` takes as many steps on one batch that is on the device already, and
waits after the last: the same jitted step of tlx's; Keras's `train_on_batch`, which waits for each; PyTorch's step.
Each epoch is followed by one of bare steps, while the loop waits, and `ratio` is the median of what such a pair comes
to, loop over bare, each program's of its own: 1 is a loop that costs nothing, and above 1 `fit` does less than
`train_on_batch`. The programs go in turns besides; figures are medians.
`loop_over_peer` is tlx's loop, in examples a second, over the fastest peer's.
"""

import functools
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from networks import CLASSES, PROGRAMS, RATE, TLX, import_keras, keras_model, tlx_variables, torch_model
from turns import in_turns, median, serve, versions

BATCH = 32
CASES = {"cnn": ((28, 28, 1), 100), "resnet50": ((32, 32, 3), 12)}  # shape, steps an epoch
QUICK = {"cnn": 40, "resnet50": 4}
EPOCHS = 3  # each time a program is asked, after one that warms up

Run = Callable[[Callable[[], None]], list[float]]
"""Runs epochs and returns the seconds of each, with a call in between that does not count."""


class Pauses:
    """Time epochs of which only the ends are told, without what is done between two."""

    def __init__(self, between: Callable[[], None]) -> None:
        self.between = between
        self.seconds: list[float] = []
        self.started: float | None = None  # the first epoch warms up

    def end(self) -> None:
        if self.started is not None:
            self.seconds.append(time.perf_counter() - self.started)
            self.between()
        self.started = time.perf_counter()


def random_images(shape: tuple[int, int, int], steps: int, size: int = BATCH) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (steps * size, *shape), dtype=np.uint8)
    return images, random.integers(0, CLASSES, len(images)).astype(np.int32)


def scaled(images: np.ndarray) -> np.ndarray:
    return images.astype(np.float32) / 127.5 - 1


def by_tlx(case: str, shape: tuple[int, int, int], steps: int) -> tuple[Run, Callable[[], None]]:
    """Return what runs epochs, and what takes an epoch of bare steps."""
    import jax

    import tlx
    from tlx.data import ArraySource
    from tlx.images import Preprocess
    from tlx.logs import JsonLines, Log
    from tlx.models import ModelConfig, build_model
    from tlx.objectives import Classification
    from tlx.optim import optimizer
    from tlx.training.state import Totals, TrainState
    from tlx.training.step import make_train_step
    from tlx.tree import label_tree, partition, trainable_mask

    images, targets = random_images(shape, steps)
    config = ModelConfig(TLX.get(case, case), CLASSES, shape, pool="flatten" if case == "cnn" else "average")
    model, variables = build_model(config), tlx_variables(config)
    preprocess = Preprocess(*shape, scale=1 / 127.5, mean=(1.0,) * shape[2])
    folder = tempfile.TemporaryDirectory()
    recipe = tlx.recipes.full(list(variables["params"]["base"]), epochs=EPOCHS + 1, norms="batch", patience=None)

    class Clock(Log):
        def __init__(self, pauses: Pauses) -> None:
            self.pauses = pauses

        def epoch(self, record: dict[str, Any]) -> None:
            self.pauses.end()

    def loop(between: Callable[[], None]) -> list[float]:
        pauses = Pauses(between)
        clock, lines = Clock(pauses), JsonLines(Path(folder.name) / "metrics.jsonl", "benchmark")
        source = ArraySource(images, targets)
        options = tlx.TrainOptions(batch_size=BATCH, preprocess=preprocess)
        tlx.fit(model, variables, recipe, source, options, callbacks=[lines, clock])
        return pauses.seconds

    (phase,) = recipe
    labels = label_tree(variables["params"], phase.rules)
    trainable, frozen = partition(variables["params"], trainable_mask(labels))
    tx = optimizer(labels, phase.groups, 1000)
    step = make_train_step(model, labels, tx, Classification())
    copied = jax.tree.map(jax.numpy.array, (trainable, variables.get("batch_stats", {})))  # the step donates them
    state = TrainState(jax.numpy.zeros((), "int32"), *copied, tx.init(copied[0]), jax.random.key(0), Totals.zero())
    on_device = jax.device_put({"input": scaled(images[:BATCH]), "target": targets[:BATCH]})

    def bare() -> None:
        nonlocal state
        for _ in range(steps):
            state = step(state, frozen, on_device)
        jax.block_until_ready(state)

    return loop, bare


def by_keras(backend: str, case: str, shape: tuple[int, int, int], steps: int) -> tuple[Run, Callable[[], None]]:
    keras = import_keras(backend)
    images, targets = random_images(shape, steps)

    def build() -> Any:
        if case != "cnn":
            return keras_model(keras, case, "train", shape[0], CLASSES)
        layers = keras.layers
        model = keras.Sequential(
            [
                keras.Input(shape),
                layers.Conv2D(32, 3, activation="relu"),
                layers.MaxPooling2D(2),
                layers.Conv2D(64, 3, activation="relu"),
                layers.MaxPooling2D(2),
                layers.Conv2D(64, 3, activation="relu"),
                layers.Flatten(),
                layers.Dense(CLASSES),
            ]
        )
        model.compile(keras.optimizers.Adam(RATE), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return model

    model, alone = build(), build()
    inputs = scaled(images)
    on_device = keras.ops.convert_to_tensor(inputs[:BATCH]), keras.ops.convert_to_tensor(targets[:BATCH])

    class Clock(keras.callbacks.Callback):
        def __init__(self, pauses: Pauses) -> None:
            super().__init__()
            self.pauses = pauses

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.pauses.end()

    def loop(between: Callable[[], None]) -> list[float]:
        pauses = Pauses(between)
        model.fit(inputs, targets, BATCH, epochs=EPOCHS + 1, verbose=0, callbacks=[Clock(pauses)])
        return pauses.seconds

    def bare() -> None:
        for _ in range(steps):
            alone.train_on_batch(*on_device)

    return loop, bare


def torch_loop(
    case: str, shape: tuple[int, int, int], steps: int, size: int = BATCH
) -> tuple[Callable[..., None], Any, Any]:
    """Return what takes an epoch, or with `bare` as many steps on one batch, and the model and its Adam."""
    import torch
    from torch import nn

    images, targets = random_images(shape, steps, size)
    if case == "cnn":
        layers = []
        for inputs, outputs in ((shape[2], 32), (32, 64), (64, 64)):
            layers += [nn.Conv2d(inputs, outputs, 3), nn.ReLU(), nn.MaxPool2d(2)]
        model = nn.Sequential(*layers[:-1], nn.Flatten(), nn.Linear(576, CLASSES))
        model = model.to(memory_format=torch.channels_last)
    else:
        model, _ = torch_model(case, "train", CLASSES)
    inputs = torch.from_numpy(scaled(images)).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    data = torch.utils.data.TensorDataset(inputs, torch.from_numpy(targets).long())
    loader = torch.utils.data.DataLoader(data, size, shuffle=True)
    adam = torch.optim.Adam(model.parameters(), RATE)

    def step(images: Any, answers: Any) -> Any:
        adam.zero_grad()
        loss = nn.functional.cross_entropy(model(images), answers)
        loss.backward()
        adam.step()
        return loss.detach()

    alone = inputs[:size].clone(memory_format=torch.channels_last), data.tensors[1][:size]

    def epoch(bare: bool = False) -> None:
        if bare:
            for _ in range(steps):
                step(*alone)
            return
        total = torch.zeros(())
        for batch in loader:
            total += step(*batch)
        total.item()

    return epoch, model, adam


def by_torch(case: str, shape: tuple[int, int, int], steps: int) -> tuple[Run, Callable[[], None]]:
    epoch, _, _ = torch_loop(case, shape, steps)

    def loop(between: Callable[[], None]) -> list[float]:
        pauses = Pauses(between)
        for _ in range(EPOCHS + 1):
            epoch()
            pauses.end()
        return pauses.seconds

    return loop, functools.partial(epoch, bare=True)


MAKERS: dict[str, Callable[..., tuple[Run, Callable[[], None]]]] = {
    "tlx": by_tlx,
    "keras-jax": functools.partial(by_keras, "jax"),
    "keras-tensorflow": functools.partial(by_keras, "tensorflow"),
    "torch": by_torch,
}


def prepare(program: str, case: str, steps: int) -> Callable[[], dict[str, list[float]]]:
    loop, bare = MAKERS[program](case, CASES[case][0], steps)

    def run() -> dict[str, list[float]]:
        seconds: list[float] = []

        def between() -> None:
            started = time.perf_counter()
            bare()
            seconds.append(time.perf_counter() - started)

        return {"loop": loop(between), "bare": seconds}

    run()
    return run


@dataclass(frozen=True)
class Options:
    """Measure what the training loop costs beside the bare step."""

    cases: tuple[str, ...] = tuple(CASES)
    programs: tuple[str, ...] = PROGRAMS
    rounds: int = 5
    """How often each program is asked, in turns, for three pairs of epochs."""
    quick: bool = False
    """One round of short epochs."""
    json: bool = False
    """Print one JSON object."""


def measure(case: str, options: Options) -> dict[str, Any]:
    steps = QUICK[case] if options.quick else CASES[case][1]
    programs = {name: [sys.executable, __file__, "serve", name, case, str(steps)] for name in options.programs}
    answers, absent = in_turns(programs, 1 if options.quick else options.rounds)
    figures = {}
    for name, each in answers.items():
        loops, bares = ([seconds for answer in each for seconds in answer[kind]] for kind in ("loop", "bare"))
        figures[name] = {
            "loop": round(steps * BATCH / median(loops), 1),
            "bare": round(steps * BATCH / median(bares), 1),
            "ratio": round(median([bare / loop for bare, loop in zip(bares, loops, strict=True)]), 4),
        }
    peers = {name: own["loop"] for name, own in figures.items() if name != "tlx"}
    fastest = max(peers, key=peers.__getitem__) if peers else None
    return {
        "examples_a_second": figures,
        "steps_an_epoch": steps,
        "ratio": figures["tlx"]["ratio"],
        "fastest_peer": fastest,
        "loop_over_peer": round(figures["tlx"]["loop"] / peers[fastest], 3) if fastest else None,
        "absent": absent,
    }


def main(options: Options) -> None:
    figures: dict[str, Any] = {}
    for case in options.cases:
        figures[case] = found = measure(case, options)
        if not options.json:
            print(f"{case}, batches of {BATCH}, {found['steps_an_epoch']} an epoch; examples a second:")
            for name, own in found["examples_a_second"].items():
                print(f"  {name:<17} loop {own['loop']:9.1f}, bare step {own['bare']:9.1f}, ratio {own['ratio']:.3f}")
            print(f"  tlx's loop over {found['fastest_peer']}'s {found['loop_over_peer']}, absent {found['absent']}")
    if options.json:
        names = ("tlx-jax", "jax", "keras", "tensorflow-cpu", "torch", "torchvision")
        print(json.dumps({**figures, "versions": versions(*names)}, indent=2))


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        name, case, steps = sys.argv[2:]
        serve(lambda: prepare(name, case, int(steps)))
    else:
        import tyro

        main(tyro.cli(Options, args=sys.argv[1:]))
