"""Entities that the tags of words mark: which scheme they follow, where entities lie, and how many are found."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

OUTSIDE = "O"
_TAG = re.compile(r"O|[BIELMSU]-.+")
_USUAL = {"L": "E", "U": "S", "M": "I"}  # of BILOU and BMES, in the letters of BIOES


class Entity(NamedTuple):
    """An entity: its type, the place of its first word and the place behind its last one."""

    type: str
    start: int
    end: int


class Counts(NamedTuple):
    """How many entities are right, how many were said, and how many there are."""

    right: int
    said: int
    true: int

    @property
    def precision(self) -> float:
        """The share of the entities that were said which are right; 0 where none was said."""
        return self.right / self.said if self.said else 0.0

    @property
    def recall(self) -> float:
        """The share of the entities there are that were found; 0 where there are none."""
        return self.right / self.true if self.true else 0.0

    @property
    def f1(self) -> float:
        """The harmonic mean of the two; 0 where nothing is right."""
        return 2 * self.right / (self.said + self.true) if self.right else 0.0


def mark_entities(tags: Iterable[str]) -> bool:
    """Tell whether the names of tags mark entities: each is O, or B-, I-, E-, S- (L-, U-, M-) with a type behind it.

    >>> mark_entities(["O", "B-PER", "I-PER"]), mark_entities(["NOUN", "VERB"]), mark_entities(["O"])
    (True, False, False)
    """
    names = set(tags)
    return all(map(_TAG.fullmatch, names)) and any(name[:2] in ("B-", "I-", "S-", "U-") for name in names)


def scheme_of(sentences: Iterable[Sequence[str]]) -> str | None:
    """Return the scheme of sentences' tags: "IOB1", "IOB2" or "BIOES" (BILOU and BMES, too); None for no entities.

    In IOB1 an entity begins with I, and with B only behind another of its type; in IOB2 it always begins with B
    (E. Tjong Kim Sang and J. Veenstra, Representing Text Chunks, 1999).

    >>> scheme_of([["B-PER", "I-PER", "O"]]), scheme_of([["I-PER", "B-PER"]]), scheme_of([["S-LOC"]])
    ('IOB2', 'IOB1', 'BIOES')
    """
    known, begins_inside = set[str](), False
    for tags in sentences:
        known.update(tags)
        before = OUTSIDE
        for tag in tags:
            begins_inside |= tag[:1] == "I" and (before == OUTSIDE or before[1:] != tag[1:])
            before = tag
    if not mark_entities(known):
        return None
    if any(tag[:2] in ("E-", "S-", "L-", "U-") for tag in known):
        return "BIOES"
    return "IOB1" if begins_inside else "IOB2"


def entities_of(tags: Sequence[str]) -> list[Entity]:
    """Return the entities of a sentence, as conlleval and seqeval read tags of any scheme.

    A tag that does not go on from the one before begins an entity, whatever its letter: nothing that a model says is
    thrown away. (E. Tjong Kim Sang's conlleval.pl, of the shared task of CoNLL-2000, `startOfChunk` and `endOfChunk`.)

    >>> entities_of(["B-PER", "I-PER", "O", "I-LOC", "B-LOC"])
    [Entity(type='PER', start=0, end=2), Entity(type='LOC', start=3, end=4), Entity(type='LOC', start=4, end=5)]
    """
    found, start = [], 0
    before, kind = OUTSIDE, ""
    for place, tag in enumerate([*tags, OUTSIDE]):
        letter, _, own = tag.partition("-")
        letter = _USUAL.get(letter, letter)
        if before != OUTSIDE and (own != kind or before in "ES" or letter in "BSO"):
            found.append(Entity(kind, start, place))
            before = OUTSIDE  # so that what follows begins an entity
        if letter != OUTSIDE and before == OUTSIDE:
            start = place
        before, kind = letter, own
    return found


def count_entities(true: Iterable[Sequence[str]], said: Iterable[Sequence[str]]) -> dict[str, Counts]:
    """Count by type the entities of sentences that were said with the same words and the same type as the true ones.

    Args:
        true: the tags of each sentence.
        said: the tags that a model gave, as many.

    Returns:
        The counts of each type, by its name, in alphabetic order.

    >>> count_entities([["B-PER", "O"]], [["B-PER", "B-PER"]])
    {'PER': Counts(right=1, said=2, true=1)}
    """
    found: dict[str, list[int]] = {}
    for tags, answers in zip(true, said, strict=True):
        own, theirs = set(entities_of(tags)), set(entities_of(answers))
        for column, entities in enumerate((own & theirs, theirs, own)):
            for entity in entities:
                found.setdefault(entity.type, [0, 0, 0])[column] += 1
    return {kind: Counts(*found[kind]) for kind in sorted(found)}


def total_of(counts: Iterable[Counts]) -> Counts:
    """Return the counts of all types together.

    >>> total_of([Counts(1, 2, 1), Counts(0, 0, 2)])
    Counts(right=1, said=2, true=3)
    """
    several = list(counts)
    return Counts(sum(each.right for each in several), sum(each.said for each in several), sum(e.true for e in several))
