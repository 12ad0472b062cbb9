"""Sentences of words become pieces; the first piece of a word stands for it, whatever is cut off."""

import dataclasses

import numpy as np
import pytest
from text_models import VOCABULARY

from tlx.errors import ConfigError, DataError
from tlx.text import TextAugment, Tokenizer, Tokens, WordTokenizer
from tlx.text.rows import joined

SPEC = Tokens(Tokenizer.from_vocabulary(VOCABULARY), max_length=8)
WORDS = [("Films", "xyz", "good", "a"), ("bad",)]  # Films is 2 pieces, xyz 3


def first_pieces(spec, sentences):
    """Say of each word the text of the piece at its place."""
    rows = spec.encode(sentences)
    taken = rows.take(np.arange(len(rows)))
    pieces = spec.tokenizer.pieces
    return [
        [None if at < 0 else pieces[ids[at]] for at in places]
        for ids, places in zip(taken["ids"], taken["places"].tolist(), strict=True)
    ]


def test_the_first_piece_of_each_word_is_marked_and_words_that_are_cut_off_are_not():
    assert first_pieces(SPEC, WORDS) == [["film", "x", "good"], ["bad", None, None]]
    rows = SPEC.encode(WORDS)
    assert (rows.counts.tolist(), rows.words_kept.tolist(), rows.lost.tolist()) == ([4, 1], [3, 1], [1, 0])
    whole = dataclasses.replace(SPEC, max_length=16)
    assert first_pieces(whole, WORDS)[0] == ["film", "x", "good", "a"]


def test_windows_keep_all_words():
    spec = dataclasses.replace(SPEC, max_length=6, long="windows")
    assert first_pieces(spec, WORDS)[0] == ["film", "x", "good", "a"]
    rows = spec.encode(WORDS)
    assert rows.lost.tolist() == [0, 0]
    assert rows.words_kept.tolist() == rows.counts.tolist()
    row = rows.take([0])
    places = row["places"][0]
    assert row["windows"][0][places].tolist() == [1, 1, 2, 2]


def test_head_and_tail_leave_out_words_between():
    spec = dataclasses.replace(SPEC, max_length=7, long="head+tail")
    assert first_pieces(spec, WORDS)[0] == ["film", None, "good", "a"]


def test_long_sentences_are_refused_where_asked():
    spec = dataclasses.replace(SPEC, long="error")
    with pytest.raises(DataError, match=r"1 of 2 sentences .* with 9 \('Films xyz good a'\)"):
        spec.encode(WORDS)


def test_padding_and_other_pieces_are_no_words_on_the_device():
    spec = dataclasses.replace(SPEC, lengths=(4, 8))
    batch = spec.on_device(spec.collate([("bad", "\u200d", "a")]))
    assert batch["places"].tolist() == [[1, -1, 2]]  # of the middle one nothing is left
    assert batch["mask"].sum() == 4


def test_names_of_special_pieces_are_words_like_others():
    for parse in (True, False):
        spec = dataclasses.replace(SPEC, max_length=20, parse_special=parse)
        places = spec.encode([("a", "[MASK]", "film")]).places([0])
        assert (places >= 0).all()


def test_rows_of_parts_are_joined():
    parts = [SPEC.encode(WORDS[:1]), SPEC.encode(WORDS[1:])]
    whole = joined(parts)
    assert whole.places([0, 1]).tolist() == SPEC.encode(WORDS).places([0, 1]).tolist()
    assert whole.counts.tolist() == [4, 1]


def test_variation_keeps_words_at_their_pieces():
    spec = dataclasses.replace(SPEC, max_length=32)
    row = {name: column[0] for name, column in spec.encode(WORDS[:1]).take([0]).items()}
    lost = 0
    for seed in range(20):
        varied = TextAugment(word_dropout=0.5).vary(row, spec, np.random.default_rng(seed))
        firsts = [spec.tokenizer.pieces[varied["ids"][at]] if at >= 0 else None for at in varied["places"]]
        assert all(found in (None, own) for found, own in zip(firsts, ["film", "x", "good", "a"], strict=True))
        lost += firsts.count(None)
    assert 0 < lost < 80


def test_byte_level_rules_see_a_blank_before_every_word():
    from tokenizers import Tokenizer as Rules
    from tokenizers import models, pre_tokenizers, trainers

    rules = Rules(models.BPE())
    rules.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=280, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    rules.train_from_iterator(["so hello world, hello world"] * 5, trainer)
    tokenizer = Tokenizer(rules.to_str())
    [(ids, words)] = tokenizer.encode_words([["hello", "world"]])
    assert ids.tolist() == tokenizer.encode([" hello world"])[0].tolist()
    assert words[0] == 0
    assert words[-1] == 1


@pytest.mark.parametrize("words", [(), ("a", " "), ("a", 3)])
def test_what_is_no_sentence_is_refused_by_its_row(words):
    with pytest.raises(DataError, match="row 1 is"):
        SPEC.encode([("a",), words])


def test_word_vectors_take_no_sentences():
    with pytest.raises(ConfigError, match="name a base such as"):
        Tokens(WordTokenizer(("", "good"))).encode([("good",)])
