"""Leaves: read a plan's tensors one by one, check and cast them, and prove what became of each."""

import functools
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from tlx.convert.plan import Match, Plan
from tlx.convert.transforms import blocks, forward
from tlx.errors import WeightsError
from tlx.models.batch_norm import is_variance
from tlx.models.registry import init_variables
from tlx.tree.paths import Tree, flatten, quote, unflatten


@dataclass(frozen=True)
class LeafProof:
    """Where a leaf comes from: tensor, transform, type and cast, and the SHA-256 of the tensor's bytes and the leaf's.

    `cast` is None for float32, 'exact' for narrower types, and for float64 says how far rounding moved a number.
    """

    source: str
    transform: str
    dtype: str
    cast: str | None
    source_sha256: str
    sha256: str


@dataclass
class Conversion:
    """Read a plan's leaves one by one; what is known of each is in `proofs` once it is read.

    Leaves that stay fresh are initialised by `seed`. Raise `WeightsError` at the end for numbers that are not finite,
    unless `allow_nonfinite`, and for negative variances of batch norms, unless `allow_negative_variance`, with the
    count in each tensor; and for float64 numbers that float32 cannot hold.
    """

    plan: Plan
    path: str
    allow_nonfinite: bool = False
    allow_negative_variance: bool = False
    seed: int = 0
    proofs: dict[str, LeafProof] = field(default_factory=dict)

    def shapes(self) -> list[tuple[str, tuple[int, ...]]]:
        """List the leaves that `pieces` yields: path and shape."""
        return [(path, leaf.shape) for path, leaf in self._fresh.items()] + [
            (m.path, m.shape) for m in self.plan.matches
        ]

    def pieces(self) -> Iterator[np.ndarray]:
        """Yield every leaf in contiguous float32 pieces, in C order."""
        yield from self._fresh.values()
        for match, array in self._arrays():
            yield from self._proven(match, array, blocks(match.transform, array))

    def variables(self) -> Tree:
        """Return the model's variables in memory; nothing is hashed, and there are no proofs."""
        leaves = dict(self._fresh)
        for match, array in self._arrays():
            leaves[match.path], rounding = _single(forward(match.transform, array))
            self._check(match, rounding)
        return unflatten(leaves)

    @functools.cached_property
    def _fresh(self) -> dict[str, np.ndarray]:
        if not self.plan.fresh:
            return {}
        made = flatten(init_variables(self.plan.config, self.seed))
        return {path: np.asarray(made[path]) for path in self.plan.fresh}

    def _arrays(self) -> Iterator[tuple[Match, np.ndarray]]:
        nonfinite: list[str] = []
        negative: list[str] = []
        for match in self.plan.matches:
            array = match.tensor.read()
            if not self.allow_nonfinite:
                nonfinite += _counted(match, array, _count(array, lambda part: ~np.isfinite(part)))
            if not self.allow_negative_variance and is_variance(match.path):
                negative += _counted(match, array, _count(array, lambda part: part < 0))
            yield match, array
        faults = []
        if nonfinite:
            faults.append(f"numbers that are not finite in {quote(nonfinite, 40)} (--allow-nonfinite takes them)")
        if negative:
            faults.append(
                f"negative variances in {quote(negative, 40)}: the file is damaged, or its means and variances are "
                "swapped (--allow-negative-variance takes them)"
            )
        if faults:
            raise WeightsError(f"{self.path}: {'; '.join(faults)}")

    def _proven(self, match: Match, array: np.ndarray, parts: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """Pass a leaf's parts on as float32, and keep its proof."""
        digest, rounding = hashlib.sha256(), 0.0
        for part in parts:
            single, moved = _single(part)
            rounding = max(rounding, moved)
            digest.update(single.reshape(-1).view(np.uint8).data)
            yield single
        self._check(match, rounding)
        name = array.dtype.name
        cast = {"float32": None, "float64": f"rounded by at most {rounding:.3g}"}.get(name, "exact")
        own = sha256(array) if name != "float32" or match.transform != "same" else digest.hexdigest()
        self.proofs[match.path] = LeafProof(match.tensor.name, match.transform, name, cast, own, digest.hexdigest())

    def _check(self, match: Match, rounding: float) -> None:
        if rounding == np.inf:
            raise WeightsError(f"{self.path}: {match.tensor.name!r} holds numbers that float32 cannot: rescale them")


def _single(array: np.ndarray) -> tuple[np.ndarray, float]:
    """Cast to float32; return also how far that moved a number, which is infinite where float32 cannot hold it."""
    with np.errstate(over="ignore", invalid="ignore"):
        single = array.astype(np.float32, copy=False)
        exact = array.dtype != np.float64
        return single, 0.0 if exact else float(np.nanmax(np.abs(array - single), initial=0.0))


def sha256(array: np.ndarray) -> str:
    """Return the SHA-256 of an array's bytes in C order, as a hexadecimal string.

    >>> sha256(np.zeros(0))[:8]
    'e3b0c442'
    """
    return hashlib.sha256(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data).hexdigest()


def _counted(match: Match, array: np.ndarray, count: int) -> list[str]:
    return [f"{match.tensor.name} ({count:,} of {array.size:,})"] if count else []


def _count(array: np.ndarray, is_bad: Callable[[np.ndarray], np.ndarray], most: int = 1 << 22) -> int:
    flat = array.reshape(-1)
    return sum(int(np.count_nonzero(is_bad(flat[start : start + most]))) for start in range(0, flat.size, most))
