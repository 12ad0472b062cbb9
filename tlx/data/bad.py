"""Refuse bad examples where they are more than a share, and name some of them."""

from __future__ import annotations

from collections.abc import Sequence

from tlx.errors import DataError

_LISTED = 10  # bad examples named


def check_bad(faults: Sequence[str], total: int, skip_bad: float, noun: str = "images") -> None:
    """Raise `DataError` that lists bad examples where they are more than the share `skip_bad` of all, or all.

    Args:
        faults: a line for each bad example.
        total: how many examples there are, good and bad.
        skip_bad: the share that may be bad, from 0 up to 1.
        noun: what the examples are called.

    >>> check_bad(["a.png: empty"], 200, 0.0)
    Traceback (most recent call last):
        ...
    tlx.errors.DataError: 1 of 200 images (0.5%) are bad: a.png: empty; mend them, or leave them out with --skip-bad 1%
    """
    if not faults or len(faults) / total <= skip_bad:
        return
    share = f"{100 * len(faults) / total:.3g}%"
    allowed = f", of which --skip-bad allows {100 * skip_bad:g}%" if skip_bad else ""
    enough = -(-100 * len(faults) // total)  # the least whole percentage that allows so many
    cure = "mend them" + (f", or leave them out with --skip-bad {enough}%" if enough < 100 else "")
    raise DataError(f"{len(faults)} of {total} {noun} ({share}) are bad{allowed}: {some(faults)}; {cure}")


def left_out(faults: Sequence[str], total: int, noun: str = "images") -> list[str]:
    """Say in at most one note which bad examples are left out.

    >>> left_out(["a.png: truncated"], 200)
    ['1 of 200 images are bad and left out: a.png: truncated']
    """
    named = some(faults, ", listed in the run")
    return [f"{len(faults)} of {total} {noun} are bad and left out: {named}"] if faults else []


def some(faults: Sequence[str], rest: str = "") -> str:
    """List the first ten faults, and say how many more there are; `rest` says where these are.

    >>> some(["a"] * 12)
    'a; a; a; a; a; a; a; a; a; a; and 2 more'
    """
    more = f"; and {len(faults) - _LISTED} more{rest}" if len(faults) > _LISTED else ""
    return "; ".join(faults[:_LISTED]) + more
