"""Entities of tags in all schemes, as conlleval and seqeval read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlx.text.entities import Counts, count_entities, entities_of, mark_entities, scheme_of, total_of

CASES = {  # tags, and the entities that seqeval 1.2.2 finds in them: type, first and last word
    "B-X I-X O B-X": ["X 0 1", "X 3 3"],
    "I-X I-X O I-X": ["X 0 1", "X 3 3"],
    "I-X B-X I-X": ["X 0 0", "X 1 2"],
    "B-X B-X": ["X 0 0", "X 1 1"],
    "B-X I-Y": ["X 0 0", "Y 1 1"],
    "S-X B-X E-X S-Y": ["X 0 0", "X 1 2", "Y 3 3"],
    "B-X E-X I-X": ["X 0 1", "X 2 2"],
    "B-X I-X E-X E-X": ["X 0 2", "X 3 3"],
    "E-X S-X": ["X 0 0", "X 1 1"],
    "O O": [],
    "B-X-Y I-X-Y": ["X-Y 0 1"],
}


@pytest.mark.parametrize("tags", CASES)
def test_entities_lie_where_seqeval_finds_them(tags):
    found = entities_of(tags.split())
    assert [f"{each.type} {each.start} {each.end - 1}" for each in found] == CASES[tags]


@pytest.mark.parametrize(("bilou", "bioes"), [("U-X B-X L-X", "S-X B-X E-X"), ("B-X M-X E-X", "B-X I-X E-X")])
def test_other_letters_mean_the_same(bilou, bioes):
    assert entities_of(bilou.split()) == entities_of(bioes.split())


@given(st.lists(st.tuples(st.sampled_from(["X", "Y", ""]), st.integers(1, 4)), max_size=6))
def test_what_a_scheme_writes_is_read_again(parts):
    wanted, place = [], 0
    written = {"IOB2": [], "IOB1": [], "BIOES": []}
    before = ""
    for kind, length in parts:
        if not kind:
            for tags in written.values():
                tags += ["O"] * length
        else:
            wanted.append((kind, place, place + length))
            inside = [f"I-{kind}"] * (length - 1)
            written["IOB2"] += [f"B-{kind}", *inside]
            written["IOB1"] += [f"{'B' if before == kind else 'I'}-{kind}", *inside]
            written["BIOES"] += [f"S-{kind}"] if length == 1 else [f"B-{kind}", *inside[1:], f"E-{kind}"]
        place, before = place + length, kind
    for scheme, tags in written.items():
        assert [tuple(each) for each in entities_of(tags)] == wanted, scheme


def test_schemes_are_told_apart():
    assert scheme_of([["O", "B-X", "I-X"], ["B-Y"]]) == "IOB2"
    assert scheme_of([["O", "I-X", "B-X"]]) == "IOB1"
    assert scheme_of([["B-X", "L-X"], ["U-Y", "O"]]) == "BIOES"
    assert scheme_of([["NOUN", "B-X"]]) is None
    assert not mark_entities(["O", "I"])


def test_counts_are_those_of_the_conll_tasks():
    true = [["B-PER", "I-PER", "O", "B-LOC"], ["B-LOC", "O"]]
    said = [["B-PER", "O", "O", "B-LOC"], ["B-PER", "O"]]
    counts = count_entities(true, said)
    assert counts == {"LOC": Counts(1, 1, 2), "PER": Counts(0, 2, 1)}
    total = total_of(counts.values())
    assert (total.precision, total.recall, total.f1) == (1 / 3, 1 / 3, 1 / 3)
    assert total_of([]).f1 == 0
