"""How the texts of a run are shown: mistakes with their words marked, and what became of all texts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from tlx.analysis.names import shown
from tlx.analysis.text_lengths import lengths_plot
from tlx.records.texts import MistakenText, TextRecord

STRENGTHS = 4  # steps in which marks grow, in the style sheet: .strength-1 and on
_MOST_WORDS = 6  # that are named beside a text
_LONGEST = 1 << 40  # of a length that is drawn


class Segment(NamedTuple):
    """A stretch of a text: how strongly it spoke, 0 for not at all to 4, and whether for the answer."""

    text: str
    strength: int
    speaks_for: bool


def segments(text: str, words: np.ndarray, scores: np.ndarray, largest: float) -> list[Segment]:
    """Cut a text into what is marked and what stands between.

    Args:
        text: the text.
        words: (W, 2), where words begin and end; what overlaps a word before it is left out.
        scores: (W,), what each said for the answer, or against it.
        largest: the score that is marked most strongly.

    >>> segments("bad film", np.array([[0, 3]]), np.array([-2.0]), 2.0)
    [Segment(text='bad', strength=4, speaks_for=False), Segment(text=' film', strength=0, speaks_for=True)]
    """
    found, at = [], 0
    for place in np.lexsort((words[:, 1], words[:, 0])).tolist():
        begin, end = words[place].tolist()
        strength = math.ceil(STRENGTHS * min(abs(scores[place]) / largest, 1.0) - 0.5) if largest > 0 else 0
        if begin < at or begin == end or strength < 1:
            continue
        found += [Segment(text[at:begin], 0, True), Segment(text[begin:end], strength, bool(scores[place] > 0))]
        at = end
    return [each._replace(text=_line(each.text)) for each in (*found, Segment(text[at:], 0, True)) if each.text]


def _line(text: str) -> str:
    """Make a stretch of a text fit for a page, and keep the blanks at its ends."""
    return shown(text, len(text)) if text.strip() else " "


def mistaken(mistake: MistakenText) -> dict[str, Any]:
    """Return the text, and its pair, in segments, and the words that spoke most for the answer and against it."""
    largest = float(np.abs(mistake.scores).max(initial=0.0))
    which = mistake.words[:, 0]
    texts = [mistake.text, *([mistake.pair] if mistake.pair else [])]
    parts = [
        segments(text, mistake.words[which == number, 1:], mistake.scores[which == number], largest)
        for number, text in enumerate(texts)
    ]
    order = np.argsort(-np.abs(mistake.scores), kind="stable")
    strong = [place for place in order.tolist() if abs(mistake.scores[place]) > largest / (2 * STRENGTHS)]
    named: dict[bool, list[str]] = {True: [], False: []}
    for place in strong:
        number, begin, end = mistake.words[place].tolist()
        word = shown((mistake.text, mistake.pair)[number][begin:end], 30)
        side = named[bool(mistake.scores[place] > 0)]
        if word not in side and len(side) < _MOST_WORDS:
            side.append(word)
    return {"texts": parts, "words_for": named[True], "words_against": named[False]}


def text_data(texts: TextRecord | None, preprocess: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the figures of each part's texts and a histogram of their lengths; None without any."""
    from markupsafe import Markup

    if texts is None or not texts.parts:
        return None
    unit = "words" if str(preprocess.get("tokenizer", "")).startswith("words") else "pieces"
    limits = preprocess.get("lengths")
    padded = (
        [each for each in limits if isinstance(each, int) and 0 < each <= _LONGEST] if isinstance(limits, list) else []
    )
    most = preprocess.get("max_length")
    most = most if isinstance(most, int) and not isinstance(most, bool) and most > 0 else None
    rows = [_figures(name, part.counts, unit) for name, part in texts.parts.items()]
    lengths = {name: part.lengths for name, part in texts.parts.items()}
    return {"unit": unit, "rows": rows, "padded": padded, "max_length": most, "long": preprocess.get("long"),
            "plot": Markup(lengths_plot(lengths, padded, most, unit))}  # fmt: skip


def _figures(name: str, counts: Any, unit: str) -> dict[str, Any]:
    total = max(counts.pieces, 1)
    known = counts.pieces + counts.unknown if unit == "words" else counts.pieces  # words that are unknown are left out
    return {
        "name": name,
        **counts._asdict(),
        "mean": counts.pieces / max(counts.texts, 1),
        "computed": counts.positions / total,
        "cut_share": counts.cut / max(counts.texts, 1),
        "lost_share": counts.lost / max(counts.lost + counts.pieces, 1),
        "unknown_share": counts.unknown / max(known, 1),
    }
