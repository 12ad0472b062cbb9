"""The input spec of texts: pairs, what is too long, padding, and what travels with the weights."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from text_models import VOCABULARY

from tlx.errors import ConfigError, DataError
from tlx.text import Tokenizer, Tokens

TOKENIZER = Tokenizer.from_vocabulary(VOCABULARY)
CLS, SEP, PAD = (VOCABULARY.index(name) for name in ("[CLS]", "[SEP]", "[PAD]"))
GOOD, BAD, FILM = (VOCABULARY.index(name) for name in ("good", "bad", "film"))
SPEC = Tokens(TOKENIZER, max_length=8, lengths=(4, 8))


def made(spec, texts):
    return {name: np.asarray(array) for name, array in spec.on_device(spec.collate(texts)).items()}


def rows(batch):
    return [ids[mask].tolist() for ids, mask in zip(batch["ids"], batch["mask"], strict=True)]


def test_texts_are_padded_to_the_least_length_that_serves():
    short, long = made(SPEC, ["good", "bad"]), made(SPEC, ["good", "good bad film"])
    assert short["ids"].tolist() == [[CLS, GOOD, SEP, PAD], [CLS, BAD, SEP, PAD]]
    assert long["ids"].shape == (2, 8)
    assert long["mask"].sum(1).tolist() == [3, 5]
    assert not long["segments"].any()


def test_the_second_text_of_a_pair_is_another_segment():
    batch = made(SPEC, [{"text": "good", "pair": "bad film"}, {"text": "film film", "pair": "bad"}])
    assert rows(batch) == [[CLS, GOOD, SEP, BAD, FILM, SEP], [CLS, FILM, FILM, SEP, BAD, SEP]]
    assert batch["segments"].tolist() == [[0, 0, 0, 1, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1, 0, 0]]


@pytest.mark.parametrize("long", ["head", "head+tail"])
def test_a_long_text_is_cut_and_what_is_lost_is_counted(long):
    spec = Tokens(TOKENIZER, max_length=8, long=long)
    encoded = spec.encode(["good bad film " * 4, "good"])
    assert encoded.lengths.tolist() == [8, 3]
    assert encoded.lost.tolist() == [6, 0]
    ids = encoded.ids[:8].tolist()
    assert (ids[0], ids[-1]) == (CLS, SEP)
    pieces = [GOOD, BAD, FILM] * 4
    assert ids[1:-1] == (pieces[:6] if long == "head" else pieces[:2] + pieces[-4:])


def test_of_a_long_pair_the_longer_text_is_cut():
    spec = Tokens(TOKENIZER, max_length=8)
    encoded = spec.encode([{"text": "good", "pair": "bad " * 9}, {"text": "good " * 9, "pair": "bad " * 9}])
    assert rows(spec.on_device(spec.collate([{"text": "good", "pair": "bad " * 9}])))[0].count(BAD) == 4
    assert encoded.lengths.tolist() == [8, 8]
    assert encoded.lost.tolist() == [5, 13]
    second = encoded.ids[8:16].tolist()
    assert (second.count(GOOD), second.count(BAD)) == (2, 3)


def test_a_long_text_may_be_refused(refuses):
    spec = Tokens(TOKENIZER, max_length=8, long="error")
    with refuses(DataError, "1 of 2 texts", "8 pieces", "14", "max_length"):
        spec.encode(["good", "good bad film " * 4])


def test_windows_restart_positions_and_lose_nothing():
    spec = Tokens(TOKENIZER, max_length=5, long="windows", lengths=(5, 10, 15))
    encoded = spec.encode(["good bad film good", "film"])
    assert encoded.lost.tolist() == [0, 0]
    batch = made(spec, ["good bad film good", "film"])
    assert batch["ids"][0].tolist() == [CLS, GOOD, BAD, FILM, SEP, CLS, GOOD, SEP, PAD, PAD]
    assert batch["blocks"][0].tolist() == [1] * 5 + [2] * 3 + [0] * 2
    assert batch["positions"][0].tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 0, 0]
    assert batch["positions"][1].tolist() == [0, 1, 2] + [0] * 7
    assert batch["mask"].sum(1).tolist() == [8, 3]


def test_a_text_of_too_many_windows_is_refused():
    spec = Tokens(TOKENIZER, max_length=3, long="windows")
    assert spec.encode(["good " * 32_767]).windows.max() == 32_767
    with pytest.raises(DataError, match="makes 32,768 windows of 1 pieces"):
        spec.encode(["good " * 32_768])


def test_each_window_of_a_pair_has_its_first_text():
    spec = Tokens(TOKENIZER, max_length=6, long="windows", lengths=(18,))
    batch = made(spec, [{"text": "good", "pair": "bad bad film film"}])
    assert batch["ids"][0].tolist()[:12] == [CLS, GOOD, SEP, BAD, BAD, SEP, CLS, GOOD, SEP, FILM, FILM, SEP]
    assert batch["segments"][0].tolist()[:12] == [0, 0, 0, 1, 1, 1] * 2


@given(st.lists(st.integers(1, 30), min_size=1, max_size=5), st.sampled_from(["head", "head+tail", "windows"]))
def test_nothing_is_lost_in_silence(lengths, long):
    spec = Tokens(TOKENIZER, max_length=9, long=long)
    encoded = spec.encode(["good " * length for length in lengths])
    kept = [int((encoded.ids[a:b] == GOOD).sum()) for a, b in zip(encoded.starts, encoded.starts[1:], strict=False)]
    assert [k + lost for k, lost in zip(kept, encoded.lost.tolist(), strict=True)] == lengths
    assert all(length <= 9 for length in encoded.lengths) or long == "windows"


def test_unknown_and_special_pieces_are_counted():
    encoded = SPEC.encode(["good ☃ ☃", "[MASK] film", "film"])
    assert encoded.unknown.tolist() == [2, 0, 0]
    assert encoded.special.tolist() == [0, 1, 0]


def test_rows_of_pieces_collate_as_their_texts_do():
    texts = ["good bad", {"text": "film", "pair": "bad"}]
    for each in texts:
        encoded = SPEC.encode([each])
        of_rows, of_texts = SPEC.collate(encoded.take([0])), SPEC.collate([each])
        assert {name: array.tolist() for name, array in of_rows.items()} == {
            name: array.tolist() for name, array in of_texts.items()
        }


def test_examples_collated_one_by_one_are_joined():
    one, two = ({k: v[0] for k, v in SPEC.collate([text]).items()} for text in ("good", "good bad film"))
    joined = SPEC.stack([one, two])
    whole = SPEC.collate(["good", "good bad film"])
    assert {name: array.tolist() for name, array in joined.items()} == {n: a.tolist() for n, a in whole.items()}


def test_it_goes_into_a_file_and_back():
    again = Tokens.from_dict(SPEC.to_dict(), SPEC.files)
    assert again == SPEC
    assert hash(again) == hash(SPEC)


def test_another_tokenizer_than_the_one_that_was_saved_is_refused(refuses):
    other = Tokenizer.from_vocabulary(VOCABULARY, lower=False)
    with refuses(ConfigError, "probe_sha256", "changed"):
        Tokens.from_dict(SPEC.to_dict(), {"tokenizer.json": other.json.encode()})
    with refuses(ConfigError, "tokenizer.json", "missing"):
        Tokens.from_dict(SPEC.to_dict(), {})


def test_a_model_with_fewer_rows_or_positions_is_refused(refuses):
    SPEC.check_model(len(VOCABULARY), 8)
    with refuses(ConfigError, f"{len(VOCABULARY)} pieces", f"{len(VOCABULARY) - 1} rows"):
        SPEC.check_model(len(VOCABULARY) - 1, 8)
    with refuses(ConfigError, "max_length 8", "7 pieces"):
        SPEC.check_model(len(VOCABULARY), 7)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"max_length": 2}, ["max_length", "3"]),
        ({"max_length": 8.0}, ["max_length"]),
        ({"long": "tail"}, ["long", "tail"]),
        ({"lengths": (8, 4)}, ["lengths"]),
        ({"lengths": (0,)}, ["lengths"]),
    ],
)
def test_what_makes_no_spec_is_refused(fields, words, refuses):
    with refuses(ConfigError, *words):
        Tokens(TOKENIZER, **fields)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [("good", ["list of texts"]), ([3], ["row 0"]), ([{"pair": "a"}], ["row 0"]), (["a", None], ["row 1"])],
)
def test_what_is_no_text_is_refused(inputs, words, refuses):
    with refuses(DataError, *words):
        SPEC.collate(inputs)
