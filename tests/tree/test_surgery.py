import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, assert_same_bits

from tlx.errors import ConfigError, WeightsError
from tlx.tree import Graft, Resize, flatten, graft, join, split, to_jax_types


def array(*shape, fill=1.0, dtype=np.float32):
    return np.full(shape, fill, dtype)


# Split and join


@pytest.mark.parametrize("case", CASES, ids=str)
def test_join_undoes_split(case):
    variables = case.variables()
    base, head = split(variables)
    assert set(base) == set(variables)
    assert set(head) == {"params"}
    again = join(base, head)
    assert again.keys() == variables.keys()
    assert_same_bits(again, variables)


def test_statistics_of_a_head_are_the_heads():
    variables = {"params": {"base": {"w": 1}, "head": {"w": 2}}, "batch_stats": {"head": {"m": 3}}}
    assert split(variables) == ({"params": {"w": 1}}, {"params": {"w": 2}, "batch_stats": {"m": 3}})
    assert join(*split(variables)) == variables


def test_a_part_without_parameters_may_be_absent():
    variables = {"params": {"head": {"w": 2}}}
    assert split(variables) == ({}, {"params": {"w": 2}})
    assert join(*split(variables)) == variables


@pytest.mark.parametrize(
    "params",
    [{"base": {}, "head": {}, "aux": {}}, {"w": 1}],
    ids=["more", "neither"],
)
def test_split_refuses_what_is_not_base_and_head(params):
    with pytest.raises(ConfigError, match=f"params have .*{sorted(params)[0]}"):
        split({"params": params})


def test_a_head_without_parameters_may_be_absent():
    assert split({"params": {"base": {"w": 1}}}) == ({"params": {"w": 1}}, {})
    assert join({"params": {"w": 1}}, {}) == {"params": {"base": {"w": 1}}}
    assert join({"params": {"w": 1}}, {"params": {"v": 2}}) == {"params": {"base": {"w": 1}, "head": {"v": 2}}}


# Graft


def test_graft_fills_by_path_and_reports():
    target = {"base": {"b": array(2, fill=0), "a": array(3, fill=0)}, "head": {"w": array(4, fill=7)}}
    loaded = {"base": {"a": array(3), "b": array(2, fill=2)}, "top": {"w": array(9)}}
    done = graft(target, loaded, fresh=["head"], ignored=["top"])
    assert done == Graft(done.tree, ("base/b", "base/a"), ("head/w",), ("top/w",), ())
    wanted = {"base": {"b": array(2, fill=2), "a": array(3)}, "head": {"w": array(4, fill=7)}}
    assert_same_bits(done.tree, wanted)
    assert list(flatten(done.tree)) == list(flatten(target))


def test_graft_changes_neither_tree():
    target, loaded = {"w": array(2, fill=0)}, {"w": array(2)}
    graft(target, loaded)
    assert_same_bits(target, {"w": array(2, fill=0)})
    assert_same_bits(loaded, {"w": array(2)})


def test_a_fresh_leaf_keeps_its_value_and_a_loaded_one_must_then_be_ignored():
    target, loaded = {"w": array(2, fill=0)}, {"w": array(2)}
    with pytest.raises(WeightsError, match=r"not used 'w' \(declare them with ignored=\)"):
        graft(target, loaded, fresh=["w"])
    assert graft(target, loaded, fresh=["w"], ignored=["w"]).tree["w"] is target["w"]


def test_an_ignored_leaf_leaves_its_target_missing():
    with pytest.raises(WeightsError, match=r"missing 'w' \(declare them with fresh=\)"):
        graft({"w": array(2)}, {"w": array(2)}, ignored=["w"])


def test_a_filled_leaf_takes_the_type_of_the_target():
    done = graft({"w": jnp.zeros(2, jnp.bfloat16)}, {"w": array(2, dtype=np.float64)})
    assert done.tree["w"].dtype == jnp.bfloat16
    assert done.tree["w"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("leaf", "dtype", "lost"),
    [
        ([1.7, 2.0], "int32", "1 of 2 numbers does not fit int32, such as 1.7"),
        ([1e6], "float16", "1 of 1 numbers does not fit float16, such as 1000000.0"),
        ([1e300, 1e-300], "float32", "such as 1e.300"),
        ([1 + 2j], "float32", r"such as \(1\+2j\)"),
        ([np.nan], "int8", "such as nan"),
        (np.array([-1], "int8"), "uint8", "such as -1"),
        (np.array([1 << 24, (1 << 24) + 1]), "float32", "1 of 2 numbers does not fit float32, such as 16777217"),
        ([2.0], "bool", "such as 2.0"),
    ],
)
def test_a_cast_that_loses_numbers_is_refused_unless_asked_for(leaf, dtype, lost):
    target, loaded = {"w": np.zeros(len(leaf), dtype)}, {"w": np.asarray(leaf)}
    with pytest.raises(WeightsError, match=rf"'w': .*{lost} \(declare it with lossy=\)"):
        graft(target, loaded)
    done = graft(target, loaded, lossy=["w"])
    assert done.tree["w"].dtype == dtype
    assert done.casts[0].startswith(f"w: {np.asarray(leaf).dtype} -> {dtype}, ")


@pytest.mark.parametrize(
    ("leaf", "dtype"),
    [
        ([1.0, -2.0], "int32"),
        ([0.1, np.inf, np.nan, 1e-60], "float32"),
        (np.array([1.5], "float16"), "float32"),
        (np.array([255], "uint8"), "float16"),
        ([1 + 0j], "float32"),
    ],
)
def test_a_cast_that_only_rounds_is_told_of(leaf, dtype):
    done = graft({"w": np.zeros(len(leaf), dtype)}, {"w": np.asarray(leaf)})
    assert done.casts == (f"w: {np.asarray(leaf).dtype} -> {dtype}",)


def test_a_cast_of_a_resized_leaf_that_loses_numbers_is_refused():
    for leaf, dtype in (([1e300, 1.0], "float32"), ([0, 1], "int32")):
        with pytest.raises(WeightsError, match=r"'w': .* not fit"):
            graft({"w": np.zeros(3, dtype)}, {"w": np.asarray(leaf)}, resize=[Resize("w", "interpolate")])


def test_what_jax_casts_without_a_word_is_refused_where_it_loses_numbers():
    assert to_jax_types({"w": np.array([0.5]), "none": {}}) == {"w": np.float32(0.5), "none": {}}
    with pytest.raises(WeightsError, match=r"a/w .1 of 2 numbers does not fit float32, such as 1e.300"):
        to_jax_types({"a": {"w": np.array([1e300, 1.0])}})
    with pytest.raises(WeightsError, match="does not fit int32"):
        to_jax_types({"w": np.array([1 << 40])})


def test_everything_that_does_not_fit_is_listed_at_once():
    target = {"a": array(2), "b": array(3), "c": array(4), "d": array(1, 2), "e": array(5), "k": array(3, 3, 1, 8)}
    loaded = {"b": array(2), "d": array(2), "e": array(5), "x": array(1), "y": array(1), "k": array(3, 3, 3, 4)}
    resize = [Resize("d", "pad"), Resize("k", "input_channels")]
    with pytest.raises(WeightsError) as raised:
        graft(target, loaded, resize=resize)
    for fault in (
        "missing 'a', 'c' (declare them with fresh=)",
        "not used 'x', 'y' (declare them with ignored=)",
        "'b' has shape (2,), wanted (3,)",
        "'d' has shape (2,), wanted (1, 2): resizing keeps the number of axes",
        "'k': 'input_channels' changes the second last axis only, not (3, 3, 3, 4) to (3, 3, 1, 8)",
    ):
        assert fault in str(raised.value)
    assert "'e'" not in str(raised.value)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_graft_of_a_base_leaves_the_head_fresh(case):
    target, loaded = case.variables(), case.variables()
    base = {kind: {"base": tree["base"]} for kind, tree in loaded.items()}
    done = graft(target, base, fresh=["params/head"])
    assert set(done.fresh) == {path for path in flatten(target) if path.startswith("params/head")}
    assert set(done.filled) == flatten(base).keys()
    assert_same_bits(done.tree, target)


# Resize, each method by hand


def resized(method, leaf, shape, dtype=np.float32):
    target = {"w": np.full(shape, 99, dtype)}
    return graft(target, {"w": np.asarray(leaf, dtype)}, resize=[Resize("w", method)]).tree["w"]


def test_pad_cuts_off_and_fills_with_zeros_at_the_end():
    assert resized("pad", [[1, 2, 3], [4, 5, 6]], (3, 2)).tolist() == [[1, 2], [4, 5], [0, 0]]
    assert resized("pad", [1, 2], (4,)).tolist() == [1, 2, 0, 0]
    assert resized("pad", [1, 2, 3], (1,)).tolist() == [1]


def test_interpolate_is_linear_between_the_centres():
    assert resized("interpolate", [0, 4], (4,)).tolist() == [0, 1, 3, 4]
    assert resized("interpolate", [[0, 4], [8, 12]], (4, 2)).tolist() == [[0, 4], [2, 6], [6, 10], [8, 12]]
    # To a half, a new value takes 1/8, 3/8, 3/8 and 1/8 of four neighbours; at an edge 3/7, 3/7 and 1/7 of three.
    np.testing.assert_allclose(resized("interpolate", [0, 7, 14, 21], (2,)), [5, 16], rtol=1e-6)


def test_input_channels_average_and_keep_the_response_to_equal_channels():
    kernel = np.arange(6, dtype=np.float32).reshape(1, 1, 3, 2)  # inputs 3, outputs 2
    assert resized("input_channels", kernel, (1, 1, 1, 2)).tolist() == [[[[6, 9]]]]
    assert resized("input_channels", [[2.0, 4.0]], (4, 2)).tolist() == [[0.5, 1.0]] * 4
    wide = resized("input_channels", kernel, (1, 1, 4, 2))
    np.testing.assert_allclose(wide.sum(axis=2), kernel.sum(axis=2), rtol=1e-6)
    assert np.ptp(wide, axis=2).max() == 0


def test_input_channels_of_a_vector_is_refused():
    with pytest.raises(WeightsError, match="'w': 'input_channels' changes the second last axis only"):
        resized("input_channels", [1, 2], (3,))


@pytest.mark.parametrize("method", ["interpolate", "pad", "input_channels"])
def test_a_leaf_of_the_right_shape_is_not_touched_by_a_rule(method):
    leaf = np.arange(6, dtype=np.float32).reshape(3, 2)
    done = graft({"w": array(3, 2)}, {"w": leaf}, resize=[Resize("**", method)])
    assert_same_bits(done.tree, {"w": leaf})
    assert done.resized == ()


def test_the_first_resize_rule_wins_and_resized_paths_are_reported():
    rules = [Resize("a", "pad"), Resize("**", "interpolate")]
    done = graft({"a": array(4), "b": array(4)}, {"a": array(2), "b": array(2)}, resize=rules)
    assert done.tree["a"].tolist() == [1, 1, 0, 0]
    assert done.tree["b"].tolist() == [1, 1, 1, 1]
    assert done.resized == ("a", "b")


def test_unknown_methods_are_refused():
    with pytest.raises(ConfigError, match="unknown resize method 'stretch': use one of 'interpolate', 'pad'"):
        Resize("w", "stretch")
