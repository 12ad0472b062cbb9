import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlx.errors import ConfigError
from tlx.models import Head
from tlx.models.head import pooled
from tlx.tree import flatten

FEATURES = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)


def identity(head, features):
    """Return a linear head's output with an identity for its kernel: what its pooling gives."""
    size = flatten(jax.eval_shape(head.init, jax.random.key(0), features))["params/logits/kernel"].shape[0]
    kernel = {"kernel": jnp.eye(size)[:, : head.classes], "bias": jnp.zeros(head.classes)}
    return np.asarray(head.apply({"params": {"logits": kernel}}, features))


@pytest.mark.parametrize(
    ("pool", "features", "pooled"),
    [
        ("flatten", FEATURES, [list(range(24))]),
        ("average", FEATURES, [[10, 11, 12, 13]]),
        ("max", FEATURES, [[20, 21, 22, 23]]),
        ("average", FEATURES[:, 0], [[4, 5, 6, 7]]),
        ("max", FEATURES[0, 0], [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]),
        ("average", FEATURES[0, 0], [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]),
    ],
)
def test_pooling_by_hand(pool, features, pooled):
    assert identity(Head(classes=len(pooled[0]), pool=pool), features).tolist() == pooled


@pytest.mark.parametrize(
    ("hidden", "shapes"),
    [
        ((), {"logits/kernel": (4, 3), "logits/bias": (3,)}),
        (
            (6, 5),
            {
                "hidden1/kernel": (4, 6),
                "hidden1/bias": (6,),
                "hidden2/kernel": (6, 5),
                "hidden2/bias": (5,),
                "logits/kernel": (5, 3),
                "logits/bias": (3,),
            },
        ),
    ],
)
def test_paths_and_shapes(hidden, shapes):
    variables = jax.eval_shape(Head(classes=3, hidden=hidden, dropout=0.5).init, jax.random.key(0), FEATURES)
    assert {path: leaf.shape for path, leaf in flatten(variables["params"]).items()} == shapes


def test_logits_may_be_negative_and_do_not_sum_to_one():
    head = Head(classes=3)
    params = {"logits": {"kernel": -jnp.ones((4, 3)), "bias": jnp.array([0.0, 1.0, 2.0])}}
    assert head.apply({"params": params}, jnp.ones((1, 4))).tolist() == [[-4, -3, -2]]


def test_dropout_drops_the_inputs_of_each_layer_in_training_only():
    head = Head(classes=200, dropout=0.5)
    params = {"logits": {"kernel": jnp.eye(200), "bias": jnp.zeros(200)}}
    ones = jnp.ones((1, 200))

    def run(train, seed=0):
        return np.asarray(head.apply({"params": params}, ones, train, rngs={"dropout": jax.random.key(seed)}))

    assert set(run(False).flat) == {1}
    assert set(run(True).flat) == {0, 2}
    assert 60 < (run(True) == 0).sum() < 140
    assert not np.array_equal(run(True), run(True, seed=1))


def test_without_dropout_training_needs_no_random_numbers():
    head = Head(classes=2, hidden=(3,))
    variables = head.init(jax.random.key(0), FEATURES)
    np.testing.assert_array_equal(head.apply(variables, FEATURES, True), head.apply(variables, FEATURES, False))


def test_features_without_a_value_are_refused():
    for pool in ("average", "flatten", "max"):
        with pytest.raises(ConfigError, match=r"features of shape \(0, 0, 4\): use larger images"):
            Head(classes=2, pool=pool).init(jax.random.key(0), jnp.zeros((1, 0, 0, 4)))


# What cannot be pooled, and what is no head


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"pool": "mean"}, "unknown pool 'mean'"),
        ({"pool": "avrage"}, "unknown pool 'avrage', did you mean 'average'"),
        ({"pool": None}, "unknown pool None"),
        ({"dropout": 1.0}, "dropout must be at least 0 and under 1, not 1.0"),
        ({"hidden": (0,)}, "sizes must be positive"),
        ({"classes": -1}, "sizes must be positive"),
    ],
)
def test_heads_that_make_no_sense_are_refused_when_built(options, fault):
    with pytest.raises(ConfigError, match=fault):
        Head(**{"classes": 3} | options)


@pytest.mark.parametrize(
    ("pool", "shape", "fault"),
    [
        ("average7x7", (2, 5, 4), r"'average7x7' takes features \(B, H, W, C\), not \(2, 5, 4\)"),
        ("average7x7", (2, 3, 3, 3, 4), "takes features"),
        ("average", (4,), r"features of shape \(4,\) cannot be pooled"),
        ("flatten", (), "cannot be pooled"),
        ("mean", (2, 5, 4), "unknown pool 'mean'"),
    ],
)
def test_features_that_cannot_be_pooled_are_refused(pool, shape, fault):
    with pytest.raises(ConfigError, match=fault):
        pooled(jnp.zeros(shape), pool)


def test_words_take_the_features_of_their_first_tokens_and_say_where_there_are_none():
    head = Head(classes=2, pool="words")
    features = {"hidden": jnp.arange(8.0).reshape(1, 4, 2), "mask": jnp.array([[True, True, True, False]])}
    params = {"params": {"logits": {"kernel": jnp.eye(2), "bias": jnp.zeros(2)}}}
    found = head.apply(params, {**features, "places": jnp.array([[1, 2, -1]])})
    assert found["logits"].tolist() == [[[2, 3], [4, 5], [0, 0]]]
    assert found["words"].tolist() == [[True, True, False]]
    every = head.apply(params, features)  # without places each token is a word
    assert every["logits"].tolist() == features["hidden"].tolist()
    assert every["words"].tolist() == features["mask"].tolist()
