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
from tlx.convert.tf_checkpoint import find_index, read_tf_checkpoint
from tlx.convert.tf_table import is_table
from tlx.convert.torch_file import LEGACY_MAGIC, read_torch_legacy, read_torch_zip
from tlx.convert.unpickle import unpickle
from tlx.convert.unread import unread_file, unread_members
from tlx.errors import WeightsError
from tlx.files import home
from tlx.files.archive import read_directory
from tlx.files.opening import RegularFile, shown
from tlx.files.true_type import true_type
from tlx.tree.paths import quote

FORMATS = "Keras (.h5, .weights.h5, .keras), PyTorch, safetensors, TensorFlow (.index, SavedModel) or .npz"

SUFFIXES = (".safetensors", ".h5", ".hdf5", ".keras", ".pth", ".pt", ".th", ".bin", ".ckpt", ".npz", ".tar", ".index")
"""How the names of files that are read usually end."""

_IN_FOLDERS = (".safetensors.index.json", ".safetensors", "pytorch_model.bin", "variables/variables.index")
_UNPACK = ("a gzip file", "a bzip2 file", "an xz file", "a zstandard file", "a 7-Zip file", "a tar file")
_HINTS = {
    **dict.fromkeys(_UNPACK, "unpack it first"),
    "a .npy file": "put its array into an .npz file under its name",
    "an HTML page": "a failed download?",
}


def open_weights(path: str | os.PathLike[str]) -> Source:
    """Open a weight file, an index of shards or a folder with one of them; list its tensors, read none.

    A TensorFlow checkpoint is named by its index, one of its data shards, their prefix (`bert_model.ckpt`) or its
    folder, a SavedModel by its folder.

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
    path = find_index(_in_folder(home(path)))
    file = RegularFile.at(path)
    if path.suffix == ".index" and is_table(file):
        return read_tf_checkpoint(file)
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
    if is_table(file):
        kind = "a LevelDB table, perhaps the index of a TensorFlow checkpoint (name it NAME.index, beside its shards)"
    suffix = file.path.suffix.lower()
    renamed = suffix in (".h5", ".hdf5", ".keras", ".pt", ".pth", ".th", ".bin", ".safetensors", ".npz", ".index")
    hint = f" ({_HINTS[kind]})" if kind in _HINTS else ""
    said = f", whatever {suffix} says" if renamed and kind else ""
    return WeightsError(f"{where}: {kind}{hint}{said}; expected {FORMATS}")


def _in_folder(path: Path) -> Path:
    """Find the one file of weights in a folder, as model hubs and TensorFlow lay them out."""
    try:
        if not path.is_dir():
            return path
        names = sorted(os.listdir(path))
        variables = path / "variables" / "variables.index"  # of a SavedModel, or a module of TensorFlow Hub
        names += ["variables/variables.index"] if variables.is_file() else []
    except (OSError, ValueError) as error:
        raise WeightsError(f"{shown(path)}: cannot be listed; check the path and its permissions") from error
    for ending in _IN_FOLDERS:
        found = [name for name in names if name.endswith(ending)]
        usual = [name for name in found if name == f"model{ending}"] or found
        if len(usual) == 1:
            return path / usual[0]
        if found:
            break
    files = [name for name in names if name.lower().endswith(SUFFIXES)]
    if len(files) == 1 and files[0].endswith(".index"):  # beside its shards and TensorFlow's file `checkpoint`
        return path / files[0]
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
