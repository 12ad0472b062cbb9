"""Which library a file is written for, told by the suffix of its name."""

from pathlib import Path

from tlx.convert.rules import Table
from tlx.convert.tables import TABLES, table_of
from tlx.convert.unread import unread_file
from tlx.errors import ConfigError
from tlx.tree.paths import quote

TORCH = "torch"
"""Any library of PyTorch's names; which, the network tells."""

_LIBRARIES = {".h5": "keras", ".pth": TORCH, ".pt": TORCH, ".safetensors": "safetensors"}
_ALMOST = {
    ".keras": "write .h5 (--to keras), load_weights it in Keras and save that model as .keras",
    ".hdf5": "name it .h5",
    ".bin": "name it .pth or .safetensors",
    ".th": "name it .pth",
    ".ckpt": "name it .pth",
    ".npz": "write .safetensors (--to safetensors) and numpy.savez what safetensors.numpy.load_file reads",
    ".onnx": "write .pth (--to torchvision) and torch.onnx.export the network that loads it",
    ".tflite": "write .h5 (--to keras) and convert the Keras model that loads it",
    ".pb": "write .h5 (--to keras) and export the Keras model that loads it",
}


def library_of(path: Path) -> str | None:
    """Tell by a file's suffix which library it is for: 'keras', `TORCH` or 'safetensors'; None for a folder's name.

    Raise `ConfigError` for a format that tlx does not write, with the way out.

    >>> library_of(Path("back.h5")), library_of(Path("resnet50.v2"))
    ('keras', None)
    """
    suffix = path.suffix.lower()
    unread = unread_file(path.name, b"")
    if suffix in _ALMOST:
        raise ConfigError(f"{path}: tlx writes no {suffix}: {_ALMOST[suffix]}")
    if unread:
        raise ConfigError(f"{path}: tlx does not write {unread.name}: write .pth, .h5 or .safetensors")
    return _LIBRARIES.get(suffix)


def torch_table(path: Path, architecture: str, origin: str = "") -> Table:
    """Return the table by which a file of PyTorch is written: that of its `origin`, or the one that there is.

    Raise `ConfigError` where no library has the network, and where several write it by other names.
    """
    found = [
        table
        for table in TABLES.values()
        if table.architecture == architecture and table.dialect == "torch" and not table.sees_like
    ]
    of_origin = [table for table in found if table.name == origin]
    if of_origin or not found:
        return of_origin[0] if of_origin else table_of("torchvision", architecture)
    if any(table.rows != found[0].rows for table in found):
        libraries = [table.name.partition("/")[0] for table in found]
        raise ConfigError(f"{path}: {quote(libraries)} name its tensors otherwise: say which with --to")
    return found[0]
