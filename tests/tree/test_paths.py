import pytest
from cases import CASES, names, trees
from hypothesis import given
from hypothesis import strategies as st

from tlx.errors import ConfigError
from tlx.tree import flatten, map_with_path, matches, select, unflatten
from tlx.tree.paths import quote

NESTED = {"base": {"conv1": {"kernel": 1, "bias": 2}, "conv2": {"kernel": 3}}, "head": {"kernel": 4}}
FLAT = {"base/conv1/kernel": 1, "base/conv1/bias": 2, "base/conv2/kernel": 3, "head/kernel": 4}


def test_flatten_and_unflatten_by_hand():
    assert list(flatten(NESTED).items()) == list(FLAT.items())
    assert unflatten(FLAT) == NESTED


@pytest.mark.parametrize(
    ("tree", "flat"),
    [
        ({}, {}),
        (7, {"": 7}),
        ({"a": None}, {"a": None}),
        ({"a": (1, 2)}, {"a": (1, 2)}),
        ({"b": {"z": 1}, "a": 2}, {"b/z": 1, "a": 2}),
    ],
)
def test_flatten_and_unflatten_at_the_edges(tree, flat):
    assert list(flatten(tree).items()) == list(flat.items())
    assert unflatten(flat) == tree


@given(trees())
def test_unflatten_undoes_flatten(tree):
    assert unflatten(flatten(tree)) == tree


@pytest.mark.parametrize("case", CASES, ids=str)
def test_unflatten_undoes_flatten_on_models(case):
    variables = case.variables()
    again = unflatten(flatten(variables))
    assert flatten(again).keys() == flatten(variables).keys()
    assert all(flatten(again)[path] is leaf for path, leaf in flatten(variables).items())


@pytest.mark.parametrize(
    ("tree", "fault"),
    [
        ({"a": {"": 1}}, "key '' under a "),
        ({"a/b": 1}, "key 'a/b' under the root"),
        ({"a": {"b": {3: 1}}}, "key 3 under a/b "),
    ],
)
def test_flatten_refuses_keys_that_no_path_can_hold(tree, fault):
    with pytest.raises(ConfigError, match=fault):
        flatten(tree)


@pytest.mark.parametrize(
    ("leaves", "fault"),
    [
        ({"a": 1, "a/b": 2}, "path 'a/b' goes on below another path's leaf at 'a'"),
        ({"a/b": 1, "a": 2}, "path 'a' is both a leaf and a branch"),
        ({"a": {}, "a/b": 2}, "path 'a/b' goes on below"),
        ({"a//b": 1}, "path 'a//b' has an empty name"),
        ({"a/": 1}, "path 'a/' has an empty name"),
        ({"": 1, "a": 2}, "path '' has an empty name"),
    ],
)
def test_unflatten_refuses_leaves_that_make_no_tree(leaves, fault):
    with pytest.raises(ConfigError, match=fault):
        unflatten(leaves)


def test_map_with_path_gives_path_and_leaves():
    assert map_with_path(lambda *all_: all_, {"a": {"b": 1}, "c": None}, {"c": 2, "a": {"b": 3}}) == {
        "a": {"b": ("a/b", 1, 3)},
        "c": ("c", None, 2),
    }


def test_map_with_path_names_the_paths_where_trees_differ():
    with pytest.raises(ConfigError, match="trees differ at 'a/b', 'a/c'"):
        map_with_path(lambda *_: 0, {"a": {"b": 1}}, {"a": {"c": 1}})


# One row a pattern: the paths it selects of those below.
PATHS = (
    "base/conv1/kernel",
    "base/conv1/bias",
    "base/conv10/kernel",
    "base/block/conv1/kernel",
    "base/block/norm/scale",
    "head/bias",
)


@pytest.mark.parametrize(
    ("pattern", "chosen"),
    [
        ("**", [0, 1, 2, 3, 4, 5]),
        ("*", [0, 1, 2, 3, 4, 5]),
        ("base", [0, 1, 2, 3, 4]),
        ("base/**", [0, 1, 2, 3, 4]),
        ("bas", []),
        ("ase", []),
        ("base/conv1", [0, 1]),
        ("base/conv?", [0, 1]),
        ("base/conv*", [0, 1, 2]),
        ("base/*1", [0, 1]),
        ("base/c*1", [0, 1]),
        ("conv1", []),
        ("**/conv1", [0, 1, 3]),
        ("*/conv1", [0, 1]),
        ("base/**/conv1", [0, 1, 3]),
        ("base/**/kernel", [0, 2, 3]),
        ("base/*/kernel", [0, 2]),
        ("**/bias", [1, 5]),
        ("base/**/**/kernel", [0, 2, 3]),
        ("**/block/**", [3, 4]),
        ("head/bias", [5]),
        ("head/bias/more", []),
        ("HEAD", []),
        ("head/b.as", []),
        ("head/[b]ias", []),
        ("(head|base)", []),
        ("base/block/????", [4]),
    ],
)
def test_patterns(pattern, chosen):
    assert [index for index, path in enumerate(PATHS) if matches(pattern, path)] == chosen


@given(st.lists(names, min_size=1, max_size=4).map("/".join), st.integers(1, 4))
def test_every_path_is_a_pattern_of_itself_and_so_are_its_upper_parts(path, depth):
    literal = path.replace("*", "?")  # a '*' and a '?' in a name would be read as patterns, and still fit
    assert matches(literal, path)
    assert matches("/".join(literal.split("/")[:depth]), path)
    assert not matches(literal + "/more", path)


@pytest.mark.parametrize("pattern", ["", "/base", "base/", "base//kernel"])
def test_patterns_with_an_empty_name_are_refused(pattern):
    with pytest.raises(ConfigError, match="has an empty name"):
        matches(pattern, "base/kernel")


def test_select_keeps_the_order_of_the_paths_and_lists_each_once():
    assert select(["**/bias", "base/conv1"], PATHS) == ["base/conv1/kernel", "base/conv1/bias", "head/bias"]
    assert select([], PATHS) == []


def test_select_names_the_patterns_that_select_nothing():
    with pytest.raises(ConfigError, match=r"nothing is selected by 'tail', 'bsae/\*'; the paths are 'base/conv1"):
        select(["tail", "head", "bsae/*"], PATHS)


def test_quote():
    assert quote([]) == ""
    assert quote(["a"]) == "'a'"
    assert quote("abc", most=3) == "'a', 'b', 'c'"
    assert quote("abcde", most=3) == "'a', 'b', 'c' and 2 more"
