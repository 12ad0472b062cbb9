"""Vocabulary: how well a tokenizer covers texts, and words added to the vocabulary of a base."""

from tlx.vocabulary.coverage import Coverage, SplitWord, choose_words, coverage, divide_texts
from tlx.vocabulary.graft import add_words, swap_tokenizer, unused_slots
from tlx.vocabulary.mapping import VOCABULARY_LEAVES, Mapping, NewPiece, map_memory
from tlx.vocabulary.report import VocabularyReport, adapt_vocabulary

__all__ = [
    "VOCABULARY_LEAVES",
    "Coverage",
    "Mapping",
    "NewPiece",
    "SplitWord",
    "VocabularyReport",
    "adapt_vocabulary",
    "add_words",
    "choose_words",
    "coverage",
    "divide_texts",
    "map_memory",
    "swap_tokenizer",
    "unused_slots",
]
