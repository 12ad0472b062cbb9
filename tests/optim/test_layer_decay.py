import pytest

from tlx.errors import ConfigError
from tlx.optim import AdamW, Constant, Cosine, Exponential, Group, InverseTime, Linear, Step, layer_decay

SCHEDULES = [
    Constant(0.8),
    Cosine(0.8, warmup=3, end=0.1),
    Linear(0.8, warmup=3),
    Step(0.8, every=5),
    Exponential(0.8, every=5),
    InverseTime(0.8, decay=0.1),
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_rates_fall_from_the_top_down_and_nothing_else_changes(schedule):
    group = Group(schedule, AdamW(b1=0.8), weight_decay=0.1, clip_norm=2.0, no_decay=("**/bias",))
    rules, groups = layer_decay(["a", "b", "c"], group, decay=0.5)
    assert rules == (("base/a", "a"), ("base/b", "b"), ("base/c", "c"))
    assert list(groups) == ["a", "b", "c"]
    assert [each.schedule.rate for each in groups.values()] == [0.2, 0.4, 0.8]
    assert groups["c"] == group
    for each in groups.values():
        assert type(each.schedule) is type(schedule)
        assert vars(each) | {"schedule": 0} == vars(group) | {"schedule": 0}
        assert vars(each.schedule) | {"rate": 0} == vars(schedule) | {"rate": 0}


def test_a_decay_of_one_keeps_the_rate():
    _, groups = layer_decay(["a", "b"], Group(Constant(0.8)), decay=1.0)
    assert groups == {"a": Group(Constant(0.8)), "b": Group(Constant(0.8))}


@pytest.mark.parametrize("decay", [0.0, -0.5, 1.1, float("nan"), float("inf")])
def test_decays_out_of_range_are_refused(decay):
    with pytest.raises(ConfigError, match=f"layer decay must be above 0 and at most 1, not {decay}"):
        layer_decay(["a"], Group(Constant(0.8)), decay)
