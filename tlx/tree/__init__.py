"""Parameter trees: paths, partition and combine, labels, surgery, summary, fingerprint."""

from tlx.tree._cast import cast, to_jax_types
from tlx.tree.fingerprint import fingerprint
from tlx.tree.labels import FROZEN, label_tree, mask_of, trainable_mask
from tlx.tree.partition import combine, partition
from tlx.tree.paths import flatten, map_with_path, matches, select, unflatten
from tlx.tree.summary import Row, Summary, summarize
from tlx.tree.surgery import Graft, Resize, graft, join, split

__all__ = [
    "FROZEN",
    "Graft",
    "Resize",
    "Row",
    "Summary",
    "cast",
    "combine",
    "fingerprint",
    "flatten",
    "graft",
    "join",
    "label_tree",
    "map_with_path",
    "mask_of",
    "matches",
    "partition",
    "select",
    "split",
    "summarize",
    "to_jax_types",
    "trainable_mask",
    "unflatten",
]
