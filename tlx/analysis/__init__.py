"""What a finished run shows: its record, figures, plots and the report page."""

from tlx.analysis.evaluation import Evaluation, read_evaluation
from tlx.analysis.feature_map import feature_map
from tlx.analysis.metrics import (
    Calibration,
    ClassFigures,
    Confusion,
    accuracy_interval,
    calibration,
    class_figures,
    confusion_matrix,
    expected_calibration_error,
    most_confused,
    top_k_accuracy,
)
from tlx.analysis.plots import confusion, curves, reliability
from tlx.analysis.record import Epoch, PhaseRecord, RunRecord, Stage, read_run
from tlx.analysis.report import render, write_report

__all__ = [
    "Calibration",
    "ClassFigures",
    "Confusion",
    "Epoch",
    "Evaluation",
    "PhaseRecord",
    "RunRecord",
    "Stage",
    "accuracy_interval",
    "calibration",
    "class_figures",
    "confusion",
    "confusion_matrix",
    "curves",
    "expected_calibration_error",
    "feature_map",
    "most_confused",
    "read_evaluation",
    "read_run",
    "reliability",
    "render",
    "top_k_accuracy",
    "write_report",
]
