import jax
import numpy as np
import pytest
from cases import CASE

from tlx.tree import flatten


def relu(x):
    return np.maximum(x, 0)


def convolve(x, kernel, bias):
    """Convolve (B, H, W, C) with (3, 3, C, F), 'valid', as a sum over the nine places of the kernel."""
    height, width = x.shape[1] - 2, x.shape[2] - 2
    places = ((i, j) for i in range(3) for j in range(3))
    return sum(x[:, i : i + height, j : j + width] @ kernel[i, j] for i, j in places) + bias


def pool(x):
    batch, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).max((2, 4))


def weights(case):
    """Return the weights in float64, with biases that are not zero."""
    draw = np.random.default_rng(3)
    variables = jax.tree.map(lambda leaf: np.asarray(leaf) + 0.05 * draw.normal(size=leaf.shape), case.variables())
    single = jax.tree.map(np.float32, variables)
    return single, {path: np.float64(leaf) for path, leaf in flatten(single["params"]).items()}


@pytest.mark.slow
def test_the_cnn_computes_what_numpy_does():
    case = CASE["cnn"]
    variables, w = weights(case)
    images = case.batch()["input"]
    x = np.float64(images)
    x = pool(relu(convolve(x, w["base/conv1/kernel"], w["base/conv1/bias"])))
    assert x.shape == (4, 13, 13, 32)
    x = pool(relu(convolve(x, w["base/conv2/kernel"], w["base/conv2/bias"])))
    assert x.shape == (4, 5, 5, 64)
    x = relu(convolve(x, w["base/conv3/kernel"], w["base/conv3/bias"]))
    features = case.model.apply(variables, images, method="features")
    assert features.shape == (4, 3, 3, 64)
    np.testing.assert_allclose(features, x, rtol=1e-4, atol=1e-5)
    hidden = relu(x.reshape(4, -1) @ w["head/hidden1/kernel"] + w["head/hidden1/bias"])
    logits = hidden @ w["head/logits/kernel"] + w["head/logits/bias"]
    np.testing.assert_allclose(case.model.apply(variables, images), logits, rtol=1e-4, atol=1e-4)


def test_the_mlp_computes_what_numpy_does():
    case = CASE["mlp"]
    variables, w = weights(case)
    images = case.batch()["input"]
    x = np.float64(images).reshape(4, 784)
    for name in ("dense1", "dense2"):
        x = relu(x @ w[f"base/{name}/kernel"] + w[f"base/{name}/bias"])
    assert (x > 0).any()
    logits = x @ w["head/logits/kernel"] + w["head/logits/bias"]
    np.testing.assert_allclose(case.model.apply(variables, images), logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("mlp", {"dense1/kernel": (784, 8), "dense1/bias": (8,), "dense2/kernel": (8, 4), "dense2/bias": (4,)}),
        (
            "cnn",
            {
                "conv1/kernel": (3, 3, 1, 32),
                "conv1/bias": (32,),
                "conv2/kernel": (3, 3, 32, 64),
                "conv2/bias": (64,),
                "conv3/kernel": (3, 3, 64, 64),
                "conv3/bias": (64,),
            },
        ),
    ],
)
def test_paths_and_shapes(name, shapes):
    variables = CASE[name].variables()
    assert {path: leaf.shape for path, leaf in flatten(variables["params"]["base"]).items()} == shapes
    assert set(variables) == {"params"}
