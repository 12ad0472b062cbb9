"""Evaluation word by word, of a model that tags the words of texts."""

from typing import NamedTuple

import numpy as np

from tlx.objectives import TokenClassification
from tlx.training.evaluate import Evaluation

LEAST = 1e-38  # of a probability whose logarithm is taken


class PerWord(NamedTuple):
    """What was answered to M words: an evaluation whose examples they are, and where each stands.

    `texts` (M,) are the numbers of the texts, `words` (M,) those of the words in these. `without` counts the words that
    have no prediction, because they were cut off.
    """

    scores: Evaluation
    texts: np.ndarray
    words: np.ndarray
    without: int


def per_word(scores: Evaluation) -> PerWord:
    """Take an evaluation of texts (N, W, C) apart into their words, without those that have no prediction.

    The metrics stay those of all words. `tlx.evaluate` of a model trained for `tlx.TokenClassification` gives such.

    >>> from tlx.objectives import TokenClassification
    >>> predictions = np.array([[[0.25, 0.75], [0.0, 0.0]]], np.float32)
    >>> found = per_word(Evaluation({"loss": 0.0}, np.array([[1, 0]]), predictions, {}, TokenClassification()))
    >>> found.scores.predicted.tolist(), found.words.tolist(), found.without
    ([1], [0], 1)
    """
    predictions, targets = scores.predictions, scores.targets
    there = targets >= 0
    width = min(predictions.shape[1], targets.shape[1])
    given = there[:, :width] & predictions[:, :width].any(-1)
    texts, words = np.nonzero(given)
    labels = targets[texts, words].astype(np.int32)
    probabilities = predictions[texts, words]
    losses = -np.log(np.maximum(probabilities[np.arange(len(labels)), labels], LEAST))
    found = Evaluation(scores.metrics, labels, probabilities, {"loss": losses.astype(np.float32)}, scores.objective)
    return PerWord(found, texts, words, int(there.sum() - given.sum()))


def count_answers(scores: Evaluation) -> int:
    """Return how many answers an evaluation holds: one for each example, or for each word that has a prediction."""
    return len(per_word(scores).texts) if isinstance(scores.objective, TokenClassification) else len(scores)
