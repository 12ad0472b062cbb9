"""Surgery: split a model into base and head, graft loaded leaves onto a fresh tree, replace a head."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tlx.errors import ConfigError, WeightsError, check_choice
from tlx.tree._cast import cast
from tlx.tree.paths import Tree, flatten, matches, quote, unflatten


def split(variables: Tree) -> tuple[Tree, Tree]:
    """Split a model's variables `{'params': {'base', 'head'}, 'batch_stats': …}` into the base's and the head's.

    The inverse is `join`. A part without parameters may be absent. Raise `ConfigError` for params of other parts.

    >>> split({"params": {"base": {"w": 1}, "head": {"w": 2}}, "batch_stats": {"base": {"mean": 3}}})
    ({'params': {'w': 1}, 'batch_stats': {'mean': 3}}, {'params': {'w': 2}})
    """
    parts = set(variables["params"])
    if not parts <= {"base", "head"}:
        raise ConfigError(f"a model has a base and a head, and nothing else; params have {quote(sorted(parts))}")
    base, head = ({kind: tree[part] for kind, tree in variables.items() if part in tree} for part in ("base", "head"))
    return base, head


def join(base: Tree, head: Tree) -> Tree:
    """Join a base's variables and a head's into a model's; the inverse of `split`.

    >>> join({"params": {"w": 1}, "batch_stats": {"mean": 3}}, {"params": {"w": 2}})
    {'params': {'base': {'w': 1}, 'head': {'w': 2}}, 'batch_stats': {'base': {'mean': 3}}}
    """
    parts = {"base": base, "head": head}
    kinds = list(dict.fromkeys([*base, *head]))
    return {kind: {name: part[kind] for name, part in parts.items() if kind in part} for kind in kinds}


@dataclass(frozen=True)
class Resize:
    """A declared rule: leaves selected by `pattern` may have another shape in the source; `method` makes them fit.

    Methods: 'interpolate' (linear along every axis that differs, corners not aligned, smoothed where it shrinks), 'pad'
    (cut off, or fill with zeros, at the end of every axis that differs) and 'input_channels' (the second last axis of a
    kernel is averaged and repeated, scaled so that an image with equal channels gives the same response as before).
    """

    pattern: str
    method: str

    def __post_init__(self) -> None:
        check_choice("resize method", self.method, RESIZERS)


def _interpolate(leaf: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    import jax

    if leaf.dtype.kind in "iub":  # of which JAX would round what lies between
        leaf = leaf.astype(np.float32)
    with np.errstate(over="ignore"):  # JAX casts float64, of which `graft` tells
        return np.asarray(jax.image.resize(leaf, shape, "linear"))


def _pad(leaf: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    kept = tuple(slice(min(old, new)) for old, new in zip(leaf.shape, shape, strict=True))
    fitted = np.zeros(shape, leaf.dtype)
    fitted[kept] = leaf[kept]
    return fitted


def _input_channels(leaf: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if (*leaf.shape[:-2], leaf.shape[-1]) != (*shape[:-2], shape[-1]):
        raise WeightsError(f"'input_channels' changes the second last axis only, not {leaf.shape} to {shape}")
    scale = np.asarray(leaf.shape[-2] / shape[-2], leaf.dtype)
    return np.broadcast_to(leaf.mean(axis=-2, keepdims=True) * scale, shape).copy()


RESIZERS: dict[str, Callable[[np.ndarray, tuple[int, ...]], np.ndarray]] = {
    "interpolate": _interpolate,
    "pad": _pad,
    "input_channels": _input_channels,
}


@dataclass(frozen=True)
class Graft:
    """What `graft` returns: the tree, and the paths that were filled, left fresh, ignored and resized.

    `casts` has a line for each leaf that took another type, such as 'head/w: float64 -> float32', with what that lost.
    """

    tree: Tree
    filled: tuple[str, ...]
    fresh: tuple[str, ...]
    ignored: tuple[str, ...]
    resized: tuple[str, ...]
    casts: tuple[str, ...] = ()


def graft(
    target: Tree,
    loaded: Tree,
    *,
    fresh: Sequence[str] = (),
    ignored: Sequence[str] = (),
    resize: Sequence[Resize] = (),
    lossy: Sequence[str] = (),
) -> Graft:
    """Put loaded leaves in the place of a fresh tree's, strictly both ways.

    Every leaf of `target` is filled from `loaded` or selected by a pattern of `fresh` (it then keeps its value); every
    leaf of `loaded` is used or selected by a pattern of `ignored`. Shapes must be equal, but where a `Resize` rule
    covers the path. A filled leaf takes the target's dtype, where that loses no number (`tlx.tree.cast`) or a pattern
    of `lossy` selects the path. Raise `WeightsError` with everything that does not fit at once. (Names that must match
    both ways: big_vision, `models/common.py`, `merge_params`.)

    >>> target = {"base": {"w": np.zeros(2)}, "head": {"w": np.zeros(3)}}
    >>> done = graft(target, {"base": {"w": np.ones(2)}}, fresh=["head"])
    >>> done.tree["base"]["w"], done.fresh
    (array([1., 1.]), ('head/w',))
    """
    targets, sources = flatten(target), flatten(loaded)
    kept = [path for path in targets if _selected(fresh, path)]
    dropped = [path for path in sources if _selected(ignored, path)]
    filled = [path for path in targets if path in sources and path not in kept and path not in dropped]

    faults = []
    missing = sorted(targets.keys() - set(filled) - set(kept))
    if missing:
        faults.append(f"missing {quote(missing, 40)} (declare them with fresh=)")
    extra = sorted(sources.keys() - set(filled) - set(dropped))
    if extra:
        faults.append(f"not used {quote(extra, 40)} (declare them with ignored=)")
    resized: dict[str, np.ndarray] = {}
    for path in filled:
        shape, wanted = tuple(sources[path].shape), tuple(targets[path].shape)
        rule = next((rule for rule in resize if matches(rule.pattern, path)), None)
        if shape == wanted:
            continue
        if rule is None:
            faults.append(f"{path!r} has shape {shape}, wanted {wanted}")
        elif len(shape) != len(wanted):
            faults.append(f"{path!r} has shape {shape}, wanted {wanted}: resizing keeps the number of axes")
        else:
            try:
                resized[path] = RESIZERS[rule.method](np.asarray(sources[path]), wanted)
            except WeightsError as error:
                faults.append(f"{path!r}: {error}")
    leaves: dict[str, np.ndarray] = {}
    casts = []
    for path in filled:
        leaf, dtype = np.asarray(sources[path]), targets[path].dtype
        # A resized leaf may lose as it is resized, for JAX casts float64, or after it, as in an integer type.
        changed, lost = cast(leaf, dtype)
        leaves[path], after = cast(resized[path], dtype) if path in resized else (changed, None)
        lost = lost or after
        if leaf.dtype != dtype:
            casts.append(f"{path}: {leaf.dtype.name} -> {dtype.name}" + (f", {lost}" if lost else ""))
        if lost and not _selected(lossy, path):
            faults.append(f"{path!r}: {lost} (declare it with lossy=)")
    if faults:
        raise WeightsError("weights do not fit: " + "; ".join(faults))
    done = unflatten({**targets, **leaves})
    return Graft(done, tuple(filled), tuple(kept), tuple(dropped), tuple(resized), tuple(casts))


def _selected(patterns: Sequence[str], path: str) -> bool:
    return any(matches(pattern, path) for pattern in patterns)
