"""Plots: well-formed SVG that takes its colours from the page and its texts as they are."""

import dataclasses
import itertools
import math
import re
from collections.abc import Sequence
from xml.etree import ElementTree

import numpy as np
import pytest

from tlx.analysis import Epoch, confusion, curves, feature_map, reliability
from tlx.analysis.names import shown

SVG = "{http://www.w3.org/2000/svg}"
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
    return [text.text or "" for text in root.iter(f"{SVG}text")]


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


@pytest.mark.slow
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


def test_reliability_draws_a_bar_a_bin() -> None:
    correct, confidence = np.array([True, True, False, True, False]), np.array([0.95, 0.99, 0.97, 0.5, 0.1])
    svg = reliability(correct, confidence)
    bars = re.findall(r'<path d="([^"]*)" clip-path="[^"]*" style="fill: var\(--transfer', svg)
    heights = [np.ptp([float(number) for number in re.findall(r"[ML] [\d.]+ ([\d.]+)", bar)]) for bar in bars]
    np.testing.assert_allclose(np.array(heights) / max(heights), [0, 1, 2 / 3], atol=1e-6)
    assert "Accuracy by confidence of 5 test examples; they differ by 30.2% on average." in svg
    assert {"confidence", "accuracy", "100%"} <= set(texts(svg))


def mapped(classes: int, examples: int = 90, names: Sequence[str] | None = None) -> str:
    """Draw a map of examples of so many classes, of which each third is taken for the class after its own."""
    points = np.random.default_rng(0).normal(size=(examples, 2))
    labels = np.arange(examples) % classes
    predicted = np.where(np.arange(examples) % 3 == 0, (labels + 1) % classes, labels)
    return feature_map(points, labels, predicted, names or [f"<{i}>" for i in range(classes)], 7 * np.arange(examples))


def marks(svg: str) -> dict[tuple[str, str], list[tuple[float, float, str]]]:
    """Return the marks of a map by their fill and their shape: place and title."""
    found: dict[tuple[str, str], list[tuple[float, float, str]]] = {}
    for group in ElementTree.fromstring(svg).iter(f"{SVG}g"):
        fill = group.attrib["style"].partition(";")[0]
        for mark in group.iter(f"{SVG}use"):
            place = (float(mark.attrib["x"]), float(mark.attrib["y"]), mark[0].text or "")
            found.setdefault((fill, mark.attrib["href"]), []).append(place)
    return found


@pytest.mark.parametrize("classes", [1, 2, 10, 12])
def test_a_map_of_few_classes_gives_each_a_look_of_its_own(classes: int) -> None:
    found = marks(mapped(classes))
    rings = found.pop(("fill: none", "#map-ring"), [])
    assert len(found) == classes
    assert sum(map(len, found.values())) == 90
    assert len(rings) == (30 if classes > 1 else 0)
    of_class_0 = next(iter(found.values()))
    assert {title.partition(",")[0].partition(": ")[2] for _, _, title in of_class_0} == {"<0>"}
    assert set(rings) <= {mark for group in found.values() for mark in group}


@pytest.mark.parametrize(("classes", "named"), [(13, 13), (60, 60), (61, 0)])
def test_a_map_of_many_classes_tells_right_from_wrong(classes: int, named: int) -> None:
    svg = mapped(classes)
    found = {look: len(group) for look, group in marks(svg).items()}
    assert found == {
        ("fill: var(--transfer, #0067a5)", "#map-shape-0"): 60,
        ("fill: var(--scratch, #b84a00)", "#map-shape-4"): 30,
    }
    assert len(texts(svg)) == named


def test_a_name_stands_at_an_example_of_its_class() -> None:
    points = np.array([[0, 0], [1, 0], [2, 0], [3, 0], [100, 100], *[[50, 0]] * 12], float)
    labels = np.array([0] * 5 + list(range(1, 13)))
    svg = feature_map(points, labels, labels, [str(i) for i in range(13)], np.arange(17))
    named = {text.text: text.attrib for text in ElementTree.fromstring(svg).iter(f"{SVG}text")}
    assert (named["0"]["x"], named["0"]["y"]) == ("28.8", "656.0")  # of (2, 0), the median, not the mean


def test_a_map_keeps_proportions_and_points_upwards() -> None:
    svg = feature_map(np.array([[0.0, 0], [4, 1]]), np.zeros(2, int), np.zeros(2, int), ["a"], np.array([5, 6]))
    (places,) = marks(svg).values()
    assert places == [(16, 176, "Test example 5: a"), (656, 16, "Test example 6: a")]
    assert ElementTree.fromstring(svg).attrib["viewBox"] == "0 0 672 192"


def test_a_map_of_points_in_one_place_and_of_none() -> None:
    for count in (0, 1, 3):
        none = np.zeros(count, int)
        svg = feature_map(np.zeros((count, 2)), none, none, ["a"], none)
        assert [place[:2] for group in marks(svg).values() for place in group] == [(16, 16)] * count
        assert f"{count} test examples of 1 classes, 0 of them mistaken." in svg


def test_a_map_of_hostile_names() -> None:
    for extra in (0, 20):  # with colours, and with names
        names = (*HOSTILE, *map(str, range(extra)))
        svg = mapped(len(names), 90, names)
        titles = {title for group in marks(svg).values() for _, _, title in group}
        for index, name in enumerate(names):
            assert any(f": {shown(name, 40)}" in title for title in titles), index
        assert "<script" not in svg
        assert not re.search(r"<[^>]*\son\w+=", svg)


def test_svgs_keep_their_ids_and_colours_apart() -> None:
    svgs = [
        curves(epochs("transfer", [3]), "loss"),
        curves(epochs("transfer", [3]), "accuracy"),
        confusion(np.arange(2), np.arange(2), "ab"),
        reliability(np.array([True, False]), np.array([0.9, 0.6])),
        mapped(2),
    ]
    ids = [set(re.findall(r'\bid="([^"]*)"', svg)) for svg in svgs]
    assert all(not one & other for one, other in itertools.combinations(ids, 2))
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
