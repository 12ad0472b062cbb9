"""A head that is not the published one is read where it is linear layers, left out and reported where not."""

from dataclasses import replace

import pytest
from sources import changed, config_for, lazy, renamed, source_of

from tlx.convert import TABLES, Layer, identify, make_plan
from tlx.errors import WeightsError

CIFAR = TABLES["cifar/resnet20"]
VGG = TABLES["torchvision/vgg11"]
KERAS = TABLES["keras/mobilenet_v2"]


def with_head(table, shapes, prefix=""):
    """Return a table's file with another head: shapes of tensors by name."""
    base = renamed(source_of(table, config_for(table, classes=0), counters=False), lambda name: prefix + name)
    return changed(base, lambda tensors: tensors.update({name: lazy(name, shape) for name, shape in shapes.items()}))


def linear(*layers):
    """Name the tensors of linear layers: (module, inputs, outputs)."""
    return {f"{m}.weight": (outs, ins) for m, ins, outs in layers} | {f"{m}.bias": (outs,) for m, _, outs in layers}


READ = {
    "behind a dropout": (CIFAR, "", linear(("linear.1", 64, 5)), 5, (), "average"),
    "of two layers": (CIFAR, "", linear(("linear.0", 64, 32), ("linear.3", 32, 5)), 5, (32,), "average"),
    "sorted as texts": (CIFAR, "", linear(("linear.10", 32, 5), ("linear.2", 64, 32)), 5, (32,), "average"),
    "by name": (CIFAR, "", linear(("linear.drop.out", 64, 5)), 5, (), "average"),
    "of another name": (CIFAR, "", linear(("last_linear", 64, 5)), 5, (), "average"),
    "beside the base": (CIFAR, "backbone.", linear(("classifier", 64, 5)), 5, (), "average"),
    "beside it, in a container": (CIFAR, "model.backbone.", linear(("model.head.fc", 64, 5)), 5, (), "average"),
    "next in a Sequential": (CIFAR, "0.", linear(("1.4", 64, 5)), 5, (), "average"),
    "sizes of one's own": (
        VGG,
        "",
        linear(("classifier.0", 512 * 49, 64), ("classifier.3", 64, 32), ("classifier.6", 32, 5)),
        5,
        (64, 32),
        "average7x7",
    ),
    "fewer layers": (VGG, "", linear(("classifier.0", 512 * 49, 64), ("classifier.3", 64, 5)), 5, (64,), "average7x7"),
    "more layers": (
        VGG,
        "",
        linear(*((f"classifier.{n}", ins, outs) for n, ins, outs in (("0", 25088, 8), ("3", 8, 6), ("6.0", 6, 4)))),
        4,
        (8, 6),
        "average7x7",
    ),
    "another pooling": (VGG, "", linear(("classifier", 512, 5)), 5, (), "average"),
}


@pytest.mark.parametrize("what", READ)
def test_a_head_of_linear_layers_is_read_and_named(what):
    table, prefix, head, classes, hidden, pool = READ[what]
    source = with_head(table, head, prefix)
    plan = make_plan(source, table, input_size=(32, 32))
    assert (plan.config.classes, plan.config.hidden, plan.config.pool) == (classes, hidden, pool)
    used = {match.tensor.name for match in plan.matches if match.path.startswith("params/head")}
    assert used == head.keys()
    assert plan.prefix == prefix
    if what != "sizes of one's own":
        assert plan.head.startswith(f"read from {plan.head_rows[0].source}")
        assert ("ReLU" in plan.head) == bool(hidden)
    assert identify(source)[0].table.name == table.name
    assert make_plan(source, table, input_size=(32, 32), head=False).head == ""


NORM = {f"linear.1.{end}": (64,) for end in ("weight", "bias", "running_mean", "running_var")}
LEFT = {
    "a batch norm": (NORM | linear(("linear.2", 64, 5)), "'linear.1' is no linear layer"),
    "concatenated pools": (linear(("linear.0", 128, 5)), "'linear.0' takes 128 numbers, what is before it gives 64"),
    "layers that do not fit": (linear(("linear.0", 64, 9), ("linear.2", 8, 5)), "'linear.2' takes 8 numbers"),
    "no bias": ({"linear.0.weight": (5, 64)}, "'linear.0' is no linear layer with a bias"),
}


@pytest.mark.parametrize("what", LEFT)
def test_another_head_is_left_out_with_the_reason(what):
    head, words = LEFT[what]
    source = with_head(CIFAR, head)
    plan = make_plan(source, CIFAR)
    assert (plan.config.classes, plan.coverage, plan.head_rows) == (0, 1, ())
    assert {unused.source for unused in plan.ignored} == head.keys()
    assert {unused.kept for unused in plan.ignored} == {False}
    assert words in plan.head
    assert words in plan.ignored[0].reason
    assert identify(source)[0].table.name == CIFAR.name


@pytest.mark.parametrize("missing", ["classifier.6.weight", "classifier.3.bias", "classifier.0.weight"])
def test_a_damaged_head_is_not_taken_for_another(missing):
    with pytest.raises(WeightsError, match=f"missing: '{missing}'"):
        make_plan(changed(source_of(VGG), lambda tensors: tensors.pop(missing)), VGG)


def keras_file(*dense):
    """Return Keras's MobileNet V2 with these dense layers: (name, inputs, outputs)."""
    source = source_of(KERAS, config_for(KERAS, classes=0))
    layers, tensors = list(source.layers), dict(source.tensors)
    for name, ins, outs in dense:
        own = {f"{name}/kernel": (ins, outs), f"{name}/bias": (outs,)}
        layers.append(Layer(name, "", tuple(own)))
        tensors |= {key: lazy(key, shape) for key, shape in own.items()}
    return replace(source, layers=tuple(layers), tensors=tensors)


@pytest.mark.parametrize(
    ("dense", "hidden"), [([("dense_7", 1280, 5)], ()), ([("fc", 1280, 64), ("out", 64, 5)], (64,))]
)
def test_dense_layers_of_any_name_are_kerass_head(dense, hidden):
    source = keras_file(*dense)
    plan = make_plan(source, KERAS)
    assert (plan.config.classes, plan.config.hidden, plan.matched_by, plan.coverage) == (5, hidden, "name", 1)
    assert plan.head.startswith(f"read from {dense[0][0]}")
    assert [each.table.name for each in identify(source)] == [KERAS.name]
