"""What a Keras file says of its model's graph, beside the weights: read as data, to find what weights do not show."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tlx.convert.rules import Table
from tlx.convert.source import Source
from tlx.errors import WeightsError
from tlx.tree.paths import quote

POOLS = {"GlobalAveragePooling2D": "average", "GlobalMaxPooling2D": "max", "Flatten": "flatten"}
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
    """The size of pictures that a model was made for (None: any), and its layers: (class, configuration)."""

    input_size: tuple[int, int] | None
    layers: tuple[tuple[str, Mapping[str, Any]], ...]


def read_graph(source: Source) -> Graph | None:
    """Return the graph of a whole Keras model; None for a file that holds weights alone."""
    layers = tuple(_layers(source.config)) if source.layers else ()
    if not layers:
        return None
    sizes = [_input_size(config) for kind, config in layers if kind == "InputLayer"]
    return Graph(sizes[0] if sizes else None, layers)


def check_graph(source: Source, graph: Graph, table: Table) -> None:
    """Refuse a model with a head whose graph is not that of the table: its weights would fit another function.

    Raise `WeightsError` for layers that the table's network does not have, another pooling before the head, and an
    activation behind it that is no softmax.
    """
    kinds = [kind for kind, _ in graph.layers]
    strange = sorted({kind for kind in kinds if kind not in PLAIN and not kind.startswith("Random")})
    faults = [f"layers of {quote(strange)}"] if strange else []
    pools = [POOLS[kind] for kind in kinds if kind in POOLS]
    if pools and pools[-1] != table.pool:
        faults.append(f"{pools[-1]!r} pooling, not {table.pool!r}, before its head")
    activations = [config.get("activation") for kind, config in graph.layers if kind == "Dense"]
    if activations and activations[-1] not in ("softmax", "linear", None):
        faults.append(f"the activation {str(activations[-1])[:40]!r} behind its head")
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


def _input_size(config: Mapping[str, Any]) -> tuple[int, int] | None:
    shape = config.get("batch_shape", config.get("batch_input_shape"))
    if isinstance(shape, list) and len(shape) == 4 and all(isinstance(side, int) and side > 0 for side in shape[1:3]):
        return shape[1], shape[2]
    return None
