"""Every layout is told by its content, is read in full or in part, and is refused in one line where it is damaged."""

import gzip
import os
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from vector_files import MAGIC, VECTORS, WORDS, fasttext, text, word2vec_binary

from tlx.errors import ConfigError, DataError, UnsafeFileError
from tlx.progress import listening
from tlx.text import WordVectors, open_word_vectors

PLAIN = {
    "GloVe's text": text(),
    "word2vec's text": text(header=True),
    "word2vec's binary": word2vec_binary(),
    "word2vec's binary of gensim": word2vec_binary(end=b""),
}
LAYOUTS = {
    **PLAIN,
    **{f"{name} in gzip": gzip.compress(content) for name, content in PLAIN.items()},
    "GloVe's text, Windows": text(end="\r\n"),
    "GloVe's text, tabs": text().replace(b" ", b"\t"),
    "GloVe's text, byte order mark": b"\xef\xbb\xbf" + text(),
    "GloVe's text, wide": text().replace(b" ", b"   "),
    "word2vec's text, trailing spaces": text(header=True, end=" \n"),
    "GloVe's text, no last line feed": text()[:-1],
    "GloVe's text, empty last lines": text() + b"\n\n",
    "fastText's binary": fasttext(matrix=np.vstack([VECTORS, np.zeros((0, 6))]), bucket=0, minn=0, maxn=0),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_known_by_its_content(opened, layout):
    vectors = opened(LAYOUTS[layout])
    assert vectors.words == WORDS
    assert vectors.matrix.dtype == np.float32
    assert vectors.matrix.tobytes() == VECTORS.tobytes()
    assert vectors.notes[0].startswith(
        f"read as {layout.split(',')[0].removesuffix(' in gzip').split(' of ')[0]} layout"
    )
    assert vectors.subwords is None


@pytest.mark.parametrize("layout", LAYOUTS)
def test_limit_takes_the_first_rows(opened, layout):
    vectors = opened(LAYOUTS[layout], limit=2)
    assert vectors.words == WORDS[:2]
    assert (vectors.matrix == VECTORS[:2]).all()
    assert opened(LAYOUTS[layout], limit=4).words == opened(LAYOUTS[layout], limit=9).words == WORDS


@pytest.mark.parametrize("layout", LAYOUTS)
def test_words_takes_these_alone(opened, layout):
    vectors = opened(LAYOUTS[layout], words=["日本", "dog", "cat"])
    assert vectors.words == ("cat", "日本")
    assert (vectors.matrix == VECTORS[[1, 3]]).all()
    assert "2 of the 3 words asked for" in vectors.notes
    assert opened(LAYOUTS[layout], words={"日本", "cat"}, limit=3).words == ("cat",)
    assert opened(LAYOUTS[layout], words=()).matrix.shape == (0, 6)


@given(
    vectors=hnp.arrays(
        np.float32, st.tuples(st.integers(1, 5), st.integers(2, 4)), elements=st.floats(-(2.0**99), 2.0**99, width=32)
    ),
    data=st.data(),
)
@pytest.mark.parametrize("write", [text, lambda *a: text(*a, header=True), word2vec_binary])
def test_what_was_written_is_read(tmp_path_factory, write, vectors, data):
    letters = st.characters(exclude_categories=("Z", "C"), exclude_characters="0123456789")
    words = data.draw(st.lists(st.text(letters, min_size=1), min_size=len(vectors), max_size=len(vectors), unique=True))
    vectors[0, 0] = 1  # its bytes are no text; all others of so small a binary file may look like one
    path = tmp_path_factory.mktemp("law") / "vectors"
    path.write_bytes(write(words, vectors))
    got = open_word_vectors(path)
    assert got.words == tuple(words)
    assert (got.matrix == vectors).all()


def test_a_binary_file_without_control_characters_is_told_by_bytes_that_are_no_text(opened):
    vectors = np.frombuffer(b"abc\xbdABC\xbe", np.float32)[None]  # two negative numbers
    assert (opened(word2vec_binary(("a",), vectors)).matrix == vectors).all()


def test_a_text_whose_words_hold_control_characters_is_told_by_its_first_row(opened):
    words = ("the", "\x01", "\0", "caf\udce9")
    vectors = opened(text(words, header=True))
    assert vectors.words == words
    assert (vectors.matrix == VECTORS).all()


def test_a_word_keeps_its_spaces_and_is_split_from_the_right(opened):
    words = (". . .", "at name@domain.com", "2010", "the")
    assert opened(text(words)).words == words
    assert opened(text(words, header=True)).words == words


def test_the_first_row_of_a_word_is_kept(opened):
    for content in (text(("a", "b", "a", "a")), word2vec_binary(("a", "b", "a", "a"))):
        vectors = opened(content)
        assert vectors.words == ("a", "b")
        assert (vectors.matrix == VECTORS[:2]).all()
        assert "2 rows of a word that stands there already, left out" in vectors.notes
        assert opened(content, words={"a"}).matrix.tolist() == VECTORS[:1].tolist()


def test_words_that_are_not_utf8_keep_their_identity(opened):
    words = ("caf\udce9", "caf\udce8", "café", "b")
    for write in (text, word2vec_binary):
        vectors = opened(write(words))
        assert vectors.words == words
        assert "2 words not UTF-8, kept byte for byte (surrogateescape)" in vectors.notes
        assert opened(write(words), words={"caf\udce8", "\ud800"}).words == ("caf\udce8",)


def damaged(content, old, new):
    assert content.count(old) == 1
    return content.replace(old, new)


THREE = b"the 1 2 3\nof 4 5 6\nand 7 8 9\n"
HEADED = b"3 3\n" + THREE
BINARY = word2vec_binary()
FAULTS = {
    "empty": (b"", "an empty file"),
    "page": (b"<!DOCTYPE html>\n<p>404 Not Found", "an HTML page"),
    "prose": (b"to be\nor not to be\n", "no word vectors but a text that begins 'to be'"),
    "counts": (b"the 120\nof 88\n", "a text that begins 'the 120'"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(99), "a PNG image"),
    "zip": (b"PK\x03\x04" + bytes(99), "a zip file"),
    "utf-16": (THREE.decode().encode("utf-16"), "a file that starts with 0xfffe"),
    "binary before rows": (b"\x1f\x9d\x01\n" + THREE, "no word vectors but a file that starts with 0x1f9d01"),
    "zeros": (bytes(5000), "a file that starts with 0x00000000"),
    "row too short": (damaged(THREE, b" 5 ", b" "), "line 2: has 3 fields where a word and 3 numbers are expected"),
    "row too long": (damaged(THREE, b" 5 ", b" 5 5 "), "line 2: has 4 numbers where 3 are expected"),
    "first row too short": (damaged(HEADED, b" 2 ", b" "), "line 2: has 3 fields"),
    "first row too long": (damaged(HEADED, b" 2 ", b" 2 2 "), "line 2: has 4 numbers where 3 are expected"),
    "one of two rows": (b"a 1 2 3\nb 1 2\n", "line 2: has 3 fields"),
    "no number": (damaged(THREE, b" 8 ", b" 8x "), "line 3: '8x' is no number"),
    "underscore": (damaged(THREE, b" 8 ", b" 8_0 "), "line 3: '8_0' is no number"),
    "two numbers in one": (damaged(THREE, b" 8 ", b" 8-1 "), "line 3: '8-1' is no number"),
    "nan": (damaged(THREE, b" 8 ", b" nan "), "line 3: 'nan' is no finite float32"),
    "infinite": (damaged(HEADED, b" 8 ", b" -inf "), "line 4: '-inf' is no finite float32"),
    "beyond float32": (damaged(HEADED, b" 8 ", b" 1e39 "), "line 4: '1e39' is no finite float32"),
    "beyond float64": (damaged(HEADED, b" 8 ", b" 1e999 "), "line 4: '1e999' is no finite float32"),
    "decimal comma": (
        damaged(THREE, b" 8 ", b" 0,8 "),
        "line 3: '0,8' has a decimal comma; write numbers with a point",
    ),
    "decimal commas": (b"a 0,1 0,2\nb 0,3 0,4\n", "line 1: '0,1' has a decimal comma"),
    "decimal commas headed": (b"1 2\na 0,1 0,2\n", "line 2: '0,1' has a decimal comma"),
    "line without a word": (b"a 1 2\nb 1 2\n 1 2\n", "line 3: begins with a space"),
    "empty line": (damaged(THREE, b"\nof", b"\n\nof"), "line 2: empty"),
    "header too large": (HEADED.replace(b"3 3", b"4 3"), "announces 4 words, but the file ends after 3"),
    "header too small": (HEADED.replace(b"3 3", b"2 3"), "line 4: more rows than the 2 that the header announces"),
    "header alone": (b"3 3\n", "announces 3 words, but the file ends after 0"),
    "no words": (b"0 3\n", "the header announces 0 words"),
    "no numbers": (b"3 0\n", "of 0 numbers"),
    "huge vectors": (b"1 999999999999\nx \0\0\0\0", "of 999,999,999,999 numbers"),
    "huge header": (b"999999999999 3\n" + BINARY[4:], "at least 12,999,999,999,"),
    "binary cut in a row": (BINARY[:-3], "ends within row 4 of 4: 2 bytes missing"),  # the line feed is no part of it
    "binary cut in a word": (BINARY[: BINARY.index("naïve".encode()) + 2], "bytes missing"),
    "binary cut, in gzip": (
        gzip.compress(BINARY[: BINARY.index("naïve".encode()) + 2]),
        "ends before row 3 of 4: at least 48 bytes missing",
    ),
    "binary too long": (BINARY + b"more", "bytes follow the 4 words"),
    "binary not finite": (
        word2vec_binary(vectors=np.where(np.arange(24).reshape(4, 6) == 13, np.nan, VECTORS)),
        "row 3: the vector of the word 'naïve' holds a number that is not finite",
    ),
    "binary without words": (b"5 1\n" + b"\x01" * 9000, "row 1 has no end of its word in 4096 bytes"),
    "binary with a long word": (
        word2vec_binary(("the", "a" * 4097, "b", "c")),
        "row 2 has no end of its word in 4096 bytes",
    ),
    "gzip cut": (gzip.compress(THREE)[:-9], "truncated: the gzip stream has no end"),
    "gzip flipped": (gzip.compress(THREE)[:-6] + b"\0\0\0\0\0\0", "damaged gzip file"),
    "fastText in gzip": (gzip.compress(fasttext()), "unpack it first (gunzip)"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_file_is_refused_in_one_line(opened, refuses, tmp_path, fault):
    content, words = FAULTS[fault]
    with refuses(DataError, str(tmp_path / "vectors"), words):
        opened(content)


def test_a_fault_among_many_lines_is_named_with_its_own(opened, refuses):
    lines = [b"w%d 1 2 3" % number for number in range(300_000)]
    lines[234_566] = b"w 1 2 x"
    with refuses(DataError, "line 234,567: 'x' is no number"):
        opened(b"\n".join(lines))


def test_a_line_without_end_is_not_read_to_its_end(tmp_path, refuses):
    path = tmp_path / "long"
    path.write_bytes(THREE + b"x 1 ")
    os.truncate(path, 1 << 30)
    tracemalloc.start()
    with refuses(DataError, "line 4 is longer than 1,048,576 bytes"):
        open_word_vectors(path)
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize("words", [None, {"b"}])
def test_a_gzip_bomb_is_refused(tmp_path, words, refuses):
    path = tmp_path / "bomb"
    row = b"a" + b" 0" * 30_000 + b"\n"
    with gzip.open(path, "wb") as file:
        file.write(b"9999999999 30000\n")
        for _ in range(1_600):  # 96 MB, of which 64 MiB may be read
            file.write(row)
    tracemalloc.start()
    with refuses(UnsafeFileError, "claim to become", "refused"):
        open_word_vectors(path, words=words)
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()


def test_memory_grows_with_what_is_taken(tmp_path):
    path = tmp_path / "many"
    path.write_bytes(b"".join(b"word%d" % number + b" 0.25" * 40 + b"\n" for number in range(60_000)))
    for chosen in ({"words": {"word59999"}}, {"limit": 10}):
        tracemalloc.start()
        assert len(open_word_vectors(path, **chosen).words) in (1, 10)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20 < path.stat().st_size
        tracemalloc.stop()


def test_only_regular_files_are_opened(tmp_path, refuses):
    os.mkfifo(tmp_path / "pipe")
    for name, words in (("pipe", "not a regular file"), (".", "a folder"), ("none", "No such file")):
        with refuses(DataError, words):
            open_word_vectors(tmp_path / name)


@pytest.mark.parametrize(
    "options", [{"limit": 0}, {"limit": True}, {"limit": 1.5}, {"words": "the cat"}, {"words": [b"the"]}]
)
def test_a_choice_that_is_none_is_refused(opened, options, refuses):
    with refuses(ConfigError, next(iter(options))):
        opened(text(), **options)


def test_progress_is_reported(opened):
    reports = []
    with listening(lambda *report: reports.append(report)):
        opened(text(header=True))
    assert reports[-1] == ("reading word vectors from vectors", 4, 4)


def test_a_record_checks_what_it_holds(refuses):
    for words, matrix in ((("a",), np.zeros((2, 3), np.float32)), (("a",), np.zeros((1, 3)))):
        with refuses(DataError, "one row of float32 for each word"):
            WordVectors(words, matrix)
    with refuses(DataError, "a word is there twice"):
        WordVectors(("a", "a"), np.zeros((2, 3), np.float32))


def test_a_matrix_cannot_be_written(opened):
    matrix = opened(text()).matrix
    with pytest.raises(ValueError, match="read-only"):
        matrix[0] = 1


def test_a_version_that_is_not_known_is_named(opened, refuses):
    with refuses(DataError, "a fastText file of version 13"):
        opened(MAGIC.to_bytes(4, "little") + (13).to_bytes(4, "little") + bytes(100))
