"""Parts of a batch add up to the batch; averages follow the weights; rematerialisation changes memory alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASE, CASES, assert_same_bits, begin, loss_of, step_of
from marks import slow_but
from toys import PLAIN as TOY
from toys import RANDOM, SPEC, Recorder, Stopped, toy_source
from toys import fit_sources as fit

from tlx.errors import ConfigError
from tlx.models import Classifier, Head
from tlx.models.base import rematerialised
from tlx.objectives import Classification
from tlx.optim import Adam, Constant, Group, Phase, Sgd
from tlx.training import ActivationCache, Mixup, evaluate
from tlx.training.checkpoint import Checkpoints
from tlx.training.state import NEVER
from tlx.tree import flatten

PLAIN = Group(Constant(0.1), Sgd(0.0))
ALL = (("**", "all"),)
HEAD = (("base", "frozen"), ("head", "head"))
TRAIN, VALIDATION = toy_source(14), toy_source(8, seed=1)


def assert_close(one, other):
    """Compare leaves by path."""
    assert one.keys() == other.keys()
    for path, leaf in one.items():
        np.testing.assert_allclose(other[path], leaf, rtol=2e-5, atol=2e-6, err_msg=path)


def steps(case, batches, rules=ALL, loss=None, model=None, **how):
    """Take a step for each batch; return the run."""
    run = begin(case, rules, PLAIN)
    step = step_of(run, model or case.model, loss or case.objective, **how)
    for batch in batches:
        run.state = step(run.state, run.frozen, batch)
    return run


def masked(batch, real):
    return {**batch, "mask": jnp.arange(len(batch["target"])) < real}


# Accumulation


@pytest.mark.parametrize(
    ("name", "weights"),
    slow_but("mlp", of=[("mlp", (1.0, 2.0, 0.5)), *((name, ()) for name in ("mlp", "cnn", "bare", "nested"))]),
)
def test_parts_add_up_to_the_batch(name, weights):
    """Batch norms run on their stored statistics, and nothing drops: else the parts would see others."""
    case = CASE[name]
    classes = case.variables()["params"]["head"]["logits"]["bias"].size
    loss = Classification(0.1, (weights * classes)[:classes])
    batches = [case.batch(seed, size=6) for seed in range(2)]
    batches = batches if name == "cnn" else [masked(batch, 5) for batch in batches]
    whole, parts = (steps(case, batches, ALL, loss, stored_norms=True, accumulate=k) for k in (1, 3))
    assert_close(parts.params(), whole.params())
    for name in ("loss", "accuracy"):
        a, b = (run.state.totals.sums[name] for run in (parts, whole))
        np.testing.assert_allclose(a, b, rtol=1e-5)
    assert int(parts.state.step) == 2
    assert int(parts.state.totals.bad_step) == NEVER


@pytest.mark.slow
def test_batch_norms_see_the_parts_one_after_the_other():
    case = CASE["bare"]
    batch = case.batch(size=4)
    halves = [{name: each[i : i + 2] for name, each in batch.items()} for i in (0, 2)]
    parts = steps(case, [batch], accumulate=2)
    one = begin(case, ALL, Group(Constant(1e-30), Sgd(0.0)))  # between them, nothing changes but the statistics
    one.train(*halves)
    assert_close(parts.stats(), one.stats())


@pytest.mark.slow
def test_a_part_that_is_all_padding_leaves_no_trace():
    case = CASE["bare"]
    batch = case.batch(size=4)
    wild = {"input": batch["input"].at[2:].set(jnp.nan), "target": batch["target"]}
    whole = steps(case, [{name: each[:2] for name, each in batch.items()}])
    parts = steps(case, [masked(wild, 2)], accumulate=2)
    assert_close(parts.params(), whole.params())
    assert_close(parts.stats(), whole.stats())
    assert int(parts.state.totals.sums["loss"][1]) == 2


@pytest.mark.slow
def test_mixed_parts_are_mixed_within():
    case = CASE["mlp"]
    batch = case.batch(size=4)
    mix = Mixup(mixup=1.0)
    run = steps(case, [batch], mix=mix, accumulate=2)
    start = begin(case, ALL, PLAIN)

    def objective(params):
        total = 0.0
        for part in range(2):
            rows = {name: each[2 * part : 2 * part + 2] for name, each in batch.items()}
            key = jax.random.fold_in(jax.random.fold_in(start.state.key, 0), part)
            images, partner, share = mix(rows["input"], jax.random.split(key)[1])
            logits = case.model.apply({"params": params}, images)
            own, other = (loss_of(logits, labels) for labels in (rows["target"], rows["target"][partner]))
            total += (share * own + (1 - share) * other) / 2
        return total

    slopes = jax.jit(jax.grad(objective))(start.state.params)
    wanted = jax.tree.map(lambda leaf, slope: leaf - 0.1 * slope, start.state.params, slopes)
    assert_close(run.params(), flatten(wanted))


@pytest.mark.parametrize("accumulate", [0, 3, -1, True, 1.5])
def test_parts_must_divide_the_batch(accumulate):
    with pytest.raises(ConfigError, match=r"accumulate: .* does not divide a batch of 4"):
        train((Phase("all", 1, ALL, {"all": PLAIN}),), accumulate=accumulate)


@pytest.mark.slow
def test_a_head_that_drops_does_so_for_each_part_wherever_its_activations_are():
    dropping = Classifier(TOY.model.base, Head(3, dropout=0.5))
    one, other = (
        fit(
            dropping,
            TOY.variables(),
            TWO[:1],
            TRAIN,
            VALIDATION,
            SPEC,
            batch_size=4,
            accumulate=2,
            cache=ActivationCache(cache),
        )
        for cache in ("memory", "off")
    )
    assert_close(flatten(one.variables["params"]), flatten(other.variables["params"]))


# Averages


def test_the_average_follows_by_hand():
    case = CASE["mlp"]
    run = begin(case, ALL, PLAIN)
    step = step_of(run, case.model, ema=0.3)
    run.state = run.state.replace(average=jax.tree.map(jnp.array, run.state.params))
    average = {path: np.float64(leaf) for path, leaf in flatten(run.state.params).items()}
    for count in range(6):
        run.state = step(run.state, run.frozen, case.batch(count))
        decay = min(0.3, (1 + count) / (10 + count))
        for path, leaf in flatten(run.state.params).items():
            average[path] = decay * average[path] + (1 - decay) * np.float64(leaf)
    for path, leaf in flatten(run.state.average).items():
        np.testing.assert_allclose(leaf, average[path], rtol=1e-5, atol=1e-7)


def train(phases, case=TOY, **options):
    options = {"batch_size": 4, **options}
    return fit(case.model, case.variables(), phases, TRAIN, VALIDATION, SPEC, **options)


TWO = (
    Phase("head", 2, HEAD, {"head": Group(Constant(0.05), Adam())}),
    Phase("all", 2, ALL, {"all": Group(Constant(0.02), Adam())}),
)


@pytest.mark.slow
@pytest.mark.parametrize("cache", slow_but("memory", of=["memory", "off"]))
def test_a_phase_is_validated_on_its_averages_and_ends_with_them(cache):
    plain, averaged = (
        train(TWO[:1], cache=ActivationCache(cache)),
        train(TWO[:1], cache=ActivationCache(cache), ema=0.9),
    )
    scores = evaluate(TOY.model, averaged.variables, VALIDATION, SPEC, batch_size=4)
    assert averaged.phases[0].val_loss == pytest.approx(scores.loss, rel=1e-6)
    assert averaged.phases[0].val_loss != plain.phases[0].val_loss
    start = TOY.variables()["params"]["head"]["logits"]["kernel"]
    far, near = (
        np.abs(done.variables["params"]["head"]["logits"]["kernel"] - start).sum() for done in (plain, averaged)
    )
    assert 0 < near < far  # it follows
    assert_same_bits(averaged.variables["params"]["base"], TOY.variables()["params"]["base"])


@pytest.mark.slow
def test_with_early_stopping_the_best_averages_come_back():
    patient = (Phase("head", 3, HEAD, {"head": Group(Constant(5.0), Adam())}, patience=3),)  # it worsens
    done = train(patient, ema=0.9)
    best = evaluate(TOY.model, done.variables, VALIDATION, SPEC, batch_size=4)
    assert done.phases[0].val_loss == pytest.approx(best.loss, rel=1e-6)


class StopAfter(Recorder):
    def __init__(self, epoch):
        super().__init__()
        self.last = epoch

    def epoch(self, record):
        super().epoch(record)
        if record["epoch"] == self.last:
            raise Stopped


@pytest.mark.slow
@pytest.mark.parametrize("epoch", [2, 3, 4])
def test_a_fit_with_averages_and_parts_goes_on_to_the_same_bits(tmp_path, epoch):
    options = {"case": RANDOM, "ema": 0.8, "accumulate": 2}
    whole = train(TWO, **options)
    checkpoints = Checkpoints(tmp_path, steps=1)
    with pytest.raises(Stopped):
        train(TWO, **options, callbacks=[StopAfter(epoch)], checkpoints=checkpoints)
    checkpoints.close()
    resumed = train(TWO, **options, checkpoints=Checkpoints(tmp_path, steps=1))
    assert_same_bits(resumed.variables, whole.variables)


@pytest.mark.parametrize("ema", [0, 1, 1.5, -0.1])
def test_a_decay_is_between_0_and_1(ema):
    with pytest.raises(ConfigError, match=r"ema: .* is no decay"):
        train(TWO, ema=ema)


# Rematerialisation


@pytest.mark.slow
@pytest.mark.parametrize("case", slow_but("norm", of=CASES), ids=str)
def test_rematerialised_models_train_alike(case):
    """Dropout drops the same, statistics move the same, frozen parts stay."""
    rules = case.freezings()["second"]
    batches = [case.batch(seed) for seed in range(2)]
    one, other = (steps(case, batches, rules, model=model) for model in (case.model, rematerialised(case.model)))
    assert_close(other.params(), one.params())
    assert_close(other.stats(), one.stats())


def test_only_what_goes_from_stage_to_stage_is_kept():
    case = CASE["norm"]
    run = begin(case, ALL, PLAIN)

    def again(model):
        """Count what is done again in the step's graph."""
        step = step_of(run, model)
        (inner,) = jax.make_jaxpr(step)(run.state, run.frozen, case.batch()).jaxpr.eqns
        return sum(equation.primitive.name == "remat2" for equation in inner.params["jaxpr"].jaxpr.eqns)

    assert again(case.model) == 0
    assert again(rematerialised(case.model)) == 3  # one for each stage


def test_a_model_without_a_base_is_refused():
    with pytest.raises(ConfigError, match=r"has no tlx.models.Base"):
        rematerialised(TOY.model.head)


@pytest.mark.slow
def test_fit_takes_it():
    one, other = (train(TWO, case=RANDOM, remat=remat).variables for remat in (False, True))
    assert_close(flatten(other["params"]), flatten(one["params"]))
