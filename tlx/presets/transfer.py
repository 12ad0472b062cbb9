"""Bring the bytes of a URL into a file that an interruption leaves behind for the next attempt."""

import json
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from tlx.errors import DownloadError, StorageError, UnsafeFileError
from tlx.files import write_json

ATTEMPTS = 4
WAIT = 1.0  # seconds before the second attempt, and twice as long before each further one
TIMEOUT = (10.0, 30.0)  # seconds to connect, and between two packets
CHUNK = 1 << 16  # bytes at once, and at most lost with a cut
LOOPBACK = ("127.0.0.1", "::1", "localhost")
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
_FREE = "free the disk, or name another folder by TLX_CACHE"


class _Interrupted(Exception):
    """Say why an attempt came to nothing that was worth another one."""


class _Useless(_Interrupted):
    """Say why the bytes that were kept cannot be gone on from."""


def transfer(url: str, partial: Path, *, size: int | None, checked: bool, progress: bool) -> bool:
    """Complete `partial` with the bytes of a URL; return whether it began with bytes of an earlier attempt.

    An attempt goes on where the last one, of this process or another, was cut: by HTTP's Range, on condition (If-Range)
    that the server has the same file still. A server that gives no ETag or date to tell by is trusted to where the
    caller checks a hash afterwards (`checked`); else the transfer begins anew, as it does for a server that ignores
    Range or answers with another one. `size` is the length in bytes, where it is known beforehand.

    Raise `DownloadError` for an answer that is not the file, or after `ATTEMPTS`; `UnsafeFileError` for a redirect that
    leaves HTTP or its encryption; `StorageError` where the disk is full or cannot be written. `partial` is kept.
    """
    import requests

    trouble = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(WAIT * 2 ** (attempt - 1))
        one = _Attempt(url, partial, size, checked)
        try:
            one.run(progress)
            return one.offset > 0
        except _Useless as error:
            trouble = str(error)
            discard(partial)
        except (
            _Interrupted,
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
        ) as error:
            trouble = _one_line(error)
        except requests.RequestException as error:
            raise DownloadError(f"{url}: {_one_line(error)}") from error
        except OSError as error:  # below requests' own errors, which are OSErrors too
            raise StorageError(f"{partial}: cannot be written ({error.strerror}): {_FREE}") from error
        finally:
            one.close()
    raise DownloadError(f"{url}: no success in {ATTEMPTS} attempts ({trouble})")


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
    """One request, and what `requests` calls with every answer to it before a byte of the body is read."""

    def __init__(self, url: str, partial: Path, size: int | None, checked: bool) -> None:
        self.url, self.partial, self.size, self.checked = url, partial, size, checked
        self.offset, self.validator, self.total = 0, "", size
        self.response: Any = None
        kept = partial.stat().st_size if partial.is_file() else 0
        record = _read_record(partial)
        if kept and (record["validator"] or checked):
            self.offset, self.validator, self.total = kept, record["validator"], size or record["total"]

    def run(self, progress: bool) -> None:
        """Append the body to `partial`; raise what `transfer` tells apart."""
        import pooch

        if self.offset and self.offset == self.total:  # all of it had come, and nobody was left to check it
            return
        headers = {"Accept-Encoding": "identity"}
        if self.offset:
            headers["Range"] = f"bytes={self.offset}-"
        if self.validator:
            headers["If-Range"] = self.validator
        get = pooch.HTTPDownloader(
            progressbar=progress, chunk_size=CHUNK, timeout=TIMEOUT, headers=headers, hooks={"response": self.answered}
        )
        with open(self.partial, "ab") as file:
            get(self.url, file, None)
            os.fsync(file.fileno())
            length = file.tell()
        if self.total is not None and length != self.total:
            raise _Useless(f"{length} bytes came of {self.total}")

    def close(self) -> None:
        if self.response is not None:
            self.response.close()

    def answered(self, response: Any, *_: Any, **__: Any) -> None:
        """Make `partial` ready for the body, or raise."""
        self.response = response
        status, headers = response.status_code, response.headers
        if response.is_redirect:
            check_redirect(self.url, response.url, headers["Location"])
            return
        if status in TRANSIENT:
            raise _Interrupted(f"the server answered {status} {response.reason}")
        if status == 416 and self.offset:
            raise _Useless("the server has no bytes beyond those that came before")
        if status not in (200, 206) or (status == 206 and not self.offset):
            raise DownloadError(f"{self.url}: the server answered {status} {response.reason}")
        if "html" in headers.get("Content-Type", ""):
            raise DownloadError(f"{self.url}: the server sent a web page instead of the file")
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
            raise DownloadError(f"{self.url}: the server does not say how long the file is, and no hash is known")
        if None not in (announced, self.size) and announced != self.size:
            raise DownloadError(f"{self.url}: the server's file has {announced} bytes, {self.size} were published")
        self.offset, self.total = 0, self.size or announced
        os.truncate(self.partial, 0)  # and what is open to append goes on from there
        write_json(_record(self.partial), {"url": self.url, "validator": _validator(headers), "total": self.total})


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


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
