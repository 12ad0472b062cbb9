"""The networks that are timed, in tlx and in its peers: a base with a linear head of 10 classes, on random pictures.

    python benchmarks/networks.py PROGRAM NETWORK WHAT BATCH SIZE

is one process of `benchmarks/train_step.py` and `benchmarks/forward.py`, asked over standard input (`turns.serve`) to
take a step and answer with its seconds. WHAT is `forward` (features of a batch) or `train` (a whole step of Adam on all
parameters, batch norms on the batch's statistics). The first two steps, which compile and warm up, are not counted.

All compute in float32 with random weights. Keras compiles its steps with XLA on JAX and as graphs on TensorFlow, which
is what `compile` chooses there; PyTorch runs eagerly, with channels last.
"""

import functools
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from turns import Absent, in_turns, median, serve, versions

CLASSES = 10
KERAS = {
    "resnet50": "ResNet50",
    "vgg16": "VGG16",
    "xception": "Xception",
    "inception_v3": "InceptionV3",
    "mobilenet_v2": "MobileNetV2",
}
TLX = {"resnet50": "resnet50_keras", "inception_v3": "inception_v3_keras", "mobilenet_v2": "mobilenet_v2_keras"}
SIZES = {  # network, batch, side
    "resnet50": ("resnet50", 16, 224),
    "vgg16": ("vgg16", 8, 224),
    "xception": ("xception", 8, 224),
    "inception_v3": ("inception_v3", 16, 224),
    "mobilenet_v2": ("mobilenet_v2", 16, 224),
    "resnet50 at 32x32": ("resnet50", 256, 32),
}
PROGRAMS = ("tlx", "keras-jax", "keras-tensorflow", "torch")
Step = Callable[[], Any]
"""Take one step and wait for it."""


def batch(size: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    images = random.standard_normal((size, side, side, 3), np.float32)
    return images, random.integers(0, CLASSES, size).astype(np.int32)


def tlx_step(network: str, what: str, size: int, side: int) -> Step:
    import jax

    from tlx.models import ModelConfig, build_model, init_variables
    from tlx.optim import Constant, Group, optimizer
    from tlx.training.loss import Loss
    from tlx.training.state import Totals, TrainState
    from tlx.training.step import make_train_step
    from tlx.tree import label_tree, partition, trainable_mask

    config = ModelConfig(TLX.get(network, network), CLASSES, (side, side, 3))
    model, variables = build_model(config), init_variables(config)
    images, targets = jax.device_put(batch(size, side))
    if what == "forward":
        run = jax.jit(functools.partial(model.apply, method="features"))
        return lambda: run(variables, images).block_until_ready()
    labels = label_tree(variables["params"], [("**", "all")])
    trainable, frozen = partition(variables["params"], trainable_mask(labels))
    tx = optimizer(labels, {"all": Group(Constant(1e-3))}, 1000)
    step = make_train_step(model, labels, tx, Loss())
    state = TrainState(
        jax.numpy.zeros((), "int32"),
        trainable,
        variables.get("batch_stats", {}),
        tx.init(trainable),
        jax.random.key(0),
        Totals.zero(),
    )

    def take() -> None:
        nonlocal state
        state = jax.block_until_ready(step(state, frozen, {"image": images, "label": targets}))

    return take


def keras_step(backend: str, network: str, what: str, size: int, side: int) -> Step:
    os.environ["KERAS_BACKEND"] = backend
    if backend == "tensorflow":
        import tensorflow  # noqa: F401
    import keras

    base = getattr(keras.applications, KERAS[network])(
        include_top=False, weights=None, input_shape=(side, side, 3), pooling=None
    )
    images, targets = batch(size, side)
    if what == "forward":
        return lambda: base.predict_on_batch(images)
    logits = keras.layers.Dense(CLASSES)(keras.layers.GlobalAveragePooling2D()(base.output))
    model = keras.Model(base.input, logits)
    model.compile(keras.optimizers.Adam(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return lambda: model.train_on_batch(images, targets)


def torch_base(network: str) -> tuple[Any, int]:
    """Return a base of torchvision's, or timm's Xception, and the number of its features."""
    from tlx.convert.reference import import_torchvision

    models = import_torchvision().models
    from torch import nn

    if network == "xception":
        try:
            import timm
        except ImportError as error:
            raise Absent("timm, for Xception") from error
        base = timm.create_model("legacy_xception", num_classes=0, global_pool="")
        return base, base.num_features
    if network == "resnet50":
        return nn.Sequential(*list(models.resnet50(weights=None).children())[:-2]), 2048
    if network == "inception_v3":
        whole = models.inception_v3(weights=None, aux_logits=False, init_weights=False)
        return nn.Sequential(*list(whole.children())[:-3]), 2048
    return getattr(models, network)(weights=None).features, {"vgg16": 512, "mobilenet_v2": 1280}[network]


def torch_step(network: str, what: str, size: int, side: int) -> Step:
    base, channels = torch_base(network)
    import torch
    from torch import nn

    model = nn.Sequential(base, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))
    model = model.to(memory_format=torch.channels_last)
    images, targets = batch(size, side)
    pictures = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    answers = torch.from_numpy(targets).long()
    if what == "forward":
        base.eval()

        def features() -> None:
            with torch.inference_mode():
                base(pictures)

        return features
    model.train()
    trained = torch.optim.Adam(model.parameters(), 1e-3)

    def step() -> None:
        trained.zero_grad()
        nn.functional.cross_entropy(model(pictures), answers).backward()
        trained.step()

    return step


def prepare(program: str, network: str, what: str, size: int, side: int) -> Callable[[], float]:
    makers: dict[str, Callable[..., Step]] = {
        "tlx": tlx_step,
        "keras-jax": functools.partial(keras_step, "jax"),
        "keras-tensorflow": functools.partial(keras_step, "tensorflow"),
        "torch": torch_step,
    }
    step = makers[program](network, what, size, side)
    for _ in range(2):
        step()

    def timed() -> float:
        started = time.perf_counter()
        step()
        return time.perf_counter() - started

    return timed


@dataclass(frozen=True)
class Options:
    """Time a step of published networks in tlx and its peers."""

    networks: tuple[str, ...] = tuple(SIZES)
    programs: tuple[str, ...] = PROGRAMS
    rounds: int = 5
    """How often each program is asked, in turns, for a step."""
    quick: bool = False
    """One round."""
    json: bool = False
    """Print one JSON object."""


def compare(what: str, options: Options) -> None:
    """Time one kind of step of each network in each program, and print pictures a second and ratios."""
    figures: dict[str, Any] = {}
    for name in options.networks:
        network, size, side = SIZES[name]
        programs = {
            program: [sys.executable, __file__, program, network, what, str(size), str(side)]
            for program in options.programs
        }
        answers, absent = in_turns(programs, 1 if options.quick else options.rounds)
        seconds = {program: median(times) for program, times in answers.items()}
        peers = {program: each for program, each in seconds.items() if program != "tlx"}
        fastest = min(peers, key=peers.__getitem__) if peers else None
        figures[name] = {
            "batch": size,
            "side": side,
            "pictures_a_second": {program: round(size / each, 2) for program, each in seconds.items()},
            "fastest_peer": fastest,
            "ratio": round(peers[fastest] / seconds["tlx"], 3) if fastest else None,
            "over_keras_on_jax": round(peers["keras-jax"] / seconds["tlx"], 3) if "keras-jax" in peers else None,
            "absent": absent,
        }
        if not options.json:
            found = figures[name]
            speeds = ", ".join(f"{program} {each}" for program, each in found["pictures_a_second"].items())
            print(f"{name}, {size} x {side} x {side}: pictures a second: {speeds}", flush=True)
            print(f"  over {fastest} {found['ratio']}, over Keras on JAX {found['over_keras_on_jax']}, absent {absent}")
    if options.json:
        names = ("tlx-jax", "jax", "keras", "tensorflow-cpu", "torch", "torchvision", "timm")
        print(json.dumps({**figures, "versions": versions(*names)}, indent=2))


if __name__ == "__main__":
    program, network, what, *sizes = sys.argv[1:]
    serve(functools.partial(prepare, program, network, what, *map(int, sizes)))
