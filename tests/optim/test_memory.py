"""Optimizer state across phases, against optimizers by hand that keep a state for each leaf."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import CASE, CASES, OPTIMIZERS, assert_same_bits, begin

from tlx.optim import Adam, AdamW, Constant, Cosine, Group, Sgd, ages_of, install, optimizer, recall
from tlx.tree import flatten, unflatten

SHAPES = {"base/a": (2, 2), "base/b": (3,), "head/c": (2,)}
RATE = 0.1
ADAM, ADAMW = Group(Constant(RATE), Adam()), Group(Constant(RATE), AdamW())
MOMENTUM, NESTEROV = Group(Constant(RATE), Sgd(0.9)), Group(Constant(RATE), Sgd(0.9, nesterov=True))


def draw(seed):
    numbers = np.random.default_rng(seed)
    return {path: numbers.normal(size=shape).astype(np.float32) for path, shape in SHAPES.items()}


class Tlx:
    """Run phases with `optimizer`, keeping the memory as a loop does."""

    def __init__(self, params):
        self.params = jax.tree.map(jnp.asarray, unflatten(params))
        self.memory = {}

    def phase(self, labels, groups, gradients, steps=100):
        labels = unflatten(labels)
        ages = ages_of(self.memory, labels, groups)
        tx = optimizer(labels, groups, steps, ages)
        state = install(tx.init(self.params), self.memory, ages)
        for gradient in gradients:
            updates, state = tx.update(unflatten(gradient), state, self.params)
            self.params = optax.apply_updates(self.params, updates)
        self.memory = {**self.memory, **recall(state, ages, len(gradients))}
        return self


class ByHand:
    """Run phases with a dict of states, one for each leaf: {"t", "m", "v"} for Adam, {"u"} for momentum."""

    def __init__(self, params):
        self.params = {path: np.float64(leaf) for path, leaf in params.items()}
        self.states = {}

    def phase(self, labels, groups, gradients):
        for gradient in gradients:
            for path, label in labels.items():
                if label != "frozen":
                    self.step(path, groups[label].optimizer, np.float64(gradient[path]))
        return self

    def step(self, path, method, g):
        kind = "sgd" if isinstance(method, Sgd) else "adam"
        state = self.states.get(path)
        if state is None or state["kind"] != kind:
            state = {"kind": kind, "t": 0, "m": 0.0, "v": 0.0, "u": 0.0}
        if kind == "sgd":
            state["u"] = g + method.momentum * state["u"]
            update = g + method.momentum * state["u"] if method.nesterov else state["u"]
        else:
            state["t"] += 1
            state["m"] = method.b1 * state["m"] + (1 - method.b1) * g
            state["v"] = method.b2 * state["v"] + (1 - method.b2) * g * g
            m, v = state["m"] / (1 - method.b1 ** state["t"]), state["v"] / (1 - method.b2 ** state["t"])
            update = m / (np.sqrt(v) + method.eps)
        self.states[path] = state
        self.params[path] = self.params[path] - RATE * update


def lay(a, b, c):
    return dict(zip(SHAPES, (a, b, c), strict=True))


F = "frozen"

# Phases: labels of the three leaves, and the group of every label
PLANS = {
    "adam in two phases": [(lay("x", "x", "x"), ADAM), (lay("x", "x", "x"), ADAM)],
    "a leaf thaws into a running group": [(lay(F, F, "x"), ADAM), (lay("x", F, "x"), ADAM)],
    "leaves thaw one after another": [(lay(F, F, "x"), ADAM), (lay(F, "x", "x"), ADAM), (lay("x", "x", "x"), ADAM)],
    "a leaf frozen in between": [(lay("x", "x", "x"), ADAM), (lay("x", F, "x"), ADAM), (lay("x", "x", "x"), ADAM)],
    "a leaf in another group": [(lay("x", "x", "y"), ADAM), (lay("x", "y", "y"), ADAM)],
    "momentum kept": [(lay(F, "x", "x"), MOMENTUM), (lay("x", "x", "x"), MOMENTUM)],
    "momentum to nesterov": [(lay("x", F, "x"), MOMENTUM), (lay("x", "x", "x"), NESTEROV)],
    "adam to momentum": [(lay("x", F, "x"), ADAM), (lay("x", "x", "x"), MOMENTUM)],
    "momentum to adam": [(lay("x", F, "x"), MOMENTUM), (lay("x", "x", "x"), ADAM)],
    "adam to momentum to adam": [(lay("x", F, "x"), ADAM), (lay("x", F, "x"), MOMENTUM), (lay("x", "x", "x"), ADAM)],
    "adam to adamw": [(lay("x", F, "x"), ADAM), (lay("x", "x", "x"), ADAMW)],
}


@pytest.mark.parametrize("plan", PLANS)
def test_phases_by_hand(plan):
    params = draw(0)
    ours, theirs = Tlx(params), ByHand(params)
    for number, (labels, group) in enumerate(PLANS[plan]):
        groups = {label: group for label in labels.values() if label != F}
        gradients = [draw(10 * number + seed) for seed in range(1, 5)]
        ours.phase(labels, groups, gradients)
        theirs.phase(labels, groups, gradients)
        got = {path: np.asarray(leaf) for path, leaf in flatten(ours.params).items()}
        # float32 has 1 - 0.999 to five places, and Adam's first bias corrections no better
        chex.assert_trees_all_close(got, theirs.params, rtol=1e-4, atol=1e-5)


def test_ages_count_the_steps_that_a_leaf_has_trained():
    run = Tlx(draw(0))
    run.phase(lay(F, F, "x"), {"x": ADAM}, [draw(1)] * 3)
    assert {path: kept["age"] for path, kept in run.memory.items()} == {"head/c": 3}
    run.phase(lay(F, "x", "x"), {"x": ADAM}, [draw(1)] * 2)
    assert {path: kept["age"] for path, kept in run.memory.items()} == {"base/b": 2, "head/c": 5}
    run.phase(lay("x", F, F), {"x": MOMENTUM}, [draw(1)] * 4)
    assert {path: kept["age"] for path, kept in run.memory.items()} == {"base/a": 4, "base/b": 2, "head/c": 5}
    assert {path: set(kept) for path, kept in run.memory.items()} == {
        "base/a": {"age", "trace"},
        "base/b": {"age", "mu", "nu"},
        "head/c": {"age", "mu", "nu"},
    }
    labels = unflatten(lay("x", "y", "z"))
    assert ages_of(run.memory, labels, {"x": ADAM, "y": ADAMW, "z": MOMENTUM}) == {
        "base/a": 0,
        "base/b": 2,
        "head/c": 0,
    }
    assert ages_of(run.memory, unflatten(lay(F, None, "x")), {"x": ADAM}) == {"head/c": 5}


@pytest.mark.parametrize("group", [ADAM, MOMENTUM], ids=["adam", "momentum"])
def test_moments_come_through_bit_for_bit(group):
    run = Tlx(draw(0)).phase(lay("x", F, "y"), {"x": group, "y": group}, [draw(1), draw(2)])
    labels = unflatten(lay("one", "one", "two"))
    groups = {"one": group, "two": group}
    ages = ages_of(run.memory, labels, groups)
    tx = optimizer(labels, groups, 10, ages)
    again = recall(install(tx.init(run.params), run.memory, ages), ages, 0)
    for path in ("base/a", "head/c"):
        assert again[path]["age"] == run.memory[path]["age"] == 2
        for slot in group.optimizer.slots:
            assert np.any(np.asarray(run.memory[path][slot]))
            assert_same_bits({"slot": again[path][slot]}, {"slot": run.memory[path][slot]})
    assert again["base/b"]["age"] == 0
    assert not any(np.any(np.asarray(again["base/b"][slot])) for slot in group.optimizer.slots)


def test_leaves_of_one_group_share_its_clip_whatever_their_age():
    group = Group(Constant(RATE), Sgd(0.0), clip_norm=1.0)
    run = Tlx(dict.fromkeys(draw(0), np.zeros(2, np.float32)))
    gradient = dict.fromkeys(SHAPES, np.full(2, 10, np.float32))
    run.phase(lay(F, F, "x"), {"x": group}, [gradient])
    before = jax.tree.map(np.asarray, run.params)
    run.phase(lay("x", "x", "x"), {"x": group}, [gradient])
    moved = jax.tree.map(lambda new, old: np.asarray(new) - old, run.params, before)
    assert optax.tree.norm(moved) == pytest.approx(RATE, rel=1e-5)


def test_a_schedule_starts_anew_with_each_phase_and_goes_on_where_it_is_resumed():
    group = Group(Cosine(RATE), Sgd(0.0))
    one = {path: np.ones(shape, np.float32) for path, shape in SHAPES.items()}
    run = Tlx({path: np.zeros(shape, np.float32) for path, shape in SHAPES.items()})
    run.phase(lay("x", "x", "x"), {"x": group}, [one] * 4, steps=4)
    rates = [RATE * (1 + np.cos(np.pi * step / 4)) / 2 for step in range(4)]
    np.testing.assert_allclose(run.params["head"]["c"], -sum(rates), rtol=1e-5)
    run.phase(lay("x", "x", "x"), {"x": group}, [one], steps=4)
    np.testing.assert_allclose(run.params["head"]["c"], -sum(rates) - RATE, rtol=1e-5)
    labels = unflatten(lay("x", "x", "x"))
    tx = optimizer(labels, {"x": group}, 4, ages_of(run.memory, labels, {"x": group}))
    state = install(tx.init(run.params), run.memory, ages_of(run.memory, labels, {"x": group}), step=3)
    updates, _ = tx.update(unflatten(one), state, run.params)
    np.testing.assert_allclose(updates["head"]["c"], -rates[3], rtol=1e-5)


def copy_of(memory):
    """Copy to the host what the next step would take by donation."""
    return {path: {slot: np.array(x) if slot != "age" else x for slot, x in kept.items()}
            for path, kept in memory.items()}  # fmt: skip


@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_resuming_within_a_phase_is_the_same_bit_for_bit(name):
    """Train phase one, then phase two in one go, or stopped after two steps and built again from what was kept."""
    case = CASE["dropouts"]
    groups = {"all": OPTIMIZERS[name]}
    batches = [case.batch(seed) for seed in range(5)]

    def begin_again(variables, memory, step):
        ages = ages_of(memory, unflatten(dict.fromkeys(flatten(variables["params"]), "all")), groups)
        run = begin(case, (("**", "all"),), groups, variables=variables, ages=ages, seed=7)
        installed = install(run.state.opt_state, memory, ages, step)
        run.state = run.state.replace(opt_state=installed, step=jnp.asarray(step, jnp.int32))
        return run, ages

    # As if the head had trained for three steps in phase one
    variables = case.variables()
    head = {path: leaf for path, leaf in flatten(variables["params"]).items() if path.startswith("head")}
    slots = OPTIMIZERS[name].optimizer.slots
    memory = {path: {"age": 3, **{slot: 0.01 * np.ones(leaf.shape) for slot in slots}} for path, leaf in head.items()}

    whole, ages = begin_again(variables, memory, 0)
    assert sorted(set(ages.values())) == [0, 3]
    whole.train(*batches)

    stopped, ages = begin_again(variables, memory, 0)
    stopped.step = whole.step  # the same function: save a compilation
    stopped.train(*batches[:2])
    kept = copy_of(recall(stopped.state.opt_state, ages, 2))
    resumed, ages = begin_again({"params": unflatten(stopped.params())}, kept, 2)
    assert sorted(set(ages.values())) == [2, 5]
    resumed.train(*batches[2:])

    assert int(resumed.state.step) == int(whole.state.step) == 5
    assert_same_bits(resumed.params(), whole.params())
    end, wanted = (recall(run.state.opt_state, dict.fromkeys(ages, 0), 0) for run in (resumed, whole))
    for path in end:
        assert_same_bits(end[path], wanted[path])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_is_kept_has_the_paths_and_shapes_of_the_leaves_that_train(case):
    group = OPTIMIZERS["adam"]
    for way in ("head", "all but one leaf"):
        run = begin(case, case.freezings()[way], group)
        trainable = {path: leaf for path, leaf in flatten(run.state.params).items() if leaf is not None}
        kept = recall(run.state.opt_state, dict.fromkeys(trainable, 0), 4)
        assert kept.keys() == trainable.keys()
        for path, slots in kept.items():
            assert slots["age"] == 4
            assert slots["mu"].shape == slots["nu"].shape == trainable[path].shape


def test_a_label_may_hold_the_sign_that_divides_cohorts():
    run = Tlx(draw(0)).phase(lay("x@2", F, "@"), {"x@2": ADAM, "@": ADAM}, [draw(1)])
    assert run.memory["base/a"]["age"] == run.memory["head/c"]["age"] == 1
    other = Tlx(draw(0)).phase(lay("x", F, "y"), {"x": ADAM, "y": ADAM}, [draw(1)])
    assert_same_bits(run.params, other.params)


def test_groups_with_other_constants_keep_their_moments():
    slow = dataclasses.replace(ADAM, optimizer=Adam(b1=0.5))
    run = Tlx(draw(0)).phase(lay("x", F, F), {"x": ADAM}, [draw(1)])
    assert ages_of(run.memory, unflatten(lay("x", F, F)), {"x": slow}) == {"base/a": 1}
