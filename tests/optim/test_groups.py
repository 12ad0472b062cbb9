"""The optimizer against implementations by hand in NumPy (float64), fed the same gradients."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import CASES, ODD_NAN, OPTIMIZERS, assert_same_bits, bits, plant
from hypothesis import given, settings
from hypothesis import strategies as st
from marks import slow_but

from tlx.errors import ConfigError
from tlx.optim import Adam, AdamW, Constant, Group, InverseTime, Sgd, optimizer
from tlx.tree import flatten, label_tree, partition, trainable_mask, unflatten

SHAPES = {"base/conv/kernel": (2, 3), "base/conv/bias": (3,), "base/norm/scale": (3,), "head/kernel": (3, 2)}
RATE = 0.1


def draw(seed, scale=1.0):
    numbers = np.random.default_rng(seed)
    return {path: (scale * numbers.normal(size=shape)).astype(np.float32) for path, shape in SHAPES.items()}


def labels_of(**label_by_part):
    return unflatten({path: label_by_part[path.partition("/")[0]] for path in SHAPES})


def train(tx, params, gradients):
    """Apply updates for a list of gradients (dicts by path); return the parameters by path."""
    params = jax.tree.map(jnp.asarray, unflatten(params))
    state = tx.init(params)
    update = jax.jit(tx.update)
    for gradient in gradients:
        updates, state = update(unflatten(gradient), state, params)
        params = optax.apply_updates(params, updates)
    return {path: np.asarray(leaf) for path, leaf in flatten(params).items()}


def spared(path):
    return path.endswith(("bias", "scale"))


def by_hand(group, params, gradients):
    """Train all leaves as one group, in float64."""
    params = {path: np.float64(leaf) for path, leaf in params.items()}
    one, two = ({path: np.zeros_like(leaf) for path, leaf in params.items()} for _ in range(2))
    method = group.optimizer
    for step, gradient in enumerate(gradients):
        rate = group.schedule.rate / (1 + getattr(group.schedule, "decay", 0) * step)
        gradient = {path: np.float64(leaf) for path, leaf in gradient.items()}
        norm = np.sqrt(sum((leaf**2).sum() for leaf in gradient.values()))
        shrink = 1 if group.clip_norm is None else min(1, group.clip_norm / norm)
        for path, leaf in params.items():
            decay = 0 if spared(path) and group.no_decay else group.weight_decay
            g = gradient[path] * shrink
            if not isinstance(method, AdamW):
                g = g + decay * leaf
            if isinstance(method, Sgd):
                one[path] = g + method.momentum * one[path]
                update = g + method.momentum * one[path] if method.nesterov else one[path]
            else:
                one[path] = method.b1 * one[path] + (1 - method.b1) * g
                two[path] = method.b2 * two[path] + (1 - method.b2) * g**2
                first, second = one[path] / (1 - method.b1 ** (step + 1)), two[path] / (1 - method.b2 ** (step + 1))
                update = first / (np.sqrt(second) + method.eps)
            if isinstance(method, AdamW):
                update = update + decay * leaf
            params[path] = leaf - rate * update
    return params


GROUPS = {
    "plain": Group(Constant(RATE), Sgd(momentum=0.0)),
    "momentum": Group(Constant(RATE), Sgd(0.9)),
    "nesterov": Group(Constant(RATE), Sgd(0.8, nesterov=True)),
    "momentum, decay, clip": Group(InverseTime(RATE, 0.5), Sgd(0.9), weight_decay=0.1, clip_norm=1.5),
    "adam": Group(Constant(RATE), Adam()),
    "adam, other constants": Group(InverseTime(RATE, 0.5), Adam(b1=0.8, b2=0.9, eps=1e-3)),
    "adam, decay in the gradient": Group(Constant(RATE), Adam(), weight_decay=0.3),
    "adamw": Group(Constant(RATE), AdamW(), weight_decay=0.3),
    "adamw, clip": Group(InverseTime(RATE, 0.5), AdamW(b1=0.8), weight_decay=0.3, clip_norm=0.7),
    "adamw, decay everywhere": Group(Constant(RATE), AdamW(), weight_decay=0.3, no_decay=()),
}


@pytest.mark.parametrize("name", GROUPS)
def test_a_group_is_what_its_formula_says(name):
    group, params, gradients = GROUPS[name], draw(0), [draw(seed) for seed in range(1, 6)]
    tx = optimizer(labels_of(base="all", head="all"), {"all": group}, steps=5)
    chex.assert_trees_all_close(train(tx, params, gradients), by_hand(group, params, gradients), rtol=3e-5, atol=3e-6)


def test_the_groups_by_hand_differ_from_each_other():
    params, gradients = draw(0), [draw(seed) for seed in range(1, 6)]
    ends = [np.concatenate([leaf.ravel() for leaf in by_hand(g, params, gradients).values()]) for g in GROUPS.values()]
    for index, one in enumerate(ends):
        for other in ends[:index]:
            assert np.abs(one - other).max() > 1e-2


def test_two_groups_train_apart():
    params, gradients = draw(0), [draw(seed) for seed in range(1, 6)]
    groups = {"base": GROUPS["momentum, decay, clip"], "head": GROUPS["adamw, clip"]}
    got = train(optimizer(labels_of(base="base", head="head"), groups, 5), params, gradients)
    for label, group in groups.items():
        own = [path for path in SHAPES if path.startswith(label)]
        alone = by_hand(group, {p: params[p] for p in own}, [{p: g[p] for p in own} for g in gradients])
        chex.assert_trees_all_close({p: got[p] for p in own}, alone, rtol=3e-5, atol=3e-6)


@pytest.mark.parametrize("group", OPTIMIZERS.values(), ids=list(OPTIMIZERS))
@pytest.mark.parametrize("strange", [1e30, np.nan, np.inf])
def test_frozen_gradients_count_in_no_norm(group, strange):
    params, gradients = draw(0), [draw(seed) for seed in range(1, 4)]
    tx = optimizer(labels_of(base="frozen", head="head"), {"head": group}, steps=5)
    wild = [{p: np.full_like(g, strange) if p.startswith("base") else g for p, g in step.items()} for step in gradients]
    assert_same_bits(train(tx, params, wild), train(tx, params, gradients))


def test_the_norm_of_another_group_does_not_count():
    groups = {name: Group(Constant(RATE), Sgd(0.0), clip_norm=1.0) for name in ("base", "head")}
    tx = optimizer(labels_of(base="base", head="head"), groups, steps=5)
    zero = {path: np.zeros(shape, np.float32) for path, shape in SHAPES.items()}
    gradient = {path: np.full(shape, 100 if path.startswith("base") else 0.1) for path, shape in SHAPES.items()}
    got = train(tx, zero, [{path: leaf.astype(np.float32) for path, leaf in gradient.items()}])
    base = np.sqrt(sum((leaf**2).sum() for path, leaf in got.items() if path.startswith("base")))
    assert base == pytest.approx(RATE, rel=1e-5)  # clipped to the norm 1
    np.testing.assert_allclose(got["head/kernel"], -RATE * 0.1, rtol=1e-5)  # its norm is below 1


@pytest.mark.parametrize("optimizer_", [Sgd(), Adam(), AdamW()], ids=str)
def test_decay_spares_biases_and_scales_and_frozen_leaves(optimizer_):
    group = Group(Constant(RATE), optimizer_, weight_decay=0.5)
    tx = optimizer(labels_of(base="base", head="frozen"), {"base": group}, steps=5)
    params = draw(0)
    still = {path: np.zeros(shape, np.float32) for path, shape in SHAPES.items()}
    got = train(tx, params, [still])
    before, after = params.pop("base/conv/kernel"), got.pop("base/conv/kernel")
    assert_same_bits(got, params)
    assert (np.sign(after - before) == -np.sign(before)).all()


def test_no_decay_is_a_choice():
    group = Group(Constant(RATE), Sgd(0.0), weight_decay=0.5, no_decay=("head", "base/conv"))
    tx = optimizer(labels_of(base="all", head="all"), {"all": group}, steps=5)
    params = draw(0)
    got = train(tx, params, [{path: np.zeros(shape, np.float32) for path, shape in SHAPES.items()}])
    changed = [path for path in SHAPES if not np.array_equal(got[path], params[path])]
    assert changed == ["base/norm/scale"]
    np.testing.assert_allclose(got["base/norm/scale"], params["base/norm/scale"] * (1 - RATE * 0.5), rtol=1e-6)


@pytest.mark.slow
@settings(max_examples=30)
@given(st.lists(st.sampled_from(["frozen", "a", "b"]), min_size=4, max_size=4), st.sampled_from(list(OPTIMIZERS)))
def test_on_whole_trees_frozen_leaves_have_zero_updates_and_no_state(chosen, name):
    labels = unflatten(dict(zip(SHAPES, chosen, strict=True)))
    groups = dict.fromkeys(set(chosen) - {"frozen"}, OPTIMIZERS[name])
    tx = optimizer(labels, groups, steps=5)
    params = jax.tree.map(jnp.asarray, unflatten(draw(0)))
    state = tx.init(params)
    updates, state = tx.update(jax.tree.map(jnp.asarray, unflatten(draw(1))), state, params)
    updates, state = tx.update(jax.tree.map(jnp.asarray, unflatten(draw(2))), state, params)
    for path, update in flatten(updates).items():
        assert update.shape == SHAPES[path]
        assert bool((update != 0).any()) is (flatten(labels)[path] != "frozen")
    slots = 2 if isinstance(OPTIMIZERS[name].optimizer, Adam) else 1
    trained = sum(int(np.prod(SHAPES[path])) for path, label in flatten(labels).items() if label != "frozen")
    assert sum(leaf.size for leaf in jax.tree.leaves(state) if leaf.ndim) == slots * trained


@pytest.mark.parametrize("case", slow_but("mlp", "norm", "tokens", of=CASES), ids=str)
def test_the_state_holds_trainable_leaves_only(case):
    params = case.variables()["params"]
    for index, rules in enumerate(case.freezings().values()):
        labels = label_tree(params, rules)
        mask = trainable_mask(labels)
        trainable, own = partition(params, mask)[0], partition(labels, mask)[0]
        used = {label for label in flatten(own).values() if label is not None}
        group = list(OPTIMIZERS.values())[index % len(OPTIMIZERS)]
        state = jax.eval_shape(optimizer(own, dict.fromkeys(used, group), steps=5).init, trainable)
        adam = isinstance(group.optimizer, Adam)
        slots = 1 + adam
        counts = len(used) * (1 + adam)  # a schedule's for each group, and Adam's
        leaves = jax.tree.leaves(state)
        assert len(leaves) == slots * len(jax.tree.leaves(trainable)) + counts
        numbers = sum(leaf.size for leaf in jax.tree.leaves(trainable))
        assert sum(leaf.size * leaf.dtype.itemsize for leaf in leaves) == 4 * (slots * numbers + counts)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_on_whole_trees_frozen_leaves_keep_every_bit(name):
    params = draw(0)
    for path, value in {"base/conv/kernel": -0.0, "base/conv/bias": 0.0, "base/norm/scale": ODD_NAN}.items():
        params[path] = np.array(plant(params[path], value))
    tx = optimizer(labels_of(base="frozen", head="head"), {"head": OPTIMIZERS[name]}, steps=5)
    got = train(tx, params, [draw(seed) for seed in range(1, 4)])
    before, after = params.pop("head/kernel"), got.pop("head/kernel")
    assert_same_bits(got, params)
    assert bits(after) != bits(before)


def test_nothing_to_train_is_an_optimizer_too():
    tx = optimizer(labels_of(base="frozen", head="frozen"), {}, steps=5)
    params = draw(0)
    assert_same_bits(train(tx, params, [draw(1)]), params)


@pytest.mark.parametrize(
    ("groups", "fault"),
    [
        ({}, "without a group 'head', without a leaf $"),
        ({"base": 0}, "without a group 'head', without a leaf 'base'"),
        ({"head": 0, "frozen": 0}, "without a group , without a leaf 'frozen'"),
        ({"head": 0, "tail": 0, "haed": 0}, "without a group , without a leaf 'haed', 'tail'"),
    ],
)
def test_labels_and_groups_must_match_both_ways(groups, fault):
    with pytest.raises(ConfigError, match=fault):
        optimizer(labels_of(base="frozen", head="head"), dict.fromkeys(groups, Group(Constant(0.1))), steps=5)


@pytest.mark.parametrize(
    ("kind", "values", "fault"),
    [
        *((Group, {"weight_decay": value}, "weight_decay") for value in (-0.1, np.nan, np.inf)),
        *((Group, {"clip_norm": value}, "clip_norm") for value in (0, -1, np.nan, np.inf)),
        *((Sgd, {"momentum": value}, "momentum") for value in (-0.1, 1.0, np.nan)),
        *((AdamW, {name: value}, name) for name in ("b1", "b2") for value in (-0.1, 1.0, np.nan)),
        *((Adam, {"eps": value}, "eps") for value in (0, -1, np.nan)),
    ],
)
def test_numbers_out_of_range_are_refused(kind, values, fault):
    first = {"schedule": Constant(0.1)} if kind is Group else {}
    with pytest.raises(ConfigError, match=f"{kind.__name__}: {fault} must be"):
        kind(**first, **values)


def test_a_warm_up_that_does_not_fit_is_refused_when_the_optimizer_is_built():
    with pytest.raises(ConfigError, match="warm-up of 1 steps does not fit a phase of 1"):
        optimizer({"w": "all"}, {"all": OPTIMIZERS["adam"]}, steps=1)


def test_groups_are_values():
    assert Group(Constant(0.1)) == Group(Constant(0.1))
    assert dataclasses.replace(Group(Constant(0.1)), clip_norm=1.0) != Group(Constant(0.1))
