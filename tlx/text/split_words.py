"""Words as a tokenizer makes them, each with its pieces."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from tlx.progress import doing
from tlx.text.tokenizer import Tokenizer

AT_ONCE = 1024  # texts that the library tokenizes together


def split_words(tokenizer: Tokenizer, texts: Sequence[str]) -> Iterator[list[tuple[str, tuple[int, ...]]]]:
    """Yield each text's words, in order: the word and the numbers of its pieces, without special pieces.

    A word is what the tokenizer's own pre-tokenizer makes one, and is spelled as its pieces spell it: normalized as the
    tokenizer does, so in lower case where it lowers. An unknown word is spelled as it stands in the text.

    >>> tokenizer = Tokenizer.from_vocabulary(["[UNK]", "[CLS]", "[SEP]", "good", "film", "##s"])
    >>> list(split_words(tokenizer, ["Good films"]))
    [[('good', (3,)), ('films', (4, 5))]]
    """
    rules, spelling = tokenizer._rules_for(False), Spelling(tokenizer)
    for at in range(0, len(texts), AT_ONCE):
        doing("splitting texts into words", at, len(texts))
        for text, found in zip(
            texts[at : at + AT_ONCE],
            rules.encode_batch(list(texts[at : at + AT_ONCE]), add_special_tokens=False),
            strict=True,
        ):
            ids, offsets, words = found.ids, None, []
            place = 0
            for _, group in itertools.groupby(found.word_ids):
                end = place + sum(1 for _ in group)
                pieces = tuple(ids[place:end])
                if spelling.unknown in pieces:
                    offsets = offsets or found.offsets
                    words.append((text[offsets[place][0] : offsets[end - 1][1]], pieces))
                else:
                    words.append((spelling(pieces), pieces))
                place = end
            yield words


def word_piece_prefix(tokenizer: Tokenizer) -> str | None:
    """Return what pieces within words begin with, where the vocabulary is WordPiece; None for another kind.

    >>> word_piece_prefix(Tokenizer.from_vocabulary(["[UNK]", "[CLS]", "[SEP]", "a"]))
    '##'
    """
    model = tokenizer._rules.model
    found: str | None = model.continuing_subword_prefix if type(model).__name__ == "WordPiece" else None
    return found


class Spelling:
    """Spell the word that pieces make; words that were spelled once are kept.

    >>> tokenizer = Tokenizer.from_vocabulary(["[UNK]", "[CLS]", "[SEP]", "good", "film", "##s"])
    >>> Spelling(tokenizer)((4, 5))
    'films'
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer, self.unknown = tokenizer, tokenizer.special("unknown")
        self.prefix = word_piece_prefix(tokenizer)
        self._known: dict[tuple[int, ...], str] = {}

    def __call__(self, pieces: tuple[int, ...]) -> str:
        word = self._known.get(pieces)
        if word is None:
            if self.prefix is None:
                word = self.tokenizer.decode(pieces).strip()
            else:  # not `decode`, which puts blanks between some pieces and takes others out
                listed = self.tokenizer.pieces
                word = listed[pieces[0]] + "".join(listed[each].removeprefix(self.prefix) for each in pieces[1:])
            self._known[pieces] = word
        return word
