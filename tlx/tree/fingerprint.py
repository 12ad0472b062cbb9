"""Fingerprint: one SHA-256 over the paths, types, shapes and bytes of a tree."""

import hashlib

import numpy as np

from tlx.tree.paths import Tree, flatten


def fingerprint(tree: Tree) -> str:
    """Compute the SHA-256 of a tree's leaves as a hexadecimal string.

    It covers each leaf's path, dtype, shape and bytes (so -0.0 and 0.0 differ, and so do two NaNs with other payloads)
    in the order of the paths, not of the dict. None leaves, as `partition` leaves them, do not count.

    >>> fingerprint({"b": np.zeros(2), "a": None}) == fingerprint({"b": np.zeros(2)})
    True
    >>> fingerprint({"b": np.array(0.0)}) == fingerprint({"b": np.array(-0.0)})
    False
    """
    digest = hashlib.sha256()
    for path, leaf in sorted(flatten(tree).items()):
        if leaf is None:
            continue
        array = np.asarray(leaf)
        digest.update(f"{path}\0{array.dtype.str}:{array.dtype.name}\0{array.shape}\0".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
