"""Token classification: a tag for each word of a text, and the entities that tags mark."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from tlx.data.source import Source, targets_of
from tlx.errors import ConfigError, check_fraction
from tlx.models.head import Pool
from tlx.objectives.classification import cross_entropy
from tlx.objectives.objective import Objective
from tlx.text.entities import OUTSIDE, Counts, count_entities, mark_entities, scheme_of, total_of

FEW = 1e-6  # the weight of a text none of whose words counts, so that the mean of a batch of such is 0 and not NaN


@dataclass(frozen=True)
class TokenClassification(Objective):
    """Give each word of a text a tag; targets are (B, W) numbers of tags, -1 behind a text's last word.

    The model's outputs are a mapping of `logits` (B, W, C) and `words` (B, W), true where a word has a piece, as
    `tlx.models.Head(pool="words")` gives them. The loss is the mean over words, not over texts.

    Metrics: "accuracy", the share of the words that are right. Where tags mark entities also "precision", "recall" and
    "f1" of these, of all types together: an entity is right where its words and its type are those of a true one, as
    conlleval and seqeval count. A word that was cut off has no prediction: it is wrong, and outside of entities.

    Args:
        label_smoothing: mixes the true tag with the uniform distribution over all tags; from 0 to under 1.
        tags: the names of the tags; by default those of the training data.
        scheme: of the entities that they mark, "IOB1", "IOB2" or "BIOES" (`tlx.text.scheme_of`), found likewise; None
            where they mark none.

    >>> outputs = {"logits": jnp.zeros((1, 3, 4)), "words": jnp.array([[True, True, False]])}
    >>> terms = TokenClassification()(outputs, {"target": jnp.array([[0, 1, -1]])})
    >>> loss, words = terms["loss"]
    >>> round(float(loss[0] / words[0]), 4), float(words[0])  # the logarithm of 4
    (1.3863, 2.0)
    """

    label_smoothing: float = 0.0
    tags: tuple[str, ...] = ()
    scheme: str | None = None

    higher_is_better: ClassVar[frozenset[str]] = frozenset({"accuracy", "precision", "recall", "f1"})
    target_kinds: ClassVar[tuple[str, ...] | None] = ("tags",)
    pool: ClassVar[Pool | None] = "words"

    def __post_init__(self) -> None:
        check_fraction(self, label_smoothing=self.label_smoothing)
        object.__setattr__(self, "tags", tuple(self.tags))

    @property
    def metrics(self) -> tuple[str, ...]:  # type: ignore[override]  # which hang on the tags
        """What `measure` gives."""
        return ("accuracy", "precision", "recall", "f1") if mark_entities(self.tags) else ("accuracy",)

    def __call__(self, outputs: Any, batch: Mapping[str, Any], key: jax.Array | None = None) -> Mapping[str, Any]:
        """Return the terms `loss` and `accuracy`, sums over the words of each text and how many count."""
        logits, words = outputs["logits"], outputs["words"]
        tags = batch["target"][:, : words.shape[1]]  # no word behind these has a piece
        counts = words & (tags >= 0)
        labels = jnp.where(counts, tags, 0)
        smoothing = 0.0 if key is None else self.label_smoothing
        losses = cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), smoothing)
        losses = jnp.where(counts, losses.reshape(labels.shape), 0).sum(1)
        right = (counts & (logits.argmax(-1) == labels)).sum(1)
        weights = jnp.where(counts.any(1), counts.sum(1).astype(losses.dtype), FEW)
        return {"loss": (losses, weights), "accuracy": (right, weights)}

    def check(self, outputs: Any, source: Source) -> None:
        """Raise `ConfigError` where the outputs are no logits of words, or of another number of tags."""
        logits = outputs.get("logits") if isinstance(outputs, Mapping) else None
        if logits is None or "words" not in outputs or len(logits.shape) != 3:
            raise ConfigError(
                "tags: the model gives no logits of words: give it a new head with pool='words' (tlx.models.Head)"
            )
        if logits.shape[-1] != len(source.classes):
            raise ConfigError(
                f"the data have {len(source.classes)} tags, and the model {logits.shape[-1]}: give it a new head"
            )

    def fitted(self, source: Source) -> "TokenClassification":
        """Return the objective with the names of the tags, and their scheme, where it has none."""
        if self.tags:
            return self
        names = tuple(source.classes)
        return replace(self, tags=names, scheme=scheme_of(_named(targets_of(source), names)))

    def predict(self, outputs: Any) -> jax.Array:
        """Return the probability of each tag, (B, W, C) float32; zeros where there is no word, or no piece of it."""
        found: jax.Array = jax.nn.softmax(outputs["logits"]) * outputs["words"][..., None]
        return found

    def monitor(self, source: Source) -> str:
        """Return "val_f1" where the tags of a source mark entities, else "val_accuracy"."""
        return "val_f1" if mark_entities(source.classes) else "val_accuracy"

    def measure(self, predictions: Any, targets: Any) -> dict[str, float]:
        """Return the metrics of probabilities (N, W, C) and tags (N, V), V at least W."""
        said, there = answers_of(predictions, targets.shape[1]), targets >= 0
        found = {"accuracy": float(((said == targets) & there).sum() / there.sum())}
        if not mark_entities(self.tags):
            return found
        total = total_of(self.entities(predictions, targets).values())
        return {**found, "precision": total.precision, "recall": total.recall, "f1": total.f1}

    def entities(self, predictions: Any, targets: Any) -> dict[str, Counts]:
        """Return by type how many entities are right, said and true."""
        said = answers_of(predictions, targets.shape[1])
        lengths = (targets >= 0).sum(1)
        true = _named(targets, self.tags)
        answers = [
            [OUTSIDE if tag < 0 else self.tags[tag] for tag in row[:length].tolist()]
            for row, length in zip(said, lengths, strict=True)
        ]
        return count_entities(true, answers)


def answers_of(predictions: np.ndarray, width: int) -> np.ndarray:
    """Return the most probable tag of each word, (N, width) int32, of probabilities (N, W, C); -1 where none is given.

    >>> answers_of(np.array([[[0.2, 0.8], [0.0, 0.0]]]), 3).tolist()
    [[1, -1, -1]]
    """
    found = np.full((len(predictions), width), -1, np.int32)
    given = predictions[:, :width].any(-1)
    found[:, : given.shape[1]] = np.where(given, predictions[:, :width].argmax(-1), -1)
    return found


def _named(tags: np.ndarray, names: tuple[str, ...]) -> list[list[str]]:
    """Return the names of tags (N, W), without what is behind the last word."""
    return [[names[tag] for tag in row[row >= 0].tolist()] for row in tags]
