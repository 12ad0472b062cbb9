"""What a finished run shows: its record, figures, plots and the report page."""

from tlx.analysis.evaluation import Evaluation, read_evaluation
from tlx.analysis.metrics import (
    ClassFigures,
    Confusion,
    accuracy_interval,
    class_figures,
    confusion_matrix,
    most_confused,
)
from tlx.analysis.plots import confusion, curves
from tlx.analysis.record import Epoch, PhaseRecord, RunRecord, Stage, read_run
from tlx.analysis.report import render, write_report

__all__ = [
    "ClassFigures",
    "Confusion",
    "Epoch",
    "Evaluation",
    "PhaseRecord",
    "RunRecord",
    "Stage",
    "accuracy_interval",
    "class_figures",
    "confusion",
    "confusion_matrix",
    "curves",
    "most_confused",
    "read_evaluation",
    "read_run",
    "render",
    "write_report",
]
