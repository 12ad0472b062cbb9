import jax
import pytest
from cases import CASES, masked_trees
from hypothesis import given

from tlx.errors import ConfigError
from tlx.tree import combine, flatten, label_tree, partition, trainable_mask, unflatten

TREE = {"base": {"conv": {"kernel": 1, "bias": 2}}, "head": {"bias": 3}}


@pytest.mark.parametrize(
    ("mask", "chosen", "others"),
    [
        ((True, True, True), (1, 2, 3), (None, None, None)),
        ((False, False, False), (None, None, None), (1, 2, 3)),
        ((True, False, False), (1, None, None), (None, 2, 3)),
        ((False, True, True), (None, 2, 3), (1, None, None)),
    ],
)
def test_partition_by_hand(mask, chosen, others):
    def tree(leaves):
        kernel, bias, head = leaves
        return {"base": {"conv": {"kernel": kernel, "bias": bias}}, "head": {"bias": head}}

    assert partition(TREE, tree(mask)) == (tree(chosen), tree(others))


@given(masked_trees())
def test_combine_undoes_partition(drawn):
    tree, mask = drawn
    chosen, others = partition(tree, mask)
    assert combine(chosen, others) == tree == combine(others, chosen)


def test_empty_subtrees_are_dropped_from_all_trees_alike():
    tree, mask = {"a": {"w": 1, "none": {}}, "b": {"c": {}}}, {"a": {"w": True}}
    parts = partition(tree, mask)
    assert parts == ({"a": {"w": 1}}, {"a": {"w": None}})
    assert combine(*parts) == combine(tree, {"a": {"w": None}}) == unflatten(flatten(tree)) == {"a": {"w": 1}}


@given(masked_trees())
def test_every_leaf_is_in_one_part(drawn):
    tree, mask = drawn
    chosen, others = (flatten(part) for part in partition(tree, mask))
    for path, wanted in flatten(mask).items():
        assert (chosen[path] is None) is not wanted
        assert (others[path] is None) is wanted


@pytest.mark.parametrize("case", CASES, ids=str)
def test_jax_sees_the_leaves_of_a_part_only(case):
    params = case.variables()["params"]
    for rules in case.freezings().values():
        mask = trainable_mask(label_tree(params, rules))
        trainable, frozen = partition(params, mask)
        assert len(jax.tree.leaves(trainable)) == sum(flatten(mask).values())
        assert len(jax.tree.leaves(frozen)) == len(flatten(mask)) - sum(flatten(mask).values())
        whole = combine(trainable, frozen)
        assert jax.tree.structure(whole) == jax.tree.structure(params)
        assert all(flatten(whole)[path] is leaf for path, leaf in flatten(params).items())


def test_partition_names_the_paths_where_the_mask_differs():
    with pytest.raises(ConfigError, match="trees differ at 'head/bias', 'head/kernel'"):
        partition({"head": {"bias": 1}}, {"head": {"kernel": True}})


def test_partition_refuses_labels_for_a_mask():
    with pytest.raises(ConfigError, match="not boolean at 'base', 'head'"):
        partition({"base": 1, "head": 2}, {"base": "frozen", "head": "head"})


@pytest.mark.parametrize(
    ("parts", "fault"),
    [
        (({"a": 1, "b": 2}, {"a": None, "b": 3}), "two parts have a leaf at 'b'"),
        (({"a": 1, "b": None}, {"a": None, "b": None}), "no part has a leaf at 'b'"),
        (({"a": 1, "b": None}, {"a": None, "c": 2}), "different leaves: 'b', 'c'"),
        (({"a": 1, "b": None}, {"a": None}), "different leaves: 'b'"),
    ],
)
def test_combine_names_the_paths_that_do_not_fit(parts, fault):
    with pytest.raises(ConfigError, match=fault):
        combine(*parts)


def test_combine_takes_any_number_of_parts():
    assert combine({"a": 1}) == {"a": 1}
    assert combine({"a": 1, "b": None, "c": None}, {"a": None, "b": 0, "c": None}, {"a": None, "b": None, "c": 3}) == {
        "a": 1,
        "b": 0,
        "c": 3,
    }
