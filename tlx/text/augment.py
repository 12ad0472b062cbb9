"""Vary a training text at random: words are left out, pieces are masked."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from tlx.errors import ConfigError, suggestion
from tlx.text.tokens import Splits, Tokens

BEGINNINGS = ("\u0120", "\u2581")  # of the first piece of a word, in byte-level BPE and in SentencePiece


@dataclass(frozen=True)
class TextAugment:
    """Say how training texts are varied at random; call it to vary one. All is off by default.

    Words are left out first, then pieces are masked. The two have random numbers of their own: switching one on or off
    does not change what the other draws. Special pieces such as [CLS] are never touched.

    Args:
        word_dropout: the probability that a word is left out; of each text at least one stays. (M. Iyyer et al., Deep
            Unordered Composition Rivals Syntactic Methods for Text Classification, 2015; 0.3 there.) Where the
            tokenizer does not mark words, every piece is one.
        mask_pieces: the probability that a piece is replaced by the tokenizer's mask piece, as BERT is pretrained with
            (J. Devlin et al., BERT, 2018; 0.15 there).

    Raises:
        ConfigError: for what is no probability; of `word_dropout` under 1.

    >>> from tlx.text import Tokenizer
    >>> spec = Tokens(Tokenizer.from_vocabulary(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "film", "##s"]))
    >>> TextAugment(mask_pieces=1.0)("good films", spec, np.random.default_rng(0))["ids"][:5].tolist()
    [2, 4, 4, 4, 3]
    """

    word_dropout: float = 0.0
    mask_pieces: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not 0 <= value <= 1:
                raise ConfigError(f"augment: {field.name} {value!r} is not a probability, of 0 to 1")
        if self.word_dropout == 1:
            raise ConfigError("augment: word_dropout 1 leaves no words: give a probability under 1")

    def __bool__(self) -> bool:
        """Tell whether anything is on.

        >>> bool(TextAugment()), bool(TextAugment(word_dropout=0.1))
        (False, True)
        """
        return self != TextAugment()

    def check(self, spec: Any) -> None:
        """Raise `ConfigError` where the model takes no texts, and where its tokenizer lacks the piece that masks."""
        if not isinstance(spec, Tokens):
            raise ConfigError("augment: varies texts, and the model takes none: leave it out")
        if self.mask_pieces and spec.tokenizer.special("mask") is None:
            raise ConfigError("augment: mask_pieces needs a mask piece, and the tokenizer has none: leave it out")

    def __call__(self, value: Any, spec: Tokens, generator: np.random.Generator) -> dict[str, np.ndarray]:
        """Map a text to what `spec.collate` makes of one, without its batch axis.

        Args:
            value: a text, a mapping of `text` and `pair`, or a row of pieces as `Rows.take` gives (`ids`, `second` and,
                where texts are cut into windows, `windows`, of sentences of words `places`).
            spec: the input spec.
            generator: which all draws come from (`tlx.images.augment.generator_of`).

        Raises:
            ConfigError: as `check`.
            DataError: for what is no text.
        """
        self.check(spec)
        if not isinstance(value, Mapping) or "ids" not in value:
            value = {name: column[0] for name, column in spec.encode([value]).take([0]).items()}
        made = spec.collate([self.vary(value, spec, generator)])
        return {name: array[0] for name, array in made.items()}

    def vary(self, row: Mapping[str, Any], spec: Tokens, generator: np.random.Generator) -> dict[str, Any]:
        """Vary a row of pieces: (L,) `ids`, `second` and, perhaps, `windows`; return another one, no longer."""
        ids, second = np.array(row["ids"], np.int32), int(row["second"])
        if not len(ids):
            return dict(row)
        windows = np.asarray(row.get("windows", np.ones(len(ids), np.int16)))
        tokenizer: Any = spec.tokenizer  # which can be hashed, as the spec can
        special, begins = _special_of(tokenizer)[ids], _begins_of(tokenizer)[ids]
        draws = generator.random((2, len(ids)))  # as many whatever is on
        bounds = np.flatnonzero(np.diff(windows, prepend=0))  # where each window begins
        positions = np.arange(len(ids)) - bounds[np.cumsum(np.isin(np.arange(len(ids)), bounds)) - 1]
        of_pair = second < int((windows == 1).sum())
        in_first = of_pair & (positions < second)
        if of_pair:  # the first text stands in every window, and must stay the same in all
            draws = np.where(in_first, draws[:, positions], draws)
        after_special = np.concatenate([[True], special[:-1]])
        word = np.cumsum(begins | special | after_special | (positions == 0)) - 1
        firsts = np.flatnonzero(np.diff(word, prepend=-1))  # of each word
        kept = special | (draws[0][firsts][word] >= self.word_dropout)
        for own in (in_first, ~in_first):  # of each text at least one word stays
            own = own & ~special
            if own.any() and not kept[own].any():
                kept[own] = draws[0][firsts][word][own] == draws[0][firsts][word][own].max()
        masked = ~special & (draws[1] < self.mask_pieces)
        ids[masked] = spec.tokenizer.special("mask") or 0  # none is masked where there is no such piece
        varied = {"ids": ids[kept], "second": int(kept[:second].sum()) if of_pair else int(kept.sum())}
        if "places" in row:  # of words, which go with their first pieces
            places, moved = np.asarray(row["places"]), np.where(kept, np.cumsum(kept) - 1, -1)
            varied["places"] = np.where(places >= 0, moved[places], -1)
        return {**varied, "windows": windows[kept]} if "windows" in row else varied

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as data that JSON can hold; `from_dict` is the inverse.

        >>> TextAugment(0.1).to_dict()
        {'kind': 'text', 'word_dropout': 0.1, 'mask_pieces': 0.0}
        """
        return {"kind": "text", **asdict(self)}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> TextAugment:
        """Build from `to_dict`'s data; raise `ConfigError` for an unknown name or a bad value.

        >>> TextAugment.from_dict(TextAugment(0.1).to_dict())
        TextAugment(word_dropout=0.1, mask_pieces=0.0)
        """
        known = [field.name for field in fields(cls)]
        for name in plain:
            if name not in (*known, "kind"):
                raise ConfigError(f"augment: unknown name {name!r}{suggestion(str(name), known)}")
        return cls(**{name: plain[name] for name in known if name in plain})


@functools.lru_cache(maxsize=16)
def _special_of(tokenizer: Splits) -> np.ndarray:
    """Tell which pieces are special, (V,) bool; the one for what is unknown stands for a word, and is not."""
    names = set(tokenizer.special_texts)
    special = np.array([piece in names for piece in tokenizer.pieces], bool)
    unknown = tokenizer.special("unknown")
    if unknown is not None:
        special[unknown] = False
    for template in (tokenizer.single, tokenizer.pair):
        special[[number for part in template for number in part]] = True
    special.setflags(write=False)
    return special


@functools.lru_cache(maxsize=16)
def _begins_of(tokenizer: Splits) -> np.ndarray:
    """Tell which pieces begin a word, (V,) bool."""
    pieces = tokenizer.pieces
    prefix = ""
    if tokenizer.file == "tokenizer.json":
        prefix = json.loads(tokenizer.content)["model"].get("continuing_subword_prefix") or ""
    if prefix:
        begins = [not piece.startswith(prefix) for piece in pieces]
    elif tokenizer.file == "tokenizer.json" and any(piece.startswith(BEGINNINGS) for piece in pieces):
        begins = [piece.startswith(BEGINNINGS) for piece in pieces]
    else:
        begins = [True] * len(pieces)
    found = np.array(begins, bool)
    found.setflags(write=False)
    return found
