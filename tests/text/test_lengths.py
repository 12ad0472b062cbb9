"""Lengths: few, multiples of eight, and the best there are."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tlx.text import best_lengths
from tlx.text.lengths import ENOUGH, padded, usual_lengths


@given(st.lists(st.integers(1, 90), min_size=1, max_size=60), st.integers(1, 4))
def test_no_other_choice_computes_much_less(lengths, most):
    chosen = best_lengths(lengths, most)
    assert len(chosen) <= most
    assert chosen[-1] >= max(lengths)
    sizes = sorted({-(-length // 8) * 8 for length in lengths})
    others = [each for count in range(1, most + 1) for each in itertools.combinations(sizes, count)]
    least = min(padded(np.array(lengths), each).sum() for each in others if each[-1] >= max(lengths))
    assert padded(np.array(lengths), chosen).sum() <= ENOUGH * least


def test_more_lengths_than_help_are_not_taken():
    assert best_lengths([16] * 99 + [8]) == (16,)


def test_without_texts_there_is_one_length():
    assert best_lengths([]) == (8,)


def test_texts_beyond_the_longest_have_a_length_of_their_own():
    assert padded(np.array([100]), usual_lengths(64)).tolist() == [104]


def test_real_sentences_cost_little_padding(shared_data):
    """The average of 23 words has about as many pieces, and no more than a quarter of positions is padding."""
    lines = (shared_data / "text" / "sst2_train.tsv").read_text(encoding="utf-8").splitlines()
    lengths = np.array([len(line.split()) + 2 for line in lines])
    chosen = best_lengths(lengths)
    assert len(chosen) <= 6
    assert padded(lengths, chosen).sum() <= 1.25 * lengths.sum()
