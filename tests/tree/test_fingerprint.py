import hashlib

import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, ODD_NAN, trees
from hypothesis import given
from hypothesis import strategies as st

from tlx.tree import fingerprint, flatten, label_tree, partition, trainable_mask, unflatten

numbers = st.floats(width=32).map(np.float32)


@given(trees(numbers), st.randoms())
def test_the_order_of_the_dict_does_not_count(tree, random):
    def shuffled(node):
        if not isinstance(node, dict):
            return node
        keys = list(node)
        random.shuffle(keys)
        return {key: shuffled(node[key]) for key in keys}

    assert fingerprint(shuffled(tree)) == fingerprint(tree)


@given(trees(numbers), st.data())
def test_one_bit_counts(tree, data):
    leaves = flatten(tree)
    if leaves:
        path, bit = data.draw(st.sampled_from(sorted(leaves))), data.draw(st.integers(0, 31))
        flipped = np.array(leaves[path]).view(np.uint32) ^ np.uint32(1 << bit)
        assert fingerprint(unflatten({**leaves, path: flipped.view(np.float32)})) != fingerprint(tree)


ONE = {"a": {"b": np.zeros((2, 3), np.float32)}}


@pytest.mark.parametrize(
    "other",
    [
        {"a": {"c": np.zeros((2, 3), np.float32)}},
        {"ab": np.zeros((2, 3), np.float32)},
        {"a": {"b": np.zeros((3, 2), np.float32)}},
        {"a": {"b": np.zeros(6, np.float32)}},
        {"a": {"b": np.zeros((2, 3), np.int32)}},
        {"a": {"b": np.zeros((2, 3), ">f4")}},
        {"a": {"b": np.zeros((2, 3), np.float32), "c": np.zeros((0,), np.float32)}},
        {"a": {"b": np.array([[0, 0, 0], [0, 0, -0.0]], np.float32)}},
        {},
    ],
    ids=["path", "depth", "shape", "axes", "dtype", "byte order", "empty leaf", "sign of zero", "nothing"],
)
def test_what_counts(other):
    assert fingerprint(other) != fingerprint(ONE)


def test_nan_payloads_count():
    plain, odd = np.array([np.nan], np.float32), np.array([ODD_NAN])
    assert plain.tobytes() != odd.tobytes()
    assert fingerprint({"a": plain}) != fingerprint({"a": odd})
    assert fingerprint({"a": odd}) == fingerprint({"a": odd.copy()})


def test_types_of_one_width_and_code_differ():
    half = {"a": jnp.zeros(2, jnp.bfloat16)}
    assert fingerprint(half) != fingerprint({"a": jnp.zeros(2, jnp.float16)})
    assert fingerprint(half) == fingerprint({"a": np.zeros(2, jnp.bfloat16)})


def test_layout_in_memory_does_not_count():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    same = [np.asfortranarray(array), np.arange(12, dtype=np.float32).reshape(2, 6)[:, ::2] / 2, jnp.asarray(array)]
    same[1] = np.repeat(array, 2, axis=1)[:, ::2]
    assert not same[1].flags.c_contiguous
    assert {fingerprint({"a": leaf}) for leaf in same} == {fingerprint({"a": array})}


def test_the_digest_by_hand():
    wanted = hashlib.sha256(
        b"a/b\0<f4:float32\0(1,)\0" + b"\x00\x00\x80\x3f" + b"a/c\0<i4:int32\0()\0" + b"\x02\x00\x00\x00"
    )
    tree = {"a": {"c": np.int32(2), "b": np.ones(1, np.float32)}}
    assert fingerprint(tree) == wanted.hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_part_has_the_fingerprint_of_its_own_leaves(case):
    params = case.variables()["params"]
    for rules in case.freezings().values():
        labels = label_tree(params, rules)
        _, frozen = partition(params, trainable_mask(labels))
        own = unflatten({path: leaf for path, leaf in flatten(params).items() if flatten(labels)[path] == "frozen"})
        assert fingerprint(frozen) == fingerprint(own) != fingerprint(params)
