"""What a CPU gets for a convolution or a pool is the plain one, value and gradients, in float64."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from marks import slow_but

import tlx.models._lowerings.convolution
from tlx.models import Classifier, Head, cut, initialise
from tlx.models._lowerings.convolution import convolve
from tlx.models._lowerings.pooling import avg_pool_3x3, max_pool
from tlx.models._lowerings.winograd import pays, winograd
from tlx.models.vgg import vgg

CONVOLUTIONS = {  # height, width, channels, features, kernel, stride, padding, groups
    "XLA's": (7, 6, 3, 4, (3, 3), 1, "SAME", 1),
    "XLA's, strided": (9, 8, 3, 4, (3, 3), 2, "SAME", 1),
    "XLA's, high": (9, 8, 2, 3, (7, 1), 1, "SAME", 1),
    "XLA's, valid": (9, 8, 2, 3, (3, 3), 1, "VALID", 1),
    "one product": (6, 5, 2, 3, (1, 1), 1, "SAME", 1),
    "one product, strided": (7, 6, 2, 3, (1, 1), 2, "VALID", 1),
    "one product, padded": (7, 6, 2, 3, (1, 1), 2, ((1, 1), (0, 1)), 1),
    "gathered": (4, 2, 3, 2, (3, 3), 1, "SAME", 1),
    "gathered, strided": (4, 5, 3, 2, (3, 3), 2, ((1, 1), (1, 1)), 1),
    "gathered, valid": (4, 7, 2, 3, (3, 3), 1, "VALID", 1),
    "gathered, wide": (2, 5, 2, 3, (1, 7), 1, "SAME", 1),
    "gathered, one pixel": (1, 1, 2, 3, (3, 3), 1, "SAME", 1),
    "padded more than the kernel sees": (5, 5, 2, 3, (2, 2), 1, ((3, 3), (2, 4)), 1),
    "depthwise": (7, 6, 4, 4, (3, 3), 1, "SAME", 4),
    "depthwise, strided": (8, 5, 4, 4, (3, 3), 2, "SAME", 4),
    "depthwise, valid": (7, 7, 4, 4, (3, 3), 2, "VALID", 4),
    "depthwise, 5x5": (5, 6, 4, 4, (5, 5), 2, ((0, 2), (1, 2)), 4),
    "depthwise, one pixel": (1, 1, 4, 4, (3, 3), 1, ((1, 1), (1, 1)), 4),
    "grouped": (5, 5, 4, 4, (3, 3), 1, "SAME", 2),
}
IN_SQUARES = {  # height, width, channels, features, padding on each side
    "even": (8, 6, 3, 4, ((1, 1), (1, 1))),
    "odd": (7, 5, 3, 2, ((1, 1), (1, 1))),
    "padded unevenly": (5, 6, 2, 3, ((0, 3), (2, 1))),
    "cut": (8, 7, 2, 3, ((-1, 0), (1, -2))),
}
POOLS = {  # height, width, window, stride, padding
    "2x2": (8, 7, 2, 2, "VALID"),
    "3x3": (9, 8, 3, 2, "SAME"),
    "3x3, padded": (9, 8, 3, 2, ((1, 1), (1, 1))),
    "3x3, every pixel": (6, 5, 3, 1, "SAME"),
    "apart": (7, 9, 2, 3, "VALID"),
    "one pixel": (1, 1, 3, 2, ((1, 1), (1, 1))),
}


def gradients(function, *arguments):
    return jax.jit(jax.grad(lambda *given: (function(*given) ** 3).sum(), range(len(arguments))))(*arguments)


def check(ours, plain, *arguments):
    wanted = plain(*arguments)
    assert wanted.dtype == jnp.float64
    np.testing.assert_allclose(jax.jit(ours)(*arguments), wanted, rtol=1e-12, atol=1e-12)
    for mine, theirs in zip(gradients(ours, *arguments), gradients(plain, *arguments), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "name", slow_but("XLA's, strided", "one product, padded", "gathered, strided", "depthwise", of=CONVOLUTIONS)
)
def test_a_convolution_is_the_plain_one(name):
    case = CONVOLUTIONS[name]
    height, width, channels, features, kernel, stride, padding, groups = case
    strides, shared = (stride, stride), {"feature_group_count": groups}
    with jax.enable_x64(True):
        draw = np.random.default_rng(0)
        x, weights = (
            draw.normal(size=(2, height, width, channels)),
            draw.normal(size=(*kernel, channels // groups, features)),
        )
        numbers = ("NHWC", "HWIO", "NHWC")
        check(
            lambda x, weights: convolve(x, weights, strides, padding, **shared),
            lambda x, weights: lax.conv_general_dilated(
                x, weights, strides, padding, dimension_numbers=numbers, **shared
            ),
            x,
            weights,
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", IN_SQUARES)
def test_a_convolution_in_squares_is_the_plain_one(name):
    case = IN_SQUARES[name]
    height, width, channels, features, sides = case
    with jax.enable_x64(True):
        draw = np.random.default_rng(0)
        x, kernel = draw.normal(size=(2, height, width, channels)), draw.normal(size=(3, 3, channels, features))
        numbers = ("NHWC", "HWIO", "NHWC")
        check(
            lambda x, kernel: winograd(x, kernel, sides),
            lambda x, kernel: lax.conv_general_dilated(x, kernel, (1, 1), sides, dimension_numbers=numbers),
            x,
            kernel,
        )


def test_a_large_map_of_many_channels_is_convolved_in_squares_and_rounds_no_more():
    draw = np.random.default_rng(0)
    x, kernel = np.maximum(draw.normal(size=(1, 12, 12, 512)), 0), draw.normal(size=(3, 3, 512, 512)) / 48
    numbers = ("NHWC", "HWIO", "NHWC")
    with jax.enable_x64(True):
        exact = lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=numbers)
    x, kernel = jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32)
    assert pays(x, kernel)
    found = jax.jit(convolve, static_argnums=(2, 3))(x, kernel, (1, 1), "SAME")
    np.testing.assert_allclose(found, exact, atol=3e-6 * np.abs(exact).max())


@pytest.mark.slow
@pytest.mark.usefixtures("cpu")
def test_a_network_of_large_maps_gives_the_same_features(monkeypatch):
    model = Classifier(cut(vgg("vgg11"), "block3_conv2"), Head(2))
    image = np.random.default_rng(0).normal(size=(1, 192, 208, 3)).astype(np.float32)
    variables = initialise(model, image.shape[1:], 0)

    def features():
        def apply(variables, image):
            return model.apply(variables, image, method="features")

        lowered = jax.jit(apply).lower(variables, image)
        return lowered.as_text().count("stablehlo.convolution"), lowered.compile()(variables, image)

    convolved, found = features()
    monkeypatch.setattr(tlx.models._lowerings.convolution, "pays", lambda *_: False)
    every, plain = features()
    assert (convolved, every) == (2, 4)
    np.testing.assert_allclose(found, plain, atol=1e-5 * plain.max())


@pytest.mark.slow
@pytest.mark.parametrize("case", POOLS.values(), ids=POOLS)
def test_a_maximum_is_the_plain_one_and_the_first_of_equals_has_the_gradient(case):
    height, width, window, stride, padding = case
    with jax.enable_x64(True):
        x = np.random.default_rng(0).integers(0, 4, size=(2, height, width, 3)).astype(np.float64)

        def weighted(pool):
            return lambda x: pool(x) * (1 + jnp.arange(pool(x).size).reshape(pool(x).shape))

        check(
            weighted(lambda x: max_pool(x, window, stride, padding)),
            weighted(lambda x: nn.max_pool(x, (window, window), (stride, stride), padding)),
            x,
        )


@pytest.mark.parametrize("shape", [(2, 5, 4, 3), (1, 1, 2, 3)])
@pytest.mark.parametrize("count_padding", [False, True])
def test_an_average_is_the_plain_one(shape, count_padding):
    with jax.enable_x64(True):
        check(
            lambda x: avg_pool_3x3(x, count_padding=count_padding),
            lambda x: nn.avg_pool(x, (3, 3), (1, 1), "SAME", count_include_pad=count_padding),
            np.random.default_rng(0).normal(size=shape),
        )


def test_an_average_of_bfloat16_is_rounded_once():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 5, 4, 3)), jnp.bfloat16)
    found = jax.jit(lambda x: avg_pool_3x3(x, count_padding=True))(x)
    exact = avg_pool_3x3(x.astype(jnp.float32), count_padding=True)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(found, exact.astype(jnp.bfloat16))


@pytest.mark.slow
@pytest.mark.parametrize("groups", [1, 4])
def test_a_batch_of_bfloat16_keeps_its_type_and_sums_the_kernels_gradient_in_float32(groups):
    draw = np.random.default_rng(0)
    x = jnp.asarray(draw.normal(size=(2, 40, 40, 4)), jnp.bfloat16)
    kernel = jnp.asarray(draw.normal(size=(3, 3, 4 // groups, 4)), jnp.bfloat16)

    def total(x, kernel):
        return convolve(x, kernel, (1, 1), "SAME", feature_group_count=groups).astype(jnp.float32).sum()

    mine = jax.jit(jax.grad(total, (0, 1)))(x, kernel)
    exact = jax.jit(jax.grad(total, (0, 1)))(x.astype(jnp.float32), kernel.astype(jnp.float32))
    assert [gradient.dtype for gradient in mine] == [jnp.bfloat16, jnp.bfloat16]
    for gradient, wanted in zip(mine, exact, strict=True):
        np.testing.assert_allclose(gradient.astype(jnp.float32), wanted, rtol=1e-2, atol=0.5)


@pytest.mark.parametrize(
    ("side", "channels", "features", "strides", "dtype"),
    [
        (12, 512, 512, 1, jnp.bfloat16),
        (11, 512, 512, 1, jnp.float32),
        (12, 512, 512, 2, jnp.float32),
        (224, 64, 64, 1, jnp.float32),
    ],
)
def test_other_maps_are_left_to_xla(side, channels, features, strides, dtype):
    given = [jax.ShapeDtypeStruct(s, dtype) for s in ((1, side, side, channels), (3, 3, channels, features))]
    program = jax.jit(lambda x, w: convolve(x, w, (strides, strides), "SAME")).lower(*given)
    assert "convolution" in program.as_text()


def test_gradients_can_be_taken_one_example_at_a_time():
    draw = np.random.default_rng(0)
    x, kernel = draw.normal(size=(3, 32, 32, 2)), draw.normal(size=(3, 3, 2, 2))

    def total(kernel, image):
        return (convolve(image[None], kernel, (1, 1), "SAME") ** 2).sum()

    together = jax.jit(jax.vmap(jax.grad(total), (None, 0)))(kernel, x)
    one_by_one = [jax.jit(jax.grad(total))(kernel, image) for image in x]
    np.testing.assert_allclose(together, np.stack(one_by_one), rtol=2e-4)


@pytest.mark.parametrize("groups", [1, 4])
def test_a_map_smaller_than_the_kernel_gives_an_empty_one(groups):
    found = convolve(
        jnp.ones((1, 2, 2, 4)), jnp.ones((3, 3, 4 // groups, 4)), (2, 2), "VALID", feature_group_count=groups
    )
    assert found.shape == (1, 0, 0, 4)


def test_dilation_is_left_to_xla():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 7, 7, 2)))
    layer = nn.Conv(3, (3, 3), kernel_dilation=2, padding="VALID", conv_general_dilated=convolve)
    variables = layer.init(jax.random.key(0), x)
    plain = nn.Conv(3, (3, 3), kernel_dilation=2, padding="VALID").apply(variables, x)
    np.testing.assert_allclose(layer.apply(variables, x), plain, rtol=1e-6)


def test_many_products_of_bfloat16_are_summed_in_float32():
    draw = np.random.default_rng(0)
    x, kernel = draw.normal(size=(1, 16, 16, 3)), draw.normal(size=(7, 7, 1, 3))
    exact = convolve(x, kernel, (1, 1), "SAME", feature_group_count=3)
    found = convolve(*(jnp.asarray(each, jnp.bfloat16) for each in (x, kernel)), (1, 1), "SAME", feature_group_count=3)
    np.testing.assert_allclose(found.astype(np.float32), exact, atol=0.15)


@pytest.mark.slow
def test_a_wide_window_has_more_offsets_than_an_int8_counts():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 13, 13, 1)))
    gradients = [jax.grad(lambda x, pool=pool: pool(x).sum())(x) for pool in (lambda x: max_pool(x, 13, 1), jnp.max)]
    np.testing.assert_array_equal(*gradients)
