"""Two bases compared by probes: equal ones, a broken one, the interval, and what is refused."""

import dataclasses

import jax
import numpy as np
import pytest
from scipy import stats

import tlx
from tlx.errors import ConfigError
from tlx.probes import ProbeComparison, compare_probes, linear_probe, paired_interval

OPTIONS = tlx.ProbeOptions(l2=(0.1, 1.0))


def load(seed):
    return tlx.load_data("digits", labels_per_class=5, seed=seed)


@pytest.fixture(scope="module")
def base():
    return tlx.load("mlp-mnist")


@pytest.fixture(scope="module")
def broken(base):
    """The base with noise in its last layer."""
    draw = np.random.default_rng(0)
    params = jax.tree.map(np.array, base.variables["params"])
    params["base"]["dense2"] = jax.tree.map(
        lambda leaf: draw.normal(size=leaf.shape).astype(leaf.dtype) * 1e-3, params["base"]["dense2"]
    )
    return dataclasses.replace(base, variables={"params": params})


@pytest.mark.slow
def test_probes_are_those_of_linear_probe_on_the_same_splits(base, broken):
    found = compare_probes(base, broken, load, seeds=(0, 1, 2), options=OPTIONS)
    for name, model in (("before", base), ("after", broken)):
        alone = [linear_probe(model, load(seed), OPTIONS).test_accuracy for seed in (0, 1, 2)]
        assert getattr(found, name) == pytest.approx(alone, abs=0.01)
    assert found.difference == pytest.approx(np.mean(np.subtract(found.after, found.before)))
    data = load(0)
    share = len(data.test) / (len(data.train) + len(data.validation))
    assert found.interval == pytest.approx(paired_interval(np.subtract(found.after, found.before), share))
    assert set(found.to_dict()) == {"metric", "difference", "verdict", "seeds", "before", "after", "interval"}


@pytest.mark.parametrize(
    ("metric", "interval", "verdict"),
    [
        ("accuracy", (0.01, 0.03), "better"),
        ("accuracy", (-0.03, -0.01), "worse"),
        ("accuracy", (-0.01, 0.03), "no difference shown"),
        ("accuracy", (0.0, 0.0), "no difference shown"),
        ("rmse", (0.01, 0.03), "worse"),
        ("rmse", (-0.03, -0.01), "better"),
    ],
)
def test_the_verdict_is_that_of_the_interval(metric, interval, verdict):
    assert ProbeComparison(metric, (0, 1), (0.5, 0.5), (0.5, 0.5), 0.0, interval).verdict == verdict


def test_the_interval_is_students_for_independent_differences_and_wider_for_splits_of_the_same_data():
    differences = np.random.default_rng(0).normal(0.01, 0.02, 7)
    low, high = paired_interval(differences)
    assert (low, high) == pytest.approx(tuple(stats.ttest_1samp(differences, 0).confidence_interval(0.95)))
    wide = paired_interval(differences, 0.25)
    assert wide[1] - wide[0] == pytest.approx((high - low) * np.sqrt(1 + 7 * 0.25))


def test_what_makes_no_comparison_is_refused(base):
    for seeds in ((0,), (1, 1)):
        with pytest.raises(ConfigError, match="two or more different"):
            compare_probes(base, base, load, seeds=seeds)
    with pytest.raises(ConfigError, match="change the bases"):
        compare_probes(base, base, load, options=tlx.ProbeOptions(pool="max"))
