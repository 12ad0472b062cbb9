"""Text: tokenizers, the input spec of texts, word vectors."""

from tlx.text.lengths import best_lengths
from tlx.text.tokenizer import Piece, Template, Tokenizer, read_tokenizer, read_vocabulary
from tlx.text.tokens import Long, Rows, Tokens

__all__ = [
    "Long",
    "Piece",
    "Rows",
    "Template",
    "Tokenizer",
    "Tokens",
    "best_lengths",
    "read_tokenizer",
    "read_vocabulary",
]
