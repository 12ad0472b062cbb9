"""Measure XLA's convolutions on a CPU as it compiles them by itself and with `tlx.devices.compiler_options`, and tlx's.

    python benchmarks/convolution.py [--quick] [--json]

For each layer: its output, and the gradients of a sum of the output by its input and by its kernel, in milliseconds,
medians of programs called in turns in one process. `options` is by itself over with the options: above 1 the options
are quicker. `tlx` is with the options over `tlx.models._lowerings.convolution.convolve` with them: above 1 what tlx
takes in place of XLA's convolution is quicker, and 1 but for noise where it takes XLA's. With
`XLA_FLAGS=--xla_cpu_experimental_ynn_fusion_type=…` any program of JAX's can have the same.
"""

import functools
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from turns import median, versions

LAYERS = {  # images, kernel, features, stride, padding
    "VGG16 block1_conv2": ((8, 224, 224, 64), (3, 3), 64, 1, 1),
    "VGG16 block3_conv2": ((8, 56, 56, 256), (3, 3), 256, 1, 1),
    "VGG16 block4_conv2": ((8, 28, 28, 512), (3, 3), 512, 1, 1),
    "VGG16 block5_conv1": ((8, 14, 14, 512), (3, 3), 512, 1, 1),
    "ResNet50 stem": ((16, 224, 224, 3), (7, 7), 64, 2, 3),
    "ResNet50 conv2, 3x3": ((16, 56, 56, 64), (3, 3), 64, 1, 1),
    "ResNet50 conv4, 3x3": ((16, 14, 14, 256), (3, 3), 256, 1, 1),
    "Inception V3 conv3": ((16, 109, 109, 32), (3, 3), 64, 1, 1),
    "Inception V3 conv5": ((16, 54, 54, 80), (3, 3), 192, 1, 0),
    "Inception V3 mixed3": ((16, 25, 25, 288), (3, 3), 384, 2, 0),
}
QUICK = ("VGG16 block4_conv2", "Inception V3 mixed3")


@dataclass(frozen=True)
class Options:
    """Measure XLA's convolutions with and without tlx's options, and tlx's."""

    quick: bool = False
    """Two layers, three turns."""
    json: bool = False
    """Print one JSON object."""


def programs(layer: tuple[Any, ...]) -> dict[str, dict[str, Callable[[], Any]]]:
    import jax
    from jax import lax

    from tlx.devices import compiler_options
    from tlx.models._lowerings.convolution import convolve

    shape, kernel, features, stride, padding = layer
    random = np.random.default_rng(0)
    x = random.standard_normal(shape, np.float32)
    weights = random.standard_normal((*kernel, shape[3], features), np.float32)

    sides, strides = ((padding, padding),) * 2, (stride, stride)

    def plain(x: Any, weights: Any) -> Any:
        return lax.conv_general_dilated(x, weights, strides, sides, dimension_numbers=("NHWC", "HWIO", "NHWC"))

    def own(x: Any, weights: Any) -> Any:
        return convolve(x, weights, strides, sides)

    ways = {"by itself": (plain, {}), "with options": (plain, compiler_options()), "tlx": (own, compiler_options())}
    cotangent = jax.device_put(np.ones(jax.eval_shape(plain, x, weights).shape, np.float32))
    given = (jax.device_put(x), jax.device_put(weights), cotangent)
    passes = {
        "output": lambda f, x, weights, cotangent: f(x, weights),
        "input's gradient": lambda f, x, weights, cotangent: jax.vjp(lambda x: f(x, weights), x)[1](cotangent),
        "kernel's gradient": lambda f, x, weights, cotangent: jax.vjp(lambda w: f(x, w), weights)[1](cotangent),
    }

    def run(compiled: Any) -> None:
        jax.block_until_ready(compiled(*given))

    found: dict[str, dict[str, Callable[[], Any]]] = {}
    for name, function in passes.items():
        found[name] = {}
        for how, (f, options) in ways.items():
            compiled = jax.jit(functools.partial(function, f), compiler_options=options).lower(*given).compile()
            found[name][how] = functools.partial(run, compiled)
    return found


def measure(layer: tuple[Any, ...], rounds: int) -> dict[str, dict[str, Any]]:
    figures: dict[str, dict[str, Any]] = {}
    for name, ways in programs(layer).items():
        seconds: dict[str, list[float]] = {how: [] for how in ways}
        for turn in range(rounds + 1):
            for how, run in ways.items():
                started = time.perf_counter()
                run()
                if turn:
                    seconds[how].append(time.perf_counter() - started)
        figures[name] = {how: round(1e3 * median(found), 2) for how, found in seconds.items()}
        by_itself, with_options, own = figures[name].values()
        figures[name]["ratio"] = {"options": round(by_itself / with_options, 2), "tlx": round(with_options / own, 2)}
    return figures


def main(options: Options) -> None:
    found = {}
    for name in QUICK if options.quick else LAYERS:
        found[name] = measure(LAYERS[name], 3 if options.quick else 7)
        print(f"{name}: {found[name]}", file=sys.stdout if not options.json else sys.stderr)
    if options.json:
        print(json.dumps({"what": "milliseconds", "layers": found, "versions": versions("jax", "jaxlib")}))


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Options, description=__doc__))
