"""What a finished run shows: its record, figures, plots and the report page."""

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
from tlx.analysis.report import render, write_report
from tlx.analysis.run_record import PlannedPhase, RunRecord, read_run
from tlx.records import Epoch, Evaluation, Stage, read_evaluation

__all__ = [
    "Calibration",
    "ClassFigures",
    "Confusion",
    "Epoch",
    "Evaluation",
    "PlannedPhase",
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
