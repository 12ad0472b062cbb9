"""Texts vary as the options say, and special pieces stay."""

import dataclasses

import numpy as np
import pytest
from text_models import VOCABULARY

import tlx
from tlx.data import ColumnSource, Feed, batches
from tlx.data.tokenized import tokenized
from tlx.errors import ConfigError
from tlx.images import Preprocess
from tlx.images.augment import generator_of
from tlx.text import TextAugment, Tokenizer, Tokens, WordTokenizer

TOKENIZER = Tokenizer.from_vocabulary(VOCABULARY)
CLS, SEP, MASK, UNK = (VOCABULARY.index(name) for name in ("[CLS]", "[SEP]", "[MASK]", "[UNK]"))
SPEC = Tokens(TOKENIZER, max_length=40, lengths=(16, 40))
TEXT = "the good films, playing very dull; not fine [MASK] ☃"
PAIR = {"text": "good films", "pair": TEXT}


def row_of(spec, value):
    return {name: column[0] for name, column in spec.encode([value]).take([0]).items()}


def words_of(ids):
    """Return the words of a row, as texts."""
    words = []
    for number in ids:
        piece = VOCABULARY[number]
        if piece.startswith("##"):
            words[-1] += piece[2:]
        else:
            words.append(piece)
    return words


def draws(count=200):
    return (generator_of(1, 2, number) for number in range(count))


def test_whole_words_are_left_out_about_as_often_as_is_said():
    row = row_of(SPEC, TEXT)
    whole = words_of(row["ids"])
    lengths = []
    for generator in draws(400):
        varied = TextAugment(word_dropout=0.3).vary(row, SPEC, generator)
        words = words_of(varied["ids"])
        remaining = iter(whole)
        assert all(word in remaining for word in words)  # in order, and none torn apart
        assert (words[0], words[-1], words.count("[MASK]")) == ("[CLS]", "[SEP]", 1)
        assert varied["second"] == len(varied["ids"])
        lengths.append(len(words) - 3)
    assert np.mean(lengths) == pytest.approx(0.7 * (len(whole) - 3), rel=0.05)


@pytest.mark.parametrize("long", ["head", "windows"])
def test_of_each_text_a_word_stays(long):
    spec = Tokens(TOKENIZER, max_length=12, long=long)
    row = row_of(spec, PAIR)
    for generator in draws():
        varied = TextAugment(word_dropout=0.999).vary(row, spec, generator)
        batch = {name: np.asarray(each)[0] for name, each in spec.on_device(spec.collate([varied])).items()}
        plain = ~np.isin(batch["ids"], [CLS, SEP]) & batch["mask"]
        assert (plain & (batch["segments"] == 0)).any()
        assert (plain & (batch["segments"] == 1)).any()


def test_the_second_text_begins_where_it_began_less_what_is_left_out():
    row = row_of(SPEC, PAIR)
    for generator in draws():
        varied = TextAugment(word_dropout=0.5).vary(row, SPEC, generator)
        assert varied["ids"][varied["second"] - 1] == SEP
        assert words_of(varied["ids"][: varied["second"]]) in [
            ["[CLS]", *own, "[SEP]"] for own in (["good"], ["films"], ["good", "films"])
        ]


def test_the_first_text_of_a_pair_stays_the_same_in_all_windows():
    spec = Tokens(TOKENIZER, max_length=12, long="windows")
    row = row_of(spec, PAIR)
    assert row["windows"].max() > 1
    for generator in draws():
        varied = TextAugment(word_dropout=0.4, mask_pieces=0.4).vary(row, spec, generator)
        ids, windows, second = varied["ids"], varied["windows"], varied["second"]
        firsts = {tuple(ids[windows == number][:second].tolist()) for number in np.unique(windows)}
        assert len(firsts) == 1
        assert (next(iter(firsts))[0], next(iter(firsts))[-1]) == (CLS, SEP)


def test_pieces_are_masked_and_special_ones_are_not():
    row = row_of(SPEC, TEXT)
    special = np.isin(row["ids"], [CLS, SEP, MASK])
    shares = []
    for generator in draws(400):
        ids = TextAugment(mask_pieces=0.25).vary(row, SPEC, generator)["ids"]
        changed = ids != row["ids"]
        assert (ids[changed] == MASK).all()
        assert not changed[special].any()
        shares.append(changed[~special].mean())
    assert np.mean(shares) == pytest.approx(0.25, rel=0.1)
    assert UNK in row["ids"]
    assert UNK not in TextAugment(mask_pieces=1.0).vary(row, SPEC, generator_of(0, 0, 0))["ids"]


def test_neither_option_changes_what_the_other_draws():
    row = row_of(SPEC, TEXT)
    for number in range(50):
        dropped, masked, both = (
            augment.vary(row, SPEC, generator_of(0, 1, number))["ids"]
            for augment in (TextAugment(0.3), TextAugment(0.0, 0.3), TextAugment(0.3, 0.3))
        )
        assert len(both) == len(dropped)
        assert (both[both != MASK] == dropped[both != MASK]).all()
        assert (masked == MASK).sum() >= (both == MASK).sum()


@pytest.mark.parametrize("value", [TEXT, PAIR])
@pytest.mark.parametrize("long", ["head", "windows"])
def test_a_text_and_its_row_are_varied_alike_into_what_collate_makes(value, long):
    spec = dataclasses.replace(SPEC, long=long)
    augment = TextAugment(0.2, 0.2)
    row = row_of(spec, value)
    of_text, of_row = (augment(each, spec, generator_of(0, 0, 5)) for each in (value, row))
    wanted = spec.collate([augment.vary(row, spec, generator_of(0, 0, 5))])
    assert of_text.keys() == of_row.keys() == wanted.keys()
    for name, array in wanted.items():
        assert np.array_equal(of_text[name], array[0])
        assert np.array_equal(of_row[name], array[0])


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_depend_on_the_seed_the_epoch_and_the_example_alone(workers):
    texts = [f"{TEXT} {'good ' * number}" for number in range(12)]
    source = tokenized(ColumnSource({"input": texts, "target": [0, 1] * 6}, ("a", "b")), SPEC)

    def ids(epoch, **changes):
        feed = Feed(4, seed=3, shuffle=True, augment=TextAugment(0.2, 0.2), **changes)
        return [batch["input"]["ids"] for batch in batches(source, SPEC, feed, epoch=epoch)]

    first, again, later = ids(0, workers=0), ids(0, workers=workers), ids(1, workers=0)
    assert all(map(np.array_equal, first, again))
    assert not all(map(np.array_equal, first, later))


def test_of_words_each_piece_is_one_and_an_empty_text_stays_empty():
    spec = Tokens(WordTokenizer(("good", "bad", "film")), max_length=9)
    lengths = {len(TextAugment(0.5).vary(row_of(spec, "good bad film"), spec, each)["ids"]) for each in draws()}
    assert lengths == {1, 2, 3}
    assert len(TextAugment(0.5).vary(row_of(spec, "nothing"), spec, generator_of(0, 0, 0))["ids"]) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [({"word_dropout": 1}, "no words"), ({"word_dropout": -0.1}, "of 0 to 1"), ({"mask_pieces": "x"}, "of 0 to 1")],
)
def test_what_is_no_probability_is_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        TextAugment(**options)


def test_it_varies_texts_alone_and_masks_with_a_mask_piece_alone():
    with pytest.raises(ConfigError, match="varies texts"):
        tlx.TextAugment(0.1).check(Preprocess(28, 28, 1))
    words = Tokens(WordTokenizer(("good",)))
    TextAugment(0.1).check(words)
    with pytest.raises(ConfigError, match="mask piece"):
        TextAugment(mask_pieces=0.1).check(words)
    with pytest.raises(ConfigError, match="unknown name 'word_drop', did you mean 'word_dropout'"):
        TextAugment.from_dict({"word_drop": 0.1})
