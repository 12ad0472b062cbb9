"""Options become the recipe that they describe, with a second learning rate and decay for the phases with the base."""

from types import SimpleNamespace

import pytest

from tlx.cli.finetune import Finetune
from tlx.cli.options import config_flags, parse
from tlx.optim import Constant, InverseTime

BASE = SimpleNamespace(stages=("conv1", "conv2"), variables={"params": {}})
XCEPTION = ["--schedule", "inverse-time", "--head-rate", 0.2, 0.01, "--base-rate", 0.02, "--decay", 0.01, 0.001]


def schedules(*arguments):
    """Return the schedule of each label in each phase."""
    options = parse(Finetune, "tlx finetune", [str(argument) for argument in arguments])
    return [{label: group.schedule for label, group in phase.groups.items()} for phase in options.build_recipe(BASE)]


def test_the_second_phase_has_rates_and_decay_of_its_own():
    assert schedules(*XCEPTION) == [
        {"head": InverseTime(0.2, decay=0.01)},
        {"base": InverseTime(0.02, decay=0.001), "head": InverseTime(0.01, decay=0.001)},
    ]


def test_so_have_all_later_phases_of_gradual():
    head, *later = schedules("--recipe", "gradual", "--head-rate", 0.2, 0.01)
    assert head == {"head": Constant(0.2)}
    assert later == [{"base": Constant(1e-4), "head": Constant(0.01)}] * 2


def test_one_value_is_for_all_phases():
    assert schedules("--head-rate", 0.5) == [
        {"head": Constant(0.5)},
        {"base": Constant(1e-4), "head": Constant(0.5)},
    ]
    one = schedules("--schedule", "inverse-time", "--decay", 0.1)
    assert {schedule.decay for phase in one for schedule in phase.values()} == {0.1}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--recipe", "probe", "--head-rate", 1, 2], "--head-rate: 2 values: give one with --recipe probe"),
        (
            ["--recipe", "full", "--schedule", "inverse-time", "--decay", 1, 2],
            "--decay: 2 values: give one with --recipe full",
        ),
        (["--head-rate", 1, 2, 3], "--head-rate: 3 values: give one or two"),
        (["--head-rate"], "--head-rate: 0 values: give one or two"),
        (["--head-rate", 1e-3, "nan"], "--head-rate: the learning rate must be a finite number above 0, not nan"),
        (["--decay", 0.1], "--decay does not go with --schedule constant"),
        (["--schedule", "inverse-time"], "--schedule inverse-time needs --decay"),
    ],
)
def test_values_that_do_not_fit_are_refused(refused, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert words in refused(2, "finetune", *arguments)


def test_files_of_earlier_runs_are_read(tmp_path):
    (tmp_path / "config.yaml").write_text("head_rate: 0.01\ndecay: null\ncrop: null\nhidden: []\n")
    arguments = config_flags(Finetune, tmp_path / "config.yaml")
    options = parse(Finetune, "tlx finetune", arguments)
    assert (options.head_rate, options.decay, options.crop, options.hidden) == ((0.01,), (), None, ())
