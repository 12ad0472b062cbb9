"""Texts in the report: mistakes with their words marked, lengths, and what was left out."""

import re

import numpy as np
import pytest

import tlx
from tlx.analysis.text_lengths import lengths_plot
from tlx.analysis.texts import segments
from tlx.records.texts import Counts, MistakenText, Part, TextRecord

HOSTILE = "<script>alert(1)</script> \u202e& “fine”\nfilm"
FINE = HOSTILE.index("fine")


@pytest.fixture
def page(make_run):
    """The page of a run of two classes on texts, its first mistake hostile, its second a pair."""
    counts = Counts(1234, 9000, 10800, 5, 77, 90, 3)
    lengths = np.array([[3, 1000], [12, 200], [30, 34]])
    hostile = MistakenText(HOSTILE, "", np.array([[0, 0, 8], [0, FINE, FINE + 4]]), np.array([4.0, -1.0], np.float32))
    pair = MistakenText("a good film", "bad", np.array([[0, 2, 6], [1, 0, 3]]), np.array([1, -2], np.float32))
    plain = MistakenText("nothing marked", "", np.zeros((0, 3), int), np.zeros(0, np.float32))

    def arrays(count):
        mistakes = (hostile, pair, *[plain] * (count - 2))
        return TextRecord({"training": Part(counts, lengths), "test": Part(counts, lengths)}, mistakes).to_arrays()

    found = dict.fromkeys(("mistake_images", "mistake_maps"), ...)
    preprocess = {"kind": "tokens", "max_length": 64, "long": "head", "lengths": [8, 16, 32]}
    run = make_run(classes=("no", "yes"), accuracy=0.9, run={"preprocess": preprocess}, arrays={**found, **arrays(24)})
    return tlx.write_report(run).read_text(encoding="utf-8")


def test_words_are_marked_by_sign_and_strength_and_nothing_becomes_markup(page):
    assert "<script" not in page
    assert "\u202e" not in page
    section = page[page.index('<div class="mistaken-texts">') :]
    assert '<span class="word for strength-4">&lt;script&gt;</span>alert(1)&lt;/script&gt;' in section
    assert '<span class="word against strength-1">fine</span>' in section
    assert "<small>first</small>" in section
    assert '<span class="word for strength-2">good</span> film' in section
    assert '<span class="word against strength-4">bad</span>' in section
    assert "For: <bdi>good</bdi>. Against: <bdi>bad</bdi>." in section
    assert "nothing marked" in section


def test_the_lengths_and_what_was_left_out_are_told(page):
    section = page[page.index('id="texts"') :]
    row = re.sub(r"<[^>]+>", " ", section[section.index("<tbody>") : section.index("</tbody>")])
    figures = ["1,234", "7.3", "1.20", "5", "(0.4%)", "77", "(0.8%)", "90", "(1.0%)", "3"]
    assert row.split() == ["training", *figures, "test", *figures]
    assert "A text has 64 pieces at most." in section
    assert section.count("stroke-dasharray: 2 3") == 3  # a mark for each length


def test_segments_add_up_to_the_text_and_overlaps_are_left_out():
    words = np.array([[0, 3], [4, 6], [5, 9], [7, 9]])
    found = segments("the bad film", words, np.array([1.0, -4.0, 3.0, 0.1]), 4.0)
    assert "".join(each.text for each in found) == "the bad film"
    assert [(each.text, each.strength, each.speaks_for) for each in found if each.strength] == [
        ("the", 1, True),
        ("ba", 4, False),
    ]


def test_scores_of_nothing_mark_nothing():
    assert [each.strength for each in segments("the film", np.array([[0, 3]]), np.zeros(1), 0.0)] == [0]


@pytest.mark.parametrize("longest", [1, 7, 512, 10**6, 1 << 60])
def test_lengths_of_any_size_are_drawn(longest):
    drawn = lengths_plot({"<test>": np.array([[1, 3], [longest, 1]])}, (8, longest), 64)
    assert "&lt;test&gt;" in drawn
    assert "nan" not in drawn
    heights = [float(each) for each in re.findall(r"V([0-9.]+)H", drawn)]
    assert min(heights) == pytest.approx(34)  # the highest bar fills the plot
    assert lengths_plot({"test": np.zeros((0, 2), int)}, (), None).startswith("<svg")
