"""Draw how long the texts of a run are, and to which lengths they are padded."""

import html
import math
from collections.abc import Mapping, Sequence

import numpy as np

from tlx.analysis.names import shown

_WIDTH, _HEIGHT, _TOP, _BOTTOM = 640.0, 190.0, 34.0, 40.0
_MOST_BARS = 48
_LOOKS = (  # of the parts in turn: filled bars, then outlines, which are told apart without colour, too
    "fill: var(--transfer, #0067a5); fill-opacity: 0.45",
    "fill: none; stroke: var(--scratch, #b84a00); stroke-width: 1.8",
    "fill: none; stroke: var(--ink, #14181f); stroke-width: 1.4; stroke-dasharray: 4 3",
)


def lengths_plot(
    lengths: Mapping[str, np.ndarray], padded: Sequence[int], max_length: int | None, unit: str = "pieces"
) -> str:
    """Draw a histogram of lengths as an SVG: the share of each part's texts, and marks at what batches are padded to.

    Args:
        lengths: by part, (L, 2): a length, and how many texts have it.
        padded: lengths to which batches are padded.
        max_length: the most pieces of a text; None where that is unknown.
        unit: what lengths are counted in.

    >>> lengths_plot({"test": np.array([[3, 5], [9, 1]])}, (8, 16), 16)[:4]
    '<svg'
    """
    longest = max((int(each[:, 0].max()) for each in lengths.values() if len(each)), default=1)
    end = max(longest, *padded, 1)
    step = _step(end)
    bins = max(math.ceil((end + 1) / step), 1)
    shares = {name: _shares(each, step, bins) for name, each in lengths.items()}
    highest = max((float(each.max()) for each in shares.values()), default=0.0) or 1.0
    scale, across = _HEIGHT / highest, _WIDTH / (bins * step)
    floor = _TOP + _HEIGHT
    body = [f'<path d="M0 {floor}H{_WIDTH}" style="stroke: var(--muted, #5a6270)"/>']
    for (name, each), look in zip(shares.items(), _cycled(len(shares)), strict=True):
        path = f"M0 {floor}" + "".join(
            f"V{floor - share * scale:.1f}H{(number + 1) * step * across:.1f}" for number, share in enumerate(each)
        )
        body.append(f'<path d="{path}V{floor}" style="{look}"><title>{html.escape(shown(name))}</title></path>')
    marks = [(length, False) for length in padded if length != max_length]
    marks += [(max_length, True)] if max_length is not None and max_length <= 1.15 * end else []
    last = math.inf
    for length, is_most in sorted(marks, reverse=True):
        x = min((length + 0.5) * across, _WIDTH - 1)
        dash, weight = ("", 2) if is_most else ("; stroke-dasharray: 2 3", 1.2)
        style = f"stroke: var(--ink, #14181f); stroke-width: {weight}{dash}"
        body.append(f'<path d="M{x:.1f} {_TOP - 8}V{floor}" style="{style}"/>')
        label = f"max {length:,}" if is_most else f"{length:,}"
        if x + 6 * len(label) / 2 < last:  # where there is room
            anchor = "end" if x > _WIDTH - 40 else "middle"
            body.append(_text(x, _TOP - 13, label, anchor))
            last = x - 6 * len(label) / (1 if anchor == "end" else 2) - 6
    body += [_text(tick * across, floor + 16, f"{tick:,}", "start" if not tick else "middle") for tick in _ticks(end)]
    body.append(_text(_WIDTH / 2, floor + 34, f"length in {unit}", "middle"))
    told = "; ".join(
        f"{shown(name)}: {int(each[:, 1].sum()):,} texts of {int(each[:, 0].min())} to {int(each[:, 0].max())}"
        for name, each in lengths.items() if len(each)
    )  # fmt: skip
    height = _TOP + _HEIGHT + _BOTTOM
    return (
        f'<svg role="img" aria-labelledby="lengths-title lengths-desc" viewBox="-2 0 {_WIDTH + 4} {height}">'
        f'<title id="lengths-title">Lengths of the texts in {html.escape(unit)}</title>'
        f'<desc id="lengths-desc">{html.escape(told)}</desc>{"".join(body)}</svg>'
    )


def key_of(number: int) -> str:
    """Return the style that part `number` is drawn in."""
    return _LOOKS[number % len(_LOOKS)]


def _cycled(count: int) -> list[str]:
    return [key_of(number) for number in range(count)]


def _step(end: int) -> int:
    """Return the width of a bar: 1, 2 or 5 times a power of ten, with at most 48 bars."""
    sizes = (unit * 10**power for power in range(20) for unit in (1, 2, 5))
    return next(size for size in sizes if (end + 1) / size <= _MOST_BARS)


def _shares(lengths: np.ndarray, step: int, bins: int) -> np.ndarray:
    """Return the share of the texts in each bar."""
    places = np.minimum(lengths[:, 0] // step, bins - 1)
    counts = np.bincount(places, weights=lengths[:, 1].astype(np.float64), minlength=bins)
    shares: np.ndarray = counts / max(counts.sum(), 1)
    return shares


def _ticks(end: int) -> list[int]:
    """Return about six round lengths from 0 on."""
    sizes = (unit * 10**power for power in range(20) for unit in (1, 2, 5))
    step = next(size for size in sizes if end / size <= 8)
    return list(range(0, end + 1, step))


def _text(x: float, y: float, text: str, anchor: str) -> str:
    style = "fill: var(--muted, #5a6270); font: 12px var(--sans, sans-serif)"
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" style="{style}">{html.escape(text)}</text>'
