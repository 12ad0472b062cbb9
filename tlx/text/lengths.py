"""Lengths: to which few sizes texts are padded, so that little is computed in vain and little is compiled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MOST = 6  # lengths, and so programs to compile
STEP = 8  # pieces, which suit vector units
ENOUGH = 1.03  # of what the most lengths compute: with fewer of them that is near enough


def best_lengths(lengths: Sequence[int] | np.ndarray, most: int = MOST) -> tuple[int, ...]:
    """Choose the lengths to which texts are padded so that the fewest positions are computed in vain.

    Args:
        lengths: (N,), how many pieces each text has.
        most: how many lengths at most.

    Returns:
        Multiples of 8, ascending, the last one no less than the longest text; fewer than `most` where more would spare
        under 3% of the positions. It is the optimum, by dynamic programming.

    >>> best_lengths([5, 6, 7, 60], most=2)
    (8, 64)
    """
    ceilings = -(-np.maximum(np.asarray(lengths, np.int64), 1) // STEP) * STEP
    sizes, counts = np.unique(ceilings, return_counts=True)
    if not len(sizes):
        return (STEP,)
    below = np.concatenate([[0], np.cumsum(counts)])
    # cost[k][j]: positions computed for all texts of the first j sizes where k lengths are chosen, size j - 1 the last
    costs = [np.where(np.arange(len(sizes) + 1) == 0, 0.0, np.inf)]
    choices = []
    for _ in range(min(most, len(sizes))):
        cost, choice = np.full(len(sizes) + 1, np.inf), np.zeros(len(sizes) + 1, int)
        for end in range(1, len(sizes) + 1):
            each = costs[-1][:end] + (below[end] - below[:end]) * sizes[end - 1]
            choice[end] = int(each.argmin())
            cost[end] = each[choice[end]]
        costs.append(cost)
        choices.append(choice)
    totals = [cost[-1] for cost in costs[1:]]
    count = 1 + next(number for number, total in enumerate(totals) if total <= ENOUGH * min(totals))
    chosen, end = [], len(sizes)
    for number in reversed(range(count)):
        chosen.append(int(sizes[end - 1]))
        end = int(choices[number][end])
    return tuple(reversed(chosen))


def usual_lengths(most: int) -> tuple[int, ...]:
    """Return the lengths to take where no text is known yet: 16, 32, 64 and on, up to `most`.

    >>> usual_lengths(100), usual_lengths(8)
    ((16, 32, 64, 100), (8,))
    """
    doubled = [16 << power for power in range(20) if 16 << power < most]
    return (*doubled, most)


def padded(lengths: np.ndarray, to: Sequence[int]) -> np.ndarray:
    """Return for each length the least of `to` that holds it, or itself, rounded up to 8, where none does.

    >>> padded(np.array([3, 8, 20, 70]), (8, 64)).tolist()
    [8, 8, 64, 72]
    """
    options = np.asarray(to, np.int64)
    places = np.searchsorted(options, lengths)
    beyond = -(-np.asarray(lengths, np.int64) // STEP) * STEP
    found: np.ndarray = np.where(places < len(options), options[np.minimum(places, len(options) - 1)], beyond)
    return found
