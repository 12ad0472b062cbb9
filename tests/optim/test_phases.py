import json

import pytest

from tlx.errors import ConfigError
from tlx.optim import Cosine, Group, Phase, Sgd
from tlx.optim.phases import to_plain

GROUP = Group(Cosine(0.1, warmup=2), Sgd(nesterov=True), weight_decay=0.5)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"epochs": 0}, "phase 'head': epochs must be at least 1, not 0"),
        ({"epochs": -3}, "epochs must be at least 1, not -3"),
        ({"epochs": 1.5}, "epochs must be a whole number, not 1.5"),
        ({"epochs": True}, "epochs must be a whole number, not True"),
        ({"epochs": None}, "epochs must be at least 1, not None"),
        ({"patience": "3"}, "patience must be a whole number, not '3'"),
        ({"patience": 0}, "phase 'head': patience must be at least 1, not 0"),
        (
            {"monitor": "loss"},
            "phase 'head': monitor 'loss' is no score of validation, such as 'val_loss' or 'val_accuracy'",
        ),
        ({"norms": "frozen"}, "unknown norms 'frozen': use one of 'batch', 'stored'"),
        ({"groups": {"all": "adam"}}, "phase 'head': the group of label 'all' must be a tlx.optim.Group, not 'adam'"),
    ],
)
def test_phases_that_make_no_sense_are_refused(change, fault):
    with pytest.raises(ConfigError, match=fault):
        Phase(**{"name": "head", "epochs": 1, "rules": (("**", "all"),), "groups": {"all": GROUP}, **change})


def test_plain_data_says_all_of_a_phase():
    phase = Phase("head", 3, (("base", "frozen"), ("head", "head")), {"head": GROUP}, patience=2)
    plain = to_plain(phase)
    assert json.loads(json.dumps(plain)) == plain
    assert plain == {
        "kind": "Phase",
        "name": "head",
        "epochs": 3,
        "rules": [["base", "frozen"], ["head", "head"]],
        "groups": {
            "head": {
                "kind": "Group",
                "schedule": {"kind": "Cosine", "rate": 0.1, "warmup": 2, "end": 0.0},
                "optimizer": {"kind": "Sgd", "momentum": 0.9, "nesterov": True},
                "weight_decay": 0.5,
                "clip_norm": None,
                "no_decay": ["**/bias", "**/scale"],
            }
        },
        "patience": 2,
        "monitor": "val_loss",
        "fresh": [],
        "norms": "batch",
    }
