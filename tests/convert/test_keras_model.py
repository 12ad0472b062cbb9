"""What a whole Keras model says of its graph is read, and what would make it another network is refused."""

from pathlib import Path

import pytest

from tlx.convert import TABLES, Layer, Source
from tlx.convert.keras_model import check_graph, read_graph
from tlx.errors import WeightsError

TABLE = TABLES["keras/mobilenet_v2"]


def layer(kind, **config):
    return {"class_name": kind, "config": config}


def model(*layers):
    return {"class_name": "Functional", "config": {"layers": list(layers)}}


def source(config):
    return Source(Path("a.keras"), "keras", {}, (Layer("Conv1", "conv2d", ()),), config)


INPUT = layer("InputLayer", batch_shape=[None, 96, 64, 3])
POOL, DENSE = layer("GlobalAveragePooling2D"), layer("Dense", activation="softmax")


@pytest.mark.parametrize(
    ("first", "size"),
    [
        (INPUT, (96, 64)),
        (layer("InputLayer", batch_input_shape=[None, 32, 32, 3]), (32, 32)),  # Keras 2
        (layer("InputLayer", batch_shape=[None, None, None, 3]), None),
        (layer("InputLayer"), None),
        (layer("Conv2D"), None),
    ],
)
def test_the_size_of_images_is_read(first, size):
    assert read_graph(source(model(first, POOL, DENSE))).input_size == size


@pytest.mark.parametrize("config", [{}, {"config": 3}, {"config": {"layers": {}}}, {"config": {"layers": ["x", 3]}}])
def test_weights_alone_have_no_graph(config):
    assert read_graph(source(config)) is None


@pytest.mark.parametrize(
    "layers",
    [
        (INPUT, POOL, DENSE),
        (INPUT, layer("RandomFlip"), POOL, layer("Dropout"), layer("Dense", activation="linear")),
        (INPUT, layer("Functional", layers=[INPUT, layer("Conv2D", activation="linear")]), POOL, DENSE),
    ],
)
def test_the_published_network_passes(layers):
    config = source(model(*layers))
    check_graph(config, read_graph(config), TABLE)


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ((INPUT, layer("Rescaling"), POOL, DENSE), "layers of 'Rescaling'"),
        ((INPUT, layer("Lambda", function="x"), POOL, DENSE), "layers of 'Lambda'"),
        ((INPUT, layer("Functional", layers=[layer("Normalization")]), POOL, DENSE), "layers of 'Normalization'"),
        ((INPUT, layer("GlobalMaxPooling2D"), DENSE), "'max' pooling, not 'average'"),
        ((INPUT, layer("Flatten"), DENSE), "'flatten' pooling"),
        ((INPUT, POOL, layer("Dense", activation="sigmoid")), "the activation 'sigmoid'"),
    ],
)
def test_another_network_is_refused(layers, words):
    config = source(model(*layers))
    with pytest.raises(WeightsError, match=rf"a\.keras: .* not keras/mobilenet_v2: .*{words}.*--no-head"):
        check_graph(config, read_graph(config), TABLE)
