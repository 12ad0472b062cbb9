"""Where the words of a text stand among the pieces that a base takes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tlx.text.tokens import Tokens, as_texts


class Word(NamedTuple):
    """A word of a text: which text of a pair it is in (0 or 1), its place there, and those of its pieces in the row."""

    text: int
    start: int
    end: int
    places: tuple[int, ...]


def locate_words(spec: Tokens, value: Any) -> list[Word]:
    """Find the words of a text, or of a pair, of which a row of pieces holds any; special pieces are none.

    Args:
        spec: the input spec; its tokenizer says what a word is.
        value: a text, or a mapping of `text` and `pair`.

    Returns:
        The words in the order of the text; `places` counts within the row that `spec.encode` makes of it. A word that
        stands in several windows has places in each.

    Raises:
        DataError: for what is no text.

    >>> from tlx.text import Tokenizer
    >>> spec = Tokens(Tokenizer.from_vocabulary(["[UNK]", "[CLS]", "[SEP]", "good", "film", "##s"]), max_length=5)
    >>> locate_words(spec, "Good films, good")
    [Word(text=0, start=0, end=4, places=(1,)), Word(text=0, start=5, end=10, places=(2, 3))]
    """
    texts, pairs = as_texts([value])
    tokenizer: Any = spec.tokenizer
    unknown = tokenizer.special("unknown") if tokenizer.drops_unknown else None
    keys: list[tuple[int, int]] = []  # the text and the word of each piece, in the order of the pieces
    spans: dict[tuple[int, int], list[int]] = {}
    counts = []
    for number, text in enumerate([texts[0], *(pairs or ())]):
        pieces = [piece for piece in tokenizer.locate(text, parse_special=spec.parse_special) if piece.id != unknown]
        counts.append(len(pieces))
        for place, piece in enumerate(pieces):
            # A special piece in a text, such as [MASK], belongs to no word: it is one of its own.
            key = (number, -1 - place if piece.word is None else piece.word)
            keys.append(key)
            span = spans.setdefault(key, [piece.start, piece.end])
            span[:] = min(span[0], piece.start), max(span[1], piece.end)
    # The pieces' numbers from -1 down take the part of the pieces: special ones around them are 0 or more.
    numbers = -1 - np.arange(len(keys), dtype=np.int32)
    row = spec.row_of(numbers[: counts[0]], numbers[counts[0] :] if pairs else None)
    places: dict[tuple[int, int], list[int]] = {}
    for place, piece in enumerate(row.ids.tolist()):
        if piece < 0:
            places.setdefault(keys[-1 - piece], []).append(place)
    words = [Word(key[0], spans[key][0], spans[key][1], tuple(found)) for key, found in places.items()]
    return sorted(words, key=lambda word: (word.text, word.start))
