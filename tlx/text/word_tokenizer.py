"""Words as pieces: a list of words, and how texts are split into them."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tlx.errors import WeightsError
from tlx.text.tokenizer import PROBE, Piece, Template

UNKNOWN = "[UNK]"  # row 0, whose vector is zero: padding, and what no word is
_PARTS = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")  # a word with its apostrophes, or a sign
_ENDING = re.compile(r"(?i)(n't|'s|'re|'ve|'ll|'d|'m)$")  # which the Penn Treebank, and GloVe, count as words


@dataclass(frozen=True, repr=False)
class WordTokenizer:
    """Split texts into words and number those that are known, from 1 on; what is unknown is left out, and counted.

    Text is split at blanks. What is no word then is tried in lower case, without the signs around it, in its parts
    (`don't` as `do` and `n't`), each of which may be known or not.

    Args:
        words: the words in the order of their rows, from row 1 on.

    >>> words = WordTokenizer(("good", "film", "do", "n't", "."))
    >>> [words.pieces[number] for number in words.encode(["Good film. Don't!"])[0]]
    ['good', 'film', '.', 'do', "n't", '[UNK]']
    """

    words: tuple[str, ...]

    file = "words.txt"
    unit = "words"
    drops_unknown = True

    def __repr__(self) -> str:
        return f"WordTokenizer({len(self.words):,} words)"

    @functools.cached_property
    def _index(self) -> dict[str, int]:
        return {word: row for row, word in enumerate(self.words, 1)}

    @property
    def size(self) -> int:
        """How many rows the matrix needs: one for each word, and the first one."""
        return len(self.words) + 1

    @functools.cached_property
    def pieces(self) -> tuple[str, ...]:
        """The words in the order of their numbers."""
        return (UNKNOWN, *self.words)

    @functools.cached_property
    def content(self) -> bytes:
        """The words as a file, one a line."""
        return "".join(f"{word}\n" for word in self.words).encode("utf-8", "surrogateescape")

    @classmethod
    def from_content(cls, content: bytes) -> WordTokenizer:
        """Build from `content`; raise `WeightsError` for a word that is there twice."""
        words = tuple(content.decode("utf-8", "surrogateescape").split("\n")[:-1])
        if len(set(words)) != len(words) or "" in words:
            raise WeightsError(f"{cls.file}: a word is empty or there twice: the file is damaged")
        return cls(words)

    @functools.cached_property
    def sha256(self) -> str:
        """The SHA-256 of the words."""
        return hashlib.sha256(self.content).hexdigest()

    @functools.cached_property
    def probe_sha256(self) -> str:
        """The SHA-256 of the numbers of a fixed text's words."""
        return hashlib.sha256(self.encode([PROBE])[0].astype("<i4").tobytes()).hexdigest()

    @property
    def single(self) -> Template:
        """Nothing stands around a text."""
        return Template((), (), ())

    pair = single
    special_texts: tuple[str, ...] = ()

    def special(self, name: str) -> int | None:
        """Return row 0 for "pad" and "unknown"."""
        return 0 if name in ("pad", "unknown") else None

    def encode(self, texts: Iterable[str], *, parse_special: bool = True) -> list[np.ndarray]:
        """Return the numbers of each text's words, (L,) int32; 0 for what is unknown."""
        known: dict[str, list[int]] = {}
        found = []
        for text in texts:
            numbers: list[int] = []
            for token in text.split():
                if token not in known:
                    known[token] = [self._index.get(word, 0) for word in self.split(token)]
                numbers += known[token]
            found.append(np.array(numbers, np.int32))
        return found

    def split(self, token: str) -> list[str]:
        """Return the words of what stands between two blanks: itself where it is one, else its parts."""
        for whole in (token, token.lower()):
            if whole in self._index:
                return [whole]
        words = []
        for part in _PARTS.findall(token):
            form = next((each for each in (part, part.lower()) if each in self._index), None)
            ending = _ENDING.search(part)
            if form is not None:
                words.append(form)
            elif ending and ending.start():
                words += [self._form(part[: ending.start()]), self._form(ending.group())]
            else:
                words.append(part.lower())
        return words or [token.lower()]

    def forms(self, token: str) -> list[str]:
        """Return all that the parts of what stands between two blanks may be called."""
        found: list[str] = []
        for part in _PARTS.findall(token):
            ending = _ENDING.search(part)
            parts = [part] if not ending else [part, part[: ending.start()], ending.group()]
            found += [each for one in parts for each in (one, one.lower()) if each]
        return found

    def _form(self, part: str) -> str:
        return part if part in self._index else part.lower()

    def locate(self, text: str, *, parse_special: bool = True) -> list[Piece]:
        """Return the words of a text, those that are unknown as 0, each with the place of the token that it is of."""
        pieces = []
        for number, token in enumerate(re.finditer(r"\S+", text)):
            rows = [self._index.get(word, 0) for word in self.split(token.group())]
            pieces += [Piece(row, token.start(), token.end(), number) for row in rows]
        return pieces


def words_of(texts: Sequence[str], tokenizer: WordTokenizer) -> dict[str, int]:
    """Count the words of texts, as a tokenizer splits them, by word.

    >>> words_of(["a good, good film"], WordTokenizer(("good",)))
    {'a': 1, 'good': 2, ',': 1, 'film': 1}
    """
    counts: dict[str, int] = {}
    for text in texts:
        for token in text.split():
            for word in tokenizer.split(token):
                counts[word] = counts.get(word, 0) + 1
    return counts
