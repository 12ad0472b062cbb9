"""Open a weight file of any format that is read, by what it holds and not by its name."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from tlx.convert.hdf5_guard import SIGNATURE
from tlx.convert.keras_file import read_keras_archive, read_keras_h5
from tlx.convert.npz_file import read_npz_weights
from tlx.convert.safetensors_file import read_safetensors, read_safetensors_index
from tlx.convert.source import Source
from tlx.convert.torch_file import LEGACY_MAGIC, read_torch_legacy, read_torch_zip
from tlx.convert.unpickle import unpickle
from tlx.convert.unread import unread_file, unread_members
from tlx.errors import WeightsError
from tlx.files import home
from tlx.files.archive import read_directory
from tlx.files.opening import RegularFile, shown
from tlx.files.true_type import true_type
from tlx.tree.paths import quote

FORMATS = "Keras (.h5, .weights.h5, .keras), PyTorch, safetensors or .npz"

SUFFIXES = (".safetensors", ".h5", ".hdf5", ".keras", ".pth", ".pt", ".th", ".bin", ".ckpt", ".npz", ".tar")
"""How the names of files that are read usually end."""

_UNPACK = ("a gzip file", "a bzip2 file", "an xz file", "a zstandard file", "a 7-Zip file", "a tar file")
_HINTS = {
    **dict.fromkeys(_UNPACK, "unpack it first"),
    "a .npy file": "put its array into an .npz file under its name",
    "an HTML page": "a failed download?",
}
_TABLE_END = bytes.fromhex("57fb808b247547db")  # the magic at the end of TensorFlow's and LevelDB's tables
_DATA_SHARD = re.compile(r"(?P<prefix>.*)\.data-\d{5}-of-(?P<count>\d{5})")


def open_weights(path: str | os.PathLike[str]) -> Source:
    """Open a weight file, an index of shards or a folder with one of them; list its tensors, read none.

    Nothing in the file is run, no other file is opened than the shards beside an index, and nothing is allocated on
    the word of a header. Raises `UnsafeFileError` for what would run code, reach outside the file or claim more than it
    holds; `WeightsError` for a file that is missing, damaged or not of weights, saying what it is.

    >>> import numpy as np, tempfile
    >>> with tempfile.NamedTemporaryFile(suffix=".npz") as file:
    ...     np.savez(file.name, kernel=np.ones((2, 3)))
    ...     source = open_weights(file.name)
    ...     source.format, source.tensors["kernel"].shape, source.tensors["kernel"].read().sum()
    ('npz', (2, 3), np.float64(6.0))
    """
    path = _in_folder(home(path))
    _refuse_tensorflow(path)
    file = RegularFile.at(path)
    head = file.read(0, min(512, file.size)).tobytes()
    if head.startswith(SIGNATURE):
        return read_keras_h5(file)
    if head.startswith(b"PK\3\4"):
        return _open_zip(file)
    if head.startswith(LEGACY_MAGIC):
        return read_torch_legacy(file)
    if head.lstrip().startswith(b"{") and b"\0" not in head[:8]:  # a header of 123 bytes begins with a brace, too
        if unread_file("", head):
            raise _not_weights(file, head)
        return read_safetensors_index(file)
    if head[8:9] == b"{":
        return read_safetensors(file)
    raise _not_weights(file, head)


def _open_zip(file: RegularFile) -> Source:
    members = read_directory(file)
    unread = unread_members(members)
    if unread:
        raise WeightsError(f"{shown(file.path)}: {unread}")
    pickles = [name for name in members if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) == 1:
        return read_torch_zip(file, members, pickles[0])
    if "model.weights.h5" in members:
        return read_keras_archive(file, members)
    if members and all(name.endswith(".npy") for name in members):
        return read_npz_weights(file, members)
    raise WeightsError(f"{shown(file.path)}: a zip file, but not one of weights; expected {FORMATS}")


def _not_weights(file: RegularFile, head: bytes) -> WeightsError:
    """Say what a file is; a pickle is read first, so that one that would run code is refused as such."""
    where = shown(file.path)
    kind = true_type(head)
    if head.startswith(b"\x80") or re.match(rb"\(?[ci]\w[\w.]*\n\w[\w.]*\n", head):
        with file.open() as stream:
            unpickle(stream, file.size, where)
        kind = "a pickle"
    unread = unread_file(file.path.name, head)
    if unread:
        return WeightsError(f"{where}: {unread}")
    if file.path.suffix in (".tar", ".pth", ".pt") and kind == "a tar file":
        kind = "a tar file, as torch.save wrote before 0.1.10 (load and save it with a later PyTorch)"
    if file.size >= 48 and file.read(file.size - 8, 8).tobytes() == _TABLE_END:
        kind = "a LevelDB table, perhaps the index of a TensorFlow checkpoint (save the model as .h5 or .keras)"
    suffix = file.path.suffix.lower()
    renamed = suffix in (".h5", ".hdf5", ".keras", ".pt", ".pth", ".th", ".bin", ".safetensors", ".npz")
    hint = f" ({_HINTS[kind]})" if kind in _HINTS else ""
    said = f", whatever {suffix} says" if renamed and kind else ""
    return WeightsError(f"{where}: {kind}{hint}{said}; expected {FORMATS}")


def _in_folder(path: Path) -> Path:
    """Find the one safetensors index or file of a folder, as model hubs lay them out."""
    try:
        if not path.is_dir():
            return path
        names = sorted(os.listdir(path))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{shown(path)}: cannot be listed; check the path and its permissions") from error
    for ending in (".safetensors.index.json", ".safetensors", "pytorch_model.bin"):
        found = [name for name in names if name.endswith(ending)]
        usual = [name for name in found if name == f"model{ending}"] or found
        if len(usual) == 1:
            return path / usual[0]
        if found:
            break
    files = [name for name in names if name.lower().endswith(SUFFIXES)]
    unread = unread_members(names, path.suffix) or unread_members(_deeper(path, names))
    if unread:
        beside = f"; or name the weight file in it: {quote(map(shown, files), 6)}" if files else ""
        raise WeightsError(f"{shown(path)}: {unread}{beside}")
    there = f": {quote(map(shown, files), 6)}" if files else f", there is none that tlx reads: {FORMATS}"
    raise WeightsError(f"{shown(path)}: a folder; name the weight file in it{there}")


def _deeper(path: Path, names: Sequence[str]) -> list[str]:
    """List what is in the folders of a folder, as 'folder/name'."""
    found: list[str] = []
    for name in names[:1000]:
        try:
            found += [f"{name}/{below}" for below in os.listdir(path / name)] if (path / name).is_dir() else []
        except OSError:
            continue
    return found


def _refuse_tensorflow(path: Path) -> None:
    """Refuse a TensorFlow checkpoint, named by its index, a data shard or their prefix, and say which shards lack."""
    shard = _DATA_SHARD.fullmatch(path.name)
    prefix = path.with_name(shard["prefix"]) if shard else path.with_suffix("") if path.suffix == ".index" else path
    index = prefix.with_name(prefix.name + ".index")
    try:
        if not prefix.name or (path == prefix and path.exists()) or not index.is_file():
            return
        counts = [
            (int(found["count"]), name)
            for name in os.listdir(prefix.parent)
            if (found := _DATA_SHARD.fullmatch(name)) and found["prefix"] == prefix.name
        ]
        count = counts[0][0] if counts else 1
        for number in range(count):
            data = prefix.with_name(f"{prefix.name}.data-{number:05d}-of-{count:05d}")
            if not data.is_file():
                raise WeightsError(f"{shown(path)}: the TensorFlow checkpoint lacks {shown(data)}; fetch it")
    except (OSError, ValueError) as error:
        if isinstance(error, WeightsError):
            raise
        return
    raise WeightsError(f"{shown(path)}: {unread_file('checkpoint', b'')}")
