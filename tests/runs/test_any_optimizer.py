"""A run with optax's optimizers says what they were made with, and goes on with no others."""

import json

import optax
import pytest
from toys import finetune_toy

import tlx
from tlx.analysis import write_report
from tlx.errors import CheckpointError
from tlx.optim import Constant, Group

pytestmark = pytest.mark.slow  # on small fits: tests/training/test_any_optimizer.py
HEAD, BASE = Group(Constant(0.01), optax.scale_by_lion()), Group(optax.contrib.muon(0.01))


def recipe_of(head, base):
    stages = tlx.load("mlp-mnist").stages
    return tlx.recipes.finetune(stages, head_epochs=1, base_epochs=1, head=head, base=base)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return finetune_toy(tmp_path_factory.mktemp("runs") / "run", recipe=recipe_of(HEAD, BASE), compare_scratch=False)


def test_it_describes_its_optimizers(run):
    phases = json.loads((run.path / "run.json").read_text())["phases"]
    head, base = phases[0]["groups"]["head"], phases[1]["groups"]["base"]
    assert head["schedule"] == {"kind": "Constant", "rate": 0.01}
    assert head["optimizer"]["made_by"][0].startswith("scale_by_lion(b1=0.9, b2=0.99")
    assert base["schedule"] is None
    assert "scale_by_muon(adaptive=False, beta=0.95" in base["optimizer"]["made_by"][0]
    assert "scale_by_lion(b1=0.9" in write_report(run.path).read_text()
    assert [set(record["rates"]) for record in run.history] == [{"head"}, {"head"}]


def test_what_it_leaves_goes_on(run):
    fit = run.load_fit()
    assert set(fit.memory.cohorts.values()) == {"1:base@0", "1:head@0"}
    data = tlx.load_data("digits", labels_per_class=5)
    (phase,) = recipe_of(HEAD, BASE)[1:]
    more = tlx.fit(fit, (phase,), data, tlx.TrainOptions(batch_size=25))
    assert [record["epoch"] for record in more.history] == [1, 2, 3]
    counts = [
        int(value)
        for slots in more.memory.shared.values()
        for slot, value in slots.items()
        if slot.endswith("ScaleByLionState.count")
    ]
    assert counts == [2 + 2 + 2]


@pytest.mark.parametrize(
    ("head", "base", "said"),
    [
        (
            HEAD,
            Group(optax.contrib.muon(0.02)),
            r"/base/optimizer/made_by/0: ….*step_size=-0.01.* -> ….*step_size=-0.02",
        ),
        (Group(Constant(0.01), optax.scale_by_lion(b1=0.5)), BASE, r"groups/head/optimizer/made_by/0: .scale_by_lion"),
        (Group(optax.linear_schedule(0.1, 0, 5), optax.scale_by_lion()), BASE, r"head/schedule: "),
    ],
    ids=["another rate", "another constant", "another schedule"],
)
def test_it_is_not_resumed_with_others(run, head, base, said):
    with pytest.raises(CheckpointError, match=said):
        finetune_toy(run.path, recipe=recipe_of(head, base), compare_scratch=False, resume=True)
