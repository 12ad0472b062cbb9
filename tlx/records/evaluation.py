"""`evaluation.npz`: what a run answered to its test examples, written, and read without trusting the file."""

import io
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tlx.errors import CheckpointError
from tlx.files import write_bytes
from tlx.files.archive import read_directory
from tlx.files.npz import read_header
from tlx.files.opening import FileKind, RegularFile
from tlx.records.fields import CURE, fault

EVALUATION = "evaluation.npz"
_ANSWERS = FileKind(CheckpointError, "a run's answers", CURE, max_unpacked=1 << 30)
_ARRAYS = {  # name in evaluation.npz -> the kinds of dtype that it may have
    "labels": "iu",
    "predicted": "iu",
    "confidence": "f",
    "loss": "f",
    "mistakes": "iu",
    "mistake_images": "u",
    "mistake_maps": "u",
    "mistake_names": "U",
    "map_rows": "iu",
    "map_points": "f",
}
_EMPTY = {  # what stands for arrays that not every run has
    "mistake_images": np.zeros((0, 0, 0), np.uint8),
    "mistake_maps": np.zeros((0, 0, 0), np.uint8),
    "mistake_names": np.zeros(0, np.str_),
    "map_rows": np.zeros(0, np.int64),
    "map_points": np.zeros((0, 2)),
}
_IMAGES, _MAP = {"mistake_images", "mistake_maps"}, {"map_rows", "map_points"}
# Runs of other inputs than images lack some, runs that were told to interpret nothing, and those of older versions.
_MAY_LACK: tuple[set[str], ...] = (set(), _IMAGES, _MAP, _IMAGES | _MAP, {"mistake_maps", "mistake_names", *_MAP})
_AXES = {"mistake_maps": 3, "map_points": 2}  # of `mistake_images` 3 or 4, of the others 1
_EXPECTED = {"iu": "integers", "f": "floats", "u": "uint8", "U": "texts", "fbiu": "numbers"}
_FURTHEST = 1e6  # of a point on the map; the points of a run lie within a few hundred


@dataclass(frozen=True)
class Evaluation:
    """Hold the answers to N test examples, the images of K of the mistakes, and a map of M of the examples.

    `labels` and `predicted` are (N,) int64, `confidence` and `loss` (N,) float, `mistakes` (K,) int64 (indices into the
    N), `mistake_images` (K, H, W) or (K, H, W, C) uint8 with C of 1, 3 or 4, `mistake_maps` their Grad-CAM (K, H, W)
    uint8 or empty, `mistake_names` K texts, which may be empty, or none; `map_rows` (M,) int64 (indices into the N) and
    `map_points` (M, 2) float. The last five are empty for runs that did not write them.
    """

    labels: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    loss: np.ndarray
    mistakes: np.ndarray
    mistake_images: np.ndarray
    mistake_maps: np.ndarray
    mistake_names: tuple[str, ...]
    map_rows: np.ndarray
    map_points: np.ndarray


_NONE = np.zeros(0, np.int64)
NOTHING = Evaluation(
    labels=_NONE,
    predicted=_NONE,
    confidence=np.zeros(0, np.float32),
    loss=np.zeros(0, np.float32),
    mistakes=_NONE,
    mistake_images=_EMPTY["mistake_images"],
    mistake_maps=_EMPTY["mistake_maps"],
    mistake_names=(),
    map_rows=_EMPTY["map_rows"],
    map_points=_EMPTY["map_points"],
)
"""No answers."""


def write_answers(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays by name into an `evaluation.npz`; `read_evaluation` and `read_outcome` say which there are.

    >>> import tempfile
    >>> row, one = np.array([0]), np.ones(1)
    >>> arrays = {"labels": row, "predicted": row + 1, "confidence": one, "loss": one, "mistakes": row}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_answers(Path(folder, EVALUATION), arrays | {"mistake_names": np.array(["a"])})
    ...     read_evaluation(Path(folder, EVALUATION), classes=2).mistake_names
    ('a',)
    """
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
    write_bytes(path, content.getvalue())


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
    arrays = read_arrays(path, _ARRAYS, _EMPTY, _MAY_LACK)
    images = arrays["mistake_images"]
    for name, array in arrays.items():
        axes = _AXES.get(name, 1)
        if array.ndim != axes and (name != "mistake_images" or not array.ndim):
            raise fault(path, f"{name!r} must have {'one axis' if axes == 1 else f'{axes} axes'}, found {array.shape}")
    examples = len(arrays["labels"])
    for name in ("predicted", "confidence", "loss"):
        if len(arrays[name]) != examples:
            raise fault(path, f"{name!r} has {len(arrays[name])} rows, 'labels' has {examples}")
    for name, end in (("labels", classes), ("predicted", classes), ("mistakes", examples), ("map_rows", examples)):
        wrong = np.flatnonzero((arrays[name] < 0) | (arrays[name] >= end))
        if wrong.size:
            raise fault(path, f"{name!r} row {wrong[0]} is {arrays[name][wrong[0]]}, outside 0..{end - 1}")
    if images is not _EMPTY["mistake_images"] and len(images) != len(arrays["mistakes"]):
        raise fault(path, f"'mistake_images' has {len(images)} images, 'mistakes' has {len(arrays['mistakes'])}")
    image = images.shape[1:]
    if len(images) and (len(image) not in (2, 3) or 0 in image or (len(image) == 3 and image[2] not in (1, 3, 4))):
        raise fault(path, f"'mistake_images' must be (K, H, W) or (K, H, W, 1, 3 or 4), found {images.shape}")
    maps, points = arrays["mistake_maps"], arrays["map_points"]
    if len(maps) and maps.shape != images.shape[:3]:
        raise fault(path, f"'mistake_maps' has shape {maps.shape}, 'mistake_images' {images.shape}")
    if (
        points.shape != (len(arrays["map_rows"]), 2) or not (np.abs(points.astype(np.float64)) <= _FURTHEST).all()
    ):  # NaN is not
        raise fault(path, f"'map_points' must be two finite numbers for each of 'map_rows', found {points.shape}")
    names = _texts(path, "mistake_names", arrays.pop("mistake_names"))
    if len(names) not in (0, len(arrays["mistakes"])):
        raise fault(path, f"'mistake_names' has {len(names)} rows, 'mistakes' has {len(arrays['mistakes'])}")
    checked = {name: array.astype(np.int64) if _ARRAYS[name] == "iu" else array for name, array in arrays.items()}
    return Evaluation(**checked, mistake_names=names)


def _texts(path: Path, name: str, array: np.ndarray) -> tuple[str, ...]:
    if (array.view(f"{array.dtype.str[0]}u4") > sys.maxunicode).any():  # which Python could not even print
        raise fault(path, f"{name!r} holds characters that do not exist")
    return tuple(array.tolist())


def read_arrays(
    path: Path,
    arrays: Mapping[str, str],
    empty: Mapping[str, np.ndarray],
    may_lack: Iterable[Collection[str]],
) -> dict[str, np.ndarray]:
    """Read the arrays of these names and kinds of dtype.

    Just one of the sets in `may_lack` may be missing, for which those of `empty` stand.
    """
    if not path.is_file():
        raise fault(path, "missing" if not path.exists() else "not a file")
    members = read_directory(RegularFile.at(path, _ANSWERS))
    absent = [name for name in arrays if f"{name}.npy" not in members]
    if set(absent) not in map(set, may_lack):
        raise fault(path, f"no array {', '.join(map(repr, absent))}")
    found = dict(empty)
    for name in arrays:
        if name not in absent:
            array, kinds = read_header(members[f"{name}.npy"], f"{path}: {name!r}"), arrays[name]
            dtype = array.dtype
            if dtype.kind not in kinds or not dtype.itemsize or (kinds == "u" and dtype.itemsize != 1):
                raise fault(path, f"{name!r} has dtype {dtype}, expected {_EXPECTED[kinds]}")
            found[name] = array.read()
    return found
