"""Training: the step, the loop over phases, evaluation, checkpoints, logs and whole runs."""

from tlx.training.cache import Cache
from tlx.training.checkpoint import Checkpoints
from tlx.training.estimate import Estimate, PhaseEstimate, estimate
from tlx.training.evaluate import Evaluation, evaluate
from tlx.training.features import features, probabilities
from tlx.training.features_file import FeatureLabels, check_features_file, write_features
from tlx.training.fitted import Fit
from tlx.training.history import History
from tlx.training.log import Log
from tlx.training.loop import fit
from tlx.training.loss import Loss, balanced_weights
from tlx.training.loss_function import LossFunction
from tlx.training.mix import Mix
from tlx.training.phase import PhaseRecord
from tlx.training.predictions import Predictions, predict
from tlx.training.programs import forget_programs
from tlx.training.run import Run, evaluate_run, finetune, split_of
from tlx.training.sentinel import Verdict, check_inputs
from tlx.training.state import TrainState
from tlx.training.step import make_train_step

__all__ = [
    "Cache",
    "Checkpoints",
    "Estimate",
    "Evaluation",
    "FeatureLabels",
    "Fit",
    "History",
    "Log",
    "Loss",
    "LossFunction",
    "Mix",
    "PhaseEstimate",
    "PhaseRecord",
    "Predictions",
    "Run",
    "TrainState",
    "Verdict",
    "balanced_weights",
    "check_features_file",
    "check_inputs",
    "estimate",
    "evaluate",
    "evaluate_run",
    "features",
    "finetune",
    "fit",
    "forget_programs",
    "make_train_step",
    "predict",
    "probabilities",
    "split_of",
    "write_features",
]
