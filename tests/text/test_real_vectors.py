"""Real files: pairs of layouts agree, old layouts are read to their last byte, and gensim agrees where it reads."""

import numpy as np
import pytest

from tlx.text import open_word_vectors


@pytest.mark.parametrize(
    ("name", "bar", "words", "dim"),
    [("pang_lee_polarity_fasttext", 5e-7, 1694, 100), ("crime-and-punishment", 5e-6, 291, 5)],
)
def test_a_binary_file_and_its_text_agree(real, name, bar, words, dim):
    binary, text = open_word_vectors(real / f"{name}.bin"), open_word_vectors(real / f"{name}.vec")
    assert binary.words == text.words
    assert binary.matrix.shape == (words, dim)
    assert np.abs(binary.matrix - text.matrix).max() <= bar


def test_words_that_are_not_utf8(real):
    supervised = open_word_vectors(real / "pang_lee_polarity_fasttext.bin")
    assert "5 words not UTF-8, kept byte for byte (surrogateescape)" in supervised.notes
    assert "2 labels left out" in supervised.notes
    old = open_word_vectors(real / "cp852_fasttext.bin")
    assert "69 words not UTF-8, kept byte for byte (surrogateescape)" in old.notes
    utf8 = open_word_vectors(real / "non_ascii_fasttext.bin")
    assert [word.encode("utf-8", "surrogateescape").decode("cp852") for word in old.words] == list(utf8.words)


def test_glove(shared_data):
    vectors = open_word_vectors(shared_data / "text" / "glove.6B.50d.first5k.txt")
    assert vectors.matrix.shape == (5050, 50)
    assert vectors.words[:3] == ("the", ",", ".")
    np.testing.assert_allclose(vectors.vector("the")[:3], [0.418, 0.24968, -0.41242], rtol=1e-6)


@pytest.mark.parametrize(("name", "binary"), [("euclidean_vectors.bin", True), ("lee_fasttext.vec", False)])
def test_gensim_reads_the_same_of_word2vec(real, name, binary):
    models = pytest.importorskip("gensim.models")
    theirs = models.KeyedVectors.load_word2vec_format(real / name, binary=binary)
    ours = open_word_vectors(real / name)
    assert list(ours.words) == theirs.index_to_key
    assert (ours.matrix == theirs.vectors).all()


def test_gensim_reads_the_same_of_glove(shared_data, tmp_path):
    models = pytest.importorskip("gensim.models")
    path = shared_data / "text" / "glove.6B.50d.first5k.txt"
    headed = tmp_path / "headed.txt"  # where there is no header, gensim leaves the file open
    headed.write_bytes(b"5050 50\n" + path.read_bytes())
    theirs = models.KeyedVectors.load_word2vec_format(headed)
    ours = open_word_vectors(path)
    assert list(ours.words) == theirs.index_to_key
    assert (ours.matrix == theirs.vectors).all()


@pytest.mark.parametrize("name", ["crime-and-punishment.bin", "non_ascii_fasttext.bin"])
def test_gensim_makes_the_same_of_ngrams(real, name):
    fasttext = pytest.importorskip("gensim.models.fasttext")
    theirs = fasttext.load_facebook_vectors(real / name)
    ours = open_word_vectors(real / name)
    for word in ours.words:
        if word != "</s>":  # fastText gives it no n-grams, and the .vec beside agrees; gensim does
            np.testing.assert_allclose(ours.vector(word), theirs[word], atol=1e-6)
    for word in ("наказанием", "žluťoučký", "日本語", "mouse", "nouveau-né", "\U0001f600\U0001f600"):
        assert word not in ours.index
        np.testing.assert_allclose(ours.vector(word), theirs[word], atol=1e-6)


def test_the_oldest_layout_agrees_with_its_text():
    """gensim's own test data hold a pair from before fastText had versions; the text has five digits."""
    utils = pytest.importorskip("gensim.test.utils")
    binary, text = (open_word_vectors(utils.datapath(f"lee_fasttext.{suffix}")) for suffix in ("bin", "vec"))
    assert binary.words == text.words
    assert "</s>" in binary.words
    np.testing.assert_allclose(binary.matrix, text.matrix, rtol=5e-5, atol=1e-7)
