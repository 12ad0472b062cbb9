"""The tokenizer: BERT's rules, special pieces, files, and what binds it to weights."""

import json

import pytest
from peers import import_peer
from text_models import TEXTS, VOCABULARY

from tlx.errors import ConfigError, WeightsError
from tlx.text import Tokenizer, read_tokenizer, read_vocabulary

HARD = (
    *TEXTS,
    "Café naïve ÅNGSTRÖM",
    "don't stop-believing!  3.14 x 2,000",
    "你好 world こんにちは",
    "x" * 100,
    "x" * 101,
    "tab\tnew\nline\u00a0space",
    "[MASK] and [SEP]",
    "zero\u200bwidth \ufffd \x00 nul",
    "",
)


@pytest.fixture(scope="module")
def tiny():
    return Tokenizer.from_vocabulary(VOCABULARY)


def pieces(tokenizer, text):
    return [tokenizer.pieces[number] for number in tokenizer.encode([text])[0]]


def test_words_are_split_into_their_longest_pieces(tiny):
    assert pieces(tiny, "Good films, playing") == ["good", "film", "##s", ",", "play", "##ing"]


def test_case_and_accents_go_unless_they_are_to_stay():
    lower = Tokenizer.from_vocabulary(VOCABULARY)
    cased = Tokenizer.from_vocabulary(VOCABULARY, lower=False)
    accents = Tokenizer.from_vocabulary(VOCABULARY, accents=True)
    assert pieces(lower, "CAFÉ") == ["cafe"]
    assert pieces(cased, "Good good") == ["[UNK]", "good"]
    assert pieces(accents, "café") == ["[UNK]"]


def test_what_is_unknown_or_too_long_is_one_piece(tiny):
    assert pieces(tiny, "good ☃") == ["good", "[UNK]"]
    assert len(pieces(tiny, "x" * 100)) == 100
    assert pieces(tiny, "x" * 101) == ["[UNK]"]


def test_special_pieces_of_one_text_and_of_two(tiny):
    ids = {name: VOCABULARY.index(name) for name in ("[CLS]", "[SEP]")}
    assert tiny.single == ((ids["[CLS]"],), (), (ids["[SEP]"],))
    assert tiny.pair == ((ids["[CLS]"],), (ids["[SEP]"],), (ids["[SEP]"],))
    assert (tiny.special("pad"), tiny.special("mask")) == (0, VOCABULARY.index("[MASK]"))


def test_special_pieces_in_a_text_are_read_as_such_unless_told_otherwise(tiny):
    assert pieces(tiny, "good [MASK]") == ["good", "[MASK]"]
    plain = tiny.encode(["good [MASK]"], parse_special=False)[0]
    assert "[MASK]" not in [tiny.pieces[number] for number in plain]


def test_truncation_and_padding_of_a_file_are_switched_off(tiny):
    content = json.loads(tiny.json)
    content["truncation"] = {"max_length": 2, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    content["padding"] = {
        **{"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": None},
        **{"pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"},
    }
    other = Tokenizer(json.dumps(content))
    assert other == tiny
    assert len(other.encode(["good film good film"])[0]) == 4


def test_vocabulary_and_rules_have_hashes_of_their_own(tiny):
    shifted = Tokenizer.from_vocabulary((*VOCABULARY[1:], VOCABULARY[0]))
    cased = Tokenizer.from_vocabulary(VOCABULARY, lower=False)
    assert shifted.sha256 != tiny.sha256
    assert cased.sha256 == tiny.sha256
    assert cased.probe_sha256 != tiny.probe_sha256


def test_pieces_know_their_place_and_word(tiny):
    found = tiny.locate("Good films")
    assert [(tiny.pieces[p.id], p.start, p.end, p.word) for p in found] == [
        ("good", 0, 4, 0),
        ("film", 5, 9, 1),
        ("##s", 9, 10, 1),
    ]
    [(ids, words)] = tiny.encode_words([["films", "good"]])
    assert words.tolist() == [0, 0, 1]
    assert tiny.decode(ids) == "films good"


def test_a_folder_or_a_file_is_read(tiny, tmp_path, refuses):
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    assert read_tokenizer(tmp_path) == tiny
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert read_tokenizer(tmp_path) == Tokenizer.from_vocabulary(VOCABULARY, lower=False)
    assert read_tokenizer(tmp_path / "vocab.txt", lower=True) == tiny
    (tmp_path / "tokenizer.json").write_text(tiny.json, encoding="utf-8")
    assert read_tokenizer(tmp_path) == tiny
    with refuses(ConfigError, "tokenizer.json"):
        read_tokenizer(tmp_path / "tokenizer.json", lower=True)


@pytest.mark.parametrize("said", ['{"do_lower_case": 1}', '{"strip_accents": 0.0}', "[]", "{"])
def test_what_is_beside_a_vocabulary_is_checked(tmp_path, said):
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY))
    (tmp_path / "tokenizer_config.json").write_text(said)
    with pytest.raises(WeightsError, match=r"tokenizer_config\.json: (expected|not JSON)"):
        read_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["line 1"]),
        (b"[UNK]\n\n[CLS]\n", ["line 2"]),
        (b"[UNK]\n[CLS]\n[SEP]\n\xff\n", ["UTF-8", "byte"]),
        (b"good\nfilm\n", ["[CLS]", "[SEP]"]),
        (b"[UNK]\n[CLS]\n[SEP]\na\na\n", ["'a'", "twice"]),
    ],
)
def test_a_vocabulary_that_is_none_is_refused(content, words, tmp_path, refuses):
    path = tmp_path / "vocab.txt"
    path.write_bytes(content)
    with refuses(WeightsError, "vocab.txt", *words):
        read_tokenizer(path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"<html>", b'{"version": "1.0"}', b"\x80\x04."])
def test_a_tokenizer_json_that_is_none_is_refused(content, tmp_path, refuses):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with refuses(WeightsError, "tokenizer.json"):
        read_tokenizer(path)
    with refuses(WeightsError, "tokenizer.json"):
        read_tokenizer(tmp_path)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path, refuses):
    with refuses(WeightsError, "vocab.txt"):
        read_tokenizer(tmp_path)


def test_pieces_that_separate_lines_elsewhere_stay_whole(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("[UNK]\n\u2028\n\x85\r\n", encoding="utf-8")
    assert read_vocabulary(path) == ("[UNK]", "\u2028", "\x85")


@pytest.mark.slow
def test_the_numbers_are_those_of_transformers(shared_data, tmp_path):
    transformers = import_peer("transformers")
    vocabulary = shared_data / "text" / "bert-base-uncased-vocab.txt"
    own = read_tokenizer(vocabulary)
    lines = (shared_data / "text" / "sst2_dev.tsv").read_text(encoding="utf-8").splitlines()[:200]
    (tmp_path / "vocab.txt").write_bytes(vocabulary.read_bytes())
    theirs = transformers.BertTokenizer(str(tmp_path / "vocab.txt"))
    texts = [*HARD, *lines]
    found = own.encode(texts)
    expected = theirs(texts, add_special_tokens=False)["input_ids"]
    assert [ids.tolist() for ids in found] == expected
