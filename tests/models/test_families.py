"""Properties of every architecture for images that others publish."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marks import slow_but

from tlx.errors import ConfigError
from tlx.models import ARCHITECTURES, ModelConfig, build_model, init_variables, leaf_shapes
from tlx.tree import flatten, unflatten

OTHERS = ("mlp", "cnn", "vectors", "bert", "words")
FAMILIES = [name for name in ARCHITECTURES if name not in OTHERS]
KINDS = ["vgg11", "vgg11_bn", "resnet18", "resnet50_keras", "resnet20", "xception", "inception_v3", "mobilenet_v2"]
TRAINED = ["vgg11_bn", "resnet18", "resnet20", "xception", "inception_v3", "mobilenet_v2"]
ROUNDED = ["vgg11_bn", "resnet20", "mobilenet_v2"]


def side(name, least=32):
    return max(ARCHITECTURES[name].minimum, least)


def config(name, height=None, width=None, **more):
    height = height or side(name)
    return ModelConfig(name, 3, (height, width or height, 3), **more)


@functools.cache
def variables(name):
    """Fresh variables, drawn without compiling the network."""
    draw = np.random.default_rng(0)

    def leaf(path, shape):
        if path.endswith(("/var", "/scale")):
            return draw.uniform(0.5, 1.5, shape).astype(np.float32)
        scale = 0.1 if len(shape) == 1 else (2 / np.prod(shape[:-1])) ** 0.5
        return draw.normal(0, scale, shape).astype(np.float32)

    return unflatten({path: leaf(path, shape) for path, shape in leaf_shapes(config(name)).items()})


@pytest.fixture(scope="module", autouse=True)
def _release_variables():
    yield
    variables.cache_clear()


def shapes(name):
    """The variables as shapes: enough to trace with."""
    leaves = {path: jax.ShapeDtypeStruct(shape, jnp.float32) for path, shape in leaf_shapes(config(name)).items()}
    return unflatten(leaves)


def images(name, count=2, height=None, width=None):
    height = height or side(name)
    return np.random.default_rng(1).normal(size=(count, height, width or height, 3)).astype(np.float32)


@pytest.mark.parametrize("name", slow_but(*KINDS, of=FAMILIES))
def test_stages_have_names_of_their_own_and_own_all_leaves(name):
    stages = build_model(config(name)).base.stage_names
    assert len(set(stages)) == len(stages)
    owners = {path.split("/")[2] for path in leaf_shapes(config(name)) if "/head/" not in path}
    assert owners <= set(stages)
    assert set(stages) - owners == {stage for stage in stages if "pool" in stage}


SIZES = {  # features for images of a size, by hand
    "vgg11": ((65, 96), (2, 3, 512)),
    "resnet18": ((65, 96), (3, 3, 512)),
    "resnet50_keras": ((65, 96), (3, 3, 2048)),
    "resnet20": ((33, 50), (9, 13, 64)),
    "xception": ((299, 151), (10, 5, 2048)),
    "inception_v3": ((299, 139), (8, 3, 2048)),
    "inception_v3_keras": ((75, 107), (1, 2, 2048)),
    "mobilenet_v2": ((33, 97), (2, 4, 1280)),
    "mobilenet_v2_keras": ((33, 97), (2, 4, 1280)),
}


@pytest.mark.parametrize("name", slow_but("vgg11", "mobilenet_v2", of=SIZES))
def test_features_have_the_shape_that_the_size_gives(name):
    (height, width), shape = SIZES[name]
    model = build_model(config(name, height, width))
    apply = functools.partial(model.apply, method="features")
    assert jax.eval_shape(apply, shapes(name), images(name, 1, height, width)).shape == (1, *shape)


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_but(*KINDS, of=FAMILIES))
def test_the_least_size_is_taken_and_less_refused(name):
    least = ARCHITECTURES[name].minimum
    model = build_model(config(name, least, least + 9))
    features = functools.partial(model.apply, method="features")
    assert 0 not in jax.eval_shape(features, shapes(name), images(name, 1, least, least + 9)).shape
    if least > 1:
        for height, width in ((least - 1, least + 50), (least + 50, least - 1)):
            with pytest.raises(
                ConfigError, match=f"{name} takes images from {least}x{least}, not .*: enlarge them, or cut"
            ):
                config(name, height, width)
        replace(config(name), classes=0, until=build_model(config(name)).base.stage_names[0], input_shape=(8, 8, 3))


@pytest.mark.parametrize("name", slow_but("resnet20", of=TRAINED))
def test_training_moves_every_statistic_and_inference_none(name):
    model, own = build_model(config(name)), variables(name)
    train = jax.jit(functools.partial(model.apply, train=True, mutable=["batch_stats"]))
    _, changed = train(own, images(name))
    before = flatten(own["batch_stats"])
    after = flatten(changed["batch_stats"])
    assert after.keys() == before.keys()
    still = [path for path in before if np.array_equal(before[path], after[path])]
    assert still == []
    assert all(np.isfinite(leaf).all() for leaf in after.values())


def types_of_products(jaxpr):
    """Yield the type of each convolution and matrix product of a graph, those of its inner graphs included."""
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("conv_general_dilated", "dot_general"):
            yield str(equation.outvars[0].aval.dtype)
        for inner in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda value: hasattr(value, "eqns") or hasattr(value, "jaxpr")
        ):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                yield from types_of_products(inner)


@pytest.mark.parametrize("name", slow_but("vgg11", "resnet18", "resnet20", "mobilenet_v2", of=KINDS))
def test_it_computes_in_bfloat16_with_parameters_of_float32(name):
    narrow = config(name, dtype="bfloat16")
    made = jax.eval_shape(functools.partial(init_variables, narrow))
    assert {leaf.dtype for leaf in jax.tree.leaves(made)} == {jnp.dtype("float32")}
    traced, logits = jax.make_jaxpr(build_model(narrow).apply, return_shape=True)(made, images(name))
    assert logits.dtype == jnp.float32
    products = list(types_of_products(traced.jaxpr))
    kernels = [path for path in flatten(made) if path.endswith("kernel")]
    assert len(products) >= sum("depthwise" not in path for path in kernels)  # those are sums of shifts on a CPU
    assert set(products) == {"bfloat16"}


@pytest.mark.parametrize("name", slow_but("resnet20", of=ROUNDED))
def test_bfloat16_gives_about_the_same(name):
    narrow, x = config(name, dtype="bfloat16"), images(name)
    outputs = [jax.jit(build_model(each).apply)(variables(name), x) for each in (config(name), narrow)]
    assert {each.dtype for each in outputs} == {jnp.dtype("float32")}
    exact, rounded = map(np.asarray, outputs)
    distance = np.abs(exact - rounded).max() / np.abs(exact).max()
    assert 0 < distance < 0.3  # 8 bits, and up to 50 layers with weights at random


@pytest.mark.parametrize("name", slow_but("resnet20", of=["resnet20", "vgg11"]))
def test_a_part_after_a_part_is_the_whole(name):
    model, x = build_model(config(name)), images(name)
    stages = model.base.stage_names
    apply = jax.jit(functools.partial(model.apply, method="features"), static_argnames=("after", "until"))
    whole, middle = apply(variables(name), x), stages[len(stages) // 2]
    there = apply(variables(name), apply(variables(name), x, until=middle), after=middle)
    assert np.allclose(whole, there, rtol=1e-5, atol=1e-5 * np.abs(whole).max())
