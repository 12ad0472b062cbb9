import jax
import numpy as np
import pytest
from cases import CASE, CASES

from tlx.errors import ConfigError
from tlx.models import ModelConfig, init_variables
from tlx.tree import FROZEN, Row, flatten, label_tree, summarize
from tlx.tree.summary import stage_of

CNN = ModelConfig("cnn", classes=10, input_shape=(28, 28, 1), hidden=(64,), pool="flatten")


def parameters_by_stage(summary):
    return {stage: row["parameters"] for stage, row in summary.by_stage().items()}


def test_the_totals_of_the_cnn():
    summary = summarize(jax.eval_shape(lambda: init_variables(CNN)))
    leaves = [row.parameters for row in summary.rows]
    assert summary.totals() == {"total": 93_322, "base": 55_744, "head": 37_578, "trainable": 93_322, "frozen": 0}
    assert parameters_by_stage(summary) == {"conv1": 320, "conv2": 18_496, "conv3": 36_928, "head": 36_928 + 650}
    by_module = {}
    for row in summary.rows:
        module = row.path.rpartition("/")[0]
        by_module[module] = by_module.get(module, 0) + row.parameters
    assert sorted(by_module.values()) == [320, 650, 18_496, 36_928, 36_928]
    assert sum(leaves) == 93_322


@pytest.mark.parametrize(
    ("classes", "rules", "total", "trainable"),
    [(10, [("**", "all")], 6_366, 6_366), (47, [("base", FROZEN), ("head", "head")], 6_316 + 235, 235)],
)
def test_the_totals_of_the_mlp(classes, rules, total, trainable):
    config = ModelConfig("mlp", classes=classes, input_shape=(28, 28, 1))
    variables = jax.eval_shape(lambda: init_variables(config))
    summary = summarize(variables, label_tree(variables["params"], rules))
    assert (summary.total, summary.trainable, summary.frozen) == (total, trainable, total - trainable)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_parameters_by_stage(case):
    summary = summarize(case.variables())
    assert parameters_by_stage(summary) == case.counts
    assert summary.total == sum(case.counts.values()) == sum(leaf.size for leaf in jax.tree.leaves(case.variables()))
    assert summary.head == case.counts["head"]
    assert summary.base == summary.total - summary.head


@pytest.mark.parametrize("case", CASES, ids=str)
def test_parameters_by_label(case):
    variables = case.variables()
    for rules in case.freezings().values():
        labels = label_tree(variables["params"], rules)
        summary = summarize(variables, labels)
        sizes = {path: leaf.size for path, leaf in flatten(variables["params"]).items()}
        trainable = sum(size for path, size in sizes.items() if flatten(labels)[path] != FROZEN)
        assert summary.trainable == trainable
        assert summary.frozen == summary.total - trainable
        assert sum(n for label, n in summary.by_label().items() if label != FROZEN) == trainable


def test_rows_by_hand():
    variables = CASE["norm"].variables()
    labels = label_tree(variables["params"], [("base/stem", "frozen"), ("**", "rest")])
    rows = {row.path: row for row in summarize(variables, labels).rows if row.stage == "stem"}
    of = {row.path: row for row in summarize(variables, labels).rows if row.is_statistic}
    assert rows["base/stem/conv/kernel"] == Row(
        "base/stem/conv/kernel", (3, 3, 1, 4), "float32", 36, "frozen", "stem", False
    )
    assert rows["base/stem/norm/mean"] == Row("base/stem/norm/mean", (4,), "float32", 4, "frozen", "stem", True)
    assert of["base/block/norm/var"].label == FROZEN  # statistics do not train
    assert len(of) == 4


def test_stages_by_hand():
    variables = CASE["bare"].variables()
    labels = label_tree(
        variables["params"], [("base/conv1/conv/bias", "b"), ("base/conv1", "k"), ("head", "head"), ("**", FROZEN)]
    )
    assert summarize(variables, labels).by_stage() == {
        "conv1": {"label": "b + k", "parameters": 36},
        "conv2": {"label": "frozen", "parameters": 62},
        "head": {"label": "head", "parameters": 9},
        "standardise": {"label": "", "parameters": 2},  # statistics alone
    }


def test_shapes_do_for_arrays():
    shapes = jax.eval_shape(lambda: CASE["norm"].variables())
    assert summarize(shapes) == summarize(CASE["norm"].variables())


@pytest.mark.parametrize(
    ("path", "stage"),
    [("base/conv1/kernel", "conv1"), ("base/a/b/c/kernel", "a"), ("head/logits/bias", "head"), ("head/w", "head")],
)
def test_stage_of(path, stage):
    assert stage_of(path) == stage


def test_labels_of_another_tree_are_refused():
    variables = {"params": {"base": {"w": np.zeros(1)}, "head": {"w": np.zeros(1)}}}
    with pytest.raises(ConfigError, match="trees differ at 'head/v', 'head/w'"):
        summarize(variables, {"base": {"w": FROZEN}, "head": {"v": "head"}})
