"""Compare the first inputs of a pretrained base with what its batch norms remember of those it was trained on."""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from tlx.devices.compiler import forward_options, jit
from tlx.errors import DataError
from tlx.images.preprocess import Preprocess
from tlx.models.classifier import Classifier
from tlx.presets.catalogue import IMAGENET_STATISTICS, KERAS_MODES, MINUS_ONE_TO_ONE
from tlx.presets.pretrained import Pretrained, fit_preprocess
from tlx.tree.paths import Tree, flatten

CODINGS: dict[str, dict[str, Any]] = {  # how published networks want their pixels, as fields of `Preprocess`
    "0..255": {"scale": 1.0},
    "0..1": {},
    "-1..1": MINUS_ONE_TO_ONE,
    "standardised": IMAGENET_STATISTICS,
    "BGR 0..255 less the mean": KERAS_MODES["caffe"],
}

# Measured in experiments/sentinel.py
SCALE_RATIO = 2.0  # of divergences, beyond which another scale explains the inputs
ORDER_RATIO, ORDER_MEANS_RATIO = 1.25, 2.5  # the same for the other channel order, and of the means' part alone
SCALE_IMAGES, ORDER_IMAGES = 8, 16  # the fewest that tell
MOST_EXAMPLES = 64  # more tell nothing new
SLACK, SPREAD = 25, 190  # of 255: how far pixels may lie outside the scale, how much of it a batch has to fill


@dataclass(frozen=True)
class Verdict:
    """What a comparison came to.

    `divergence` is that of the inputs as they are, NaN where there was nothing to compare. Where something else
    explains them much better, `suspect` names it ("0..255 for -1..1", "BGR for RGB", or both with a comma) and
    `message` says it in one line; otherwise both are None.
    """

    divergence: float
    suspect: str | None = None
    message: str | None = None


def check_preprocessing(model: Classifier, variables: Tree, images: np.ndarray, preprocess: Preprocess) -> Verdict:
    """Tell whether a base's inputs look wrongly scaled or have their channels in the wrong order.

    `images` (B, H, W, C) float32 are a first batch as the base is given it, and `preprocess` is what should have made
    it. What enters the base's first batch norm is compared with the stored mean and variance, for the inputs as they
    are and for a table of guesses at what they are instead (`hypotheses`), each undone. Only a guess that fits much
    better is told of, so that images of another kind (drawings, digits, all grey) pass. Faded images can still look
    wrongly scaled, and those in which blue outweighs red (the sea) look as if their channels were reversed. Nothing is
    compared where the base has no batch norms or fresh ones, nor for fewer than 8 images; the order of channels takes
    16, and some 50 to be told reliably. The variables are left alone. Raise `DataError` for images of another shape, or
    not finite.

    >>> import tlx
    >>> cnn = tlx.load("cnn-mnist")
    >>> inputs = np.zeros((8, 28, 28, 1), np.float32)
    >>> check_preprocessing(cnn.model, cnn.variables, inputs, cnn.preprocess)  # no batch norms
    Verdict(divergence=nan, suspect=None, message=None)
    """
    if images.ndim != 4 or images.shape[3] != preprocess.channels:
        raise DataError(f"images: shape {images.shape}, expected (B, H, W, {preprocess.channels}): preprocess them")
    images = np.asarray(images[:MOST_EXAMPLES], np.float32)
    if not np.isfinite(images).all():
        raise DataError("images: not all finite: look for NaN in the images, or in what was done to them")
    if len(images) < SCALE_IMAGES or first_norm_stage(model, variables) is None:
        return Verdict(math.nan)

    @functools.cache
    def gap(hypothesis: Hypothesis) -> Gap:
        return measure(*respond(model, variables, hypothesis.correct(images)))

    extremes = np.stack([images.min((0, 1, 2)), images.max((0, 1, 2))])
    return judge(possible(hypotheses(preprocess), extremes), gap, len(images))


def doubts(pretrained: Pretrained, collated: Any) -> list[str]:
    """Say what is odd about a first batch as its input spec collates it; nothing, where it is not of images."""
    if not isinstance(pretrained.preprocess, Preprocess):
        return []
    images = np.asarray(pretrained.preprocess.on_device(collated))
    verdict = check_preprocessing(pretrained.model, pretrained.variables, images, pretrained.preprocess)
    return [verdict.message] if verdict.message else []


# What may have happened to the inputs


@dataclass(frozen=True)
class Hypothesis:
    """Guess that `makers`, one after another, made the inputs from pixels, and that `wanted` should have.

    `reverse` guesses in addition that the pixels' channels came in reverse. The rest says so in words.
    """

    looks: str
    fits: str
    cure: str
    makers: tuple[Preprocess, ...]
    wanted: Preprocess
    reverse: bool = False

    def pixels(self, inputs: np.ndarray) -> np.ndarray:
        """Return the pixels (…, C) of inputs (…, C), on 0..255 where the guess is right."""
        for maker in reversed(self.makers):
            inputs = _undo(maker, inputs)
        return inputs[..., ::-1] if self.reverse else inputs

    def correct(self, inputs: np.ndarray) -> np.ndarray:
        """Return what the inputs should have been."""
        return self.wanted.normalise(self.pixels(inputs))


def hypotheses(preprocess: Preprocess) -> tuple[Hypothesis, ...]:
    """List what inputs may be that `preprocess` should have made: first that it did, and rightly.

    Then, for each way to scale pixels that networks are published with: something else made them in that way; they were
    in that way already when `preprocess` made them; the base wants them in that way.

    >>> [f"{guess.looks} for {guess.fits}" for guess in hypotheses(Preprocess(8, 8, 1))][:3]
    ['0..1 for 0..1', '0..255 for 0..1', '-1..1 for 0..1']
    """
    shape = (preprocess.height, preprocess.width, preprocess.channels)
    codings = {name: fit_preprocess(Preprocess(*shape[:2], 3, **fields), shape) for name, fields in CODINGS.items()}
    own = next((name for name, coding in codings.items() if _same(coding, preprocess)), _range_of(preprocess))
    others = {name: coding for name, coding in codings.items() if name != own}
    scaled = {name: coding for name, coding in {**codings, own: preprocess}.items() if name != "0..255"}
    missed, again = "preprocess them as the base's own", "preprocess images on 0..255, once"
    wrong = "change the preprocessing's scale, mean and std"
    right = Hypothesis(own, own, "", (preprocess,), preprocess)
    return (
        right,
        *(replace(right, looks=name, cure=missed, makers=(made,)) for name, made in others.items()),
        *(
            replace(right, looks=f"{name} scaled again", cure=again, makers=(made, preprocess))
            for name, made in scaled.items()
        ),
        *(replace(right, fits=name, cure=wrong, wanted=wanted) for name, wanted in others.items()),
    )


def possible(guesses: Sequence[Hypothesis], extremes: np.ndarray) -> tuple[Hypothesis, ...]:
    """Keep the first hypothesis and those under which pixels lie on 0..255 and fill most of it.

    `extremes` (2, C) are the least and the greatest input of each channel.
    """
    kept = [guesses[0]]
    for guess in guesses[1:]:
        pixels = guess.pixels(extremes)
        low, high = pixels.min(), pixels.max()
        if low >= -SLACK and high <= 255 + SLACK and high - low >= SPREAD:
            kept.append(guess)
    return tuple(kept)


def _undo(maker: Preprocess, inputs: np.ndarray) -> np.ndarray:
    """Invert `Preprocess.normalise`, in float32."""
    if maker.std:
        inputs = inputs * np.array(maker.std, np.float32)
    if maker.mean:
        inputs = inputs + np.array(maker.mean, np.float32)
    pixels = inputs / np.float32(maker.scale)
    return pixels[..., ::-1] if maker.channel_order == "bgr" else pixels


def _same(one: Preprocess, other: Preprocess) -> bool:
    """Tell whether two specs scale and order pixels alike."""
    probe = np.arange(2 * one.channels, dtype=np.float32).reshape(2, 1, 1, -1)
    return np.allclose(one.normalise(probe), other.normalise(probe), atol=1e-5)


def _range_of(preprocess: Preprocess) -> str:
    """Name a way to scale pixels that is none of the published by what black and white become."""
    ends = preprocess.normalise(np.repeat(np.array([0, 255], np.float32), preprocess.channels).reshape(2, 1, 1, -1))
    return ("BGR " if preprocess.channel_order == "bgr" else "") + f"{ends.min():.3g}..{ends.max():.3g}"


# What the base makes of them


class Moments(NamedTuple):
    """A mean and a variance of each channel: (C,), or (B, C) for each image apart."""

    mean: np.ndarray
    variance: np.ndarray


class Gap(NamedTuple):
    """The Bhattacharyya distance of two normal distributions, averaged over channels: `means` is their part of it."""

    divergence: float
    means: float


def first_norm_stage(model: Classifier, variables: Tree) -> str | None:
    """Name the first stage of a base that has batch statistics; None if none has any, or those of a fresh base."""
    statistics = variables.get("batch_stats", {}).get("base", {})
    stage = next((name for name in model.base.stage_names if name in statistics), None)
    if stage is None:
        return None
    is_fresh = all(np.all(leaf == float(path.endswith("var"))) for path, leaf in flatten(statistics[stage]).items())
    return None if is_fresh else stage


def respond(model: Classifier, variables: Tree, images: np.ndarray) -> tuple[Moments, Moments]:
    """Return the moments of what enters the base's first batch norm, for each image, and those that it has stored.

    The norm's epsilon, below which no variance counts, is added to the stored variances and to each image's.
    """
    stage = first_norm_stage(model, variables)
    came, stored = jax.device_get(_respond(model, stage, variables, images))
    return Moments(*came), Moments(*stored)


@functools.partial(jit, options=forward_options, static_argnums=(0, 1))
def _respond(model: Classifier, stage: str, variables: Tree, images: jax.Array) -> Any:
    found: list[Any] = []

    def intercept(
        call: Any, args: tuple[Any, ...], kwargs: dict[str, Any], context: nn.module.InterceptorContext
    ) -> Any:
        norm = context.module
        if isinstance(norm, nn.BatchNorm) and context.method_name == "__call__":
            shift = kwargs.get("shift")  # a convolution's bias, where the norm adds it
            x = (args[0] if shift is None else args[0] + shift).astype(jnp.float32)
            over = tuple(range(1, x.ndim - 1))
            stored: list[jax.Array] = [norm.get_variable("batch_stats", name) for name in ("mean", "var")]
            found.append(((x.mean(over), x.var(over) + norm.epsilon), (stored[0], stored[1] + norm.epsilon)))
        return call(*args, **kwargs)

    with nn.intercept_methods(intercept):
        model.apply(variables, images, until=stage, method="features")
    return found[0]


def measure(came: Moments, stored: Moments) -> Gap:
    """Measure how far what came, image by image, lies as a whole from what is stored.

    A. Bhattacharyya (1943): (m1 - m2)^2 / (v1 + v2) / 4 + log((v1 + v2)^2 / (4 v1 v2)) / 4. Unlike the divergence of
    Kullback and Leibler it stays small where a few channels see what training never showed them, as in drawings.

    >>> one = Moments(np.zeros((2, 3)), np.ones((2, 3)))
    >>> measure(one, Moments(np.ones(3), np.ones(3)))
    Gap(divergence=0.125, means=0.125)
    """
    means, variances = (np.asarray(moment, np.float64) for moment in came)
    mean, variance = means.mean(0), variances.mean(0) + means.var(0)
    total = variance + stored.variance
    from_means = (mean - stored.mean) ** 2 / total / 4
    from_variances = np.log(total / (4 * variance) * (total / stored.variance)) / 4
    return Gap(float((from_means + from_variances).mean()), float(from_means.mean()))


def judge(guesses: Sequence[Hypothesis], gap: Callable[[Hypothesis], Gap], images: int) -> Verdict:
    """Pass the verdict on inputs from the gap under each hypothesis, the first of which is that all is well.

    First the scale is judged by the whole divergence; then, for colour, the order of channels, which moves the means of
    the filters that tell red from blue and little else.
    """
    right = best = guesses[0]
    nearest = min(guesses, key=lambda guess: gap(guess).divergence)
    if gap(right).divergence > SCALE_RATIO * gap(nearest).divergence:
        best = nearest
    if right.wanted.channels == 3 and images >= ORDER_IMAGES:
        turned = replace(best, reverse=True)
        before, after = gap(best), gap(turned)
        if before.divergence > ORDER_RATIO * after.divergence and before.means > ORDER_MEANS_RATIO * after.means:
            best = turned
    divergence = gap(right).divergence
    if best is right:
        return Verdict(divergence)
    pairs, cures = ([(best.looks, best.fits)], [best.cure]) if best.cure else ([], [])
    if best.reverse:
        pairs.append(("BGR", "RGB") if best.wanted.channel_order == "rgb" else ("RGB", "BGR"))
        cures.append("swap red and blue")
    looks, fits = (" in ".join(side) for side in zip(*pairs, strict=True))
    message = (
        f"the base's inputs look like {looks} where {fits} fits its batch norms (divergence {divergence:.2g} against "
        f"{gap(best).divergence:.2g}): {', '.join(cures)}"
    )
    return Verdict(divergence, ", ".join(f"{came} for {wanted}" for came, wanted in pairs), message)
