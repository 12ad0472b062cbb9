"""Sentences that are split into words already: their pieces, and which piece is the first one of which word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tlx.errors import ConfigError, DataError
from tlx.text.rows import Rows

Sentence = tuple[str, ...]
"""The words of a text."""


def are_sentences(inputs: Any) -> bool:
    """Tell whether inputs are sentences of words, and no texts, by the first of them.

    >>> are_sentences([("a", "film")]), are_sentences(["a film"])
    (True, False)
    """
    if isinstance(inputs, str) or not hasattr(inputs, "__len__") or hasattr(inputs, "keys") or not len(inputs):
        return False
    first = inputs[0]
    return isinstance(first, tuple | list) and all(isinstance(word, str) for word in first)


def encode_sentences(spec: Any, sentences: Sequence[Sentence]) -> Rows:
    """Turn sentences into rows of pieces as a `Tokens` says; the first piece of a word stands for it.

    Args:
        spec: the input spec; its `long` says what becomes of sentences that are too long.
        sentences: the words of each.

    Returns:
        The rows, with `words` and `counts`. A word whose first piece is left out has none.

    Raises:
        ConfigError: for a tokenizer that takes no words one by one.
        DataError: for what is no sentence, and, where `long` is "error", for one that is too long.

    >>> from tlx.text import Tokenizer, Tokens
    >>> spec = Tokens(Tokenizer.from_vocabulary(["[UNK]", "[CLS]", "[SEP]", "good", "film", "##s"]), max_length=4)
    >>> rows = encode_sentences(spec, [("films", "good")])
    >>> rows.words.tolist(), rows.counts.tolist(), rows.lost.tolist()
    ([-1, 0, -1, -1], [2], [1])
    """
    tokenizer = spec.tokenizer
    if not hasattr(tokenizer, "encode_words"):
        raise ConfigError("tags: a word needs a piece of its own, and vectors of words have none for unknown ones: "
                          "name a base such as hf/bert-base-cased")  # fmt: skip
    for number, sentence in enumerate(sentences):
        if not len(sentence) or not all(isinstance(word, str) and word.strip() for word in sentence):
            raise DataError(f"inputs: row {number} is {sentence!r:.60}, expected words, none of them empty")
    unknown, special = tokenizer.special("unknown"), set(tokenizer.special_texts)
    encoded = tokenizer.encode_words(sentences, parse_special=spec.parse_special)
    made = [_row_of(spec, ids, words) for ids, words in encoded]
    lost = [len(ids) - kept for (ids, _), (*_, kept) in zip(encoded, made, strict=True)]
    if spec.long == "error" and any(lost):
        row = next(row for row, count in enumerate(lost) if count)
        raise DataError(
            f"{sum(map(bool, lost))} of {len(sentences)} sentences are longer than {spec.max_length} pieces, the first "
            f"one with {len(encoded[row][0]) + tokenizer.single.size} ({' '.join(sentences[row])!r:.60}): raise "
            "max_length, or say what is left out with long (--long head or windows)"
        )
    windowed = any(windows is not None for _, _, windows, _ in made)
    marks = [np.ones(len(ids), np.int16) if own is None else own for ids, _, own, _ in made if windowed]
    empty = np.empty(0, np.int32)
    return Rows(
        ids=np.concatenate([empty, *(ids for ids, *_ in made)]),
        starts=np.cumsum([0, *(len(ids) for ids, *_ in made)], dtype=np.int64),
        second=np.array([len(ids) for ids, *_ in made], np.int32),
        windows=np.concatenate(marks) if windowed else None,
        lost=np.array(lost, np.int32),
        unknown=np.array([int((ids == unknown).sum()) for ids, _ in encoded], np.int32),
        special=np.array([sum(word in special for word in sentence) for sentence in sentences], np.int32),
        words=np.concatenate([empty, *(words for _, words, *_ in made)]),
        counts=np.array([len(sentence) for sentence in sentences], np.int32),
    )


def _row_of(spec: Any, ids: np.ndarray, words: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, int]:
    """Put the special pieces around a sentence; return its row, the words that begin in it, its windows, and how many
    pieces it keeps.
    """
    # Numbers from -1 down take the part of the pieces, so that each is found where it comes to lie.
    row = spec.row_of(-1 - np.arange(len(ids), dtype=np.int32), None)
    own = row.ids < 0
    places = -1 - row.ids[own]
    firsts = np.where(np.diff(words, prepend=-1) != 0, words, -1).astype(np.int32)
    found, begins = row.ids.copy(), np.full(len(row.ids), -1, np.int32)
    found[own], begins[own] = ids[places], firsts[places]
    return found, begins, row.windows, row.kept
