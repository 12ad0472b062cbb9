"""Draw the map of the features as SVG: a mark an example, coloured by its class, or by right and wrong."""

import html
from collections.abc import Sequence

import numpy as np

from tlx.analysis.names import shown

MOST_COLOURED = 12  # classes that get a colour and a shape of their own
_MOST_NAMED = 60  # classes named on the map
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")  # of Okabe and Ito
_SHAPES = (  # of about one area; five, so that no two of 12 classes have both colour and shape in common
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
    "M-3.6-3.6h7.2v7.2h-7.2z",
    "M0-5l4.8 8.2h-9.6z",
    "M-1.7-4.8h3.4v3.1h3.1v3.4h-3.1v3.1h-3.4v-3.1h-3.1v-3.4h3.1z",
    "M0-5.2l4.4 5.2l-4.4 5.2l-4.4-5.2z",
)
_SIDE, _MARGIN = 640.0, 16.0
_EDGE = "stroke: var(--ink, #14181f); stroke-opacity: 0.5; stroke-width: 0.7"


def feature_map(
    points: np.ndarray, labels: np.ndarray, predicted: np.ndarray, classes: Sequence[str], rows: np.ndarray
) -> str:
    """Draw points (M, 2) of M examples as an SVG; `labels`, `predicted` and `rows` (their numbers) are (M,).

    Up to 12 classes each has a colour and a shape (`class_mark`), and a ring marks each mistake; of more, right and
    wrong have, and up to 60 names stand amid their classes. What an example is and was taken for is told on pointing.

    >>> feature_map(np.eye(2), np.array([0, 1]), np.array([0, 0]), ["cat", "dog"], np.array([7, 9]))[:4]
    '<svg'
    """
    low, extent = (points.min(0), np.ptp(points, 0)) if len(points) else (np.zeros(2), np.zeros(2))
    scale = _SIDE / (extent.max() or 1.0)
    places = (points - low) * (scale, -scale) + (_MARGIN, extent[1] * scale + _MARGIN)
    width, height = extent * scale + 2 * _MARGIN
    wrong, told = labels != predicted, [shown(name, 40) for name in classes]
    body = [f'<path id="map-shape-{number}" d="{shape}"/>' for number, shape in enumerate(_SHAPES)]
    body = [f'<defs>{"".join(body)}<circle id="map-ring" r="7.5"/></defs>']

    def draw(which: np.ndarray, shape: str, style: str) -> None:
        marks = []
        for x, y, label, answer, row in zip(
            *places[which].T, labels[which], predicted[which], rows[which], strict=True
        ):
            taken = f", taken for {told[answer]}" if answer != label else ""
            title = html.escape(f"Test example {row}: {told[label]}{taken}")
            marks.append(f'<use href="#map-{shape}" x="{x:.1f}" y="{y:.1f}"><title>{title}</title></use>')
        body.append(f'<g style="{style}">{"".join(marks)}</g>')

    if len(classes) <= MOST_COLOURED:
        for number in range(len(classes)):
            colour, shape = _look(number)
            draw(labels == number, f"shape-{shape}", f"fill: {colour}; {_EDGE}")
        draw(wrong, "ring", "fill: none; stroke: var(--ink, #14181f); stroke-width: 1.8")
    else:
        draw(~wrong, "shape-0", f"fill: var(--transfer, #0067a5); {_EDGE}")
        draw(wrong, "shape-4", f"fill: var(--scratch, #b84a00); {_EDGE}")
        if len(classes) <= _MOST_NAMED:
            body.append(_names(places, labels, classes))
    description = f"{len(points)} test examples of {len(classes)} classes, {int(wrong.sum())} of them mistaken."
    return (
        f'<svg role="img" aria-labelledby="map-title map-desc" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'xmlns="http://www.w3.org/2000/svg"><title id="map-title">Map of the features</title>'
        f'<desc id="map-desc">{description}</desc>{"".join(body)}</svg>'
    )


def class_mark(number: int) -> str:
    """Draw the mark of a class below 12 on the map, for its legend.

    >>> class_mark(0)[:4]
    '<svg'
    """
    colour, shape = _look(number)
    style = f"fill: {colour}; {_EDGE}"
    return (
        f'<svg class="mark" viewBox="-6 -6 12 12" aria-hidden="true"><path d="{_SHAPES[shape]}" style="{style}"/></svg>'
    )


def _look(number: int) -> tuple[str, int]:
    return _COLOURS[number % len(_COLOURS)], number % len(_SHAPES)


def _names(places: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> str:
    """Write the name of each class at the example nearest to the median of its places."""
    texts = []
    for number in np.unique(labels):
        own = places[labels == number]
        x, y = own[np.square(own - np.median(own, 0)).sum(1).argmin()]
        texts.append(f'<text x="{x:.1f}" y="{y:.1f}">{html.escape(shown(classes[number], 16))}</text>')
    style = (
        "fill: var(--ink, #14181f); stroke: var(--paper, #ffffff); stroke-width: 4px; paint-order: stroke; "
        "font: 700 15px var(--sans, sans-serif); text-anchor: middle; dominant-baseline: central; pointer-events: none"
    )
    return f'<g style="{style}">{"".join(texts)}</g>'
