import gc
import json
import zipfile

import h5py
import numpy as np
import pytest
from weight_files import BIAS, KERNEL, keras_archive, legacy_h5, numbered_h5

from tlx.convert.read import open_weights
from tlx.convert.source import Layer
from tlx.errors import UnsafeFileError, WeightsError

CONV = {"conv/kernel:0": KERNEL, "conv/bias:0": BIAS}


def arrays(source):
    return {name: tensor.read() for name, tensor in source.tensors.items()}


# The legacy layout


@pytest.mark.parametrize(
    ("weights", "names"),
    [
        (["conv/kernel:0", "conv/bias:0"], ["conv/kernel", "conv/bias"]),
        (["kernel", "bias"], ["conv/kernel", "conv/bias"]),
        (["conv_W_1:0", "conv_b_1:0"], ["conv/conv_W_1", "conv/conv_b_1"]),
    ],
)
def test_a_weight_is_named_by_as_many_parts_as_tell_it_apart(tmp_path, weights, names):
    layers = {"conv": {weight: np.full(2, index, "f4") for index, weight in enumerate(weights)}}
    source = open_weights(legacy_h5(tmp_path / "a.h5", layers))
    assert list(source.tensors) == names
    assert [array[0] for array in arrays(source).values()] == list(range(len(weights)))
    assert source.layers == (Layer("conv", "", tuple(names)),)


@pytest.mark.parametrize(
    ("weights", "layers"),
    [
        (["a/kernel", "b/kernel", "a/mean"], {"a": ["a/kernel", "a/mean"], "b": ["b/kernel"]}),
        (["m/a/kernel:0", "m/b/kernel:0"], {"a": ["a/kernel"], "b": ["b/kernel"]}),
        (["m/a/x/kernel", "m/b/x/kernel"], {"inner/a/x": ["a/x/kernel"], "inner/b/x": ["b/x/kernel"]}),
        (["kernel", "a/kernel"], {"inner": ["kernel"], "a": ["a/kernel"]}),
        (["out/kernel", "a/kernel"], {"inner/out": ["out/kernel"], "a": ["a/kernel"]}),
    ],
)
def test_the_layers_of_a_model_within_the_model_stand_for_themselves(tmp_path, weights, layers):
    """Keras keeps such a model as one layer, with trainable weights first."""
    content = {"inner": dict.fromkeys(weights, BIAS), "out": {"out/kernel": BIAS}}
    source = open_weights(legacy_h5(tmp_path / "a.h5", content))
    assert [layer.name for layer in source.layers] == [*layers, "out"]
    assert [list(layer.tensors) for layer in source.layers[:-1]] == [
        [f"inner/{n}" for n in own] for own in layers.values()
    ]


def test_layers_are_in_the_models_order_and_only_those_with_weights(tmp_path):
    layers = {"z": {"z/k": BIAS}, "pool": {}, "a/b": {"a/b/k": BIAS}, "m": {"m/k": BIAS}}
    source = open_weights(legacy_h5(tmp_path / "a.h5", layers))
    assert [layer.name for layer in source.layers] == ["z", "a/b", "m"]
    assert list(source.tensors) == ["z/k", "a/b/k", "m/k"]


def test_a_whole_model_has_its_configuration_and_its_optimizer_among_others(tmp_path):
    path = legacy_h5(
        tmp_path / "a.h5", {"conv": CONV}, root="model_weights", model_config='{"class_name": "Sequential"}'
    )
    with h5py.File(path, "a") as file:
        file["optimizer_weights/adam/m"] = BIAS
    source = open_weights(path)
    assert source.config == {"class_name": "Sequential"}
    assert source.others == ("optimizer_weights/adam/m",)
    assert np.array_equal(arrays(source)["conv/kernel"], KERNEL)


def test_attributes_that_keras_splits_are_joined(tmp_path):
    path = legacy_h5(tmp_path / "a.h5", {f"l{index}": {"k": BIAS} for index in range(12)})
    with h5py.File(path, "a") as file:
        names = file.attrs["layer_names"]
        del file.attrs["layer_names"]
        for index in range(12):
            file.attrs[f"layer_names{index}"] = names[index : index + 1]
    assert [layer.name for layer in open_weights(path).layers] == [f"l{index}" for index in range(12)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda file: file.__delitem__("conv/conv/bias:0"), ["'conv/conv/bias:0'", "not there"]),
        (lambda file: file.__delitem__("conv"), ["layer 'conv'", "not there"]),
        (lambda file: file.attrs.__setitem__("layer_names", [b"conv", b"conv"]), ["two tensors", "'conv/kernel'"]),
        (lambda file: file.attrs.__setitem__("model_config", "{"), ["damaged configuration"]),
        (lambda file: file.attrs.__setitem__("model_config", "[" * 100_000), ["damaged configuration"]),
        (lambda file: file.attrs.__setitem__("model_config", "[]"), ["damaged configuration"]),
        (lambda file: file.attrs.__delitem__("layer_names"), ["without the layers of a Keras model"]),
    ],
)
def test_a_file_that_does_not_hold_what_it_announces_is_refused(tmp_path, refuses, change, words):
    path = legacy_h5(tmp_path / "a.h5", {"conv": CONV})
    with h5py.File(path, "a") as file:
        change(file)
    with refuses(WeightsError, path, *words):
        open_weights(path)


# The layout of Keras 3


def test_layers_have_their_own_names_and_are_in_natural_order(tmp_path):
    layers = {f"layers/conv2d{suffix}": (f"c{index}", [BIAS, BIAS]) for index, suffix in enumerate(["", "_2", "_10"])}
    source = open_weights(numbered_h5(tmp_path / "a.h5", layers | {"optimizer": ("adam", [BIAS])}))
    assert source.layers == tuple(Layer(f"c{index}", "conv2d", (f"c{index}/0", f"c{index}/1")) for index in range(3))
    assert source.others == ("optimizer/vars/0",)


def test_variables_are_in_natural_order(tmp_path):
    source = open_weights(
        numbered_h5(tmp_path / "a.h5", {"layers/x": ("x", [np.full(1, index) for index in range(12)])})
    )
    assert [array[0] for array in arrays(source).values()] == list(range(12))


def test_layers_that_share_a_name_or_have_none_are_named_by_their_paths(tmp_path):
    layers = {
        "layers/functional/layers/dense": ("dense", [BIAS]),
        "layers/dense": ("dense", [BIAS]),
        "layers/gru/cell": ("", [BIAS]),
    }
    source = open_weights(numbered_h5(tmp_path / "a.h5", layers))
    assert list(source.tensors) == ["dense/0", "functional/dense/0", "gru/cell/0"]
    assert [layer.kind for layer in source.layers] == ["dense", "dense", "cell"]


def test_bfloat16_is_known_by_the_attribute_that_keras_adds(tmp_path, refuses):
    import ml_dtypes

    path = numbered_h5(tmp_path / "a.h5", {"layers/dense": ("fc", [BIAS.astype(ml_dtypes.bfloat16)])})
    with refuses(WeightsError, "void16", "float32"):
        open_weights(path).tensors["fc/0"].read()
    with h5py.File(path, "a") as file:
        file["layers/dense/vars/0"].attrs["dtype"] = "bfloat16"
    array = open_weights(path).tensors["fc/0"].read()
    assert array.dtype == ml_dtypes.bfloat16
    assert np.array_equal(array, BIAS.astype(ml_dtypes.bfloat16))


# The archive


@pytest.fixture
def archive(tmp_path):
    """Write a .keras file of two dense layers with this configuration."""

    def write(config=None, packing=zipfile.ZIP_STORED):
        layers = {"layers/dense": ("z", [BIAS]), "layers/dense_1": ("a", [BIAS * 2])}
        weights = numbered_h5(tmp_path / "w.h5", layers).read_bytes()
        return keras_archive(tmp_path / "a.keras", weights, {} if config is None else config, packing)

    return write


def config_of(*names):
    return {
        "class_name": "Sequential",
        "config": {"name": "m", "layers": [{"config": {"name": name}} for name in names]},
    }


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_archive_is_read_in_place_or_from_a_temporary_file_that_goes(archive, tmp_path, monkeypatch, packing):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    source = open_weights(archive(packing=packing))
    assert source.format == "keras"
    assert len(list(folder.iterdir())) == (packing == zipfile.ZIP_DEFLATED)
    assert np.array_equal(arrays(source)["a/0"], BIAS * 2)
    del source
    gc.collect()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("content", [b"not HDF5" * 100, None])
def test_what_was_unpacked_goes_at_once_where_it_cannot_be_read(archive, tmp_path, monkeypatch, content):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    path = archive(packing=zipfile.ZIP_DEFLATED)
    if content is None:  # the CRC of the packed weights, which is seen once they are unpacked
        packed = bytearray(path.read_bytes())
        packed[packed.rindex(b"PK\x01\x02") + 16] ^= 1
        path.write_bytes(packed)
    else:
        keras_archive(path, content, {}, zipfile.ZIP_DEFLATED)
    gc.disable()
    try:
        with pytest.raises(WeightsError) as caught:
            open_weights(path)
        assert list(folder.iterdir()) == []
        del caught
    finally:
        gc.enable()


def test_layers_are_in_the_order_of_the_configuration_where_it_names_them_all(archive):
    assert [layer.name for layer in open_weights(archive()).layers] == ["z", "a"]
    assert [layer.name for layer in open_weights(archive(config_of("input", "a", "z"))).layers] == ["a", "z"]
    assert [layer.name for layer in open_weights(archive(config_of("a"))).layers] == ["z", "a"]


def test_a_configuration_is_data_whatever_it_asks_for(archive, tmp_path):
    lambda_layer = {
        "module": "os",
        "class_name": "system",
        "config": {"name": "z", "function": f"touch {tmp_path}/canary"},
    }
    source = open_weights(archive({"module": "os", "class_name": "system", "config": {"layers": [lambda_layer]}}))
    assert source.config["class_name"] == "system"
    assert len(arrays(source)) == 2
    assert not (tmp_path / "canary").exists()


def test_a_flipped_bit_in_the_archive_is_noticed_by_its_crc(archive, refuses):
    path = archive()
    content = bytearray(path.read_bytes())
    content[content.index(BIAS.tobytes())] ^= 1
    path.write_bytes(content)
    with refuses(WeightsError, "CRC", "model.weights.h5"):
        open_weights(path)


def test_a_bomb_in_the_archive_is_refused(tmp_path, refuses):
    path = keras_archive(tmp_path / "a.keras", bytes(100 << 20), {}, zipfile.ZIP_DEFLATED)
    with refuses(UnsafeFileError, "model.weights.h5", "claim to become"):
        open_weights(path)


# Compared with Keras


@pytest.fixture(scope="module")
def model(keras):
    keras.utils.set_random_seed(0)
    layers = keras.layers
    inner = keras.Sequential(
        [keras.Input((6,)), layers.Dense(5, name="inner_a"), layers.Dense(4, name="inner_b")], name="inner"
    )
    inputs = keras.Input((8, 8, 3))
    x = layers.SeparableConv2D(6, 3, name="separable")(layers.BatchNormalization(name="norm")(inputs))
    x = inner(layers.GlobalAveragePooling2D()(layers.Conv2D(6, 3, name="conv")(x)))
    x = layers.Bidirectional(layers.LSTM(2), name="both")(layers.Reshape((2, 2))(x))
    model = keras.Model(inputs, layers.Dense(3, name="fc")(x))
    model.compile("adam", "mse")
    model.fit(np.zeros((2, 8, 8, 3)), np.zeros((2, 3)), verbose=0)
    return model


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras
@pytest.mark.parametrize("name", ["a.h5", "a.weights.h5", "a.keras"])
def test_reads_what_keras_writes(tmp_path, model, name):
    save = model.save_weights if ".weights" in name else model.save
    save(tmp_path / name)
    source = open_weights(tmp_path / name)
    read = arrays(source)
    expected = [np.asarray(weight) for weight in model.weights]
    assert len(read) == len(expected)
    assert sorted(array.tobytes() for array in read.values()) == sorted(array.tobytes() for array in expected)
    for layer in ("conv", "norm", "fc", "separable"):
        [listed] = [found for found in source.layers if found.name == layer]
        weights = model.get_layer(layer).get_weights()
        assert len(weights) == len(listed.tensors)
        assert all(np.array_equal(read[key], weight) for key, weight in zip(listed.tensors, weights, strict=True))
    inner = [key for key in read if "inner_a" in key]
    assert np.array_equal(read[inner[0]], model.get_layer("inner").get_layer("inner_a").get_weights()[0])
    assert bool(source.config) == (".weights" not in name)
    assert json.dumps(source.config)


@pytest.mark.parametrize(
    ("name", "layers", "parameters"),
    [
        ("mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5", 105, 3_538_984),
        ("vgg16_blocks1to3_weights_tf_dim_ordering_tf_kernels_notop.h5", 7, 1_735_488),
    ],
)
def test_reads_published_files(shared_data, name, layers, parameters):
    source = open_weights(shared_data / "weights" / name)
    assert len(source.layers) == layers
    assert source.others == ()
    with h5py.File(shared_data / "weights" / name) as file:
        found = {}
        file.visititems(lambda path, node: found.update({path: node[()]}) if isinstance(node, h5py.Dataset) else None)
    read = arrays(source)
    assert sum(array.size for array in read.values()) == parameters
    assert sorted(map(bytes, read.values())) == sorted(map(bytes, found.values()))
