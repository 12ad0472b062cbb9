"""The objective of tags: a mean over words, words without a piece, entities, and what does not suit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlx.data.tag_arrays import tagged
from tlx.errors import ConfigError
from tlx.objectives import TokenClassification, mean_of, objective_from_dict, sums_of

TAGS = ("O", "B-X", "I-X")
SOURCE = tagged([["a", "b", "c"], ["d"]], [["B-X", "I-X", "O"], ["O"]], TAGS)
FITTED = TokenClassification().fitted(SOURCE)


def outputs(logits, words):
    return {"logits": jnp.asarray(logits, jnp.float32), "words": jnp.asarray(words)}


def test_the_loss_is_the_mean_over_words_and_not_over_texts():
    logits = np.random.default_rng(0).normal(size=(2, 3, 3)).astype(np.float32)
    target = jnp.array([[1, 2, 0], [0, -1, -1]])
    words = [[True, True, True], [True, False, False]]
    sums = sums_of(TokenClassification()(outputs(logits, words), {"target": target}))
    logs = jax.nn.log_softmax(logits)
    wanted = -np.mean([logs[0, 0, 1], logs[0, 1, 2], logs[0, 2, 0], logs[1, 0, 0]])
    assert float(mean_of(sums)) == pytest.approx(wanted, rel=1e-6)
    right = [logits[0, at].argmax() == tag for at, tag in enumerate([1, 2, 0])] + [logits[1, 0].argmax() == 0]
    assert float(mean_of(sums, "accuracy")) == pytest.approx(np.mean(right))


def test_words_without_a_piece_and_padding_have_no_gradient():
    target = jnp.array(
        [[1, 2, 0, 0], [0, -1, -1, -1]]
    )  # the last word of the first text is behind all that have pieces
    words = jnp.array([[True, False, True], [True, False, False]])

    def loss(logits):
        return mean_of(sums_of(TokenClassification()({"logits": logits, "words": words}, {"target": target})))

    gradient = jax.grad(loss)(jnp.ones((2, 3, 3)))
    assert (jnp.abs(gradient).sum(-1) > 0).tolist() == words.tolist()


def test_a_batch_without_a_word_has_a_loss_of_nothing():
    terms = TokenClassification()(outputs(np.ones((1, 2, 3)), [[False, False]]), {"target": jnp.array([[1, 2]])})
    assert float(mean_of(sums_of(terms))) == 0


def test_smoothing_counts_in_training_alone():
    given = outputs([[[2.0, 0, 0]]], [[True]]), {"target": jnp.array([[0]])}
    smooth, plain = TokenClassification(label_smoothing=0.3), TokenClassification()
    key = jax.random.key(0)
    assert float(smooth(*given, key)["loss"][0][0]) > float(plain(*given, key)["loss"][0][0])
    assert float(smooth(*given)["loss"][0][0]) == float(plain(*given)["loss"][0][0])


def one_hot(*rows):
    return np.eye(3, dtype=np.float32)[np.array(rows)]


def test_metrics_are_those_of_entities_and_words():
    assert (FITTED.tags, FITTED.scheme) == (TAGS, "IOB2")
    targets = np.array([[1, 2, 0], [1, -1, -1]])
    found = FITTED.measure(one_hot([1, 2, 1], [1, 0, 0]), targets)
    assert found == {"accuracy": 0.75, "precision": 2 / 3, "recall": 1.0, "f1": 0.8}
    assert FITTED.metrics == tuple(found)


def test_words_that_were_cut_off_are_wrong_and_outside_of_entities():
    predictions = one_hot([0, 1], [1, 0])
    predictions[0, 1] = 0  # has no piece
    targets = np.array([[0, 1, 1], [1, -1, -1]])  # and the third of the first text is behind all that have pieces
    found = FITTED.measure(predictions, targets)
    assert found == {"accuracy": 0.5, "precision": 1.0, "recall": 1 / 3, "f1": 0.5}
    zeros = np.zeros((1, 1, 3), np.float32)
    assert FITTED.measure(zeros, np.array([[0]]))["accuracy"] == 0  # also where the answer would have been O


def test_tags_that_mark_no_entities_have_an_accuracy_alone():
    source = tagged([["a", "b"]], [["NOUN", "VERB"]])
    objective = TokenClassification().fitted(source)
    assert objective.scheme is None
    assert objective.metrics == tuple(objective.measure(np.eye(2, dtype=np.float32)[None], np.array([[0, 0]])))
    assert objective.monitor(source) == "val_accuracy"
    assert objective.monitor(SOURCE) == "val_f1"


def test_predictions_are_probabilities_and_zeros_where_there_is_no_word():
    found = FITTED.predict(outputs(np.zeros((1, 2, 4)), [[True, False]]))
    assert found.tolist() == [[[0.25] * 4, [0.0] * 4]]


def test_it_is_written_and_read():
    assert objective_from_dict(FITTED.to_dict()) == FITTED


def test_outputs_that_are_no_tags_are_refused():
    shapes = jax.eval_shape(lambda: outputs(np.zeros((1, 2, 4)), [[True, False]]))
    with pytest.raises(ConfigError, match="the data have 3 tags, and the model 4"):
        TokenClassification().check(shapes, SOURCE)
    with pytest.raises(ConfigError, match="pool='words'"):
        TokenClassification().check(jax.ShapeDtypeStruct((1, 3), jnp.float32), SOURCE)
