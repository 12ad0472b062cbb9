"""A fit that goes on from another is as one fit of the phases of both."""

from dataclasses import replace

import jax
import pytest
from cases import assert_same_bits, assert_same_memory
from toys import PLAIN, SPEC, Recorder, Stopped, fit_toy, timeless, toy_source

import tlx
from tlx.errors import ConfigError
from tlx.optim import Adam, AdamW, Constant, Cosine, Group, Phase, Sgd
from tlx.recipes import full, further, scratch
from tlx.training.checkpoint import Checkpoints
from tlx.training.fitted import check_continues
from tlx.tree import map_with_path

TRAIN, VALIDATION = toy_source(12), toy_source(8, seed=1)
ADAM = Group(Constant(0.02), Adam())
STAGES = ("stem", "block")
HEAD, ALL = (("base", "frozen"), ("head", "head")), (("**", "all"),)
ONE = (Phase("all", 2, ALL, {"all": ADAM}),)
TWO = (
    Phase("more", 2, ALL, {"all": Group(Cosine(0.01, warmup=2), AdamW(), 0.01, 1.0)}),
    Phase("head again", 1, HEAD, {"head": Group(Constant(0.01), Sgd(0.9))}),
)


@pytest.fixture(scope="module")
def half():
    return fit_toy(ONE)


def steps_of(memory, path):
    return int(memory.shared[memory.cohorts[path]]["ScaleByAdamState.count"])


def go_on(done, recipe, **options):
    return tlx.fit(done, recipe, (TRAIN, VALIDATION), tlx.TrainOptions(batch_size=4), **options)


@pytest.mark.slow
def test_a_fit_that_goes_on_is_one_of_both_recipes(half):
    """Dropout, another schedule, an optimizer with other slots: nothing tells the two apart."""
    whole = fit_toy((*ONE, *TWO))
    done = go_on(half, TWO)
    assert_same_bits(done.variables, whole.variables)
    assert timeless(done.phases) == timeless(whole.phases)
    assert timeless(done.history) == timeless(whole.history)
    assert_same_memory(done.memory, whole.memory)
    assert len(half.history) == 2  # left as it was


@pytest.mark.slow
def test_more_epochs_at_a_constant_rate_are_one_longer_phase():
    longer = fit_toy(scratch(STAGES, epochs=3, group=ADAM), case=PLAIN)
    done = fit_toy(scratch(STAGES, epochs=1, group=ADAM), case=PLAIN)
    for _ in range(2):
        done = go_on(done, further(STAGES, epochs=1, group=ADAM))
    assert_same_bits(done.variables, longer.variables)
    assert [each["loss"] for each in done.history] == [each["loss"] for each in longer.history]
    assert steps_of(done.memory, "base/stem/dense/kernel") == 3 * 3


@pytest.mark.slow
def test_variables_alone_begin_with_a_new_state(half):
    options = tlx.TrainOptions(batch_size=4, preprocess=SPEC)
    anew = tlx.fit(half.model, half.variables, ONE, (TRAIN, VALIDATION), options)
    on = tlx.fit(half.model, half, TWO[:1], (TRAIN, VALIDATION), options)
    assert_same_bits(on.variables, go_on(half, TWO[:1]).variables)
    assert steps_of(anew.memory, "head/logits/bias") == 2 * 3
    assert steps_of(on.memory, "head/logits/bias") == 4 * 3
    assert [each["epoch"] for each in anew.history] == [1, 2]


@pytest.mark.slow
def test_the_state_goes_on_where_the_labels_differ(half):
    """By path: base and head in groups of their own, where one held both."""
    done = go_on(half, full(STAGES, epochs=1, head=ADAM, base=ADAM))
    assert {steps_of(done.memory, path) for path in done.memory.cohorts} == {2 * 3 + 3}


@pytest.mark.slow
def test_it_resumes_from_its_own_checkpoints(tmp_path, half):
    whole = go_on(half, TWO)
    checkpoints = Checkpoints(tmp_path / "checkpoints", steps=1)
    with pytest.raises(Stopped):
        go_on(half, TWO, callbacks=[Recorder(stop_at_step=8)], checkpoints=checkpoints)
    again = go_on(half, TWO, checkpoints=checkpoints)
    assert_same_bits(again.variables, whole.variables)
    assert timeless(again.history) == timeless(whole.history)
    assert timeless(again.phases) == timeless(whole.phases)


@pytest.mark.slow
def test_early_stopping_begins_anew(half):
    """What the first fit measured may be of other data."""
    patient = (replace(TWO[0], patience=1),)
    half = replace(half, phases=tuple(replace(phase, scores={"val_loss": -1.0}) for phase in half.phases))
    assert go_on(half, patient).phases[-1].best_epoch > 0


def test_to_initialise_everything_is_not_to_go_on(half):
    with pytest.raises(ConfigError, match=r"phase 'scratch' initialises all .* tlx\.recipes\.further"):
        go_on(half, scratch(STAGES, epochs=1))
    check_continues(half, replace(TWO[0], fresh=("head",)))


def test_a_state_of_other_variables_is_refused(half):
    params = map_with_path(lambda path, leaf: leaf[..., :2] if "logits" in path else leaf, half.variables["params"])
    other = replace(half, variables={**half.variables, "params": params})
    with pytest.raises(ConfigError, match="'head/logits/bias', 'head/logits/kernel' changed"):
        go_on(other, TWO)


def test_what_was_fitted_is_left_alone(half):
    before = jax.device_get((half.variables, half.memory))
    go_on(half, TWO[:1])
    assert_same_bits(half.variables, before[0])
    assert_same_memory(half.memory, before[1])
