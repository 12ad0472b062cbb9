"""The report: how well a vocabulary covers held-out texts, before words are added and after."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tlx.errors import DataError
from tlx.presets.pretrained import Pretrained
from tlx.vocabulary.coverage import Coverage, check_word_piece, choose_words, coverage, divide_texts
from tlx.vocabulary.graft import add_words
from tlx.vocabulary.mapping import Mapping


@dataclass(frozen=True)
class VocabularyReport:
    """What `adapt_vocabulary` did: the words, what became of the rows, and the coverage of texts held out.

    `chosen_on` is how many texts the words were chosen on; others were measured on.
    """

    words: tuple[str, ...]
    mapping: Mapping
    chosen_on: int
    before: Coverage
    after: Coverage

    @property
    def pieces_saved(self) -> float:
        """The share of pieces that the words save."""
        return 1 - self.after.pieces / max(self.before.pieces, 1)

    @property
    def in_unused_slots(self) -> int:
        """How many words took the number of a piece that was kept for such."""
        return sum(each.id < self.mapping.old_size for each in self.mapping.new)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as data for JSON."""
        return {
            "words": list(self.words),
            "rows": {"before": self.mapping.old_size, "after": self.mapping.new_size},
            "in_unused_slots": self.in_unused_slots,
            "chosen_on": self.chosen_on,
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            "pieces_saved": self.pieces_saved,
        }


def adapt_vocabulary(
    pretrained: Pretrained, texts: Iterable[str], count: int, *, least: int = 5, begin: Any = "mean", seed: int = 0
) -> tuple[Pretrained, VocabularyReport]:
    """Add to a base the words that save the most pieces of texts, and measure what they save of other texts.

    Args:
        pretrained: a base with a WordPiece vocabulary.
        texts: texts; no label is needed. Words are chosen on one half of them and measured on the other
            (`divide_texts`).
        count: how many words, fewer where there are no more.
        least: how often a word must be there.
        begin: how their rows begin (`add_words`).
        seed: of fresh rows.

    Returns:
        The base with the words, and the report.

    Raises:
        ConfigError: as `choose_words` and `add_words`.
        DataError: for texts of which one half would be empty.
    """
    spec: Any = pretrained.preprocess
    tokenizer = check_word_piece(getattr(spec, "tokenizer", None))
    chosen_on, held_out = divide_texts(texts)
    if not chosen_on or not held_out:
        raise DataError(
            f"texts: {len(chosen_on) + len(held_out)} different ones, too few to choose words on one half and measure "
            "on the other: give more"
        )
    words = choose_words(tokenizer, chosen_on, count, least)
    adapted, mapping = add_words(pretrained, words, begin=begin, seed=seed)
    own: Any = adapted.preprocess
    before, after = (coverage(each, held_out, max_length=spec.max_length) for each in (tokenizer, own.tokenizer))
    return adapted, VocabularyReport(words, mapping, len(chosen_on), before, after)
