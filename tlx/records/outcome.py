"""What a run answered to its test examples where its targets are no classes: several labels, or numbers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlx.records.evaluation import read_arrays
from tlx.records.fields import fault

_ARRAYS = {"targets": "fbiu", "predictions": "f", "thresholds": "f"}  # by name, the kinds of dtype they may have
_EMPTY = {"thresholds": np.zeros(0, np.float32)}


@dataclass(frozen=True)
class Outcome:
    """Hold targets and predictions (N, C) float64, and of several labels the thresholds (C,), else none (0,)."""

    targets: np.ndarray
    predictions: np.ndarray
    thresholds: np.ndarray

    @property
    def of_labels(self) -> bool:
        """Whether the targets are several labels, not numbers."""
        return len(self.thresholds) > 0

    def figures(self) -> list[dict[str, Any]]:
        """Return what each output came to: of labels average precision, F1 and so on, of numbers the mean errors."""
        return self._of_labels() if self.of_labels else self._of_numbers()

    def _of_labels(self) -> list[dict[str, Any]]:
        from sklearn.metrics import average_precision_score, precision_recall_fscore_support

        truth, said = self.targets > 0.5, self.predictions >= self.thresholds[None]
        found = precision_recall_fscore_support(truth, said, average=None, zero_division=0)
        precision, recall, f1, support = (np.atleast_1d(each) for each in found)
        return [
            {
                "average_precision": average_precision_score(truth[:, at], self.predictions[:, at])
                if support[at]
                else float("nan"),
                "f1": float(f1[at]),
                "precision": float(precision[at]),
                "recall": float(recall[at]),
                "threshold": float(self.thresholds[at]),
                "support": int(support[at]),
            }
            for at in range(truth.shape[1])
        ]

    def _of_numbers(self) -> list[dict[str, Any]]:
        errors = self.predictions - self.targets
        spread = np.square(self.targets - self.targets.mean(0)[None]).sum(0)
        r2 = np.where(
            spread > 0, 1 - np.square(errors).sum(0) / np.where(spread > 0, spread, 1), 0.0
        )  # as is trained for
        columns = (np.abs(errors).mean(0), np.sqrt(np.square(errors).mean(0)), r2)
        deviation = self.targets.std(0)
        return [
            {"mae": float(mae), "rmse": float(rmse), "r2": float(r2), "deviation": float(deviation[at])}
            for at, (mae, rmse, r2) in enumerate(zip(*columns, strict=True))
        ]


UNKNOWN = Outcome(np.zeros((0, 0)), np.zeros((0, 0)), np.zeros(0))
"""Of an objective of one's own: nothing is known of its outputs."""


def read_outcome(path: Path, outputs: int) -> Outcome:
    """Read and check an `evaluation.npz` of targets and predictions (N, `outputs`), as `read_evaluation` does.

    >>> read_outcome(Path("no/such/evaluation.npz"), outputs=2)
    Traceback (most recent call last):
        ...
    tlx.errors.CheckpointError: no/such/evaluation.npz: missing; restore it from a copy, or run again
    """
    arrays = read_arrays(path, _ARRAYS, _EMPTY, [(), _EMPTY])
    targets, predictions, thresholds = (arrays[name].astype(np.float64) for name in _ARRAYS)
    for name, array in (("targets", targets), ("predictions", predictions)):
        if array.ndim != 2 or array.shape[1] != outputs or len(array) != len(targets):
            raise fault(path, f"{name!r} must be ({len(targets)}, {outputs}), found {array.shape}")
        if not np.isfinite(array).all():
            raise fault(path, f"{name!r} holds numbers that are not finite")
    if thresholds.shape not in ((0,), (outputs,)):
        raise fault(path, f"'thresholds' must be ({outputs},), found {thresholds.shape}")
    return Outcome(targets, predictions, thresholds)
