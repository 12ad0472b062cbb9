"""A residual block's end is a ReLU of a sum, written so that XLA for a CPU keeps no addends."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlx.models import compiler_options, resnet
from tlx.models.layers import rectified_sum


def relu_of_sum(x, y):
    return nn.relu(x + y)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_rectified_sum_and_its_slopes_are_those_of_relu(dtype):
    x, y = (jnp.asarray(np.random.default_rng(seed).standard_normal((64, 8)), dtype) for seed in (0, 1))
    x, y = x.at[0].set(0), y.at[0].set(0)
    ours, theirs = (jax.vjp(function, x, y) for function in (rectified_sum, relu_of_sum))
    assert ours[0].dtype == x.dtype
    assert (ours[0] == theirs[0]).all()
    for one, other in zip(ours[1](x), theirs[1](x), strict=True):
        assert (one == other).all()


class Blocks(nn.Module):
    @nn.compact
    def __call__(self, x):
        for index in range(3):
            x = resnet.Bottleneck(16, resnet.ARRANGEMENTS["keras"], projected=not index)(x)
        return x.mean((1, 2))


def test_a_cpu_keeps_no_addends_from_block_to_block(monkeypatch):
    if jax.default_backend() != "cpu":
        pytest.skip("needs a CPU as JAX's default")

    def temporary():
        pictures = jax.ShapeDtypeStruct((8, 32, 32, 16), "float32")
        variables = jax.eval_shape(Blocks().init, jax.random.key(0), pictures)
        program = jax.jit(Blocks().apply, compiler_options=compiler_options()).lower(variables, pictures)
        return program.compile().memory_analysis().temp_size_in_bytes

    selected = temporary()
    monkeypatch.setattr(resnet, "rectified_sum", relu_of_sum)
    assert selected < 0.8 * temporary()
