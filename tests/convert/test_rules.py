import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marks import slow_but
from sources import config_for

from tlx.convert import TABLES, Row, Table
from tlx.convert.rules import KERAS_CLASSES, KINDS, resolve
from tlx.convert.tables import table_named, table_of
from tlx.convert.transforms import TRANSFORMS
from tlx.errors import ConfigError
from tlx.models import ARCHITECTURES, build_model, leaf_shapes

PAIRS = [  # a row's source and target, then module and path, both ways; None is what a row says nothing of
    ("conv{n}", "base/conv{n}", "conv3", "base/conv3"),
    ("conv{n}", "base/conv{n}", "conv", None),
    ("conv{n}", "base/conv{n}", "conv3x", None),
    ("conv{n}", "base/conv{n}", "xconv3", None),
    ("layer{g}.{i}.conv{c}", "base/block{g}_{i+1}/conv{c}", "layer2.0.conv3", "base/block2_1/conv3"),
    ("layer{g}.{i}.conv{c}", "base/block{g}_{i+1}/conv{c}", "layer12.9.conv3", "base/block12_10/conv3"),
    ("layer{g}.{i}.conv{c}", "base/block{g}_{i+1}/conv{c}", "layerx2.0.conv3", None),
    ("a.{i+2}", "b{i}", "a.2", "b0"),
    ("features.{i+1}.conv.2", "base/block{i}/project", "features.17.conv.2", "base/block16/project"),
    ("features.{i+1}.conv.2", "base/block{i}/project", "features.17xconv.2", None),
    ("block_{i}_{part}", "base/block{i}/{part}", "block_3_expand", "base/block3/expand"),
    ("{stage}", "{stage}", "block1_pool", "block1_pool"),
    ("{stage}", "{stage}", "a/b", None),
]


@pytest.mark.parametrize(("source", "target", "module", "path"), PAIRS)
def test_a_row_reads_both_ways(source, target, module, path):
    row = Row("conv", source, target)
    assert row.target_of(module) == path
    if path is not None:
        assert row.source_of(path) == module


@given(st.integers(0, 999), st.integers(1, 999), st.integers(0, 99))
def test_numbers_come_back(g, i, n):
    row = Row("conv", "layer{g}.{i-1}.conv{n+2}", "base/block{g+1}_{i}/conv{n}")
    path = f"base/block{g + 1}_{i}/conv{n}"
    assert row.source_of(path) == f"layer{g}.{i - 1}.conv{n + 2}"
    assert row.target_of(row.source_of(path)) == path


@pytest.mark.parametrize("name", TABLES)
def test_every_leaf_has_one_tensor_of_its_own(name):
    table = TABLES[name]
    resolved = resolve(table, leaf_shapes(config_for(table)))
    assert len({tensor for tensor, _ in resolved.values()}) == len(resolved) == len(leaf_shapes(config_for(table)))
    for path, (tensor, rule) in resolved.items():
        module, found, row = table.entry(path)
        assert tensor == f"{module}{table.separator}{rule.source}"
        assert found == rule
        assert f"{rule.collection}/{row.target_of(module)}/{rule.target}" == path
        assert rule.transform in TRANSFORMS


@pytest.mark.parametrize("name", TABLES)
def test_no_row_is_without_use(name):
    table = TABLES[name]
    used = {table.entry(path)[2] for path in leaf_shapes(config_for(table))}
    shared = {"features.{i+1}", "conv{g+1}", "layer{g}", "block_{i}", "expanded_conv"}  # of several members of a family
    unused = {row.source for row in table.rows if row not in used}
    assert not {source for source in unused if not any(source.startswith(start) for start in shared)}


@pytest.mark.parametrize(
    "name",
    slow_but(
        "keras/vgg16",
        "cifar/resnet20",
        of=["keras/vgg16", "keras/xception", "timm/mobilenet_v2", "torchvision/inception_v3", "cifar/resnet20"],
    ),
)
def test_a_base_that_is_cut_anywhere_is_covered(name):
    table = TABLES[name]
    whole = resolve(table, leaf_shapes(config_for(table)))
    before: set[str] = set()
    for stage in build_model(config_for(table)).base.stage_names:
        resolved = resolve(table, leaf_shapes(config_for(table, classes=0, until=stage)))
        assert resolved.items() <= whole.items()
        assert resolved.keys() >= before
        before = set(resolved)
    assert before == {path for path in whole if "/head/" not in path}


@pytest.mark.parametrize("name", [name for name, table in TABLES.items() if table.dialect == "keras"])
def test_a_keras_table_lists_the_layers_that_own_weights(name):
    table = TABLES[name]
    owners = {tensor.rpartition("/")[0] for tensor, _ in resolve(table, leaf_shapes(config_for(table))).values()}
    assert len(table.layers) == len(set(table.layers))
    assert set(table.layers) == owners


@pytest.mark.parametrize("name", [name for name, table in TABLES.items() if table.stages])
def test_a_stage_stands_beside_one_module_of_its_own(name):
    table = TABLES[name]
    nodes = [table.node_of(stage) for stage in build_model(config_for(table)).base.stage_names]
    known = [node for node in nodes if node]
    assert len(known) == len(set(known))
    assert len(nodes) - len(known) <= (1 if "keras" not in name else 2)  # what no library gives: CIFAR's stem
    assert table.node_of("no_such") in (None, "no_such")


def test_the_catalogue():
    assert {name.partition("/")[0] for name in TABLES} == {
        *("keras", "torchvision", "timm", "cifar", "fastai", "transformers")
    }
    assert {table.architecture for table in TABLES.values()} == ARCHITECTURES.keys() - {
        *("mlp", "cnn", "vectors", "bert", "words")
    }
    assert all(table.name == name for name, table in TABLES.items())
    for table in TABLES.values():
        assert table_named(table.name) is table_of(table.name.partition("/")[0], table.architecture) is table
    assert KERAS_CLASSES.keys() == KINDS["keras"].keys()
    with pytest.raises(ConfigError, match="did you mean 'keras/vgg16'"):
        table_named("keras/vgg-16")
    with pytest.raises(ConfigError, match="keras has no network that is arranged as 'resnet20' is"):
        table_of("keras", "resnet20")


def test_what_no_row_covers_and_what_two_leaves_share_is_an_error_of_the_table():
    table = Table(
        "a/b", "mlp", "torch", (Row("dense", "fc{n}", "base/dense{n}"), Row("dense", "fc1", "head/logits")), "", ()
    )
    assert resolve(table, ["params/base/dense1/kernel"])["params/base/dense1/kernel"][0] == "fc1.weight"
    with pytest.raises(ConfigError, match=re.escape("table a/b has no row for 'params/base/conv1/kernel'")):
        resolve(table, ["params/base/conv1/kernel"])
    with pytest.raises(ConfigError, match="gives 'params/base/dense1/bias', 'params/head/logits/bias' the same tensor"):
        resolve(table, ["params/base/dense1/bias", "params/head/logits/bias"])
    with pytest.raises(ConfigError, match="no row for 'batch_stats/base/dense1/mean'"):
        resolve(replace(table), ["batch_stats/base/dense1/mean"])
