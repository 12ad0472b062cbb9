"""A fit with any optax transformation thaws, is resumed at each step to the same bits, and leaves the frozen alone."""

import json
from contextlib import nullcontext
from dataclasses import replace

import jax
import numpy as np
import optax
import pytest
from cases import ANY_OPTIMIZER, CASE, assert_same_bits, assert_same_memory
from marks import slow_but
from toys import fit_toy, timeless

import tlx
from tlx.data import ArraySource
from tlx.errors import CheckpointError, ConfigError
from tlx.images import Preprocess
from tlx.optim import Constant, Group, Phase
from tlx.training import ActivationCache, phase, shapes
from tlx.training.snapshot import pack, unpack
from tlx.tree import flatten

FIRST, SECOND = (("base", "frozen"), ("head", "head")), (("base/dense1", "frozen"), ("**", "all"))


class Shelf:
    """Checkpoints in memory, one after each step, as a disk would give them back."""

    def __init__(self, *kept):
        self.kept = list(kept)

    def due(self, steps):
        return True

    def save(self, snapshot, donated=None):
        arrays, plain = pack(snapshot)
        self.kept.append((jax.tree.map(np.array, arrays), json.dumps(plain)))

    def wait(self):
        pass

    def latest(self):
        if not self.kept:
            return None
        arrays, plain = self.kept[-1]
        return unpack(arrays, json.loads(plain))


def recipe_of(group, other=None):
    first = Phase("head", 2, FIRST, {"head": group}, patience=1)
    return (first, Phase("on", 2, SECOND, {"all": other or group}))


def noise():
    draw = np.random.default_rng(0)
    return [ArraySource(draw.integers(0, 256, (8, 28, 28), dtype=np.uint8), np.arange(8)) for _ in range(2)]


def train(recipe, **options):
    """Fit the MLP to eight images of noise: the head, then all but the first stage."""
    train, held = noise()
    given = {"train": train, "validation": held, "preprocess": Preprocess(28, 28, 1), "cache": ActivationCache("off")}
    return fit_toy(recipe, CASE["mlp"], **{**given, **options})


@pytest.fixture
def begun(monkeypatch):
    """The types of optimizers' states: those that programs are compiled ahead for, and those that phases begin with."""
    predicted, actual = [], []
    of, start = shapes.PhaseShapes.of.__func__, phase.PhaseRun.start

    def types(state):
        return jax.tree.structure(state), [(x.shape, x.dtype, x.weak_type) for x in jax.tree.leaves(state)]

    def noted_of(cls, *arguments):
        made = of(cls, *arguments)
        predicted.append(types(made.state.opt_state))
        return made

    def noted_start(run, *arguments):
        state = start(run, *arguments)
        actual.append(types(state.opt_state))
        return state

    monkeypatch.setattr(shapes.PhaseShapes, "of", classmethod(noted_of))
    monkeypatch.setattr(phase.PhaseRun, "start", noted_start)
    return predicted, actual


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_but("own", of=ANY_OPTIMIZER))
def test_what_a_phase_is_compiled_for_is_what_it_begins_with(name, begun):
    train(recipe_of(ANY_OPTIMIZER[name]))
    predicted, actual = begun
    assert actual == predicted[:2]  # the second before the first has run


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_but("adam", "own", of=ANY_OPTIMIZER))
def test_a_fit_thaws_and_is_resumed_at_each_step_to_the_same_bits(name):
    recipe, shelf = recipe_of(ANY_OPTIMIZER[name]), Shelf()
    start = flatten(CASE["mlp"].variables()["params"])
    whole = train(recipe, checkpoints=shelf)
    end = flatten(whole.variables["params"])
    frozen = [path for path in end if "dense1" in path]
    assert_same_bits({path: end[path] for path in frozen}, {path: start[path] for path in frozen})
    assert all(np.any(np.asarray(end[path]) != np.asarray(start[path])) for path in end if "dense1" not in path)
    assert all(each.frozen_sha256_before == each.frozen_sha256_after for each in whole.phases)
    places = {(json.loads(plain)["phase"], json.loads(plain)["step"]) for _, plain in shelf.kept}
    assert places >= {(index, step) for index in (0, 1) for step in range(1, 5)}
    for kept in shelf.kept[:-1]:
        again = train(recipe, checkpoints=Shelf(kept))
        assert_same_bits(again.variables, whole.variables)
        assert_same_memory(again.memory, whole.memory)
        assert timeless(again.history) == timeless(whole.history)


@pytest.mark.slow
def test_a_fit_that_goes_on_with_any_optimizer_is_one_of_both_recipes():
    recipe = recipe_of(ANY_OPTIMIZER["muon"])
    whole, half = train(recipe), train(recipe[:1])
    on = tlx.fit(half, recipe[1:], noise(), tlx.TrainOptions(batch_size=4, cache=ActivationCache("off")))
    assert_same_bits(on.variables, whole.variables)
    assert_same_memory(on.memory, whole.memory)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("group", "said"),
    [
        pytest.param(Group(optax.adamw(0.02)), None, marks=pytest.mark.slow),
        (Group(Constant(0.01), optax.scale_by_adam()), "another kind of optimizer for 'head/logits/bias', 'head/log"),
        (Group(optax.lion(0.01)), "go on with the one that the phase was begun with"),
    ],
    ids=["its rate", "another chain", "another optimizer"],
)
def test_a_phase_resumed_with_another_kind_of_optimizer_is_refused(group, said):
    begun = Group(optax.adamw(0.01))
    shelf = Shelf()
    train(recipe_of(begun), checkpoints=shelf)
    kept = shelf.kept[0]
    with nullcontext() if said is None else pytest.raises(CheckpointError, match=said):
        train(recipe_of(group), checkpoints=Shelf(kept))


def test_what_cannot_train_is_refused_before_the_first_step():
    with pytest.raises(ConfigError, match="group 'all': the optimizer has no learning rate"):
        train(recipe_of(Group(optax.sgd(0.1)), Group(optax.scale_by_adam())))


@pytest.mark.slow
def test_an_epochs_record_has_the_rates_that_are_known():
    injected = Group(optax.inject_hyperparams(optax.sgd)(learning_rate=optax.linear_schedule(0.4, 0.0, 4)))
    done = train(recipe_of(injected, Group(optax.sgd(0.1))))
    rates = [record["rates"] for record in done.history]
    assert rates[0] == pytest.approx({"head": 0.3})
    assert rates[-1] == {}


@pytest.mark.slow
def test_a_transformation_may_read_the_loss():
    group = Group(optax.polyak_sgd(max_learning_rate=0.01))
    done = train((replace(recipe_of(group)[0], patience=None),))
    assert done.history[0]["loss"] > done.history[1]["loss"]
