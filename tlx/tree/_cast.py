"""Casts: change the type of a leaf, and say what its numbers lose by it."""

from typing import Any

import numpy as np

from tlx.errors import WeightsError
from tlx.tree.paths import SEPARATOR, Tree, quote


def cast(leaf: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray, str | None]:
    """Return a leaf in another type, and in words which of its numbers are lost by it, or None where none is.

    Lost are numbers that the type cannot hold: too large for it, not whole where it has integers only, integers past
    those that it counts one by one, imaginary parts, and what is not a number. To round to the nearest floating number
    is no loss, to zero included.

    >>> cast(np.array([1.7, 2.0]), np.dtype("int32"))
    (array([1, 2], dtype=int32), '1 of 2 numbers does not fit int32, such as 1.7')
    >>> cast(np.array([0.1]), np.dtype("float32"))
    (array([0.1], dtype=float32), None)
    """
    if leaf.dtype == dtype:
        return leaf, None
    with np.errstate(all="ignore"):
        real = leaf.real if np.iscomplexobj(leaf) and dtype.kind != "c" else leaf
        changed = real.astype(dtype)
        if leaf.dtype.kind in "iub" or dtype.kind in "iub":
            lost = changed.astype(real.dtype) != real
            if leaf.dtype.kind in "iu" and dtype.kind in "iu":  # -1 comes back from 255 of uint8
                lost |= (changed < 0) != (real < 0)
        else:
            lost = np.isfinite(real) & ~np.isfinite(changed)
        if real is not leaf:
            lost |= leaf.imag != 0
    count = int(np.count_nonzero(lost))
    if not count:
        return changed, None
    verb, example = "does" if count == 1 else "do", leaf[lost].flat[0].item()
    return changed, f"{count:,} of {leaf.size:,} numbers {verb} not fit {dtype.name}, such as {example!r}"


def to_jax_types(tree: Tree) -> Tree:
    """Return a tree whose arrays of NumPy have the types that JAX gives them: float32 for float64, as a rule.

    Raise `WeightsError` naming the leaves of which that loses numbers; arrays of JAX stay as they are. (JAX keeps 64
    bits under `jax_enable_x64` only, and else casts without a word.)

    >>> to_jax_types({"w": np.array([0.5])})
    {'w': array([0.5], dtype=float32)}
    """
    import jax

    faults: list[str] = []

    def as_jax(keys: Any, leaf: Any) -> Any:
        if not isinstance(leaf, np.ndarray):
            return leaf
        changed, lost = cast(leaf, jax.dtypes.canonicalize_dtype(leaf.dtype))
        if lost:
            faults.append(f"{jax.tree_util.keystr(keys, simple=True, separator=SEPARATOR)} ({lost})")
        return changed

    changed = jax.tree_util.tree_map_with_path(as_jax, tree)  # unlike map_with_path, it keeps empty subtrees
    if faults:
        raise WeightsError(f"{quote(faults)}: rescale them, or compute in 64 bits (jax_enable_x64)")
    return changed
