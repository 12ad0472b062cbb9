"""Write safetensors piece by piece, so that no more than one array is in memory."""

import hashlib
import json
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tlx.errors import StorageError

DTYPES = {
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "int16": "I16",
    "uint16": "U16",
    "float16": "F16",
    "bfloat16": "BF16",
    "int32": "I32",
    "uint32": "U32",
    "float32": "F32",
    "int64": "I64",
    "uint64": "U64",
    "float64": "F64",
}


@dataclass(frozen=True)
class Entry:
    """An array to come: its name, type (as NumPy or ml_dtypes calls it) and shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Its size in bytes."""
        import ml_dtypes

        item = ml_dtypes.bfloat16 if self.dtype == "bfloat16" else self.dtype
        return math.prod(self.shape) * np.dtype(item).itemsize


def write_safetensors(
    path: Path, entries: Sequence[Entry], pieces: Iterable[np.ndarray], metadata: Mapping[str, str]
) -> str:
    """Write arrays that come in contiguous pieces, in the order of `entries`; return the SHA-256 of the file.

    The file appears under `path` when it is complete. Raise `StorageError` where it cannot be written.

    >>> import tempfile
    >>> from safetensors.numpy import load_file
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "a.safetensors")
    ...     _ = write_safetensors(file, [Entry("w", "int8", (3,))], [np.int8([1, 2]), np.int8([3])], {})
    ...     load_file(file)
    {'w': array([1, 2, 3], dtype=int8)}
    """
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for entry in entries:
        begin, end = end, end + entry.size
        header[entry.name] = {"dtype": DTYPES[entry.dtype], "shape": entry.shape, "data_offsets": [begin, end]}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    beside = path.with_name(path.name + ".partial")
    try:
        with beside.open("wb") as file:
            for piece in (struct.pack("<Q", len(text)), text):
                file.write(piece)
                digest.update(piece)
            for array in pieces:
                data = array.reshape(-1).view(np.uint8).data
                file.write(data)
                digest.update(data)
            if file.tell() != 8 + len(text) + end:
                raise ValueError(f"{path}: {file.tell()} bytes written of {8 + len(text) + end}")
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise StorageError(
            f"{path}: cannot be written ({error.strerror}): free the disk or name another place"
        ) from error
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    return digest.hexdigest()
