"""Probes: linear heads solved at once, not trained."""

from tlx.probes.compare import ProbeComparison, compare_probes, paired_interval
from tlx.probes.lbfgs_path import LinearPath
from tlx.probes.logistic_regression import logistic_regression
from tlx.probes.options import ProbeOptions
from tlx.probes.probe import Probe, linear_probe
from tlx.probes.ridge import ridge_classification, ridge_regression
from tlx.probes.softmax_regression import softmax_regression
from tlx.probes.stages import StageProbes, probe_stages
from tlx.probes.sweep import ProbeFit

__all__ = [
    "LinearPath",
    "Probe",
    "ProbeComparison",
    "ProbeFit",
    "ProbeOptions",
    "StageProbes",
    "compare_probes",
    "linear_probe",
    "logistic_regression",
    "paired_interval",
    "probe_stages",
    "ridge_classification",
    "ridge_regression",
    "softmax_regression",
]
