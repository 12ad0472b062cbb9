"""fastText's binary files: n-grams as the C++ code has them, both matrices to the last byte, faults in one line."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vector_files import VECTORS, WORDS, fasttext, small_quantized

from tlx.errors import DataError
from tlx.text.ngrams import hashed_ngrams


def reference_ngrams(word: bytes, minn: int, maxn: int, bucket: int) -> list[int]:
    """Hash n-grams as fastText's `computeSubwords` reads, byte by byte."""
    word = b"<" + word + b">"
    found = []
    for start in range(len(word)):
        if word[start] & 0xC0 == 0x80:
            continue
        end = start
        for count in range(1, maxn + 1):
            if end >= len(word):
                break
            end += 1
            while end < len(word) and word[end] & 0xC0 == 0x80:
                end += 1
            if count >= minn and not (count == 1 and (start == 0 or end == len(word))):
                value = 2166136261
                for byte in word[start:end]:
                    signed = byte - 256 if byte > 127 else byte
                    value = ((value ^ (signed % 2**32)) * 16777619) % 2**32
                found.append(value % bucket)
    return found


@given(
    words=st.lists(
        st.one_of(st.binary(max_size=12), st.text(max_size=6).map(lambda word: word.encode(errors="replace")))
    ),
    minn=st.integers(0, 4),
    maxn=st.integers(0, 6),
    bucket=st.sampled_from([1, 7, 1000, 2_000_000]),
)
def test_ngrams_are_those_of_the_reference(words, minn, maxn, bucket):
    owners, buckets = hashed_ngrams(words, minn, maxn, bucket)
    assert (np.diff(owners) >= 0).all()
    for number, word in enumerate(words):
        assert sorted(buckets[owners == number]) == sorted(reference_ngrams(word, minn, maxn, bucket))


def test_published_hashes():
    """FNV-1a of ASCII, as its authors publish it: a 0xe40c292c, foobar 0xbf9cf968; `<` and `>` are a part here."""
    owners, buckets = hashed_ngrams([b"xay"], 1, 1, 2**32)
    assert buckets.tolist()[1] == 0xE40C292C
    _, buckets = hashed_ngrams([b"foobar"], 6, 6, 2**32)
    assert 0xBF9CF968 in buckets.tolist()
    assert owners.tolist() == [0, 0, 0]


def expected(word: bytes, own_row: int | None, matrix: np.ndarray, **ngrams: int) -> np.ndarray:
    rows = [] if own_row is None else [own_row]
    rows += [len(WORDS) + bucket for bucket in reference_ngrams(word, **ngrams)]
    return matrix[rows].mean(axis=0, dtype=np.float64)


@pytest.mark.parametrize("version", [0, 11, 12])
def test_a_vector_is_the_mean_of_the_words_row_and_its_ngrams(opened, version):
    matrix = np.random.default_rng(1).normal(size=(14, 6)).astype(np.float32)
    vectors = opened(fasttext(matrix=matrix, version=version))
    assert vectors.words == WORDS
    how = {"minn": 2, "maxn": 4, "bucket": 10}
    for row, word in enumerate(WORDS):
        np.testing.assert_allclose(vectors.vector(word), expected(word.encode(), row, matrix, **how), atol=1e-6)
    for word in ("dog", "ü", "日", "a" * 3000):
        got = vectors.vector(word)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, expected(word.encode(), None, matrix, **how), atol=1e-5)
    assert vectors.vector("\ud800") is None  # no bytes of a file are decoded to it


def test_the_end_of_a_sentence_has_no_ngrams_since_there_are_versions(opened):
    words = (b"</s>", b"cat", b"dog", b"x")
    matrix = np.random.default_rng(1).normal(size=(14, 6)).astype(np.float32)
    assert (opened(fasttext(words, matrix)).vector("</s>") == matrix[0]).all()
    old = opened(fasttext(words, matrix, version=0)).vector("</s>")
    np.testing.assert_allclose(old, expected(b"</s>", 0, matrix, minn=2, maxn=4, bucket=10), atol=1e-6)


def test_a_supervised_file_has_labels_which_are_no_words(opened):
    vectors = opened(fasttext(matrix=VECTORS, model=3, bucket=0, maxn=0, labels=(b"__label__a", b"__label__b")))
    assert vectors.words == WORDS
    assert (vectors.matrix == VECTORS).all()
    assert "2 labels left out" in vectors.notes
    assert vectors.vector("dog") is None


def test_supervised_files_had_no_ngrams_before_version_12(opened):
    matrix = np.random.default_rng(1).normal(size=(14, 6)).astype(np.float32)
    assert (opened(fasttext(matrix=matrix, version=11, model=3)).matrix == matrix[:4]).all()
    assert (opened(fasttext(matrix=matrix, version=12, model=3)).matrix != matrix[:4]).any(axis=1).all()


def test_pruned_ngrams_are_left_out(opened):
    matrix = np.random.default_rng(1).normal(size=(6, 6)).astype(np.float32)
    pruned = {3: 1, 7: 0}
    vectors = opened(fasttext(matrix=matrix, pruned=pruned))
    assert vectors.words == WORDS
    for row, word in enumerate((*WORDS, "dog")):
        own = [row] if word in WORDS else []
        kept = [4 + pruned[b] for b in reference_ngrams(word.encode(), 2, 4, 10) if b in pruned]
        np.testing.assert_allclose(vectors.vector(word), matrix[own + kept].mean(axis=0), atol=1e-6)
    assert (opened(fasttext(matrix=matrix[:4], pruned={})).matrix == matrix[:4]).all()


@pytest.mark.parametrize("norms", [True, False])
def test_a_quantized_matrix_is_read(opened, norms):
    stored, matrix = small_quantized(14, norms=norms)
    vectors = opened(fasttext(dim=5, stored=stored))
    for row, word in enumerate((*WORDS, "dog")):
        own = row if word in WORDS else None
        np.testing.assert_allclose(
            vectors.vector(word), expected(word.encode(), own, matrix, minn=2, maxn=4, bucket=10), atol=1e-6
        )
    assert "quantized to 3 bytes a row" in vectors.notes[0]


def test_a_choice_of_words_changes_no_vector(opened):
    whole = opened(fasttext())
    dog = whole.vector("dog")
    some = opened(fasttext(), words={"日本", "dog"})
    assert some.words == ("日本",)
    assert (some.matrix[0] == whole.vector("日本")).all()
    assert (some.vector("dog") == dog).all()
    assert opened(fasttext(), limit=1).words == ("the",)


GOOD = fasttext()
INPUT_AT = len(GOOD) - (16 + 4 * 6 * 4) - 1 - (16 + 14 * 6 * 4) - 1  # the flag before the input matrix
WORD_AT = GOOD.index(b"cat\0")


def changed(at, form, value, content=GOOD):
    return content[:at] + struct.pack(form, value) + content[at + struct.calcsize(form) :]


QUANTIZED = fasttext(dim=5, stored=small_quantized(14)[0])
QUANTIZED_AT = QUANTIZED.index(small_quantized(14)[0])
FAULTS = {
    "output cut": (GOOD[:-5], "5 bytes missing"),
    "input cut": (GOOD[: INPUT_AT + 100], f"{1 + 16 + 14 * 24 - 100} bytes missing"),
    "first words cut": (GOOD[: WORD_AT + 2], "announces 4 entries"),
    "last word cut": (GOOD[: GOOD.index("日本".encode()) + 3], "entry 4 of 4 is not that of a word"),
    "options cut": (GOOD[:70], "bytes missing"),
    "too long": (GOOD + b"more", "4 bytes follow the output matrix"),
    "no kind": (changed(WORD_AT + 12, "<b", 1), "entry 2 of 4 is not that of a word"),
    "more words than bytes": (
        GOOD[:64] + struct.pack("<2i", 2**30, 2**30) + GOOD[72:],
        "announces",
    ),
    "entries that do not add up": (changed(64, "<i", 5), "do not agree"),
    "no words": (fasttext((), model=3, labels=(b"__label__a",)), "holds no word"),
    "no loss": (changed(32, "<i", 9), "damaged options"),
    "long n-grams": (changed(48, "<i", 2**30), "damaged options"),
    "other buckets": (changed(40, "<i", 11), "the input matrix is 14 x 6 where 4 words and their n-grams need 15 x 6"),
    "no flag": (changed(INPUT_AT, "<B", 7), "7 is no truth value"),
    "negative matrix": (changed(INPUT_AT + 1, "<q", -1), "a matrix of -1 x 6"),
    "huge matrix": (changed(INPUT_AT + 1, "<q", 2**60), "bytes missing"),
    "huge rows": (changed(INPUT_AT + 9, "<q", 2**60), "a matrix of 14 x"),
    "not finite": (
        changed(INPUT_AT + 17 + 24, "<f", np.nan),
        "the vector of the word 'cat' holds a number that is not",
    ),
    "pruned beyond": (fasttext(pruned={3: 2, 7: 0}), "damaged list of n-grams"),
    "codes": (changed(QUANTIZED_AT + 17, "<i", 41, QUANTIZED), "damaged"),
    "codes too many": (
        QUANTIZED[: QUANTIZED_AT + 17] + struct.pack("<i", 43) + b"x" + QUANTIZED[QUANTIZED_AT + 21 :],
        "43 codes where 14 rows in 3 parts need as many each",
    ),
    "parts": (changed(QUANTIZED_AT + 21 + 42 + 4, "<i", 4, QUANTIZED), "4 parts of 2 and 1 numbers in vectors of 5"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_file_is_refused_in_one_line(opened, refuses, tmp_path, fault):
    content, words = FAULTS[fault]
    with refuses(DataError, str(tmp_path / "vectors"), words):
        opened(content)


@pytest.mark.slow
def test_every_cut_is_noticed(opened):
    for version in (0, 12):
        content = fasttext(version=version)
        for size in range(len(content)):
            with pytest.raises(DataError):
                opened(content[:size])


def test_an_ngram_that_is_not_finite_is_refused_when_it_is_used(opened, refuses):
    matrix = np.ones((14, 6), np.float32)
    matrix[4:] = np.inf
    with refuses(DataError, "the vector of the word 'dog' holds a number that is not finite"):
        opened(fasttext(matrix=matrix), words={"mouse"}).vector("dog")


def test_a_file_that_has_changed_since_is_refused(opened, refuses, tmp_path):
    vectors = opened(fasttext())
    (tmp_path / "vectors").write_bytes(b"")  # a mapping would end the process
    with refuses(DataError, "changed since it was opened"):
        vectors.vector("dog")
    assert vectors.vector("cat") is not None
