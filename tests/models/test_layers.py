"""ReLUs and pools are written so that XLA for a CPU keeps no addends and leaves convolutions alone."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlx.devices import compiler_options
from tlx.models import resnet
from tlx.models.layers import Conv, relu


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_relu_and_its_gradients_are_flax_s(dtype):
    x = jnp.asarray(np.random.default_rng(0).standard_normal((64, 8)), dtype).at[0].set(0)
    ours, theirs = (jax.vjp(function, x) for function in (relu, nn.relu))
    assert ours[0].dtype == x.dtype
    assert (ours[0] == theirs[0]).all()
    assert (ours[1](x)[0] == theirs[1](x)[0]).all()


class Blocks(nn.Module):
    @nn.compact
    def __call__(self, x):
        for index in range(3):
            x = resnet.Bottleneck(16, resnet.ARRANGEMENTS["keras"], projected=not index)(x)
        return x.mean((1, 2))


@pytest.mark.usefixtures("cpu")
def test_a_cpu_keeps_no_addends_from_block_to_block(monkeypatch):
    def temporary():
        images = jax.ShapeDtypeStruct((8, 32, 32, 16), "float32")
        variables = jax.eval_shape(Blocks().init, jax.random.key(0), images)
        program = jax.jit(Blocks().apply, compiler_options=compiler_options()).lower(variables, images)
        return program.compile().memory_analysis().temp_size_in_bytes

    selected = temporary()
    monkeypatch.setattr(resnet, "relu", nn.relu)
    assert selected < 0.8 * temporary()


@pytest.mark.parametrize("pool", [True, False])
@pytest.mark.usefixtures("cpu")
def test_no_pool_or_mean_takes_convolutions_with_it_on_a_cpu(pool):
    class Stack(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Conv(128, (3, 3), pool=pool)(Conv(128, (3, 3), pool=pool)(x)).mean((1, 2))

    images = jax.ShapeDtypeStruct((8, 56, 56, 64), "float32")
    variables = jax.eval_shape(Stack().init, jax.random.key(0), images)
    program = jax.jit(Stack().apply, compiler_options=compiler_options()).lower(variables, images)
    outermost = program.compile().as_text().partition("ENTRY")[2]
    assert outermost.count(" convolution(") == 2
