import re
from dataclasses import replace

import numpy as np
import pytest
from sources import (
    as_keras_3,
    changed,
    config_for,
    lazy,
    renamed,
    source_of,
    tensor,
    with_numbered_layers,
)

from tlx.convert import TABLES, identify, make_plan
from tlx.errors import ConfigError, WeightsError
from tlx.models import leaf_shapes

CIFAR = TABLES["cifar/resnet20"]
MOBILENET = TABLES["keras/mobilenet_v2"]


def sources(plan):
    return {match.path: match.tensor.name for match in plan.matches}


# What fits


def test_every_leaf_has_its_tensor_and_the_rest_a_reason():
    source = source_of(CIFAR)
    plan = make_plan(source, CIFAR)
    assert plan.config == config_for(CIFAR)
    assert (plan.coverage, plan.fresh, plan.prefix, plan.matched_by) == (1, (), "", "name")
    found = sources(plan)
    assert found.keys() == leaf_shapes(plan.config).keys()
    assert found["params/base/stem/conv/kernel"] == "conv1.weight"
    assert found["params/base/block2_1/conv2_norm/scale"] == "layer2.0.bn2.weight"
    assert found["batch_stats/base/block3_3/conv1_norm/var"] == "layer3.2.bn1.running_var"
    assert found["params/head/logits/bias"] == "linear.bias"
    assert {unused.source for unused in plan.ignored} == source.tensors.keys() - set(found.values())
    assert {(unused.reason, unused.kept) for unused in plan.ignored} == {
        ("a counter of batches, of no use in inference", True)
    }


def test_nothing_is_read_for_a_plan():
    def refuse():
        raise AssertionError("read")

    source = source_of(CIFAR)
    unreadable = {name: replace(each, read=refuse) for name, each in source.tensors.items()}
    assert make_plan(replace(source, tensors=unreadable), CIFAR).coverage == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["keras/mobilenet_v2", "torchvision/resnet18", "cifar/resnet20"])
@pytest.mark.parametrize("channels", [1, 5])
def test_the_inputs_channels_are_the_files(name, channels):
    table = TABLES[name]
    source = source_of(table, config_for(table, channels=channels))
    assert make_plan(source, table, input_size=(64, 48)).config.input_shape == (64, 48, channels)


@pytest.mark.parametrize(
    "name", ["keras/vgg16", "keras/inception_v3", "torchvision/vgg11", "timm/vgg11", "cifar/resnet20"]
)
def test_a_fine_tuned_head_keeps_its_classes(name):
    table = TABLES[name]
    config = config_for(table, classes=5)
    plan = make_plan(source_of(table, config), table, input_size=config.input_shape[:2])
    assert plan.config == config


@pytest.mark.parametrize("name", ["keras/vgg16", "keras/inception_v3", "timm/vgg11_bn", "cifar/resnet20"])
def test_a_file_without_a_head_has_none_and_that_is_no_fault(name):
    table = TABLES[name]
    config = config_for(table, classes=0)
    plan = make_plan(source_of(table, config), table, input_size=config.input_shape[:2])
    assert replace(plan.config, pool="average") == config
    assert plan.coverage == 1


@pytest.mark.parametrize("name", ["keras/vgg16", "timm/vgg11", "cifar/resnet20"])
def test_a_head_that_is_not_asked_for_is_listed(name):
    table = TABLES[name]
    plan = make_plan(source_of(table, counters=False), table, input_size=(32, 32), head=False)
    assert (plan.config.classes, plan.config.hidden, plan.config.pool) == (0, (), "average")
    assert {unused.reason for unused in plan.ignored} == {"of the head, which was not asked for"}
    assert len(plan.ignored) == 2 * (len(table.hidden) + 1)


@pytest.mark.parametrize("stage", ["stem", "block1_3", "block2_1", "block3_3"])
def test_a_file_may_end_where_the_base_is_cut(stage):
    config = config_for(CIFAR, classes=0, until=stage)
    whole, short = (make_plan(source_of(CIFAR, each), CIFAR, until=stage) for each in (None, config))
    assert whole.config == short.config == config
    assert sources(whole) == sources(short)
    assert sources(short).keys() == leaf_shapes(config).keys()
    above = {unused.source for unused in whole.ignored} - {unused.source for unused in short.ignored}
    assert all(name.startswith(("layer", "linear", "bn", "conv")) for name in above)
    if stage != "block3_3":
        assert f"of a stage above {stage}" in {unused.reason for unused in whole.ignored}


def test_an_unknown_stage_is_refused():
    with pytest.raises(ConfigError, match="unknown stage 'block9'"):
        make_plan(source_of(CIFAR), CIFAR, until="block9")


# Names


@pytest.mark.parametrize(
    "prefix", ["", "module.", "state_dict.module.", "model.", "_orig_mod.", "state_dict.model._orig_mod."]
)
@pytest.mark.parametrize("told", [False, True])
def test_names_may_stand_below_a_prefix(prefix, told):
    plan = make_plan(renamed(source_of(CIFAR), lambda name: prefix + name), CIFAR, prefix=prefix if told else None)
    assert (plan.prefix, plan.coverage) == (prefix, 1)
    assert plan.matches[0].tensor.name.startswith(prefix)


def both(first, second, counters=True):
    """Return a file that holds the network twice, below two prefixes."""
    one, other = (renamed(source_of(CIFAR, counters=counters), lambda name, p=p: p + name) for p in (first, second))
    return replace(one, tensors={**one.tensors, **other.tensors})


TWICE = [
    ("model.", "model_ema.module.", "model", "model_ema"),
    ("state_dict.", "state_dict_ema.", "state_dict", "state_dict_ema."),
    ("module.encoder_q.", "module.encoder_k.", "module.encoder_q", "module.encoder_k"),
    ("", "model.", "", "model"),
]


@pytest.mark.parametrize(("first", "second", "one", "other"), TWICE)
def test_a_network_that_is_there_twice_is_chosen_by_prefix(first, second, one, other):
    source = both(first, second)
    with pytest.raises(WeightsError, match=r"holds cifar/resnet20 2 times, under .*choose one \(tlx convert --prefix"):
        make_plan(source, CIFAR)
    for prefix, start, left in ((one, first, second), (other, second, first)):
        plan = make_plan(source, CIFAR, prefix=prefix)
        assert (plan.prefix, plan.copies, plan.coverage) == (start, (left,), 1)
        assert all(match.tensor.name.startswith(start) for match in plan.matches)
        reasons = {unused.source: unused.reason for unused in plan.ignored}
        assert f"once more, under {left!r}" in reasons[f"{left}conv1.weight"]
        assert not any(unused.kept for unused in plan.ignored if not unused.source.startswith(start))


def test_what_stands_beside_the_other_copy_is_of_no_use_with_it():
    def add(tensors):
        for name in ("student.head.mlp.0.weight", "teacher.head.mlp.0.weight", "centre"):
            tensors[name] = lazy(name, (3, 3))

    source = changed(both("teacher.backbone.", "student.module.backbone.", counters=False), add)
    with pytest.raises(WeightsError, match=r"2 tensors have no use: 'teacher\.head\.mlp\.0\.weight', 'centre'"):
        make_plan(source, CIFAR, prefix="teacher")
    plan = make_plan(source, CIFAR, prefix="teacher", ignored=["centre", "teacher/head"])
    reasons = {each.source: each.reason for each in plan.ignored}
    assert "once more, under 'student.module.backbone.'" in reasons["student.head.mlp.0.weight"]


def test_the_message_names_both_copies():
    with pytest.raises(WeightsError, match=r"--prefix model or --prefix model_ema\.module"):
        make_plan(both("model.", "model_ema.module."), CIFAR)
    (found,) = identify(both("model.", "model_ema.module."))
    assert found.prefixes == ("model.", "model_ema.module.")


def test_a_copy_that_is_ignored_needs_no_choice():
    assert make_plan(both("state_dict.", "ema."), CIFAR, ignored=["ema"]).prefix == "state_dict."


def test_any_prefix_is_found():
    source = renamed(source_of(CIFAR), lambda name: f"wrapped.feature_extractor.{name}")
    for prefix in (None, "wrapped", "wrapped.feature_extractor", "wrapped.feature_extractor."):
        assert make_plan(source, CIFAR, prefix=prefix).prefix == "wrapped.feature_extractor."
        assert [each.table.name for each in identify(source, prefix)] == ["cifar/resnet20"]
    with pytest.raises(WeightsError, match=r"'feature_extractor\.': did you mean 'wrapped\.feature_extractor\.'\?"):
        make_plan(source, CIFAR, prefix="feature_extractor")
    with pytest.raises(WeightsError, match=r"did you mean 'wrapped\.feature_extractor\.'\?"):
        identify(source, prefix="feature_extractor")


@pytest.mark.parametrize("start", ["0.", "net.", "model.encoder.net."])
@pytest.mark.parametrize("ends", [0, 1])
def test_a_prefix_may_be_told_as_far_as_any_of_its_dots_with_it_or_without(start, ends):
    source = renamed(source_of(CIFAR), lambda name: start + name)
    parts = start.rstrip(".").split(".")
    for count in range(1, len(parts) + 1):
        plan = make_plan(source, CIFAR, prefix=".".join(parts[:count]) + "." * ends)
        assert (plan.prefix, plan.coverage) == (start, 1)
    with pytest.raises(WeightsError, match="no name begins with --prefix"):
        make_plan(source, CIFAR, prefix=f"{start}x" + "." * ends)


def test_the_state_of_training_is_listed_and_not_kept():
    def train(tensors):
        tensors["optimizer.state.0.momentum_buffer"] = lazy("optimizer.state.0.momentum_buffer", (16, 3, 3, 3))
        tensors["lr_scheduler.base"] = lazy("lr_scheduler.base", ())

    source = changed(renamed(source_of(CIFAR), lambda name: f"state_dict.{name}"), train)
    plan = make_plan(source, CIFAR)
    state = {unused.source: (unused.reason, unused.kept) for unused in plan.ignored if "counter" not in unused.reason}
    assert state == {
        "optimizer.state.0.momentum_buffer": ("the state of an optimizer", False),
        "lr_scheduler.base": ("the state of a training loop", False),
    }


@pytest.mark.parametrize(
    "name", ["rng", "rng_state", "torch_rng_state", "cuda_rng_state_all.0", "rng_states.torch", "random_state.numpy.1"]
)
def test_the_state_of_random_generators_is_listed_and_not_kept(name):
    source = renamed(source_of(CIFAR, counters=False), lambda n: f"model.{n}")
    plan = make_plan(changed(source, lambda tensors: tensors.update({name: lazy(name, (5056,), "uint8")})), CIFAR)
    assert [(each.source, each.reason, each.kept) for each in plan.ignored] == [
        (name, "the state of a random generator", False)
    ]


def test_an_average_of_weights_may_stand_beside_its_counter():
    def average(tensors):
        tensors["n_averaged"] = lazy("n_averaged", (), "int64")

    source = changed(renamed(source_of(CIFAR), lambda name: f"module.{name}"), average)
    reasons = {unused.source: unused.reason for unused in make_plan(source, CIFAR).ignored}
    assert "a counter of averaged models" in reasons["n_averaged"]


KERAS = ("keras/vgg16", "keras/resnet50", "keras/inception_v3", "keras/xception", "keras/mobilenet_v2")


@pytest.mark.slow
@pytest.mark.parametrize("name", KERAS)
@pytest.mark.parametrize("first", [1, 94])
def test_names_that_keras_made_up_are_matched_by_position(name, first):
    """As of a network that is built by hand, or Inception in a later session."""
    table = TABLES[name]
    config = config_for(table)
    source = source_of(table, config)
    right = make_plan(source, table, input_size=config.input_shape[:2])
    later = with_numbered_layers(source, table, first)
    old_of = dict(zip(later.tensors, source.tensors, strict=True))
    for made in (later, with_numbered_layers(as_keras_3(source, table), table, first)):
        plan = make_plan(made, table, input_size=config.input_shape[:2])
        assert plan.matched_by == "position"
        if made is later:
            assert {path: old_of[new] for path, new in sources(plan).items()} == sources(right)
        assert [(m.path, m.shape, m.transform) for m in plan.matches] == [
            (m.path, m.shape, m.transform) for m in right.matches
        ]
        for one, other in zip(plan.matches, right.matches, strict=True):
            assert one.tensor.shape == other.tensor.shape


@pytest.mark.parametrize("name", KERAS)
def test_keras_3_numbers_a_layers_weights(name):
    table = TABLES[name]
    config = config_for(table)
    plan = make_plan(as_keras_3(source_of(table, config), table), table, input_size=config.input_shape[:2])
    assert (plan.matched_by, plan.coverage) == ("name", 1)
    orders = {
        "kernel": "0",
        "bias": "1",
        "pointwise_kernel": "1",
        "moving_variance": "2" if "inception" in name else "3",
    }
    for match in plan.matches:
        own, number = table.entry(match.path)[1].source, match.tensor.name.rpartition("/")[2]
        assert number == orders.get(own, number)


@pytest.mark.parametrize(
    ("name", "other"), [("cifar/resnet20", "keras/mobilenet_v2"), ("keras/mobilenet_v2", "cifar/resnet20")]
)
def test_a_file_of_another_kind_is_refused(name, other):
    with pytest.raises(WeightsError, match=f"is a file of the format .*, not one of {name}"):
        make_plan(source_of(TABLES[other]), TABLES[name])


# What does not fit


def test_all_that_does_not_fit_is_told_at_once_in_one_line():
    def spoil(tensors):
        for name in ("layer1.0.conv1.weight", "bn1.running_mean"):
            del tensors[name]
        tensors["layer2.0.conv1.weight"] = lazy("layer2.0.conv1.weight", (32, 16, 5, 5))
        tensors["layer3.0.bn1.weight"] = lazy("layer3.0.bn1.weight", (63,))
        tensors["attention.query"] = lazy("attention.query", (4, 4))
        tensors["layer4.0.conv1.weight"] = lazy("layer4.0.conv1.weight", (1,))

    with pytest.raises(WeightsError) as caught:
        make_plan(changed(source_of(CIFAR), spoil), CIFAR)
    assert str(caught.value) == (
        "file.pth: does not fit cifar/resnet20: 2 tensors are missing: 'bn1.running_mean', 'layer1.0.conv1.weight'; "
        "'layer2.0.conv1.weight' has shape (32, 16, 5, 5), which makes (5, 5, 16, 32) where "
        "'params/base/block2_1/conv1/kernel' is (3, 3, 16, 32); 'layer3.0.bn1.weight' has shape (63,), which makes "
        "(63,) where 'params/base/block3_1/conv1_norm/scale' is (64,); 2 tensors have no use: 'attention.query', "
        "'layer4.0.conv1.weight' (--ignore PATTERN); a file that ends early fills a base that is cut (--until STAGE)"
    )


@pytest.mark.parametrize("name", ["cifar/resnet20", "torchvision/resnet50", "keras/mobilenet_v2"])
def test_no_tensor_can_be_left_out(name):
    """Whatever leaf's tensor is missing, the plan names it."""
    table = TABLES[name]
    source = source_of(table, counters=False)
    for missing in list(source.tensors)[:: 1 if len(source.tensors) < 100 else 17]:
        if missing.startswith(("linear.weight", "fc.weight", "predictions/kernel")):
            continue  # see the next test
        with pytest.raises(WeightsError, match=f"1 tensors are missing: '{re.escape(missing)}'"):
            make_plan(changed(source, lambda tensors, missing=missing: tensors.pop(missing)), table)


@pytest.mark.parametrize(
    ("name", "left"), [("cifar/resnet20", "linear.bias"), ("keras/mobilenet_v2", "predictions/bias")]
)
def test_half_a_head_is_not_taken_for_none(name, left):
    missing = left.replace("bias", {"linear.bias": "weight"}.get(left, "kernel"))
    with pytest.raises(WeightsError, match=f"missing: '{missing}'"):
        make_plan(changed(source_of(TABLES[name]), lambda tensors: tensors.pop(missing)), TABLES[name])


def test_weights_of_another_network_are_refused_and_not_matched_to_nothing():
    nothing = replace(source_of(CIFAR), tensors={"a.weight": lazy("a.weight", (3, 3)), "b": lazy("b", (1,))})
    with pytest.raises(WeightsError, match=r"no tensor of cifar/resnet20 is in it: it holds 'a\.weight', 'b'"):
        make_plan(nothing, CIFAR)
    with pytest.raises(WeightsError, match=r"no name begins with --prefix 'nowhere\.'"):
        make_plan(source_of(CIFAR), CIFAR, prefix="nowhere")
    with pytest.raises(WeightsError, match="no tensor of cifar/resnet20"):
        make_plan(nothing, CIFAR, ignored=["a", "b"])


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "bool"])
def test_whole_numbers_are_not_weights(dtype):
    def quantize(tensors):
        tensors["conv1.weight"] = tensor("conv1.weight", np.ones((16, 3, 3, 3), dtype))

    with pytest.raises(WeightsError, match=f"'conv1.weight' holds {dtype}: quantized"):
        make_plan(changed(source_of(CIFAR), quantize), CIFAR)


# What the caller takes upon them


def test_what_is_fresh_need_not_be_there():
    source = changed(
        source_of(CIFAR), lambda tensors: [tensors.pop(f"layer1.0.{name}") for name in ("conv1.weight", "bn2.bias")]
    )
    plan = make_plan(source, CIFAR, fresh=["base/block1_1/conv1", "base/*/conv2_norm/bias"])
    assert len(plan.fresh) == 10
    assert "params/base/block1_1/conv1/kernel" in plan.fresh
    assert plan.coverage == 1 - 10 / len(leaf_shapes(plan.config))
    assert not {match.path for match in plan.matches} & set(plan.fresh)
    assert "its leaf stays fresh" in {unused.reason for unused in plan.ignored}  # of the other blocks


def test_what_is_ignored_is_selected_by_patterns_over_the_name_with_slashes():
    def add(tensors):
        for name in ("attention.query.weight", "attention.key", "extra"):
            tensors[name] = lazy(name, (2,))

    source = changed(source_of(CIFAR), add)
    plan = make_plan(source, CIFAR, ignored=["attention/**", "extra"])
    assert {u.source for u in plan.ignored if u.reason == "as asked for"} == {
        "attention.query.weight",
        "attention.key",
        "extra",
    }
    with pytest.raises(WeightsError, match="1 tensors have no use: 'extra'"):
        make_plan(source, CIFAR, ignored=["attention"])


@pytest.mark.slow
def test_torchvisions_auxiliary_classifier_is_kept_beside():
    table = TABLES["torchvision/inception_v3"]

    def add(tensors):
        for name, shape in (("AuxLogits.conv0.conv.weight", (128, 768, 1, 1)), ("AuxLogits.fc.bias", (1000,))):
            tensors[name] = lazy(name, shape)

    plan = make_plan(changed(source_of(table, counters=False), add), table)
    assert {(unused.source, unused.kept) for unused in plan.ignored} == {
        ("AuxLogits.conv0.conv.weight", True),
        ("AuxLogits.fc.bias", True),
    }
