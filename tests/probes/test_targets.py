"""Probes of several labels and of numbers: beside scikit-learn's own fits, and as models that go on living."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import average_precision_score, root_mean_squared_error

import tlx
from tlx.data import data_from_arrays, targets_of
from tlx.errors import ConfigError, DataError
from tlx.probes import logistic_regression, ridge_regression
from tlx.probes.standard import Standard

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(240, 6)).astype(np.float32) * [1, 2, 3, 1, 1, 1] + 5
NUMBERS = np.stack([FEATURES @ [1, 0, 2, 0, 0, 1] + 50, 100 * FEATURES[:, 1]], 1) + RNG.normal(size=(240, 2))
LABELS = (FEATURES + RNG.normal(size=(240, 6)) > 5)[:, :3]
L2 = (1.0, 0.01, 1e-4)


def parts(data):
    """Features and targets of the three parts, as they were split."""
    return [
        (np.stack([part[row]["input"] for row in range(len(part))]).astype(np.float64), targets_of(part))
        for part in (data.train, data.validation, data.test)
    ]


@pytest.fixture(scope="module")
def numbers():
    return data_from_arrays(FEATURES, NUMBERS, classes=("sum", "second"), target_kind="regression")


@pytest.fixture(scope="module")
def labels():
    return data_from_arrays(FEATURES, LABELS, classes=("a", "b", "c"), target_kind="multi-label")


def probed(data, **options):
    return tlx.linear_probe(tlx.vector_base(data), data, tlx.ProbeOptions(l2=L2, **options))


def test_numbers_are_fitted_as_scikit_learn_fits_them(numbers):
    found = probed(numbers)
    assert (found.method, found.metric) == ("ridge", "rmse")
    (train, y), (validation, known), (test, truth) = parts(numbers)
    spec, mean, std = tlx.vector_base(numbers).preprocess, y.mean(0), y.std(0)
    standard = Standard.of(np.asarray(spec.on_device(train.astype(np.float32))))

    def scaled(features):
        return (np.asarray(spec.on_device(features.astype(np.float32)), np.float64) - standard.mean) / standard.scale

    theirs = [Ridge(alpha=len(y) * l2).fit(scaled(train), (y - mean) / std) for l2 in L2]
    by_validation = [root_mean_squared_error(known, model.predict(scaled(validation)) * std + mean) for model in theirs]
    assert [fit.validation["rmse"] for fit in found.fits] == pytest.approx(by_validation, rel=1e-4)
    best = int(np.argmin(by_validation))
    assert found.chosen.l2 == L2[best]
    wanted = theirs[best].predict(scaled(test)) * std + mean
    np.testing.assert_allclose(tlx.predict(found.model, test).predictions, wanted, rtol=1e-4, atol=1e-3)
    assert found.test["rmse"] == pytest.approx(root_mean_squared_error(truth, wanted), rel=1e-4)


@pytest.mark.slow
def test_labels_are_fitted_as_scikit_learn_fits_each(labels):
    (train, y), *_ = parts(labels)
    standard = Standard.of(train)
    scaled = (train - standard.mean) / standard.scale
    path = logistic_regression(train, y, L2, tolerance=1e-6)
    for index, l2 in enumerate(L2):
        for label in range(3):
            theirs = LogisticRegression(C=1 / (len(y) * l2), tol=1e-8, max_iter=2000).fit(scaled, y[:, label])
            mine = train @ path.kernel[index][:, label] + path.bias[index][label]
            np.testing.assert_allclose(mine, theirs.decision_function(scaled), rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize("method", ["lbfgs", "ridge"])
def test_labels_are_chosen_by_mean_average_precision_and_get_thresholds(labels, method):
    found = probed(labels, method=method)
    assert found.metric == "mean_average_precision"
    _, _, (test, truth) = parts(labels)
    probabilities = tlx.predict(found.model, test).probabilities
    ours = np.mean([average_precision_score(truth[:, i], probabilities[:, i]) for i in range(3)])
    assert found.test["mean_average_precision"] == pytest.approx(ours, abs=1e-6)
    best = max(fit.validation["mean_average_precision"] for fit in found.fits)
    assert found.chosen.validation["mean_average_precision"] == best
    assert len(found.model.objective.thresholds) == 3
    assert found.model.objective.thresholds != (0.5, 0.5, 0.5)
    frequent = truth.mean(0)  # calibrated on validation, so that they are about as probable as they are frequent
    np.testing.assert_allclose(probabilities.mean(0), frequent, atol=0.12)


@pytest.mark.slow
def test_a_saved_probe_of_numbers_is_tested_and_trained_on(numbers, tmp_path):
    found = probed(numbers)
    again = tlx.load(tlx.save(found.model, tmp_path / "probed"))
    scores = tlx.evaluate(again, numbers.test)
    assert scores.metrics["rmse"] == pytest.approx(found.test["rmse"], rel=1e-5)
    still = tlx.Group(tlx.optim.Constant(1e-9))
    other = data_from_arrays(FEATURES, NUMBERS + 1000, classes=("sum", "second"), target_kind="regression")
    recipe = tlx.recipes.probe(again, epochs=1, head=still)
    options = tlx.RunOptions(keep_head=True, compare_scratch=False)
    for data in (numbers, other):  # the kept head stays in the units it was solved in
        run = tlx.finetune(again, data, recipe, options, out=tmp_path / f"run{len(list(tmp_path.iterdir()))}")
        kept = tlx.predict(run.load(), FEATURES[:5]).predictions
        np.testing.assert_allclose(kept, tlx.predict(again, FEATURES[:5]).predictions, rtol=1e-4)


def test_what_is_not_solved_is_refused(numbers, labels):
    with pytest.raises(ConfigError, match="method: 'lbfgs' does not go with regression targets: take ridge"):
        probed(numbers, method="lbfgs")
    for data in (numbers, labels):
        with pytest.raises(ConfigError, match="shots: are counted a class, and the targets are no classes"):
            probed(data, shots=(1,))
    with pytest.raises(AttributeError, match="no accuracy: the metrics are mae, rmse, r2"):
        probed(numbers).test_accuracy
    for solve, targets in ((ridge_regression, NUMBERS[:5]), (logistic_regression, LABELS[:5])):
        with pytest.raises(DataError, match="targets: shape"):
            solve(FEATURES, targets, L2)
    with pytest.raises(DataError, match="expected \\(240, K\\) of 0 and 1"):
        logistic_regression(FEATURES, NUMBERS, L2)
    with pytest.raises(ConfigError, match=r"options: dict, expected tlx\.ProbeOptions"):
        tlx.linear_probe(tlx.vector_base(numbers), numbers, {"l2": 1})


@pytest.mark.slow
def test_vectors_of_other_sizes_are_refused(numbers):
    base = tlx.vector_base(numbers)
    with pytest.raises(DataError, match=r"shape \(1, 3\), expected vectors \(B, 6\)"):
        tlx.predict(replace(base, config=base.config).with_head(("x",)), np.zeros(3))
