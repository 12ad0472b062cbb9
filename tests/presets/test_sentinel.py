"""The sentinel names what was done to inputs, and keeps quiet about right ones, odd ones and those it cannot judge."""

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import pytest
from cases import OF_IMAGES, ConvNorm, assert_same_bits

import tlx
from tlx.data.image_files import read_images
from tlx.errors import DataError
from tlx.images import Preprocess
from tlx.models import Base, Classifier, Head, Stage, layers
from tlx.models.registry import initialise
from tlx.presets import sentinel
from tlx.presets.sentinel import CODINGS, Moments, check_preprocessing, hypotheses, measure, possible
from tlx.tree import flatten

SPECS = {name: Preprocess(8, 8, 3, **fields) for name, fields in CODINGS.items()}


def random_images(count: int = 32, seed: int = 0) -> np.ndarray:
    """Draw photographs of a kind: blotches from black to white, red above blue."""
    draw = np.random.default_rng(seed)
    light = draw.uniform(0, 1, (count, 4, 4, 1)) + draw.normal(0, 0.1, (count, 4, 4, 3)) + np.array([0.15, 0, -0.15])
    return np.repeat(np.repeat(light.clip(0, 1) * 255, 2, 1), 2, 2).astype(np.uint8)


MODEL = Classifier(Base((Stage("stem", ConvNorm(8)), Stage("next", ConvNorm(4)))), Head(2))


@functools.cache
def trained(name: str) -> tuple[Classifier, Any]:
    """Return a model, and variables whose statistics are those of images made as the coding `name` says."""
    inputs = SPECS[name].normalise(random_images(256, seed=1))
    variables = initialise(MODEL, (8, 8, 3), 0)
    for _ in range(30):  # of momentum 0.5: nothing is left of the start
        variables = with_statistics(MODEL, variables, inputs)
    return MODEL, variables


@functools.partial(jax.jit, static_argnums=0)
def with_statistics(model: Classifier, variables: Any, inputs: np.ndarray) -> Any:
    return {**variables, **model.apply(variables, inputs, True, mutable=["batch_stats"])[1]}


def suspect(name: str, inputs: np.ndarray, told: Preprocess) -> str | None:
    return check_preprocessing(*trained(name), inputs, told).suspect


@pytest.mark.parametrize("name", SPECS)
def test_right_inputs_pass(name: str) -> None:
    verdict = check_preprocessing(*trained(name), SPECS[name].normalise(random_images()), SPECS[name])
    assert verdict.divergence < 0.02
    assert (verdict.suspect, verdict.message) == (None, None)


@pytest.mark.parametrize("made", SPECS)
@pytest.mark.parametrize("wanted", SPECS)
def test_inputs_made_in_another_way_are_named(made: str, wanted: str) -> None:
    expected = None if made == wanted else f"{made} for {wanted}"
    inputs = SPECS[made].normalise(random_images())
    assert suspect(wanted, inputs, SPECS[wanted]) == expected  # made by something else than the preprocessing
    assert suspect(wanted, inputs, SPECS[made]) == expected  # made by the preprocessing, which is not the base's


@pytest.mark.parametrize("name", ["-1..1", "standardised"])
def test_inputs_scaled_twice_are_named(name: str) -> None:
    spec = SPECS[name]
    assert suspect(name, spec.normalise(spec.normalise(random_images())), spec) == f"{name} scaled again for {name}"
    small = spec.normalise(random_images() / 255)
    assert suspect(name, small, spec) == f"0..1 scaled again for {name}"


@pytest.mark.parametrize(("name", "order"), [("-1..1", "BGR for RGB"), ("BGR 0..255 less the mean", "RGB for BGR")])
def test_channels_in_the_other_order_are_named(name: str, order: str) -> None:
    turned = random_images()[..., ::-1]
    assert suspect(name, SPECS[name].normalise(turned), SPECS[name]) == order
    assert suspect(name, SPECS["0..1"].normalise(turned), SPECS[name]) == f"0..1 for {name}, {order}"


def test_a_message_is_one_line_with_what_where_and_cure() -> None:
    message = check_preprocessing(*trained("-1..1"), SPECS["0..255"].normalise(random_images()), SPECS["-1..1"]).message
    assert message is not None
    assert "\n" not in message
    for part in ("look like 0..255 where -1..1 fits", "divergence", "preprocess them"):
        assert part in message


def test_a_scale_of_ones_own_is_named_by_its_ends() -> None:
    own = Preprocess(8, 8, 3, scale=1 / 51, mean=(2.0, 2.0, 2.0))
    assert hypotheses(own)[0].looks == "-2..3"
    assert hypotheses(replace(own, channel_order="bgr"))[0].fits == "BGR -2..3"
    assert suspect("-1..1", own.normalise(random_images()), own) == "-2..3 for -1..1"


# What passes


def test_grey_images_have_no_order_of_channels() -> None:
    grey = random_images()[..., :1].repeat(3, -1)
    assert suspect("-1..1", SPECS["-1..1"].normalise(grey), SPECS["-1..1"]) is None


def test_faded_images_are_not_taken_for_another_scale() -> None:
    faded = (random_images() * 0.5 + 64).astype(np.uint8)
    inputs = SPECS["-1..1"].normalise(faded)
    assert suspect("-1..1", inputs, SPECS["-1..1"]) is None
    assert measure_of("-1..1", inputs) > 2 * measure_of("-1..1", inputs * 2)  # though they would fit better


def measure_of(name: str, inputs: np.ndarray) -> float:
    return measure(*sentinel.respond(*trained(name), inputs)).divergence


def test_only_pixels_that_fill_the_scale_are_possible() -> None:
    def looks(low: float, high: float) -> list[str]:
        ends = np.array([[low] * 3, [high] * 3], np.float32)
        return [guess.looks for guess in possible(hypotheses(SPECS["-1..1"]), ends)]

    assert looks(0, 255) == ["-1..1", "0..255"]
    assert looks(0, 1) == ["-1..1", "0..1"]
    assert looks(-1, 1) == ["-1..1"] * 5  # right, or right for a base of another kind
    assert looks(0.1, 0.2) == ["-1..1"]


def test_how_many_images_tell() -> None:
    wrong, turned = SPECS["0..255"].normalise(random_images()), SPECS["-1..1"].normalise(random_images()[..., ::-1])
    few = check_preprocessing(*trained("-1..1"), wrong[:7], SPECS["-1..1"])
    assert np.isnan(few.divergence)
    assert few.suspect is None
    assert suspect("-1..1", wrong[:8], SPECS["-1..1"]) == "0..255 for -1..1"
    assert suspect("-1..1", turned[:15], SPECS["-1..1"]) is None
    assert suspect("-1..1", turned[:16], SPECS["-1..1"]) == "BGR for RGB"
    many = SPECS["-1..1"].normalise(random_images(65))
    whole, part = (check_preprocessing(*trained("-1..1"), images, SPECS["-1..1"]) for images in (many, many[:64]))
    assert whole == part  # more tell nothing new


# What cannot be judged


@pytest.mark.parametrize("case", OF_IMAGES, ids=str)
def test_a_base_without_statistics_of_its_own_is_not_judged(case: Any) -> None:
    height, width, channels = case.shape
    inputs = np.random.default_rng(0).uniform(0, 255, (8, *case.shape)).astype(np.float32)
    verdict = check_preprocessing(case.model, case.variables(), inputs, Preprocess(height, width, channels))
    assert np.isnan(verdict.divergence)  # no batch norms, or fresh ones


TRACED: list[tuple[int, ...]] = []


class Norms(nn.Module):
    """A norm of pixels, or of a row of them, and one after it; they count how often they are traced."""

    flat: bool

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        TRACED.append(x.shape)
        x = x.reshape(len(x), -1) if self.flat else x
        for name in ("norm", "after"):
            x = nn.BatchNorm(momentum=0, name=name)(x, use_running_average=not train)
        return x


@pytest.mark.slow
@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_norm_may_come_first_and_channels_be_of_any_number(flat: bool, channels: int) -> None:
    model = Classifier(Base((Stage("norms", Norms(flat)),)), Head(2, pool="flatten"))
    spec, images = Preprocess(8, 8, channels), random_images(64)[..., :channels]
    right, wrong = spec.normalise(images), images.astype(np.float32)
    variables = with_statistics(model, initialise(model, (8, 8, channels), 0), right)
    assert check_preprocessing(model, variables, right, spec).suspect is None
    assert (
        check_preprocessing(model, variables, right[..., ::-1], spec).suspect is None
    )  # two channels have no known order
    stored = variables["batch_stats"]["base"]["norms"]["norm"]["mean"]
    np.testing.assert_array_equal(sentinel.respond(model, variables, right)[1].mean, stored)
    TRACED.clear()
    assert check_preprocessing(model, variables, wrong, spec).suspect == "0..255 for 0..1"
    assert TRACED == []  # compiled once for any number of guesses


def test_bad_images_are_refused() -> None:
    good = SPECS["0..1"].normalise(random_images())
    with pytest.raises(DataError, match=r"shape \(32, 8, 8, 2\), expected \(B, H, W, 3\)"):
        check_preprocessing(*trained("0..1"), good[..., :2], SPECS["0..1"])
    with pytest.raises(DataError, match="not all finite"):
        check_preprocessing(*trained("0..1"), np.where(good > 0.9, np.nan, good), SPECS["0..1"])


def test_nothing_is_changed() -> None:
    model, variables = trained("-1..1")
    inputs = SPECS["-1..1"].normalise(random_images())
    before, given = jax.tree.map(np.array, variables), inputs.copy()
    first = check_preprocessing(model, variables, inputs, SPECS["-1..1"])
    assert check_preprocessing(model, variables, inputs, SPECS["-1..1"]) == first
    assert_same_bits(before, variables)
    assert_same_bits(given, inputs)


# Its parts


@pytest.mark.parametrize("wanted", SPECS)
@pytest.mark.parametrize("reverse", [False, True])
def test_correcting_undoes_what_was_done(wanted: str, reverse: bool) -> None:
    for guess in hypotheses(SPECS[wanted]):
        frames = random_images(2).astype(np.float32)
        inputs = frames[..., ::-1] if reverse else frames
        for maker in guess.makers:
            inputs = maker.normalise(inputs)
        guess = replace(guess, reverse=reverse)
        np.testing.assert_allclose(guess.pixels(inputs), frames, atol=0.02)
        np.testing.assert_allclose(guess.correct(inputs), guess.wanted.normalise(frames), atol=0.02)


def test_the_distance_is_bhattacharyyas_for_the_batch_as_a_whole() -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(1, 2, (6, 50, 3))  # six images of 50 pixels
    mean, variance = x.mean((0, 1)), x.var((0, 1))
    gap = measure(Moments(x.mean(1), x.var(1)), Moments(np.zeros(3), np.full(3, 9.0)))
    means = mean**2 / (variance + 9) / 4
    assert gap.means == pytest.approx(means.mean())
    spreads = np.log((variance + 9) / (2 * np.sqrt(variance * 9))) / 2
    assert gap.divergence == pytest.approx((means + spreads).mean())


def test_what_enters_the_first_norm_is_measured() -> None:
    model, variables = trained("0..1")
    inputs = SPECS["0..1"].normalise(random_images(4))
    came, stored = sentinel.respond(model, variables, inputs)
    stem, leaves = variables["params"]["base"]["stem"]["conv"], flatten(variables["batch_stats"])
    entering = nn.Conv(8, (3, 3), use_bias=False).apply({"params": stem}, inputs)
    np.testing.assert_allclose(came.mean, entering.mean((1, 2)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(came.variance, entering.var((1, 2)) + 1e-5, rtol=1e-4)
    np.testing.assert_array_equal(stored.mean, leaves["base/stem/norm/mean"])
    np.testing.assert_allclose(stored.variance, leaves["base/stem/norm/var"] + 1e-5)


# Real networks


@pytest.mark.slow
def test_mobilenets_inputs_are_told(shared_data: Path) -> None:
    weights = shared_data / "weights" / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5"
    base = tlx.load("keras/mobilenet_v2", weights)
    files = sorted((shared_data / "imagenet50").glob("*.JPEG"))[:32]
    frames = np.concatenate([base.preprocess.frame(read_images(str(file))[0][1][None]) for file in files])

    def suspect_of(inputs: np.ndarray) -> str | None:
        return check_preprocessing(base.model, base.variables, inputs, base.preprocess).suspect

    assert suspect_of(base.preprocess.normalise(frames)) is None
    assert suspect_of(base.preprocess.normalise(frames[..., ::-1])) == "BGR for RGB"
    assert suspect_of(frames.astype(np.float32)) == "0..255 for -1..1"
    assert suspect_of((frames / 255).astype(np.float32)) == "0..1 for -1..1"
    digits = tlx.load_data("digits").train
    strokes = np.stack([digits[index]["input"] for index in range(32)])
    assert suspect_of(base.preprocess(strokes)) is None


def test_resnets_inputs_are_told(shared_data: Path) -> None:
    base = tlx.load("cifar/resnet20", shared_data / "weights" / "resnet20-12fca82f.th")
    with np.load(shared_data / "cifar10_jpeg_1000.npz") as cifar:
        images = cifar["image"][:32]

    def suspect_of(inputs: np.ndarray) -> str | None:
        return check_preprocessing(base.model, base.variables, inputs, base.preprocess).suspect

    assert suspect_of(base.preprocess(images)) is None
    for name in ("0..255", "0..1", "-1..1"):
        assert suspect_of(SPECS[name].normalise(images)) == f"{name} for standardised"


@pytest.mark.slow
def test_a_bias_that_the_first_norm_adds_is_part_of_what_enters_it() -> None:
    model = Classifier(Base((Stage("conv", layers.ConvNorm(4, 3, layers.TORCH, bias=True)),)), Head(2))
    images = random_images(8).astype(np.float32)
    variables = initialise(model, images.shape[1:], 0)
    variables["batch_stats"]["base"]["conv"]["conv_norm"]["mean"] += 1  # no longer those of a fresh base
    before, _ = sentinel.respond(model, variables, images)
    variables["params"]["base"]["conv"]["conv"]["bias"] += 3
    after, _ = sentinel.respond(model, variables, images)
    np.testing.assert_allclose(after.mean - before.mean, 3, rtol=1e-3)
