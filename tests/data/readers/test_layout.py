import pytest

from tlx.data.readers.layout import notes_on, numbered_note, order_classes
from tlx.errors import DataError


@pytest.mark.parametrize(
    ("names", "ordered"),
    [
        (["b", "a", "b"], ("a", "b")),
        (["10", "9", "1"], ("1", "9", "10")),
        (["10", "9", "x"], ("10", "9", "x")),
        (["02", "1"], ("1", "02")),
        (["-1", "0"], ("-1", "0")),
        (["²", "1"], ("1", "²")),
        (["b", "B", "é", "z"], ("B", "b", "z", "é")),
        ([], ()),
    ],
)
def test_classes_stand_by_code_point_or_by_value(names, ordered):
    assert order_classes(names, "data") == ordered


@pytest.mark.parametrize(("one", "other"), [("caf\xe9", "cafe\u0301"), ("cat", "cat "), ("ﬁn", "fin"), ("x²", "x2")])
def test_classes_that_look_alike_are_refused(one, other, refuses):
    with refuses(DataError, "data: the classes ", ascii(one), ascii(other), "look alike"):
        order_classes([one, "dog", other], "data")


@pytest.mark.parametrize(
    ("classes", "note"),
    [
        (["0", "1", "2"], []),
        (["a", "b"], []),
        (["1", "x"], []),
        (["1", "2", "12"], ["the classes are numbers: class 1 has index 0, 2 has 1, 12 has 2"]),
        (["0", "2"], ["the classes are numbers: class 0 has index 0, 2 has 1"]),
        (["00", "01"], ["the classes are numbers: class 00 has index 0, 01 has 1"]),
    ],
)
def test_numbers_that_are_not_the_indices_are_noted(classes, note):
    assert numbered_note(classes) == note


def test_a_long_note_is_cut():
    [note] = numbered_note([str(number + 1) for number in range(40)])
    assert note.endswith("20 has 19, ...")


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (["Cat", "cat", "dog"], ["the classes 'Cat' and 'cat' differ in case only"]),
        (["STRASSE", "stra\xdfe"], ["the classes 'STRASSE' and 'stra\xdfe' differ in case only"]),
        (["cat ", "dog"], ["the class 'cat ' begins or ends with a blank"]),
        (["A", "a", "b"], []),
        (["NaN", "cat"], ["the class 'NaN' may be a label that is missing"]),
        (["1", "3"], ["the classes are numbers"]),
    ],
)
def test_odd_names_are_noted(classes, words):
    notes = notes_on(classes)
    assert [note.startswith(word) for note, word in zip(notes, words, strict=True)] == [True] * len(words)
