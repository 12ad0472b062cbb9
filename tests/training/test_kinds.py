"""Tokens with a mask, and numbers to predict, go through all that images go through."""

from dataclasses import replace

import numpy as np
import pytest
from cases import assert_same_bits
from marks import slow_but
from toys import KINDS, Recorder, Stopped, timeless

import tlx
from tlx.data import gather
from tlx.errors import ConfigError, DataError
from tlx.objectives import Classification, MultiLabel, Regression
from tlx.optim import Adam, Constant, Cosine, Group, Phase, Sgd
from tlx.training import ActivationCache, Mixup
from tlx.training.checkpoint import Checkpoints
from tlx.tree import flatten

FAST = Group(Constant(0.02), Adam())


def phases(kind, **changes):
    """Return three phases: the head, the last stage with it, everything."""
    *lower, last = KINDS[kind].case.owners
    frozen = tuple((f"base/{stage}", "frozen") for stage in lower)
    thawed = (*frozen, (f"base/{last}", "base"), ("head", "head"))
    recipe = (
        Phase("head", 2, (("base", "frozen"), ("head", "head")), {"head": Group(Constant(0.05), Sgd(0.9))}),
        Phase("top", 2, thawed, {"head": FAST, "base": Group(Cosine(0.01, warmup=2), Adam(), clip_norm=1.0)}),
        Phase("all", 1, (("**", "all"),), {"all": FAST}),
    )
    return tuple(replace(phase, **changes) for phase in recipe)


@pytest.fixture(scope="module", params=slow_but("numbers", of=KINDS))
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def fitted(kind):
    log = Recorder()
    return KINDS[kind].fit(phases(kind), callbacks=[log]), log


METRICS = {"tokens": {"loss", "accuracy"}, "numbers": {"loss", "mae"}}
MEASURED = {"tokens": {"loss", "accuracy"}, "numbers": {"loss", "mae", "rmse", "r2"}}


def test_every_phase_trains_and_is_measured_by_its_own_metrics(kind, fitted):
    done, log = fitted
    for record in log.records:
        assert {name for name in record if name.startswith("val_")} == {f"val_{name}" for name in MEASURED[kind]}
        assert METRICS[kind] <= set(record)
    assert log.records[-1]["loss"] < log.records[0]["loss"]
    assert [phase.scores["val_loss"] for phase in done.phases] == [log.records[i]["val_loss"] for i in (1, 3, 4)]


def test_what_is_frozen_keeps_its_bytes(kind, fitted):
    start, done = KINDS[kind].case.variables(), fitted[0]
    for phase in done.phases[:2]:
        assert phase.frozen_sha256_before == phase.frozen_sha256_after is not None
    head = KINDS[kind].fit(phases(kind)[:1])
    one, other = flatten(start["params"]["base"]), flatten(head.variables["params"]["base"])
    assert_same_bits(one, other)


@pytest.mark.parametrize("cache", [ActivationCache("memory"), ActivationCache("disk")], ids=["memory", "disk"])
def test_kept_activations_change_nothing(kind, cache, tmp_path):
    cache = replace(cache, folder=str(tmp_path))
    kept, plain = (KINDS[kind].fit(phases(kind), cache=each) for each in (cache, ActivationCache("off")))
    assert "after" in kept.phases[0].activations
    assert plain.phases[0].activations == "off"
    one, other = flatten(kept.variables), flatten(plain.variables)
    for path in one:  # no loss depends on the bias of keys: Adam makes full steps of what rounding leaves of 0
        if not path.endswith("key/bias"):
            np.testing.assert_allclose(one[path], other[path], rtol=2e-4, atol=2e-5, err_msg=path)
    assert_same_bits(KINDS[kind].fit(phases(kind), cache=cache).variables, kept.variables)  # as they were found


@pytest.mark.slow
def test_a_fit_goes_on_from_any_step_to_the_same_bits(kind, tmp_path):
    off = ActivationCache("off")  # with it, steps of a head alone are taken many at a time
    whole = KINDS[kind].fit(phases(kind), cache=off)
    for stop in (2, 6, 7, 13):  # within an epoch, at the end of a phase and after it; any step: test_loop
        checkpoints = Checkpoints(tmp_path / str(stop), steps=1)
        with pytest.raises(Stopped):
            KINDS[kind].fit(phases(kind), callbacks=[Recorder(stop_at_step=stop)], checkpoints=checkpoints, cache=off)
        again = KINDS[kind].fit(phases(kind), checkpoints=checkpoints, cache=off)
        checkpoints.close()
        assert_same_bits(again.variables, whole.variables)
        assert timeless(again.history) == timeless(whole.history)


def test_a_fit_that_goes_on_is_one_of_both_recipes(kind, fitted):
    first, *more = phases(kind)
    options = tlx.TrainOptions(batch_size=5)
    parts = (KINDS[kind].source(12), KINDS[kind].source(8, 1))
    done = tlx.fit(KINDS[kind].fit((first,)), tuple(more), parts, options)
    assert_same_bits(done.variables, fitted[0].variables)
    assert done.objective == fitted[0].objective


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    slow_but(
        "{'accumulate': 5}",
        of=[{"accumulate": 5}, {"ema": 0.9}, {"devices": tlx.Devices(by="pmap")}, {"remat": True}],
    ),
    ids=str,
)
def test_other_ways_to_train_do(kind, options):
    done = KINDS[kind].fit(phases(kind), **options)
    assert np.isfinite(done.history[-1]["val_loss"])
    assert done.phases[0].frozen_sha256_before == done.phases[0].frozen_sha256_after


def test_it_stops_early_on_any_metric_in_its_direction(kind):
    monitor = {"tokens": "val_accuracy", "numbers": "val_r2"}[kind]
    patient = (replace(phases(kind)[2], epochs=6, patience=2, monitor=monitor),)
    done = KINDS[kind].fit(patient)
    scores = [(record[monitor], -record["val_loss"]) for record in done.history]  # which decides between equal ones
    assert done.phases[0].scores[monitor] == max(scores)[0]
    assert done.phases[0].best_epoch == 1 + scores.index(max(scores))


def test_evaluation_knows_the_objective_that_was_fitted(kind, fitted):
    done, source = fitted[0], KINDS[kind].source(8, 1)
    scores = tlx.evaluate(done, source)
    assert set(scores.metrics) == MEASURED[kind]
    for name, value in scores.metrics.items():
        assert value == pytest.approx(done.phases[-1].scores[f"val_{name}"], rel=1e-5)
    assert len(scores) == 8
    if kind == "numbers":
        np.testing.assert_allclose(done.objective.mean, KINDS[kind].source(12).targets.mean(0), rtol=1e-5)


# What a source offers beside


def weighted(source, weights):
    return tlx.data.ColumnSource({**source.columns, "weight": np.asarray(weights, np.float32)}, source.classes)


@pytest.mark.slow
def test_an_example_of_no_weight_does_not_train():
    tokens, (head, *_) = KINDS["tokens"], phases("tokens")
    source = tokens.source(12)
    head = replace(head, epochs=1)
    few = tlx.data.Subset(weighted(source, np.ones(12)), range(6))
    unweighted = tokens.fit((head,), parts=(few, None), batch_size=6)
    texts = np.concatenate([source.columns["input"][:6]] * 2)
    twice = {"input": texts, "target": np.concatenate([source.targets[:6], 2 - source.targets[:6]])}
    doubled = tlx.data.ColumnSource({**twice, "weight": np.repeat([1.0, 0.0], 6).astype(np.float32)}, source.classes)
    both = tokens.fit((head,), parts=(doubled, None), batch_size=12, cache=ActivationCache("off"))
    for path, leaf in flatten(unweighted.variables["params"]["head"]).items():
        np.testing.assert_allclose(flatten(both.variables["params"]["head"])[path], leaf, atol=2e-2)
    assert both.history[0]["loss"] == pytest.approx(unweighted.history[0]["loss"], rel=0.2)


@pytest.mark.slow
def test_further_columns_reach_the_objective():
    seen = []

    def objective(outputs, batch, key):
        seen.append(sorted(batch))
        return {"loss": Classification()(outputs, batch, key)["loss"] * batch["weight"]}

    KINDS["tokens"].fit(phases("tokens")[:1], objective=objective)
    assert all({"input", "target", "weight"} <= set(names) for names in seen)


# What does not fit


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("tokens", {"mix": Mixup(mixup=0.2)}, "mixup and CutMix take images .* not several arrays"),
        ("numbers", {"mix": Mixup(mixup=0.2)}, r"mixup and CutMix take images .* not float32 \(1, 7\)"),
        ("tokens", {"augment": tlx.Augment(flip=True)}, "augment: varies images, and the model takes none"),
        ("tokens", {"objective": Regression()}, "its targets are of the kind 'class', and Regression takes"),
        ("numbers", {"objective": MultiLabel()}, "its targets are of the kind 'regression', and MultiLabel takes"),
        ("numbers", {"balanced": True}, "the targets are of the kind 'regression', and classes are needed"),
        ("numbers", {"objective": lambda outputs, batch, key: {"mae": outputs[:, 0]}}, "one of them must be 'loss'"),
        (
            "numbers",
            {"objective": lambda outputs, batch, key: {"loss": batch["age"]}},
            "needs 'age', which the examples",
        ),
        ("numbers", {"preprocess": 3}, "preprocess: int is no input spec"),
    ],
)
def test_what_does_not_fit_is_refused(kind, options, said):
    with pytest.raises((ConfigError, DataError), match=said):
        KINDS[kind].fit(phases(kind)[:1], **options)


def test_a_bad_input_is_named():
    source = tlx.data.ColumnSource({"input": [[1.0, 2.0]] * 2, "target": [1.0, 2.0]}, ("x",), "regression")
    with pytest.raises(DataError, match=r"inputs: shape \(2, 2\), expected vectors \(B, 7\)"):
        gather(source, tlx.data.Vectors(7), np.arange(2))
