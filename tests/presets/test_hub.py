"""Files are fetched whole, checked and once, whatever a server on this computer does to them."""

import contextlib
import errno
import functools
import gzip
import hashlib
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub.constants
import numpy as np
import pytest
from loopback import BODY, ETAG, Handler, Server, serving
from safetensors.numpy import save

from tlx.errors import ConfigError, DownloadError, StorageError, UnsafeFileError
from tlx.files import cache_dir
from tlx.presets import download as transfer
from tlx.presets.hub import AbsentError, HubFile, Url, cached_path, fetch
from tlx.progress import listening

SHA256, MD5 = hashlib.sha256(BODY).hexdigest(), hashlib.md5(BODY).hexdigest()
CUT = 70_000


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("TLX_OFFLINE", "HF_HUB_OFFLINE", "HF_ENDPOINT", "HF_TOKEN", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TLX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(transfer, "WAIT", 0.0)
    monkeypatch.setattr(transfer, "CHUNK", 10_000)  # a cut costs what has come of one
    return tmp_path / "cache"


def refused(kind: type[Exception], location: Url | HubFile, *words: str) -> str:
    """Expect that a location cannot be fetched, on one line that holds the words, and nothing under its final name."""
    with pytest.raises(kind) as caught:
        fetch(location)
    message = str(caught.value)
    assert type(caught.value) is kind
    assert "\n" not in message
    assert [word for word in words if word not in message] == [], message
    assert not cached_path(location).exists()
    return message


def files_of(folder: Path) -> set[str]:
    return {path.suffix for path in folder.rglob("*") if path.is_file()} - {".lock"}


def test_a_file_is_fetched_once_and_then_cached(server, cache):
    for location in (
        Url(server.url, sha256=SHA256),
        Url(server.url, md5=MD5),
        Url(server.url, sha256_prefix=SHA256[:8]),
    ):
        path = fetch(location)
        assert path == cached_path(location)
        assert path.read_bytes() == BODY
    assert len(server.asked) == 1
    assert path.is_relative_to(cache)
    assert files_of(cache) == {".bin"}


def test_two_addresses_are_two_files(server):
    other = server.url.replace("weights", "other")
    assert fetch(Url(server.url, size=len(BODY))) != fetch(Url(other, size=len(BODY)))
    assert len(server.asked) == 2


@pytest.mark.parametrize("known", [{}, {"sha256": SHA256}, {"size": len(BODY)}])
def test_what_is_cut_is_gone_on_from(server, known):
    cuts = iter([CUT, 30_000, None])
    server.answer = lambda handler: handler.serve(cut=next(cuts))
    assert fetch(Url(server.url, **known)).read_bytes() == BODY
    assert server.ranges() == [None, f"bytes={CUT}-", f"bytes={CUT + 30_000}-"]
    assert server.asked[1][2]["If-Range"] == ETAG


def test_what_was_cut_for_good_is_gone_on_from_by_the_next_call(server, cache):
    server.answer = lambda handler: handler.serve(cut=CUT) if not handler.start else handler.reply(status=503)
    refused(DownloadError, Url(server.url, sha256=SHA256), server.url, "503", "attempts", str(cache))
    assert len(server.asked) == transfer.ATTEMPTS
    server.answer = Handler.serve
    assert fetch(Url(server.url, sha256=SHA256)).read_bytes() == BODY
    assert server.ranges()[-1] == f"bytes={CUT}-"
    assert files_of(cache) == {".bin"}


def test_a_file_that_was_cut_without_anything_to_tell_it_by_begins_anew(server):
    cuts = iter([CUT, None])

    def answer(handler):
        body = BODY[handler.start :]
        handler.reply(body, cut=next(cuts), **({} if not handler.start else {"Content_Range": "bytes 0-1/2"}))

    server.answer = answer
    assert fetch(Url(server.url)).read_bytes() == BODY
    assert server.ranges() == [None, None]


def test_a_server_that_ignores_range_sends_all_of_it_again(server):
    cuts = iter([CUT, None])
    server.answer = lambda handler: handler.reply(BODY, cut=next(cuts), ETag=ETAG)
    assert fetch(Url(server.url)).read_bytes() == BODY
    assert server.ranges() == [None, f"bytes={CUT}-"]


def test_a_file_that_changed_meanwhile_begins_anew(server):
    new = BODY[::-1]
    answers = iter([lambda handler: handler.serve(cut=CUT), lambda handler: handler.serve(new, '"two"')])
    server.answer = lambda handler: next(answers)(handler)
    assert fetch(Url(server.url)).read_bytes() == new


def test_a_server_that_ignores_if_range_and_has_another_file_is_found_out(server):
    new = BODY[::-1]
    answers = iter([lambda handler: handler.serve(cut=CUT)] + 2 * [lambda handler: serve_other(handler)])

    def serve_other(handler):
        start = handler.start
        if not start:
            return handler.serve(new, '"two"')
        return handler.reply(new[start:], 206, ETag='"two"', Content_Range=f"bytes {start}-{len(new) - 1}/{len(new)}")

    server.answer = lambda handler: next(answers)(handler)
    assert fetch(Url(server.url)).read_bytes() == new
    assert server.ranges() == [None, f"bytes={CUT}-", None]


@pytest.mark.parametrize(
    "content_range", [f"bytes 0-{len(BODY) - 1}/{len(BODY)}", f"bytes {CUT}-{len(BODY)}/{len(BODY) + 1}", "x", ""]
)
def test_another_range_than_the_one_asked_for_is_not_appended(server, content_range):
    def answer(handler):
        if handler.start:
            return handler.reply(BODY[handler.start :], 206, ETag=ETAG, Content_Range=content_range)
        return handler.serve(cut=CUT if len(server.asked) == 1 else None)

    server.answer = answer
    assert fetch(Url(server.url)).read_bytes() == BODY
    assert server.ranges() == [None, f"bytes={CUT}-", None]


def test_kept_bytes_that_do_not_belong_to_the_file_are_given_up(server):
    location = Url(server.url, sha256=SHA256)
    partial = cached_path(location).with_name(cached_path(location).name + ".partial")
    partial.parent.mkdir(parents=True)
    for kept in (b"wrong" * 10_000, b"x" * len(BODY), b"longer" * len(BODY)):
        partial.write_bytes(kept)
        assert fetch(location).read_bytes() == BODY
        assert not partial.exists()
        cached_path(location).unlink()


def test_bytes_that_had_all_come_are_not_asked_for_again(server):
    location = Url(server.url, sha256=SHA256, size=len(BODY))
    partial = cached_path(location).with_name(cached_path(location).name + ".partial")
    partial.parent.mkdir(parents=True)
    partial.write_bytes(BODY)
    assert fetch(location).read_bytes() == BODY
    assert server.asked == []


@pytest.mark.parametrize("known", [{}, {"sha256": SHA256}, {"size": len(BODY)}])
def test_a_body_that_is_shorter_than_announced_is_refused(server, known):
    server.answer = lambda handler: handler.reply(BODY[:-1], Content_Length=str(len(BODY)), cut=len(BODY))
    refused(DownloadError, Url(server.url, **known), server.url)


def test_a_body_that_comes_packed_though_it_must_not_is_refused(server):
    packed = gzip.compress(bytes(1000))
    server.answer = lambda handler: handler.reply(packed, Content_Encoding="gzip")
    refused(DownloadError, Url(server.url), "packed the file (gzip), which was not asked for")
    assert next(cached_path(Url(server.url)).parent.glob("*.partial")).stat().st_size == 0


def test_another_length_than_was_published_is_refused(server):
    message = refused(DownloadError, Url(server.url, size=len(BODY) + 1), str(len(BODY)), str(len(BODY) + 1))
    assert "published" in message
    assert len(server.asked) == 1


def test_a_length_that_nobody_knows_is_refused_unless_a_hash_is(server):
    def answer(handler):
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(BODY)
        handler.close_connection = True

    server.answer = answer
    refused(DownloadError, Url(server.url), "how long")
    assert fetch(Url(server.url, md5=MD5)).read_bytes() == BODY


PAGE = b"<!DOCTYPE html><title>Please log in</title>"


@pytest.mark.parametrize(
    ("kind", "body", "name"),
    [
        ("text/html; charset=utf-8", PAGE, "model.bin"),
        ("application/octet-stream", PAGE, "model.bin"),
        ("application/octet-stream", b"\n <html>", "model.bin"),
        ("application/octet-stream", b'{"error": "none"}', "model.safetensors"),
        ("application/octet-stream", b"version https://git-lfs", "model.h5"),
        ("application/octet-stream", b"not a pickle", "model.pth"),
    ],
)
def test_something_else_with_status_200_is_refused(server, kind, body, name):
    server.answer = lambda handler: handler.reply(body, Content_Type=kind)
    words = "web page" if b"<" in body else f"is no .{name.rpartition('.')[2]}"
    for known in ({}, {"sha256": SHA256}):
        refused(DownloadError, Url(f"{server.root}/{name}", **known), server.root, words)


def test_a_web_page_in_the_place_of_the_rest_does_not_cost_what_came(server):
    pages = iter([True, False])

    def answer(handler):
        if handler.start and next(pages):
            return handler.reply(PAGE, Content_Type="text/html")
        return handler.serve(cut=None if handler.start else CUT)

    server.answer = answer
    refused(DownloadError, Url(server.url, sha256=SHA256), "web page")
    assert fetch(Url(server.url, sha256=SHA256)).read_bytes() == BODY
    assert server.ranges() == [None, f"bytes={CUT}-", f"bytes={CUT}-"]


@pytest.mark.parametrize("known", [{"sha256": "0" * 64}, {"md5": "0" * 32}, {"sha256_prefix": "0" * 8}])
def test_another_hash_is_refused(server, cache, known):
    refused(DownloadError, Url(server.url, **known), server.url, "published", "00000000")
    assert files_of(cache) == set()


def test_a_server_that_cuts_and_sends_other_bytes_is_given_up(server):
    server.answer = lambda handler: handler.serve(cut=None if handler.start else CUT)
    refused(DownloadError, Url(server.url, sha256="0" * 64), "published")
    assert len(server.asked) == 4


@pytest.mark.parametrize(("status", "attempts"), [(404, 1), (403, 1), (206, 1), (204, 1), (500, 3), (429, 3)])
def test_an_answer_that_is_no_file_is_refused(server, status, attempts):
    server.answer = lambda handler: handler.reply(status=status)
    refused(DownloadError, Url(server.url), server.url, str(status))
    assert len(server.asked) == attempts


def test_redirects_are_followed_within_reason(server):
    def answer(handler):
        if handler.path == "/weights/model.bin":
            return handler.reply(status=302, Location="/there")
        return handler.serve() if handler.path == "/there" else handler.reply(status=302, Location="/round")

    server.answer = answer
    assert fetch(Url(server.url)).read_bytes() == BODY
    refused(DownloadError, Url(f"{server.root}/round"), "redirects")


@pytest.mark.parametrize("target", ["file:///etc/passwd", "http://tlx.invalid/", "ftp://tlx.invalid/", "data:,x"])
def test_redirects_to_what_is_unsafe_are_refused(server, target):
    server.answer = lambda handler: handler.reply(status=302, Location=target)
    refused(UnsafeFileError, Url(server.url), server.url, target)
    server.answer = lambda handler: handler.reply(status=302, Location="http://[::1/")
    refused(DownloadError, Url(server.url), "no address")


@pytest.mark.parametrize(
    ("origin", "target", "safe"),
    [
        ("https://a.example/x", "https://b.example/y", True),
        ("https://a.example/x", "/y", True),
        ("https://a.example/x", "http://a.example/x", False),
        ("https://a.example/x", "http://127.0.0.1/x", False),
        ("http://a.example/x", "http://b.example/x", True),
        ("http://a.example/x", "https://b.example/x", True),
        ("http://localhost/x", "http://127.0.0.1/x", True),
        ("http://localhost/x", "http://b.example/x", False),
        ("http://a.example/x", "file:///x", False),
    ],
)
def test_encryption_is_not_given_up(origin, target, safe):
    if safe:
        return transfer.check_redirect(origin, origin, target)
    with pytest.raises(UnsafeFileError):
        transfer.check_redirect(origin, origin, target)


@pytest.mark.parametrize("known", [{"sha256": SHA256}, {}])
def test_a_cached_file_that_was_damaged_is_reported_and_fetched_again(server, known, caplog):
    location = Url(server.url, **known)
    path = fetch(location)
    path.write_bytes(BODY[:-1])
    with caplog.at_level(logging.WARNING, "tlx"):
        assert fetch(location).read_bytes() == BODY
    assert str(path) in caplog.text
    assert len(server.asked) == 2


def test_a_damaged_file_is_kept_until_there_is_a_better_one_and_never_used(server, monkeypatch):
    location = Url(server.url, sha256=SHA256)
    path = fetch(location)
    path.write_bytes(b"damaged")
    server.answer = lambda handler: handler.reply(status=404)
    with pytest.raises(DownloadError, match="404"):
        fetch(location)
    monkeypatch.setenv("TLX_OFFLINE", "1")
    with pytest.raises(DownloadError, match="SHA256"):
        fetch(location)
    assert path.read_bytes() == b"damaged"


@pytest.mark.parametrize("variable", ["TLX_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_only_what_is_cached_is_used(server, variable, monkeypatch):
    location = Url(server.url, sha256=SHA256)
    monkeypatch.setenv(variable, "1")
    refused(DownloadError, location, server.url, str(cached_path(location)))
    cached_path(location).parent.mkdir(parents=True)
    cached_path(location).write_bytes(BODY)  # by hand, as the message says
    assert fetch(location).read_bytes() == BODY
    assert server.asked == []


def test_without_a_network_the_place_is_named(server):
    server.server_close()
    location = Url(server.url)
    refused(DownloadError, location, server.url, str(cached_path(location)))


def test_a_disk_that_is_too_small_is_not_filled(server, monkeypatch):
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _: SimpleNamespace(free=len(BODY) - 1))
    refused(StorageError, Url(server.url), "do not fit", "TLX_CACHE")


def test_a_disk_that_is_full_costs_nothing_that_came(server, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(transfer, "write_json", lambda path, content: path.write_text(json.dumps(content)))
        patch.setattr(transfer.os, "fsync", full)
        refused(StorageError, Url(server.url), "No space left", "TLX_CACHE")
    assert fetch(Url(server.url)).read_bytes() == BODY
    assert len(server.asked) == 1


def test_a_cache_that_cannot_be_written(server, cache):
    cache.write_text("a file where the folder should be")
    refused(StorageError, Url(server.url), "TLX_CACHE")


FETCH = """
import hashlib, sys
from tlx.presets.hub import AbsentError, Url, fetch
print("ready", flush=True)
sys.stdin.readline()
print(hashlib.sha256(fetch(Url(sys.argv[1])).read_bytes()).hexdigest())
"""


@pytest.mark.slow
def test_two_processes_fetch_once(server):
    def answer(handler):
        time.sleep(0.3)  # so that both are at it at once
        handler.serve()

    server.answer = answer
    start = functools.partial(subprocess.Popen, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with (
        start([sys.executable, "-c", FETCH, server.url]) as one,
        start([sys.executable, "-c", FETCH, server.url]) as two,
    ):
        assert [process.stdout.readline() for process in (one, two)] == ["ready\n"] * 2
        for process in (one, two):
            process.stdin.write("now\n")
            process.stdin.flush()
        assert [process.communicate()[0].strip() for process in (one, two)] == [SHA256] * 2
    assert len(server.asked) == 1


def test_what_has_come_is_reported_to_whoever_listens(server, capsys, monkeypatch):
    body = BODY * 20
    server.answer = lambda handler: handler.serve(body)
    said = []
    with listening(lambda *report: said.append(report)):
        fetch(Url(server.url))
    assert said[0] == ("fetching model.bin, in MB", 0, 4)
    assert said[-1] == ("fetching model.bin, in MB", 4, 4)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_shows_a_bar_on_standard_error(server, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    fetch(Url(server.url), progress=False)
    assert capsys.readouterr() == ("", "")
    fetch(Url(server.url + "2"))
    out, err = capsys.readouterr()
    assert out == ""
    assert "fetching model.bin2" in err
    assert "200.0" in err


# Servers that send what nobody asked for


def endless(handler):
    """Send more chunks than anybody wants, and hang up."""
    handler.close_connection = True
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    for _ in range(1000):
        handler.wfile.write(b"10000\r\n" + bytes(1 << 16) + b"\r\n")


@pytest.mark.parametrize("known", [{"size": 100_000, "sha256": SHA256}, {"sha256": SHA256}])
def test_an_endless_answer_is_cut_off_at_the_published_size(server, cache, monkeypatch, known):
    monkeypatch.setattr(transfer, "MOST", 100_000)
    server.answer = endless
    refused(DownloadError, Url(server.url, **known), "sends more than 100000 bytes")
    assert len(server.asked) == 1
    assert files_of(cache) == set()


def test_an_answer_longer_than_any_weights_is_refused_before_its_body(server, monkeypatch):
    monkeypatch.setattr(transfer, "MOST", 100_000)
    refused(DownloadError, Url(server.url, sha256=SHA256), "200000 bytes, more than any that tlx reads")


def test_a_redirect_whose_body_never_ends_is_followed_all_the_same(server):
    def answer(handler):
        if handler.path == "/there":
            return handler.serve()
        handler.send_response(302)
        handler.send_header("Location", "/there")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        while True:
            handler.wfile.write(b"1000\r\n" + bytes(4096) + b"\r\n")

    server.answer = answer
    assert fetch(Url(server.url)).read_bytes() == BODY


def drip(handler):
    """Send a byte now and then, and hang up after some."""
    handler.close_connection = True
    handler.send_response(206 if handler.start else 200)
    if handler.start:
        handler.send_header("Content-Range", f"bytes {handler.start}-{len(BODY) - 1}/{len(BODY)}")
    handler.send_header("Content-Length", str(len(BODY) - handler.start))
    handler.send_header("ETag", ETAG)
    handler.end_headers()
    for byte in range(handler.start, handler.start + 200):
        handler.wfile.write(BODY[byte : byte + 1])
        time.sleep(0.01)


def test_what_comes_too_slowly_is_given_up_and_gone_on_from(server, monkeypatch, caplog):
    monkeypatch.setattr(transfer, "STALL", 0.05)
    monkeypatch.setattr(transfer, "LEAST_RATE", 10_000)
    server.answer = drip
    message = refused(DownloadError, Url(server.url, sha256=SHA256), "bytes came in", "(3 attempts, 0 s)")
    assert "only" in message
    assert [record.message.partition("; ")[2] for record in caplog.records] == [
        "trying again in 0 s (attempt 2 of 3)",
        "trying again in 0 s (attempt 3 of 3)",
    ]
    kept = int(server.ranges()[-1].removeprefix("bytes=").rstrip("-"))
    assert 0 < kept < 100
    server.answer = Handler.serve
    assert fetch(Url(server.url, sha256=SHA256)).read_bytes() == BODY
    assert int(server.ranges()[-1].removeprefix("bytes=").rstrip("-")) > kept


def test_headers_that_come_too_slowly_are_given_up(server, monkeypatch):
    monkeypatch.setattr(transfer, "HEADERS", 0.1)

    def answer(handler):
        handler.close_connection = True
        with contextlib.suppress(OSError):
            for byte in b"HTTP/1.1 200 OK\r\nServer: " + bytes(50 * [97]):
                handler.wfile.write(bytes([byte]))
                time.sleep(0.02)

    server.answer = answer
    refused(DownloadError, Url(server.url, sha256=SHA256), "no whole answer came in 0 s", "3 attempts")
    server.answer = Handler.serve
    assert fetch(Url(server.url, sha256=SHA256)).read_bytes() == BODY


def test_without_a_network_the_failure_is_quick_short_and_says_what_to_do(server, caplog):
    server.shutdown()
    server.server_close()
    message = refused(DownloadError, Url(server.url, sha256=SHA256))
    path = cached_path(Url(server.url))
    assert message == (
        f"{server.url}: no connection to 127.0.0.1:{server.server_port} (2 attempts, 0 s): fetch it elsewhere and name "
        f"it (--weights FILE, tlx.load(name, FILE)), or put it at {path}"
    )
    assert path.name == "model.bin"
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "trying again" in caplog.text


@pytest.mark.parametrize(("end", "name"), [("a/b.h5", "b.h5"), ("", "file"), ("..", "file"), ("a%20b?x=1", "a_20b")])
def test_a_cached_file_has_its_own_name(cache, end, name):
    path = cached_path(Url(f"https://tlx.example/{end}"))
    assert path.name == name
    assert path.parent.parent == cache / "urls"


def test_headers_go_to_their_own_host_alone(server, tmp_path):
    with Server() as other:
        thread = threading.Thread(target=other.serve_forever, args=(0.01,))
        thread.start()
        server.answer = lambda handler: handler.reply(status=302, Location=other.url)
        sent = {"headers": {"Authorization": "Bearer secret"}, "size": None, "checked": True, "progress": False}
        transfer.transfer(server.url, tmp_path / "x.partial", **sent)
        other.shutdown()
        thread.join()
    assert server.asked[0][2]["Authorization"] == "Bearer secret"
    assert "Authorization" not in other.asked[0][2]


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    assert cache_dir() == tmp_path / "cache"
    monkeypatch.setenv("TLX_CACHE", "~/there")
    assert cache_dir() == Path.home() / "there"
    monkeypatch.delenv("TLX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "tlx"


@pytest.mark.parametrize(
    ("kind", "build"),
    [
        (UnsafeFileError, lambda: Url("file:///etc/passwd")),
        (UnsafeFileError, lambda: Url("http://tlx.invalid/model", sha256_prefix="0" * 8)),
        (ConfigError, lambda: Url("https://user:word@tlx.invalid/model")),
        (ConfigError, lambda: Url("https:///model")),
        (ConfigError, lambda: Url("https://[::1/model")),
        (ConfigError, lambda: Url("https://tlx.invalid/", sha256="A" * 64)),
        (ConfigError, lambda: Url("https://tlx.invalid/", md5="a" * 31)),
        (ConfigError, lambda: Url("https://tlx.invalid/", size=0)),
        (ConfigError, lambda: HubFile("timm", "model.safetensors")),
        (ConfigError, lambda: HubFile("timm/../x", "model.safetensors")),
        (ConfigError, lambda: HubFile("timm/x", "../model.safetensors")),
        (ConfigError, lambda: HubFile("timm/x", "/etc/passwd")),
        (ConfigError, lambda: HubFile("timm/x", "model.safetensors", "..")),
    ],
)
def test_locations_that_could_not_be_ones(kind, build):
    with pytest.raises(kind):
        build()


TENSORS = save({"kernel": np.arange(60_000, dtype=np.float32)})
TENSORS_SHA = hashlib.sha256(TENSORS).hexdigest()
COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILE = HubFile("timm/toy", "model.safetensors")


@pytest.fixture
def huggingface(server, monkeypatch) -> Server:
    """The server in the role of the hub: HEAD tells the commit and the hash, GET sends the file."""
    monkeypatch.setenv("HF_ENDPOINT", server.root)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_TELEMETRY", True)  # it would ask the real hub
    server.body = TENSORS

    def answer(handler):
        if handler.path.startswith("/timm/toy/resolve/main/model"):
            return handler.reply(server.body, ETag=f'"{TENSORS_SHA}"', X_Repo_Commit=COMMIT)
        return handler.reply(status=404, X_Error_Code="RepoNotFound")

    server.answer = answer
    return server


def test_a_file_of_the_hub(huggingface, cache, monkeypatch):
    path = fetch(FILE)
    assert path.read_bytes() == TENSORS
    assert path.is_relative_to(cache)
    assert [command for command, _, _ in huggingface.asked] == ["HEAD", "GET"]
    assert fetch(FILE) == path
    assert [command for command, _, _ in huggingface.asked] == ["HEAD", "GET"]
    monkeypatch.setenv("TLX_OFFLINE", "1")
    assert fetch(FILE) == path
    assert len(huggingface.asked) == 2


def test_what_other_libraries_fetched_from_the_hub_is_used(huggingface, monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    monkeypatch.delenv("TLX_CACHE")
    theirs = huggingface_hub.hf_hub_download(FILE.repo, FILE.filename, endpoint=huggingface.root)
    asked = len(huggingface.asked)
    assert str(fetch(FILE)) == theirs
    assert len(huggingface.asked) == asked
    Path(theirs).resolve().write_bytes(TENSORS[:-1] + b"x")
    found = fetch(FILE)
    assert found.is_relative_to(tmp_path / "own")
    assert found.read_bytes() == TENSORS


def test_a_file_of_the_hub_is_gone_on_from(huggingface):
    whole, cuts = huggingface.answer, iter([CUT, None])

    def answer(handler):
        return whole(handler) if handler.command == "HEAD" else handler.serve(TENSORS, cut=next(cuts))

    huggingface.answer = answer
    assert fetch(FILE).read_bytes() == TENSORS
    assert huggingface.ranges() == [None, None, f"bytes={CUT}-"]


def test_a_damaged_file_of_the_hub_is_reported_and_fetched_again(huggingface, caplog, monkeypatch):
    path = fetch(FILE)
    damaged = bytearray(TENSORS)
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    monkeypatch.setenv("TLX_OFFLINE", "1")
    with pytest.raises(DownloadError, match="is no longer what was fetched"):
        fetch(FILE)
    monkeypatch.delenv("TLX_OFFLINE")
    with caplog.at_level(logging.WARNING, "tlx"):
        assert fetch(FILE).read_bytes() == TENSORS
    assert str(path) in caplog.text
    path.write_bytes(damaged)
    huggingface.body = bytes(damaged)
    with pytest.raises(DownloadError, match="SHA256"):
        fetch(FILE)


def test_what_the_hub_refuses(huggingface, monkeypatch):
    refused(AbsentError, HubFile("timm/none", "model.safetensors"), "timm/none", "404")
    refused(AbsentError, HubFile("timm/toy", "none.bin"), "timm/toy", "none.bin", "404")
    huggingface.body = PAGE
    refused(DownloadError, FILE, huggingface.root, "web page")


def test_a_hub_that_redirects_to_a_file_is_refused(huggingface):
    huggingface.answer = lambda handler: handler.reply(
        status=302, Location="file:///etc/passwd", X_Linked_ETag=f'"{TENSORS_SHA}"', X_Repo_Commit=COMMIT
    )
    refused(UnsafeFileError, FILE, huggingface.root)


def test_offline_a_file_of_the_hub_may_be_put_by_hand(huggingface, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_TELEMETRY", False)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", None)
    by_hand = cached_path(FILE)
    refused(DownloadError, FILE, f"{huggingface.root}/timm/toy/resolve/main/model.safetensors", str(by_hand))
    by_hand.parent.mkdir(parents=True)
    by_hand.write_bytes(TENSORS)
    assert fetch(FILE) == by_hand
    by_hand.write_bytes(PAGE)
    with pytest.raises(DownloadError, match="web page"):
        fetch(FILE)
    assert huggingface.asked == []


def test_without_a_network_the_place_of_a_file_of_the_hub_is_named(huggingface, monkeypatch):
    huggingface.server_close()
    refused(DownloadError, FILE, f"{huggingface.root}/timm/toy", str(cached_path(FILE)))


def test_a_server_that_is_no_hub_is_refused(huggingface):
    huggingface.answer = lambda handler: handler.reply(PAGE, Content_Type="text/html")
    refused(DownloadError, FILE, huggingface.root)


@pytest.mark.parametrize("damaged", ["", "[]", '{"validator": 1}', '{"validator": "x", "total": "y"}'])
def test_kept_bytes_without_a_good_record_are_given_up(server, cache, damaged):
    server.answer = lambda handler: handler.serve(cut=CUT) if not handler.start else handler.reply(status=404)
    refused(DownloadError, Url(server.url), "404")
    record = next(cache.rglob("*.partial.json"))
    assert json.loads(record.read_text()) == {"url": server.url, "validator": ETAG, "total": len(BODY)}
    record.write_text(damaged)
    server.answer = Handler.serve
    assert fetch(Url(server.url)).read_bytes() == BODY
    assert server.ranges() == [None, f"bytes={CUT}-", None]
