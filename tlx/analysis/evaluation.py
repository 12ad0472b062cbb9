"""Read what a run answered to its test examples, without trusting the file that says so."""

import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlx.errors import CheckpointError, TlxError, UnsafeFileError

_CURE = "restore it from a copy, or run again"
_MOST = 1 << 30  # bytes that the arrays may unpack to
_ARRAYS = {  # name in evaluation.npz -> the kinds of dtype that it may have
    "labels": "iu",
    "predicted": "iu",
    "confidence": "f",
    "loss": "f",
    "mistakes": "iu",
    "mistake_images": "u",
}
_EXPECTED = {"iu": "integers", "f": "floats", "u": "uint8"}


@dataclass(frozen=True)
class Evaluation:
    """Hold the answers to N test examples, and the pictures of K of the mistakes.

    `labels` and `predicted` are (N,) int64, `confidence` and `loss` (N,) float, `mistakes` (K,) int64 (indices into the
    N), `mistake_images` (K, H, W) or (K, H, W, C) uint8 with C of 1, 3 or 4.
    """

    labels: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    loss: np.ndarray
    mistakes: np.ndarray
    mistake_images: np.ndarray


def read_evaluation(path: Path, classes: int) -> Evaluation:
    """Read and check an `evaluation.npz` of labels below `classes`.

    Nothing is unpickled, and nothing is allocated that the file's own size does not bear out. Raises `CheckpointError`
    for a file that is missing, cut short, altered or at odds with itself, and `UnsafeFileError` for arrays of Python
    objects or arrays that would unpack to more than 1 GiB.

    >>> read_evaluation(Path("no/such/evaluation.npz"), classes=10)
    Traceback (most recent call last):
        ...
    tlx.errors.CheckpointError: no/such/evaluation.npz: missing; restore it from a copy, or run again
    """
    arrays = _read_arrays(path)
    images = arrays["mistake_images"]
    for name, array in arrays.items():
        if array.ndim != 1 and (name != "mistake_images" or not array.ndim):
            raise _fault(path, f"{name!r} must have one axis, found shape {array.shape}")
    examples = len(arrays["labels"])
    for name in ("predicted", "confidence", "loss"):
        if len(arrays[name]) != examples:
            raise _fault(path, f"{name!r} has {len(arrays[name])} rows, 'labels' has {examples}")
    for name, end in (("labels", classes), ("predicted", classes), ("mistakes", examples)):
        wrong = np.flatnonzero((arrays[name] < 0) | (arrays[name] >= end))
        if wrong.size:
            raise _fault(path, f"{name!r} row {wrong[0]} is {arrays[name][wrong[0]]}, outside 0..{end - 1}")
    if len(images) != len(arrays["mistakes"]):
        raise _fault(path, f"'mistake_images' has {len(images)} pictures, 'mistakes' has {len(arrays['mistakes'])}")
    picture = images.shape[1:]
    if len(images) and (
        len(picture) not in (2, 3) or 0 in picture or (len(picture) == 3 and picture[2] not in (1, 3, 4))
    ):
        raise _fault(path, f"'mistake_images' must be (K, H, W) or (K, H, W, 1, 3 or 4), found {images.shape}")
    return Evaluation(**{n: a.astype(np.int64) if _ARRAYS[n] == "iu" else a for n, a in arrays.items()})


def _fault(path: Path, what: str) -> CheckpointError:
    return CheckpointError(f"{path}: {what}; {_CURE}")


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise _fault(path, "missing" if not path.exists() else "not a file")
    try:
        with zipfile.ZipFile(path) as archive:
            members = {member.filename: member for member in archive.infolist()}
            absent = [name for name in _ARRAYS if f"{name}.npy" not in members]
            if absent:
                raise _fault(path, f"no array {', '.join(map(repr, absent))}")
            wanted = {name: members[f"{name}.npy"] for name in _ARRAYS}
            total = sum(member.file_size for member in wanted.values())
            if total > _MOST:
                raise UnsafeFileError(f"{path}: would unpack to {total:,} bytes; {_CURE}")
            return {name: _read_array(path, archive, member, name) for name, member in wanted.items()}
    except TlxError:
        raise
    except Exception as error:  # zipfile, zlib and numpy's header parser raise whatever the bytes provoke
        reason = " ".join(str(error).split())
        raise _fault(path, f"not a whole NumPy archive ({type(error).__name__}: {reason})") from error


def _read_array(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> np.ndarray:
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        npy: Any = np.lib.format
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read_header(stream)
    if dtype.hasobject:
        raise UnsafeFileError(f"{path}: {name!r} holds Python objects, which are never unpickled; {_CURE}")
    if dtype.kind not in _ARRAYS[name] or (name == "mistake_images" and dtype.itemsize != 1):
        raise _fault(path, f"{name!r} has dtype {dtype}, expected {_EXPECTED[_ARRAYS[name]]}")
    if math.prod(shape) * dtype.itemsize > member.file_size:  # before numpy allocates what the header claims
        raise _fault(path, f"{name!r} claims shape {shape}, more than the file holds")
    with archive.open(member) as stream:
        array = np.lib.format.read_array(stream, allow_pickle=False)
        if stream.read(1):  # reading to the end is also what checks the CRC
            raise _fault(path, f"{name!r} has bytes after its end")
    return array
