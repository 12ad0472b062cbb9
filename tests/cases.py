"""The table of models that every property is checked over, the ways to freeze each, and a small training harness."""

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from hypothesis import strategies as st

from tlx.models import Base, BertConfig, Classifier, Head, Stage, lowerings
from tlx.models.bert import bert
from tlx.models.small import Dense, cnn, mlp
from tlx.objectives import Classification, Regression, mean_of, sums_of
from tlx.optim import Adam, AdamW, Constant, Cosine, Group, InverseTime, Sgd, optimizer
from tlx.training.method import StepOptions
from tlx.training.state import StepFunction, Totals, TrainState
from tlx.training.step import make_train_step
from tlx.tree import flatten, label_tree, map_with_path, partition, trainable_mask

# Toy stages


class ConvNorm(nn.Module):
    """A convolution, a BatchNorm and a ReLU."""

    features: int

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = nn.Conv(self.features, (3, 3), use_bias=False, name="conv")(x)
        return nn.relu(nn.BatchNorm(momentum=0.5, name="norm")(x, use_running_average=not train))


class Pool(nn.Module):
    """A stage without parameters."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        return nn.max_pool(x, (2, 2), (2, 2))


class Drop(nn.Module):
    """A stage without parameters that is random in training."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        return nn.Dropout(0.5, name="dropout")(x, deterministic=not train)


class Shortcut(nn.Module):
    """A block with a shortcut around a convolution, a BatchNorm and a dropout."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        y = nn.Conv(x.shape[-1], (3, 3), name="conv")(x)
        y = nn.BatchNorm(momentum=0.5, name="norm")(y, use_running_average=not train)
        return nn.relu(x + nn.Dropout(0.5, name="dropout")(y, deterministic=not train))


class BareNorm(nn.Module):
    """A BatchNorm without parameters: it has statistics only."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        norm = nn.BatchNorm(momentum=0.5, use_bias=False, use_scale=False, name="norm")
        return norm(x, use_running_average=not train)


class BareConvNorm(nn.Module):
    """A convolution, and a BatchNorm without parameters."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = nn.Conv(3, (3, 3), name="conv")(x)
        norm = nn.BatchNorm(momentum=0.5, use_bias=False, use_scale=False, name="norm")
        return norm(x, use_running_average=not train)


class Narrow(nn.Module):
    """A 1x1 convolution to one channel, then a 3x3 one."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.Conv(2, (3, 3), name="conv")(nn.Conv(1, (1, 1), name="reduce")(x))


class Wide(nn.Module):
    """A 1x1 convolution."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.Conv(2, (1, 1), name="conv")(x)


class Mixed(nn.Module):
    """Two branches, each a module of its own; then, by choice, a BatchNorm that is told `train` when it is built."""

    norm: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = nn.tanh(jnp.concatenate([Wide(name="branch_a")(x), Narrow(name="branch_b")(x)], axis=-1))
        return nn.BatchNorm(use_running_average=not train, momentum=0.5, name="norm")(x) if self.norm else x


class Spare(nn.Module):
    """A stage with a parameter that does not feed its output, so that a NaN in it does no harm."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        self.param("unused", nn.initializers.normal(1.0), (3,))
        return x


class Embed(nn.Module):
    """Token numbers and those of their segments to hidden states, with the mask that says which tokens count."""

    features: int

    @nn.compact
    def __call__(self, x: Any, train: bool = False) -> Any:
        hidden = nn.Embed(11, self.features, name="tokens")(x["ids"])
        return {"hidden": hidden + nn.Embed(2, self.features, name="segments")(x["segments"]), "mask": x["mask"]}


class Attend(nn.Module):
    """A block of self-attention over the tokens that count, with dropout and a layer norm."""

    heads: int = 2

    @nn.compact
    def __call__(self, x: Any, deterministic: bool = True) -> Any:
        hidden, mask = x["hidden"], x["mask"]
        attention = nn.MultiHeadDotProductAttention(self.heads, dropout_rate=0.2, name="attention")
        y = attention(hidden, hidden, mask=mask[:, None, None, :], deterministic=deterministic)
        y = nn.Dropout(0.3, name="dropout")(y, deterministic=deterministic)
        return {"hidden": nn.LayerNorm(name="norm")(hidden + y), "mask": mask}


def draw_tokens(draw: np.random.Generator, size: int) -> dict[str, np.ndarray]:
    """Draw sentences of 1 to 5 tokens."""
    lengths = draw.integers(1, 6, size)
    return {
        "ids": draw.integers(1, 11, (size, 5)).astype(np.int32),
        "segments": draw.integers(0, 2, (size, 5)).astype(np.int32),
        "mask": np.arange(5)[None] < lengths[:, None],
    }


# The table


PLAIN = Classification()


@dataclass(frozen=True, eq=False)
class Case:
    """A model, and what is known of it by hand."""

    name: str
    model: Classifier
    shape: tuple[int, ...]
    owners: tuple[str, ...]  # the stages that own parameters, in order
    leaf: str  # a leaf inside a stage
    counts: Mapping[str, int]  # parameters and statistics by stage
    classes: int = 3
    norms: tuple[str, ...] = ()  # the modules that own statistics, by path
    inputs: Callable[[np.random.Generator, int], Any] | None = None  # what draws inputs that are no images
    objective: Any = PLAIN

    def __str__(self) -> str:
        return self.name

    def variables(self) -> Any:
        """Return fresh variables; the same on each call, in arrays of their own."""
        return jax.tree.map(jnp.array, _variables(self))

    def batch(self, seed: int = 0, size: int = 4) -> dict[str, jax.Array]:
        draw = np.random.default_rng(seed)
        inputs = self.draw(draw, size)
        numbers = isinstance(self.objective, Regression)
        targets = draw.normal(size=(size, self.classes)) if numbers else draw.integers(0, self.classes, size)
        target = jnp.asarray(targets, jnp.float32 if numbers else jnp.int32)
        return {"input": jax.tree.map(jnp.asarray, inputs), "target": target}

    def draw(self, draw: np.random.Generator, size: int) -> Any:
        """Draw inputs: images, if nothing else is said."""
        if self.inputs is not None:
            return self.inputs(draw, size)
        return draw.normal(size=(size, *self.shape)).astype(np.float32)

    @property
    def example(self) -> Any:
        """A batch of one input, zeros."""
        return jax.tree.map(np.zeros_like, self.draw(np.random.default_rng(0), 1))

    def freezings(self) -> dict[str, tuple[tuple[str, str], ...]]:
        """Return ways to freeze parts of the model: name to rules."""
        first = self.owners[0]
        second = tuple((f"base/{s}", "base" if i % 2 else "frozen") for i, s in enumerate(self.owners))
        ways = {
            "head": (("base", "frozen"), ("head", "head")),
            "lowest": ((f"base/{first}", "low"), ("**", "frozen")),
            "second": (*second, ("head", "head")),
            "one leaf": ((self.leaf, "leaf"), ("**", "frozen")),
            "all but one leaf": ((self.leaf, "frozen"), ("base", "base"), ("head", "head")),
        }
        with lowerings("plain"):  # looks for no device: processes that import this have yet to join
            shapes = jax.eval_shape(lambda: self.model.init(jax.random.key(0), self.example))
        if any(path.endswith("norm/scale") for path in flatten(shapes["params"])):
            ways["norms"] = (("**/norm", "frozen"), ("base", "base"), ("head", "head"))
        return ways


@functools.cache
def _variables(case: Case) -> Any:
    return jax.jit(case.model.init)(jax.random.key(0, impl="unsafe_rbg"), case.example)


CASES = (
    Case(
        "mlp",
        Classifier(mlp(), Head(10, pool="flatten")),
        (28, 28, 1),
        ("dense1", "dense2"),
        "base/dense1/kernel",
        {"dense1": 6280, "dense2": 36, "head": 50},
        classes=10,
    ),
    Case(
        "cnn",
        Classifier(cnn(), Head(10, hidden=(64,), pool="flatten")),
        (28, 28, 1),
        ("conv1", "conv2", "conv3"),
        "base/conv2/kernel",
        {"conv1": 320, "conv2": 18_496, "conv3": 36_928, "head": 36_928 + 650},
        classes=10,
    ),
    Case(
        "norm",
        Classifier(
            Base((Stage("stem", ConvNorm(4)), Stage("pool", Pool()), Stage("block", Shortcut()))),
            Head(3, hidden=(4,), dropout=0.5),
        ),
        (6, 6, 1),
        ("stem", "block"),
        "base/block/conv/kernel",
        {"stem": 36 + 8 + 8, "block": 148 + 8 + 8, "head": 20 + 15},
        norms=("base/stem/norm", "base/block/norm"),
    ),
    Case(
        "dropouts",
        Classifier(
            Base(
                (
                    Stage("drop0", Drop()),
                    Stage("dense1", Dense(5)),
                    Stage("drop1", Drop()),
                    Stage("dense2", Dense(4)),
                    Stage("drop2", Drop()),
                )
            ),
            Head(3),
        ),
        (2, 3, 1),
        ("dense1", "dense2"),
        "base/dense2/kernel",
        {"dense1": 35, "dense2": 24, "head": 15},
    ),
    Case(
        "bare",
        Classifier(
            Base(
                (
                    Stage("standardise", BareNorm()),
                    Stage("conv1", BareConvNorm()),
                    Stage("pool", Pool()),
                    Stage("conv2", ConvNorm(2)),
                )
            ),
            Head(3, pool="max"),
        ),
        (6, 6, 1),
        ("conv1", "conv2"),
        "base/conv1/conv/kernel",
        {"standardise": 2, "conv1": 30 + 6, "conv2": 54 + 4 + 4, "head": 9},
        norms=("base/standardise/norm", "base/conv1/norm", "base/conv2/norm"),
    ),
    Case(
        "nested",
        Classifier(
            Base((Stage("mixed1", Mixed()), Stage("spare", Spare()), Stage("mixed2", Mixed(norm=True)))),
            Head(3),
        ),
        (5, 5, 2),
        ("mixed1", "spare", "mixed2"),
        "base/mixed2/branch_b/conv/kernel",
        {"mixed1": 6 + 3 + 20, "spare": 3, "mixed2": 10 + 5 + 20 + 8 + 8, "head": 15},
        norms=("base/mixed2/norm",),
    ),
    Case(
        "tokens",
        Classifier(
            Base((Stage("embed", Embed(4)), Stage("layer1", Attend()), Stage("layer2", Attend()))),
            Head(3, dropout=0.2),
        ),
        (5,),
        ("embed", "layer1", "layer2"),
        "base/layer1/attention/query/kernel",
        {"embed": 13 * 4, "layer1": 4 * 20 + 8, "layer2": 4 * 20 + 8, "head": 15},
        inputs=draw_tokens,
    ),
    Case(
        "bert",
        Classifier(
            bert(
                BertConfig(
                    vocab_size=11,
                    hidden_size=8,
                    num_hidden_layers=2,
                    num_attention_heads=2,
                    intermediate_size=6,
                    max_position_embeddings=5,
                )
            ),
            Head(3, dropout=0.2),
        ),
        (5,),
        ("embeddings", "layer0", "layer1"),
        "base/layer0/attention/query/kernel",
        {"embeddings": (11 + 5 + 2 + 2) * 8, "layer0": 4 * 72 + 54 + 56 + 32, "layer1": 430, "head": 27},
        inputs=draw_tokens,
    ),
    Case(
        "numbers",
        Classifier(Base((Stage("dense1", Dense(6)), Stage("drop", Drop()), Stage("dense2", Dense(4)))), Head(2)),
        (7,),
        ("dense1", "dense2"),
        "base/dense2/kernel",
        {"dense1": 48, "dense2": 28, "head": 10},
        classes=2,
        objective=Regression(mean=(1.0, -2.0), std=(0.5, 3.0)),
    ),
)

OF_IMAGES = tuple(case for case in CASES if len(case.shape) == 3)

CASE = {case.name: case for case in CASES}

OPTIMIZERS = {
    "momentum": Group(InverseTime(0.05, 0.1), Sgd(0.9), weight_decay=0.01, clip_norm=1.0),
    "nesterov": Group(Constant(0.05), Sgd(0.9, nesterov=True), weight_decay=0.01, clip_norm=1.0),
    "adam": Group(Cosine(0.01, warmup=1), Adam(), weight_decay=0.01, clip_norm=1.0),
    "adamw": Group(Constant(0.01), AdamW(), weight_decay=0.01, clip_norm=1.0),
}


def scaled_sign(decay: float) -> optax.GradientTransformation:
    """A user's own transformation: a leaf's state is a pair, an average and one number, beside a count of steps."""

    def init(params: Any) -> Any:
        return {
            "leaves": jax.tree.map(lambda leaf: (jnp.zeros_like(leaf), jnp.zeros(())), params),
            "seen": jnp.int32(0),
        }

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        def of_leaf(gradient: Any, pair: Any) -> Any:
            return decay * pair[0] + gradient, jnp.maximum(decay * pair[1], jnp.abs(gradient).max())

        leaves = jax.tree.map(of_leaf, updates, state["leaves"])
        seen = state["seen"] + 1
        made = jax.tree.map(lambda _, pair: jnp.sign(pair[0]) * pair[1] / seen, updates, leaves)
        return made, {"leaves": leaves, "seen": seen}

    return optax.GradientTransformation(init, update)


# Any optimizer that optax can express: with state of its leaves' shapes, of others, of none, of a part of the leaves
ANY_OPTIMIZER = {
    "momentum": OPTIMIZERS["momentum"],
    "adam": OPTIMIZERS["adam"],
    "adamw": Group(optax.adamw(0.01)),
    "lion": Group(Constant(0.01), optax.scale_by_lion(), weight_decay=0.01, clip_norm=1.0),
    "adafactor": Group(optax.adafactor(0.01, min_dim_size_to_factor=2)),
    "lars": Group(optax.lars(0.1, weight_decay=0.01)),
    "muon": Group(optax.contrib.muon(0.01)),
    "own": Group(optax.linear_schedule(0.02, 0.01, 5), optax.chain(optax.clip(1.0), scaled_sign(0.5))),
}

FREEZINGS = [(case, way) for case in CASES for way in case.freezings()]  # every model frozen in every way


# The harness

NO_OPTIONS = StepOptions()
FLOAT = jax.ShapeDtypeStruct((), jnp.float32)
OF_NUMBERS = {"loss": (FLOAT, FLOAT), "mae": (FLOAT, jax.ShapeDtypeStruct((), jnp.int32))}


def loss_of(
    logits: jax.Array, targets: jax.Array, mask: jax.Array | None = None, objective: Classification = PLAIN
) -> jax.Array:
    """Return the mean loss that an objective trains by, of outputs and targets."""
    return mean_of(sums_of(objective(logits, {"target": targets}, jax.random.key(0)), mask))


@dataclass
class Run:
    """A model in training: steps taken change `state`."""

    step: StepFunction
    state: TrainState
    frozen: Any
    labels: Any
    tx: optax.GradientTransformation
    start: Any = field(repr=False)  # the variables before the first step, as NumPy arrays

    def train(self, *batches: Any) -> "Run":
        for batch in batches:
            self.state = self.step(self.state, self.frozen, batch)
        return self

    def params(self) -> dict[str, np.ndarray]:
        """Return all parameters by path."""
        whole = {**flatten(self.frozen), **{p: x for p, x in flatten(self.state.params).items() if x is not None}}
        return {path: np.asarray(leaf) for path, leaf in whole.items()}

    def stats(self) -> dict[str, np.ndarray]:
        return {path: np.asarray(leaf) for path, leaf in flatten(self.state.batch_stats).items()}


def step_of(run: "Run", model: Any, objective: Any = PLAIN, **options: Any) -> StepFunction:
    """Build the step of a model that trains as a run does, by other options."""
    return make_train_step(model, run.labels, run.tx, objective, StepOptions(**options))


def begin(
    case: Case,
    rules: Any,
    groups: Any,
    *,
    steps: int = 10,
    objective: Any = None,
    options: StepOptions = NO_OPTIONS,
    variables: Any = None,
    ranks: Any = None,
    seed: int = 0,
) -> Run:
    """Start a phase. `groups` is one Group for every label, or a dict."""
    variables = case.variables() if variables is None else jax.tree.map(jnp.array, variables)
    start = jax.tree.map(np.array, variables)
    labels = label_tree(variables["params"], rules)
    if isinstance(groups, Group):
        groups = dict.fromkeys(set(flatten(labels).values()) - {"frozen"}, groups)
    mask = trainable_mask(labels)
    trainable, frozen = partition(variables["params"], mask)
    tx = optimizer(partition(labels, mask)[0], groups, steps, ranks)
    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        params=trainable,
        batch_stats=variables.get("batch_stats", {}),
        opt_state=tx.init(trainable),
        key=jax.random.key(seed, impl="unsafe_rbg"),
        totals=Totals.zero(OF_NUMBERS if isinstance(case.objective, Regression) else None),
    )
    objective = case.objective if objective is None else objective
    return Run(make_train_step(case.model, labels, tx, objective, options), state, frozen, labels, tx, start)


def bits(leaf: Any) -> tuple[str, tuple[int, ...], bytes]:
    """Return what two leaves share exactly when they are equal bit for bit."""
    array = np.asarray(leaf)
    return array.dtype.str, array.shape, array.tobytes()


def assert_same_bits(one: Any, other: Any) -> None:
    """Compare two trees, or two dicts by path, leaf by leaf: NaN payloads and the sign of zero included."""
    one, other = (tree if any("/" in key for key in tree) else flatten(tree) for tree in map(_as_tree, (one, other)))
    assert one.keys() == other.keys()
    differing = [path for path in one if bits(one[path]) != bits(other[path])]
    assert not differing, differing


def assert_same_memory(one: Any, other: Any) -> None:
    """Compare what two memories of optimizers hold, bit for bit, and of which leaves and cohorts."""
    assert (one.cohorts, one.sizes, one.shapes) == (other.cohorts, other.sizes, other.shapes)
    for kept, again in ((one.leaves, other.leaves), (one.shared, other.shared)):
        assert kept.keys() == again.keys()
        for name in kept:
            assert kept[name].keys() == again[name].keys()
            for slot in kept[name]:
                assert bits(kept[name][slot]) == bits(again[name][slot]), (name, slot)


def _as_tree(tree: Any) -> Any:
    return tree if isinstance(tree, dict) else {"leaf": tree}


def plant(leaf: Any, value: float | np.floating) -> jax.Array:
    """Return a leaf with another first number."""
    planted = np.array(leaf)
    planted.flat[0] = value
    return jnp.asarray(planted)


# A quiet NaN with a payload of its own, and the plain one
ODD_NAN = np.array(0x7FC0BEEF, np.uint32).view(np.float32)[()]


def plain(value: Any) -> str:
    """Write a parameter for a test's name: without addresses, which differ in each process."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))


# Trees drawn at random, for laws

names = st.text(st.characters(exclude_characters="/", exclude_categories=["Cs"]), min_size=1, max_size=4)


def trees(leaves: Any = None) -> Any:
    """Draw nested dicts of one to a few leaves (integers, if not told), without empty dicts."""
    leaves = st.integers() if leaves is None else leaves
    return st.dictionaries(names, st.recursive(leaves, lambda deeper: _dicts(deeper), max_leaves=8), max_size=4)


def _dicts(deeper: Any) -> Any:
    return st.dictionaries(names, deeper, min_size=1, max_size=3)


@st.composite
def masked_trees(draw: Any) -> tuple[Any, Any]:
    """Draw a tree, and a mask over it."""
    tree = draw(trees())
    return tree, map_with_path(lambda *_: draw(st.booleans()), tree)
