import pytest
from cases import CASES, trees
from hypothesis import assume, given
from hypothesis import strategies as st

from tlx.errors import ConfigError
from tlx.tree import FROZEN, flatten, label_tree, mask_of, matches, trainable_mask

TREE = {"base": {"conv1": {"kernel": 0, "bias": 0}, "conv2": {"kernel": 0, "bias": 0}}, "head": {"bias": 0}}


@pytest.mark.parametrize(
    ("rules", "labels"),
    [
        ([("**", "all")], ["all", "all", "all", "all", "all"]),
        ([("base", "frozen"), ("head", "head")], ["frozen", "frozen", "frozen", "frozen", "head"]),
        ([("**/bias", "b"), ("**", "k")], ["k", "b", "k", "b", "b"]),
        ([("base/conv2", "x"), ("**/bias", "b"), ("**", "k")], ["k", "b", "x", "x", "b"]),
        ([("base/conv1/bias", "b"), ("base/conv1", "c"), ("**", "b")], ["c", "b", "b", "b", "b"]),
    ],
)
def test_the_first_rule_that_matches_wins(rules, labels):
    assert list(flatten(label_tree(TREE, rules)).values()) == labels


@given(trees(), st.lists(st.tuples(st.sampled_from(["a*", "?", "**/b*", "*/*", "**"]), st.sampled_from("xyz"))))
def test_every_leaf_gets_one_label_or_an_error_names_it(tree, rules):
    paths = list(flatten(tree))
    first = {path: next((label for pattern, label in rules if matches(pattern, path)), None) for path in paths}
    bare = [path for path, label in first.items() if label is None]
    try:
        labels, fault = flatten(label_tree(tree, rules)), ""
    except ConfigError as error:
        labels, fault = None, str(error)
    if bare:
        assert fault.startswith("no rule labels")
        assert all(repr(path) in fault for path in bare[:12])  # a message lists no more
    elif fault:
        assert fault.startswith("no leaf is left")
    else:
        assert labels == first


@given(trees())
def test_masks_of_labels_divide_the_leaves(tree):
    assume(tree)
    paths = list(flatten(tree))
    rules = [("**", "rest")] if len(paths) < 3 else [(paths[0].translate(NO_WILDCARDS), FROZEN), ("**", "rest")]
    try:
        labels = label_tree(tree, rules)
    except ConfigError:
        assume(False)
    frozen, rest = flatten(mask_of(labels, FROZEN)), flatten(mask_of(labels, "rest"))
    assert all(frozen[path] is not rest[path] for path in paths)
    assert flatten(trainable_mask(labels)) == rest


NO_WILDCARDS = str.maketrans("*", "?")


def test_leaves_without_a_rule_are_named():
    with pytest.raises(ConfigError, match="no rule labels 'base/conv2/bias', 'head/bias'"):
        label_tree(TREE, [("base/conv1", "a"), ("**/kernel", "b")])


@pytest.mark.parametrize(
    ("rules", "idle"),
    [
        ([("**", "all"), ("head", "head")], "'head'"),
        ([("bsae", "frozen"), ("**", "all")], "'bsae'"),
        ([("base/conv3", "frozen"), ("base/conv4", "frozen"), ("**", "all")], "'base/conv3', 'base/conv4'"),
        ([("base", "a"), ("base/conv1/kernel", "b"), ("head", "c")], "'base/conv1/kernel'"),
    ],
)
def test_rules_without_a_leaf_are_named(rules, idle):
    with pytest.raises(
        ConfigError, match=f"no leaf is left for the rules {idle}: .* the paths are 'base/conv1/kernel'"
    ):
        label_tree(TREE, rules)


def test_masks_by_hand():
    labels = {"base": {"a": "frozen", "b": "base"}, "head": "head"}
    assert mask_of(labels, "base") == {"base": {"a": False, "b": True}, "head": False}
    assert trainable_mask(labels) == {"base": {"a": False, "b": True}, "head": True}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_way_to_freeze_labels_every_model(case):
    params = case.variables()["params"]
    for rules in case.freezings().values():
        labels = flatten(label_tree(params, rules))
        assert labels.keys() == flatten(params).keys()
        assert set(labels.values()) == {label for _, label in rules}
