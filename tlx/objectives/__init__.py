"""Objectives: what a model is trained for; classes, labels, numbers, tags of words, or a function of one's own."""

from tlx.objectives.classification import Classification, balanced_weights
from tlx.objectives.function import ObjectiveFunction, as_objective
from tlx.objectives.multi_label import MultiLabel
from tlx.objectives.named import NamedObjective, objective_from_dict
from tlx.objectives.objective import Objective, mean_of, sums_of
from tlx.objectives.regression import Regression
from tlx.objectives.token_classification import TokenClassification

__all__ = [
    "Classification",
    "MultiLabel",
    "NamedObjective",
    "Objective",
    "ObjectiveFunction",
    "Regression",
    "TokenClassification",
    "as_objective",
    "balanced_weights",
    "mean_of",
    "objective_from_dict",
    "sums_of",
]
