"""Partition a tree by a mask, and combine the parts again."""

import numpy as np

from tlx.errors import ConfigError
from tlx.tree.paths import Tree, flatten, map_with_path, quote, unflatten


def partition(tree: Tree, mask: Tree) -> tuple[Tree, Tree]:
    """Split a tree in two by a mask: the leaves where the mask is true, and those where it is false.

    Both parts keep the structure of the whole, with None where the other part has the leaf. JAX sees no leaf in None,
    so a gradient or an optimizer state taken over one part has nothing for the other. The inverse is `combine`, but
    for empty subtrees, which have no leaves and are dropped, as by `flatten`: labels, masks and optimizer states then
    have one structure, whatever they were made from.
    Raise `ConfigError` where the structures differ or the mask is not boolean (a label is true, 'frozen' included).
    (The algebra is Equinox's, `equinox/_filters.py`.)

    >>> partition({"base": 1, "head": 2}, {"base": False, "head": True})
    ({'base': None, 'head': 2}, {'base': 1, 'head': None})
    """
    vague = [path for path, chosen in flatten(mask).items() if not isinstance(chosen, bool | np.bool_)]
    if vague:
        raise ConfigError(f"the mask is not boolean at {quote(vague)}: make it with trainable_mask or mask_of")
    return (
        map_with_path(lambda _, leaf, chosen: leaf if chosen else None, tree, mask),
        map_with_path(lambda _, leaf, chosen: None if chosen else leaf, tree, mask),
    )


def combine(*parts: Tree) -> Tree:
    """Put the parts of a tree together again; the inverse of `partition`, without empty subtrees.

    Raise `ConfigError` naming the paths for a leaf that two parts have, or none.

    >>> combine({"base": None, "head": 2}, {"base": 1, "head": None})
    {'base': 1, 'head': 2}
    """
    whole = dict.fromkeys(flatten(parts[0]))
    for part in parts:
        leaves = flatten(part)
        if leaves.keys() != whole.keys():
            raise ConfigError(f"the parts have different leaves: {quote(sorted(leaves.keys() ^ whole.keys()))}")
        present = {path: leaf for path, leaf in leaves.items() if leaf is not None}
        twice = [path for path in present if whole[path] is not None]
        if twice:
            raise ConfigError(f"two parts have a leaf at {quote(twice)}")
        whole.update(present)
    missing = [path for path, leaf in whole.items() if leaf is None]
    if missing:
        raise ConfigError(f"no part has a leaf at {quote(missing)}")
    return unflatten(whole)
