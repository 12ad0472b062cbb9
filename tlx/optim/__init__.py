"""Optimizers by label: schedules, groups, layer decay, phases."""

from tlx.optim.describe import describe
from tlx.optim.groups import Group, optimizer
from tlx.optim.layer_decay import layer_decay
from tlx.optim.memory import Memory, cohorts_of, install, ranks_of, recall
from tlx.optim.optimizers import Adam, AdamW, Sgd
from tlx.optim.phases import Phase, Recipe
from tlx.optim.schedules import Constant, Cosine, Exponential, InverseTime, Linear, Schedule, Step, build_schedule

__all__ = [
    "Adam",
    "AdamW",
    "Constant",
    "Cosine",
    "Exponential",
    "Group",
    "InverseTime",
    "Linear",
    "Memory",
    "Phase",
    "Recipe",
    "Schedule",
    "Sgd",
    "Step",
    "build_schedule",
    "cohorts_of",
    "describe",
    "install",
    "layer_decay",
    "optimizer",
    "ranks_of",
    "recall",
]
