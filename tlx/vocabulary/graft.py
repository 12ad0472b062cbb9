"""Graft: words put into the vocabulary of a base, or another tokenizer's vocabulary in its place."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from tlx.errors import ConfigError
from tlx.presets.pretrained import Pretrained
from tlx.text.split_words import word_piece_prefix
from tlx.text.tokenizer import SPECIAL, Tokenizer
from tlx.text.tokens import Tokens
from tlx.tree.paths import flatten, quote, unflatten
from tlx.vocabulary.coverage import check_word_piece
from tlx.vocabulary.mapping import Begin, Mapping, NewPiece, has_rows

UNUSED = re.compile(r"\[unused(\d+)\]")


class Vectors(Protocol):
    """What gives the vector of a word, or None: `tlx.text.WordVectors`."""

    def vector(self, word: str) -> Any: ...


def add_words(
    pretrained: Pretrained,
    words: Sequence[str],
    *,
    begin: Literal["mean", "fresh"] | Vectors = "mean",
    seed: int = 0,
) -> tuple[Pretrained, Mapping]:
    """Put whole words into the WordPiece vocabulary of a base, and begin their rows.

    A word takes the next `[unusedN]` piece's number while there are such, and then a new one at the end. It is a piece
    as others are, so its inflections use it ("carcinomas" is carcinoma and ##s), and no other word is cut by it.
    Old pieces keep their numbers and rows.

    Args:
        pretrained: the base.
        words: whole words, as the tokenizer normalizes them (`choose_words` gives such).
        begin: how their rows begin: "mean", from the mean of their old pieces' rows; "fresh", at random, with the mean
            and deviation of the old rows' columns; or from word vectors, mapped by least squares from the vectors of
            the words that both know to their rows. A word without a vector begins from the mean.
        seed: of fresh rows.

    Returns:
        The base, and what became of its rows; the very base where no word is given.

    Raises:
        ConfigError: for a base that has no WordPiece vocabulary, for a word that is there already, is given twice or is
            no single word to the tokenizer, and for word vectors that share too few words with the vocabulary.

    >>> import tlx
    >>> base, mapping = add_words(tlx.load(FOLDER), ["films"])  # doctest: +SKIP
    >>> mapping.new[0].pieces, mapping.new[0].begin  # doctest: +SKIP
    ((2143, 2015), 'mean')
    """
    spec, size = _spec_of(pretrained)
    tokenizer = check_word_piece(spec.tokenizer)
    if isinstance(words, str):
        raise ConfigError(f"words: {words!r:.60} is one string: give a list of words")
    words = list(words)
    if isinstance(begin, str) and begin not in ("mean", "fresh"):
        raise ConfigError(f"begin: {begin!r} is not 'mean', 'fresh' or word vectors")
    if not words:
        return pretrained, Mapping(size, size, tuple(range(size)), ())
    _check_words(tokenizer, words)
    slots = unused_slots(tokenizer)[: len(words)]
    numbers = [*slots, *range(tokenizer.size, tokenizer.size + len(words) - len(slots))]
    grown = _with_pieces(tokenizer, dict(zip(words, numbers, strict=True)))
    _check_whole(grown, words, numbers)
    old = tokenizer.encode(words, parse_special=False)
    given = None if isinstance(begin, str) else _vectors_of(begin, words)
    rises: list[Begin] = [
        begin if isinstance(begin, str) else "mean" if vector is None else "vector"
        for vector in (given or [None] * len(words))
    ]
    new = tuple(
        NewPiece(word, number, tuple(ids.tolist()), how)
        for word, number, ids, how in zip(words, numbers, old, rises, strict=True)
    )
    new_size = max(size, grown.size)
    # Rows of the matrix beyond the tokenizer's pieces, which some models are padded with, are used before it grows.
    kept = [row if row < size else -1 for row in range(new_size)]
    for number in numbers:
        kept[number] = -1
    mapping = Mapping(size, new_size, tuple(kept), new)
    begun = _begun(tokenizer, mapping, begin, given, seed)
    return _grafted(pretrained, replace(spec, tokenizer=grown), mapping, begun, f"{len(words):,} words added"), mapping


def swap_tokenizer(pretrained: Pretrained, tokenizer: Tokenizer) -> tuple[Pretrained, Mapping]:
    """Give a base another tokenizer: pieces that both have keep their rows, others begin from their old pieces' mean.

    The old pieces of a piece are those of its text, without the ## of one within words; a piece that has no text begins
    from the unknown one. Special pieces that have one role (padding, mask, unknown, around texts) keep their rows, too.

    Args:
        pretrained: the base.
        tokenizer: the other tokenizer.

    Returns:
        The base, and what became of its rows; the very base where the tokenizer is its own.

    Raises:
        ConfigError: for a base without a tokenizer of pieces.

    >>> import tlx
    >>> base, mapping = swap_tokenizer(tlx.load(FOLDER), tlx.text.read_tokenizer(OTHER))  # doctest: +SKIP
    """
    spec, size = _spec_of(pretrained)
    old: Any = spec.tokenizer
    for each in (old, tokenizer):
        if not isinstance(each, Tokenizer):
            raise ConfigError(f"swap_tokenizer: {type(each).__name__} has whole words, no pieces: take a Tokenizer")
    if tokenizer == old:
        return pretrained, Mapping(size, size, tuple(range(size)), ())
    roles = _roles(old, tokenizer)
    prefix = word_piece_prefix(tokenizer)
    unknown = old.special("unknown") or 0
    texts = [
        piece.removeprefix(prefix) if prefix else tokenizer.decode([i]) for i, piece in enumerate(tokenizer.pieces)
    ]
    split = old.encode(texts, parse_special=False)
    kept, new = [], []
    for number, piece in enumerate(tokenizer.pieces):
        row = roles.get(number, old.vocabulary.get(piece, -1))
        kept.append(row)
        if row < 0:
            new.append(NewPiece(piece, number, tuple(split[number].tolist()) or (unknown,), "mean"))
    mapping = Mapping(size, tokenizer.size, tuple(kept), tuple(new))
    said = f"another tokenizer's, {tokenizer.size - len(new):,} of {tokenizer.size:,} pieces as before"
    return _grafted(pretrained, replace(spec, tokenizer=tokenizer), mapping, None, said), mapping


def unused_slots(tokenizer: Tokenizer) -> list[int]:
    """Return the numbers of the `[unusedN]` pieces, which BERT's vocabularies keep for new ones, by N.

    >>> unused_slots(Tokenizer.from_vocabulary(["[unused1]", "[UNK]", "[unused0]", "[CLS]", "[SEP]"]))
    [2, 0]
    """
    taken = {added["content"] for added in json.loads(tokenizer.json)["added_tokens"]}  # which somebody uses
    found = [(UNUSED.fullmatch(piece), piece, number) for piece, number in tokenizer.vocabulary.items()]
    return [number for match, piece, number in sorted(_slots(found)) if piece not in taken]


def _slots(found: Iterable[tuple[re.Match[str] | None, str, int]]) -> Iterator[Any]:
    return ((int(match[1]), piece, number) for match, piece, number in found if match)


# Checks


def _spec_of(pretrained: Pretrained) -> tuple[Tokens, int]:
    spec, settings = pretrained.preprocess, pretrained.config.settings
    if not isinstance(spec, Tokens) or not hasattr(settings, "vocab_size"):
        raise ConfigError(f"{pretrained.name}: takes no texts, and has no vocabulary: name a text model")
    return spec, int(settings.vocab_size)


def _check_words(tokenizer: Tokenizer, words: list[str]) -> None:
    other = next((word for word in words if not isinstance(word, str) or not word), None)
    if other is not None:
        raise ConfigError(f"words: {other!r:.60} is no word")
    seen: set[str] = set()
    twice = next((word for word in words if word in seen or seen.add(word)), None)  # type: ignore[func-returns-value]
    if twice is not None:
        raise ConfigError(f"words: {twice!r} is there twice: give each once")
    known = [word for word in words if word in tokenizer.vocabulary]
    if known:
        raise ConfigError(f"words: {quote(known)} are in the vocabulary: leave them out")


def _check_whole(grown: Tokenizer, words: list[str], numbers: list[int]) -> None:
    """Raise `ConfigError` for words that texts would never reach: the tokenizer normalizes or divides them."""
    found = grown.encode(words, parse_special=False)
    wrong = [word for word, number, ids in zip(words, numbers, found, strict=True) if ids.tolist() != [number]]
    if wrong:
        raise ConfigError(
            f"words: {quote(wrong)} are no single words to the tokenizer: it may lower them, strip accents or divide "
            "at marks and blanks: give them as it spells them (choose_words does)"
        )


# Tokenizers


def _with_pieces(tokenizer: Tokenizer, numbers: dict[str, int]) -> Tokenizer:
    """Return a WordPiece tokenizer in which pieces have numbers, in place of what had them."""
    plain = json.loads(tokenizer.json)
    taken = set(numbers.values())
    vocabulary = {piece: number for piece, number in plain["model"]["vocab"].items() if number not in taken}
    plain["model"]["vocab"] = vocabulary | numbers
    return Tokenizer(json.dumps(plain))


def _roles(old: Tokenizer, new: Tokenizer) -> dict[int, int]:
    """Return the old number of each new special piece that has a role that an old one has."""
    pairs = [(new.special(name), old.special(name)) for name in SPECIAL]
    for own, other in zip((*new.single, *new.pair), (*old.single, *old.pair), strict=True):
        pairs += zip(own, other, strict=False) if len(own) == len(other) else ()
    return {number: row for number, row in pairs if number is not None and row is not None}


# Rows


def _vectors_of(vectors: Vectors, words: Iterable[str]) -> list[np.ndarray | None]:
    look = vectors.vector if hasattr(vectors, "vector") else getattr(vectors, "get", None)
    if look is None:
        raise ConfigError(f"begin: {type(vectors).__name__} is not 'mean', 'fresh' or word vectors")
    return [None if (found := look(word)) is None else np.asarray(found, np.float64) for word in words]


def _begun(tokenizer: Tokenizer, mapping: Mapping, begin: Any, given: list[np.ndarray | None] | None, seed: int) -> Any:
    """Return a function that gives the rows (new, …) of new pieces for old rows (old_size, …); None for their mean."""
    if begin == "mean":
        return None
    unused = set(unused_slots(tokenizer))
    trained = np.array([number for number in range(min(tokenizer.size, mapping.old_size)) if number not in unused])
    if begin == "fresh":

        def drawn(rows: np.ndarray, means: np.ndarray) -> np.ndarray:
            known = rows[trained].astype(np.float64)
            noise = np.random.default_rng(seed).normal(size=means.shape)
            return known.mean(0) + known.std(0) * noise

        return drawn
    assert given is not None
    return _by_least_squares(tokenizer, trained, begin, given)


def _by_least_squares(tokenizer: Tokenizer, trained: np.ndarray, vectors: Vectors, given: list[Any]) -> Any:
    """Return a function that maps vectors to rows as the words that both know are mapped, with a constant."""
    prefix, special = word_piece_prefix(tokenizer) or "", set(tokenizer.special_texts)
    numbers = [i for i in trained.tolist() if (piece := tokenizer.pieces[i]) and not piece.startswith(prefix)]
    numbers = [i for i in numbers if tokenizer.pieces[i] not in special]
    found = _vectors_of(vectors, (tokenizer.pieces[i] for i in numbers))
    shared = [(number, vector) for number, vector in zip(numbers, found, strict=True) if vector is not None]
    size = next((len(vector) for vector in (*given, *(each for _, each in shared)) if vector is not None), 0)
    if len(shared) <= size + 1:
        raise ConfigError(
            f"begin: the word vectors know {len(shared):,} words of the vocabulary, too few to map vectors of {size} "
            "numbers: more than that are needed; take others, or begin from the mean"
        )
    known = _with_constant([vector for _, vector in shared])
    rows_known = [number for number, _ in shared]

    def mapped(rows: np.ndarray, means: np.ndarray) -> np.ndarray:
        if rows.ndim != 2:
            return means  # a bias: how often a piece is there, of which vectors say nothing
        weights = np.linalg.lstsq(known, rows[rows_known].astype(np.float64), rcond=None)[0]
        made = np.array(means, np.float64)
        for place, vector in enumerate(given):
            if vector is not None:
                made[place] = _with_constant([vector])[0] @ weights
        return made

    return mapped


def _with_constant(vectors: Sequence[np.ndarray]) -> np.ndarray:
    return np.column_stack([np.stack(vectors), np.ones(len(vectors))])


def _grafted(pretrained: Pretrained, spec: Tokens, mapping: Mapping, begun: Any, said: str) -> Pretrained:
    """Return a model with the leaves that have rows of pieces mapped, by the rule `VOCABULARY_LEAVES`."""
    leaves: dict[str, Any] = dict(flatten(pretrained.variables))
    mapped = [path for path in leaves if has_rows(path)]
    if not mapped:
        raise ConfigError(f"{pretrained.name}: has no embedding of pieces: its parameters are {quote(list(leaves))}")
    numbers = [each.id for each in mapping.new]
    for path in mapped:
        old = np.asarray(leaves[path])
        made = mapping.mean_rows(old)
        if begun is not None:
            made[numbers] = begun(old, made[numbers]).astype(old.dtype)
        leaves[path] = jnp.asarray(made) if isinstance(leaves[path], jax.Array) else made
    config = pretrained.config
    settings = replace(config.settings, vocab_size=mapping.new_size)
    card = {**pretrained.card, "vocabulary": said}
    return replace(
        pretrained,
        config=replace(config, settings=settings),
        variables=unflatten(leaves),
        preprocess=spec,
        card=card,
    )
