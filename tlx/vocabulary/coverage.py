"""Coverage: how a tokenizer splits the words of texts, and the words whose addition saves the most pieces."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from tlx.errors import ConfigError, DataError
from tlx.text.split_words import split_words, word_piece_prefix
from tlx.text.tokenizer import Tokenizer

LONG = (256, 512)  # pieces: the lengths to which sentence models and BERT cut texts
LISTED = 20


@dataclass(frozen=True)
class SplitWord:
    """A word that is split: how often it is there, and its pieces."""

    word: str
    count: int
    pieces: tuple[str, ...]


@dataclass(frozen=True)
class Coverage:
    """How a tokenizer splits texts (`coverage`).

    Args:
        texts: how many texts.
        words: how many words, of which `split_words` have more than one piece.
        distinct_words: how many different words.
        pieces: the pieces of all words, without special pieces.
        split_words: how many words have more than one piece.
        unknown_pieces: how many pieces are the unknown one.
        over_256: how many texts have more than 256 pieces, special ones included.
        over_512: how many have more than 512.
        max_length: to how many pieces texts are cut.
        lost_pieces: how many pieces that leaves out.
        most_split: the words that cost the most further pieces, count x (pieces - 1), the costliest first.
    """

    texts: int
    words: int
    distinct_words: int
    pieces: int
    split_words: int
    unknown_pieces: int
    over_256: int
    over_512: int
    max_length: int
    lost_pieces: int
    most_split: tuple[SplitWord, ...]

    @property
    def pieces_per_word(self) -> float:
        """The mean number of pieces of a word."""
        return self.pieces / max(self.words, 1)

    @property
    def split_share(self) -> float:
        """The share of words that have more than one piece."""
        return self.split_words / max(self.words, 1)

    @property
    def over_256_share(self) -> float:
        """The share of texts of more than 256 pieces."""
        return self.over_256 / max(self.texts, 1)

    @property
    def over_512_share(self) -> float:
        """The share of texts of more than 512 pieces."""
        return self.over_512 / max(self.texts, 1)

    def to_dict(self) -> dict[str, Any]:
        """Return the counts and shares as data for JSON."""
        shares = ("pieces_per_word", "split_share", "over_256_share", "over_512_share")
        listed = [{"word": each.word, "count": each.count, "pieces": list(each.pieces)} for each in self.most_split]
        return {**asdict(self), **{name: getattr(self, name) for name in shares}, "most_split": listed}


def coverage(tokenizer: Tokenizer, texts: Iterable[str], *, max_length: int = 512, listed: int = LISTED) -> Coverage:
    """Count how a tokenizer splits the words of texts.

    A word is what the tokenizer's own pre-tokenizer makes one: BERT's divides at blanks and around each punctuation
    mark, which counts as a word, too. Names of special pieces in a text, such as [MASK], count as text.

    Args:
        tokenizer: the tokenizer.
        texts: the texts.
        max_length: to how many pieces, special ones included, texts are cut.
        listed: how many of the most split words are kept.

    Raises:
        ConfigError: for a tokenizer that has no pieces.
        DataError: for no texts.

    >>> tokenizer = Tokenizer.from_vocabulary(["[UNK]", "[CLS]", "[SEP]", "good", "film", "##s", "."])
    >>> found = coverage(tokenizer, ["Good films."])
    >>> found.words, found.pieces, found.most_split
    (3, 4, (SplitWord(word='films', count=1, pieces=('film', '##s')),))
    """
    counted = _count(tokenizer, texts)
    unknown, sizes = tokenizer.special("unknown"), np.array(counted.sizes)
    lengths = sizes + tokenizer.single.size
    split = {key: count for key, count in counted.words.items() if len(key[1]) > 1}
    costly = sorted(split, key=lambda key: (-split[key] * (len(key[1]) - 1), key))[:listed]
    names = tokenizer.pieces
    return Coverage(
        texts=len(sizes),
        words=counted.words.total(),
        distinct_words=len(counted.words),
        pieces=int(sizes.sum()),
        split_words=sum(split.values()),
        unknown_pieces=sum(count * pieces.count(unknown) for (_, pieces), count in counted.words.items()),
        over_256=int((lengths > LONG[0]).sum()),
        over_512=int((lengths > LONG[1]).sum()),
        max_length=max_length,
        lost_pieces=int(np.maximum(lengths - max_length, 0).sum()),
        most_split=tuple(SplitWord(key[0], split[key], tuple(names[piece] for piece in key[1])) for key in costly),
    )


def choose_words(tokenizer: Tokenizer, texts: Iterable[str], count: int, least: int = 5) -> tuple[str, ...]:
    """Choose the whole words whose addition to a vocabulary saves the most pieces: count x (pieces - 1).

    They are spelled as the tokenizer normalizes them. What they save must be measured on other texts: choose on one
    half of `divide_texts`, and measure on the other.

    Args:
        tokenizer: a WordPiece tokenizer.
        texts: the texts to choose on.
        count: how many words, fewer where there are no more.
        least: how often a word must be there.

    Returns:
        The words, the one that saves the most first; none that holds an unknown character.

    Raises:
        ConfigError: for a bad number, and for a tokenizer of another kind.
        DataError: for no texts.

    >>> tokenizer = Tokenizer.from_vocabulary(["[UNK]", "[CLS]", "[SEP]", "good", "film", "##s"])
    >>> choose_words(tokenizer, ["Films", "films, good"], 3, least=2)
    ('films',)
    """
    for name, value, minimum in (("count", count, 0), ("least", least, 1)):
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            raise ConfigError(f"{name}: {value!r} is not a whole number of {minimum} or more")
    check_word_piece(tokenizer)
    # WordPiece makes a word with an unknown character one unknown piece, so no such word is split.
    saved = {
        word: seen * (len(pieces) - 1)
        for (word, pieces), seen in _count(tokenizer, texts).words.items()
        if len(pieces) > 1 and seen >= least
    }
    return tuple(sorted(saved, key=lambda word: (-saved[word], word))[:count])


def divide_texts(texts: Iterable[str]) -> tuple[list[str], list[str]]:
    """Divide texts into two halves, one to choose words on and one to measure on, each text once.

    The first byte of a text's SHA-256, without blanks at its ends, decides: a text is in the same half whatever others
    are there, and equal texts are never in both.

    >>> divide_texts(["a", "b", "c", "b"])
    (['b', 'c'], ['a'])
    """
    halves: tuple[list[str], list[str]] = ([], [])
    for text in dict.fromkeys(text.strip() for text in texts):
        halves[hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[0] >> 7].append(text)
    return halves


def check_word_piece(tokenizer: Any) -> Tokenizer:
    """Return a WordPiece tokenizer; raise `ConfigError` for another kind, to which words are added otherwise."""
    if not isinstance(tokenizer, Tokenizer) or word_piece_prefix(tokenizer) is None:
        raise ConfigError(
            "words are added to WordPiece vocabularies, as BERT's is, and this tokenizer is of another kind: take a "
            "base that has one"
        )
    return tokenizer


class _Counted(NamedTuple):
    words: Counter[tuple[str, tuple[int, ...]]]
    sizes: list[int]  # the pieces of each text


def _count(tokenizer: Tokenizer, texts: Iterable[str]) -> _Counted:
    if not isinstance(tokenizer, Tokenizer):
        raise ConfigError("coverage: is of tokenizers that split words into pieces; this one has whole words")
    if isinstance(texts, str):
        raise DataError(f"texts: {texts!r:.60} is one text: give a list of texts")
    words: Counter[tuple[str, tuple[int, ...]]] = Counter()
    sizes = []
    for found in split_words(tokenizer, list(texts)):
        words.update(found)
        sizes.append(sum(len(pieces) for _, pieces in found))
    if not sizes:
        raise DataError("texts: there are none: give at least one")
    return _Counted(words, sizes)
