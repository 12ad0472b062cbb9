"""A model's table has every stage with its output, and counts what trains."""

import functools

import jax
import pytest
from cases import OF_IMAGES

import tlx
from tlx.models import ModelConfig, build_model, init_variables, tabulate
from tlx.tree import label_tree


@pytest.mark.parametrize("case", OF_IMAGES, ids=str)
def test_the_stages_of_every_model(case):
    variables = jax.eval_shape(case.model.init, jax.random.key(0), case.batch(size=1)["input"])
    table = tabulate(case.model, variables, case.shape)
    counts = {layer.path: layer.parameters for layer in table.layers}
    stages = case.model.base.stage_names
    assert tuple(counts)[: len(stages)] == stages
    assert {stage: counts[stage] for stage in case.owners} == {stage: case.counts[stage] for stage in case.owners}
    assert sum(counts.values()) == table.total.total
    x = case.batch(size=1)["input"]
    for layer in table.layers[: len(stages)]:
        until = functools.partial(case.model.apply, until=layer.path, method="features")
        assert layer.output == jax.eval_shape(until, variables, x).shape[1:]
    assert sum(layer.parameters for layer in tabulate(case.model, variables, case.shape, layers=True).layers) == sum(
        counts.values()
    )


@pytest.mark.slow
def test_the_layers_of_a_large_network_fit_a_terminal():
    config = ModelConfig("inception_v3", 1000, (299, 299, 3))
    variables = jax.eval_shape(functools.partial(init_variables, config))
    rules = label_tree(variables["params"], [("**/mixed10/**", "a rather long label"), ("**", "frozen")])
    printed = str(tabulate(build_model(config), variables, config.input_shape, {"phase": rules}, layers=True))
    assert max(map(len, printed.splitlines())) <= 80
    assert "mixed9/branch3x3dbl_3a_norm" in printed.replace("\n", "")
    assert "total 23,869,000 parameters: base 21,820,000, head 2,049,000" in printed


def test_what_trains_in_one_phase_and_in_several():
    digits = tlx.load("cnn-mnist")
    recipe = tlx.recipes.gradual(digits.stages)
    several, one = digits.summary(recipe), digits.summary(recipe[1])
    assert several.columns[-1] == "trains in"
    assert [row[-1] for row in several.rows()[:3]] == ["all", "conv2 and up, all", "conv3 and up, conv2 and up, all"]
    assert one.columns[-1] == "label"
    assert [row[-1] for row in one.rows()] == ["frozen", "frozen", "base", "head", "head"]
    assert [row[1] for row in one.rows()] == ["13x13x32", "5x5x64", "3x3x64", "64", "10"]
    assert one.lines()[1] == "conv3 and up: 74,506 trainable, 18,816 frozen"
    rules = [("base", "frozen"), ("head", "head")]
    labels = label_tree(digits.variables["params"], rules)
    assert digits.summary(rules).lines()[1] == "rules: 37,578 trainable, 55,744 frozen"
    assert digits.summary(labels).lines()[1] == "labels: 37,578 trainable, 55,744 frozen"


def test_phases_of_one_name_are_told_apart():
    digits = tlx.load("mlp-mnist")
    twice = digits.summary(tlx.recipes.probe(digits.stages) * 2)
    assert [name for name, _ in twice.phases] == ["head (1)", "head (2)"]


def test_a_notebook_shows_text_as_it_is():
    digits = tlx.load("mlp-mnist").with_head(("<b>", "c"))
    shown = digits.summary([("base", "frozen"), ("head", "<i>")])._repr_html_()
    assert "&lt;i&gt;" in shown
    assert "<i>" not in shown


def test_a_base_alone_has_a_table():
    printed = str(tlx.load("cnn-mnist").cut("conv2").summary())
    assert printed.splitlines()[-1] == "total 18,816 parameters: base 18,816, head 0"
