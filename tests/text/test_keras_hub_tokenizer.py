"""KerasHub's rules of texts: accents, case, blanks, Chinese, byte pairs; expected pieces are those of KerasHub 0.32."""

import json

import pytest

from tlx.errors import UnsafeFileError, WeightsError
from tlx.text.keras_hub_tokenizer import byte_pairs, read_keras_hub_tokenizer, word_pieces

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cafe", "café", "strasse", "a", "b", "1", "你", "好", "你好"]
PIECES += ["Café", "mask", "[", "]", ".", "##s", "σ", "##σ", "…"]


@pytest.mark.parametrize(
    ("text", "lower", "strip", "expected"),
    [
        ("Café CAFÉ café", False, False, ["Café", "[UNK]", "café"]),
        ("Café CAFÉ café", True, False, ["café", "café", "café"]),
        ("Café CAFÉ café", True, True, ["cafe", "cafe", "cafe"]),
        ("STRASSE Straße", True, True, ["strasse", "strasse"]),
        ("Ａ １", True, True, ["a", "1"]),  # signs of full width
        ("a\u200bb\u0000a\tb", True, True, ["a", "b", "a", "b"]),  # what cannot be seen parts words
        ("a\u00a0b", True, True, ["[UNK]"]),  # and blanks beyond ASCII do not
        ("你好a", True, True, ["你", "好", "a"]),
        ("[MASK]", True, True, ["[", "mask", "]"]),
        ("σς", True, True, ["σ", "##σ"]),
        ("b" * 101, True, True, ["[UNK]"]),
        ("…", True, True, ["…"]),
    ],
)
def test_words_are_split_and_folded_as_keras_hub_does(text, lower, strip, expected):
    rules = word_pieces(PIECES, lower=lower, strip_accents=strip)
    (ids,) = rules.encode([text], parse_special=False)
    assert [PIECES[number] for number in ids] == expected


def test_chinese_words_may_stay_whole():
    rules = word_pieces(PIECES, lower=True, strip_accents=True, chinese=False)
    assert rules.encode(["你好"])[0].tolist() == [PIECES.index("你好")]


def test_byte_pairs_stand_between_their_ends():
    pieces = {piece: number for number, piece in enumerate(["<s>", "<pad>", "</s>", "<mask>", "a", "b", "Ġ", "Ġa"])}
    rules = byte_pairs(pieces, ["Ġ a"])
    assert rules.encode(["a a<mask>"])[0].tolist() == [4, 7, 3]
    assert (rules.single, rules.pair) == (((0,), (), (2,)), ((0,), (2, 2), (2,)))
    assert byte_pairs(pieces, ["Ġ a"], prefix_space=True).encode(["a"])[0].tolist() == [7]


@pytest.mark.parametrize(
    ("pieces", "merges", "words"),
    [
        ({"<s>": 0}, [], ["</s>", "missing"]),
        ({"<s>": 0, "</s>": 1, "a": 2}, ["a b"], ["a b", "no pair"]),
        ({"<s>": 0, "</s>": 1, "a": 2}, ["a a a"], ["a a a", "no pair"]),
        ({"<s>": 0, "</s>": 1, "a": 2, "aa": -1}, ["a a"], ["assets", "vocabulary"]),
        ({"<s>": 0, "</s>": 1, "a": 2, "b": 3}, ["a b"], ["assets", "merges", "ab"]),
        ({"<s>": 0, "</s>": 1, "a": 1 << 31}, [], ["assets", "2,147,483,648", "no matrix"]),
        (["<s>", "</s>"], [], ["assets", "vocabulary"]),
        ({"<s>": "0", "</s>": 1}, [], ["assets", "vocabulary"]),
    ],
)
def test_byte_pairs_that_are_none_are_refused(pieces, merges, words, tmp_path, refuses):
    (tmp_path / "assets" / "tokenizer").mkdir(parents=True)
    (tmp_path / "tokenizer.json").write_text(json.dumps({"class_name": "RobertaTokenizer", "config": {}}))
    (tmp_path / "assets" / "tokenizer" / "vocabulary.json").write_text(json.dumps(pieces))
    (tmp_path / "assets" / "tokenizer" / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges))
    with refuses(UnsafeFileError if "no matrix" in words else WeightsError, *words):
        read_keras_hub_tokenizer(tmp_path)
