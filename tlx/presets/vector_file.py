"""The file of published word vectors, in the cache: fetched, and unpacked where it is in an archive."""

import logging
import os
import shutil
from pathlib import Path

from tlx.errors import DownloadError, StorageError, TlxError, WeightsError
from tlx.files import home
from tlx.files.archive import Member, read_directory
from tlx.files.opening import RegularFile, shown
from tlx.files.write import sync, write_bytes
from tlx.presets.hub import LOCK_SECONDS, cached_path, fetch, file_hash, is_cached, kept_fault, own_hash
from tlx.presets.vector_catalogue import PublishedVectors, is_published_vectors, published_vectors
from tlx.progress import doing
from tlx.tree.paths import quote


def vector_file(name: str | os.PathLike[str]) -> Path:
    """Return the file of word vectors: that of a path, or of a published name, fetched where it is not in the cache.

    Raises:
        ConfigError: for a name of no published vectors.
        DownloadError, UnsafeFileError, StorageError: as `tlx.presets.hub.fetch`; for an archive that leads elsewhere,
            is damaged or lacks the file.
    """
    if not is_published_vectors(os.fspath(name)) or os.path.isfile(name):
        return home(name)
    return fetch_vectors(published_vectors(os.fspath(name)))


def unpacked_path(entry: PublishedVectors) -> Path:
    """Return where the vectors are in the cache, or may be put by hand; they need not be there."""
    path = cached_path(entry.location)
    return path.with_name(entry.member) if entry.member else path


def is_there(entry: PublishedVectors) -> bool:
    """Tell whether the vectors are in the cache, unpacked or not."""
    return unpacked_path(entry).is_file() or is_cached(entry.location)


def fetch_vectors(entry: PublishedVectors) -> Path:
    """Return the file of published word vectors, from the cache or from where it is published.

    Of an archive the one file is unpacked beside it, whole or not at all; the archive may then be deleted. An archive
    that turns out to be damaged is removed from the cache.
    """
    if not entry.member:
        return fetch(entry.location)
    path = unpacked_path(entry)
    if path.is_file():
        fault = kept_fault(path)
        if fault is None:
            return path
        logging.getLogger("tlx").warning("tlx: %s %s: unpacking it again", path, fault)
    archive = fetch(entry.location)
    try:
        _unpack(archive, entry.member, path)
    except WeightsError as error:
        archive.unlink(missing_ok=True)
        own_hash(archive).unlink(missing_ok=True)
        raise DownloadError(f"{error}: it was removed from the cache, run again") from error
    return path


def _unpack(archive: Path, name: str, path: Path) -> None:
    """Write a member of an archive to a path, its CRC checked, and keep its hash beside it."""
    import filelock

    member = _member(archive, name)
    partial = path.with_name(path.name + ".partial")
    try:
        with filelock.FileLock(f"{path}.lock", timeout=LOCK_SECONDS):
            if path.is_file() and kept_fault(path) is None:  # another process has done it by now
                return
            if shutil.disk_usage(path.parent).free < member.size:
                raise StorageError(
                    f"{path}: {member.size:,} bytes do not fit: free the disk, or name another folder by TLX_CACHE"
                )
            doing(f"unpacking {shown(name)}")
            with partial.open("wb") as file:
                for chunk in member.chunks():
                    file.write(chunk)
            sync(partial)
            write_bytes(own_hash(path), file_hash(partial, "sha256").encode())
            partial.replace(path)
    except filelock.Timeout as error:
        raise StorageError(f"{path}: another process has held {path}.lock for an hour: end it") from error
    except TlxError:
        partial.unlink(missing_ok=True)
        raise
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StorageError(
            f"{path}: cannot be written ({error.strerror}): free the disk, or name another folder by TLX_CACHE"
        ) from error


def _member(archive: Path, name: str) -> Member:
    members = read_directory(RegularFile.at(archive))
    if name not in members:
        raise WeightsError(f"{shown(archive)}: holds no {name}, but {quote(map(shown, members), 4)}")
    return members[name]
