"""Words put into a vocabulary, tokenizers exchanged: numbers, rows, what stays as it was, and what is refused."""

import dataclasses

import jax
import numpy as np
import pytest
from text_models import VOCABULARY

import tlx
from tlx.data import ColumnSource
from tlx.errors import ConfigError
from tlx.text import Tokenizer, WordVectors
from tlx.training import features
from tlx.tree.paths import flatten
from tlx.vocabulary import add_words, swap_tokenizer, unused_slots

WORD = "params/base/embeddings/word/embedding"
BIAS = "params/head/mlm/bias"
TEXTS = ["A good film.", "The play is very dull, not fine at all!", "Café"]


def rows_of(base, path=WORD):
    return np.asarray(flatten(base.variables)[path])


def pieces(base, text):
    splits = base.preprocess.tokenizer
    return " ".join(splits.pieces[number] for number in splits.encode([text])[0])


def features_of(base, texts):
    source = ColumnSource({"input": np.array(texts, object)})
    return np.concatenate(list(features(base, source)))


def test_words_take_unused_pieces_first_and_then_new_rows(tiny):
    adapted, mapping = add_words(tiny, ["films", "xyz"])
    size = len(VOCABULARY)
    numbers = [VOCABULARY.index("[unused0]"), size]
    old = [tuple(VOCABULARY.index(piece) for piece in each) for each in (("film", "##s"), ("x", "##y", "##z"))]
    assert mapping.new == (("films", numbers[0], old[0], "mean"), ("xyz", numbers[1], old[1], "mean"))
    assert (mapping.old_size, mapping.new_size, adapted.config.settings.vocab_size) == (size, size + 1, size + 1)
    assert rows_of(adapted).shape == (size + 1, 12)
    splits = adapted.preprocess.tokenizer
    assert splits.size == size + 1
    assert {word: splits.vocabulary[word] for word in ("films", "xyz")} == dict(
        zip(("films", "xyz"), numbers, strict=True)
    )
    assert "[unused0]" not in splits.vocabulary
    assert pieces(adapted, "Films filmss film xyzs xy") == "films films ##s film xyz ##s x ##y"


def test_rows_begin_from_the_mean_and_no_other_leaf_changes(with_decoder):
    adapted, mapping = add_words(with_decoder, ["films", "xyz"])
    old, new = flatten(with_decoder.variables), flatten(adapted.variables)
    changed = {path for path in old if np.shape(old[path]) != np.shape(new[path]) or (old[path] != new[path]).any()}
    assert changed == {WORD, BIAS}
    for path in changed:
        for each in mapping.new:
            mean = np.asarray(old[path], np.float64)[list(each.pieces)].mean(0)
            np.testing.assert_allclose(np.asarray(new[path])[each.id], mean, rtol=1e-6)
        kept = [row for row in range(mapping.old_size) if row not in {each.id for each in mapping.new}]
        np.testing.assert_array_equal(np.asarray(new[path])[kept], np.asarray(old[path])[kept])
        assert type(new[path]) is type(old[path])


@pytest.mark.slow
def test_texts_without_the_words_give_the_same_features(tiny):
    adapted, _ = add_words(tiny, ["films", "xyz"])
    np.testing.assert_array_equal(features_of(adapted, TEXTS), features_of(tiny, TEXTS))
    assert (features_of(adapted, ["films"]) != features_of(tiny, ["films"])).any()


def test_without_words_the_base_is_the_same_object(tiny):
    adapted, mapping = add_words(tiny, [])
    assert adapted is tiny
    assert not mapping.changes
    assert mapping.kept == tuple(range(len(VOCABULARY)))


def test_it_is_saved_and_loaded_to_the_same_bits(tiny, tmp_path):
    adapted, _ = add_words(tiny, ["films", "xyz"])
    again = tlx.load(tlx.save(adapted, tmp_path / "adapted"))
    assert again.preprocess == adapted.preprocess
    assert again.card["vocabulary"] == "2 words added"
    np.testing.assert_array_equal(rows_of(again), rows_of(adapted))
    np.testing.assert_array_equal(features_of(again, ["xyz films"]), features_of(adapted, ["xyz films"]))


def test_fresh_rows_are_drawn_from_the_old_ones_by_seed(tiny):
    words = [f"{first}{second}" for first in "bcdfghjklmnpqrst" for second in "bcdfghjklmnpqrst"]
    drawn = [add_words(tiny, words, begin="fresh", seed=seed) for seed in (0, 0, 1)]
    numbers = [each.id for each in drawn[0][1].new]
    first, same, other = (rows_of(base)[numbers] for base, _ in drawn)
    np.testing.assert_array_equal(first, same)
    assert (first != other).all()
    assert {each.begin for each in drawn[0][1].new} == {"fresh"}
    old = np.delete(rows_of(tiny), VOCABULARY.index("[unused0]"), axis=0)
    np.testing.assert_allclose(first.mean(0), old.mean(0), atol=5 * old.std(0).max() / 16)
    np.testing.assert_allclose(first.std(0), old.std(0), rtol=0.3)


def vectors_for(tiny, extra, size=3):
    """Make vectors of which the rows of known words are a linear function, and return that function, too."""
    draw = np.random.default_rng(0)
    words = [piece for piece in VOCABULARY if not piece.startswith(("##", "["))]
    matrix = draw.normal(size=(len(words) + len(extra), size)).astype(np.float32)
    weights, constant = draw.normal(size=(size, 12)), draw.normal(size=12)
    table = rows_of(tiny).copy()
    for word, vector in zip(words, matrix, strict=False):
        table[VOCABULARY.index(word)] = vector @ weights + constant
    params = jax.tree.map(lambda leaf: leaf, tiny.variables["params"])
    params["base"]["embeddings"]["word"]["embedding"] = table
    base = dataclasses.replace(tiny, variables={**tiny.variables, "params": params})
    return base, WordVectors((*words, *extra), matrix), lambda vector: vector @ weights + constant


@pytest.mark.parametrize("kind", ["vectors", "mapping"])
def test_rows_begin_from_word_vectors_by_least_squares(tiny, kind):
    base, vectors, function = vectors_for(tiny, ["films"])
    given = vectors if kind == "vectors" else dict(zip(vectors.words, vectors.matrix, strict=True))
    adapted, mapping = add_words(base, ["films", "xyz"], begin=given)
    assert [each.begin for each in mapping.new] == ["vector", "mean"]
    films, xyz = mapping.new
    np.testing.assert_allclose(rows_of(adapted)[films.id], function(vectors.vector("films")), atol=1e-5)
    np.testing.assert_allclose(rows_of(adapted)[xyz.id], rows_of(base)[list(xyz.pieces)].mean(0), atol=1e-6)


def test_the_bias_of_a_decoder_begins_from_the_mean_with_word_vectors_too(with_decoder, tiny):
    _, vectors, _ = vectors_for(tiny, ["films"])
    adapted, mapping = add_words(with_decoder, ["films"], begin=vectors)
    assert rows_of(adapted, BIAS)[mapping.new[0].id] == np.mean(mapping.new[0].pieces)


def test_too_few_shared_words_are_refused(tiny):
    vectors = WordVectors(("good", "bad", "films"), np.eye(3, 5, dtype=np.float32))
    with pytest.raises(ConfigError, match=r"know 2 words of the vocabulary.*vectors of 5"):
        add_words(tiny, ["films"], begin=vectors)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("films", "one string"),
        ([""], "no word"),
        ([3], "3 is no word"),
        (["films", "xyz", "films"], "'films' is there twice"),
        (["film"], "'film' are in the vocabulary"),
        (["Films"], "no single words"),
        (["two words"], "no single words"),
        (["don't"], "no single words"),
        (["cafés"], "no single words"),
    ],
)
def test_words_that_texts_would_never_reach_are_refused(tiny, words, said):
    with pytest.raises(ConfigError, match=said):
        add_words(tiny, words)


def test_other_bases_and_beginnings_are_refused(tiny):
    with pytest.raises(ConfigError, match="takes no texts"):
        add_words(tlx.load("mlp-mnist"), ["films"])
    with pytest.raises(ConfigError, match="WordPiece"):
        add_words(tlx.word_base(WordVectors(("a",), np.eye(1, 3, dtype=np.float32))), ["films"])
    with pytest.raises(ConfigError, match="'median'"):
        add_words(tiny, ["films"], begin="median")
    with pytest.raises(ConfigError, match="int is not"):
        add_words(tiny, ["films"], begin=3)


def test_unused_pieces_that_somebody_uses_are_not_taken():
    plain = Tokenizer.from_vocabulary(["[PAD]", "[unused0]", "[unused10]", "[unused9]", "[UNK]", "[CLS]", "[SEP]"])
    assert unused_slots(plain) == [1, 3, 2]
    rules = plain._rules.__class__.from_str(plain.json)
    rules.add_special_tokens(["[unused0]"])
    assert unused_slots(Tokenizer(rules.to_str())) == [3, 2]


def test_rows_that_a_matrix_is_padded_with_are_used_before_it_grows(splits):
    from .conftest import narrow_bert

    base = narrow_bert(splits, rows=splits.size + 2)
    adapted, mapping = add_words(base, ["films", "xyz", "abc"])
    assert [each.id for each in mapping.new] == [1, splits.size, splits.size + 1]
    assert adapted.config.settings.vocab_size == splits.size + 2
    assert add_words(base, ["films", "xyz", "abc", "abd"])[1].new_size == splits.size + 3


# BERT's real vocabulary


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("carcinomas adenocarcinoma", "carcinoma ##s aden ##oca ##rc ##ino ##ma"),
        ("Carcinoma", "carcinoma"),
        ("carcinomatosis", "carcinoma ##tosis"),
    ],
)
def test_whole_words_are_not_cut_out_of_others(real_vocabulary, text, expected):
    adapted, mapping = add_words(real_vocabulary, ["carcinoma"])
    assert pieces(adapted, text) == expected
    assert (mapping.new[0].id, mapping.new_size) == (1, 30522)


@pytest.mark.parametrize(
    ("single", "expected"),
    [
        (False, "carcinoma s aden ##o carcinoma"),
        (True, "car ##cino ##mas aden ##oca ##rc ##ino ##ma"),
    ],
)
def test_added_tokens_would_be_cut_out_or_miss_inflections(real_splits, single, expected):
    """Why the vocabulary itself has the words: what Hugging Face's `add_tokens` makes of the same text."""
    from tokenizers import AddedToken
    from tokenizers import Tokenizer as Rules

    rules = Rules.from_str(real_splits.json)
    rules.add_tokens([AddedToken("carcinoma", single_word=single)])
    found = rules.encode("carcinomas adenocarcinoma", add_special_tokens=False)
    assert " ".join(found.tokens) == expected


def test_bert_has_994_unused_pieces(real_splits):
    slots = unused_slots(real_splits)
    assert len(slots) == 994
    assert slots[:2] == [1, 2]


# Tokenizers exchanged


def other_vocabulary():
    """The tiny vocabulary in another order, without some pieces and with others."""
    pieces = [piece for piece in VOCABULARY if piece not in ("[unused0]", "dull", "##ly")]
    return [*pieces[::-1], "films", "##playing", "☃"]


def test_shared_pieces_keep_their_rows_and_others_begin_from_the_mean(with_decoder):
    other = Tokenizer.from_vocabulary(other_vocabulary())
    swapped, mapping = swap_tokenizer(with_decoder, other)
    index = VOCABULARY.index
    assert [(each.text, each.pieces) for each in mapping.new] == [
        ("films", (index("film"), index("##s"))),
        ("##playing", (index("play"), index("##ing"))),
        ("☃", (index("[UNK]"),)),
    ]
    assert swapped.config.settings.vocab_size == other.size == mapping.new_size
    for path in (WORD, BIAS):
        old, new = rows_of(with_decoder, path), rows_of(swapped, path)
        for piece, number in other.vocabulary.items():
            if piece in VOCABULARY:
                np.testing.assert_array_equal(new[number], old[index(piece)])
        for each in mapping.new:
            np.testing.assert_allclose(new[each.id], old[list(each.pieces)].mean(0), atol=1e-6)


@pytest.mark.slow
def test_texts_of_shared_pieces_give_the_same_features(tiny):
    swapped, _ = swap_tokenizer(tiny, Tokenizer.from_vocabulary(other_vocabulary()))
    texts = ["A good film.", "Not fine!"]
    np.testing.assert_allclose(features_of(swapped, texts), features_of(tiny, texts), atol=1e-6)


def test_its_own_tokenizer_changes_nothing(tiny):
    swapped, mapping = swap_tokenizer(tiny, tiny.preprocess.tokenizer)
    assert swapped is tiny
    assert not mapping.changes


def test_special_pieces_of_other_names_keep_the_rows_of_their_role(tiny):
    from tokenizers import Tokenizer as Rules
    from tokenizers import models, pre_tokenizers, processors

    vocabulary = {"<s>": 0, "</s>": 1, "<pad>": 2, "<unk>": 3, "<mask>": 4, "good": 5}
    rules = Rules(models.WordPiece(vocabulary, unk_token="<unk>"))
    rules.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [("<s>", 0), ("</s>", 1)]
    rules.post_processor = processors.TemplateProcessing("<s> $A </s>", "<s> $A </s> $B </s>", ends)
    swapped, mapping = swap_tokenizer(tiny, Tokenizer(rules.to_str()))
    names = ("[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]", "good")
    assert mapping.kept == tuple(map(VOCABULARY.index, names))
    assert swapped.config.settings.vocab_size == 6


def test_words_are_no_pieces(tiny):
    with pytest.raises(ConfigError, match="whole words"):
        swap_tokenizer(tlx.word_base(WordVectors(("a",), np.eye(1, 3, dtype=np.float32))), tiny.preprocess.tokenizer)
