"""Any optax transformation is a group's optimizer: its state goes on by path, whatever it is made of."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import ANY_OPTIMIZER, assert_same_bits, assert_same_memory
from marks import slow_but

from tlx.errors import ConfigError
from tlx.optim import (
    Adam,
    Constant,
    Cosine,
    Group,
    Memory,
    Sgd,
    cohorts_of,
    describe,
    install,
    layer_decay,
    optimizer,
    ranks_of,
    recall,
)
from tlx.optim.check import check_optimizers
from tlx.optim.phases import to_plain
from tlx.optim.rates import rates_at
from tlx.training.pack_memory import pack_memory, unpack_memory
from tlx.tree import flatten, unflatten

SHAPES = {"base/a": (4, 3), "base/b": (3,), "head/c": (3, 2), "head/d": (2,)}
BASE, HEAD = [path for path in SHAPES if path[0] == "b"], [path for path in SHAPES if path[0] == "h"]
DECAY = optax.linear_schedule(0.1, 0.01, 4)

# More of what a state may be: a random key, counts that no step counts, copies of the parameters, estimates over all
# leaves, a vector of all, settings, schedules
MORE = {
    "noise": Group(optax.noisy_sgd(0.1, key=7)),
    "every second step": Group(optax.MultiSteps(optax.adam(0.1), 2).gradient_transformation()),
    "schedule free": Group(optax.contrib.schedule_free_adamw(0.1)),
    "prodigy": Group(optax.contrib.prodigy()),
    "flat": Group(optax.flatten(optax.adam(0.1))),
    "injected": Group(optax.inject_hyperparams(optax.adam)(learning_rate=DECAY, b1=0.8)),
    "scheduled": Group(optax.chain(optax.scale_by_rms(), optax.scale_by_learning_rate(DECAY))),
    "masked": Group(optax.masked(optax.adam(0.1), {"base": {"a": True, "b": False}, "head": {"c": True, "d": False}})),
    "by label": Group(optax.partition({1: optax.sgd(0.1), 2: optax.lion(0.1)}, lambda p: jax.tree.map(jnp.ndim, p))),
    "plateau": Group(optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau(patience=1))),
    "galore": Group(optax.contrib.galore(0.1, rank=2)),
}
ALL = {**ANY_OPTIMIZER, **MORE}


def draw(seed):
    numbers = np.random.default_rng(seed)
    return {path: jnp.asarray(numbers.normal(size=shape), jnp.float32) for path, shape in SHAPES.items()}


def labelled(paths):
    return unflatten({path: "x" if path in paths else "frozen" for path in SHAPES})


@functools.cache
def made(group, paths, ranks):
    """Build what a phase runs, compiled once for those that are begun and resumed alike."""
    tx = optimizer(labelled(paths), {"x": group}, 8, dict(ranks))
    return tx.init, jax.jit(tx.update)


class Phase:
    """A phase begun, or resumed at a step, from a memory; `take` steps change its parameters and its state."""

    def __init__(self, number, group, paths, params, memory, step=0):
        self.number, self.labels = number, labelled(paths)
        self.params = unflatten(params)
        self.cohorts = cohorts_of(memory, self.params, self.labels, {"x": group})
        init, self.update = made(group, tuple(paths), tuple(ranks_of(self.cohorts).items()))
        self.state = install(init(self.params), self.params, self.cohorts, memory, step)
        self.before = memory

    def take(self, *seeds):
        for seed in seeds:
            value = jnp.float32(1 + seed % 3)
            updates, self.state = self.update(unflatten(draw(seed)), self.state, self.params, value=value)
            self.params = optax.apply_updates(self.params, updates)
        return self

    @property
    def memory(self):
        return self.before.updated(recall(self.state, self.params, self.cohorts, self.number))


def saved(memory):
    """Return a memory as a checkpoint gives it back."""
    arrays, plain = pack_memory(memory)
    return unpack_memory(jax.tree.map(np.asarray, arrays), {"memory": json.loads(json.dumps(plain))})


@pytest.mark.parametrize("name", slow_but("adam", "muon", "own", "masked", of=ALL))
def test_two_phases_resumed_at_each_step_come_to_the_same_bits(name):
    group, params = ALL[name], draw(0)
    first = Phase(0, group, HEAD, params, Memory()).take(1, 2, 3)
    second = Phase(1, group, [*BASE, *HEAD], flatten(first.params), first.memory).take(4, 5, 6)
    assert {each.paths: each.origin for each in second.cohorts} == {
        tuple(BASE): None,
        tuple(HEAD): "0:x@0",
    }
    for path in SHAPES:
        assert np.any(flatten(second.params)[path] != params[path]) or name == "masked"
    for step in range(1, 6):
        begun = Phase(0, group, HEAD, params, Memory()).take(*range(1, 1 + min(step, 3)))
        if step <= 3:
            begun = Phase(0, group, HEAD, flatten(begun.params), saved(begun.memory), step).take(*range(1 + step, 4))
        begun = Phase(1, group, list(SHAPES), flatten(begun.params), saved(begun.memory)).take(*range(4, 1 + step))
        if step > 3:
            begun = Phase(1, group, list(SHAPES), flatten(begun.params), saved(begun.memory), step - 3)
            assert {cohort.origin for cohort in begun.cohorts} == {"1:x@0", "1:x@1"}
            assert [cohort.paths for cohort in begun.cohorts] == [cohort.paths for cohort in second.cohorts]
        begun.take(*range(max(4, 1 + step), 7))
        assert_same_bits(flatten(begun.params), flatten(second.params))
        assert_same_memory(begun.memory, second.memory)


def by_hand(tx, phases, params):
    """Run phases of (paths that share a state, seeds) in optax alone: a state for each, made when it first trains."""
    states, update = {}, jax.jit(optax.with_extra_args_support(tx).update)
    for cohorts, seeds in phases:
        for seed in seeds:
            gradient = draw(seed)
            for paths in cohorts:
                leaves = {path: params[path] for path in paths}
                state = states[paths] if paths in states else tx.init(leaves)
                some = {path: gradient[path] for path in paths}
                updates, states[paths] = update(some, state, leaves, value=jnp.ones(()))
                params = {**params, **optax.apply_updates(leaves, updates)}
    return params


# All but those with a schedule, which begins anew with each phase, or with masks for the whole tree
ALONE = sorted(ALL.keys() - {"momentum", "adam", "own", "lion", "injected", "scheduled", "plateau", "masked"})


@pytest.mark.parametrize("name", slow_but("muon", "adamw", of=ALONE))
def test_a_leaf_that_trained_goes_on_and_one_that_thaws_begins_anew(name):
    params, group = draw(0), ALL[name]
    first = Phase(0, group, HEAD, params, Memory()).take(1, 2, 3)
    second = Phase(1, group, list(SHAPES), flatten(first.params), first.memory).take(4, 5, 6)
    base, head = tuple(BASE), tuple(HEAD)
    expected = by_hand(group.optimizer, [((head,), (1, 2, 3)), ((base, head), (4, 5, 6))], params)
    for path, leaf in flatten(second.params).items():
        np.testing.assert_allclose(leaf, expected[path], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["injected", "scheduled"])
def test_a_schedule_inside_counts_the_steps_of_its_phase(name):
    """Whatever else the state holds goes on; with gradients of one sign and size these rates are the updates."""
    group = ALL[name]
    phase = Phase(0, group, HEAD, draw(0), Memory())
    moved = []
    for number in range(2):
        for step in range(4):
            before = phase.params["head"]["c"]
            ones = jax.tree.map(jnp.ones_like, phase.params)
            updates, phase.state = phase.update(ones, phase.state, phase.params, value=jnp.ones(()))
            phase.params = optax.apply_updates(phase.params, updates)
            moved.append(float((before - phase.params["head"]["c"]).mean()))
            if name == "injected":
                rates = rates_at(step, {"x": group}, 8, phase.state)
                assert rates == pytest.approx({"x": float(DECAY(step))})
        phase = Phase(number + 1, group, HEAD, flatten(phase.params), phase.memory)
    if name == "injected":
        np.testing.assert_allclose(moved, [float(DECAY(step)) for step in range(4)] * 2, rtol=1e-3)
    else:  # an average of squares that goes on: 1 - 0.9 ** steps
        expected = [float(DECAY(step % 4)) / np.sqrt(1 - 0.9 ** (step + 1)) for step in range(8)]
        np.testing.assert_allclose(moved, expected, rtol=1e-3)


# One optimizer in the first phase, another in the second: does what it remembers go on?
CHANGES = {
    "its rate": (optax.adam(0.1), optax.adam(0.01), True),
    "its constants": (optax.lion(0.1), optax.lion(0.1, b1=0.5), True),
    "a schedule inside": (optax.adam(0.1), optax.adam(DECAY), True),
    "decay beside it": (optax.adam(0.1), optax.adamw(0.1), True),
    "fields of other names": (optax.adam(0.1), optax.lion(0.1), False),
    "the same names in another state": (optax.adam(0.1), optax.adabelief(0.1), False),
    "a part of the fields": (optax.adam(0.1), optax.rmsprop(0.1), False),
    "other shapes": (optax.adafactor(0.1, min_dim_size_to_factor=2), optax.adafactor(0.1), False),
    "nothing to remember": (optax.adam(0.1), optax.sgd(0.1), False),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_state_goes_on_with_an_optimizer_of_its_kind_alone(name):
    one, other, goes_on = CHANGES[name]
    first = Phase(0, Group(one), ["head/c"], draw(0), Memory()).take(1)
    second = Phase(1, Group(other), ["head/c"], flatten(first.params), first.memory)
    assert [cohort.origin for cohort in second.cohorts] == ["0:x@0" if goes_on else None]


def test_muons_parts_go_on_each_by_itself():
    """Muon keeps a momentum of matrices, and Adam's moments of all other leaves."""
    group = ANY_OPTIMIZER["muon"]
    first = Phase(0, group, HEAD, draw(0), Memory()).take(1, 2)
    slots = {path: {slot.rpartition(".")[2] for slot in kept} for path, kept in first.memory.leaves.items()}
    assert slots == {"head/c": {"mu"}, "head/d": {"mu", "nu"}}
    second = Phase(1, group, list(SHAPES), flatten(first.params), first.memory).take(3)
    counts = {
        cohort: {int(value) for slot, value in shared.items() if slot.endswith("count")}
        for cohort, shared in second.memory.shared.items()
    }
    assert counts == {"1:x@0": {1}, "1:x@1": {3}}


def test_a_state_that_no_leaf_owns_stays_while_its_leaves_stay_together():
    group = MORE["flat"]
    first = Phase(0, group, ["base/a", "base/b"], draw(0), Memory()).take(1)
    for paths, goes_on in ((["base/a", "base/b"], True), (["base/a"], False), (["base/b"], False)):
        second = Phase(1, group, paths, flatten(first.params), first.memory)
        assert [cohort.origin is not None for cohort in second.cohorts] == [goes_on]


def test_weight_decay_and_clipping_beside_a_transformation_are_those_of_optaxs_own_optimizers():
    params = draw(0)
    ours = Group(DECAY, optax.scale_by_lion(b1=0.9, b2=0.99), weight_decay=0.3, no_decay=(), clip_norm=1.0)
    theirs = optax.chain(optax.clip_by_global_norm(1.0), optax.lion(DECAY, weight_decay=0.3))
    got = Phase(0, ours, list(SHAPES), params, Memory()).take(1, 2, 3)
    expected = by_hand(theirs, [((tuple(SHAPES),), (1, 2, 3))], params)
    for path, leaf in flatten(got.params).items():
        np.testing.assert_allclose(leaf, expected[path], rtol=1e-6)


# Refused where the group is made


class Unhashable:
    __hash__ = None

    def __call__(self, step):
        return 0.1


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Group(), r"Adam\(\) needs a learning rate"),
        (lambda: Group(None, Sgd()), r"Sgd\(\) needs a learning rate"),
        (lambda: Group(0.1), "the schedule must be .* or a function of the step, not 0.1"),
        (lambda: Group(Constant), "the schedule must be"),
        (lambda: Group(Constant(0.1), optax.adam), "or an optax.GradientTransformation, not <function adam"),
        (lambda: Group(optax.adam(0.1), optax.sgd(0.1)), "two optimizers"),
        (lambda: Group(optax.adam(0.1), weight_decay=0.1), "weight_decay goes with a schedule"),
        (lambda: Group(Unhashable(), Adam()), "cannot be hashed .* a frozen dataclass"),
        (lambda: layer_decay(["a", "b"], Group(optax.adam(0.1)), 0.5), "layer decay lowers the rate .* of its own"),
    ],
)
def test_what_does_not_go_together_is_refused(make, said):
    with pytest.raises(ConfigError, match=said):
        make()


# Refused for the parameters, before the first step


def growing():
    """A transformation whose state is another after each step."""
    return optax.GradientTransformation(
        lambda _: {"seen": jnp.zeros(1)}, lambda u, state, _: (u, {"seen": jnp.append(state["seen"], 1)})
    )


@pytest.mark.parametrize(
    ("group", "said"),
    [
        (Group(Constant(0.1), optax.lion(0.1)), "group 'x': the optimizer has a learning rate of its own"),
        (Group(optax.scale_by_lion()), "group 'x': the optimizer has no learning rate and climbs the loss"),
        (Group(optax.lbfgs()), "cannot train these parameters .*'value_fn'.*the loss as `value`"),
        (Group(Constant(0.1), growing()), r"state changes shape or type in a step: \['seen'\] from float32\[1\] to "),
        (
            Group(Constant(0.1), optax.stateless_with_tree_map(lambda g, _: g.astype(jnp.float16))),
            "updates have not the shapes and types",
        ),
        (Group(lambda step: 0.1 if step < 3 else 0.01), "the schedule cannot be compiled .* jnp.where"),
        (Group(lambda step: jnp.ones(2)), "the schedule returns .*, not one learning rate"),
    ],
)
def test_what_cannot_train_these_parameters_is_refused(group, said):
    with pytest.raises(ConfigError, match=said):
        check_optimizers(unflatten(draw(0)), [(labelled(HEAD), {"x": group})])


@pytest.mark.parametrize("name", ALL)
def test_what_trains_is_not_refused(name):
    shapes = jax.eval_shape(lambda: unflatten(draw(0)))
    check_optimizers(shapes, [(labelled(HEAD), {"x": ALL[name]}), (labelled(SHAPES), {"x": ALL[name]})])


# What a run records

DESCRIBED = [
    (optax.lion(1e-3), "chain(scale_by_lion(b1=0.9, b2=0.99, "),
    (optax.lion(1e-4), "scale(step_size=-0.0001))"),
    (optax.contrib.muon(0.01, beta=0.9), "scale_by_muon(adaptive=False, beta=0.9, "),
    (optax.adam(optax.cosine_decay_schedule(0.1, 50)), "cosine_decay_schedule(alpha=0.0, decay_steps=50, "),
    (MORE["every second step"].optimizer, "MultiSteps("),
    (MORE["injected"].optimizer, "inner_factory=adam"),
    (ANY_OPTIMIZER["own"].optimizer, "cases.scaled_sign.update(decay=0.5)"),
    (optax.masked(optax.sgd(0.1), np.arange(3)), "mask=[0, 1, 2]"),
]


@pytest.mark.parametrize(("transform", "part"), DESCRIBED, ids=[part for _, part in DESCRIBED])
def test_a_transformation_is_described_by_what_made_it(transform, part):
    group = to_plain(Group(transform))
    assert part in f"chain({', '.join(group['optimizer']['made_by'])})"
    assert group["schedule"] is None
    json.dumps(group)
    assert " at 0x" not in repr(Group(transform)) + json.dumps(group)


def test_descriptions_tell_other_settings_apart():
    made = {describe(transform) for transform, _ in DESCRIBED}
    assert len(made) == len(DESCRIBED)
    assert describe(optax.adam(0.1)) == describe(optax.adam(0.1)) != describe(optax.adam(0.2))


def test_schedules_that_are_functions_are_recorded():
    assert to_plain(Group(DECAY))["schedule"].startswith("polynomial_schedule(end_value=0.01, init_value=0.1")
    own = to_plain(Group(lambda step: 0.1))["schedule"]
    assert own == f"{__name__}.test_schedules_that_are_functions_are_recorded.<locals>.<lambda>"
    assert to_plain(Group(Cosine(0.1)))["schedule"] == {"kind": "Cosine", "rate": 0.1, "warmup": 0, "end": 0.0}


def test_layer_decay_lowers_a_schedule_that_is_a_function():
    _, groups = layer_decay(["a", "b"], Group(DECAY, optax.scale_by_lion()), 0.5)
    steps = jnp.arange(4)
    for name, factor in (("a", 0.5), ("b", 1.0)):
        np.testing.assert_allclose(groups[name].rate(4)(steps), factor * DECAY(steps), rtol=1e-6)
    assert layer_decay(["a", "b"], Group(DECAY), 0.5) == layer_decay(["a", "b"], Group(DECAY), 0.5)
