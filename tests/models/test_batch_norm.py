"""The batch norm is Flax's, in values, gradients and statistics, and costs a step on a CPU less memory."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlx.devices import compiler_options
from tlx.models import layers
from tlx.models.batch_norm import BatchNorm

HOW = {"momentum": 0.8, "epsilon": 1e-3}
NORM = layers.Norm(epsilon=1e-3, momentum=0.8)
ROWS = jnp.array([True, False, True, True]).reshape(4, 1, 1, 1)
PLACES = jnp.arange(4 * 5 * 6).reshape(4, 5, 6, 1) % 3 > 0


@pytest.fixture
def doubles():
    with jax.enable_x64(True):
        yield


def drawn(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape))


def parts(use_scale=True, use_bias=True):
    params = {"scale": drawn(1, 3)} if use_scale else {}
    params |= {"bias": drawn(2, 3)} if use_bias else {}
    return params, {"mean": jnp.float32(drawn(3, 3)), "var": jnp.float32(drawn(4, 3) ** 2)}


def trained(norm, params, stats, x, **how):
    """Return the output in training, the statistics after it, and the gradients of a sum over it."""

    def total(params, x):
        variables = {"params": params, "batch_stats": stats}
        y, after = norm.apply(variables, x, mutable=["batch_stats"], **how)
        return (y * drawn(5, *y.shape)).sum(), (y, after["batch_stats"])

    gradients, found = jax.grad(total, argnums=(0, 1), has_aux=True)(params, x)
    return found, gradients


def assert_near(ours, theirs, tolerance=1e-10):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), ours, theirs)


@pytest.mark.slow
@pytest.mark.parametrize("use_scale", [True, False])
@pytest.mark.parametrize("use_bias", [True, False])
def test_training_is_flax_s(doubles, use_scale, use_bias):
    how = {**HOW, "use_scale": use_scale, "use_bias": use_bias, "use_running_average": False}
    given = (*parts(use_scale, use_bias), 3 + 2 * drawn(0, 4, 5, 6, 3))
    ours, theirs = (trained(norm(**how), *given) for norm in (BatchNorm, nn.BatchNorm))
    assert_near(ours, theirs)


@pytest.mark.slow
@pytest.mark.parametrize("mask", [ROWS, PLACES, PLACES[0]], ids=["rows", "places", "places of all"])
def test_what_is_masked_does_not_count(doubles, mask):
    how = {**HOW, "use_running_average": False}
    given = (*parts(), 3 + 2 * drawn(0, 4, 5, 6, 3))
    ours, theirs = (trained(norm(**how), *given, mask=mask) for norm in (BatchNorm, nn.BatchNorm))
    assert_near(ours, theirs)


def test_a_masked_row_that_is_no_number_leaves_the_others_be():
    params, stats = parts()
    x = jnp.float32(drawn(0, 4, 5, 6, 3)).at[1].set(jnp.nan)
    norm = BatchNorm(use_running_average=False)
    y, after = norm.apply({"params": params, "batch_stats": stats}, x, mask=ROWS, mutable=["batch_stats"])
    assert jnp.isfinite(y[jnp.array([0, 2, 3])]).all()
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(after))


def test_a_shift_is_added_before_the_norm(doubles):
    params, stats = parts()
    x, shift = drawn(0, 4, 5, 6, 3), drawn(6, 3)
    variables = {"params": params, "batch_stats": stats}
    for stored in (False, True):
        norm = BatchNorm(**HOW, use_running_average=stored)
        ours = norm.apply(variables, x, shift=shift, mutable=["batch_stats"])
        theirs = nn.BatchNorm(**HOW, use_running_average=stored).apply(variables, x + shift, mutable=["batch_stats"])
        assert_near(ours, theirs, 1e-6 if stored else 1e-10)  # stored statistics are float32

        def total(shift, norm=norm):
            y, _ = norm.apply(variables, x, shift=shift, mutable=["batch_stats"])
            return (y * drawn(5, *y.shape)).sum()

        assert jnp.any(jax.grad(total)(shift)) == stored


@pytest.mark.parametrize(("stored", "how"), [(True, {}), (True, {"dtype": jnp.bfloat16}), (False, {"axis": 1})])
def test_stored_statistics_and_other_axes_are_left_to_flax(stored, how):
    params, stats = parts()
    given = {"params": params, "batch_stats": stats}, jnp.float32(drawn(0, 3, 3, 3))
    how = {**HOW, **how, "use_running_average": stored}
    ours, theirs = (norm(**how).apply(*given, mutable=["batch_stats"]) for norm in (BatchNorm, nn.BatchNorm))
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert one.dtype == other.dtype
        assert (one == other).all()


@pytest.mark.slow
def test_bfloat16_is_summed_in_float32():
    params, stats = (jax.tree.map(jnp.float32, part) for part in parts())
    x = jnp.bfloat16(5 + drawn(0, 64, 8, 8, 3))
    how = {**HOW, "use_running_average": False, "dtype": jnp.bfloat16}
    (ours, after), _ = trained(BatchNorm(**how), params, stats, x)
    (theirs, wanted), _ = trained(nn.BatchNorm(**how), params, stats, x)
    assert ours.dtype == jnp.bfloat16
    assert_near(jnp.float32(ours), jnp.float32(theirs), 0.02)
    assert_near(after, wanted, 1e-4)


class Layers(nn.Module):
    bias: bool = True

    @nn.compact
    def __call__(self, x):
        for index in range(3):
            x = layers.conv_norm(x, True, 16, 1, name=f"conv{index}", norm=NORM, dtype=jnp.float32, bias=self.bias)
        return x


def test_a_convolution_leaves_its_bias_to_the_norm():
    x = jnp.float32(drawn(0, 2, 4, 4, 16))
    variables = Layers().init(jax.random.key(0), x)
    assert set(variables["params"]["conv0"]) == {"kernel", "bias"}
    assert set(variables["params"]["conv0_norm"]) == {"scale", "bias"}
    assert "bias" not in Layers(bias=False).init(jax.random.key(0), x)["params"]["conv0"]
    variables["params"]["conv0"]["bias"] = jnp.full(16, 2.0)
    _, after = Layers().apply(variables, x, mutable=["batch_stats"])
    variables["params"]["conv0"]["bias"] = jnp.zeros(16)
    _, without = Layers().apply(variables, x, mutable=["batch_stats"])
    moved = after["batch_stats"]["conv0_norm"]["mean"] - without["batch_stats"]["conv0_norm"]["mean"]
    np.testing.assert_allclose(moved, 0.2 * 2, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("cpu")
def test_a_step_on_a_cpu_keeps_less_than_with_flax_s(monkeypatch):
    def temporary():
        x = jax.ShapeDtypeStruct((8, 32, 32, 16), "float32")
        variables = jax.eval_shape(Layers().init, jax.random.key(0), x)

        def loss(params, stats, x):
            y, _ = Layers().apply({"params": params, "batch_stats": stats}, x, mutable=["batch_stats"])
            return (y**2).sum()

        step = jax.jit(jax.grad(loss), compiler_options=compiler_options())
        program = step.lower(variables["params"], variables["batch_stats"], x).compile()
        return program.memory_analysis().temp_size_in_bytes

    class Flax(nn.BatchNorm):
        def __call__(self, x, shift=None):
            return super().__call__(x + shift)

    ours = temporary()
    monkeypatch.setattr(layers, "BatchNorm", Flax)
    assert ours < 0.8 * temporary()


def in_groups(params, stats, x, masks, groups):
    """Normalise groups of rows one by one; the statistics are the average of those in which something counts."""
    norm = nn.BatchNorm(**HOW, use_running_average=False)
    found = [
        norm.apply({"params": params, "batch_stats": stats}, rows, mask=mask, mutable=["batch_stats"])
        for rows, mask in zip(jnp.split(x, groups), jnp.split(masks, groups), strict=True)
    ]
    counted = [
        after["batch_stats"] for (_, after), mask in zip(found, jnp.split(masks, groups), strict=True) if mask.any()
    ]
    return jnp.concatenate([y for y, _ in found]), jax.tree.map(lambda *each: sum(each) / len(each), *counted)


@pytest.mark.slow
@pytest.mark.parametrize("padded", [0, 1, 3], ids="{} rows of padding".format)
def test_groups_of_rows_have_their_own_statistics(doubles, padded):
    params, stats = parts()
    x, mask = 3 + 2 * drawn(0, 6, 5, 6, 3), (jnp.arange(6) < 6 - padded).reshape(6, 1, 1, 1)
    norm = BatchNorm(**HOW, use_running_average=False, groups=3)
    (y, after), gradients = trained(norm, params, stats, x, **({"mask": mask} if padded else {}))
    expected, statistics = in_groups(params, stats, x, mask, 3)
    assert_near(after, statistics, 1e-6)
    assert_near(y[: 6 - padded], expected[: 6 - padded], 1e-6)
    assert all(jnp.isfinite(each).all() for each in jax.tree.leaves((y, gradients)))


@pytest.mark.slow
@pytest.mark.parametrize("mask", [None, ROWS, PLACES], ids=["none", "rows", "places"])
def test_an_axis_of_devices_has_the_statistics_of_all_their_rows(doubles, mask):
    """By vmap, whose axis has a name as pmap's has; one device's rows may all be padding."""
    params, stats = parts()
    x = 3 + 2 * drawn(0, 4, 5, 6, 3)
    variables = {"params": params, "batch_stats": stats}
    how = {**HOW, "use_running_average": False}
    masks = jnp.ones((4, 1, 1, 1), bool) if mask is None else mask
    expected, after = nn.BatchNorm(**how).apply(variables, x, mask=masks, mutable=["batch_stats"])
    norm = BatchNorm(**how, axis_name="devices")

    def on_one(x, mask):
        return norm.apply(variables, x, mask=mask, mutable=["batch_stats"])

    y, afters = jax.vmap(on_one, axis_name="devices")(x[:, None], masks[:, None])
    assert_near(y[:, 0], expected)
    for device in range(4):
        assert_near(jax.tree.map(lambda each, device=device: each[device], afters), after)
