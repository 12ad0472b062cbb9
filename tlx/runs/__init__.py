"""Runs: a base taken to other data in a directory that tells all of it, what that would cost, and what it came to."""

from tlx.runs._finetune import finetune
from tlx.runs.estimate import Estimate, PhaseEstimate, estimate
from tlx.runs.features_file import FeatureLabels, check_features_file, write_features
from tlx.runs.options import RunOptions
from tlx.runs.run import Run, evaluate_run, split_of

__all__ = [
    "Estimate",
    "FeatureLabels",
    "PhaseEstimate",
    "Run",
    "RunOptions",
    "check_features_file",
    "estimate",
    "evaluate_run",
    "finetune",
    "split_of",
    "write_features",
]
