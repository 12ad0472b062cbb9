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

    A `warmup` below 1 is a share of the phase's steps. (I. Loshchilov and F. Hutter, SGDR, 2017.)
    """

    rate: float
    warmup: float = 0
    end: float = 0.0

    def __post_init__(self) -> None:
        _check(self, self.warmup)


@dataclass(frozen=True)
class Linear:
    """Rise linearly from 0 to `rate` over `warmup` steps, then fall linearly to `rate * end`.

    A `warmup` below 1 is a share of the phase's steps, a tenth is usual for BERT (J. Devlin et al., 2018).
    """

    rate: float
    warmup: float = 0
    end: float = 0.0

    def __post_init__(self) -> None:
        _check(self, self.warmup)


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


def _check(schedule: "Cosine | Linear", warmup: float) -> None:
    check_positive(schedule, rate=schedule.rate)
    check_not_negative(schedule, warmup=warmup, end=schedule.end)
    if warmup >= 1:
        if warmup != int(warmup):
            raise ConfigError(f"{type(schedule).__name__}: warmup {warmup} is no number of steps, nor a share below 1")
        object.__setattr__(schedule, "warmup", int(warmup))  # 10 where a command has read 10.0


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
        case Cosine(rate, share, end):
            warmup = _warmup_steps(share, steps)
            fall = optax.cosine_decay_schedule(rate, _after_warmup(warmup, steps), alpha=end)
            return _with_warmup(rate, warmup, fall)
        case Linear(rate, share, end):
            warmup = _warmup_steps(share, steps)
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


def _warmup_steps(warmup: float, steps: int) -> int:
    return int(warmup * steps) if warmup < 1 else int(warmup)


def _after_warmup(warmup: int, steps: int) -> int:
    if warmup >= steps:
        raise ConfigError(f"warm-up of {warmup} steps does not fit a phase of {steps}: shorten it or train longer")
    return steps - warmup


def _with_warmup(rate: float, warmup: int, fall: optax.Schedule) -> optax.Schedule:
    if not warmup:
        return fall
    return optax.join_schedules([optax.linear_schedule(0.0, rate, warmup), fall], [warmup])
