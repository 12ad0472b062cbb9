"""What Keras's transfer tutorial leaves: a base within the model, in every format, with layers frozen or not."""

from dataclasses import replace

import numpy as np
import pytest
from reference_files import keras_network
from sources import kinds_of_layers, source_of, tensor

import tlx
from tlx.convert import TABLES, Layer, make_plan, open_weights
from tlx.errors import WeightsError
from tlx.presets import convert_weights

MOBILENET, INCEPTION = TABLES["keras/mobilenet_v2"], TABLES["keras/inception_v3"]


def within(keras, base, scale, activation="softmax"):
    """Put a base into a model as the tutorial does, behind layers that scale its images."""
    top = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dropout(0.2), keras.layers.Dense(5, activation)]
    scaling = [keras.layers.RandomFlip(), keras.layers.Rescaling(*scale)]
    return keras.Sequential([keras.Input((32, 32, 3)), *scaling, base, *top])


@pytest.fixture(scope="module")
def base(keras):
    return keras_network(MOBILENET, (32, 32), 0)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras
@pytest.mark.parametrize(
    ("name", "first_trained"),
    [
        ("a.h5", 0),
        pytest.param("a.h5", 155, marks=pytest.mark.slow),
        pytest.param("a.h5", 100, marks=pytest.mark.slow),
        pytest.param("a.weights.h5", 100, marks=pytest.mark.slow),
        ("a.keras", 100),
    ],
)
def test_a_base_within_the_model_converts(tmp_path, keras, base, name, first_trained):
    for index, layer in enumerate(base.layers):
        layer.trainable = index >= first_trained
    model = within(keras, base, (1 / 127.5, -1))
    (model.save_weights if ".weights" in name else model.save)(tmp_path / name)
    done = convert_weights(tmp_path / name, tmp_path / "made")
    assert (done.arch, done.coverage, done.matched_by, done.ignored) == ("keras/mobilenet_v2", 1, "name", ())
    assert done.head == f"read from {model.layers[-1].name}, after 'average' pooling"
    leaves = {path: each.read() for path, each in open_weights(tmp_path / "made").tensors.items()}
    for layer, path in (("Conv1", "stem/conv"), ("block_5_expand_BN", "block5/expand_norm"), ("Conv_1", "top/conv")):
        weights = dict(zip(("kernel",), base.get_layer(layer).get_weights(), strict=False))
        if "norm" in path:
            weights = dict(zip(("scale", "bias", "mean", "var"), base.get_layer(layer).get_weights(), strict=True))
        for end, array in weights.items():
            kind = "batch_stats" if end in ("mean", "var") else "params"
            assert np.array_equal(leaves[f"{kind}/base/{path}/{end}"], array)
    assert np.array_equal(leaves["params/head/logits/kernel"], model.layers[-1].get_weights()[0])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras
@pytest.mark.parametrize(
    ("scale", "activation", "words"),
    [((1 / 255, 0), "softmax", "layers of 'Rescaling'"), ((1 / 127.5, -1), "sigmoid", "the activation 'sigmoid'")],
)
def test_another_scale_or_activation_is_refused(tmp_path, keras, base, scale, activation, words):
    within(keras, base, scale, activation).save(tmp_path / "a.keras")
    with pytest.raises(WeightsError, match=f"{words}.*--no-head"):
        convert_weights(tmp_path / "a.keras", tmp_path / "made")
    assert (
        convert_weights(tmp_path / "a.keras", tmp_path / "made", options=tlx.ConvertOptions(head=False)).coverage == 1
    )


@pytest.mark.parametrize("first_trained", [0, 150])
def test_names_that_keras_made_up_are_matched_by_their_numbers_there(first_trained):
    """Inception in a later session: what trains stands first in the file, and only the numbers tell the order."""
    source = source_of(INCEPTION)
    tensors, layers = {}, []
    for layer in source.layers[:-1]:
        kind = kinds_of_layers(INCEPTION)[layer.name]
        number = int(layer.name.removeprefix(kind).strip("_") or 0)
        own = {f"inception_v3/{kind}_{number + 94}/{n.rpartition('/')[2]}": source.tensors[n] for n in layer.tensors}
        tensors |= {name: replace(each, name=name) for name, each in own.items()}
        layers.append(Layer(f"{kind}_{number + 94}", "", tuple(own)))
    layers = [*layers[first_trained:], *layers[:first_trained]]
    dense = {"dense/kernel": np.zeros((2048, 5), "f4"), "dense/bias": np.zeros(5, "f4")}
    tensors |= {name: tensor(name, array) for name, array in dense.items()}
    made = replace(source, tensors=tensors, layers=(*layers, Layer("dense", "", tuple(dense))))
    plan, right = make_plan(made, INCEPTION), make_plan(source, INCEPTION)
    assert (plan.matched_by, plan.coverage, plan.config.classes) == ("position", 1, 5)
    found = {m.path: m.tensor.read for m in plan.matches if "base" in m.path}
    assert found == {m.path: m.tensor.read for m in right.matches if "base" in m.path}
