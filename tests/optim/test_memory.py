"""Optimizer state across phases, against optimizers by hand that keep a state for each leaf."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import CASES, OPTIMIZERS, assert_same_bits, begin

from tlx.optim import (
    Adam,
    AdamW,
    Constant,
    Cosine,
    Group,
    Memory,
    Sgd,
    cohorts_of,
    install,
    optimizer,
    ranks_of,
    recall,
)
from tlx.tree import flatten, partition, trainable_mask, unflatten

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
        self.memory, self.phases = Memory(), 0

    def phase(self, labels, groups, gradients, steps=100):
        labels = unflatten(labels)
        tx, cohorts, state = begun(self.params, labels, groups, self.memory, steps)
        for gradient in gradients:
            updates, state = tx.update(unflatten(gradient), state, self.params)
            self.params = optax.apply_updates(self.params, updates)
        self.memory = self.memory.updated(recall(state, self.params, cohorts, self.phases))
        self.phases += 1
        return self


def begun(params, labels, groups, memory, steps=10, step=0):
    """Build the optimizer of a phase, and the state with which it begins or goes on."""
    cohorts = cohorts_of(memory, params, labels, groups)
    tx = optimizer(labels, groups, steps, ranks_of(cohorts))
    return tx, cohorts, install(tx.init(params), params, cohorts, memory, step)


def steps_of(memory):
    """The steps of Adam that a memory counts, by path."""
    return {
        path: int(memory.shared[cohort].get("ScaleByAdamState.count", -1)) for path, cohort in memory.cohorts.items()
    }


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


MU, NU, TRACE = "ScaleByAdamState.mu", "ScaleByAdamState.nu", "TraceState.trace"


def test_what_is_remembered_is_what_each_leaf_trained_with_last():
    run = Tlx(draw(0))
    run.phase(lay(F, F, "x"), {"x": ADAM}, [draw(1)] * 3)
    assert steps_of(run.memory) == {"head/c": 3}
    run.phase(lay(F, "x", "x"), {"x": ADAM}, [draw(1)] * 2)
    assert steps_of(run.memory) == {"base/b": 2, "head/c": 5}
    run.phase(lay("x", F, F), {"x": MOMENTUM}, [draw(1)] * 4)
    assert steps_of(run.memory) == {"base/a": -1, "base/b": 2, "head/c": 5}
    assert {path: set(kept) for path, kept in run.memory.leaves.items()} == {
        "base/a": {TRACE},
        "base/b": {MU, NU},
        "head/c": {MU, NU},
    }
    cohorts = cohorts_of(run.memory, run.params, unflatten(lay("x", "y", "z")), {"x": ADAM, "y": ADAMW, "z": MOMENTUM})
    assert {each.paths: each.origin for each in cohorts} == {
        ("base/a",): None,
        ("base/b",): "1:x@0",
        ("head/c",): None,
    }
    (only,) = cohorts_of(run.memory, run.params, unflatten(lay(F, None, "x")), {"x": ADAM})
    assert (only.paths, only.origin) == (("head/c",), "1:x@1")
    kept = run.memory.without(lambda path: path.startswith("base"))
    assert (set(kept.cohorts), set(kept.shared)) == ({"head/c"}, {"1:x@1"})


# Phases of labels, and how the last one's leaves of label x are divided
COHORTS = {
    "fresh leaves": ([lay("x", "x", "x")], [{"a", "b", "c"}]),
    "trained together": ([lay("x", "x", "x"), lay("x", "x", "x")], [{"a", "b", "c"}]),
    "one of three thaws": ([lay(F, "x", "x"), lay("x", "x", "x")], [{"a"}, {"b", "c"}]),
    "each at its time": ([lay(F, F, "x"), lay(F, "x", "x"), lay("x", "x", "x")], [{"a"}, {"b"}, {"c"}]),
    "from two groups, for equally long": ([lay("x", "y", "y"), lay("x", "x", "x")], [{"a"}, {"b", "c"}]),
    "in turns, for equally long": ([lay("x", F, F), lay(F, "x", F), lay("x", "x", F)], [{"a"}, {"b"}]),
    "parted and together again": ([lay("x", "x", F), lay("x", F, F), lay("x", "x", F)], [{"a"}, {"b"}]),
    "one left behind": ([lay("x", "x", "x"), lay("x", "x", F), lay("x", "x", F)], [{"a", "b"}]),
}


@pytest.mark.parametrize("name", COHORTS)
def test_leaves_share_a_state_that_shared_one_the_last_time(name):
    phases, expected = COHORTS[name]
    run = Tlx(draw(0))
    for labels in phases[:-1]:
        run.phase(labels, {label: ADAM for label in labels.values() if label != F}, [draw(1)] * 2)
    groups = {label: ADAM for label in phases[-1].values() if label != F}
    for later in (False, True):  # as the phase begins, and as it is resumed: the same
        cohorts = cohorts_of(run.memory, run.params, unflatten(phases[-1]), groups)
        assert [{path[-1] for path in each.paths} for each in cohorts] == expected
        assert [each.name for each in cohorts] == [f"x@{index}" for index in range(len(expected))]
        if not later:
            run.phase(phases[-1], groups, [draw(1)])


@pytest.mark.parametrize("group", [ADAM, MOMENTUM], ids=["adam", "momentum"])
def test_moments_come_through_bit_for_bit(group):
    run = Tlx(draw(0)).phase(lay("x", F, "y"), {"x": group, "y": group}, [draw(1), draw(2)])
    labels = unflatten(lay("one", "one", "two"))
    groups = {"one": group, "two": group}
    _, cohorts, state = begun(run.params, labels, groups, run.memory)
    again = recall(state, run.params, cohorts, 1)
    for path in ("base/a", "head/c"):
        assert_same_bits(again.leaves[path], run.memory.leaves[path])
        assert_same_bits(again.shared[again.cohorts[path]], run.memory.shared[run.memory.cohorts[path]])
        assert all(np.any(np.asarray(kept)) for kept in again.leaves[path].values())
    assert again.leaves["base/b"].keys() == run.memory.leaves["base/a"].keys()
    assert not any(np.any(np.asarray(kept)) for kept in again.leaves["base/b"].values())


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
    tx, _, state = begun(run.params, unflatten(lay("x", "x", "x")), {"x": group}, run.memory, 4, step=3)
    updates, _ = tx.update(unflatten(one), state, run.params)
    np.testing.assert_allclose(updates["head"]["c"], -rates[3], rtol=1e-5)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_is_kept_has_the_paths_and_shapes_of_the_leaves_that_train(case):
    group = OPTIMIZERS["adam"]
    for way in ("head", "all but one leaf"):
        run = begin(case, case.freezings()[way], group)
        labels, _ = partition(run.labels, trainable_mask(run.labels))
        groups = dict.fromkeys(set(flatten(labels).values()) - {None}, group)
        trainable = {path: leaf for path, leaf in flatten(run.state.params).items() if leaf is not None}
        cohorts = cohorts_of(Memory(), run.state.params, labels, groups)
        kept = recall(run.state.opt_state, run.state.params, cohorts)
        assert kept.leaves.keys() == kept.cohorts.keys() == kept.shapes.keys() == trainable.keys()
        assert kept.sizes == {f"0:{each.name}": len(each.paths) for each in cohorts}
        for path, slots in kept.leaves.items():
            assert {slot: leaf.shape for slot, leaf in slots.items()} == dict.fromkeys((MU, NU), trainable[path].shape)


def test_a_label_may_hold_the_sign_that_divides_cohorts():
    run = Tlx(draw(0)).phase(lay("x@2", F, "@"), {"x@2": ADAM, "@": ADAM}, [draw(1)])
    assert steps_of(run.memory) == {"base/a": 1, "head/c": 1}
    other = Tlx(draw(0)).phase(lay("x", F, "y"), {"x": ADAM, "y": ADAM}, [draw(1)])
    assert_same_bits(run.params, other.params)


def test_groups_with_other_constants_keep_their_moments():
    slow = dataclasses.replace(ADAM, optimizer=Adam(b1=0.5))
    run = Tlx(draw(0)).phase(lay("x", F, F), {"x": ADAM}, [draw(1)])
    (cohort,) = cohorts_of(run.memory, run.params, unflatten(lay("x", F, F)), {"x": slow})
    assert cohort.origin == "0:x@0"
