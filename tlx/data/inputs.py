"""Input specs: how raw inputs become the arrays that a base takes, on the host and on the device."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from tlx.errors import ConfigError, DataError

Tree = Any


class InputSpec(Protocol):
    """How raw inputs become what a base takes, in two halves, both pure; it is hashable, and travels with the weights.

    `collate` runs on the host, in several threads: it decodes, resizes or tokenises a batch of raw inputs into small
    arrays, (B, …) or a dict of such. `on_device` runs in the compiled step: it orders, scales and casts these into what
    the base takes. `to_dict` describes the spec as data for JSON. An input that cannot be used is a `DataError`.

    The twelve lines of a spec of one's own, for texts that become the codes of their characters:

    >>> @dataclass(frozen=True)
    ... class Characters:
    ...     length: int
    ...
    ...     def collate(self, inputs):
    ...         codes = [list(text.encode()[: self.length]) for text in inputs]
    ...         return np.array([each + [0] * (self.length - len(each)) for each in codes], np.uint8)
    ...
    ...     def on_device(self, arrays):
    ...         return {"ids": arrays.astype("int32"), "mask": arrays > 0}
    ...
    ...     def to_dict(self):
    ...         return {"kind": "characters", "length": self.length}
    >>> Characters(4).on_device(Characters(4).collate(["ab", "abcde"]))["mask"].tolist()
    [[True, True, False, False], [True, True, True, True]]
    """

    def collate(self, inputs: Any) -> Tree: ...

    def on_device(self, arrays: Tree) -> Tree: ...

    def to_dict(self) -> dict[str, Any]: ...


@runtime_checkable
class Showable(Protocol):
    """An input spec whose inputs are images, which a report can show as the network sees them.

    `frame_one` makes a raw input a frame (height, width, channels), and `normalise` what the base takes of frames.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...

    def frame_one(self, image: Any) -> np.ndarray: ...

    def normalise(self, frames: np.ndarray) -> np.ndarray: ...


METHODS = ("collate", "on_device", "to_dict")


def check_inputs_spec(spec: Any) -> None:
    """Raise `ConfigError` for what is no input spec, naming what it lacks.

    >>> check_inputs_spec(3)
    Traceback (most recent call last):
        ...
    tlx.errors.ConfigError: preprocess: int is no input spec (tlx.data.InputSpec): it lacks collate, on_device, to_dict
    """
    missing = [name for name in METHODS if not callable(getattr(spec, name, None))]
    if missing:
        raise ConfigError(
            f"preprocess: {type(spec).__name__} is no input spec (tlx.data.InputSpec): it lacks {', '.join(missing)}"
        )
    try:
        hash(spec)
    except TypeError as error:
        raise ConfigError(
            f"preprocess: {type(spec).__name__} cannot be hashed, as JAX needs it: make it a frozen dataclass whose "
            "fields are numbers, texts and tuples"
        ) from error


@dataclass(frozen=True)
class Vectors:
    """Take vectors of `size` numbers as they are, or standardised by a `mean` and `std` for each.

    Features that another model computed are such vectors (`tlx.vector_base`). `columns` names the columns of a table
    that they are read from.

    >>> spec = Vectors(2, mean=(1.0, 0.0), std=(2.0, 1.0))
    >>> spec.on_device(spec.collate([[3, 4]])).tolist()
    [[1.0, 4.0]]
    """

    size: int
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", tuple(self.columns))
        if isinstance(self.size, bool) or not isinstance(self.size, int) or self.size < 1:
            raise ConfigError(f"size: {self.size!r} is not an integer of 1 or more")
        for name in ("mean", "std"):
            values = tuple(map(float, getattr(self, name)))
            object.__setattr__(self, name, values)
            if len(values) not in (0, self.size) or not all(map(math.isfinite, values)):
                raise ConfigError(f"{name}: give {self.size} finite numbers, one for each of the vector's, or none")
        if any(value <= 0 for value in self.std):
            raise ConfigError("std: must be above 0")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of what the base takes."""
        return (self.size,)

    def collate(self, inputs: Any) -> np.ndarray:
        """Return vectors (B, size) float32; raise `DataError` for others."""
        try:
            array = np.asarray(inputs if hasattr(inputs, "dtype") else list(inputs), np.float32)
        except (TypeError, ValueError) as error:
            raise DataError(f"inputs: not vectors of {self.size} numbers ({error})") from error
        if array.ndim != 2 or array.shape[1] != self.size:
            raise DataError(f"inputs: shape {array.shape}, expected vectors (B, {self.size})")
        return array

    def on_device(self, arrays: Tree) -> Tree:
        """Standardise vectors (B, size) float32."""
        if self.mean:
            arrays = arrays - np.array([self.mean], np.float32)
        return arrays / np.array([self.std], np.float32) if self.std else arrays

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as data that JSON can hold; `from_dict` is the inverse."""
        return {"kind": "vectors", **asdict(self)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Vectors:
        """Build from `to_dict`'s data; raise `ConfigError` for an unknown name or a bad value."""
        try:
            return cls(**{name: value for name, value in fields.items() if name != "kind"})
        except TypeError as error:
            raise ConfigError(f"preprocess: {error}") from None
