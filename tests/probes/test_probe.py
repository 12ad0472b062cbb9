"""Probes: features from the cache, draws, the choice on validation, and a model that goes on living."""

from dataclasses import asdict, replace

import jax
import numpy as np
import pytest
from toys import SPEC, finetune_with, toy_source

import tlx
from tlx.data import ArraySource, Subset, data_from_sources, labels_of
from tlx.data.source import digests_of
from tlx.errors import ConfigError, DataError
from tlx.probes import softmax_regression
from tlx.probes.problem import Examples, Problem
from tlx.probes.sweep import few_shot, sweep
from tlx.training import ActivationCache, features

PATH = (1.0, 0.1, 0.01)


@pytest.fixture(scope="module")
def base():
    return tlx.load("mlp-mnist")


@pytest.fixture(scope="module")
def data():
    return tlx.load_data("digits", labels_per_class=8)


@pytest.fixture(scope="module")
def probe(base, data):
    return tlx.linear_probe(base, data, tlx.ProbeOptions(l2=PATH, shots=(3, 1), draws=2))


def features_of(base, source):
    found = np.concatenate(list(features(base.model, base.variables, source, base.preprocess, pool="flatten")))
    return Examples(found, labels_of(source))


def test_every_fit_is_recorded_and_tested_where_it_is_chosen(probe):
    order = [(1, 0), (1, 1), (3, 0), (3, 1), (None, None)]
    assert [(fit.shots, fit.draw, fit.l2) for fit in probe.fits] == [(*draw, l2) for draw in order for l2 in PATH]
    assert [fit.examples for fit in probe.fits[:: len(PATH)]] == [10, 10, 30, 30, 80]
    for start in range(0, len(probe.fits), len(PATH)):
        path = probe.fits[start : start + len(PATH)]
        (chosen,) = [fit for fit in path if fit.test_accuracy is not None]
        best = max(path, key=lambda fit: (fit.validation_accuracy, -fit.validation_loss))
        assert chosen == best
    assert all(fit.converged for fit in probe.fits)


def test_a_sweep_is_each_draw_fitted_alone(base, data, probe):
    train, validation, test = (features_of(base, part) for part in (data.train, data.validation, data.test))
    draws = few_shot(train.targets, digests_of(data.train), data.classes, (1, 3), 2)
    for number, draw in enumerate(draws):
        rows = draw.rows
        path = softmax_regression(train.features[rows], train.targets[rows], 10, PATH)
        for index, fit in enumerate(probe.fits[number * len(PATH) : (number + 1) * len(PATH)]):
            for examples, accuracy in ((validation, fit.validation_accuracy), (test, fit.test_accuracy)):
                right = (examples.features @ path.kernel[index] + path.bias[index][None]).argmax(1) == examples.targets
                assert accuracy in (None, pytest.approx(right.mean(), abs=2 / len(right)))


def test_the_model_says_what_was_measured_and_lives_on(base, data, probe, tmp_path):
    again = tlx.load(tlx.save(probe.model, tmp_path / "probed"))
    scores = tlx.evaluate(again, data.test)
    assert scores.accuracy == probe.test_accuracy == probe.chosen.test_accuracy == probe.curve[-1].mean
    for mine, theirs in zip(
        *(jax.tree.leaves(each.variables["params"]["base"]) for each in (again, base)), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)
    assert (again.classes, again.card["base"]) == (data.classes, "mlp-mnist, Apache-2.0")


@pytest.mark.slow
def test_training_goes_on_from_the_probed_head(base, data, probe, tmp_path):
    recipe = tlx.recipes.full(base.stages, epochs=1, base=tlx.Group(tlx.optim.Constant(1e-7)), head=tlx.Group(
        tlx.optim.Constant(1e-7)
    ))  # fmt: skip
    options = {"batch_size": 40, "compare_scratch": False}
    run = finetune_with(probe.model, data, recipe, out=tmp_path / "kept", keep_head=True, **options)
    assert run.test_accuracy == probe.test_accuracy
    with pytest.raises(ConfigError, match="hidden, pool and dropout shape a fresh head"):
        finetune_with(probe.model, data, recipe, out=tmp_path / "no", keep_head=True, hidden=(3,), **options)
    letters = replace(data, classes=tuple("abcdefghij"))
    for other, words in ((probe.model, "knows '0', '1'"), (base.without_head(), "has none")):
        with pytest.raises(ConfigError, match=words):
            finetune_with(other, letters, recipe, out=tmp_path / "no", keep_head=True, **options)
    assert not (tmp_path / "no").exists()


def test_the_curve_is_mean_and_deviation(probe):
    for point, shots in zip(probe.curve, (1, 3, None), strict=True):
        found = [fit.test_accuracy for fit in probe.fits if fit.shots == shots and fit.test_accuracy is not None]
        assert (point.shots, point.draws) == (shots, len(found))
        assert point.mean == pytest.approx(np.mean(found))
        assert point.deviation == (pytest.approx(np.std(found, ddof=1)) if shots else None)


def test_the_probabilities_are_calibrated(base, data):
    """The head's logits are a multiple of the fit's, by which validation examples cost less than by the fit's own."""
    found = tlx.linear_probe(base, data, tlx.ProbeOptions(l2=(1.0,), method="ridge"))
    train, validation, _ = (features_of(base, part) for part in (data.train, data.validation, data.test))
    path = tlx.probes.ridge_classification(*train, 10, (1.0,))
    head = found.model.variables["params"]["head"]["logits"]
    factors = np.asarray(head["kernel"]) / path.kernel[0]
    np.testing.assert_allclose(factors, factors.mean(), rtol=1e-2)
    logits = validation.features @ path.kernel[0] + path.bias[0][None]

    def cost(factor):
        scaled = factor * logits
        return (np.log(np.exp(scaled).sum(1)) - scaled[np.arange(len(scaled)), validation.targets]).mean()

    assert cost(factors.mean()) < cost(1.0) - 0.01
    assert cost(factors.mean()) < cost(factors.mean() * 2)


# Where the features are kept


class Counted(Subset):
    """A source that counts how many examples were asked for."""

    asked = 0

    def take(self, indices):
        self.asked += len(indices)
        return super().take(indices)


def counted(data):
    return replace(data, **{name: Counted(part, np.arange(len(part))) for name, part in parts_of(data).items()})


def parts_of(data):
    return {name: getattr(data, name) for name in ("train", "validation", "test")}


def test_images_are_asked_for_once_and_from_the_disk_never_again(base, data, probe, tmp_path):
    cache, first, second = ActivationCache("disk", folder=str(tmp_path)), counted(data), counted(data)
    options = {"l2": PATH, "shots": (3, 1), "draws": 2, "cache": cache}
    one = tlx.linear_probe(base, first, tlx.ProbeOptions(**options))
    assert one.activations == "11.2 kB after dense2, on disk"  # 699 examples of four float32
    assert [part.asked for part in parts_of(first).values()] == [82, 82, 541]  # two of each to see what a batch takes
    again = tlx.linear_probe(base, second, tlx.ProbeOptions(**{**options, "method": "ridge"}))
    assert [part.asked for part in parts_of(second).values()] == [1, 1, 1]
    assert again.activations == one.activations
    assert list(map(asdict, one.fits)) == list(map(asdict, probe.fits))


@pytest.mark.parametrize("cache", [ActivationCache("off"), ActivationCache(limit=100)])
def test_without_room_they_are_computed_all_the_same(base, data, probe, cache):
    found = tlx.linear_probe(base, data, tlx.ProbeOptions(l2=PATH, cache=cache))
    assert found.activations.startswith(("off", "11.2 kB are more than"))
    assert found.fits == probe.fits[-len(PATH) :]


# Draws and choices


def test_fewer_shots_are_among_more_whatever_the_order():
    labels = np.arange(40) % 4
    digests = [bytes([number]) for number in range(40)]
    draws = {(each.shots, each.draw): set(each.rows) for each in few_shot(labels, digests, "abcd", (5, 1, 10), 3)}
    for draw in range(3):
        assert draws[1, draw] < draws[5, draw] < draws[10, draw] == draws[None, None]
        assert np.bincount(labels[list(draws[5, draw])]).tolist() == [5] * 4
    assert draws[5, 0] != draws[5, 1]
    back = few_shot(labels[::-1], digests[::-1], "abcd", (5,), 1)[0]
    assert {39 - row for row in back.rows} == draws[5, 0]


def test_a_draw_is_what_load_data_takes(data):
    few = tlx.load_data("digits", labels_per_class=3)
    (draw, *_) = few_shot(labels_of(data.train), digests_of(data.train), data.classes, (3,), 1)
    taken = [digests_of(data.train)[row] for row in draw.rows]
    assert set(taken) == set(digests_of(few.train))


@pytest.mark.slow
def test_of_equal_accuracies_the_least_loss_is_chosen_then_the_largest_l2():
    near, far = Examples(np.array([[-1.0], [1.0]], np.float32), np.array([0, 1])), np.array([[9.0], [9.0]], np.float32)
    draws = few_shot(near.targets, (), "ab", (), 1)
    problem = Problem("class", 2, tlx.Classification(), "lbfgs")

    def chosen(validation):
        fits = sweep(problem, near, validation, near, draws, (1.0, 100.0, 0.01)).fits
        return next(fit.l2 for fit in fits if fit.test_accuracy is not None)

    assert chosen(near) == 0.01
    assert chosen(Examples(far, np.array([0, 1]))) == 100.0  # half are right whatever l2: the least sure costs least


@pytest.mark.slow
def test_the_end_of_the_path_and_open_fits_are_noted(base, data):
    found = tlx.linear_probe(base, data, tlx.ProbeOptions(l2=(100.0, 1e-3), max_iterations=2))
    assert any("is the smallest of the path" in note for note in found.notes)
    assert any("2 of 2 fits have not converged, with an l2 of 100 and less" in note for note in found.notes)
    assert tlx.linear_probe(base, data, tlx.ProbeOptions(l2=(1.0,), method="ridge")).notes == ()


@pytest.mark.slow
def test_one_l2_needs_no_validation(base, data):
    alone = replace(data, validation=Subset(data.validation, []))
    found = tlx.linear_probe(base, alone, tlx.ProbeOptions(l2=(0.1,)))
    assert (found.chosen.validation_accuracy, found.chosen.validation_loss) == (None, None)
    with pytest.raises(ConfigError, match="no validation examples to choose l2 on"):
        tlx.linear_probe(base, alone, tlx.ProbeOptions(l2=(0.1, 1.0)))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"shots": (9,)}, DataError, "9 a class asked for, but the least of '0', .* has 8 to train on: ask for fewer"),
        ({"shots": (0,)}, ConfigError, "integers of 1 or more"),
        ({"shots": (1, 1)}, ConfigError, "twice"),
        ({"draws": 0}, ConfigError, "draws=0"),
        ({"method": "sgd"}, ConfigError, "unknown method 'sgd'"),
        ({"scale": "none"}, ConfigError, "scale"),
        ({"l2": ()}, ConfigError, "l2"),
    ],
)
def test_bad_options_are_refused(base, data, options, error, words):
    with pytest.raises(error, match=words):
        tlx.linear_probe(base, data, tlx.ProbeOptions(**options))


def test_features_that_are_not_finite_are_refused_with_their_row(base, data):
    leaves = jax.tree.map(np.array, base.variables)
    leaves["params"]["base"]["dense1"]["kernel"][:] = np.nan
    with pytest.raises(DataError, match="train: row 0 has features that are not finite"):
        tlx.linear_probe(replace(base, variables=leaves), data)


def test_a_class_without_an_example_is_refused(base):
    source = toy_source(12)
    absent = ArraySource(source.images, source.targets, (*source.classes, "none"))
    with pytest.raises(DataError, match="'none'"):
        tlx.linear_probe(
            base,
            data_from_sources(absent, absent, absent),
            tlx.ProbeOptions(preprocess=replace(base.preprocess, margin=0)),
        )
    assert SPEC.height == 6
