import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import assert_same_bits
from marks import slow_but

from tlx.errors import ConfigError
from tlx.models import ARCHITECTURES, Architecture, ModelConfig, build_model, init_variables

CONFIG = ModelConfig("mlp", classes=3, input_shape=(4, 5, 2), hidden=(6, 7), pool="flatten", dropout=0.25)


@pytest.mark.parametrize(
    "architecture",
    slow_but(
        "mlp",
        "cnn",
        "vgg11",
        "resnet20",
        of=["mlp", "cnn", "vgg11", "vgg11_bn", "resnet18", "resnet50_keras", "resnet20", "xception", "mobilenet_v2"],
    ),
)
def test_each_kind_of_architecture_builds_and_runs(architecture):
    """All are traced in test_families."""
    known = ARCHITECTURES[architecture]
    config = ModelConfig(architecture, classes=5, input_shape=known.input_shape, pool=known.pool)
    model = build_model(config)
    shapes = jax.eval_shape(lambda: init_variables(config))
    assert set(shapes["params"]) == {"base", "head"}
    assert set(shapes["params"]["base"]) <= set(model.base.stage_names)
    logits = jax.eval_shape(model.apply, shapes, jnp.zeros((2, *known.input_shape)))
    assert logits.shape == (2, 5)


def test_variables_come_from_the_seed_in_float32():
    same, again, other = (init_variables(CONFIG, seed) for seed in (1, 1, 2))
    assert_same_bits(same, again)
    assert {leaf.dtype for leaf in jax.tree.leaves(same)} == {jnp.dtype("float32")}
    one, two = (tree["params"]["base"]["dense1"]["kernel"] for tree in (same, other))
    assert not jnp.array_equal(one, two)


@pytest.mark.slow
def test_variables_are_those_of_the_module():
    """They are compiled with other options than the module's own `init`, and so may be rounded otherwise."""
    model = build_model(CONFIG)
    plain = jax.jit(model.init)(jax.random.key(3), jnp.zeros((1, *CONFIG.input_shape)))
    own = init_variables(CONFIG, 3)
    assert jax.tree.structure(own) == jax.tree.structure(plain)
    for one, other in zip(jax.tree.leaves(own), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_a_configuration_survives_json():
    assert ModelConfig.from_dict(json.loads(json.dumps(CONFIG.to_dict()))) == CONFIG


def test_the_head_is_what_the_configuration_says():
    head = build_model(CONFIG).head
    assert (head.classes, head.hidden, head.pool, head.dropout) == (3, (6, 7), "flatten", 0.25)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (
            {"architecture": "vgg"},
            r"unknown architecture 'vgg', did you mean 'vgg19'\? tlx has 'mlp', 'cnn'.*--import FILE",
        ),
        ({"classes": 0}, r"no hidden layers: \(6, 7\)"),
        ({"classes": -1}, r"sizes must be positive \(0 classes: no head\): classes=-1"),
        ({"dtype": "float16"}, r"unknown dtype 'float16', did you mean 'bfloat16'\? Use one of 'float32', 'bfloat16'"),
        ({"architecture": "vgg16", "input_shape": [224, 31, 3]}, "vgg16 takes images from 32x32"),
        ({"hidden": [4, -1]}, r"hidden=\(4, -1\)"),
        ({"input_shape": [0, 28, 1]}, r"sizes must be whole numbers above 0, not \(0, 28, 1\)"),
        ({"input_shape": [28, 28]}, r"input_shape is \(height, width, channels\), not \(28, 28\)"),
        ({"pool": "mean"}, "unknown pool 'mean'"),
        ({"dropout": 1.0}, "dropout must be .* not 1.0"),
        ({"dropout": float("nan")}, "dropout must be .* not nan"),
        ({"dropout": -0.1}, "dropout must be .* not -0.1"),
        ({"hidden": 64}, "model configuration"),
        ({"width": 3}, "model configuration .*'width'"),
    ],
)
def test_configurations_that_make_no_model_are_refused(change, fault):
    with pytest.raises(ConfigError, match=fault):
        ModelConfig.from_dict({**CONFIG.to_dict(), **change})


def test_a_configuration_that_lacks_a_key_is_refused():
    with pytest.raises(ConfigError, match="'classes'"):
        ModelConfig.from_dict({"architecture": "mlp", "input_shape": [28, 28, 1]})


@pytest.mark.parametrize("pool", ["average", "flatten"])
def test_images_too_small_for_the_cnn_are_refused(pool):
    config = ModelConfig("cnn", classes=10, input_shape=(8, 8, 1), pool=pool)
    with pytest.raises(ConfigError, match="use larger images"):
        init_variables(config)


def test_the_file_of_a_builder_is_named_where_there_is_one():
    names: dict = {"__name__": None}
    exec("def build(): ...", names)  # as a notebook's extension may
    assert Architecture(names["build"], (8, 8, 3), "average").file == ""
    assert Architecture(test_each_kind_of_architecture_builds_and_runs, (8, 8, 3), "average").file == "test_registry.py"
