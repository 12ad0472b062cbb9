"""Mixup the images of a batch in pairs: mixup and CutMix."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tlx.errors import ConfigError, check_not_negative


class Mixed(NamedTuple):
    """`inputs` as they came, mixed; `partner` (B,) int32, the row mixed into each; `share` (), each row's own weight.

    The loss is `share * loss(targets) + (1 - share) * loss(targets[partner])`.
    """

    inputs: jax.Array
    partner: jax.Array
    share: jax.Array


@dataclass(frozen=True)
class Mixup:
    """Choose mixup and CutMix by the parameter alpha of their Beta(alpha, alpha); 0 is off, 0.2 and 1 are usual.

    Mixup blends two images, share and 1 - share (H. Zhang et al., mixup, 2018). CutMix replaces a random box of an
    image by the same box of the other, and the share is what is left of the area (S. Yun et al., CutMix, 2019). With
    both on, each batch takes one of the two, with equal chance.
    """

    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        check_not_negative(self, mixup=self.mixup, cutmix=self.cutmix)

    def __bool__(self) -> bool:
        """Tell whether either is on.

        >>> bool(Mixup()), bool(Mixup(mixup=0.2))
        (False, True)
        """
        return bool(self.mixup or self.cutmix)

    def check(self, inputs: Any) -> None:
        """Raise `ConfigError` where inputs, as shapes, cannot be mixed: they are no images (B, H, W, C) of floats.

        >>> Mixup(mixup=0.2).check(jax.ShapeDtypeStruct((8, 3), jnp.int32))
        Traceback (most recent call last):
            ...
        tlx.errors.ConfigError: mix: mixup and CutMix take images (B, H, W, C) of floats, not int32 (8, 3): leave it out
        """
        shape = getattr(inputs, "shape", None)
        if self and not (shape and len(shape) == 4 and jnp.issubdtype(inputs.dtype, jnp.floating)):
            what = f"{inputs.dtype} {shape}" if shape else "several arrays"
            raise ConfigError(f"mix: mixup and CutMix take images (B, H, W, C) of floats, not {what}: leave it out")

    def __call__(self, images: jax.Array, key: jax.Array, count: jax.Array | int | None = None) -> Mixed:
        """Mixup float images (B, H, W, C), row i of the first `count` (default: all) with row count - 1 - i.

        The rows from `count` on, and the middle one of an odd number, are their own partners and stay as they are. One
        share holds for the whole batch. Pure; can be jitted, with `count` traced too.

        >>> mixed = Mixup(mixup=1.0)(jnp.zeros((4, 2, 2, 1)), jax.random.key(0), count=3)
        >>> mixed.partner.tolist()
        [2, 1, 0, 3]
        """
        rows = jnp.arange(len(images), dtype=jnp.int32)
        count = len(images) if count is None else count
        partner = jnp.where(rows < count, count - 1 - rows, rows)
        if not self:
            return Mixed(images, partner, jnp.ones((), jnp.float32))
        others = images[partner]
        draws = jax.random.uniform(key, (5,), jnp.float32)
        if self.mixup and self.cutmix:
            mixed, share = jax.lax.cond(draws[0] < 0.5, self._mixup, self._cutmix, images, others, draws)
        else:
            mixed, share = (self._mixup if self.mixup else self._cutmix)(images, others, draws)
        return Mixed(mixed, partner, share)

    def _mixup(self, images: jax.Array, others: jax.Array, draws: jax.Array) -> tuple[jax.Array, jax.Array]:
        share = _beta(self.mixup, draws[1], draws[2])
        # Written so that an image mixed with itself is itself to the last bit.
        return images + (1 - share).astype(images.dtype) * (others - images), share

    def _cutmix(self, images: jax.Array, others: jax.Array, draws: jax.Array) -> tuple[jax.Array, jax.Array]:
        side = jnp.sqrt(1 - _beta(self.cutmix, draws[1], draws[2]))
        rows, columns = _inside(images.shape[1], side, draws[3]), _inside(images.shape[2], side, draws[4])
        share = 1 - rows.sum() * columns.sum() / (len(rows) * len(columns))
        return jnp.where(rows[:, None, None] & columns[:, None], others, images), share


def _inside(length: int, side: jax.Array, draw: jax.Array) -> jax.Array:
    """Mark the pixels (length,) of a side of the box: centred on a random pixel, clipped at the image's edge."""
    centre, half = (length * draw).astype(jnp.int32), (length * side).astype(jnp.int32) // 2
    pixels = jnp.arange(length)
    return (pixels >= centre - half) & (pixels < centre + half)


def _beta(alpha: float, radius: jax.Array, angle: jax.Array) -> jax.Array:
    """Turn two uniform draws into one of Beta(alpha, alpha).

    (L. Devroye, Random variate generation in one line of code, 1996.) `jax.random.beta` would add its loops, and
    seconds of compilation, to every step.
    """
    cosine = jnp.cos(2 * jnp.pi * angle)
    squared = jnp.expm1(-jnp.log(radius) / alpha) * cosine**2
    return 0.5 + 0.5 * jnp.sign(cosine) / jnp.sqrt(1 + 1 / squared)
