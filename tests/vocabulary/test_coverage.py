"""Coverage: words and pieces counted by hand, words chosen, halves of texts, and a real medical set."""

import csv

import pytest

from tlx.errors import ConfigError, DataError
from tlx.text import Tokenizer, WordTokenizer, split_words
from tlx.vocabulary import SplitWord, choose_words, coverage, divide_texts


def test_words_and_pieces_are_counted(splits):
    found = coverage(splits, ["A good film.", "Films, films: FINE ☃ playing"])
    assert (found.texts, found.words, found.distinct_words) == (2, 11, 10)  # "Films" and "films" are one
    assert found.pieces == 4 + 2 + 1 + 2 + 1 + 1 + 1 + 2
    assert found.split_words == 3
    assert found.unknown_pieces == 2  # the colon and the snowman
    assert found.pieces_per_word == 14 / 11
    assert found.split_share == 3 / 11
    assert found.most_split == (
        SplitWord("films", 2, ("film", "##s")),
        SplitWord("playing", 1, ("play", "##ing")),
    )


def test_words_are_spelled_as_the_tokenizer_normalizes_them_and_unknown_ones_as_they_stand(splits):
    (found,) = split_words(splits, ["CAFÉS Ångström☃Ⅷ!"])
    assert [word for word, _ in found] == ["cafes", "Ångström☃Ⅷ", "!"]


def test_names_of_special_pieces_are_text(splits):
    assert coverage(splits, ["[MASK]"]).words == 3
    assert coverage(splits, ["[MASK]"]).unknown_pieces == 2  # the brackets


@pytest.mark.parametrize(("words", "over_256", "over_512"), [(254, 0, 0), (255, 1, 0), (510, 1, 0), (511, 1, 1)])
def test_special_pieces_count_for_the_length_of_texts(splits, words, over_256, over_512):
    found = coverage(splits, ["good " * words, "bad"])
    assert (found.over_256, found.over_512) == (over_256, over_512)
    assert (found.over_256_share, found.over_512_share) == (over_256 / 2, over_512 / 2)


def test_pieces_that_are_cut_off_are_counted(splits):
    found = coverage(splits, ["good " * 20, "films " * 3, "bad"], max_length=7)
    assert found.lost_pieces == 20 + 2 - 7 + 6 + 2 - 7


def test_the_words_that_save_most_are_chosen(splits):
    texts = ["Films films films playing playing xyz xyz ☃☃☃ films☃", "films good good good good good"]
    assert choose_words(splits, texts, 9, least=2) == ("films", "xyz", "playing")  # 4 x 1, 2 x 2, 2 x 1
    assert choose_words(splits, texts, 1, least=2) == ("films",)
    assert choose_words(splits, texts, 9, least=3) == ("films",)
    assert choose_words(splits, texts, 0) == ()


def test_halves_are_disjoint_and_do_not_depend_on_order_or_other_texts():
    texts = [f"text {number}" for number in range(200)]
    first, second = divide_texts([*texts, *texts, " text 3 "])
    assert sorted(first + second) == sorted(texts)
    assert 70 < len(first) < 130
    again = divide_texts(texts[::-2])
    assert set(again[0]) <= set(first)
    assert set(again[1]) <= set(second)


def test_what_cannot_be_counted_is_refused(splits):
    with pytest.raises(DataError, match="one text"):
        coverage(splits, "a text")
    with pytest.raises(DataError, match="none"):
        coverage(splits, [])
    with pytest.raises(ConfigError, match="whole words"):
        coverage(WordTokenizer(("a",)), ["a"])
    with pytest.raises(ConfigError, match="WordPiece"):
        choose_words(WordTokenizer(("a",)), ["a"], 1)
    for count, least in ((-1, 5), (True, 5), (1, 0), (1.5, 5)):
        with pytest.raises(ConfigError, match="whole number"):
            choose_words(splits, ["a"], count, least)


@pytest.mark.slow
def test_medical_abstracts(real_splits, shared_data):
    """Measured elsewhere on another half of the same texts: pieces a word, words split, pieces saved, and lengths."""
    with open(shared_data / "text/medical_abstracts_test.csv", newline="", encoding="utf-8") as file:
        texts = [row["medical_abstract"] for row in csv.DictReader(file)]
    chosen_on, held_out = divide_texts(texts)
    assert len(chosen_on) + len(held_out) == 2770
    before = coverage(real_splits, held_out)
    assert before.pieces_per_word == pytest.approx(1.264, abs=0.01)
    expected = {
        0: (1.264, 0.130, 0.0, 0.568, 0.044),
        100: (1.223, 0.111, 0.032, 0.545, 0.036),
        500: (1.168, 0.085, 0.076, 0.517, 0.027),
        994: (1.141, 0.072, 0.097, 0.497, 0.023),
        2000: (1.111, 0.057, 0.120, 0.472, 0.019),
    }
    for count, (pieces, split, saved, over_256, over_512) in expected.items():
        words = choose_words(real_splits, chosen_on, count)
        found = coverage(Tokenizer.from_vocabulary([*real_splits.pieces, *words]), held_out)
        assert found.pieces_per_word == pytest.approx(pieces, abs=0.01)
        assert found.split_share == pytest.approx(split, abs=0.005)
        assert 1 - found.pieces / before.pieces == pytest.approx(saved, abs=0.006)
        assert found.over_256_share == pytest.approx(
            over_256, abs=0.035
        )  # two halves of 1,400 texts: 1.9 standard errors
        assert found.over_512_share == pytest.approx(over_512, abs=0.015)
        assert found.unknown_pieces == before.unknown_pieces
