"""A CPU's convolutions are compiled with options, where XLA knows them."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from tlx.devices import compiler, compiler_options, forward_options, jit


@pytest.fixture
def fresh():
    compiler._ynnpack.cache_clear()
    yield
    compiler._ynnpack.cache_clear()


def convolve(x, kernel):
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def program(options):
    given = (jnp.ones((8, 28, 28, 128)), jnp.ones((3, 3, 128, 128)))
    return jax.jit(convolve, compiler_options=options).lower(*given).compile().as_text()


@pytest.mark.usefixtures("cpu")
def test_ynnpack_convolves_no_more_and_still_multiplies_and_reduces():
    assert compiler_options() == {compiler.OPTION: compiler.STEPS}
    assert "ynn_fusion" in program({})
    assert "ynn_fusion" not in program(compiler_options())
    for options, multiplies in ((compiler_options(), True), (forward_options(), False)):
        product = jax.jit(jnp.dot, compiler_options=options).lower(jnp.ones((512, 512)), jnp.ones((512, 512)))
        assert ("ynn_fusion" in product.compile().as_text()) == multiplies


@pytest.mark.usefixtures("cpu")
@pytest.mark.parametrize(("options", "multiplies"), [(compiler_options, True), (forward_options, False)])
def test_a_compiled_function_has_its_options(options, multiplies):
    product = jit(jnp.dot, options)
    assert ("ynn_fusion" in product.lower(jnp.ones((512, 512)), jnp.ones((512, 512))).compile().as_text()) == multiplies


def test_an_option_that_xla_does_not_know_is_not_given(fresh, monkeypatch):
    monkeypatch.setattr(compiler, "STEPS", "LIBRARY_FUSION_TYPE_OF_LATER")
    assert compiler_options() == {}


def test_what_the_user_told_xla_stands(fresh, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", f"--{compiler.OPTION}=LIBRARY_FUSION_TYPE_REDUCE")
    assert compiler_options() == forward_options() == {}


def test_other_platforms_get_no_options(fresh, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert compiler_options() == forward_options() == compiler.hasty_options() == {}
    with jax.default_device("cpu"):
        assert compiler_options()
        assert compiler.hasty_options()


def test_a_compiled_function_can_be_part_of_another():
    double = jit(lambda x: 2 * x)
    assert double(3.0) == 6
    assert jax.jit(lambda x: double(x) + 1)(3.0) == 7
    assert jax.grad(double)(3.0) == 2
    assert jax.vmap(double)(jnp.arange(2)).tolist() == [0, 2]
    assert jax.eval_shape(double, jnp.ones(3)).shape == (3,)
    assert double.lower(3.0).compile()(3.0) == 6
    assert jax.jit(lambda: double(3.0))() == 6  # though no argument is traced
    with_jvp = jax.jvp(double, (3.0,), (1.0,))
    assert [float(each) for each in with_jvp] == [6, 2]


@pytest.mark.usefixtures("cpu")
def test_the_first_call_may_be_within_a_trace(fresh):
    assert jax.jit(jit(lambda x: 2 * x))(3.0) == 6
    inner = jit(lambda x: 2 * x)
    assert jax.jit(lambda x: inner(x) + len(compiler_options()))(3.0) == 7


def test_arguments_are_given_by_position_or_by_name():
    product = jit(lambda x, *, factor, power=1: factor * x**power, static_argnames="power")
    assert product(2.0, factor=3.0, power=2) == 12
    assert product(x=2.0, factor=3.0) == 6
    assert product.lower(2.0, factor=3.0, power=3).compile()(2.0, factor=3.0) == 24


def test_its_own_errors_are_told():
    @jit
    def refuse(x):
        raise ValueError("not this")

    with pytest.raises(ValueError, match="not this"):
        refuse(1)


def test_to_decorate_looks_for_no_device():
    program = "import jax; from tlx.devices import jit; jit(lambda x: x)"
    subprocess.run([sys.executable, "-c", program], env={**os.environ, "JAX_PLATFORMS": "no_such"}, check=True)
