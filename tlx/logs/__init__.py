"""Logs: what is told of a run, ready-made ones for files and services, and progress."""

from tlx.logs.csv import CSV
from tlx.logs.json_lines import JsonLines
from tlx.logs.log import Log
from tlx.logs.mlflow import MLflow
from tlx.logs.progress import ProgressBar, ProgressLines
from tlx.logs.tensorboard import TensorBoard
from tlx.logs.trackio import Trackio
from tlx.logs.wandb import WandB

__all__ = [
    "CSV",
    "JsonLines",
    "Log",
    "MLflow",
    "ProgressBar",
    "ProgressLines",
    "TensorBoard",
    "Trackio",
    "WandB",
]
