from functools import partial

import pytest
from tf_files import (
    VALUE,
    message,
    object_graph,
    sample,
    write_row,
)

from tlx.convert.plan import beside
from tlx.convert.read import open_weights
from tlx.convert.tf_object_graph import full_names
from tlx.errors import WeightsError


@pytest.fixture
def written(tmp_path):
    """Write a checkpoint of one row, changed by a function; return its index."""
    return partial(write_row, tmp_path)


def test_names_are_those_of_the_object_graph_and_keys_where_it_has_none():
    keys = {f"a/{n}{VALUE}": n for n in range(4)}
    first, second, third, fourth = keys
    graph = object_graph({first: "conv/kernel", second: "kernel", third: "kernel", "elsewhere": "bias"})
    assert full_names(graph, keys) == {first: "conv/kernel", second: second, third: third, fourth: fourth}
    assert full_names(object_graph({first: second, third: third}), keys) == {key: key for key in keys}
    twice = message(*((1, message((2, message((2, name), (3, first.encode()))))) for name in (b"one", b"two")))
    assert full_names(twice, keys)[first] == first


@pytest.mark.parametrize(
    "key",
    [
        f"layer/kernel/.OPTIMIZER_SLOT/optimizer/m{VALUE}",
        f"optimizer/iter{VALUE}",
        f"model/optimizer/_variables/3{VALUE}",
        f"keras_api/metrics/0/total{VALUE}",
    ],
)
def test_the_state_of_training_keeps_its_key_and_is_ignored(key):
    assert full_names(object_graph({key: "Adam/layer/kernel/m"}), [key]) == {key: key}
    assert not beside(key).kept


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("bert/pooler/dense/bias/adam_v", "optimizer"),
        ("conv/weights/Adam_1", "optimizer"),
        ("conv/weights/Momentum", "optimizer"),
        ("beta1_power", "optimizer"),
        ("global_step", "steps"),
        (f"save_counter{VALUE}", "steps"),
        ("conv/weights/ExponentialMovingAverage", None),
        ("adam/kernel", None),
    ],
)
def test_what_of_tensorflows_variables_is_no_weight(name, reason):
    rule = beside(name)
    assert (rule is None) == (reason is None)
    assert rule is None or (reason in rule.reason and not rule.kept)


def test_without_the_shard_of_the_object_graph_names_are_keys(tmp_path):
    index = sample().write(tmp_path)
    index.with_name("model.ckpt.data-00000-of-00001").unlink()
    assert list(open_weights(index).tensors) == [*(f"layers/{n}{VALUE}" for n in range(4)), "table"]


@pytest.mark.parametrize(
    "graph",
    [
        b"\x0a\x7f",
        message((1, b"\x12\x7f")),
        message((1, message((2, message((2, b"\xff"), (3, b"w")))))),
        message((1, message((2, message((2, b"x" * 5000), (3, b"w")))))),
        message((1, 3)),
        b"\x0b\x0b\x0b",  # groups, which may nest as deeply as there are bytes
        pytest.param(message((1, bytes([0x1A, 0]) * 2_100_000)), marks=pytest.mark.slow),
    ],
    ids=lambda graph: f"{graph[:9].hex()}-{len(graph)}",
)
def test_a_damaged_or_endless_object_graph_is_refused(written, refuses, graph):
    with refuses(WeightsError, "model.ckpt.index", "damaged object graph"):
        open_weights(written(lambda made: made.add_graph(graph)))


def test_an_object_graph_may_be_cyclic_and_have_what_nobody_knows(written):
    deep = b""
    for _ in range(3000):
        deep = message((9, deep))
    graph = object_graph({"w": "conv/w", "x": "conv/w"}) + message((1, message((1, deep), (77, 1))))
    assert list(open_weights(written(lambda made: made.add_graph(graph))).tensors) == ["conv/w"]


def test_the_text_of_the_object_graph_is_checked(written, refuses):
    def change(made):
        made.add_graph(object_graph({"w": "conv/w"}))
        made.shards[0] = made.shards[0].replace(b"conv/w", b"conv/v")

    with refuses(WeightsError, "object graph", "CRC"):
        open_weights(written(change))
