"""Models: staged bases, heads, the classifier of the two, the registry of architectures."""

from tlx.models._lowerings import lowerings
from tlx.models.base import Base, Stage, cut
from tlx.models.batch_norm import BatchNorm
from tlx.models.bert import BertConfig
from tlx.models.classifier import Classifier
from tlx.models.frozen import frozen_modules, frozen_stages, frozen_statistics, run_frozen
from tlx.models.head import Head
from tlx.models.registry import (
    ARCHITECTURES,
    Architecture,
    ModelConfig,
    architecture_named,
    build_model,
    init_head,
    init_variables,
    initialise,
    leaf_shapes,
)
from tlx.models.staged import Model, StagedModel
from tlx.models.tabulate import Layer, ModelTable, tabulate
from tlx.models.words import WordsConfig

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "Base",
    "BatchNorm",
    "BertConfig",
    "Classifier",
    "Head",
    "Layer",
    "Model",
    "ModelConfig",
    "ModelTable",
    "Stage",
    "StagedModel",
    "WordsConfig",
    "architecture_named",
    "build_model",
    "cut",
    "frozen_modules",
    "frozen_stages",
    "frozen_statistics",
    "init_head",
    "init_variables",
    "initialise",
    "leaf_shapes",
    "lowerings",
    "run_frozen",
    "tabulate",
]
