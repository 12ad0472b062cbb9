"""Scores are those of the model at rest, example by example."""

import jax
import numpy as np
import pytest
from toys import PLAIN, RANDOM, SPEC, toy_source

from tlx.data import Subset
from tlx.errors import DataError
from tlx.objectives import Classification
from tlx.predictions import predict
from tlx.training import evaluate
from tlx.training.evaluate import Evaluation

SOURCE = toy_source(10)


def numpy_scores(variables, images):
    """The toy model in NumPy, on the stored statistics."""
    x = images.reshape(len(images), -1).astype(np.float64)
    params = jax.tree.map(np.asarray, variables)
    for stage in ("stem", "block"):
        own, stats = params["params"]["base"][stage], params["batch_stats"]["base"][stage]["norm"]
        x = x @ own["dense"]["kernel"]
        x = (x - stats["mean"]) / np.sqrt(stats["var"] + 1e-5) * own["norm"]["scale"] + own["norm"]["bias"]
        x = np.maximum(x, 0)
    logits = x @ params["params"]["head"]["logits"]["kernel"] + params["params"]["head"]["logits"]["bias"]
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


@pytest.mark.parametrize("batch_size", [3, 10, 128])
@pytest.mark.parametrize("case", [PLAIN, RANDOM], ids=str)
def test_scores_are_those_of_the_model_at_rest(case, batch_size):
    """No dropout, stored statistics, every example once and in order, whatever the batches."""
    variables = case.variables()
    scores = evaluate(case.model, variables, SOURCE, SPEC, batch_size=batch_size)
    expected = numpy_scores(variables, SPEC(SOURCE.images))
    np.testing.assert_allclose(scores.probabilities, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(scores.labels, SOURCE.targets)
    np.testing.assert_allclose(scores.losses, -np.log(expected[np.arange(10), SOURCE.targets]), rtol=1e-4, atol=1e-6)
    assert scores.probabilities.dtype == scores.losses.dtype == np.float32
    assert scores.loss == pytest.approx(scores.losses.mean(dtype=np.float64))
    assert scores.accuracy == (expected.argmax(-1) == SOURCE.targets).mean()


def test_the_same_call_gives_the_same_bits():
    one, other = (evaluate(PLAIN.model, PLAIN.variables(), SOURCE, SPEC, batch_size=4) for _ in range(2))
    assert one.probabilities.tobytes() == other.probabilities.tobytes()
    assert one.losses.tobytes() == other.losses.tobytes()


def test_predict_gives_the_probabilities_of_evaluate():
    variables = PLAIN.variables()
    scores = evaluate(PLAIN.model, variables, SOURCE, SPEC, batch_size=4)
    found = predict(PLAIN.model, variables, SPEC(SOURCE.images), 4)
    assert found.tobytes() == scores.probabilities.tobytes()


def test_figures_by_hand():
    probabilities = np.array([[0.5, 0.25, 0.25], [0.2, 0.2, 0.6], [0.1, 0.9, 0.0]], np.float32)
    labels, losses = np.array([0, 1, 1], np.int32), np.array([1.0, 2.0, 6.0], np.float32)
    scores = Evaluation({"loss": 3.0, "accuracy": 2 / 3}, labels, probabilities, {"loss": losses}, Classification())
    assert scores.predicted.tolist() == [0, 2, 1]
    assert scores.confidence.tolist() == pytest.approx([0.5, 0.6, 0.9])
    assert scores.accuracy == pytest.approx(2 / 3)
    assert scores.loss == 3.0


def test_nothing_to_evaluate_on_is_refused():
    with pytest.raises(DataError, match="no examples to evaluate on"):
        evaluate(PLAIN.model, PLAIN.variables(), Subset(SOURCE, []), SPEC)
