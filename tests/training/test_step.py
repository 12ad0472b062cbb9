"""The training step; foremost, that frozen means frozen, over every model."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASE, CASES, FREEZINGS, ODD_NAN, OPTIMIZERS, assert_same_bits, begin, bits, loss_of, plant, step_of
from marks import slow_but

from tlx.images.mix import Mixup
from tlx.models import run_frozen
from tlx.objectives import Classification
from tlx.optim import Constant, Group, Sgd
from tlx.training.state import NEVER, all_finite
from tlx.tree import FROZEN, combine, fingerprint, flatten, map_with_path, unflatten

PLAIN = Group(Constant(0.1), Sgd(0.0))

# Which freezings are compiled and run (the graphs of all of them are looked at below); the optimizers take turns
TRAINED = [
    ("mlp", "head"),
    ("mlp", "one leaf"),
    ("cnn", "second"),
    ("cnn", "all but one leaf"),
    ("norm", "head"),
    ("norm", "lowest"),
    ("norm", "norms"),
    ("norm", "all but one leaf"),
    ("dropouts", "lowest"),
    ("dropouts", "second"),
    ("bare", "lowest"),
    ("bare", "second"),
    ("tokens", "head"),
    ("tokens", "second"),
    ("numbers", "head"),
    ("numbers", "all but one leaf"),
    ("bare", "norms"),
    ("nested", "head"),
    ("nested", "second"),
    ("nested", "one leaf"),
    ("bert", "second"),
    ("bert", "norms"),
]


def planted(case, rules):
    """Return variables with -0.0 in every leaf, and a NaN with a payload where it feeds nothing.

    Adding a zero update turns -0.0 into 0.0, and any arithmetic may change the payload of a NaN.
    """
    variables = jax.tree.map(lambda leaf: plant(leaf, -0.0), case.variables())
    if case.name == "nested":
        spare = variables["params"]["base"]["spare"]
        spare["unused"] = plant(spare["unused"], ODD_NAN)
    return variables


@pytest.mark.slow
@pytest.mark.parametrize(("name", "way"), slow_but("mlp", "tokens", of=TRAINED))
def test_frozen_leaves_keep_every_bit_and_the_others_train(name, way):
    case = CASE[name]
    rules = case.freezings()[way]
    group = list(OPTIMIZERS.values())[TRAINED.index((name, way)) % len(OPTIMIZERS)]
    # Where the odd NaN trains, its group's clip would spread it: plant it in frozen leaves only
    variables = planted(case, rules) if name != "nested" or way in ("head", "one leaf") else case.variables()
    run = begin(case, rules, group, variables=variables)
    before = flatten(run.start["params"])
    digest = fingerprint(run.frozen)
    run.train(*(case.batch(seed) for seed in range(3)))

    after, labels = run.params(), flatten(run.labels)
    frozen = [path for path in after if labels[path] == FROZEN]
    assert frozen
    assert_same_bits({path: after[path] for path in frozen}, {path: before[path] for path in frozen})
    assert fingerprint(run.frozen) == digest
    for path in after.keys() - set(frozen):
        assert after[path].dtype == before[path].dtype
        assert np.isfinite(after[path]).all()
    kernels = [path for path in after if path not in frozen and not path.endswith(("bias", "scale"))]
    assert all(bits(after[path]) != bits(before[path]) for path in kernels)
    assert int(run.state.totals.bad_step) == NEVER

    stats_before, stats_after = flatten(run.start.get("batch_stats", {})), run.stats()
    assert stats_after.keys() == stats_before.keys()
    for path in stats_after:
        owner = path.rpartition("/")[0]
        own = {label for leaf, label in labels.items() if leaf.rpartition("/")[0] == owner}
        if own == {FROZEN}:
            assert bits(stats_after[path]) == bits(stats_before[path])
        elif own:
            assert bits(stats_after[path]) != bits(stats_before[path])


def test_every_way_and_every_model_is_trained():
    assert {name for name, _ in TRAINED} == set(CASE)
    assert {way for _, way in TRAINED} == {way for _, way in FREEZINGS}


def heavy(jaxpr):
    """Count the convolutions and the matrix products of a graph, those of its inner graphs included.

    Of a choice by platform, that of a GPU counts.
    """
    counts = Counter()
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name in ("conv_general_dilated", "dot_general"):
            counts["conv" if name.startswith("conv") else "dot"] += 1
        if name == "cond":
            counts += heavy(equation.params["branches"][-1].jaxpr)
            continue
        for inner in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr")
        ):
            if hasattr(inner, "eqns"):
                counts += heavy(inner)
            elif hasattr(inner, "jaxpr"):
                counts += heavy(inner.jaxpr)
    return counts


def graph(run, case):
    return jax.make_jaxpr(run.step)(run.state, run.frozen, case.batch()).jaxpr


# Forward, there are 3 convolutions and 2 products. Backward, each costs one for its kernel if that trains, and one for
# its input if something below trains.
CNN = {
    "head only": ([("base", FROZEN), ("head", "head")], 3, 2 + 1 + 1 + 1),
    "the last layer of the head": ([("head/logits", "head"), ("**", FROZEN)], 3, 2 + 1),
    "the last stage": ([("base/conv3", "base"), ("**", FROZEN)], 3 + 1, 2 + 2),
    "the last stage and the head": ([("base/conv3", "x"), ("base", FROZEN), ("head", "x")], 3 + 1, 2 + 2 + 2),
    "the middle stage": ([("base/conv2", "base"), ("**", FROZEN)], 3 + 1 + 1, 2 + 2),
    "the first stage": ([("base/conv1", "base"), ("**", FROZEN)], 3 + 1 + 2, 2 + 2),
    "all but the first stage": ([("base/conv1", FROZEN), ("**", "all")], 3 + 2 + 1, 2 + 4),
    "a bias": ([("base/conv2/bias", "base"), ("**", FROZEN)], 3 + 1, 2 + 2),
    "everything": ([("**", "all")], 3 + 3 + 2, 2 + 4),
}


@pytest.mark.parametrize("what", CNN)
def test_the_work_of_a_step_by_hand(what):
    rules, convolutions, products = CNN[what]
    case = CASE["cnn"]
    counts = heavy(graph(begin(case, rules, PLAIN), case))
    assert counts == {"conv": convolutions, "dot": products}


@pytest.mark.parametrize("case", slow_but("mlp", "norm", "tokens", of=CASES), ids=str)
def test_a_step_of_the_head_runs_the_base_forward_only(case):
    variables = case.variables()
    rules = case.freezings()["head"]
    run = begin(case, rules, PLAIN)

    def head(params, features):
        with run_frozen(run.labels, case.model.base.stage_names):
            whole = {**variables, "params": {**variables["params"], "head": params}}
            rngs = {"dropout": jax.random.key(0)}
            return case.model.apply(whole, features, True, method="logits", rngs=rngs).sum()

    images = case.batch()["input"]
    forward = jax.make_jaxpr(lambda x: case.model.apply(variables, x, method="features"))
    features = case.model.apply(variables, images, method="features")
    backward = jax.make_jaxpr(jax.value_and_grad(head))(variables["params"]["head"], features)
    base = heavy(forward(images).jaxpr)
    assert base
    assert heavy(graph(run, case)) == base + heavy(backward.jaxpr)


@pytest.mark.parametrize(("case", "way"), slow_but("mlp", "norm", "tokens", of=FREEZINGS), ids=str)
def test_a_step_returns_trainable_leaves_only(case, way):
    run = begin(case, case.freezings()[way], OPTIMIZERS["adam"])
    after = jax.eval_shape(run.step, run.state, run.frozen, case.batch())
    labels = flatten(run.labels)
    assert {path for path, leaf in flatten(after.params).items() if leaf is not None} == {
        path for path, label in labels.items() if label != FROZEN
    }
    assert jax.tree.structure(after) == jax.tree.structure(run.state)
    assert [leaf.shape for leaf in jax.tree.leaves(after)] == [leaf.shape for leaf in jax.tree.leaves(run.state)]
    assert [leaf.dtype for leaf in jax.tree.leaves(after)] == [leaf.dtype for leaf in jax.tree.leaves(run.state)]


ALL = (("**", "all"),)


class Counting(Classification):
    """An objective that counts how often it is traced."""

    def __call__(self, outputs, batch, key=None):
        TRACED.append(outputs.shape)
        return super().__call__(outputs, batch, key)


TRACED = []


def test_a_step_by_hand():
    """Compare updates, totals, compilation and donation with a gradient taken apart from the step."""
    case = CASE["mlp"]
    TRACED.clear()
    run = begin(case, [("base/dense1", FROZEN), ("**", "all")], PLAIN, objective=Counting(0.1))
    labels, batches = flatten(run.labels), [case.batch(seed) for seed in range(3)]

    @jax.jit
    def reference(params, batch):
        def objective(params):
            logits = case.model.apply({"params": params}, batch["input"])
            return loss_of(logits, batch["target"], objective=Classification(0.1)), logits

        (loss, logits), gradient = jax.value_and_grad(objective, has_aux=True)(params)
        return loss, (logits.argmax(-1) == batch["target"]).sum(), gradient

    params = run.start["params"]
    losses, correct = [], 0
    for batch in batches:
        loss, hits, gradient = reference(params, batch)
        losses.append(float(loss))
        correct += int(hits)
        step = {p: -0.1 * g if labels[p] != FROZEN else 0 * g for p, g in flatten(gradient).items()}
        params = map_with_path(lambda path, leaf, step=step: leaf + step[path], params)

    first = run.state
    run.train(*batches)
    for path, leaf in run.params().items():
        np.testing.assert_allclose(leaf, flatten(params)[path], rtol=1e-5, atol=1e-6)
    totals = run.state.totals
    assert [int(each) for each in totals.sums["accuracy"]] == [correct, 12]
    np.testing.assert_allclose(totals.sums["loss"], [4 * sum(losses), 12], rtol=1e-5)
    assert int(totals.bad_step) == NEVER
    assert int(run.state.step) == 3
    assert bits(jax.random.key_data(run.state.key)) == bits(jax.random.key_data(begin(case, ALL, PLAIN).state.key))

    assert TRACED == [(4, 10)]  # traced once, and so compiled once, for one shape of batch
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(first))  # donated
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(run.frozen))
    run.train(case.batch(size=2))  # the last batch of an epoch
    assert TRACED == [(4, 10), (2, 10)]
    assert int(run.state.totals.sums["loss"][1]) == 14


def test_training_reduces_the_loss():
    case = CASE["mlp"]
    run = begin(case, ALL, Group(Constant(0.01)), steps=40)
    batch = case.batch(size=8)

    def loss():
        variables = {"params": combine(run.state.params, run.frozen)}
        return float(loss_of(case.model.apply(variables, batch["input"]), batch["target"]))

    before = loss()
    run.train(*[batch] * 40)
    assert loss() < 0.5 * before


def test_the_first_bad_step_is_kept_and_dropout_differs_from_step_to_step():
    case = CASE["dropouts"]
    still = Group(Constant(1e-30), Sgd(0.0))
    run, other, again = (begin(case, ALL, still, seed=seed) for seed in (0, 1, 0))
    other.step = again.step = run.step
    good = case.batch()
    bad = {**good, "input": good["input"].at[0].set(jnp.nan)}

    def losses(run, *batches):
        sums = [0.0]
        for batch in batches:
            run.train(batch)
            sums.append(float(run.state.totals.sums["loss"][0]))
        return np.diff(sums)

    one = losses(run, good, good, good)
    assert len(set(one)) == 3  # a mask for each step
    assert not np.array_equal(one, losses(other, good, good, good))  # and for each key
    assert_same_bits({"loss": one}, {"loss": losses(again, good, good, good)})
    assert int(run.state.totals.bad_step) == NEVER
    run.train(bad)
    assert int(run.state.totals.bad_step) == 3
    run.train(good, bad)
    assert int(run.state.totals.bad_step) == 3


@pytest.mark.slow
def test_batch_statistics_move_by_their_momentum():
    case = CASE["bare"]
    run = begin(case, ALL, PLAIN)
    images = np.asarray(case.batch()["input"])
    run.train(case.batch())
    after = run.stats()
    np.testing.assert_allclose(after["base/standardise/norm/mean"], [0.5 * images.mean()], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(after["base/standardise/norm/var"], [0.5 + 0.5 * images.var()], rtol=1e-5)


@pytest.mark.parametrize(
    ("leaves", "finite"),
    [
        ({}, True),
        ({"a": [1.0, -1.0], "b": [0.0]}, True),
        ({"a": [1.0, 2.0], "b": [np.inf]}, False),
        ({"a": [1.0, np.nan], "b": [0.0]}, False),
        ({"a": [-np.inf], "b": [0.0]}, False),
    ],
)
def test_all_finite(leaves, finite):
    tree = unflatten({path: jnp.array(leaf) for path, leaf in leaves.items()})
    assert bool(all_finite(tree)) is finite


@pytest.mark.slow
def test_with_stored_norms_they_train_and_their_statistics_stay():
    case = CASE["bare"]
    run = begin(case, (("**", "all"),), PLAIN)
    step = step_of(run, case.model, stored_norms=True)
    variables, batch = run.start, case.batch()

    def objective(params):
        return loss_of(case.model.apply({**variables, "params": params}, batch["input"]), batch["target"])

    wanted = jax.tree.map(
        lambda leaf, slope: leaf - 0.1 * slope, variables["params"], jax.jit(jax.grad(objective))(variables["params"])
    )
    run.state = step(run.state, run.frozen, batch)
    for path, leaf in flatten(wanted).items():
        np.testing.assert_allclose(run.params()[path], leaf, rtol=1e-5, atol=1e-6)
    assert_same_bits(run.stats(), flatten(variables["batch_stats"]))
    assert any(
        path.endswith("scale") and (leaf != flatten(variables["params"])[path]).any()
        for path, leaf in run.params().items()
    )


# Padding and mixing

ALL = (("**", "all"),)


def padded(batch, size):
    """Fill a batch up with rows that would show wherever they counted."""
    real = len(batch["target"])
    image = np.concatenate([batch["input"], np.full((size - real, *batch["input"].shape[1:]), 50, np.float32)])
    label = np.concatenate([batch["target"], np.ones(size - real, np.int32)])
    return {"input": image, "target": label, "mask": np.arange(size) < real}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cnn", "norm", "bare", "nested"])
@pytest.mark.parametrize("loss", [Classification(), Classification(0.1, (1.0, 2.0, 0.5))], ids=["plain", "weighted"])
def test_padding_counts_nowhere(name, loss):
    case = CASE[name]
    classes = case.variables()["params"]["head"]["logits"]["bias"].size
    loss = Classification(loss.label_smoothing, (loss.class_weights * classes)[:classes] if loss.class_weights else ())
    batch = {key: np.asarray(value) for key, value in case.batch().items()}
    size = len(batch["target"])
    one, other = (begin(case, ALL, PLAIN, objective=loss) for _ in range(2))
    one.train(batch)
    other.train(padded(batch, size + 3))
    for part in ("params", "stats"):
        mine, theirs = getattr(one, part)(), getattr(other, part)()
        for path in mine:
            np.testing.assert_allclose(theirs[path], mine[path], rtol=2e-5, atol=1e-6, err_msg=path)
    one.train(batch)  # after a second step, what is about 0 may have taken another way through a relu
    other.train(padded(batch, size + 3))
    mine, theirs = one.state.totals.sums, other.state.totals.sums
    assert int(theirs["accuracy"][1]) == 2 * size
    assert int(theirs["accuracy"][0]) == int(mine["accuracy"][0])
    np.testing.assert_allclose(theirs["loss"], mine["loss"], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "mix", [Mixup(mixup=1.0), pytest.param(Mixup(cutmix=1.0), marks=pytest.mark.slow)], ids=["mixup", "cutmix"]
)
def test_a_mixed_batch_is_a_step_on_both_labels_by_their_shares(mix):
    case = CASE["mlp"]
    batch = padded({key: np.asarray(value) for key, value in case.batch().items()}, len(case.batch()["target"]) + 1)
    run = begin(case, ALL, PLAIN)
    step = step_of(run, case.model, mix=mix)
    mixed = mix(
        batch["input"],
        jax.random.split(jax.random.fold_in(run.state.key, 0))[1],
        len(batch["target"]) - 1,
    )

    def objective(params):
        logits = case.model.apply({"params": params}, mixed.inputs)
        own, other = (
            loss_of(logits, labels, batch["mask"]) for labels in (batch["target"], batch["target"][mixed.partner])
        )
        return mixed.share * own + (1 - mixed.share) * other

    wanted = jax.tree.map(
        lambda leaf, slope: leaf - 0.1 * slope, run.start["params"], jax.jit(jax.grad(objective))(run.start["params"])
    )
    assert 0.02 < float(mixed.share) < 0.98
    run.state = step(run.state, run.frozen, batch)
    for path, leaf in flatten(wanted).items():
        np.testing.assert_allclose(run.params()[path], leaf, rtol=1e-5, atol=1e-6)
