"""Draw a run as SVG that takes its colours from the page: curves over the phases, confusions, calibration."""

import html
import io
import itertools
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from tlx.analysis.metrics import calibration, confusion_matrix, expected_calibration_error
from tlx.analysis.names import shown
from tlx.records.epoch import Epoch

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours that stand for a CSS variable of the page, with the colour an SVG on its own falls back to. The two runs, and
# right and wrong, are blue and vermilion of Okabe and Ito's palette, which every kind of colour blindness tells apart.
_INK, _MUTED, _GRID, _BAND, _TRANSFER, _SCRATCH, _PAPER = (f"#0{i}0{i}0{i}" for i in range(1, 8))
_THEME = {
    _INK: "var(--ink, #14181f)",
    _MUTED: "var(--muted, #5a6270)",
    _GRID: "var(--grid, #e3e5e8)",
    _BAND: "var(--band, #f1f2f4)",
    _TRANSFER: "var(--transfer, #0067a5)",
    _SCRATCH: "var(--scratch, #b84a00)",
    _PAPER: "var(--paper, #ffffff)",
}
_RIGHT, _WRONG = (0.0, 0.447, 0.698), (0.835, 0.369, 0.0)  # in an image, which no variable reaches, on any background
_MOST_COUNTED, _MOST_NAMED, _MOST_CELLS = 20, 60, 125  # classes: with counts, with names, in a matrix not pooled
_STYLE = {"svg.fonttype": "none", "svg.hashsalt": "tlx", "font.size": 9.0, "axes.unicode_minus": False}
_RUNS = (("scratch", _SCRATCH, "from scratch"), ("transfer", _TRANSFER, "transfer"))


@contextmanager
def _own_style() -> Iterator[None]:
    """Set matplotlib's defaults and ours, whatever a matplotlibrc says."""
    from matplotlib import style

    with style.context(["default", _STYLE]):
        yield


@_own_style()
def curves(metrics: Sequence[Epoch], quantity: str) -> str:
    """Draw the loss or a metric by epoch as an SVG: training dashed, validation solid, transfer blue, scratch orange.

    The phases of the transfer are shaded and named. Losses that span more than a factor of 30 get a logarithmic axis.
    Figures that are NaN leave a gap.

    >>> curves([Epoch("transfer", "head", 0, 1, 0.5, 0.9, 0.6, 0.8, 1.0, {})], "loss")[:4]
    '<svg'
    """
    from matplotlib.ticker import MaxNLocator

    figure, axes = _figure(4.5, 3.1)
    values = [figure_ for epoch in metrics for figure_ in (_of(epoch, quantity), _of(epoch, f"val_{quantity}"))]
    finite = [value for value in values if math.isfinite(value)]
    last = max((epoch.epoch for epoch in metrics), default=1)
    axes.set_xlim(0.5, last + 0.5)
    if quantity == "accuracy":
        low = min(finite, default=0.0)
        axes.set_ylim(max(low - 0.04, 0.0) if low > 0.1 else 0.0, 1.015)
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.4g}%")
    else:
        if finite and min(finite) > 0 and max(finite) > 30 * min(finite):
            axes.set_yscale("log", subs=(2, 5))
        elif finite:
            axes.set_ylim(min(0.0, min(finite)), 1.06 * max(finite) or 1.0)
        # Not matplotlib's own, which would set its powers of ten as mathematics.
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.3g}")
        axes.yaxis.set_minor_formatter(lambda value, _: f"{value:.3g}")
    ends = []
    for run, colour, name in _RUNS:
        rows = sorted((epoch for epoch in metrics if epoch.run == run), key=lambda epoch: epoch.epoch)
        if not rows:
            continue
        x = [row.epoch for row in rows]
        train = [_of(row, quantity) for row in rows]
        held_out = [_of(row, f"val_{quantity}") for row in rows]
        main = held_out if any(map(math.isfinite, held_out)) else train
        dot = "o" if len(rows) <= 24 else ""
        if main is held_out:
            axes.plot(x, train, color=colour, linewidth=1.1, linestyle=(0, (2.5, 2)), marker=dot, markersize=1.6)
        axes.plot(x, main, color=colour, linewidth=2.0, marker=dot, markersize=3.4, solid_capstyle="round")
        point = next(((a, b) for a, b in zip(reversed(x), reversed(main), strict=True) if math.isfinite(b)), None)
        if point:
            ends.append((point[1], name, colour))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.set_xlabel("epoch", color=_MUTED)
    _label_ends(axes, ends, quantity)
    _shade_phases(axes, [epoch for epoch in metrics if epoch.run == "transfer"], last)
    return _svg(figure, f"{words(quantity)} by epoch", _describe(metrics, quantity), f"curves-{quantity}")


def _of(epoch: Epoch, quantity: str) -> float:
    """Return what an epoch measured, NaN for what it did not."""
    found: float | None = getattr(epoch, quantity, None)
    return epoch.figures.get(quantity, math.nan) if found is None else found


def words(metric: str) -> str:
    """Write a metric's name as people do.

    >>> words("mean_average_precision"), words("mae"), words("r2")
    ('Mean average precision', 'MAE', 'R²')
    """
    known = {"mae": "MAE", "rmse": "RMSE", "r2": "R²", "f1_micro": "F1 (micro)", "f1_macro": "F1 (macro)"}
    return known.get(metric, metric.replace("_", " ").capitalize())


@_own_style()
def scatter(targets: np.ndarray, predictions: np.ndarray, name: str, number: int = 0) -> str:
    """Draw the predictions of a number (N,) over what they should be as an SVG; on the dashed line they agree.

    >>> scatter(np.array([1.0, 2.0]), np.array([1.5, 2.0]), "height")[:4]
    '<svg'
    """
    figure, axes = _figure(3.4, 3.1)
    both = np.concatenate([targets, predictions])
    low, high = float(both.min()), float(both.max())
    room = 0.05 * (high - low) or 1.0
    limits = (low - room, high + room)
    axes.plot(limits, limits, color=_INK, linewidth=1.1, linestyle=(0, (2.5, 2)))
    size = 14.0 if len(targets) <= 200 else 5.0
    axes.scatter(targets, predictions, s=size, color=_TRANSFER, alpha=0.55, linewidths=0)
    axes.set(xlim=limits, ylim=limits, aspect="equal")
    axes.set_xlabel("true", color=_MUTED)
    axes.set_ylabel("predicted", color=_MUTED)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:.4g}")
    error = float(np.abs(targets - predictions).mean())
    description = f"{len(targets)} test examples; predictions are {error:.3g} off on average."
    return _svg(figure, f"{shown(name, 60)}: predicted over true", description, f"scatter-{number}")


@_own_style()
def confusion(labels: np.ndarray, predicted: np.ndarray, classes: Sequence[str]) -> str:
    """Draw the confusion matrix of (N,) labels and predictions as an SVG: rows are true classes.

    Up to 20 classes every cell has its count, up to 60 every row its name; more than 125 are pooled, neighbour with
    neighbour. Cells on the diagonal are blue, mistakes vermilion, each the stronger the larger its share of the row.

    >>> confusion(np.array([0, 1]), np.array([0, 0]), ["cat", "dog"])[:4]
    '<svg'
    """
    pooled = -(-len(classes) // _MOST_CELLS)
    cells = -(-len(classes) // pooled)
    counts = confusion_matrix(np.asarray(labels) // pooled, np.asarray(predicted) // pooled, cells)
    right = np.bincount(np.asarray(labels)[labels == predicted] // pooled, minlength=cells)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    np.fill_diagonal(share, right / np.maximum(counts.sum(1), 1))
    strength = np.where(np.eye(cells, dtype=bool), 0.08 + 0.92 * share, 0.14 + 0.86 * np.sqrt(share)) * (counts > 0)

    size = min(max(3.4, 1.6 + 0.36 * cells), 7.2)
    figure, axes = _figure(size, size * 0.93)
    axes.set_xlabel("predicted", color=_MUTED)
    axes.set_ylabel("true", color=_MUTED)
    axes.grid(False)
    if len(classes) <= _MOST_NAMED:
        _draw_cells(axes, strength)
        _name_classes(axes, classes)
    else:
        _draw_image(axes, strength)
    if len(classes) <= _MOST_COUNTED:
        points = 9.0 if len(str(counts.max())) <= 4 else 6.5
        for row, column in zip(*np.nonzero(counts), strict=True):
            ink = _PAPER if strength[row, column] > 0.6 else _INK
            axes.text(
                column, row, f"{counts[row, column]}", color=ink, fontsize=points, ha="center", va="center_baseline"
            )
    accuracy = float(np.mean(np.asarray(labels) == predicted)) if len(labels) else math.nan
    description = f"{len(labels)} test examples of {len(classes)} classes, {100 * accuracy:.1f}% on the diagonal."
    return _svg(figure, "Confusion matrix", description, "confusion")


@_own_style()
def reliability(correct: np.ndarray, confidence: np.ndarray) -> str:
    """Draw the accuracy of (N,) predictions over their confidence as an SVG: a bar a bin of `calibration`.

    The more examples a bin has, the stronger its colour. On the dashed line confidence and accuracy agree.

    >>> reliability(np.array([True, False]), np.array([0.9, 0.6]))[:4]
    '<svg'
    """
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Rectangle

    found = calibration(correct, confidence)
    width, strength = 1 / len(found.count), np.sqrt(found.count / found.count.max())
    figure, axes = _figure(3.4, 2.7)
    for place in np.flatnonzero(found.count):
        colour = to_rgba(_TRANSFER, 0.15 + 0.85 * strength[place])
        corner, height = ((place + 0.06) * width, 0), found.accuracy[place]
        axes.add_patch(Rectangle(corner, 0.88 * width, height, facecolor=colour, edgecolor=_TRANSFER, linewidth=0.8))
    axes.plot([0, 1], [0, 1], color=_INK, linewidth=1.1, linestyle=(0, (2.5, 2)))
    axes.set(xlim=(0, 1), ylim=(0, 1.015), aspect="equal")
    axes.set_xlabel("confidence", color=_MUTED)
    axes.set_ylabel("accuracy", color=_MUTED)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{100 * value:.4g}%")
    error = expected_calibration_error(correct, confidence)
    description = (
        f"Accuracy by confidence of {len(correct)} test examples; they differ by {100 * error:.1f}% on average."
    )
    return _svg(figure, "Reliability diagram", description, "reliability")


def _figure(width: float, height: float) -> "tuple[Figure, Axes]":
    """Make a figure of its own, apart from pyplot."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[:].set_visible(False)
    axes.tick_params(which="both", length=0, labelcolor=_MUTED, labelsize=8.5)
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _label_ends(axes: "Axes", ends: list[tuple[float, str, str]], quantity: str) -> None:
    """Write the last figure of each run right of the axes, at its height, labels pushed apart where they meet."""
    axes.get_ylim()  # matplotlib scales axes when it must; the heights below need it now
    to_axes = (axes.transData + axes.transAxes.inverted()).transform
    heights = sorted((float(to_axes((1.0, value))[1]), value, name, colour) for value, name, colour in ends)
    floor = -math.inf
    for height, value, name, colour in heights:
        place = max(min(height, 0.98 - 0.13 * (len(heights) - 1)) if floor == -math.inf else height, floor)
        floor = place + 0.13
        figure = f"{100 * value:.1f}%" if quantity == "accuracy" else f"{value:.3g}"
        text = f"{figure}\n{name}"
        axes.text(1.012, place, text, color=colour, transform=axes.transAxes, va="center", weight="bold", fontsize=8.5)


def _shade_phases(axes: "Axes", rows: list[Epoch], last: int) -> None:
    """Shade every other phase and write its number, and its name where there is room, above it."""
    ordered = sorted(rows, key=lambda row: row.epoch)
    for place, (index, group) in enumerate(itertools.groupby(ordered, key=lambda row: row.phase_index)):
        epochs = list(group)
        begin, end = epochs[0].epoch - 0.5, epochs[-1].epoch + 0.5
        if place % 2 == 0:
            axes.axvspan(begin, end, facecolor=_BAND, zorder=0)
        if place:
            axes.axvline(begin, color=_GRID, linewidth=1.0, zorder=0.5)
        room = int(46 * (end - begin) / last)
        label = shown(f"{index + 1} {epochs[0].phase}", max(room, 4)) if room >= 8 else str(index + 1)
        if room >= 2:
            text = axes.text((begin + end) / 2, 1.025, label, color=_MUTED, fontsize=8.5, parse_math=False)
            text.set(transform=axes.get_xaxis_transform(), ha="center", va="bottom")


def _draw_cells(axes: "Axes", strength: np.ndarray) -> None:
    """Draw a square for each cell that is not empty, on a grid."""
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Rectangle

    for row, column in zip(*np.nonzero(strength), strict=True):
        colour = to_rgba(_TRANSFER if row == column else _SCRATCH, strength[row, column])
        axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=colour, linewidth=0))
    edges, end = np.arange(len(strength) + 1) - 0.5, len(strength) - 0.5
    axes.hlines(edges, -0.5, end, color=_GRID, linewidth=0.6)
    axes.vlines(edges, -0.5, end, color=_GRID, linewidth=0.6)
    axes.set(xlim=(-0.5, end), ylim=(end, -0.5), aspect="equal")


def _draw_image(axes: "Axes", strength: np.ndarray) -> None:
    """Draw the cells as one image, in a frame and without names."""
    image = np.empty((*strength.shape, 4))
    image[..., :3] = np.where(np.eye(len(strength), dtype=bool)[..., None], _RIGHT, _WRONG)
    image[..., 3] = strength
    axes.imshow(image, interpolation="none")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, color=_GRID)


def _name_classes(axes: "Axes", classes: Sequence[str]) -> None:
    names = [shown(name, 16) for name in classes]
    upright = max(map(len, names)) <= (2 if len(names) > 12 else 4)
    turn = {"rotation": 0} if upright else {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    size = 8.5 if len(names) <= _MOST_COUNTED else 6.0
    axes.set_xticks(range(len(names)), names, parse_math=False, fontsize=size, **turn)
    axes.set_yticks(range(len(names)), names, parse_math=False, fontsize=size)


def _describe(metrics: Sequence[Epoch], quantity: str) -> str:
    """Say in words what the curves show, for those who cannot see them."""
    sentences = []
    for run, _, name in reversed(_RUNS):
        rows = sorted((epoch for epoch in metrics if epoch.run == run), key=lambda epoch: epoch.epoch)
        if rows:
            figure = _of(rows[-1], f"val_{quantity}")
            part, figure = ("validation", figure) if math.isfinite(figure) else ("training", _of(rows[-1], quantity))
            sentences.append(f"{name}: {len(rows)} epochs, {part} {quantity} {figure:.3g} in the last")
    return ("; ".join(sentences) or "no epochs were recorded").capitalize() + "."


def _svg(figure: "Figure", title: str, description: str, prefix: str) -> str:
    """Render to an `<svg>` element that can stand beside others in a page: own ids, the page's colours and font."""
    target = io.StringIO()
    metadata: dict[str, Any] = {"Date": None, "Creator": None, "Format": None, "Type": None}
    with warnings.catch_warnings():
        # The browser sets the text in its own fonts; matplotlib's only estimate the room that it takes.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from", category=UserWarning)
        figure.savefig(target, format="svg", metadata=metadata, transparent=True)
    text = target.getvalue()
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text[text.index("<svg") :], count=1, flags=re.DOTALL)
    # Only tags are rewritten: matplotlib escapes < and > in all that it writes, so a class name is never within one.
    body = re.sub(r"<[^<>]+>", lambda tag: _adopt(tag.group(), prefix), text)
    root = f'<svg role="img" aria-labelledby="{prefix}-title {prefix}-desc" style="stroke-linejoin: round" '
    head, _, rest = body.removeprefix("<svg ").partition(">")
    name = f'<title id="{prefix}-title">{html.escape(title)}</title>'
    return f'{root}{head}>{name}<desc id="{prefix}-desc">{html.escape(description)}</desc>{rest.strip()}'


def _adopt(tag: str, prefix: str) -> str:
    tag = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}-", tag)
    tag = re.sub(r"font-family: [^;\"]*", "font-family: var(--sans, sans-serif)", tag)
    return re.sub(rf"({'|'.join(_THEME)})\b", lambda found: _THEME[found[1]], tag)
