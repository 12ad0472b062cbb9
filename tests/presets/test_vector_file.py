"""Published word vectors: named, fetched from a server on this computer, unpacked, trained on, predicted with."""

import gzip
import io
import struct
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from loopback import Handler, serving

import tlx
from tlx.errors import ConfigError, DownloadError, UnsafeFileError
from tlx.presets import download as transfer
from tlx.presets import vector_catalogue
from tlx.presets.hub import Url, cached_path, own_hash
from tlx.presets.vector_catalogue import PUBLISHED_VECTORS, list_vectors, published_vectors
from tlx.presets.vector_file import fetch_vectors, is_there, unpacked_path, vector_file
from tlx.presets.word_base import extended

TEXT = b"the 0.5 -1\ngood 1 0\nbad -1 0.25\n"
MEMBER = "glove.6B.50d.txt"


def zipped(**members):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {MEMBER: TEXT, **members}.items():
            archive.writestr(name, content)
    return packed.getvalue()


@pytest.fixture
def entry(tmp_path, monkeypatch):
    """An entry of the catalogue whose file a server on this computer has, called glove/6B.50d, and that server."""
    for name in ("TLX_OFFLINE", "HF_HUB_OFFLINE", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TLX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(transfer, "WAIT", 0.0)
    monkeypatch.setattr(transfer, "CHUNK", 100)
    with serving() as server:
        own = replace(published_vectors("glove/6B.50d"), location=Url(f"{server.root}/glove.6B.zip"))
        monkeypatch.setitem(vector_catalogue.PUBLISHED_VECTORS, own.name, own)
        server.answer = lambda handler: Handler.serve(handler, zipped(other=b"x" * 999))
        yield own, server


def test_every_entry_says_where_it_is_and_whose():
    for name in list_vectors():
        entry = published_vectors(name)
        assert entry.location.url.startswith("https://")
        assert (".zip" in entry.location.url) == bool(entry.member)
        assert entry.words >= 400_000
        assert entry.licence
        assert entry.page.startswith("https://")
        assert str(entry.size) in name
    assert published_vectors("glove/840B.300d").member == "glove.840B.300d.txt"
    assert published_vectors("glove/twitter.27B.25d").location.url.endswith("/glove.twitter.27B.zip")
    assert published_vectors("glove/42B.300d").location.url.endswith("/glove.42B.300d.zip")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("glove/6B.50", ["did you mean", "glove/6B.50d", "--weights FILE"]),
        ("fasttext/cc.xx.300", ["fastText's languages are", " de ", "--weights FILE"]),
        ("word2vec/nothing-like-it", ["tlx presets"]),
    ],
)
def test_a_name_of_none_is_refused(name, words, refuses):
    with refuses(ConfigError, *words):
        tlx.load(name)


def test_a_kind_alone_needs_a_file(refuses):
    with refuses(ConfigError, "--weights FILE", "glove/6B.50d"):
        tlx.load("glove")


def test_one_file_of_an_archive_is_unpacked_once(entry):
    own, server = entry
    assert not is_there(own)
    path = vector_file(own.name)
    assert path == unpacked_path(own)
    assert path.read_bytes() == TEXT
    assert {each.name for each in path.parent.iterdir() if not each.name.endswith(".lock")} == {
        *(MEMBER, f"{MEMBER}.sha256", "glove.6B.zip", "glove.6B.zip.sha256")
    }
    asked = len(server.asked)
    cached_path(own.location).unlink()  # which may be done to spare the disk
    assert fetch_vectors(own) == path
    assert is_there(own)
    assert len(server.asked) == asked


def test_a_cut_transfer_is_gone_on_from(entry):
    own, server = entry
    body = zipped()
    server.answer = lambda handler: Handler.serve(handler, body, cut=None if handler.start else 120)
    assert fetch_vectors(own).read_bytes() == TEXT
    assert server.ranges() == [None, "bytes=120-"]


def test_an_unpacked_file_that_changed_is_unpacked_again(entry, caplog):
    own, server = entry
    path = fetch_vectors(own)
    asked = len(server.asked)
    path.write_bytes(TEXT[:-3])
    assert fetch_vectors(own).read_bytes() == TEXT
    assert "unpacking it again" in caplog.text
    assert len(server.asked) == asked


def test_a_file_put_there_by_hand_is_taken(entry, monkeypatch):
    own, _ = entry
    monkeypatch.setenv("TLX_OFFLINE", "1")
    unpacked_path(own).parent.mkdir(parents=True)
    unpacked_path(own).write_bytes(TEXT)
    assert tlx.load(own.name).preprocess.tokenizer.words == ("the", "good", "bad")


def test_offline_what_is_not_there_is_refused(entry, monkeypatch, refuses):
    own, server = entry
    monkeypatch.setenv("TLX_OFFLINE", "1")
    with refuses(DownloadError, "TLX_OFFLINE", "glove.6B.zip", "--weights FILE"):
        tlx.load(own.name)
    assert not server.asked


def test_a_damaged_archive_is_removed(entry, refuses):
    own, server = entry
    body = bytearray(zipped())
    body[60] ^= 0x10
    server.answer = lambda handler: Handler.serve(handler, bytes(body))
    with refuses(DownloadError, "damaged", MEMBER, "run again"):
        fetch_vectors(own)
    assert not cached_path(own.location).exists()
    assert not own_hash(cached_path(own.location)).exists()
    assert not unpacked_path(own).exists()
    server.answer = lambda handler: Handler.serve(handler, zipped())
    assert fetch_vectors(own).read_bytes() == TEXT


def test_an_archive_without_the_file_names_what_it_holds(entry, refuses):
    own, _ = entry
    with refuses(DownloadError, "glove.6B.50d.bin", MEMBER):
        fetch_vectors(replace(own, member="glove.6B.50d.bin"))


@pytest.mark.parametrize("members", [{"../out.txt": b"x"}, {"bomb.txt": bytes(80 << 20)}], ids=["leads out", "bomb"])
def test_an_archive_that_is_unsafe_is_refused(entry, members, refuses):
    own, server = entry
    body = zipped(**members)
    server.answer = lambda handler: Handler.serve(handler, body)
    with refuses(UnsafeFileError, "glove.6B.zip"):
        fetch_vectors(own)
    assert not unpacked_path(own).exists()


def test_a_web_page_is_no_archive(entry, refuses):
    own, server = entry
    server.answer = lambda handler: Handler.serve(handler, b"<html>" + b" " * 500)
    with refuses(DownloadError, "web page"):
        fetch_vectors(own)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("fasttext/cc.en.300", b"3 2\n" + TEXT),
        ("word2vec/google-news-300", b"1 2\nthe " + struct.pack("<2f", 0.5, -1) + b"\n"),
    ],
)
def test_what_is_packed_by_gzip_is_read_as_it_is(entry, name, content, monkeypatch):
    _, server = entry
    own = replace(published_vectors(name), location=Url(f"{server.root}/vectors.gz"))
    monkeypatch.setitem(vector_catalogue.PUBLISHED_VECTORS, name, own)
    packed = gzip.compress(content)
    server.answer = lambda handler: Handler.serve(handler, packed)
    base = tlx.load(name)
    assert base.preprocess.tokenizer.words[0] == "the"
    table = base.variables["params"]["base"]["embeddings"]["word"]["embedding"]
    np.testing.assert_array_equal(table[1], [0.5, -1])


def test_the_base_says_whose_the_vectors_are(entry):
    own, _ = entry
    base = tlx.load(own.name)
    assert base.name == own.name
    assert (base.card["source"], base.card["licence"]) == (own.name, "PDDL 1.0: Stanford")


def test_words_of_later_texts_are_looked_up_by_the_name(entry):
    own, _ = entry
    base = tlx.word_base(own.name, ["good"], rows="needed")
    assert base.preprocess.tokenizer.words == ("good",)
    assert extended(base, own.name, ["a bad film"]).preprocess.tokenizer.words == ("good", "bad")


def test_google_news_has_the_hash_that_its_mirror_states():
    assert PUBLISHED_VECTORS["word2vec/google-news-300"].location.md5 == "a5e5354d40acb95f9ec66d5977d140ef"
