"""Optimizers by label: schedules, groups, layer decay, phases."""

from tlx.optim.groups import Adam, AdamW, Group, Sgd, optimizer
from tlx.optim.layer_decay import layer_decay
from tlx.optim.memory import Memory, ages_of, install, recall
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
    "ages_of",
    "build_schedule",
    "install",
    "layer_decay",
    "optimizer",
    "recall",
]
