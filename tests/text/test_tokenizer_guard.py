"""Tokenizers that would hang, grow without a bound or end the process are refused before they are run."""

import base64
import json

import pytest
from text_models import VOCABULARY

from tlx.errors import DataError, UnsafeFileError, WeightsError
from tlx.text import Tokenizer
from tlx.text.tokenizer_guard import check_rules

WORDS = Tokenizer.from_vocabulary(VOCABULARY)
TOKENS = {"id": "[CLS]", "ids": [1 << 30], "tokens": ["[CLS]"]}
FIRST = {"Sequence": {"id": "A", "type_id": 0}}
TEN = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 10}


def packed(content):
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(content).decode()}


def changed(**parts):
    """Return the rules with parts replaced; those of the model are changed in it."""
    rules = json.loads(WORDS.json)
    model = {**rules["model"], **parts.pop("model", {})}
    return json.dumps({**rules, "model": model, **parts})


def regex(pattern):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"model": {"max_input_chars_per_word": 1 << 60}}, "max_input_chars_per_word"),
        ({"normalizer": {"type": "Sequence", "normalizers": [TEN] * 4}}, "1e+04 times as long"),
        ({"normalizer": {"type": "Sequence", "normalizers": [{"type": "ByteLevel"}] * 11}}, "times as long"),
        ({"normalizer": {"type": "Prepend", "prepend": "a" * 5000}}, "prepend has 5,000 characters"),
        ({"normalizer": packed(b"\xff" * 8)}, "claims 4,294,967,295 bytes and holds 4"),
        ({"normalizer": packed(b"")}, "claims 0 bytes"),
        ({"model": {"vocab": {**WORDS.vocabulary, "film": (1 << 32) - 1}}}, "a piece 4,294,967,295"),
    ],
)
def test_what_would_harm_is_refused(parts, words):
    with pytest.raises(UnsafeFileError) as caught:
        Tokenizer(changed(**parts))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "?"}}, "not base64"),
        ({"pre_tokenizer": {"type": "FixedLength", "length": 0}}, "must be non-zero"),  # a panic of the library
        (
            {
                "post_processor": {
                    "type": "TemplateProcessing",
                    "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, FIRST],
                    "pair": [FIRST, {"Sequence": {"id": "B", "type_id": 1}}],
                    "special_tokens": {"[CLS]": {**TOKENS, "ids": [5000]}},
                }
            },
            "puts a piece 5000 around texts",
        ),
    ],
)
def test_what_is_damaged_is_refused(parts, words):
    with pytest.raises(WeightsError) as caught:
        Tokenizer(changed(**parts))
    assert words in str(caught.value)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"model": 1}', "[" * 100_000, '{"model": {"vocab": NaN'])
def test_what_is_no_tokenizer_is_refused(content):
    with pytest.raises(WeightsError, match=r"not a tokenizer\.json"):
        Tokenizer(content)


@pytest.mark.parametrize(
    "pattern",
    ["(a+)+c", "((a+))*", "(a|a)*c", r"(\w+\s?)*$", r"(a)\1", "(?:a*)+", "(a{1,9}){2,}", "(?<x>a+)+", "(b|(a+)c)*"],
)
def test_regular_expressions_of_exponential_time_are_refused(pattern):
    with pytest.raises(UnsafeFileError, match="exponential time"):
        check_rules(changed(pre_tokenizer=regex(pattern)))


@pytest.mark.parametrize(
    "pattern",
    [
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",  # GPT-2's
        r"(?i:'s|'t|'re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        r"[\p{Lu}\p{Lt}]*[\p{Ll}\p{M}]+(?i:'s|'t)?|\p{N}{1,3}| ?[^\s\p{L}]+[\r\n/]*",
        r"(?=(\d{3})+(?!\d))",
        " {2,}",
        r"\(+[(*+]+",
    ],
)
def test_those_of_published_tokenizers_are_taken(pattern):
    assert Tokenizer(changed(pre_tokenizer=regex(pattern))).encode(["a b"])[0].size


def test_signs_that_change_places_do_not_make_a_text_longer():
    signs = [{"type": "Replace", "pattern": {"String": "…"}, "content": "\ue000"}] * 50
    longer = [{"type": "Replace", "pattern": {"String": "aaaa"}, "content": "a" * 6}] * 4
    for steps in (signs, longer):
        check_rules(changed(normalizer={"type": "Sequence", "normalizers": steps}))


def test_texts_that_the_library_does_not_take_are_an_error_of_the_data():
    for call in (WORDS.encode, lambda texts: WORDS.locate(texts[0]), lambda texts: WORDS.encode_words([texts])):
        with pytest.raises(DataError, match="the tokenizer takes no such"):
            call(["a \ud800 film"])
    no_unknown = Tokenizer(changed(model={"vocab": {"a": 0, "[CLS]": 3, "[SEP]": 4}}))
    with pytest.raises(DataError, match="UNK"):
        no_unknown.encode(["b"])
