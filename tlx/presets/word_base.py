"""The base of word vectors: a file's vectors of the words that texts hold, or of all."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np

from tlx.data.source import take
from tlx.data.spec import PARTS, Data
from tlx.errors import ConfigError, check_choice
from tlx.files.opening import shown
from tlx.models.registry import ModelConfig
from tlx.models.words import WordsConfig
from tlx.presets.pretrained import Pretrained
from tlx.presets.vector_catalogue import KINDS, PUBLISHED_VECTORS, is_published_vectors, published_vectors
from tlx.presets.vector_file import vector_file
from tlx.text.tokens import Tokens, as_texts
from tlx.text.word_tokenizer import WordTokenizer, words_of
from tlx.text.word_vector_file import open_word_vectors
from tlx.text.word_vectors import WordVectors

WORD_BASES = KINDS  # what --base calls a file of word vectors, whichever it is
MAX_LENGTH = 512  # words of a text
SMALL = 100_000_000  # bytes of a matrix that is kept whole
Rows = Literal["auto", "all", "needed"]


def word_base(
    vectors: WordVectors | str | Path,
    texts: Data | Iterable[str] | None = None,
    *,
    rows: Rows = "auto",
    max_length: int = MAX_LENGTH,
    name: str = "words",
) -> Pretrained:
    """Return a base that looks texts up in word vectors: GloVe's, word2vec's, fastText's or others.

    A head on it takes the mean or the maximum of a text's words, or a small CNN or LSTM over them (the pools 'average',
    'max', 'cnn', 'lstm'). The vectors are the base's parameters: frozen, or tuned, as a recipe says.

    Args:
        vectors: the vectors, a file of them (`tlx.text.open_word_vectors`), or the name of published ones, such as
            'glove/6B.50d' (`tlx.presets.list_vectors`), which are fetched where the cache lacks them.
        texts: texts, or the data that hold them, whose words are needed. Words that the file lacks get the vector that
            fastText's n-grams make of them.
        rows: which vectors the model keeps: "all", or those "needed" for `texts` alone. "auto" keeps all of a matrix up
            to 100 MB, and of a larger one those needed. With all, words that only later texts hold have theirs.
        max_length: the most words of a text.
        name: what the base is called.

    Returns:
        A `Pretrained` of the architecture "words", whose input spec is a `tlx.text.Tokens` of words.

    Raises:
        ConfigError: for "needed" without texts.
        DataError: for a file that is damaged or holds something else.
        DownloadError: for published vectors that cannot be fetched.

    >>> vectors = WordVectors(("good", "bad"), np.eye(2, 3, dtype=np.float32))
    >>> base = word_base(vectors)
    >>> base.stages, base.variables["params"]["base"]["embeddings"]["word"]["embedding"].shape
    (('embeddings',), (3, 3))
    """
    check_choice("rows", rows, ("auto", "all", "needed"))
    if rows == "needed" and texts is None:
        raise ConfigError("rows: 'needed' goes with the texts whose words are: give them, or say 'all'")
    held = None if texts is None else (texts_of(texts) if isinstance(texts, Data) else list(texts))
    if not isinstance(vectors, WordVectors):
        path = vector_file(vectors)
        wanted = candidates(held) if held is not None and rows == "needed" else None
        vectors = open_word_vectors(path, words=wanted)
    if rows == "auto":
        rows = "needed" if held is not None and vectors.matrix.nbytes > SMALL else "all"
    counts = {} if held is None else words_of(held, WordTokenizer(vectors.words))
    words = [word for word in vectors.words if rows == "all" or word in counts]
    words = [word for word in words if "\n" not in word]
    matrix = [np.asarray(vectors.matrix[[vectors.index[word] for word in words]], np.float32)]
    others = (word for word in counts if word not in vectors.index)
    made = {word: vector for word in others if (vector := vectors.vector(word)) is not None}
    if made:
        words += list(made)
        matrix.append(np.stack(list(made.values())).astype(np.float32))
    width = vectors.matrix.shape[1]
    table = np.concatenate([np.zeros((1, width), np.float32), *matrix])
    settings = WordsConfig(len(table), width)
    config = ModelConfig("words", 0, (max_length,), settings=settings)
    spec = Tokens(WordTokenizer(tuple(words)), max_length=max_length)
    card = {"description": f"{len(words):,} word vectors of {width} numbers", "words": _said(vectors, rows, len(made))}
    variables = {"params": {"base": {"embeddings": {"word": {"embedding": jnp.asarray(table)}}}}}
    return Pretrained(name, config, variables, spec, (), card)


def _said(vectors: WordVectors, rows: str, made: int) -> str:
    kept = "all of the file's" if rows == "all" else f"those that the texts need, of {len(vectors.words):,} read"
    return kept + (f"; {made:,} made of n-grams" if made else "")


def extended(pretrained: Pretrained, vectors: WordVectors | str | Path, texts: Sequence[str]) -> Pretrained:
    """Return a model of word vectors with those of further words that texts hold, from the file that it came from.

    The words that it knows keep their vectors, tuned or not. Raise `ConfigError` for another kind of model, or vectors
    of another size.
    """
    spec, config = pretrained.preprocess, pretrained.config
    if config.architecture != "words" or not isinstance(spec, Tokens) or not isinstance(spec.tokenizer, WordTokenizer):
        raise ConfigError(f"{pretrained.name}: has no word vectors to add to: leave out --weights")
    if not isinstance(vectors, WordVectors):
        vectors = open_word_vectors(vector_file(vectors), words=candidates(texts))
    if vectors.matrix.shape[1] != config.settings.vector_size:
        raise ConfigError(
            f"{pretrained.name}: has vectors of {config.settings.vector_size} numbers, the file's have "
            f"{vectors.matrix.shape[1]}"
        )
    own = spec.tokenizer.words
    splits = WordTokenizer(tuple(dict.fromkeys((*own, *vectors.words))))
    new = [word for word in words_of(texts, splits) if word not in set(own)]
    found = {word: vector for word in new if (vector := vectors.vector(word)) is not None}
    if not found:
        return pretrained
    settings = WordsConfig(config.settings.vocab_size + len(found), config.settings.vector_size)
    params = pretrained.variables["params"]
    word = params["base"]["embeddings"]["word"]
    table = jnp.concatenate([word["embedding"], jnp.asarray(np.stack(list(found.values())), jnp.float32)])
    base = {**params["base"], "embeddings": {**params["base"]["embeddings"], "word": {**word, "embedding": table}}}
    return replace(
        pretrained,
        config=replace(config, settings=settings),
        variables={**pretrained.variables, "params": {**params, "base": base}},
        preprocess=replace(spec, tokenizer=WordTokenizer((*own, *found))),
    )


def candidates(texts: Iterable[str]) -> Collection[str]:
    """Return all that a word of texts may be called in a file of vectors: as it stands, in lower case, its parts.

    >>> sorted(candidates(["Don't!"]))
    ['!', 'Do', "Don't", "Don't!", 'do', "don't", "don't!", "n't"]
    """
    splits = WordTokenizer(())
    found: set[str] = set()
    for text in texts:
        for token in text.split():
            if token not in found:
                found |= {token, token.lower(), *splits.forms(token)}
    return found


def texts_of(data: Data) -> list[str]:
    """Return all texts of data, of pairs both."""
    found: list[str] = []
    for part in PARTS:
        source: Any = getattr(data, part)
        source = getattr(source, "source", source) if hasattr(source, "rows") else source
        if not len(source):
            continue
        first, second = as_texts(take(source, np.arange(len(source)))["input"])
        found += [*first, *(second or ())]
    return found


def is_word_base(name: str) -> bool:
    """Tell whether a name is meant as that of a base of word vectors: 'glove', or 'glove/6B.50d'."""
    return name in WORD_BASES or is_published_vectors(name)


def load_words(name: str, weights: str | Path | None) -> Pretrained:
    """Load word vectors as a base of the name that --base gives it, from a file or as they are published."""
    return described(word_base(words_named(name, weights), name=name), name if weights is None else "")


def words_named(name: str, weights: str | Path | None) -> str | Path:
    """Return the file, or the name of published vectors, that --base and --weights name together.

    Raise `ConfigError` for a kind alone, and a name of no published vectors.
    """
    if is_published_vectors(name):
        published_vectors(name)
    elif weights is None:
        some = [each for each in PUBLISHED_VECTORS if each.startswith(f"{name}/")]
        raise ConfigError(
            f"--base {name}: needs a file of word vectors: --weights FILE (GloVe, word2vec, fastText), or name "
            f"published ones: {', '.join(some[:4])}"
        )
    return name if weights is None else weights


def described(base: Pretrained, published: str) -> Pretrained:
    """Return a base whose card says whose vectors these are, where they are published ones."""
    if not is_published_vectors(published):
        return base
    entry = published_vectors(published)
    own = {"source": entry.name, "licence": entry.licence, "paper": entry.paper, "page": entry.page}
    return replace(base, card={**base.card, **own})


def placeholder() -> Tokens:
    """Return a spec of texts without any words, to read the data by whose words a base is then made."""
    return Tokens(WordTokenizer(()), max_length=MAX_LENGTH)


def unknown_note(path: str | Path, base: Pretrained) -> str:
    """Say which vectors a base keeps."""
    return f"{shown(str(path))}: {base.card['description']}, {base.card['words']}"
