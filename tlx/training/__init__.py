"""Training: the step, the loop over phases, evaluation, checkpoints and logs."""

from tlx.training.cache import Cache
from tlx.training.checkpoint import Checkpoints
from tlx.training.evaluate import Evaluation, evaluate
from tlx.training.features import features, probabilities
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
from tlx.training.state import TrainState
from tlx.training.step import make_train_step

__all__ = [
    "Cache",
    "Checkpoints",
    "Evaluation",
    "Fit",
    "History",
    "Log",
    "Loss",
    "LossFunction",
    "Mix",
    "PhaseRecord",
    "Predictions",
    "TrainState",
    "balanced_weights",
    "evaluate",
    "features",
    "fit",
    "forget_programs",
    "make_train_step",
    "predict",
    "probabilities",
]
