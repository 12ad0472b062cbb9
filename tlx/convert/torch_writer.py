"""Write PyTorch's zip format without PyTorch: a pickle that describes tensors, and their bytes beside it."""

import math
import struct
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from tlx.convert.source import Tensor
from tlx.errors import StorageError

STORAGES = {
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}


def write_torch(path: Path, tensors: Sequence[Tensor]) -> None:
    """Write tensors as `torch.save` writes a state dict; one at a time is in memory.

    The zip holds `data.pkl`, `byteorder`, `data/0` and on, and `version` (torch/serialization.py). Raise `StorageError`
    where the file cannot be written.

    >>> import tempfile
    >>> from tlx.convert.read import open_weights
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "a.pth")
    ...     write_torch(file, [Tensor("w", (2,), "float32", lambda: np.float32([1, 2]))])
    ...     open_weights(file).tensors["w"].read()
    array([1., 2.], dtype=float32)
    """
    beside = path.with_name(path.name + ".partial")
    try:
        with zipfile.ZipFile(beside, "w", zipfile.ZIP_STORED) as file:
            file.writestr(zipfile.ZipInfo("archive/data.pkl"), _state_dict(tensors))
            file.writestr(zipfile.ZipInfo("archive/byteorder"), b"little")
            for number, tensor in enumerate(tensors):
                array = np.ascontiguousarray(tensor.read())
                member = zipfile.ZipInfo(f"archive/data/{number}")
                with file.open(member, "w", force_zip64=array.nbytes >= 1 << 31) as out:
                    out.write(array.reshape(-1).view(np.uint8).data)
            file.writestr(zipfile.ZipInfo("archive/version"), b"3\n")
        beside.replace(path)
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be written ({error.strerror}): free the disk or name another place"
        ) from error
    finally:
        beside.unlink(missing_ok=True)  # where it was not moved


def _state_dict(tensors: Sequence[Tensor]) -> bytes:
    """Pickle, in protocol 2, an OrderedDict of calls of `torch._utils._rebuild_tensor_v2`."""
    items = b"".join(_text(tensor.name) + _tensor(tensor, number) for number, tensor in enumerate(tensors))
    return b"\x80\x02" + _EMPTY_DICT + b"(" + items + b"u."


_EMPTY_DICT = b"ccollections\nOrderedDict\n)R"


def _tensor(tensor: Tensor, number: int) -> bytes:
    storage = f"ctorch\n{STORAGES[tensor.dtype]}\n".encode()
    size = math.prod(tensor.shape)
    place = b"(" + _text("storage") + storage + _text(str(number)) + _text("cpu") + _integer(size) + b"tQ"
    strides = [math.prod(tensor.shape[axis + 1 :]) for axis in range(len(tensor.shape))]
    arguments = place + _integer(0) + _tuple(tensor.shape) + _tuple(strides) + b"\x89" + _EMPTY_DICT
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR"


def _tuple(numbers: Iterable[int]) -> bytes:
    return b"(" + b"".join(map(_integer, numbers)) + b"t"


def _integer(number: int) -> bytes:
    if number < 1 << 31:
        return b"J" + struct.pack("<i", number)
    return b"\x8a\x08" + struct.pack("<q", number)


def _text(text: str) -> bytes:
    encoded = text.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded
