"""What a run on texts keeps of them: their lengths, what was left out, and the words that its mistakes hang on."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from tlx.data.source import Source, take
from tlx.data.tokenized import TokenSource, tokenized
from tlx.models.saliency import saliency
from tlx.presets.pretrained import Pretrained
from tlx.records.texts import Counts, MistakenText, Part, TextRecord
from tlx.text import Rows, Tokens, locate_words

MOST_CHARACTERS = 4000  # of a text that is kept


def part_of(rows: Rows, spec: Tokens) -> Part:
    """Count the texts and pieces of a part of the data, and what is lost of them."""
    lengths, counts = np.unique(rows.lengths, return_counts=True)
    figures = Counts(
        texts=len(rows),
        pieces=int(rows.lengths.sum()),
        positions=int(spec.padded(rows.lengths).sum()),
        cut=int((rows.lost > 0).sum()),
        lost=int(rows.lost.sum()),
        unknown=int(rows.unknown.sum()),
        special=int((rows.special > 0).sum()),
    )
    return Part(figures, np.stack([lengths, counts], axis=1))


def text_record(
    trained: Pretrained,
    parts: Mapping[str, Source | None],
    test: Source,
    mistakes: np.ndarray,
    answers: np.ndarray,
    *,
    interpret: bool = True,
) -> TextRecord | None:
    """Record the texts of a run; None for a model of other inputs.

    Args:
        trained: the model.
        parts: the data by part, as far as they are known.
        test: the examples that the mistakes are of.
        mistakes: (K,), the rows of mistakes.
        answers: (K,), the class that was answered to each.
        interpret: whether the words of the mistakes are scored by gradient x input.
    """
    spec = trained.preprocess
    if not isinstance(spec, Tokens):
        return None
    seen = {name: tokenized(part, spec) for name, part in parts.items() if part is not None and len(part)}
    counted = {name: part_of(each.rows, spec) for name, each in seen.items() if isinstance(each, TokenSource)}
    source = tokenized(test, spec)
    if not len(mistakes) or not isinstance(source, TokenSource):
        return TextRecord(counted)
    texts: list[Any] = _listed(take(source.source, mistakes)["input"])
    scores = _scores(trained, source, mistakes, answers) if interpret else [None] * len(texts)
    return TextRecord(counted, tuple(_mistaken(spec, *each) for each in zip(texts, scores, strict=True)))


def _listed(inputs: Any) -> list[Any]:
    """Return texts, or pairs in columns, one by one."""
    if not isinstance(inputs, Mapping):
        return list(inputs)
    return [dict(zip(inputs, values, strict=True)) for values in zip(*inputs.values(), strict=True)]


def _scores(trained: Pretrained, source: TokenSource, rows: np.ndarray, answers: np.ndarray) -> list[np.ndarray | None]:
    """Return what each piece of each text says for its answer, (T,) each; None where that is not finite."""
    inputs = jax.device_get(source.spec.on_device(source.spec.collate(source.rows.take(rows))))
    variables = jax.device_put(trained.variables)
    found = saliency(trained.model, variables, inputs, answers)
    return [scores if np.isfinite(scores).all() else None for scores in found]


def _mistaken(spec: Tokens, value: Any, scores: np.ndarray | None) -> MistakenText:
    """Put a text beside the scores of its words, each the sum of those of its pieces."""
    pair = {"text": value, "pair": ""} if isinstance(value, str) else value
    kept = tuple(
        (pair.get(name) or "")[:MOST_CHARACTERS].rstrip("\0") for name in ("text", "pair")
    )  # as NumPy keeps it
    words = [] if scores is None else [word for word in locate_words(spec, value) if word.end <= len(kept[word.text])]
    sums = [0.0 if scores is None else float(scores[list(word.places)].sum()) for word in words]
    spans = np.array([word[:3] for word in words], np.int64).reshape(-1, 3)
    return MistakenText(kept[0], kept[1], spans, np.array(sums, np.float32))
