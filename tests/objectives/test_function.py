"""Which objective a fit takes: one's own, a function, or that of the data's targets."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlx.data import ColumnSource
from tlx.errors import ConfigError
from tlx.objectives import (
    Classification,
    MultiLabel,
    NamedObjective,
    Objective,
    ObjectiveFunction,
    Regression,
    as_objective,
    objective_from_dict,
    sums_of,
)
from tlx.objectives.objective import check_target_kind

INPUTS = np.zeros((2, 3), np.float32)
TARGETS = {
    "class": ([0, 1], Classification()),
    "soft": ([[1.0, 0.0], [0.5, 0.5]], Classification()),
    "multi-label": ([[1, 1], [0, 0]], MultiLabel()),
    "regression": ([[1.5, 2.0], [3.0, 1.0]], Regression()),
}
SOURCES = {
    kind: ColumnSource({"input": INPUTS, "target": targets}, ("a", "b"), kind) for kind, (targets, _) in TARGETS.items()
}
ALL = [Classification(), MultiLabel(), Regression()]


@pytest.mark.parametrize("kind", TARGETS)
def test_the_targets_say_what_to_train_for(kind):
    assert as_objective(None, SOURCES[kind]) == TARGETS[kind][1]


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("objective", ALL, ids=["one", "several", "numbers"])
def test_an_objective_takes_its_own_targets_only(kind, objective):
    if type(objective) is type(TARGETS[kind][1]):
        check_target_kind(objective, SOURCES[kind], "train")
    else:
        with pytest.raises(ConfigError, match=f"train: its targets are of the kind '{kind}'"):
            check_target_kind(objective, SOURCES[kind], "train")


def test_without_targets_one_has_to_say():
    source = ColumnSource({"input": INPUTS})
    assert source.target_kind == "none"
    with pytest.raises(ConfigError, match="the examples have no targets: say what to train for"):
        as_objective(None, source)


def closeness(outputs, batch, key):
    return {"loss": jnp.abs(outputs[:, 0] - batch["target"])}


def test_a_function_is_an_objective():
    assert as_objective(closeness, SOURCES["class"]) == ObjectiveFunction(closeness)
    assert hash(as_objective(closeness, SOURCES["class"])) == hash(ObjectiveFunction(closeness))  # programs are shared
    own = Classification(0.1)
    assert as_objective(own, SOURCES["class"]) is own


@dataclass
class Unhashable(Objective):
    values: list


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (Classification, "is neither a tlx.Objective nor a function of outputs, batch and key"),
        ("cross_entropy", "is neither a tlx.Objective nor a function"),
        (Unhashable([1]), "Unhashable cannot be hashed, as JAX needs it"),
    ],
)
def test_what_is_no_objective_is_refused(value, said):
    with pytest.raises(ConfigError, match=said):
        as_objective(value, SOURCES["class"])


MASK = jnp.array([True, True, False])


@pytest.mark.parametrize(
    ("term", "mask", "size", "total", "weight"),
    [
        (jnp.array([1.0, 2.0, 4.0]), None, 3, 7.0, 3),
        (jnp.array([1.0, 2.0, 4.0]), MASK, 2, 3.0, 2),
        ((jnp.array([1.0, 2.0, 4.0]), jnp.array([0.5, 1.0, 1.0])), MASK, 2, 3.0, 1.5),
        (jnp.array([True, False, True]), MASK, 2, 1, 2),
        (jnp.asarray(2.5), None, 4, 10.0, 4),  # a mean of the batch
        ((jnp.asarray(2.5), jnp.asarray(2.0)), MASK, 4, 2.5, 2.0),
    ],
    ids=["values", "masked", "weighted", "truth", "a mean", "a sum"],
)
def test_terms_add_up(term, mask, size, total, weight):
    (found,) = sums_of({"loss": term}, mask, size).values()
    assert [float(each) for each in found] == [total, weight]


@pytest.mark.parametrize(
    "objective",
    [
        Classification(0.1, (1.0, 2.0), 2.0),
        Classification(class_weights="balanced"),
        MultiLabel(2.0, (0.25, 0.5)),
        Regression("huber", 0.5, (1.0,), (2.0,)),
        NamedObjective("mine.Own"),
    ],
    ids=str,
)
def test_a_file_gives_it_back(objective):
    assert objective_from_dict(objective.to_dict()) == objective


def test_a_function_is_known_by_its_name():
    assert ObjectiveFunction(closeness).to_dict() == {"kind": "ObjectiveFunction", "function": f"{__name__}.closeness"}
    kept = objective_from_dict(Classification(loss=jax.nn.relu).to_dict())
    assert kept == Classification()


@pytest.mark.parametrize(
    ("plain", "said"),
    [({}, "does not name one"), (3, "does not name one"), ({"kind": "Regression", "power": 2}, "has no 'power'")],
)
def test_what_no_file_says_is_refused(plain, said):
    with pytest.raises(ConfigError, match=said):
        objective_from_dict(plain)
