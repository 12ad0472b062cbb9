from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASE, CASES, FREEZINGS, assert_same_bits, bits
from marks import slow_but

from tlx.errors import ConfigError
from tlx.models import Base, Classifier, Head, Stage, frozen_modules, frozen_stages, run_frozen
from tlx.tree import flatten, label_tree

F, T = "frozen", "trains"


@pytest.mark.parametrize(
    ("labels", "names", "frozen"),
    [
        # The stages a and c own a parameter each; s, t and u own none. H is the head.
        ((F, F, F), "a t c", "a t c head"),
        ((F, F, T), "a t c", "a t c"),
        ((F, T, T), "a t c", "a t"),
        ((T, F, T), "a t c", "c"),
        ((T, T, T), "a t c", ""),
        ((T, T, F), "a t c", "head"),
        ((F, F, T), "s a c t", "s a c t"),
        ((F, T, T), "s a c t", "s a"),
        ((T, F, T), "s a c t", "c"),
        ((T, T, T), "s t a u c", ""),
        ((F, T, T), "s t a u c", "s t a u"),
    ],
)
def test_frozen_stages_by_hand(labels, names, frozen):
    a, c, head = labels
    tree = {"base": {"a": {"w": a}, "c": {"w": c}}, "head": {"w": head}}
    assert frozen_stages(tree, tuple(names.split())) == set(frozen.split())


def test_a_stage_of_which_a_part_trains_is_not_frozen():
    tree = {"base": {"a": {"conv": {"w": F}, "norm": {"scale": F, "bias": T}}}, "head": {"w": T}}
    assert frozen_stages(tree, ("a",)) == set()
    assert frozen_modules(tree) == {"base/a/conv"}


# The modules whose statistics a training step renews, for each model and each way to freeze it
RUNNING = {
    ("norm", "head"): "",
    ("norm", "lowest"): "stem",
    ("norm", "second"): "block",
    ("norm", "one leaf"): "",
    ("norm", "all but one leaf"): "stem block",
    ("norm", "norms"): "",
    ("bare", "head"): "",
    ("bare", "lowest"): "standardise conv1",
    ("bare", "second"): "conv2",
    ("bare", "one leaf"): "standardise conv1",
    ("bare", "all but one leaf"): "standardise conv1 conv2",
    ("bare", "norms"): "standardise conv1",
    ("nested", "head"): "",
    ("nested", "lowest"): "",
    ("nested", "second"): "",
    ("nested", "one leaf"): "",
    ("nested", "all but one leaf"): "mixed2",
    ("nested", "norms"): "",
}


@pytest.mark.parametrize(("case", "way"), slow_but("norm", of=[pair for pair in FREEZINGS if pair[0].norms]), ids=str)
def test_a_frozen_batch_norm_leaves_its_statistics_alone(case, way):
    variables = case.variables()
    labels = label_tree(variables["params"], case.freezings()[way])
    with run_frozen(labels, case.model.base.stage_names):
        _, changed = case.model.apply(
            variables,
            case.batch()["input"],
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(0)},
        )
    before, after = flatten(variables["batch_stats"]), flatten(changed["batch_stats"])
    assert before.keys() == after.keys()
    renewed = {path.rpartition("/")[0] for path in before if bits(before[path]) != bits(after[path])}
    assert renewed == {f"base/{stage}/norm" for stage in RUNNING[case.name, way].split()}


def test_the_table_of_statistics_is_complete():
    assert RUNNING.keys() == {(case.name, way) for case, way in FREEZINGS if case.norms}


def test_a_frozen_batch_norm_computes_with_its_stored_statistics():
    case = CASE["norm"]
    variables, images = case.variables(), 5 + 3 * case.batch()["input"]
    labels = label_tree(variables["params"], [("**/norm", F), ("**", T)])
    with run_frozen(labels, case.model.base.stage_names):
        frozen, _ = case.model.apply(variables, images, True, until="stem", method="features", mutable=["batch_stats"])
    stored = case.model.apply(variables, images, False, until="stem", method="features")
    batch, _ = case.model.apply(variables, images, True, until="stem", method="features", mutable=["batch_stats"])
    assert_same_bits(frozen, stored)
    assert not np.allclose(frozen, batch)


def active(case, labels, stage):
    """Tell whether a stage (or the head) drops in training under `labels`."""
    variables, names = case.variables(), case.model.base.stage_names
    if stage == "head":
        x = case.model.apply(variables, case.batch()["input"], method="features")

        def run(train):
            return case.model.apply(variables, x, train, method="logits", rngs={"dropout": jax.random.key(0)})
    else:
        after = names[names.index(stage) - 1] if names.index(stage) else None
        x = case.batch()["input"]
        x = x if after is None else 1 + case.model.apply(variables, x, until=after, method="features")

        def run(train):
            return case.model.apply(
                variables,
                x,
                train,
                after=after,
                until=stage,
                method="features",
                rngs={"dropout": jax.random.key(0)},
                mutable=["batch_stats"],
            )[0]

    with run_frozen(labels, names):
        return bits(run(True)) != bits(run(False))


@pytest.mark.parametrize(
    ("dense1", "dense2", "head", "dropping"),
    [
        (F, F, T, ""),
        (F, T, T, "drop2"),
        (F, T, F, "drop2"),
        (T, F, T, "drop0 drop1 drop2"),
        (T, T, T, "drop0 drop1 drop2"),
    ],
)
def test_dropout_between_stages_goes_with_what_is_below(dense1, dense2, head, dropping):
    case = CASE["dropouts"]
    rules = [("base/dense1", dense1), ("base/dense2", dense2), ("head", head)]
    labels = label_tree(case.variables()["params"], rules)
    stages = [stage for stage in case.model.base.stage_names if stage.startswith("drop")]
    assert [stage for stage in stages if active(case, labels, stage)] == dropping.split()


@pytest.mark.parametrize(
    ("block", "head", "dropping"), [(F, T, ["head"]), (T, F, ["block"]), (F, F, []), (T, T, ["block", "head"])]
)
def test_dropout_inside_a_stage_goes_with_the_stage(block, head, dropping):
    case = CASE["norm"]
    # The BatchNorm is frozen either way: only dropout tells training from inference.
    rules = [("base/stem", F), ("base/block/norm", F), ("base/block", block), ("head", head)]
    labels = label_tree(case.variables()["params"], rules)
    assert [stage for stage in ("block", "head") if active(case, labels, stage)] == dropping


def test_one_frozen_leaf_does_not_stop_the_dropout_of_a_stage():
    case = CASE["norm"]
    labels = label_tree(case.variables()["params"], [("base/block/conv/kernel", F), ("**", T)])
    assert active(case, labels, "block")


class Random(nn.Module):
    """A stage that is random in training by other means than `nn.Dropout`."""

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Dense(3, name="dense")(x.reshape(x.shape[0], -1))
        return x + jax.random.normal(self.make_rng("dropout"), x.shape) if train else x


@pytest.mark.parametrize(("label", "same"), [(F, True), (T, False)])
def test_a_frozen_stage_runs_as_in_inference_whatever_it_is_made_of(label, same):
    model = Classifier(Base((Stage("random", Random()),)), Head(2))
    images = jnp.ones((2, 2, 2, 1))
    variables = model.init(jax.random.key(0), images)
    labels = label_tree(variables["params"], [("base", label), ("head", T)])
    with run_frozen(labels, model.base.stage_names):
        logits = model.apply(variables, images, True, rngs={"dropout": jax.random.key(0)})
    assert (bits(logits) == bits(model.apply(variables, images))) is same


# Stages of any signature


class Noisy(nn.Module):
    """A dense layer, a batch norm and a dropout that are told apart from inference by what `tell` makes of `train`."""

    deterministic: bool | None = None

    def layers(self, x, train):
        x = nn.Dense(3, name="dense")(x)
        x = nn.BatchNorm(momentum=0.5, name="norm")(x, use_running_average=not train)
        return nn.Dropout(0.5, name="dropout")(x, deterministic=not train)


class Masked(Noisy):
    @nn.compact
    def __call__(self, x, mask, train):
        return self.layers(x * mask, train)


class ByKeyword(Noisy):
    @nn.compact
    def __call__(self, x, *, train=True):
        return self.layers(x, train)


class Training(Noisy):
    @nn.compact
    def __call__(self, x, training: bool = True):
        return self.layers(x, training)


class Deterministic(Noisy):
    @nn.compact
    def __call__(self, x, deterministic=False):
        return self.layers(x, not nn.merge_param("deterministic", self.deterministic, deterministic))


class RunningAverage(Noisy):
    @nn.compact
    def __call__(self, x, use_running_average):
        return self.layers(x, not use_running_average)


class Options(Noisy):
    @nn.compact
    def __call__(self, x, **options):
        return self.layers(x, options["train"])


class ByField(Noisy):
    def setup(self):
        self.inner = Masked()

    def __call__(self, x):
        return self.inner(x, 1.0, not self.deterministic)


class Deaf(Noisy):
    """Nothing tells it."""

    @nn.compact
    def __call__(self, x):
        return self.layers(x, True)


class DeafStatistics(nn.Module):
    @nn.compact
    def __call__(self, x):
        count = self.variable("batch_stats", "count", jnp.zeros, ())
        if not self.is_initializing():
            count.value += 1
        return nn.Dense(3, name="dense")(x)


class DeafNoise(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Dense(3, name="dense")(x)
        return x if self.is_initializing() else x + jax.random.normal(self.make_rng("dropout"), x.shape)


class Chain(nn.Module):
    """A base of one stage, called as `call` says."""

    stage: nn.Module
    call: Any
    remat: bool = False

    def setup(self):
        self.a = self.stage.copy()

    def __call__(self, x):
        call = nn.remat(lambda layer, x: self.call(layer, x)) if self.remat else self.call
        return call(self.a, x)


class Net(nn.Module):
    base: nn.Module

    def __call__(self, x):
        return self.base(x)


ANY = {
    "mask, train": (Masked(), lambda layer, x: layer(x, 1.0, True)),
    "mask by keyword": (Masked(), lambda layer, x: layer(x, mask=1.0, train=True)),
    "train by keyword": (ByKeyword(), lambda layer, x: layer(x, train=True)),
    "train by default": (ByKeyword(), lambda layer, x: layer(x)),
    "training": (Training(), lambda layer, x: layer(x, True)),
    "deterministic": (Deterministic(), lambda layer, x: layer(x, deterministic=False)),
    "deterministic as field": (Deterministic(deterministic=False), lambda layer, x: layer(x, None)),
    "use_running_average": (RunningAverage(), lambda layer, x: layer(x, False)),
    "options": (Options(), lambda layer, x: layer(x, train=True)),
    "field of a stage with setup": (ByField(deterministic=False), lambda layer, x: layer(x)),
    "dropout and norm inside": (Deaf(), lambda layer, x: layer(x)),
    "a batch norm itself": (nn.BatchNorm(use_running_average=False), lambda layer, x: layer(x)),
}


def run_stage(layer, call, label, remat=False):
    """Run a stage in training; return its outputs with two keys, and its batch statistics before and after."""
    model, x = Net(Chain(layer, call, remat)), jnp.arange(12.0).reshape(4, 3)
    variables = model.init({"params": jax.random.key(0), "dropout": jax.random.key(1)}, x)
    labels, outputs = label_tree(variables["params"], [("**", label)]), []
    for seed in (2, 3):
        with run_frozen(labels, ("a",)):
            y, changed = model.apply(variables, x, mutable=["batch_stats"], rngs={"dropout": jax.random.key(seed)})
        outputs.append(bits(y))
    return outputs, variables["batch_stats"], changed["batch_stats"]


@pytest.mark.parametrize(("layer", "call"), ANY.values(), ids=ANY)
def test_a_frozen_stage_of_any_signature_runs_as_in_inference(layer, call):
    (one, other), before, after = run_stage(layer, call, F)
    assert one == other
    assert_same_bits(before, after)
    if not isinstance(layer, nn.BatchNorm):
        (one, other), before, after = run_stage(layer, call, T)
        assert one != other
        assert all(bits(leaf) != bits(flatten(after)[path]) for path, leaf in flatten(before).items())


def test_a_frozen_stage_that_is_computed_again_for_the_gradient_runs_as_in_inference():
    (one, other), before, after = run_stage(*ANY["mask, train"], F, remat=True)
    assert one == other
    assert_same_bits(before, after)


@pytest.mark.parametrize("layer", [DeafNoise(), DeafStatistics()], ids=["random numbers", "statistics"])
def test_a_frozen_stage_that_nothing_tells_is_refused(layer):
    with pytest.raises(ConfigError, match="stage 'base/a' is frozen, and does not run as in inference"):
        run_stage(layer, lambda layer, x: layer(x), F)


@pytest.mark.parametrize("case", slow_but("norm", "dropouts", "tokens", of=CASES), ids=str)
def test_a_model_frozen_from_end_to_end_runs_as_in_inference(case):
    variables, images = case.variables(), case.batch()["input"]
    labels = label_tree(variables["params"], [("**", F)])
    with run_frozen(labels, case.model.base.stage_names):
        logits, changed = case.model.apply(variables, images, True, mutable=["batch_stats"])
    assert_same_bits(logits, case.model.apply(variables, images))
    assert_same_bits(changed.get("batch_stats", {}), variables.get("batch_stats", {}))


def test_outside_the_context_nothing_is_changed():
    case = CASE["norm"]
    variables, images = case.variables(), case.batch()["input"]
    arguments = {"mutable": ["batch_stats"], "rngs": {"dropout": jax.random.key(0)}}
    before = case.model.apply(variables, images, True, **arguments)[0]
    with run_frozen(label_tree(variables["params"], [("**", F)]), case.model.base.stage_names):
        pass
    assert_same_bits(case.model.apply(variables, images, True, **arguments)[0], before)


def test_flax_s_norms_know_no_groups():
    case = CASE["cnn"]
    labels = label_tree(case.variables()["params"], (("**", "all"),))
    norm = nn.BatchNorm(use_running_average=False)
    with (
        run_frozen(labels, (), groups=2),
        pytest.raises(ConfigError, match="Flax's own BatchNorm takes its statistics"),
    ):
        norm.init(jax.random.key(0), jnp.zeros((4, 3)))
