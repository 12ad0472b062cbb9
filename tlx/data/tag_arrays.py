"""Sentences of words in memory, and a tag for each word."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tlx.data.arrays import ColumnSource
from tlx.data.text_arrays import text_fault
from tlx.data.validate import check_classes
from tlx.errors import DataError
from tlx.text.entities import OUTSIDE
from tlx.text.sentences import are_sentences


def tagged(
    inputs: Sequence[Sequence[str]],
    tags: Sequence[Sequence[Any]] | None = None,
    classes: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    inputs_name: str = "inputs",
) -> ColumnSource:
    """Hold sentences that are split into words, and a tag for each word.

    Args:
        inputs: the words of N sentences.
        tags: the tags of each, names or numbers of classes, one a word; None where there are none.
        classes: the names of the tags; by default those there are, O first, or "0" and on.
        names: what the sentences are called.
        inputs_name: what errors call the inputs.

    Returns:
        A source whose input is a tuple of words.

    Raises:
        DataError: for a sentence without words, an empty word, another number of tags than words, and a tag that is
            none of the classes, naming the row.

    >>> tagged([["Rome", "fell"], ["so"]], [["B-LOC", "O"], ["O"]])
    ColumnSource(2 examples, 2 tags: 'O', 'B-LOC')
    """
    sentences = []
    for row, words in enumerate(inputs):
        if (fault := sentence_fault(words)) is not None:
            raise DataError(f"{inputs_name}: row {row} {fault}; give each a list of words")
        sentences.append(tuple(word.strip() for word in words))
    if tags is None:
        return ColumnSource({"input": sentences}, names=names)
    listed = [list(each) for each in tags]
    if len(listed) != len(sentences):
        raise DataError(f"{inputs_name}: {len(sentences)} sentences and {len(listed)} lists of tags; give one each")
    for row, (words, each) in enumerate(zip(sentences, listed, strict=True)):
        if len(words) != len(each):
            raise DataError(f"{inputs_name}: row {row} has {len(words)} words and {len(each)} tags; give one a word")
    if any(isinstance(tag, str) for each in listed for tag in each):
        classes = order_tags(map(str, (tag for each in listed for tag in each))) if classes is None else tuple(classes)
        index = {name: number for number, name in enumerate(classes)}
        for row, each in enumerate(listed):
            if unknown := [tag for tag in each if tag not in index]:
                raise DataError(f"{inputs_name}: row {row} has the tag {unknown[0]!r:.40}, none of the classes")
        listed = [[index[tag] for tag in each] for each in listed]
    else:
        classes = check_classes(classes, np.array([tag for each in listed for tag in each]), "tags")
    return ColumnSource({"input": sentences, "target": listed}, classes, "tags", names)


def sentence_fault(words: Any) -> str | None:
    """Say what is wrong with the words of a sentence, or return None.

    >>> sentence_fault(["a", ""]), sentence_fault([]), sentence_fault("a film")
    ("has an empty word ('a' …)", 'has no words', "is 'a film', and no list of words")
    """
    if isinstance(words, str) or not isinstance(words, Iterable):
        return f"is {words!r:.40}, and no list of words"
    listed = list(words)
    if not listed:
        return "has no words"
    for word in listed:
        if (fault := text_fault(word)) is not None:
            begin = f" ({listed[0]!r:.20} …)" if len(listed) > 1 else ""
            return f"has an empty word{begin}" if fault == "is empty" else f"has a word that {fault}{begin}"
    return None


def order_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Return the names of tags in order, O first.

    >>> order_tags(["I-LOC", "O", "B-LOC", "O"])
    ('O', 'B-LOC', 'I-LOC')
    """
    return tuple(sorted(set(tags), key=lambda tag: (tag != OUTSIDE, tag)))


def are_tagged(inputs: Any, targets: Any) -> bool:
    """Tell whether inputs are sentences, and targets the names of their words' tags, by the first of each.

    >>> are_tagged([["a", "b"]], [["O", "O"]]), are_tagged([["a", "b"]], [1])
    (True, False)
    """
    return are_sentences(inputs) and are_sentences(targets)
