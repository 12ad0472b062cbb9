from dataclasses import replace

import pytest
from marks import slow_but
from sources import (
    as_keras_3,
    changed,
    config_for,
    lazy,
    renamed,
    source_of,
    with_numbered_layers,
)

from tlx.convert import TABLES, identify, make_plan
from tlx.models.registry import feature_shape
from tlx.presets.arch import arch_named, config_of


def published_config(name):
    return config_of(arch_named(name).entry)


def names(source):
    return [candidate.table.name for candidate in identify(source)]


@pytest.mark.parametrize("name", slow_but("keras/mobilenet_v2", "torchvision/resnet18", "cifar/resnet20", of=TABLES))
def test_a_whole_file_is_what_it_is(name):
    table = TABLES[name]
    source = source_of(table, published_config(name))
    found = identify(source)
    assert name in [candidate.table.name for candidate in found]
    assert {candidate.table.architecture for candidate in found} == {table.architecture}
    for candidate in found:
        assert candidate.is_complete
        assert (candidate.missing, candidate.misfits) == (0, 0)
        assert candidate.matched == len([n for n in source.tensors if "num_batches" not in n])


@pytest.mark.parametrize(
    "name",
    slow_but(
        "keras/vgg16",
        "timm/mobilenet_v2",
        of=["keras/vgg16", "keras/resnet101", "torchvision/vgg13", "timm/mobilenet_v2", "cifar/resnet44"],
    ),
)
def test_a_file_without_a_head_or_with_another_is_known_too(name):
    table = TABLES[name]
    for classes in (0, 5):
        config = replace(published_config(name), classes=classes, hidden=table.hidden if classes else ())
        found = identify(source_of(table, config))
        assert name in [candidate.table.name for candidate in found]
        assert all(candidate.is_complete for candidate in found)


@pytest.mark.parametrize("name", slow_but("keras/mobilenet_v2", of=["keras/inception_v3", "keras/mobilenet_v2"]))
def test_names_that_keras_made_up_do_not_hide_it(name):
    source = with_numbered_layers(source_of(TABLES[name]), TABLES[name], 94)
    assert names(source) == [name]
    assert names(with_numbered_layers(as_keras_3(source_of(TABLES[name]), TABLES[name]), TABLES[name], 94)) == [name]


def test_names_that_keras_made_up_are_no_sign_where_a_shape_differs():
    table = TABLES["keras/vgg19"]
    numbered = with_numbered_layers(as_keras_3(source_of(table), table), table, 94)
    assert names(numbered) == ["keras/vgg19"]
    kernel = next(name for name in numbered.tensors if name.startswith("conv2d"))
    other = changed(numbered, lambda tensors: tensors.update({kernel: lazy(kernel, (3, 3, 3, 16))}))
    assert names(other) == []


@pytest.mark.parametrize("name", ["keras/vgg16", "keras/vgg19"])
def test_a_head_made_for_another_size_does_not_hide_it(name):
    found = identify(source_of(TABLES[name]))
    assert (found[0].table.name, found[0].misfits) == (name, 1)


def test_a_prefix_does_not_hide_it():
    assert names(renamed(source_of(TABLES["cifar/resnet32"]), lambda n: f"state_dict.module.{n}")) == ["cifar/resnet32"]


def test_libraries_that_write_alike_are_all_named_the_older_first():
    assert names(source_of(TABLES["timm/resnet18"])) == ["torchvision/resnet18", "timm/resnet18"]


def test_networks_of_one_family_are_told_apart():
    """ResNet 101 has the names of ResNet 50, and more; VGG with norms other numbers; basic blocks other shapes."""
    for name in ("torchvision/resnet50", "torchvision/resnet34", "torchvision/vgg16_bn", "cifar/resnet20"):
        assert names(source_of(TABLES[name]))[0] == name


def test_what_is_incomplete_is_named_with_what_it_lacks():
    short = changed(source_of(TABLES["cifar/resnet20"]), lambda tensors: tensors.pop("layer2.1.bn1.bias"))
    found = identify(short)
    assert found[0].table.name == "cifar/resnet20"
    assert (found[0].missing, found[0].misfits, found[0].is_complete) == (1, 0, False)
    strange = changed(short, lambda tensors: tensors.update({"extra": lazy("extra", (3,))}))
    assert identify(strange)[0].misfits == 1


def test_what_is_of_no_architecture_is_named_nothing():
    none = replace(source_of(TABLES["cifar/resnet20"]), tensors={"a.weight": lazy("a.weight", (2, 2))})
    assert identify(none) == ()
    assert identify(replace(none, tensors={})) == ()
    assert identify(renamed(source_of(TABLES["cifar/resnet20"]), lambda n: f"x{n}")) == ()


@pytest.mark.parametrize(
    ("name", "prefix", "head"),
    [
        ("fastai/resnet18", "0.", "1.8"),
        ("fastai/resnet18", "", "10"),
        ("fastai/vgg11_bn", "0.0.", "1.8"),
        ("transformers/resnet50", "resnet.", "classifier.1"),
        ("transformers/mobilenet_v2", "mobilenet_v2.", "classifier"),
        ("torchvision/resnet18", "model.net.", "model.head"),
        ("torchvision/mobilenet_v2", "_orig_mod.module.", "_orig_mod.module.classifier.1"),
    ],
)
def test_the_same_networks_under_the_names_of_other_libraries(name, prefix, head):
    """As fastai's, transformers' and Lightning's networks name them: the head beside the base."""
    base = renamed(source_of(TABLES[name], config_for(TABLES[name], classes=0)), lambda n: prefix + n)
    features = feature_shape(config_for(TABLES[name], classes=0))[-1]
    own = {f"{head}.weight": (5, features), f"{head}.bias": (5,)}
    source = changed(base, lambda tensors: tensors.update({n: lazy(n, shape) for n, shape in own.items()}))
    found = identify(source)[0]
    assert (found.table.name, found.is_complete, found.prefixes) == (name, True, (prefix,))
    plan = make_plan(source, TABLES[name])
    assert (plan.config.classes, plan.coverage) == (5, 1)


def test_nothing_is_read():
    def refuse():
        raise AssertionError("read")

    source = source_of(TABLES["keras/mobilenet_v2"])
    unread = replace(source, tensors={name: replace(each, read=refuse) for name, each in source.tensors.items()})
    assert names(unread) == ["keras/mobilenet_v2"]
