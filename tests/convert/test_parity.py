"""Every table, beside the library that it is for: weights, batch statistics, preprocessing, shapes and totals."""

import math
from dataclasses import replace

import pytest
from marks import slow_but
from peers import import_peer
from reference_files import (
    CLASSES,
    COMPARED,
    cifar_network,
    empty_keras_network,
    empty_torch_network,
    fill,
    save_torch,
    size_of,
    write_reference,
)

from tlx.convert import TABLES, Conversion, make_plan, open_weights, verify
from tlx.convert.reference import OUTPUT, _Torch, reference_for
from tlx.convert.verify import INPUT
from tlx.models import build_model, leaf_shapes
from tlx.presets.arch import arch_named, config_of
from tlx.presets.published import describe

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in Keras
AUXILIARY = 3_326_696  # parameters of Inception's auxiliary classifier


@pytest.mark.parametrize("name", slow_but("keras/mobilenet_v2", of=COMPARED))
def test_features_at_every_stage_and_logits_agree(tmp_path, name):
    table = TABLES[name]
    file = write_reference(table, tmp_path, size_of(table))
    source, arch = open_weights(file), arch_named(name)
    plan = make_plan(source, table, input_size=size_of(table))
    assert (plan.config.classes, plan.coverage) == (CLASSES, 1)
    preprocess = replace(describe(arch, plan, source).preprocess, resize=None, rounding="torchvision")
    reference = reference_for(table, plan.config, source, tag=arch.tag)
    found = verify(table, plan.config, Conversion(plan, str(file)).variables(), reference, preprocess)
    assert found.first is None, found.differences
    assert found.largest <= 1e-4
    stages = [stage for stage in build_model(plan.config).base.stage_names if table.node_of(stage)]
    assert [each.stage for each in found.differences] == [INPUT, *stages, OUTPUT]
    file.unlink()


@pytest.mark.parametrize("name", slow_but("keras/mobilenet_v2", of=COMPARED))
def test_totals_agree(name):
    table = TABLES[name]
    config = config_of(arch_named(name).entry)
    own = leaf_shapes(config)
    trained = sum(math.prod(shape) for path, shape in own.items() if path.startswith("params/"))
    total = sum(math.prod(shape) for shape in own.values())
    if table.dialect == "keras":
        network = empty_keras_network(table, config.input_shape[:2], config.classes)
        assert total == network.count_params()
        assert trained == sum(math.prod(variable.shape) for variable in network.trainable_variables)
        return
    network = empty_torch_network(table, config.classes)
    used = {name: value for name, value in network.named_parameters() if not name.startswith("AuxLogits.")}
    assert trained == sum(value.numel() for value in used.values())
    statistics = [value for name, value in network.named_buffers() if "running" in name and "AuxLogits" not in name]
    assert total - trained == sum(value.numel() for value in statistics)


TOTALS = {  # whole, and without top
    "keras/vgg16": (138_357_544, 14_714_688),
    "keras/vgg19": (143_667_240, 20_024_384),
    "keras/resnet50": (25_636_712, 23_587_712),
    "keras/xception": (22_910_480, 20_861_480),
    "keras/inception_v3": (23_851_784, 21_802_784),
    "keras/mobilenet_v2": (3_538_984, 2_257_984),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TOTALS)
def test_keras_totals_are_those_that_it_documents(name):
    whole = config_of(arch_named(name).entry)
    totals = [
        sum(map(math.prod, leaf_shapes(config).values()))
        for config in (whole, replace(whole, classes=0, hidden=(), pool="average"))
    ]
    assert tuple(totals) == TOTALS[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in COMPARED if name.startswith("torchvision/")])
def test_torchvision_totals_are_those_that_it_documents(name):
    models = import_peer("torchvision").models
    documented = models.get_model_weights(name.partition("/")[2]).IMAGENET1K_V1.meta["num_params"]
    auxiliary = AUXILIARY if "inception" in name else 0
    own = leaf_shapes(config_of(arch_named(name).entry))
    assert sum(math.prod(shape) for path, shape in own.items() if path.startswith("params/")) == documented - auxiliary


@pytest.mark.slow
@pytest.mark.parametrize("depth", [20, 32, 44, 56])
def test_the_cifar_resnets_agree_with_their_authors_module(tmp_path, depth):
    """They are no package, so `cifar_network` is the reference, behind the same hooks as torchvision's."""
    table = TABLES[f"cifar/resnet{depth}"]
    network = fill(cifar_network(depth))
    path = save_torch(network, tmp_path, ".pth")
    transforms = import_peer("torchvision.transforms")
    statistics = transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
    source, arch = open_weights(path), arch_named(table.name)
    stored = import_peer("torch").load(path, weights_only=True)
    for size in ((32, 32), (49, 37)):
        plan = make_plan(source, table, input_size=size)
        reference = _Torch(cifar_network(depth), transforms.Compose([transforms.ToTensor(), statistics]), stored, "")
        variables = Conversion(plan, str(path)).variables()
        found = verify(table, plan.config, variables, reference, describe(arch, plan, source).preprocess)
        assert found.first is None, found.differences
        assert len(found.differences) == 1 + (depth - 2) // 2 + 1
    assert sum(value.numel() for value in network.parameters()) == sum(
        math.prod(shape) for path, shape in leaf_shapes(plan.config).items() if path.startswith("params/")
    )
