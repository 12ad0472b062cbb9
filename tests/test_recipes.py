import pytest
from cases import CASES

from tlx.errors import ConfigError
from tlx.optim import Constant, Group, Sgd, optimizer
from tlx.recipes import BASE, HEAD, RECIPES, finetune, full, gradual, probe, scratch
from tlx.tree import FROZEN, flatten, label_tree

STAGES = ("a", "b", "c")
SLOW, FAST = Group(Constant(0.01), Sgd()), Group(Constant(1.0), Sgd())


def rules(text):
    """Read rules written as 'pattern label, pattern label'."""
    return tuple(tuple(rule.split()) for rule in text.split(", "))


def brief(recipe):
    return [(phase.name, phase.epochs, phase.rules) for phase in recipe]


HEAD_ALONE = rules("base frozen, head head")


@pytest.mark.parametrize(
    ("recipe", "phases"),
    [
        (probe(STAGES), [("head", 30, HEAD_ALONE)]),
        (probe(STAGES, epochs=3), [("head", 3, HEAD_ALONE)]),
        (finetune(STAGES), [("head", 30, HEAD_ALONE), ("all", 30, rules("base base, head head"))]),
        (
            finetune(STAGES, head_epochs=2, base_epochs=3, thaw_from="b"),
            [
                ("head", 2, HEAD_ALONE),
                ("b and up", 3, rules("base/a frozen, base/b base, base/c base, head head")),
            ],
        ),
        (finetune(STAGES, thaw_from="a"), brief(finetune(STAGES))),
        (
            finetune(STAGES, thaw_from="b", layer_decay=0.5),
            [
                ("head", 30, HEAD_ALONE),
                ("b and up", 30, rules("base/a frozen, base/b b, base/c c, head head")),
            ],
        ),
        (
            gradual(STAGES, head_epochs=4, stage_epochs=2),
            [
                ("head", 4, HEAD_ALONE),
                ("c and up", 2, rules("base/a frozen, base/b frozen, base/c base, head head")),
                ("b and up", 2, rules("base/a frozen, base/b base, base/c base, head head")),
                ("all", 2, rules("base base, head head")),
            ],
        ),
        (full(STAGES, epochs=7), [("all", 7, rules("base base, head head"))]),
        (full(STAGES, layer_decay=0.5), [("all", 60, rules("base/a a, base/b b, base/c c, head head"))]),
        (scratch(STAGES, epochs=7), [("scratch", 7, rules("** all"))]),
    ],
    ids=str,
)
def test_phases_by_hand(recipe, phases):
    assert brief(recipe) == phases or list(recipe) == phases


@pytest.mark.parametrize(
    ("recipe", "rates"),
    [
        (probe(STAGES), [{"head": 1e-3}]),
        (finetune(STAGES), [{"head": 1e-3}, {"base": 1e-4, "head": 1e-3}]),
        (finetune(STAGES, base=SLOW, head=FAST), [{"head": 1.0}, {"base": 0.01, "head": 1.0}]),
        (
            gradual(STAGES, base=Group(Constant(0.8)), layer_decay=0.5),
            [
                {"head": 1e-3},
                {"c": 0.8, "head": 1e-3},
                {"b": 0.4, "c": 0.8, "head": 1e-3},
                {"a": 0.2, "b": 0.4, "c": 0.8, "head": 1e-3},
            ],
        ),
        (full(STAGES, base=SLOW, layer_decay=0.5), [{"a": 0.0025, "b": 0.005, "c": 0.01, "head": 1e-3}]),
        (scratch(STAGES, group=FAST), [{"all": 1.0}]),
    ],
    ids=str,
)
def test_rates_by_hand(recipe, rates):
    assert [{label: group.schedule.rate for label, group in phase.groups.items()} for phase in recipe] == rates


def test_the_base_trains_at_a_lower_rate_than_the_head_by_default():
    assert BASE.schedule.rate < HEAD.schedule.rate


@pytest.mark.parametrize("name", RECIPES)
def test_what_a_phase_can_say_reaches_every_phase(name):
    assert [(phase.patience, phase.monitor) for phase in RECIPES[name](STAGES, patience=3, monitor="val_accuracy")] == [
        (3, "val_accuracy")
    ] * len(RECIPES[name](STAGES))


@pytest.mark.parametrize("name", RECIPES)
def test_only_scratch_starts_from_fresh_weights(name):
    assert {phase.fresh for phase in RECIPES[name](STAGES)} == {("**",) if name == "scratch" else ()}


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("decay", [1.0, 0.5])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_recipe_fits_every_model(case, name, decay):
    params = case.variables()["params"]
    options = {"layer_decay": decay} if name in ("finetune", "gradual", "full") else {}
    for phase in RECIPES[name](case.owners, **options):
        labels = label_tree(params, phase.rules)
        optimizer(labels, phase.groups, steps=1)
        assert set(flatten(labels).values()) - {FROZEN} == set(phase.groups)
        assert all(label != FROZEN for path, label in flatten(labels).items() if path.startswith("head/"))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradual_thaws_one_stage_more_with_each_phase(case):
    params = case.variables()["params"]
    for thawed, phase in enumerate(gradual(case.owners)):
        labels = flatten(label_tree(params, phase.rules))
        trainable = {
            path.split("/")[1] for path, label in labels.items() if label != FROZEN and path.startswith("base/")
        }
        assert trainable == set(case.owners[len(case.owners) - thawed :])


def test_an_unknown_stage_is_refused():
    with pytest.raises(ConfigError, match="no stage 'd' to thaw from: the stages are 'a', 'b', 'c'"):
        finetune(STAGES, thaw_from="d")


@pytest.mark.parametrize("build", [finetune, gradual, full])
@pytest.mark.parametrize("decay", [0.0, 1.5, float("nan")])
def test_a_layer_decay_out_of_range_is_refused(build, decay):
    with pytest.raises(ConfigError, match="layer decay must be"):
        build(STAGES, layer_decay=decay)
