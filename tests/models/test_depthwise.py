"""A depthwise convolution is the plain one, value and gradients, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tlx.models.depthwise import depthwise_conv


@pytest.mark.parametrize(
    ("size", "stride", "padding", "kernel"),
    [
        ((7, 6), 1, "SAME", 3),
        ((8, 5), 2, "SAME", 3),
        ((7, 7), 2, "VALID", 3),
        ((6, 7), 2, ((0, 1), (0, 1)), 3),
        ((1, 1), 1, ((1, 1), (1, 1)), 3),
        ((5, 6), 2, "SAME", 5),
    ],
    ids=str,
)
def test_value_and_gradients_are_those_of_the_plain_convolution(size, stride, padding, kernel):
    with jax.enable_x64(True):
        draw = np.random.default_rng(0)
        x, weights = draw.normal(size=(2, *size, 4)), draw.normal(size=(kernel, kernel, 1, 4))

        def plain(x, weights):
            return lax.conv_general_dilated(
                x,
                weights,
                (stride, stride),
                padding,
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
                feature_group_count=4,
            )

        def ours(x, weights):
            return depthwise_conv(x, weights, (stride, stride), padding)

        wanted = plain(x, weights)
        assert wanted.dtype == jnp.float64
        np.testing.assert_allclose(jax.jit(ours)(x, weights), wanted, rtol=1e-12, atol=1e-12)
        slopes = (jax.jit(jax.grad(lambda x, w, f=f: (f(x, w) ** 3).sum(), (0, 1)))(x, weights) for f in (ours, plain))
        for mine, theirs in zip(*slopes, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-10, atol=1e-10)


def test_other_platforms_get_the_plain_one():
    text = jax.jit(lambda x, w: depthwise_conv(x, w, (1, 1), "SAME")).trace(
        jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 1, 2))
    )
    assert "convolution" not in text.lower(lowering_platforms=("cpu",)).as_text()
    assert "convolution" in text.lower(lowering_platforms=("cuda",)).as_text()
