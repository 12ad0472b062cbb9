"""Text: files of word vectors."""

from tlx.text.subwords import Subwords
from tlx.text.word_vector_file import open_word_vectors
from tlx.text.word_vectors import WordVectors

__all__ = ["Subwords", "WordVectors", "open_word_vectors"]
