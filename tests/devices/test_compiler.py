"""A CPU's convolutions are compiled with options, where XLA knows them."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from tlx.devices import compiler, compiler_options, jit


@pytest.fixture
def fresh():
    compiler_options.cache_clear()
    yield
    compiler_options.cache_clear()


def convolve(x, kernel):
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def program(options):
    given = (jnp.ones((8, 28, 28, 128)), jnp.ones((3, 3, 128, 128)))
    return jax.jit(convolve, compiler_options=options).lower(*given).compile().as_text()


@pytest.mark.usefixtures("cpu")
def test_ynnpack_convolves_no_more_and_still_multiplies_and_reduces():
    assert compiler_options() == {compiler.OPTION: compiler.LIBRARIES}
    assert "ynn_fusion" in program({})
    assert "ynn_fusion" not in program(compiler_options())
    product = jax.jit(jnp.dot, compiler_options=compiler_options())
    assert "ynn_fusion" in product.lower(jnp.ones((512, 512)), jnp.ones((512, 512))).compile().as_text()


def test_an_option_that_xla_does_not_know_is_not_given(fresh, monkeypatch):
    monkeypatch.setattr(compiler, "LIBRARIES", "LIBRARY_FUSION_TYPE_OF_LATER")
    assert compiler_options() == {}


def test_what_the_user_told_xla_stands(fresh, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", f"--{compiler.OPTION}=LIBRARY_FUSION_TYPE_REDUCE")
    assert compiler_options() == {}


def test_other_platforms_get_no_options(fresh, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert compiler_options() == {}
    assert compiler.hasty_options() == {}


def test_a_compiled_function_can_be_part_of_another():
    double = jit(lambda x: 2 * x)
    assert double(3.0) == 6
    assert jax.jit(lambda x: double(x) + 1)(3.0) == 7
    assert jax.grad(double)(3.0) == 2
    assert jax.vmap(double)(jnp.arange(2)).tolist() == [0, 2]
    assert jax.eval_shape(double, jnp.ones(3)).shape == (3,)
    assert double.lower(3.0).compile()(3.0) == 6


def test_its_own_errors_are_told():
    @jit
    def refuse(x):
        raise ValueError("not this")

    with pytest.raises(ValueError, match="not this"):
        refuse(1)


def test_to_decorate_looks_for_no_device():
    program = "import jax; from tlx.devices import jit; jit(lambda x: x)"
    subprocess.run([sys.executable, "-c", program], env={**os.environ, "JAX_PLATFORMS": "no_such"}, check=True)
