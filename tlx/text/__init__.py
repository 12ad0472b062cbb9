"""Text: tokenizers, the input spec of texts, word vectors."""

from tlx.text.augment import TextAugment
from tlx.text.entities import count_entities, entities_of, scheme_of
from tlx.text.lengths import best_lengths
from tlx.text.located import Word, locate_words
from tlx.text.packing import Packed, pack
from tlx.text.rows import Rows
from tlx.text.sentences import Sentence
from tlx.text.split_words import split_words, word_piece_prefix
from tlx.text.tokenizer import Piece, Template, Tokenizer, read_tokenizer, read_vocabulary
from tlx.text.tokens import Long, Tokens
from tlx.text.word_tokenizer import WordTokenizer
from tlx.text.word_vector_file import open_word_vectors
from tlx.text.word_vectors import WordVectors

__all__ = [
    "Long",
    "Packed",
    "Piece",
    "Rows",
    "Sentence",
    "Template",
    "TextAugment",
    "Tokenizer",
    "Tokens",
    "Word",
    "WordTokenizer",
    "WordVectors",
    "best_lengths",
    "count_entities",
    "entities_of",
    "locate_words",
    "open_word_vectors",
    "pack",
    "read_tokenizer",
    "read_vocabulary",
    "scheme_of",
    "split_words",
    "word_piece_prefix",
]
