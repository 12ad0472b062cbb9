"""The names that a checkpoint's pickle may use, and what stands in for the functions among them.

Nothing that they return is hashed, compared or printed, so that no nesting and no chosen keys make it slow or overflow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class Items(list[tuple[Any, Any]]):
    """The pairs of a dict or an OrderedDict, in order and as they came."""


@dataclass(frozen=True, eq=False)
class Opaque:
    """A value whose content does not matter here: a NumPy scalar, a device, a namespace of options, a date.

    It stands for the object and holds nothing: what a pickle says of the object's state is dropped.
    """

    kind: str


@dataclass(frozen=True, eq=False)
class Storage:
    """A persistent id: `count` elements of a storage. `view` is (key, offset, count) within it, in old files."""

    dtype: str
    key: str
    count: int
    view: tuple[str, int, int] | None = None


@dataclass(frozen=True, eq=False)
class View:
    """A tensor: elements of a storage, counted in elements of `dtype`. `refused` says why it cannot be read."""

    storage: Storage | None
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: str
    refused: str = ""


@dataclass(frozen=True, eq=False)
class Global:
    """A name that a pickle may use: the function that stands in for it, or the type of elements that it names.

    `is_class` allows the opcode that makes an object without calling its class's `__init__`, too.
    """

    name: str
    build: Callable[..., Any] | None = None
    dtype: str = ""
    is_class: bool = False


def is_count(value: Any) -> bool:
    """Say whether a value is a number of bytes or elements."""
    return type(value) is int and 0 <= value < 1 << 62


def _counts(values: Any) -> tuple[int, ...]:
    if type(values) not in (tuple, list) or len(values) > 64 or not all(map(is_count, values)):
        raise ValueError("not a row of sizes")
    return tuple(values)


# What stands in for the functions that pickles name. Arguments that do not fit raise TypeError or ValueError.


def pairs(entries: Any = ()) -> Items:
    """Stand in for dict and OrderedDict."""
    if type(entries) not in (list, tuple, Items) or not all(type(e) in (list, tuple) and len(e) == 2 for e in entries):
        raise ValueError("not pairs")
    return Items((key, value) for key, value in entries)


def _list(values: Any = ()) -> list[Any]:
    if type(values) not in (list, tuple):
        raise ValueError("not a list")
    return list(values)


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any, dtype: str = "", refused: str = "") -> View:
    if type(storage) is not Storage or not is_count(offset):
        raise ValueError("not a tensor")
    if len(rest) > 2 and isinstance(rest[2], Items) and len(rest[2]):  # (requires_grad, hooks, metadata)
        refused = "a view that is conjugated or negated only when used; save tensor.resolve_conj().resolve_neg()"
    return View(storage, offset, _counts(size), _counts(stride), dtype or storage.dtype, refused)


def _typed_tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> View:
    grad, hooks, dtype, *metadata = rest
    if type(dtype) is not Global or not dtype.dtype:
        raise ValueError("not a type of elements")
    return _tensor(storage, offset, size, stride, grad, hooks, *metadata, dtype=dtype.dtype)


def _quantized_tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> View:
    return _tensor(storage, offset, size, stride, refused="quantized; save tensor.dequantize() or the float weights")


def _sparse_tensor(layout: Any, data: Any) -> View:
    del layout
    if type(data) is not tuple or len(data) < 3:
        raise ValueError("not a sparse tensor")
    values = data[1] if type(data[1]) is View else data[2]
    if type(values) is not View:
        raise ValueError("not a sparse tensor")
    size = _counts(data[2]) if type(data[2]) is tuple else values.size
    return View(None, 0, size, (), values.dtype, "sparse; save tensor.to_dense()")


def _parameter(tensor: Any, *rest: Any) -> View:
    if type(tensor) is not View or len(rest) > 3:
        raise ValueError("not a parameter")
    return tensor


def _tensor_with_attributes(function: Any, kind: Any, arguments: Any, state: Any) -> View:
    """Build a tensor or a parameter that has Python attributes, which are left alone."""
    del state
    if type(function) is not Global or function.build is None or type(arguments) is not tuple:
        raise ValueError("not a tensor")
    if function.build is _tensor_with_attributes:  # nothing bounds how often it could stand within itself
        raise ValueError("a tensor made by what makes tensors with attributes")
    if type(kind) is not Global or kind.name not in ("torch.Tensor", "torch.nn.parameter.Parameter"):
        raise ValueError("not a tensor")
    return _parameter(function.build(*arguments))


def _default_items(factory: Any = None, entries: Any = ()) -> Items:
    """Stand in for defaultdict, whose factory is not kept."""
    del factory
    return pairs(entries)


def _reconstructed(kind: Any, base: Any, state: Any) -> Any:
    """Stand in for copyreg._reconstructor, with which the oldest protocols make an object of a class."""
    del base, state
    if type(kind) is not Global or not kind.is_class or kind.build is None:
        raise ValueError("not a class that may be used")
    return kind.build()


def _queue(values: Any = (), longest: Any = None) -> list[Any]:
    """Stand in for deque."""
    del longest
    return _list(values)


def _opaque(kind: str) -> Callable[..., Opaque]:
    return lambda *arguments: Opaque(kind)


_STORAGE_TYPES = {
    "Double": "float64",
    "Float": "float32",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Long": "int64",
    "Int": "int32",
    "Short": "int16",
    "Char": "int8",
    "Byte": "uint8",
    "Bool": "bool",
    "ComplexDouble": "complex128",
    "ComplexFloat": "complex64",
    "QInt8": "qint8",
    "QUInt8": "quint8",
    "QInt32": "qint32",
    "QUInt4x2": "quint4x2",
    "QUInt2x4": "quint2x4",
}
_ELEMENT_TYPES = (
    *("float64", "float32", "float16", "bfloat16", "complex128", "complex64", "complex32", "bool"),
    *("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8"),
    *("qint8", "quint8", "qint32", "quint4x2", "quint2x4"),
    *("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn_x2"),
)
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": pairs,
    "builtins.dict": pairs,
    "__builtin__.dict": pairs,
    "collections.defaultdict": _default_items,
    "collections.deque": _queue,
    "copyreg._reconstructor": _reconstructed,
    "copy_reg._reconstructor": _reconstructed,
    "builtins.list": _list,
    "__builtin__.list": _list,
    "builtins.set": _list,
    "__builtin__.set": _list,
    "builtins.frozenset": _list,
    "__builtin__.frozenset": _list,
    "builtins.complex": _opaque("complex"),
    "__builtin__.complex": _opaque("complex"),
    "builtins.bytes": _opaque("bytes"),
    "__builtin__.bytes": _opaque("bytes"),
    "_codecs.encode": _opaque("bytes"),
    "numpy.dtype": _opaque("numpy.dtype"),
    "numpy.core.multiarray.scalar": _opaque("numpy scalar"),
    "numpy._core.multiarray.scalar": _opaque("numpy scalar"),
    "torch.device": _opaque("device"),
    "torch.serialization._get_layout": _opaque("layout"),
    "torch.Size": _counts,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _typed_tensor,
    "torch._utils._rebuild_qtensor": _quantized_tensor,
    "torch._utils._rebuild_sparse_tensor": _sparse_tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _tensor_with_attributes,
}
# Plain data that training scripts keep beside the weights. What stands in for a dict is read as one; the others hold
# options, paths, dates, versions and the like, and are not looked into.
_MAPPINGS = (
    "collections.Counter",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "lightning.pytorch.utilities.parsing.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "lightning.fabric.utilities.data.AttributeDict",
    "easydict.EasyDict",
    "addict.addict.Dict",
    "munch.Munch",
    "yacs.config.CfgNode",
    "fvcore.common.config.CfgNode",
)
_RECORDS = (
    *("argparse.Namespace", "types.SimpleNamespace"),
    *(
        f"{module}.{kind}"
        for module in ("pathlib", "pathlib._local")  # the second in Python 3.13
        for kind in ("Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath")
    ),
    *(f"datetime.{kind}" for kind in ("date", "datetime", "time", "timedelta", "timezone")),
    *("uuid.UUID", "decimal.Decimal", "fractions.Fraction"),
    *("builtins.slice", "builtins.range", "builtins.bytearray"),
    *("__builtin__.slice", "__builtin__.xrange", "__builtin__.bytearray"),
    *(  # an array
        f"numpy.{module}.{function}"
        for module in ("core", "_core")
        for function in ("multiarray._reconstruct", "numeric._frombuffer")
    ),
    "torch.torch_version.TorchVersion",
    "torchvision.transforms.functional.InterpolationMode",
    "fastcore.foundation.L",
    *("omegaconf.dictconfig.DictConfig", "omegaconf.listconfig.ListConfig", "omegaconf.base.ContainerMetadata"),
    *("omegaconf.base.Metadata", "omegaconf.base.SCMode"),
    *(f"omegaconf.nodes.{kind}Node" for kind in ("Any", "String", "Integer", "Float", "Boolean", "Enum", "Path")),
)
_PLAIN_TYPES = (  # named and not called: what a defaultdict makes, the type of an option, the class of a callback
    *("builtins.int", "builtins.float", "builtins.str", "builtins.bool", "builtins.object", "builtins.tuple"),
    *(f"__builtin__.{name}" for name in ("int", "long", "float", "str", "unicode", "bool", "object", "tuple")),
    *("numpy.ndarray", "numpy.float32", "numpy.float64", "numpy.int32", "numpy.int64", "numpy.bool_", "typing.Any"),
    *(
        f"{package}.callbacks.{name}"
        for package in ("pytorch_lightning", "lightning.pytorch")
        for name in ("model_checkpoint.ModelCheckpoint", "early_stopping.EarlyStopping")
    ),
)
_NAMES = (
    *_PLAIN_TYPES,
    *("torch.Tensor", "torch.nn.parameter.Parameter"),
    *(f"torch.{name}" for name in ("per_tensor_affine", "per_channel_affine", "per_tensor_symmetric")),
)
GLOBALS = {
    **{name: Global(name, build=function) for name, function in _FUNCTIONS.items()},
    **{name: Global(name, build=pairs, is_class=True) for name in _MAPPINGS},
    **{name: Global(name, build=_opaque(name), is_class=True) for name in _RECORDS},
    **{name: Global(name) for name in _NAMES},
    **{f"torch.{dtype}": Global(f"torch.{dtype}", dtype=dtype) for dtype in _ELEMENT_TYPES},
    **{
        f"{module}.{prefix}Storage": Global(f"torch.{prefix}Storage", dtype=dtype)
        for module in ("torch", "torch.cuda")
        for prefix, dtype in _STORAGE_TYPES.items()
    },
    **{
        name: Global(name, dtype="uint8")
        for name in ("torch.UntypedStorage", "torch.storage.UntypedStorage", "torch.storage._UntypedStorage")
    },
}

_LOAD = "torch.load(FILE, weights_only=False)"
_MODEL = f"save the state_dict() of the model alone: torch.save({_LOAD}.state_dict(), 'weights.pth')"
CURES = {
    "torch.": _MODEL,
    "torchvision.models.": _MODEL,
    "timm.models.": _MODEL,
    "fastai.": "save load_learner(FILE).model.state_dict() with torch.save, or use learn.save's file",
    "ultralytics.": f"torch.save({_LOAD}['model'].state_dict(), 'weights.pth')",
    "sklearn.": "it is scikit-learn's and no network: tlx does not read it",
    "joblib.": "it is joblib's and no network: save arrays with numpy.savez",
    "jax": "save the arrays with numpy.savez or safetensors.flax.save_file",
    "flax": "save the arrays with numpy.savez or safetensors.flax.save_file",
    "": f"save the state_dict() alone: torch.save({_LOAD}['state_dict'], 'weights.pth')",
}
"""What to do with a file of one's own that asks for a name that is refused, by how that begins."""
