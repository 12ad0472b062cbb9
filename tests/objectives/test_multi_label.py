"""Several labels: terms and metrics beside scikit-learn, thresholds that validation chooses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, log_loss

from tlx.data import ColumnSource
from tlx.errors import ConfigError, DataError
from tlx.objectives import MultiLabel
from tlx.objectives.multi_label import average_precision, best_threshold

DRAW = np.random.default_rng(1)
LOGITS = DRAW.normal(size=(40, 3)).astype(np.float32) * 2
TARGETS = LOGITS + DRAW.normal(size=(40, 3)) > 0.5
LOGITS[:20] = np.round(LOGITS[:20])  # equal scores
PROBABILITIES = np.asarray(jax.nn.sigmoid(LOGITS))


def test_the_loss_is_the_mean_of_the_labels_log_losses():
    terms = MultiLabel()(jnp.asarray(LOGITS), {"target": jnp.asarray(TARGETS)}, jax.random.key(0))
    pairs = zip(TARGETS.T, PROBABILITIES.T.astype(np.float64), strict=True)
    wanted = [log_loss(truth, score) for truth, score in pairs]
    np.testing.assert_allclose(terms["loss"].mean(), np.mean(wanted), rtol=1e-5)
    assert float(terms["exact_match"].mean()) == pytest.approx(accuracy_score(TARGETS, LOGITS >= 0))


def test_the_focal_loss_lets_what_is_told_well_count_less():
    batch = {"target": jnp.array([[True], [True]])}
    logits = jnp.array([[4.0], [-1.0]])
    plain, focal = (MultiLabel(gamma)(logits, batch, jax.random.key(0))["loss"] for gamma in (0.0, 2.0))
    assert float(focal[0] / plain[0]) < 1e-3 < float(focal[1] / plain[1])


def test_the_metrics_are_scikit_learns():
    said = PROBABILITIES >= 0.5
    assert MultiLabel().measure(PROBABILITIES, TARGETS) == pytest.approx(
        {
            "mean_average_precision": average_precision_score(TARGETS, PROBABILITIES, average="macro"),
            "f1_micro": f1_score(TARGETS, said, average="micro"),
            "f1_macro": f1_score(TARGETS, said, average="macro"),
            "exact_match": accuracy_score(TARGETS, said),
        }
    )


def test_a_label_that_no_example_has_counts_in_no_precision():
    none = np.concatenate([TARGETS, np.zeros((40, 1), bool)], axis=1)
    scores = np.concatenate([PROBABILITIES, np.full((40, 1), 0.1, np.float32)], axis=1)
    with_it, without = MultiLabel().measure(scores, none), MultiLabel().measure(PROBABILITIES, TARGETS)
    assert with_it["mean_average_precision"] == without["mean_average_precision"]
    assert with_it["f1_macro"] == pytest.approx(0.75 * without["f1_macro"])


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_is_scikit_learns(seed):
    draw = np.random.default_rng(seed)
    scores, truth = draw.integers(0, 6, 30).astype(np.float32), draw.random(30) < 0.3
    assert average_precision(scores, truth) == pytest.approx(average_precision_score(truth, scores))


@pytest.mark.parametrize("seed", range(5))
def test_no_threshold_has_a_greater_f1_than_the_one_that_is_chosen(seed):
    draw = np.random.default_rng(seed)
    scores, truth = draw.random(40).round(1), draw.random(40) < 0.4
    chosen = f1_score(truth, scores >= best_threshold(scores, truth))
    assert chosen == pytest.approx(max(f1_score(truth, scores >= cut) for cut in np.linspace(0, 1, 201)))


def test_validation_chooses_a_threshold_for_each_label():
    tuned = MultiLabel().tuned(PROBABILITIES, TARGETS)
    assert len(tuned.thresholds) == 3
    assert tuned.measure(PROBABILITIES, TARGETS)["f1_macro"] >= MultiLabel().measure(PROBABILITIES, TARGETS)["f1_macro"]
    assert MultiLabel().tuned(PROBABILITIES, np.zeros((40, 3))).thresholds == (0.5, 0.5, 0.5)


SOURCE = ColumnSource({"input": LOGITS, "target": TARGETS}, ("a", "b", "c"), "multi-label")


def test_outputs_and_thresholds_are_one_a_label():
    MultiLabel().check(jax.ShapeDtypeStruct((1, 3), jnp.float32), SOURCE)
    with pytest.raises(ConfigError, match=r"3 labels, and the model's outputs are \(1, 2\)"):
        MultiLabel().check(jax.ShapeDtypeStruct((1, 2), jnp.float32), SOURCE)
    with pytest.raises(ConfigError, match="1 thresholds for 3 labels"):
        MultiLabel(thresholds=(0.5,)).check(jax.ShapeDtypeStruct((1, 3), jnp.float32), SOURCE)


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        ([[0, 1, 2]], "row 0: .* is not made of 0 and 1"),
        ([[0, 1]], r"shape \(1, 2\), expected \(N, 3\)"),
        ([[0, 1, np.nan]], r"row 0: .* is not finite"),
        ([["a", "b", "c"]], "targets are numbers"),
    ],
)
def test_targets_that_are_no_labels_are_refused(targets, said):
    with pytest.raises(DataError, match=said):
        ColumnSource({"input": LOGITS[:1], "target": targets}, ("a", "b", "c"), "multi-label")
