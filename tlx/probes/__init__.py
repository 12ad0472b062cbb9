"""Probes: linear heads solved at once, not trained."""

from tlx.probes.probe import Probe, linear_probe
from tlx.probes.ridge import ridge_regression
from tlx.probes.softmax_regression import LinearPath, softmax_regression
from tlx.probes.sweep import ProbeFit

__all__ = ["LinearPath", "Probe", "ProbeFit", "linear_probe", "ridge_regression", "softmax_regression"]
