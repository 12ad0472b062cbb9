import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlx.errors import ConfigError
from tlx.optim import Constant, Cosine, Exponential, InverseTime, Linear, Step, build_schedule

NAN, INF = math.nan, math.inf


def cosine(share):
    return (1 + math.cos(math.pi * share)) / 2


# Steps and the rates at them, for a phase of 100 steps
@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        (Constant(0.3), {0: 0.3, 50: 0.3, 99: 0.3, 1000: 0.3}),
        (Cosine(0.4), {0: 0.4, 25: 0.4 * cosine(0.25), 50: 0.2, 99: 0.4 * cosine(0.99), 100: 0, 200: 0}),
        (Cosine(0.4, end=0.5), {0: 0.4, 50: 0.3, 100: 0.2, 150: 0.2}),
        (Cosine(0.4, warmup=20), {0: 0, 1: 0.02, 19: 0.38, 20: 0.4, 40: 0.4 * cosine(0.25), 60: 0.2, 100: 0}),
        (Cosine(0.4, warmup=99), {0: 0, 98: 0.4 * 98 / 99, 99: 0.4, 100: 0}),
        (Linear(0.4), {0: 0.4, 25: 0.3, 50: 0.2, 100: 0, 200: 0}),
        (Linear(0.4, end=0.25), {0: 0.4, 50: 0.25, 100: 0.1, 200: 0.1}),
        (Linear(0.4, warmup=20, end=0.5), {0: 0, 10: 0.2, 20: 0.4, 60: 0.3, 100: 0.2}),
        (Linear(0.4, warmup=1), {0: 0, 1: 0.4, 100: 0}),
        (Linear(0.4, warmup=0.2), {0: 0, 10: 0.2, 20: 0.4, 60: 0.2, 100: 0}),
        (Cosine(0.4, warmup=0.009), {0: 0.4, 50: 0.2, 100: 0}),  # of less than a step
        (Step(0.8, every=10), {0: 0.8, 9: 0.8, 10: 0.08, 19: 0.08, 20: 0.008}),
        (Step(0.8, every=10, factor=0.5), {9: 0.8, 10: 0.4, 35: 0.1}),
        (Exponential(0.8, every=10), {0: 0.8, 5: 0.8 * 0.9**0.5, 10: 0.72, 20: 0.648}),
        (Exponential(0.8, every=1, factor=0.5), {3: 0.1}),
        (InverseTime(0.2, decay=0.01), {0: 0.2, 1: 0.2 / 1.01, 100: 0.1, 400: 0.04}),
        (InverseTime(0.2, decay=0), {0: 0.2, 400: 0.2}),
    ],
    ids=str,
)
def test_rates_by_hand(schedule, rates):
    rate = build_schedule(schedule, steps=100)
    got = [float(rate(step)) for step in rates]
    np.testing.assert_allclose(got, list(rates.values()), rtol=2e-6, atol=1e-8)
    traced = jax.jit(jax.vmap(rate))(jnp.array(list(rates), jnp.int32)) if not isinstance(schedule, Constant) else got
    np.testing.assert_allclose(traced, got, rtol=2e-6, atol=1e-8)


ALL = {
    Constant: {},
    Cosine: {},
    Linear: {},
    Step: {"every": 10},
    Exponential: {"every": 10},
    InverseTime: {"decay": 0.1},
}


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("rate", [0.0, -0.1, NAN, INF, -INF])
def test_rates_that_are_not_above_zero_and_finite_are_refused(kind, rate):
    with pytest.raises(ConfigError, match=f"{kind.__name__}: rate must be a finite number above 0, not {rate}"):
        kind(rate, **ALL[kind])


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        *((kind, {name: value}) for kind in (Cosine, Linear) for name in ("warmup", "end") for value in (-1, NAN, INF)),
        *((kind, {"every": value}) for kind in (Step, Exponential) for value in (0, -1, NAN, INF)),
        *((kind, {"factor": value}) for kind in (Step, Exponential) for value in (0, -1, NAN, INF)),
        *((InverseTime, {"decay": value}) for value in (-1, NAN, INF)),
    ],
)
def test_other_numbers_out_of_range_are_refused(kind, change):
    name = next(iter(change))
    with pytest.raises(ConfigError, match=f"{kind.__name__}: {name} must be"):
        kind(0.1, **{**ALL[kind], **change})


@pytest.mark.parametrize("kind", [Cosine, Linear])
def test_a_warm_up_is_a_share_or_whole_steps(kind):
    assert isinstance(kind(0.1, warmup=9.0).warmup, int)
    with pytest.raises(ConfigError, match=r"warmup 1\.5 is no number of steps"):
        kind(0.1, warmup=1.5)


@pytest.mark.parametrize("kind", [Cosine, Linear])
def test_a_warm_up_must_leave_a_step_of_the_phase(kind):
    build_schedule(kind(0.1, warmup=9), steps=10)
    for warmup in (10, 11):
        with pytest.raises(ConfigError, match=f"warm-up of {warmup} steps does not fit a phase of 10"):
            build_schedule(kind(0.1, warmup=warmup), steps=10)
