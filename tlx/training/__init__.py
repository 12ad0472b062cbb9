"""Training: the step, the loop over phases, evaluation, checkpoints, logs and whole runs."""

from tlx.training.evaluate import Evaluation, evaluate, predict
from tlx.training.loop import Fit, fit
from tlx.training.loss import Loss, balanced_weights
from tlx.training.phase import PhaseRecord
from tlx.training.run import Run, evaluate_run, finetune, split_of
from tlx.training.step import TrainState, make_train_step

__all__ = [
    "Evaluation",
    "Fit",
    "Loss",
    "PhaseRecord",
    "Run",
    "TrainState",
    "balanced_weights",
    "evaluate",
    "evaluate_run",
    "finetune",
    "fit",
    "make_train_step",
    "predict",
    "split_of",
]
