"""What a Keras file says of its model's graph, beside the weights: read as data, to find what weights do not show."""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from tlx.convert.rules import Table
from tlx.convert.source import Source
from tlx.errors import WeightsError
from tlx.models.head import Pool
from tlx.tree.paths import quote

POOLS: Mapping[str, Pool] = {"GlobalAveragePooling2D": "average", "GlobalMaxPooling2D": "max", "Flatten": "flatten"}
PLAIN = {  # classes of layers that the networks of the tables are made of, or that do nothing in inference
    "InputLayer",
    "Conv2D",
    "DepthwiseConv2D",
    "SeparableConv2D",
    "BatchNormalization",
    "Dense",
    "Activation",
    "ReLU",
    "Softmax",
    "ZeroPadding2D",
    "MaxPooling2D",
    "AveragePooling2D",
    "Add",
    "Concatenate",
    "Dropout",
    "Functional",
    "Model",
    "Sequential",
    *POOLS,
}


@dataclass(frozen=True)
class Graph:
    """The size of images that a model was made for (None: any), and its layers: (class, configuration)."""

    input_size: tuple[int, int] | None
    layers: tuple[tuple[str, Mapping[str, Any]], ...]


def read_graph(source: Source) -> Graph | None:
    """Return the graph of a whole Keras model; None for a file that holds weights alone."""
    layers = tuple(_layers(source.config)) if source.layers else ()
    if not layers:
        return None
    sizes = [_input_size(config) for kind, config in layers if kind == "InputLayer"]
    return Graph(sizes[0] if sizes else None, layers)


def head_pool(source: Source) -> Pool | None:
    """Return how the features are pooled before the head of a whole model; None for weights alone."""
    graph = read_graph(source)
    pools = [POOLS[kind] for kind, _ in graph.layers if kind in POOLS] if graph else []
    return pools[-1] if pools else None


class Scaling(Protocol):
    """Preprocessing that computes x * scale - mean, and divides by std, where there is any."""

    @property
    def scale(self) -> float: ...
    @property
    def mean(self) -> tuple[float, ...]: ...
    @property
    def std(self) -> tuple[float, ...]: ...


def check_graph(source: Source, graph: Graph, table: Table, published: Scaling | None = None) -> None:
    """Refuse a model with a head whose graph is not that of the table: its weights would fit another function.

    Layers before the base that compute what `published` preprocessing does are no fault: tlx computes it before the
    model. Raise `WeightsError` for layers that the table's network does not have, another pooling before the head, and
    activations in it and behind it that are no ReLU and no softmax.
    """
    scales, scaling = _input_scaling(source.config)
    same = scaling is not None and published is not None and _is_close(scaling, published)
    kinds = [kind for kind, _ in graph.layers if not (same and kind in scales)]
    strange = sorted({kind for kind in kinds if kind not in PLAIN and not kind.startswith("Random")})
    faults = [f"layers of {quote(strange)}"] if strange else []
    pool = head_pool(source)
    if pool and pool != table.pool:
        faults.append(f"{pool!r} pooling, not {table.pool!r}, before its head")
    activations = [config.get("activation") for kind, config in graph.layers if kind == "Dense"]
    if activations and activations[-1] not in ("softmax", "linear", None):
        faults.append(f"the activation {str(activations[-1])[:40]!r} behind its head")
    within = [name for name in activations[:-1] if name != "relu"]
    if within:
        faults.append(f"the activation {str(within[0])[:40]!r} within its head")
    if faults:
        raise WeightsError(
            f"{source.path}: the model in it is not {table.name}: it has {', '.join(faults)}; take its base alone "
            "(--no-head)"
        )


def _layers(config: Any, depth: int = 0) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the layers of a model's configuration, those of models in it included."""
    inner = config.get("config") if isinstance(config, Mapping) else None
    layers = inner.get("layers") if isinstance(inner, Mapping) else None
    for layer in layers if isinstance(layers, list) and depth < 8 else ():
        if isinstance(layer, Mapping):
            own = layer.get("config")
            yield str(layer.get("class_name")), own if isinstance(own, Mapping) else {}
            yield from _layers(layer, depth + 1)


def _input_scaling(config: Mapping[str, Any]) -> tuple[set[str], tuple[float, float] | None]:
    """Read the layers before the base that scale images: their classes, and (a, b) where they compute a * x - b.

    Without any it is (1, 0); None where a layer's numbers cannot be read.
    """
    scale, shift = 1.0, 0.0
    kinds: set[str] = set()
    inner = config.get("config")
    layers = inner.get("layers") if isinstance(inner, Mapping) else None
    for layer in layers if isinstance(layers, list) else ():
        kind = str(layer.get("class_name")) if isinstance(layer, Mapping) else ""
        if kind != "InputLayer" and not kind.startswith("Random") and kind not in SCALES:
            break  # the base, or the first of its layers
        if kind in SCALES:
            own = layer.get("config")
            own = own if isinstance(own, Mapping) else {}
            factor, offset = SCALES[kind](own, _constant(layer.get("inbound_nodes")))
            if factor is None or offset is None:
                return kinds, None
            kinds.add(kind)
            scale, shift = scale * factor, shift * factor - offset
    return kinds, (scale, shift)


def _rescaling(config: Mapping[str, Any], _: float | None) -> tuple[float | None, float | None]:
    return _number(config.get("scale")), _number(config.get("offset", 0))


def _operation(config: Mapping[str, Any], constant: float | None) -> tuple[float | None, float | None]:
    """Read what Keras 2 makes of an operator: a layer with the function's name."""
    kind = {"math.truediv": "TrueDivide", "math.subtract": "Subtract", "math.multiply": "Multiply"}
    name = kind.get(str(config.get("function")))
    return SCALES[name](config, constant) if name else (None, None)


SCALES: Mapping[str, Callable[[Mapping[str, Any], float | None], tuple[float | None, float | None]]] = {
    "Rescaling": _rescaling,
    "TrueDivide": lambda _, constant: (1 / constant if constant else None, 0.0),
    "Multiply": lambda _, constant: (constant, 0.0),
    "Subtract": lambda _, constant: (1.0, None if constant is None else -constant),
    "TFOpLambda": _operation,
}
"""Layers that scale their input: from configuration and constant to factor and offset, None where there are none."""


def _constant(nodes: Any, depth: int = 0) -> float | None:
    """Find the one number among a layer's inputs: an argument beside the tensor, or 'y' of Keras 2."""
    match nodes:
        case [{"args": [_, constant]}]:
            return _number(constant)
        case {"y": constant}:
            return _number(constant)
        case [*parts] if depth < 4:
            return next((found for part in parts if (found := _constant(part, depth + 1)) is not None), None)
    return None


def _number(value: Any) -> float | None:
    return float(value) if type(value) in (int, float) and math.isfinite(value) else None


def _is_close(scaling: tuple[float, float], published: Scaling) -> bool:
    scale, shift = scaling
    divisors = published.std or (1.0,)
    return all(
        math.isclose(scale, published.scale / std, rel_tol=1e-4) and math.isclose(shift, mean / std, abs_tol=1e-4)
        for mean, std in itertools.product(set(published.mean) or {0.0}, set(divisors))
    )


def _input_size(config: Mapping[str, Any]) -> tuple[int, int] | None:
    shape = config.get("batch_shape", config.get("batch_input_shape"))
    if isinstance(shape, list) and len(shape) == 4 and all(isinstance(side, int) and side > 0 for side in shape[1:3]):
        return shape[1], shape[2]
    return None
