"""Schedules: the learning rate as a function of the step within a phase."""

from dataclasses import dataclass

import jax.numpy as jnp
import optax

from tlx.errors import ConfigError, check_not_negative, check_positive


@dataclass(frozen=True)
class Constant:
    """Keep the rate."""

    rate: float

    def __post_init__(self) -> None:
        check_positive(self, rate=self.rate)


@dataclass(frozen=True)
class Cosine:
    """Rise linearly from 0 to `rate` over `warmup` steps, then fall along half a cosine to `rate * end`.

    (I. Loshchilov and F. Hutter, SGDR, 2017.)
    """

    rate: float
    warmup: int = 0
    end: float = 0.0

    def __post_init__(self) -> None:
        check_positive(self, rate=self.rate)
        check_not_negative(self, warmup=self.warmup, end=self.end)


@dataclass(frozen=True)
class Linear:
    """Rise linearly from 0 to `rate` over `warmup` steps, then fall linearly to `rate * end`."""

    rate: float
    warmup: int = 0
    end: float = 0.0

    def __post_init__(self) -> None:
        check_positive(self, rate=self.rate)
        check_not_negative(self, warmup=self.warmup, end=self.end)


@dataclass(frozen=True)
class Step:
    """Multiply the rate by `factor` every `every` steps."""

    rate: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        check_positive(self, rate=self.rate, every=self.every, factor=self.factor)


@dataclass(frozen=True)
class Exponential:
    """Multiply the rate by `factor` over every `every` steps, smoothly: rate * factor**(step / every)."""

    rate: float
    every: int
    factor: float = 0.9

    def __post_init__(self) -> None:
        check_positive(self, rate=self.rate, every=self.every, factor=self.factor)


@dataclass(frozen=True)
class InverseTime:
    """Divide the rate by 1 + decay * step: the `decay` argument of Keras's optimizers before version 2.11."""

    rate: float
    decay: float

    def __post_init__(self) -> None:
        check_positive(self, rate=self.rate)
        check_not_negative(self, decay=self.decay)


Schedule = Constant | Cosine | Linear | Step | Exponential | InverseTime


def build_schedule(schedule: Schedule | optax.Schedule, steps: int) -> optax.Schedule:
    """Build the function from step (0 for a phase's first) to learning rate, for a phase of `steps` steps.

    A function is one already. Raise `ConfigError` for a warm-up that is longer than the phase.

    >>> rate = build_schedule(InverseTime(rate=0.2, decay=0.01), steps=500)
    >>> [round(float(rate(step)), 4) for step in (0, 100, 400)]
    [0.2, 0.1, 0.04]
    """
    match schedule:
        case Constant(rate):
            return optax.constant_schedule(rate)
        case Cosine(rate, warmup, end):
            fall = optax.cosine_decay_schedule(rate, _after_warmup(warmup, steps), alpha=end)
            return _with_warmup(rate, warmup, fall)
        case Linear(rate, warmup, end):
            fall = optax.linear_schedule(rate, rate * end, _after_warmup(warmup, steps))
            return _with_warmup(rate, warmup, fall)
        case Step(rate, every, factor):
            return optax.exponential_decay(rate, every, factor, staircase=True)
        case Exponential(rate, every, factor):
            return optax.exponential_decay(rate, every, factor)
        case InverseTime(rate, decay):
            return lambda step: rate / (1.0 + decay * jnp.asarray(step, jnp.float32))
        case _:
            return schedule


def _after_warmup(warmup: int, steps: int) -> int:
    if warmup >= steps:
        raise ConfigError(f"warm-up of {warmup} steps does not fit a phase of {steps}: shorten it or train longer")
    return steps - warmup


def _with_warmup(rate: float, warmup: int, fall: optax.Schedule) -> optax.Schedule:
    if not warmup:
        return fall
    return optax.join_schedules([optax.linear_schedule(0.0, rate, warmup), fall], [warmup])
