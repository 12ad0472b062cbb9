"""Published files: where they are, and a cache of those that were fetched."""

import hashlib
import logging
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tlx.errors import ConfigError, DownloadError, StorageError, TlxError, UnsafeFileError
from tlx.files import cache_dir, write_bytes
from tlx.files.opening import one_line
from tlx.presets.download import LOOPBACK, TIMEOUT, discard, transfer

LOCK_SECONDS = 3600.0  # for another process to fetch the same file
MAGIC = {
    ".h5": (b"\x89HDF",),
    ".pth": (b"PK\x03\x04", b"\x80"),  # zip, pickle
    ".th": (b"PK\x03\x04", b"\x80"),
    ".zip": (b"PK\x03\x04",),
    ".gz": (b"\x1f\x8b",),
}
_ABSENT = "is not there"
_FORBIDDEN = "TLX_OFFLINE or HF_HUB_OFFLINE forbids to fetch it"
PAGES = (b"<!doctype", b"<html", b"<head", b"<?xml")


@dataclass(frozen=True)
class Url:
    """A file at an address, with what was published of its content: hashes in lower-case hexadecimal, and its length.

    `sha256_prefix` is the beginning of a SHA-256, as PyTorch's file names hold it. Raises `ConfigError` for a malformed
    hash or address and `UnsafeFileError` for an address that is neither https:// nor http:// with a whole hash (or a
    server of this computer).

    >>> Url("https://download.pytorch.org/models/resnet50-0676ba61.pth", sha256_prefix="0676ba61").sha256_prefix
    '0676ba61'
    """

    url: str
    sha256: str | None = None
    md5: str | None = None
    sha256_prefix: str | None = None
    size: int | None = None

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            host = parts.hostname
        except ValueError as error:
            raise ConfigError(f"url: {self.url!r} is no address ({error})") from error
        for name, digits in (("sha256", "{64}"), ("md5", "{32}"), ("sha256_prefix", "{6,64}")):
            value = getattr(self, name)
            if value is not None and not re.fullmatch(f"[0-9a-f]{digits}", value):
                raise ConfigError(f"{name}: {value!r} is no such hash in lower-case hexadecimal")
        if self.size is not None and (not isinstance(self.size, int) or self.size < 1):
            raise ConfigError(f"size: {self.size!r} is not a number of bytes")
        if parts.scheme not in ("http", "https"):
            raise UnsafeFileError(f"{self.url}: not an address of the web: give one that begins with https://")
        if not host or parts.username is not None:
            raise ConfigError(f"url: {self.url!r} names no host, or a user with it")
        if parts.scheme == "http" and host not in LOOPBACK and not (self.sha256 or self.md5):
            raise UnsafeFileError(f"{self.url}: could be changed on its way: give https:// or a hash of the whole file")

    def is_of(self, sha256: str, md5: str) -> bool:
        """Tell whether a file with these hashes is the published one, as far as a hash was published."""
        if self.sha256 or self.sha256_prefix:
            return sha256.startswith(self.sha256 or self.sha256_prefix or "")
        return md5 == self.md5

    @property
    def checked(self) -> bool:
        """Whether a hash of the content was published."""
        return bool(self.sha256 or self.md5 or self.sha256_prefix)


@dataclass(frozen=True)
class HubFile:
    """A file in a repository of the Hugging Face hub; `revision` is a branch, a tag or a commit.

    Raises `ConfigError` for names that could not be ones.

    >>> HubFile("timm/resnet18.a1_in1k", "model.safetensors").revision
    'main'
    """

    repo: str
    filename: str
    revision: str = "main"

    def __post_init__(self) -> None:
        name = r"(?!\.\.?(?:/|$))[\w.-]+"
        for field, pattern in (
            ("repo", f"{name}/{name}"),
            ("filename", f"{name}(/{name})*"),
            ("revision", f"{name}(/{name})*"),
        ):
            if not re.fullmatch(pattern, getattr(self, field), re.ASCII):
                raise ConfigError(f"{field}: {getattr(self, field)!r} is no {field} of the hub")


Location = Url | HubFile


class AbsentError(DownloadError):
    """Stop because a repository has no such file, or there is no such repository."""


def cached_path(location: Location) -> Path:
    """Return where a file is in the cache, or may be put by hand where there is no network; it need not be there.

    >>> cached_path(HubFile("timm/resnet18.a1_in1k", "model.safetensors")).parts[-3:]
    ('timm', 'resnet18.a1_in1k', 'model.safetensors')
    """
    if isinstance(location, HubFile):
        folder = cache_dir() / "hub" / location.repo
        return (folder if location.revision == "main" else folder / location.revision) / location.filename
    name = re.sub(r"[^\w.-]", "_", urlsplit(location.url).path.rpartition("/")[2])[-200:]
    return cache_dir() / "urls" / hashlib.sha256(location.url.encode()).hexdigest()[:12] / (name.strip(".") or "file")


def fetch(location: Location, *, progress: bool = True) -> Path:
    """Return the path of a published file, from the cache or else from where it is published.

    What is fetched has its final name only when it is whole and its hash right; what came before an interruption is
    gone on from; no more is written than was published, and what comes too slowly is given up (`transfer`); two
    processes that want the same file fetch it once. A cached file that is no longer what was fetched is reported
    (logger "tlx") and fetched again. Standard error shows a bar where it is a terminal, unless `progress` is False;
    elsewhere what has come is reported as progress. With `TLX_OFFLINE=1` or `HF_HUB_OFFLINE=1` nothing but the cache is
    used. For files of the Hugging Face hub `HF_ENDPOINT` and `HF_TOKEN` count.

    Raise `DownloadError` for what cannot be fetched or is not what was published, naming the path where it may be put
    by hand, `UnsafeFileError` for a redirect that leaves https://, and `StorageError` where the disk is full or the
    cache cannot be read or written.

    >>> import tempfile, unittest.mock
    >>> published = Url("https://tlx.example/a.bin", sha256=hashlib.sha256(b"content").hexdigest())
    >>> with tempfile.TemporaryDirectory() as folder, unittest.mock.patch.dict(os.environ, TLX_CACHE=folder):
    ...     cached_path(published).parent.mkdir(parents=True)
    ...     _ = cached_path(published).write_bytes(b"content")  # by hand, as where there is no network
    ...     fetch(published).read_bytes()
    b'content'
    """
    path = cached_path(location)
    try:
        if isinstance(location, HubFile):
            return _fetch_from_hub(location, path, progress)
        return _fetch_url(location, path, progress)
    except DownloadError as error:
        cure = f"fetch it elsewhere and name it (--weights FILE, tlx.load(name, FILE)), or put it at {path}"
        raise type(error)(f"{error}: {cure}") from error
    except OSError as error:
        where, why = error.filename or path, error.strerror or error
        raise StorageError(f"{where}: {why}: free the disk, or name another folder by TLX_CACHE") from error


def fetch_folder(repo: str, names: Sequence[tuple[str, ...]], optional: Sequence[str], revision: str = "main") -> Path:
    """Return a folder of the cache with files of a repository of the Hugging Face hub, as they lie there.

    Args:
        repo: the repository.
        names: groups of names, of each of which the first that is there is fetched.
        optional: names that the repository may lack.
        revision: a branch, a tag or a commit.

    Raises:
        DownloadError, UnsafeFileError, StorageError: as `fetch`, for what must be there.
    """
    folder = cached_path(HubFile(repo, "config.json", revision)).parent
    for group in names:
        for place, name in enumerate(group):
            try:
                _into(folder, HubFile(repo, name, revision))
                break
            except AbsentError:
                if place == len(group) - 1:
                    raise
            except DownloadError:
                if place == len(group) - 1 or not is_offline():
                    raise
    for name in optional:
        try:
            _into(folder, HubFile(repo, name, revision))
        except AbsentError:
            continue
        except DownloadError:
            if not is_offline():
                raise
    return folder


def _into(folder: Path, file: HubFile) -> None:
    """Fetch a file, and copy it into a folder where it came from the hub's own cache."""
    found, wanted = fetch(file), folder / file.filename
    if found != wanted:
        wanted.parent.mkdir(parents=True, exist_ok=True)
        partial = wanted.with_name(wanted.name + ".partial")
        shutil.copyfile(found, partial)
        partial.replace(wanted)


def is_cached(location: Location) -> bool:
    """Tell whether a file is in the cache, or in the hub's own; it may have changed since."""
    shared = _shared(location) if isinstance(location, HubFile) else None
    return cached_path(location).is_file() or (shared is not None and shared.is_file())


def is_offline() -> bool:
    """Say whether the environment forbids the network: `TLX_OFFLINE` or `HF_HUB_OFFLINE` is 1, true, yes or on."""
    values = (os.environ.get(name, "") for name in ("TLX_OFFLINE", "HF_HUB_OFFLINE"))
    return any(value.lower() in ("1", "true", "yes", "on") for value in values)


def _fetch_url(location: Url, path: Path, progress: bool, headers: Mapping[str, str] | None = None) -> Path:
    import filelock

    fault = _cached_fault(location, path)
    if fault is None:
        return path
    if is_offline():
        where = "it is not in the cache" if fault == _ABSENT else f"{path} {fault}"
        raise DownloadError(f"{location.url}: {_FORBIDDEN}, and {where}")
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{path}.lock", timeout=LOCK_SECONDS):
            fault = _cached_fault(location, path)  # another process may have fetched it by now
            if fault is None:
                return path
            if path.exists():
                logging.getLogger("tlx").warning("tlx: %s %s: fetching it again", path, fault)
            _complete(location, partial, progress, headers)
            if not location.checked or headers is not None:  # of a file of the hub nothing is known without asking it
                write_bytes(own_hash(path), file_hash(partial, "sha256").encode())
            partial.replace(path)
            discard(partial)
    except filelock.Timeout as error:
        raise DownloadError(f"{location.url}: another process has held {path}.lock for an hour: end it") from error
    return path


def _complete(location: Url, partial: Path, progress: bool, headers: Mapping[str, str] | None) -> None:
    """Transfer what was published to `partial`; once more where an earlier attempt's beginning did not belong to it."""
    for _ in range(2):
        known: dict[str, Any] = {"size": location.size, "checked": location.checked}
        resumed = transfer(location.url, partial, **known, progress=progress, headers=headers)
        fault = _fault(location, partial, Path(partial.stem).suffix)
        if fault is None:
            return
        discard(partial)
        if not resumed:
            break
    raise DownloadError(f"{location.url}: what came {fault}")


def _fetch_from_hub(file: HubFile, path: Path, progress: bool) -> Path:
    """Return a file of the hub from tlx's cache, from the hub's own, or from the hub, which says what it must be."""
    import huggingface_hub

    endpoint = os.environ.get("HF_ENDPOINT") or None  # now, not when huggingface_hub was imported
    url = huggingface_hub.hf_hub_url(file.repo, file.filename, revision=file.revision, endpoint=endpoint)
    faults = []
    for place, fault_of in ((path, kept_fault), (_shared(file), _blob_fault)):
        if place is not None and place.is_file():
            fault = fault_of(place)
            if fault is None:
                return place
            faults.append(f"{place} {fault}")
    if is_offline():
        raise DownloadError(f"{url}: {_FORBIDDEN}, and {' and '.join(faults) or 'it is not in the cache'}")
    for each in faults:
        logging.getLogger("tlx").warning("tlx: %s: fetching it again", each)
    try:
        said = huggingface_hub.get_hf_file_metadata(url, timeout=TIMEOUT[0], endpoint=endpoint)
    except Exception as error:  # of httpx, of httpx2 or its own, by the version
        raise _hub_error(error, url) from error
    sha256 = said.etag if re.fullmatch("[0-9a-f]{64}", said.etag or "") else None
    location = Url(url, sha256=sha256, size=said.size or None)
    with_token = huggingface_hub.utils.build_hf_headers(library_name="tlx")
    if path.exists():
        path.unlink()
    return _fetch_url(location, path, progress, with_token)


def _shared(file: HubFile) -> Path | None:
    """Return where the hub's own cache has a file, which other libraries fill, too."""
    import huggingface_hub

    own = cache_dir() / "huggingface" if os.environ.get("TLX_CACHE") else None
    found = huggingface_hub.try_to_load_from_cache(file.repo, file.filename, cache_dir=own, revision=file.revision)
    return Path(found) if isinstance(found, str) else None


def kept_fault(path: Path) -> str | None:
    """Say what is wrong with a file in tlx's cache of which nothing was published: fetched, or put there by hand."""
    own = own_hash(path)
    if own.is_file() and own.read_text() != file_hash(path, "sha256"):
        return "is no longer what was fetched"
    return _kind_fault(path, path.suffix)


def _hub_error(error: Exception, url: str) -> TlxError:
    """Turn what `huggingface_hub` raised into what `fetch` promises."""
    reason = error.__cause__ or error  # "an error happened" is from the one that says which
    kind = type(reason).__name__
    if kind == "UnsupportedProtocol":
        return UnsafeFileError(f"{url}: redirected to where only https:// is safe ({one_line(reason)})")
    response = getattr(reason, "response", None)
    if response is not None:
        kind_of_error = AbsentError if response.status_code == 404 else DownloadError
        return kind_of_error(f"{url}: the hub answered {response.status_code}")
    if kind in ("ConnectError", "ConnectTimeout"):
        return DownloadError(f"{url}: no connection to {urlsplit(url).netloc}")
    return DownloadError(f"{url}: {one_line(reason)}")


def _blob_fault(path: Path) -> str | None:
    """Say what is wrong with a file in the hub's cache, where large ones are links to what their SHA-256 names."""
    name = Path(os.readlink(path)).name if path.is_symlink() else ""
    if re.fullmatch("[0-9a-f]{64}", name) and file_hash(path, "sha256") != name:
        return f"has not the SHA-256 {name[:12]}… that the hub gave it"
    return _kind_fault(path, path.suffix)


def _cached_fault(location: Url, path: Path) -> str | None:
    """Say what is wrong with a cached file: by what was published, or else by what came when it was fetched."""
    if not path.is_file():
        return _ABSENT
    return _fault(location, path, path.suffix) or (None if location.checked else kept_fault(path))


def _fault(location: Url, path: Path, suffix: str) -> str | None:
    """Say what is wrong with a file by what was published of it; None where nothing is."""
    length = path.stat().st_size
    if location.size not in (None, length):
        return f"has {length} bytes, {location.size} were published"
    for name, kind in (("sha256", "sha256"), ("sha256_prefix", "sha256"), ("md5", "md5")):
        published = getattr(location, name)
        found = file_hash(path, kind) if published else ""
        if published and not found.startswith(published):
            return _kind_fault(path, suffix) or f"has the {kind.upper()} {found[:12]}…, {published[:12]}… was published"
    return None if location.checked else _kind_fault(path, suffix)


def _kind_fault(path: Path, suffix: str) -> str | None:
    """Say where a file is a web page, or does not begin as its kind does."""
    with open(path, "rb") as file:
        head = file.read(64)
    if head.lstrip().lower().startswith(PAGES):
        return "is a web page"
    good = head[8:9] == b"{" if suffix == ".safetensors" else head.startswith(MAGIC.get(suffix, b""))
    return None if good else f"is no {suffix} file"


def own_hash(path: Path) -> Path:
    """Return where the SHA-256 of a file is kept that was right when it came."""
    return path.with_name(path.name + ".sha256")


def file_hash(path: Path, kind: str) -> str:
    """Return the hash of a file, 'sha256' or 'md5', in hexadecimal."""
    import pooch

    digest: str = pooch.file_hash(path, alg=kind)
    return digest
