"""What a run that tags words writes of its test: an answer a word, entities, and mistakes in their texts."""

import numpy as np

from tlx.data.source import Source, names_of, take
from tlx.data.tokenized import TokenSource, tokenized
from tlx.objectives import TokenClassification
from tlx.presets.pretrained import Pretrained
from tlx.records.tags import TagRecord
from tlx.records.texts import MistakenText
from tlx.runs.seen import MISTAKES
from tlx.runs.texts import MOST_CHARACTERS, text_record
from tlx.text.sentences import Sentence
from tlx.training.evaluate import Evaluation
from tlx.training.per_word import per_word

AROUND = 40  # words of a text that are kept on each side of a mistake


def tagged_columns(
    scores: Evaluation, source: Source, trained: Pretrained, training: Source | None = None
) -> dict[str, np.ndarray]:
    """Return the arrays of an `evaluation.npz`, whose examples are the words that have a prediction.

    Args:
        scores: of every text of `source`, in its order, by a model trained for `tlx.TokenClassification`.
        source: the test texts.
        trained: the model.
        training: the training texts, whose lengths are kept beside those of the test.
    """
    objective, found = scores.objective, per_word(scores)
    assert isinstance(objective, TokenClassification)
    answers = found.scores
    wrong = np.flatnonzero(answers.predicted != answers.labels)
    worst = wrong[np.argsort(-answers.confidence[wrong], kind="stable")][:MISTAKES]
    names = names_of(source) or ("",) * len(source)
    parts = {"training": training, "test": source}
    seen = tokenized(source, trained.preprocess)
    sentences = seen.source if isinstance(seen, TokenSource) else source
    texts = take(sentences, found.texts[worst])["input"] if len(worst) else []
    mistakes = tuple(in_context(words, int(at)) for words, at in zip(texts, found.words[worst], strict=True))
    record = text_record(trained, parts, source, worst[:0], worst[:0], interpret=False)
    entities = objective.entities(scores.predictions, scores.targets) if "f1" in scores.metrics else {}
    tags = TagRecord(
        len(scores), found.without, {kind: (own.right, own.said, own.true) for kind, own in entities.items()}
    )
    return {
        "labels": answers.labels,
        "predicted": answers.predicted,
        "confidence": answers.confidence,
        "loss": answers.losses,
        "mistakes": worst.astype(np.int64),
        "mistake_names": np.array([names[found.texts[row]] for row in worst.tolist()], np.str_),
        **({} if record is None else type(record)(record.parts, mistakes).to_arrays()),
        **tags.to_arrays(),
    }


def in_context(words: Sentence, at: int) -> MistakenText:
    """Return a text around one of its words, which is marked.

    >>> found = in_context(("in", "Rome", "now"), 1)
    >>> found.text, found.words.tolist()
    ('in Rome now', [[0, 3, 7]])
    """
    first = max(at - AROUND, 0)
    before = "".join(f"{word} " for word in words[first:at])[-MOST_CHARACTERS // 2 :]
    word = words[at][: MOST_CHARACTERS // 4]
    after = "".join(f" {word}" for word in words[at + 1 : at + 1 + AROUND])[: MOST_CHARACTERS // 4]
    span = np.array([[0, len(before), len(before) + len(word)]], np.int64)
    return MistakenText(f"{before}{word}{after}", "", span, np.ones(1, np.float32))
