"""Bring the bytes of a URL into a file that an interruption leaves behind for the next attempt."""

import contextlib
import functools
import json
import logging
import os
import queue
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from tlx.errors import DownloadError, StorageError, UnsafeFileError
from tlx.files import write_json
from tlx.files.opening import one_line, shown
from tlx.presets.arriving import arriving

ATTEMPTS = 3
ATTEMPTS_TO_CONNECT = 2  # where there is no network, the next attempt seldom finds one
WAIT = 1.0  # seconds before the second attempt, and twice as long before each further one
TIMEOUT = (10.0, 30.0)  # seconds to connect, and between two packets
HEADERS = 60.0  # seconds until the last header
STALL = 30.0  # seconds in which at least LEAST_RATE bytes for each must come
LEAST_RATE = 1000
MOST_REDIRECTS = 10
MOST = 8 << 30  # bytes, of a file whose length nobody says; the largest published one has a fourteenth of it
CHUNK = 1 << 16  # bytes at once, and at most lost with a cut
LOOPBACK = ("127.0.0.1", "::1", "localhost")
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
_FREE = "free the disk, or name another folder by TLX_CACHE"


class _Interrupted(Exception):
    """Say why an attempt came to nothing that was worth another one."""


class _NoConnection(_Interrupted):
    """Say why no server could be reached at all."""


class _Useless(_Interrupted):
    """Say why the bytes that were kept cannot be gone on from."""


def transfer(
    url: str,
    partial: Path,
    *,
    size: int | None,
    checked: bool,
    progress: bool,
    headers: Mapping[str, str] | None = None,
) -> bool:
    """Complete `partial` with the bytes of a URL; return whether it began with bytes of an earlier attempt.

    An attempt goes on where the last one, of this process or another, was cut: by HTTP's Range, on condition (If-Range)
    that the server has the same file still. A server that gives no ETag or date to tell by is trusted to where the
    caller checks a hash afterwards (`checked`); else the transfer begins anew, as it does for a server that ignores
    Range or answers with another one. `size` is the length in bytes, where it is known beforehand: no byte more is
    written, nor than the server announced. An attempt ends where fewer than `LEAST_RATE` bytes a second come for
    `STALL` seconds. Each further attempt is announced (logger "tlx"). `headers` go with every request to the URL's own
    host.

    Raise `DownloadError` for an answer that is not the file, or after the last attempt; `UnsafeFileError` for a
    redirect that leaves HTTP or its encryption; `StorageError` where the disk is full or cannot be written. `partial`
    is kept.
    """
    began, attempt, trouble = time.monotonic(), 0, ""
    while True:
        attempt += 1
        one = _Attempt(url, partial, size, checked, headers or {})
        try:
            with _told_in_short(url, partial):
                one.run(progress)
            return one.offset > 0
        except _Useless as error:
            trouble, most = str(error), ATTEMPTS
            discard(partial)
        except _Interrupted as error:
            trouble, most = str(error), ATTEMPTS_TO_CONNECT if isinstance(error, _NoConnection) else ATTEMPTS
        finally:
            one.close()
        if attempt >= most:
            break
        wait = WAIT * 2 ** (attempt - 1)
        logging.getLogger("tlx").warning(
            "tlx: %s: %s; trying again in %.0f s (attempt %d of %d)", shown(url), trouble, wait, attempt + 1, most
        )
        time.sleep(wait)
    seconds = time.monotonic() - began
    raise DownloadError(f"{shown(url)}: {trouble} ({attempt} attempts, {seconds:.0f} s)")


@contextlib.contextmanager
def _told_in_short(url: str, partial: Path) -> Iterator[None]:
    """Turn what `requests` and `urllib3` raise into a few words, and say whether another attempt may help."""
    import requests
    import urllib3.exceptions as urllib3

    host = urlsplit(url).netloc
    try:
        yield
    except (requests.exceptions.SSLError, urllib3.SSLError) as error:
        raise DownloadError(
            f"{shown(url)}: the certificate of {host} is not trusted ({one_line(error)[-80:]})"
        ) from error
    except requests.exceptions.ProxyError as error:
        raise _NoConnection("no connection to the proxy that the environment names") from error
    except requests.exceptions.ConnectTimeout as error:
        raise _NoConnection(f"{host} does not answer within {TIMEOUT[0]:.0f} s") from error
    except (requests.exceptions.ReadTimeout, urllib3.ReadTimeoutError) as error:
        raise _Interrupted(f"nothing came for {TIMEOUT[1]:.0f} s") from error
    except (requests.exceptions.ChunkedEncodingError, urllib3.ProtocolError) as error:
        raise _Interrupted("the connection was cut") from error
    except requests.exceptions.ConnectionError as error:
        if error.args and isinstance(error.args[0], urllib3.MaxRetryError):
            raise _NoConnection(f"no connection to {host}") from error
        raise _Interrupted("the connection was cut") from error
    except requests.RequestException as error:
        raise DownloadError(f"{shown(url)}: {one_line(error)}") from error
    except OSError as error:  # below requests' own errors, which are OSErrors too
        raise StorageError(f"{partial}: cannot be written ({error.strerror}): {_FREE}") from error


def discard(partial: Path) -> None:
    """Remove what `transfer` left behind."""
    partial.unlink(missing_ok=True)
    _record(partial).unlink(missing_ok=True)


def check_redirect(origin: str, page: str, location: str) -> None:
    """Raise `UnsafeFileError` where a redirect leaves HTTP or gives up what protection the first URL had.

    `page` is the URL that answered, which `location` may be relative to.

    >>> check_redirect("https://tlx.example/a", "https://tlx.example/a", "https://elsewhere.example/b")
    >>> check_redirect("https://tlx.example/a", "https://tlx.example/a", "file:///etc/passwd")
    Traceback (most recent call last):
    tlx.errors.UnsafeFileError: https://tlx.example/a: redirected to file:///etc/passwd, which is refused: ...
    """
    try:
        start, end = urlsplit(origin), urlsplit(urljoin(page, location))
    except ValueError as error:
        raise DownloadError(f"{origin}: redirected to {location!r}, which is no address") from error
    within = end.hostname in LOOPBACK or start.hostname not in LOOPBACK
    if end.scheme == "https" or (end.scheme == start.scheme == "http" and within):
        return
    raise UnsafeFileError(f"{origin}: redirected to {end.geturl()}, which is refused: only https:// is safe")


class _Attempt:
    """One request, and what becomes of the answer to it."""

    def __init__(self, url: str, partial: Path, size: int | None, checked: bool, headers: Mapping[str, str]) -> None:
        self.url, self.partial, self.size, self.checked, self.headers = url, partial, size, checked, headers
        self.offset, self.validator, self.total = 0, "", size
        self.response: Any = None
        kept = partial.stat().st_size if partial.is_file() else 0
        record = _read_record(partial)
        if kept and (record["validator"] or checked):
            self.offset, self.validator, self.total = kept, record["validator"], size or record["total"]

    def run(self, progress: bool) -> None:
        """Append the body to `partial`; raise what `transfer` tells apart."""
        import requests

        if self.offset and self.offset == self.total:  # all of it had come, and nobody was left to check it
            return
        headers = {"Accept-Encoding": "identity"}
        if self.offset:
            headers["Range"] = f"bytes={self.offset}-"
        if self.validator:
            headers["If-Range"] = self.validator
        with open(self.partial, "ab") as file, requests.Session() as session:
            self.answered(self._ask(session, headers))
            with arriving(Path(urlsplit(self.url).path).name, self.offset, self.total, progress) as arrived:
                for part in self._body():
                    file.write(part)
                    arrived(len(part))
            os.fsync(file.fileno())
            length = file.tell()
        if self.total is not None and length != self.total:
            raise _Useless(f"{length} bytes came of {self.total}")

    def _ask(self, session: Any, headers: dict[str, str]) -> Any:
        """Follow redirects to the answer; a stranger gets no headers of ours.

        `requests` would follow them, too, but reads their bodies, however long.
        """
        import requests

        url = self.url
        for _ in range(MOST_REDIRECTS):
            own = self.headers if urlsplit(url).netloc == urlsplit(self.url).netloc else {}
            request = session.prepare_request(requests.Request("GET", url, headers={**own, **headers}))
            settings = session.merge_environment_settings(url, {}, True, None, None)
            send = functools.partial(session.get_adapter(url).send, request, timeout=TIMEOUT, **settings)
            self.response = response = _within(HEADERS, send, f"no whole answer came in {HEADERS:.0f} s")
            if not response.is_redirect:
                return response
            check_redirect(self.url, url, response.headers["Location"])
            url = urljoin(url, response.headers["Location"])
            response.close()
        raise DownloadError(f"{shown(self.url)}: more than {MOST_REDIRECTS} redirects")

    def _body(self) -> Iterator[bytes]:
        """Yield what comes, as it is sent; raise where it is more than there should be, or too slow."""
        came, since, before = self.offset, time.monotonic(), self.offset
        while part := self.response.raw.read1(CHUNK, decode_content=False):
            came += len(part)
            if came > (MOST if self.total is None else self.total):
                discard(self.partial)
                known = (
                    f"{MOST} bytes, and says not how many there are" if self.total is None else f"{self.total} bytes"
                )
                raise DownloadError(f"{shown(self.url)}: the server sends more than {known}")
            yield part
            elapsed = time.monotonic() - since
            if elapsed >= STALL:
                if came - before < LEAST_RATE * elapsed:
                    raise _Interrupted(f"only {came - before} bytes came in {elapsed:.0f} s")
                since, before = time.monotonic(), came

    def close(self) -> None:
        if self.response is not None:
            self.response.close()

    def answered(self, response: Any) -> None:
        """Make `partial` ready for the body, or raise."""
        status, headers = response.status_code, response.headers
        if status in TRANSIENT:
            raise _Interrupted(f"the server answered {status} {response.reason}")
        if status == 416 and self.offset:
            raise _Useless("the server has no bytes beyond those that came before")
        if status not in (200, 206) or (status == 206 and not self.offset):
            raise DownloadError(f"{shown(self.url)}: the server answered {status} {response.reason}")
        packed = headers.get("Content-Encoding", "identity").lower()
        if packed not in ("", "identity"):
            raise DownloadError(
                f"{shown(self.url)}: the server packed the file ({shown(packed)}), which was not asked for"
            )
        if "html" in headers.get("Content-Type", ""):
            raise DownloadError(f"{shown(self.url)}: the server sent a web page instead of the file")
        if status == 206:
            self._go_on(headers)
        else:
            self._begin(headers)
        missing = (self.total or 0) - self.offset
        if shutil.disk_usage(self.partial.parent).free < missing:
            raise StorageError(f"{self.partial}: {missing} bytes more do not fit: {_FREE}")

    def _go_on(self, headers: Any) -> None:
        found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", headers.get("Content-Range", "").strip())
        start, last, total = map(int, found.groups()) if found else (-1, -1, -1)
        if (start, last + 1) != (self.offset, total) or self.total not in (None, total):
            raise _Useless(f"asked for bytes {self.offset} on, the server sent {headers.get('Content-Range')!r}")
        if self.validator and _validator(headers) not in ("", self.validator):
            raise _Useless("the server has another file by now")
        self.total = total

    def _begin(self, headers: Any) -> None:
        """Take the whole file: nothing had come before, or the server ignores Range or has another file by now."""
        length = headers.get("Content-Length", "")
        announced = int(length) if length.isdecimal() else None
        if announced is None and not self.checked:
            raise DownloadError(
                f"{shown(self.url)}: the server does not say how long the file is, and no hash is known"
            )
        if None not in (announced, self.size) and announced != self.size:
            raise DownloadError(
                f"{shown(self.url)}: the server's file has {announced} bytes, {self.size} were published"
            )
        if announced is not None and announced > MOST:
            raise DownloadError(
                f"{shown(self.url)}: the server's file has {announced} bytes, more than any that tlx reads"
            )
        self.offset, self.total = 0, self.size or announced
        os.truncate(self.partial, 0)  # and what is open to append goes on from there
        write_json(_record(self.partial), {"url": self.url, "validator": _validator(headers), "total": self.total})


def _within(seconds: float, call: Callable[[], Any], trouble: str) -> Any:
    """Return what a call returns, or raise `_Interrupted` after some seconds.

    A time limit of `requests` begins anew with each byte, so headers that come one byte at a time would last for ever.
    The thread is left behind: no other can end its wait, and a daemon does not keep the process.
    """
    done: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            done.put((call(), None))
        except BaseException as error:
            done.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        result, error = done.get(timeout=seconds)
    except queue.Empty:
        raise _Interrupted(trouble) from None
    if error is not None:
        raise error
    return result


def _validator(headers: Any) -> str:
    """Return what tells one version of a file from the next: a strong ETag or a date, else nothing."""
    etag: str = headers.get("ETag", "")
    return etag if etag.startswith('"') else headers.get("Last-Modified", "")


def _record(partial: Path) -> Path:
    return partial.with_name(partial.name + ".json")


def _read_record(partial: Path) -> dict[str, Any]:
    try:
        record = json.loads(_record(partial).read_text(encoding="utf-8"))
        return {"validator": str(record["validator"]), "total": record["total"] and int(record["total"])}
    except (OSError, ValueError, TypeError, LookupError):
        return {"validator": "", "total": None}
