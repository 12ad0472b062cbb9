"""The report: what a run did is on the page, the page needs nothing else, and no name gets out of its place."""

import base64
import hashlib
import io
import math
import os
import re
import stat
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from PIL import Image

from tlx.analysis import write_report
from tlx.analysis.report import data_name
from tlx.errors import StorageError

MakeRun = Callable[..., Path]
VOID = {"meta", "link", "img", "br", "hr", "input"}
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror="alert(1)">',
    "' style='position:fixed",
    "A" * 500,
    "日本語",
    "\u202eright to left\u200f",
    "two\nlines",
    "{{7*7}}{% raw %}",
    "$x^2$ $\\frac{",
    "</title></style></svg><svg onload=alert(1)>",
    "\ud800\x00",
    "",
)


class Element:
    """A node of the page: tag, attributes, children (elements and texts)."""

    def __init__(self, tag: str, attributes: dict[str, str]) -> None:
        self.tag, self.attributes, self.children = tag, attributes, list[Any]()

    def walk(self) -> Iterator["Element"]:
        yield self
        for child in self.children:
            if isinstance(child, Element):
                yield from child.walk()

    def find(self, tag: str, **attributes: str) -> list["Element"]:
        wanted = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
        return [
            element
            for element in self.walk()
            if element.tag == tag
            and all(value in element.attributes.get(key, "").split() for key, value in wanted.items())
        ]

    @property
    def text(self) -> str:
        whole = "".join(child if isinstance(child, str) else child.text for child in self.children)
        return re.sub(r"\s+", " ", whole).strip()


class Page(HTMLParser):
    """Parse a page, insisting that what is opened is closed."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.source = path.read_bytes().decode("utf-8")
        self.root = Element("", {})
        self.open = [self.root]
        self.feed(self.source)
        self.close()
        assert self.open == [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {key: value or "" for key, value in attrs})
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Element(tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag, f"</{tag}> at {self.getpos()}"

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)

    def section(self, name: str) -> Element:
        (found,) = self.root.find("section", aria_labelledby=name)
        return found


@pytest.fixture
def make_page(make_run: MakeRun) -> Callable[..., Page]:
    return lambda **changes: Page(write_report(make_run(**changes)))


MakePage = Callable[..., Page]


def rows(table: Element) -> list[list[str]]:
    return [
        [cell.text for cell in row.children if isinstance(cell, Element)]
        for body in table.find("tbody")
        for row in body.find("tr")
    ]


def test_the_page_is_written_whole_beside_the_run(make_run: MakeRun) -> None:
    run = make_run()
    before = set(run.iterdir())
    path = write_report(str(run))
    assert path == run / "report.html"
    assert set(run.iterdir()) - before == {path}
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((run / "run.json").stat().st_mode)
    first = path.read_bytes()
    assert first.strip().startswith(b"<!doctype html>")
    assert first.strip().endswith(b"</html>")
    write_report(run)
    assert path.read_bytes() == first


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_page_that_cannot_be_written_leaves_the_old_one(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    run = make_run()
    (run / "report.html").write_text("old")
    before = set(run.iterdir())

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(StorageError, match=r"report.html: cannot be written \(No space left on device\)"):
        write_report(run)
    assert set(run.iterdir()) == before
    assert (run / "report.html").read_text() == "old"


def test_the_headline(make_page: MakePage) -> None:
    page = make_page()
    (header,) = page.root.find("header")
    assert [element.text for element in header.find("h1")] == ["cnn-mnist → digits"]
    assert [element.text for element in header.find("div", class_="score")] == ["95.2%transfer", "85.7%from scratch"]
    tracks = [element.attributes["aria-label"] for element in header.find("div", class_="track")]
    assert tracks == [
        "transfer: 95.2%, 95% interval 93.0% to 96.7%",
        "from scratch: 85.7%, 95% interval 82.5% to 88.4%",
    ]
    assert "Accuracy on 540 test examples" in header.text
    assert "The same budget from scratch made 3.0 times as many mistakes." in header.text
    tiles = {tile.find("dt")[0].text: [dd.text for dd in tile.find("dd")] for tile in header.find("dl")[0].find("div")}
    assert tiles["labels used"] == ["200", "100 to train on, 100 to validate; at most 10 a class"]
    assert tiles["time"] == ["48 s", "15 epochs in 3 phases"]
    assert tiles["parameters"] == ["93,322", "93,322 trained at most"]
    assert [note.text for note in header.find("p", class_="note")] == ["digits: 8x8 images resized to 28x28"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scratch", "verdict"),
    [(0.96, "overlap"), (0.99, "did harm"), (0.7, "times as many"), (None, "95% intervals. ")],
)
def test_the_verdict_goes_either_way(make_page: MakePage, scratch: float | None, verdict: str) -> None:
    page = make_page(result={"scratch_accuracy": scratch})
    (lead,) = page.root.find("p", class_="lead")
    assert verdict in lead.text + " "
    assert len(page.root.find("div", class_="score")) == (1 if scratch is None else 2)


def test_the_table_of_phases(make_page: MakePage) -> None:
    (table,) = make_page().section("phases").find("table", class_="phases")
    found = rows(table)
    assert [row[0] for row in found] == ["1head", "2top", "3all", "from scratch, same budget", "1scratch"]
    assert found[0][1] == "37,578 head Cosine rate 0.001, warmup 10 · Adam"
    assert found[1][1] == (
        "74,506 base 36,928 Cosine rate 0.0001, warmup 10 · Adam head 37,578 Cosine rate 0.001, warmup 10 · Adam"
    )
    assert [row[2:6] for row in found if len(row) > 1] == [
        ["55,744", "4 best: 3", "91.0%", "3.2 s"],
        ["18,816", "5 stopped early best: 4", "95.5%", "3.2 s"],
        ["0", "6 best: 5", "97.0%", "3.2 s"],
        ["0", "15 best: 14", "85.0%", "3.2 s"],
    ]
    assert [row[6] for row in found if len(row) > 1] == [
        "✓ unchanged 9f2c9f2c",
        "✓ unchanged 4be14be1",
        "nothing frozen",
        "nothing frozen",
    ]


def test_frozen_bytes_that_changed_are_not_ticked(make_run: MakeRun) -> None:
    import json

    run = make_run()
    result = json.loads((run / "result.json").read_text())
    result["phases"][0]["frozen_sha256_after"] = "dead" * 16
    result["phases"][1]["frozen_sha256_after"] = None
    (run / "result.json").write_text(json.dumps(result))
    (table,) = Page(write_report(run)).section("phases").find("table", class_="phases")
    assert [row[6] for row in rows(table)[:2]] == ["✗ changed 9f2c9f2c to deaddead", "not recorded"]


def test_the_fingerprint_of_nothing_is_not_ticked(make_run: MakeRun) -> None:
    import hashlib
    import json

    run = make_run()
    result = json.loads((run / "result.json").read_text())
    for when in ("before", "after"):
        result["phases"][0][f"frozen_sha256_{when}"] = hashlib.sha256().hexdigest()
    (run / "result.json").write_text(json.dumps(result))
    (table,) = Page(write_report(run)).section("phases").find("table", class_="phases")
    assert rows(table)[0][6] == "not recorded"


def test_the_image_of_the_stages(make_page: MakePage) -> None:
    section = make_page().section("phases")
    (figure,) = section.find("figure", class_="stages")
    assert [head.text for head in figure.find("thead")[0].find("th")] == ["conv1", "conv2", "conv3", "head"]
    blocks = [
        [(block.attributes["class"].split()[1], block.find("b")[0].text) for block in row.find("div", class_="block")]
        for row in figure.find("tbody")[0].find("tr")
    ]
    frozen, head, base = ("label-frozen", "frozen"), ("label-0", "head"), ("label-1", "base")
    assert blocks == [[frozen, frozen, frozen, head], [frozen, frozen, base, head], [base, base, base, head]]


def test_a_run_that_does_not_know_its_stages(make_page: MakePage) -> None:
    section = make_page(run={"phases": []}).section("phases")
    assert not section.find("figure")
    assert len(rows(section.find("table", class_="phases")[0])) == 5


def test_curves_are_on_the_page_with_words_for_them(make_page: MakePage) -> None:
    section = make_page().section("curves")
    images = section.find("svg")
    assert [image.find("title")[0].text for image in images] == ["Loss by epoch", "Accuracy by epoch"]
    assert "Transfer: 15 epochs, validation accuracy" in images[1].find("desc")[0].text
    for image in images:
        said = [text.text for text in image.find("text")]
        assert "1 head" in said
        assert "2 top" in said
        assert "3 all" in said
        assert "from scratch" in said
    assert len(rows(section.find("table")[0])) == 30
    assert "Not finite" not in section.text


def test_a_loss_that_was_not_finite_is_told(make_page: MakePage) -> None:
    def spoil(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            {**row, "loss": math.nan} if 5 <= row["epoch"] <= 6 and row["run"] == "transfer" else row for row in rows
        ]

    section = make_page(metrics=spoil).section("curves")
    assert "Not finite in 2 epochs, first in epoch 5 of top (transfer)." in section.text


def test_the_confusion_and_the_classes(make_page: MakePage) -> None:
    page = make_page()
    section = page.section("confusion")
    assert section.find("h3")[0].text == "26 mistakes in 540"
    items = [item.text for item in section.find("li")]
    assert items[0] == "7 taken for 8 4 of 54"
    assert len(items) == 10
    assert "26 mistakes" in section.text
    assert len(section.find("svg")) == 1
    table = rows(page.section("classes").find("table")[0])
    scores = [float(row[1].rstrip("%")) for row in table]
    assert len(table) == 10
    assert scores == sorted(scores)
    assert scores[0] == 91.7
    assert table[0] == ["8", "91.7%", "90.9%", "92.6%", "54"]


def test_many_classes_wait_behind_a_click(make_page: MakePage) -> None:
    section = make_page(classes=tuple(f"class {i}" for i in range(47)), examples=470).section("classes")
    (details,) = section.find("details")
    assert details.find("summary")[0].text == "The other 32 classes"
    assert len(rows(details)) == 32
    assert len(rows(section)) == 47


def decoded(image: Element) -> tuple[str, np.ndarray]:
    """Return the kind and the pixels of an image of the page."""
    kind, _, code = image.attributes["src"].partition(";base64,")
    return kind.removeprefix("data:image/"), np.asarray(Image.open(io.BytesIO(base64.b64decode(code))))


@pytest.mark.slow
@pytest.mark.parametrize("image", [(9, 7), (9, 7, 1), (9, 7, 3), (9, 7, 4), (400, 300, 3)])
def test_the_mistakes_as_images(make_run: MakeRun, image: tuple[int, ...]) -> None:
    run = make_run(image=image, arrays={"loss": np.linspace(0, 5, 540)})
    with np.load(run / "evaluation.npz") as archive:
        arrays = dict(archive)
    section = Page(write_report(run)).section("mistakes")
    figures = section.find("figure")
    assert len(figures) == 24
    for place, (figure, index) in enumerate(zip(figures, arrays["mistakes"], strict=True)):
        shown, heat = figure.find("img")
        label, predicted = arrays["labels"][index], arrays["predicted"][index]
        assert shown.attributes["alt"] == f"Test example {index}: {label}, taken for {predicted}"
        assert heat.attributes["alt"] == f"What spoke for {predicted}"
        sure, truth = arrays["confidence"][index], np.exp(-arrays["loss"][index])
        assert figure.text == f"said {predicted}{sure:.0%} right: {label}{truth:.0%} images/{index}.png"
        if image[0] == 400:  # noise does not fit into a small PNG
            assert [(kind, pixels.shape) for kind, pixels in map(decoded, (shown, heat))] == [
                ("jpeg", (192, 144, 3))
            ] * 2
            continue
        kind, pixels = decoded(shown)
        expected = arrays["mistake_images"][place]
        assert kind == "png"
        np.testing.assert_array_equal(pixels, expected[..., 0] if image[2:] == (1,) else expected)
        grey = expected[..., :3].mean(-1) if len(image) == 3 else expected
        colours = matplotlib.colormaps["inferno"](arrays["mistake_maps"][place], bytes=True)[..., :3]
        assert np.abs(decoded(heat)[1] - (0.4 * grey[..., None] + 0.6 * colours)).max() < 2


@pytest.mark.slow
def test_24_photographs_make_no_large_page(make_run: MakeRun) -> None:
    """Noise is the worst of photographs (real ones come to half of it): as PNG these would be 7 MB."""
    assert write_report(make_run(image=(224, 224, 3))).stat().st_size < 1_600_000


def test_mistakes_without_heat_and_names(make_page: MakePage) -> None:
    """As bases without spatial features leave them, from sources without names."""
    empty = {"mistake_maps": np.zeros((0, 28, 28), np.uint8), "mistake_names": np.full(24, "")}
    section = make_page(arrays=empty).section("mistakes")
    figures = section.find("figure")
    assert len(figures) == len(section.find("img")) == 24
    assert not section.find("span", class_="file")
    assert "Grad-CAM" not in section.text


@pytest.mark.slow
def test_a_run_written_before_there_were_maps(make_page: MakePage) -> None:
    page = make_page(old=True)
    assert not page.root.find("section", aria_labelledby="map")
    figures = page.section("mistakes").find("figure")
    assert len(figures) == len(page.section("mistakes").find("img")) == 24


def test_the_calibration(make_page: MakePage) -> None:
    """All of 540 predictions with a confidence of 75%: a bin of one, and the error is its distance to the accuracy."""
    section = make_page(arrays={"confidence": np.full(540, 0.75)}).section("calibration")
    facts = {row.find("dt")[0].text: row.find("dd")[0].text for row in section.find("div") if row.find("dt")}
    assert facts["mean confidence"] == "75.0%"
    assert facts["accuracy"] == "95.2%"
    assert facts["expected calibration error"] == "20.2%"
    assert "they differ by 20.2% on average" in section.find("desc")[0].text


def test_no_calibration_of_what_is_no_number(make_page: MakePage) -> None:
    page = make_page(arrays={"confidence": np.full(540, np.nan)})
    assert not page.root.find("section", aria_labelledby="calibration")


def test_the_map_and_its_legend(make_run: MakeRun) -> None:
    run = make_run()
    with np.load(run / "evaluation.npz") as archive:
        arrays = dict(archive)
    section = Page(write_report(run)).section("map")
    (legend,) = section.find("p", class_="legend")
    assert [entry.text for entry in legend.find("bdi")] == list("0123456789")
    assert len(legend.find("svg", class_="mark")) == 10
    told = {title.text for mark in section.find("use") for title in mark.find("title")}
    rows = arrays["map_rows"]
    wrong = rows[arrays["labels"][rows] != arrays["predicted"][rows]]
    assert len(told) == len(rows) == 180
    for row in wrong:
        assert f"Test example {row}: {arrays['labels'][row]}, taken for {arrays['predicted'][row]}" in told
    assert len(section.find("use", href="#map-ring")) == len(wrong) > 0
    assert "t-SNE" in section.text


@pytest.mark.slow
def test_the_map_of_many_classes_and_of_few_examples(make_page: MakePage) -> None:
    many = make_page(classes=tuple(f"class {i}" for i in range(47)), examples=470, directory="many").section("map")
    assert [entry.text for entry in many.find("p", class_="legend")[0].find("span")] == ["right", "mistaken"]
    assert "Names stand amid" in many.text
    few = make_page(examples=12, arrays={"map_rows": np.arange(4), "map_points": np.zeros((4, 2))}).section("map")
    assert "t-SNE" not in few.text
    assert "first two principal components" in few.text


def test_how_to_repeat_it(make_page: MakePage) -> None:
    section = make_page().section("repeat")
    assert section.find("pre", class_="command")[0].text == (
        "tlx finetune --base cnn-mnist --data digits --recipe gradual --seed 0"
    )
    facts = {row.find("dt")[0].text: row.find("dd")[0].text for row in section.find("div") if row.find("dt")}
    assert facts["interpolation"] == "bilinear"
    assert facts["margin"] == "4"
    assert facts["invert"] == "no"
    assert facts["jax"] == "0.10.2"
    assert facts["batch size"] == "32"
    assert facts["units"] == "64"
    summaries = [details.find("summary")[0].text for details in section.find("details")]
    assert summaries == ["config.yaml, without the folders above its files", "The phases as planned"]
    assert section.find("details")[0].find("pre")[0].text == "base: cnn-mnist data: digits"


def test_the_least_that_a_run_can_be(make_page: MakePage) -> None:
    """From Python, in memory, no validation, no baseline, one phase, no mistake, no epoch recorded."""
    page = make_page(
        classes=("cat", "dog"),
        accuracy=1.1,
        examples=8,
        run={
            "base": None,
            "data": None,
            "notes": [],
            "command": None,
            "versions": {},
            "model": {},
            "preprocess": {},
            "phases": [],
            "sizes": {"train": 5},
        },
        result={
            "data": {},
            "scratch": None,
            "scratch_accuracy": None,
            "seconds": None,
            "phases": [{"name": "only", "trainable": 5, "frozen": 0}],
        },
        metrics=lambda rows: [],
        config=None,
    )
    assert page.root.find("h1")[0].text == "a base of your own → arrays in memory"
    assert not page.root.find("section", aria_labelledby="curves")
    assert not page.root.find("section", aria_labelledby="mistakes")
    assert "Every test example was read right." in page.section("confusion").text
    assert "0 mistakes in 8" in page.section("confusion").text
    assert rows(page.section("phases").find("table")[0]) == [["1only", "5", "0", "0", "–", "–", "nothing frozen"]]
    assert "The run was started from Python" in page.section("repeat").text


def test_no_test_examples(make_page: MakePage) -> None:
    page = make_page(examples=0, result={"test_accuracy": math.nan})
    assert page.root.find("div", class_="score")[0].text == "–transfer"
    assert not page.root.find("section", aria_labelledby="confusion")


@pytest.fixture
def hostile(make_page: MakePage) -> Page:
    def spoil(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**row, "phase": HOSTILE[row["phase_index"]], "rates": dict.fromkeys(HOSTILE, 0.1)} for row in rows]

    stages = {name: {"label": name, "parameters": 1} for name in HOSTILE}
    phase = {"name": HOSTILE[1], "trainable": 1, "frozen": 1, "labels": dict.fromkeys(HOSTILE, 1),
             "frozen_sha256_before": HOSTILE[1], "frozen_sha256_after": HOSTILE[0]}  # fmt: skip
    return make_page(
        classes=HOSTILE,
        accuracy=0.5,
        run={
            "base": HOSTILE[9], "data": {"source": HOSTILE[1]}, "notes": list(HOSTILE), "command": HOSTILE[0],
            "preprocess": {name: name for name in HOSTILE}, "model": {HOSTILE[0]: [HOSTILE[1]]},
            "versions": {name: name for name in HOSTILE},
            "phases": [{"stages": stages, "groups": {name: {"kind": name, name: {name: name}} for name in HOSTILE}}],
        },
        result={"phases": [phase], "scratch": {"phases": [phase]}},
        metrics=spoil,
        arrays={"mistake_names": np.array((HOSTILE * 2)[:24], np.str_)},
        config="".join(name.encode("utf-8", "replace").decode() for name in HOSTILE),
    )  # fmt: skip


def test_no_name_becomes_markup(hostile: Page) -> None:
    tags = {element.tag for element in hostile.root.walk()}
    assert "script" not in tags
    assert "iframe" not in tags
    assert "object" not in tags
    for element in hostile.root.walk():
        assert not any(key.startswith("on") for key in element.attributes), element.attributes
        assert "position:fixed" not in element.attributes.get("style", "")
        assert element.attributes.get("src", "data:").startswith("data:")
    assert len(hostile.root.find("style")) == 1
    drawn = hostile.root.find("svg", role="img")
    assert [drawing.children[0].text for drawing in drawn] == [  # type: ignore[union-attr]
        "Loss by epoch",
        "Accuracy by epoch",
        "Confusion matrix",
        "Reliability diagram",
        "Map of the features",
    ]
    marks = hostile.root.find("use", href="#map-ring")
    titles = hostile.root.find("title")
    assert len(titles) == 1 + len(drawn) + 540 // 3 + len(marks)  # the page's, of each drawing, of each mark
    assert any("taken for <script>alert(1)</script>" in title.text for title in titles)


def test_every_name_is_shown_as_it_is(hostile: Page) -> None:
    table = rows(hostile.section("classes").find("table")[0])
    names = {row[0] for row in table}
    assert {"<script>alert(1)</script>", '"><img src=x onerror="alert(1)">', "' style='position:fixed"} <= names
    assert {"日本語", "\ufffdright to left\ufffd", "two↵lines", "{{7*7}}{% raw %}", "$x^2$ $\\frac{"} <= names
    assert {"\ufffd\ufffd", "␣"} <= names
    assert len(table) == len(HOSTILE)
    assert all(len(name) <= 43 for name in names)
    assert "49" not in names
    files = {element.text for element in hostile.section("mistakes").find("span", class_="file")}
    assert {"<script>alert(1)</script>", "日本語", "\ufffdright to left\ufffd", "\ufffd"} <= files


def test_no_direction_mark_or_control_gets_through(hostile: Page) -> None:
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u200e\u200f\u202a-\u202e\u2066-\u2069]", hostile.source)
    user_rows = hostile.section("classes").find("tbody")[0].find("th")
    assert all(cell.find("bdi") for cell in user_rows)


@pytest.mark.parametrize("which", ["plain", "hostile"])
def test_the_page_asks_for_nothing(which: str, request: pytest.FixtureRequest, make_run: MakeRun) -> None:
    page = request.getfixturevalue("hostile") if which == "hostile" else Page(write_report(make_run()))
    loading = {"src", "href", "xlink:href", "srcset", "poster", "data", "action", "formaction", "background"}
    for element in page.root.walk():
        for key in loading & element.attributes.keys():
            assert element.attributes[key].startswith(("data:", "#")), element.attributes
        assert not re.search(r"url\((?!#)", element.attributes.get("style", ""))
    (style,) = page.root.find("style")
    assert "url(" not in style.text
    assert "@import" not in style.text
    (policy,) = [
        meta for meta in page.root.find("meta") if meta.attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    directives = dict(part.split(maxsplit=1) for part in policy.attributes["content"].split(";"))
    assert directives == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": "'unsafe-inline'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert page.source.index("Content-Security-Policy") < page.source.index("<title")


def test_ids_are_unique_and_referred_to_rightly(make_page: MakePage) -> None:
    page = make_page()
    ids = [element.attributes["id"] for element in page.root.walk() if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    for element in page.root.walk():
        assert set(element.attributes.get("aria-labelledby", "").split()) <= set(ids)


@pytest.mark.slow
def test_both_schemes_and_print_have_every_colour(make_page: MakePage) -> None:
    (style,) = make_page().root.find("style")
    used = set(re.findall(r"var\((--[\w-]+)", style.text)) - {"--stages", "--fill", "--on", "--edge"}
    light, dark = re.findall(r":root \{([^}]*)\}", style.text)
    assert used - {"--sans", "--mono"} <= set(re.findall(r"(--[\w-]+):", light))
    assert used - {"--sans", "--mono"} <= set(re.findall(r"(--[\w-]+):", dark))
    assert "@media print" in style.text


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_enough_to_read(make_page: MakePage) -> None:
    """WCAG 2.1, AA: 4.5 for text."""
    (style,) = make_page().root.find("style")
    schemes = [
        dict(re.findall(r"--([\w-]+): (#\w{6})", found)) for found in re.findall(r":root \{([^}]*)\}", style.text)
    ]
    assert len(schemes) == 2
    for scheme in schemes:
        for text in ("ink", "muted", "transfer", "scratch", "proof", "broken"):
            assert _contrast(scheme[text], scheme["paper"]) >= 4.5, text
        for ground in ("card", "frozen", "frozen-line"):
            assert _contrast(scheme["ink"], scheme[ground]) >= 4.5, ground
    for fill, on in re.findall(r"--fill: (#\w{6}); --on: (#\w{6})", style.text):
        assert _contrast(fill, on) >= 4.5


def test_data_names() -> None:
    assert data_name("idx:/data/letters47") == "letters47"
    assert data_name("npz:some/arrays.npz") == "arrays.npz"
    assert data_name("tfds:emnist/letters") == "tfds:emnist/letters"
    assert data_name("idx:") == "idx:"


@pytest.mark.slow
def test_what_was_left_out_is_listed(make_page: MakePage) -> None:
    lines = [f"cats/{number}.jpg: cut short" for number in range(3)]
    section = make_page(run={"skipped": [*lines, HOSTILE[0]]}).section("left-out")
    assert [item.text for item in section.find("li")] == [*lines, HOSTILE[0]]
    assert section.find("summary")[0].text == "4 bad images, which nothing was trained or tested on"
    many = make_page(run={"skipped": lines * 100}, directory="many").section("left-out").find("li")
    assert len(many) == 201
    assert many[-1].text == "and 100 more (skipped in run.json)"
    assert "What was left out" not in make_page(directory="none").source


def test_how_to_use_it(make_page: MakePage) -> None:
    section = make_page(directory="it's mine").section("use")
    command, code = section.find("pre")
    assert command.text == "tlx predict 'it'\"'\"'s mine' photos/"
    assert code.text == 'import tlx print(tlx.predict(tlx.load("it\'s mine"), "photos/"))'


@pytest.mark.slow
def test_the_size_of_the_export(make_run: MakeRun) -> None:
    path = make_run()
    assert "a file of" not in write_report(path).read_text(encoding="utf-8")
    (path / "export").mkdir()
    (path / "export/model.safetensors").write_bytes(bytes(374_000))
    assert "a file of 0.4\N{NO-BREAK SPACE}MB" in write_report(path).read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("digest", "said"),
    [(hashlib.sha256().hexdigest(), "not recorded"), (None, "not recorded"), ("ab" * 32, "✓ unchanged abababab")],
)
def test_a_hash_of_nothing_is_no_proof(make_page: MakePage, digest: str | None, said: str) -> None:
    hashes = {"frozen_sha256_before": digest, "frozen_sha256_after": digest}
    phase = {"name": "all", "trainable": 5, "frozen": 3, **hashes}
    page = make_page(result={"phases": [phase], "scratch": None})
    assert rows(page.section("phases").find("table", class_="phases")[0])[0][-1] == said


@pytest.mark.slow
def test_a_phase_that_bettered_nothing_is_named(make_page: MakePage) -> None:
    phases = [{"name": name, "trainable": 5, "frozen": 3, "epochs": 2, "best_epoch": 0} for name in ("head", "all")]
    page = make_page(result={"phases": phases}).source
    assert "Phase <bdi>all</bdi> bettered validation in no epoch" in page
    assert page.count("bettered validation") == 1  # the first phase has nothing to go back to
    assert "bettered validation" not in make_page(directory="other").source
