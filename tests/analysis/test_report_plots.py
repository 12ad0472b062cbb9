"""Plots: well-formed SVG that takes its colours from the page and its texts as they are."""

import dataclasses
import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from tlx.analysis import Epoch, confusion, curves
from tlx.analysis.names import shown

HOSTILE = (
    "<script>alert(1)</script>",
    '" onload="alert(1)',
    "$x^2$",
    r"$\frac{",
    "{{7*7}}",
    "a\nb",
    "\u202egnp",
    "日本",
    "\x00",
    "",
)


def epochs(run: str, lengths: list[int], name: str = "phase", loss: float = 1.0) -> list[Epoch]:
    rows: list[Epoch] = []
    for index, length in enumerate(lengths):
        for _ in range(length):
            n = len(rows) + 1
            rows.append(
                Epoch(run, f"{name}{index}", index, n, loss / n, 1 - 1 / (n + 1), loss / n, 1 - 1 / (n + 2), 1.0, {})
            )
    return rows


def texts(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)
    return [text.text or "" for text in root.iter("{http://www.w3.org/2000/svg}text")]


def strokes(svg: str, colour: str) -> int:
    """Count the lines drawn in a colour of the page."""
    return len(re.findall(rf'<path [^>]*clip-path="[^"]*" style="fill: none;[^"]*stroke: var\(--{colour}, ', svg))


@pytest.mark.parametrize("quantity", ["loss", "accuracy"])
def test_curves_name_phases_and_runs(quantity: str) -> None:
    svg = curves([*epochs("transfer", [3, 4]), *epochs("scratch", [7])], quantity)  # type: ignore[arg-type]
    said = texts(svg)
    assert "1 phase0" in said
    assert "2 phase1" in said
    assert "transfer" in said
    assert "from scratch" in said
    assert strokes(svg, "transfer") == strokes(svg, "scratch") == 2  # training and validation
    assert svg.count("var(--band") == 1  # the first phase of two is shaded
    expected = {"loss": ["0.143", "0.143"], "accuracy": ["88.9%", "88.9%"]}[quantity]
    assert [text for text in said if text in expected] == expected


def test_curves_without_validation_and_without_scratch() -> None:
    rows = [dataclasses.replace(row, val_loss=math.nan, val_accuracy=math.nan) for row in epochs("transfer", [5])]
    svg = curves(rows, "loss")
    assert strokes(svg, "transfer") == 1
    assert strokes(svg, "scratch") == 0
    assert "from scratch" not in texts(svg)
    assert "training loss 0.2" in svg


@pytest.mark.parametrize("quantity", ["loss", "accuracy"])
@pytest.mark.parametrize("value", [math.nan, 0.0, 1e30, -1.0])
def test_curves_survive_any_figure(quantity: str, value: float) -> None:
    rows = epochs("transfer", [3])
    rows[1] = dataclasses.replace(rows[1], **{quantity: value, f"val_{quantity}": value})
    for metrics in ([], rows[1:2], rows, [dataclasses.replace(row, **{quantity: value}) for row in rows]):
        ElementTree.fromstring(curves(metrics, quantity))  # type: ignore[arg-type]


def test_a_loss_over_decades_gets_a_logarithmic_axis() -> None:
    linear, logarithmic = (texts(curves(epochs("transfer", [n]), "loss")) for n in (20, 200))
    assert {"0.01", "0.1", "1"} <= set(logarithmic)
    assert "0.2" in linear
    assert "0.01" not in linear


def test_narrow_phases_lose_their_names_not_their_numbers() -> None:
    said = texts(curves(epochs("transfer", [40, 2, 40], name="thaw the stage "), "loss"))
    assert "1 thaw the stage 0" in said
    assert not any(text.startswith("2 thaw") for text in said)


def test_hostile_phase_names_stay_text() -> None:
    for name in HOSTILE:
        rows = [dataclasses.replace(row, phase=name) for row in epochs("transfer", [9])]
        svg = curves(rows, "loss")
        assert f"1 {shown(name)}"[:9] in {text[:9] for text in texts(svg)} or name in ("", "\x00")
        assert "<script" not in svg


@pytest.mark.parametrize("classes", [2, 10, 20, 21, 47, 60, 61, 130, 1000])
def test_confusion_stays_readable(classes: int) -> None:
    labels = np.arange(3 * classes) % classes
    predicted = np.where(np.arange(3 * classes) < classes, (labels + 1) % classes, labels)
    svg = confusion(labels, predicted, [f"<{i}>" for i in range(classes)])
    said = texts(svg)
    names, counts = {text for text in said if text.startswith("<")}, [text for text in said if text.isdigit()]
    assert len(names) == (classes if classes <= 60 else 0)
    assert sorted(counts) == (["1"] * classes + ["2"] * classes if classes <= 20 else [])
    assert ("<image" in svg) == (classes > 60)
    assert len(svg) < 600_000
    assert f"{3 * classes} test examples of {classes} classes, 66.7% on the diagonal." in svg


def test_confusion_colours_mistakes_apart() -> None:
    svg = confusion(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), ["cat", "dog"])
    assert len(re.findall(r'style="fill: var\(--transfer', svg)) == 2
    assert len(re.findall(r'style="fill: var\(--scratch', svg)) == 1


def test_confusion_of_hostile_names() -> None:
    svg = confusion(np.arange(len(HOSTILE)), np.zeros(len(HOSTILE), int), HOSTILE)
    said = texts(svg)
    for name in HOSTILE:
        assert said.count(shown(name, 16)) == 2, name  # once for each axis, as text
    assert "<script" not in svg
    assert not re.search(r"<[^>]*\son\w+=", svg)


def test_svgs_keep_their_ids_and_colours_apart() -> None:
    svgs = [
        curves(epochs("transfer", [3]), "loss"),
        curves(epochs("transfer", [3]), "accuracy"),
        confusion(np.arange(2), np.arange(2), "ab"),
    ]
    ids = [set(re.findall(r'\bid="([^"]*)"', svg)) for svg in svgs]
    assert not ids[0] & ids[1]
    assert not ids[1] & ids[2]
    assert not ids[0] & ids[2]
    for svg, own in zip(svgs, ids, strict=True):
        assert set(re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', svg))
        assert set(re.findall(r'href="#([^"]*)"', svg)) <= own
        assert set(re.findall(r"url\(#([^)]*)\)", svg)) <= own
        assert not re.search(r"#0([1-7])0\1", svg)
        assert "DejaVu" not in svg
        assert "<style" not in svg
        assert svg == svg.strip()
        assert svg.startswith('<svg role="img" aria-labelledby=')


def test_plots_are_the_same_each_time_and_whatever_the_users_settings() -> None:
    import matplotlib

    rows = epochs("transfer", [3])
    with matplotlib.rc_context({"text.usetex": True, "axes.facecolor": "red", "svg.fonttype": "path"}):
        assert curves(rows, "loss") == curves(rows, "loss")
        one = curves(rows, "loss")
    assert one == curves(rows, "loss")


def test_shown_is_one_line_that_encodes_and_orders_nothing() -> None:
    text = "a\r\nb\tc\u202ed\u200fe\ud800f\u2028g\x1b[31mh\u200d"
    assert shown(text) == "a↵b c\ufffdd\ufffde\ufffdf\ufffdg\ufffd[31mh\u200d"
    shown(text).encode("utf-8")
    assert shown("x" * 81) == "x" * 48 + "…" + "x" * 31
    assert shown("x" * 80) == "x" * 80
    assert shown(" \n") == "\u0020↵"
    assert shown("") == shown("  ") == "␣"
