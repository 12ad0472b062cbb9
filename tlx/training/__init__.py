"""Training: the step, the loop over phases, evaluation, callbacks and checkpoints."""

from tlx.images.mix import Mixup
from tlx.records.phase import PhaseRecord
from tlx.training.cache_options import ActivationCache
from tlx.training.callback import Callback, EpochState
from tlx.training.checkpoint import Checkpoints
from tlx.training.evaluate import Evaluation, evaluate
from tlx.training.features import features, predictions
from tlx.training.fitted import Fit
from tlx.training.history import History
from tlx.training.loop import fit
from tlx.training.method import StepOptions
from tlx.training.options import TrainOptions
from tlx.training.per_word import PerWord, per_word
from tlx.training.programs import forget_programs
from tlx.training.state import TrainState
from tlx.training.step import make_train_step

__all__ = [
    "ActivationCache",
    "Callback",
    "Checkpoints",
    "EpochState",
    "Evaluation",
    "Fit",
    "History",
    "Mixup",
    "PerWord",
    "PhaseRecord",
    "StepOptions",
    "TrainOptions",
    "TrainState",
    "evaluate",
    "features",
    "fit",
    "forget_programs",
    "make_train_step",
    "per_word",
    "predictions",
]
