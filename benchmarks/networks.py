"""The networks that are measured, in tlx and in its peers: a base with a linear head of 10 classes, on random images.

    python benchmarks/networks.py PROGRAM NETWORK WHAT BATCH SIZE

is one process of `benchmarks/train_step.py` and `benchmarks/forward.py`, asked over standard input (`turns.serve`) to
take a step and answer with its seconds. WHAT is `forward` (features of a batch) or a whole step of Adam: `train` on all
parameters, batch norms on the batch's statistics; `block` on the last block and the head, `head` on the head alone,
with what lies below frozen and all batch norms on their stored statistics. The first two steps, which compile and warm
up, are not counted.

All compute in float32 with random weights; tlx's are drawn with NumPy. Keras compiles its steps with XLA on JAX and as
graphs on TensorFlow, which is what `compile` chooses there; PyTorch runs eagerly, with channels last.

`products` is no program but a limit: the time that a step's multiplications and additions would take, as they are
written, at the rate of products of large matrices, which is measured when the others are.
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

CLASSES, RATE = 10, 1e-3
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


@dataclass(frozen=True)
class LastBlock:
    """The last block of a base: the stage of tlx's that it begins with, and how its names begin in the peers."""

    tlx: str
    keras: str
    torch: tuple[str, ...]


LAST_BLOCKS = {
    "vgg16": LastBlock("block5_conv1", "block5_", ("24.", "26.", "28.")),
    "resnet50": LastBlock("block4_3", "conv5_block3_", ("7.2.",)),
    "xception": LastBlock("block14_sepconv1", "block14_", ("conv3.", "bn3.", "conv4.", "bn4.")),
}


@dataclass(frozen=True)
class Program:
    """A network in one program.

    `step` begins a step, `wait` waits for those begun. `optimizer` counts the parameters that train and the bytes of
    the optimizer's state, once a step was taken; `frozen` fingerprints what is frozen, `costs` gives XLA's own count of
    a step's FLOPs and bytes, and `written` its FLOPs as the network is written, which is how a GPU gets it (all three
    of tlx alone).
    """

    step: Callable[[], Any]
    wait: Callable[[], Any] = lambda: None
    optimizer: Callable[[], tuple[int, int]] = lambda: (0, 0)
    frozen: Callable[[], str] = lambda: ""
    costs: Callable[[], dict[str, float]] = dict
    written: Callable[[], float] = lambda: 0.0


def batch(size: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    images = random.standard_normal((size, side, side, 3), np.float32)
    return images, random.integers(0, CLASSES, size).astype(np.int32)


def tlx_variables(config: Any) -> Any:
    """Draw the leaves of a model of tlx's with NumPy: there as from a file, without compiling what initialises them."""
    import jax.numpy as jnp

    from tlx.models import leaf_shapes
    from tlx.tree import unflatten

    random = np.random.default_rng(0)
    leaves = {}
    for path, shape in leaf_shapes(config).items():
        if path.endswith(("/kernel", "/embedding")):
            leaf = random.standard_normal(shape, np.float32) / np.sqrt(np.prod(shape[:-1]), dtype=np.float32)
        else:
            leaf = np.full(shape, path.endswith(("/scale", "/var")), np.float32)
        leaves[path] = jnp.array(leaf)
    return unflatten(leaves)


def tlx_phase(network: str, model: Any, variables: Any, what: str, epochs: int = 1) -> Any:
    """Build the phase that trains all, the last block and the head, or the head."""
    from tlx import recipes

    stages = [name for name in model.base.stage_names if name in variables["params"]["base"]]
    if what == "train":
        return recipes.scratch(stages, epochs=epochs)[0]
    if what == "block":
        return recipes.finetune(stages, base_epochs=epochs, thaw_from=LAST_BLOCKS[network].tlx)[1]
    return recipes.probe(stages, epochs=epochs)[0]


def tlx_program(network: str, what: str, size: int, side: int, compute_dtype: str = "float32") -> Program:
    import jax

    from tlx.devices import forward_options, jit
    from tlx.models import ModelConfig, build_model
    from tlx.objectives import Classification
    from tlx.optim import optimizer
    from tlx.training import StepOptions
    from tlx.training.state import Totals, TrainState
    from tlx.training.step import make_train_step
    from tlx.tree import fingerprint, label_tree, partition, trainable_mask

    config = ModelConfig(TLX.get(network, network), CLASSES, (side, side, 3), dtype=compute_dtype)
    model, variables = build_model(config), tlx_variables(config)
    images, targets = jax.device_put(batch(size, side))
    if what == "forward":
        forward = jit(functools.partial(model.apply, method="features"), forward_options)
        made = None

        def extract() -> None:
            nonlocal made
            made = forward(variables, images)

        return Program(
            extract,
            lambda: jax.block_until_ready(made),
            costs=lambda: forward.lower(variables, images).compile().cost_analysis(),
            written=lambda: written_flops(forward, variables, images),
        )
    phase = tlx_phase(network, model, variables, what)
    labels = label_tree(variables["params"], phase.rules)
    mask = trainable_mask(labels)
    trainable, frozen = partition(variables["params"], mask)
    tx = optimizer(partition(labels, mask)[0], phase.groups, 1000)
    options = StepOptions(stored_norms=phase.norms == "stored")
    step = make_train_step(model, labels, tx, Classification(), options)
    examples = {"input": images, "target": targets}
    state = TrainState(
        jax.numpy.zeros((), "int32"),
        trainable,
        variables.get("batch_stats", {}),
        tx.init(trainable),
        jax.random.key(0),
        Totals.zero(),
    )
    trained = sum(leaf.size for leaf in jax.tree.leaves(trainable))

    def take() -> None:
        nonlocal state
        state = step(state, frozen, examples)

    return Program(
        take,
        lambda: jax.block_until_ready(state),
        lambda: (trained, sum(leaf.nbytes for leaf in jax.tree.leaves(state.opt_state))),
        lambda: fingerprint(frozen),
        lambda: step.lower(state, frozen, examples).compile().cost_analysis(),
        lambda: written_flops(step, state, frozen, examples),
    )


def written_flops(function: Callable[..., Any], *given: Any) -> float:
    import jax

    from tlx.models import lowerings

    with lowerings("plain"):
        lowered = jax.jit(function).trace(*given).lower(lowering_platforms=("cuda",))
    return float(lowered.cost_analysis()["flops"])


def products(network: str, what: str, size: int, side: int) -> Callable[[], float]:
    """Return what multiplies matrices of 2048 x 2048 and gives the seconds that all FLOPs of a step would take so."""
    import jax

    flops = tlx_program(network, what, size, side).written()
    matrix, multiply = jax.numpy.ones((2048, 2048)), jax.jit(jax.numpy.dot)
    timed = prepare(Program(lambda: multiply(matrix, matrix).block_until_ready()), 10)
    return lambda: timed() * flops / (2 * 2048**3)


def import_keras(backend: str) -> Any:
    os.environ["KERAS_BACKEND"] = backend
    if backend == "tensorflow":
        import tensorflow  # noqa: F401
    import keras

    return keras


def keras_base(keras: Any, network: str, side: int, weights: str | None = None) -> Any:
    base = getattr(keras.applications, KERAS[network])(include_top=False, weights=None, input_shape=(side, side, 3))
    if weights:
        base.load_weights(weights, **({} if weights.endswith(".weights.h5") else {"by_name": True}))  # or with a head
    return base


def keras_model(keras: Any, network: str, what: str, side: int, classes: int, weights: str | None = None) -> Any:
    """Build a compiled model of Keras's that trains all, the last block and the head, or the head, its usual way."""
    base = keras_base(keras, network, side, weights)
    base.trainable = what != "head"
    if what == "block":
        for layer in base.layers:
            layer.trainable = layer.name.startswith(LAST_BLOCKS[network].keras)
    features = base.output if what == "train" else base(base.input, training=False)
    logits = keras.layers.Dense(classes)(keras.layers.GlobalAveragePooling2D()(features))
    model = keras.Model(base.input, logits)
    model.compile(keras.optimizers.Adam(RATE), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def keras_program(backend: str, network: str, what: str, size: int, side: int) -> Program:
    keras = import_keras(backend)
    images, targets = batch(size, side)
    if what == "forward":
        base = keras_base(keras, network, side)
        return Program(lambda: base.predict_on_batch(images))
    model = keras_model(keras, network, what, side, CLASSES)

    def optimizer() -> tuple[int, int]:
        held = sum(int(np.prod(each.shape)) * np.dtype(each.dtype).itemsize for each in model.optimizer.variables)
        return sum(int(np.prod(each.shape)) for each in model.trainable_variables), held

    return Program(lambda: model.train_on_batch(images, targets), optimizer=optimizer)


def import_torchvision() -> Any:
    """Import torchvision, without its compiled operators where they do not fit torch.

    `tlx.convert.reference` does the same, but with JAX, which would count in PyTorch's memory and start.
    """
    import torch

    try:
        import torchvision
    except RuntimeError:  # operator torchvision::nms does not exist
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _kept.append(library)  # the operators live as long as it does
        import torchvision
    return torchvision


_kept: list[Any] = []


def torch_base(network: str) -> tuple[Any, int]:
    """Return a base of torchvision's, or timm's Xception, and the number of its features."""
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


def torch_model(network: str, what: str, classes: int) -> tuple[Any, list[Any]]:
    """Build a model of PyTorch's, and list those of its parameters that train: all, the last block's and head's, or
    the head's.
    """
    base, channels = torch_base(network)
    import torch
    from torch import nn

    model = nn.Sequential(base, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))
    model = model.to(memory_format=torch.channels_last)
    model.train(what == "train")
    if what != "train":
        for name, parameter in base.named_parameters():
            parameter.requires_grad_(what == "block" and name.startswith(LAST_BLOCKS[network].torch))
    return model, [parameter for parameter in model.parameters() if parameter.requires_grad]


def torch_program(
    network: str,
    what: str,
    size: int,
    side: int,
    compute_dtype: str = "float32",
    device: str = "cpu",
    compiled: bool = False,
) -> Program:
    model, trained = torch_model(network, what, CLASSES)
    import torch
    from torch import nn

    model.to(device)
    images, targets = batch(size, side)
    tensors = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last).to(device)
    answers = torch.from_numpy(targets).long().to(device)
    cast = functools.partial(torch.autocast, device, torch.bfloat16, enabled=compute_dtype == "bfloat16")
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    if what == "forward":
        base = model[0].eval()
        run = torch.compile(base) if compiled else base

        def features() -> None:
            with torch.inference_mode(), cast():
                run(tensors)

        return Program(features, wait)
    run = torch.compile(model) if compiled else model
    adam = torch.optim.Adam(trained, RATE, fused=True if device == "cuda" else None)

    def step() -> None:
        adam.zero_grad()
        with cast():
            loss = nn.functional.cross_entropy(run(tensors), answers)
        loss.backward()
        adam.step()

    def optimizer() -> tuple[int, int]:
        states = [each for state in adam.state.values() for each in state.values()]
        return sum(each.numel() for each in trained), sum(each.numel() * each.element_size() for each in states)

    return Program(step, wait, optimizer)


MAKERS: dict[str, Callable[..., Program]] = {
    "tlx": tlx_program,
    "keras-jax": functools.partial(keras_program, "jax"),
    "keras-tensorflow": functools.partial(keras_program, "tensorflow"),
    "torch": torch_program,
}


def prepare(program: Program, steps: int = 1) -> Callable[[], float]:
    """Warm a program up, and return what takes some steps, after one that does not count, and gives the seconds of one.

    In between, another program had the machine: its caches, and what memory the system had ready.
    """
    for _ in range(2):
        program.step()
        program.wait()

    def timed() -> float:
        program.step()
        program.wait()
        started = time.perf_counter()
        for _ in range(steps):
            program.step()
        program.wait()
        return (time.perf_counter() - started) / steps

    return timed


def least_of(figures: dict[str, float]) -> tuple[str | None, float | None]:
    """Return the name and the figure of the peer with the least; None where there is no peer.

    >>> least_of({"tlx": 1.0, "torch": 3.0, "keras-jax": 2.0})
    ('keras-jax', 2.0)
    """
    peers = {name: figure for name, figure in figures.items() if not name.startswith("tlx")}
    name = min(peers, key=peers.__getitem__) if peers else None
    return name, peers[name] if name else None


@dataclass(frozen=True)
class Options:
    """Time a step of published networks in tlx and its peers."""

    networks: tuple[str, ...] = tuple(SIZES)
    rounds: int = 5
    """How often each program is asked, in turns, for a step."""
    quick: bool = False
    """One round."""
    json: bool = False
    """Print one JSON object."""


@dataclass(frozen=True)
class Compared(Options):
    programs: tuple[str, ...] = PROGRAMS


def compare(what: str, options: Compared) -> None:
    """Time one kind of step of each network in each program, and print images a second and ratios."""
    figures: dict[str, Any] = {}
    for name in options.networks:
        network, size, side = SIZES[name]
        programs = {
            program: [sys.executable, __file__, program, network, what, str(size), str(side)]
            for program in (*options.programs, "products")
        }
        answers, absent = in_turns(programs, 1 if options.quick else options.rounds)
        seconds = {program: median(times) for program, times in answers.items()}
        limit = seconds.pop("products")
        fastest, least = least_of(seconds)
        figures[name] = {
            "batch": size,
            "side": side,
            "images_a_second": {program: round(size / each, 2) for program, each in seconds.items()},
            "fastest_peer": fastest,
            "ratio": round(least / seconds["tlx"], 3) if fastest else None,
            "over_keras_on_jax": round(seconds["keras-jax"] / seconds["tlx"], 3) if "keras-jax" in seconds else None,
            "limit": round(size / limit, 2),
            "share_of_limit": round(limit / seconds["tlx"], 3),
            "absent": absent,
        }
        if not options.json:
            found = figures[name]
            speeds = ", ".join(f"{program} {each}" for program, each in found["images_a_second"].items())
            print(f"{name}, {size} x {side} x {side}: images a second: {speeds}", flush=True)
            print(f"  over {fastest} {found['ratio']}, over Keras on JAX {found['over_keras_on_jax']}, absent {absent}")
            print(f"  products of large matrices alone would allow {found['limit']}: tlx {found['share_of_limit']:.0%}")
    if options.json:
        names = ("tlx-jax", "jax", "keras", "tensorflow-cpu", "torch", "torchvision", "timm")
        print(json.dumps({**figures, "versions": versions(*names)}, indent=2))


if __name__ == "__main__":
    name, network, what, *sizes = sys.argv[1:]
    if name == "products":
        serve(lambda: products(network, what, *map(int, sizes)))
    else:
        serve(lambda: prepare(MAKERS[name](network, what, *map(int, sizes))))
