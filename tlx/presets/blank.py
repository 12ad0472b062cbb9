"""Published models with zeros for weights, which are not fetched: all that shapes can tell before a run."""

import os
from typing import Any

import numpy as np

from tlx.data.spec import Data
from tlx.models.registry import ModelConfig
from tlx.models.words import WordsConfig
from tlx.presets.catalogue import published
from tlx.presets.hub import HubFile, Url, is_cached
from tlx.presets.load import is_published
from tlx.presets.own import OWN
from tlx.presets.pretrained import Pretrained
from tlx.presets.published import blank_published
from tlx.presets.text_catalogue import PREFIX, files_of, is_published_text, published_text
from tlx.presets.text_folder import blank_text
from tlx.presets.vector_catalogue import is_published_vectors, published_vectors
from tlx.presets.vector_file import is_there
from tlx.presets.word_base import MAX_LENGTH, SMALL, texts_of
from tlx.text.tokens import Tokens
from tlx.text.word_tokenizer import WordTokenizer, words_of


def is_hub_model(name: str) -> bool:
    """Tell whether a name is that of a published model of images or texts, and of no folder."""
    return not os.path.isdir(name) and (is_published(name) or is_published_text(name))


def to_fetch(name: str) -> tuple[str, ...]:
    """Return the addresses of the weights that loading a model would fetch: none for what is on the disk.

    Raise `ConfigError` for a name of no published model.

    >>> to_fetch("cnn-mnist")
    ()
    """
    if os.path.isdir(name):
        return ()
    if is_published_vectors(name):
        entry = published_vectors(name)
        return () if is_there(entry) else (entry.location.url,)
    if is_published_text(name):
        revision = (name.partition("@")[2] if name.startswith(PREFIX) else "") or "main"
        repo = published_text(name).repo
        places = [HubFile(repo, file, revision) for file in files_of(repo)[-1]]
        return () if any(map(is_cached, places)) else (_address(places[0]),)
    if not is_published(name) or name in OWN:
        return ()
    location = published(name).location
    return () if is_cached(location) else (_address(location),)


def _address(location: Url | HubFile) -> str:
    if isinstance(location, Url):
        return location.url
    return f"https://huggingface.co/{location.repo}/resolve/{location.revision}/{location.filename}"


def load_blank(name: str, *, until: str | None = None) -> Pretrained:
    """Return a published model of images or texts with zeros for weights.

    Of a text model the small files that describe it are fetched: configuration and tokenizer, by which texts have their
    lengths. Raise as `tlx.load`.

    >>> load_blank("keras/mobilenet_v2").classes[:1]
    ('tench',)
    """
    return blank_text(name, until=until) if is_published_text(name) else blank_published(name, until=until)


def blank_words(name: str, data: Data) -> Pretrained:
    """Return a base of published word vectors with zeros for them, as if each word of the data had one.

    As with `tlx.word_base`, a small matrix has all rows of the file, and a large one those that the data need.
    """
    entry = published_vectors(name)
    words = tuple(words_of(texts_of(data), WordTokenizer(())))
    small = entry.words * entry.size * np.dtype(np.float32).itemsize <= SMALL
    rows = max(entry.words if small else 0, len(words)) + 1
    config = ModelConfig("words", 0, (MAX_LENGTH,), settings=WordsConfig(rows, entry.size))
    table = np.zeros((rows, entry.size), np.float32)
    variables: Any = {"params": {"base": {"embeddings": {"word": {"embedding": table}}}}}
    card = {"description": f"{rows - 1:,} word vectors of {entry.size} numbers", "words": "at most, none fetched"}
    return Pretrained(name, config, variables, Tokens(WordTokenizer(words), max_length=MAX_LENGTH), (), card)
