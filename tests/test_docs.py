"""What the pages say is so: their Python runs, and their commands have the options that they name."""

import json
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import ExitStack, chdir
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import numpy as np
import pytest

import tlx
from tlx.cli.imports import import_named
from tlx.cli.main import COMMANDS, main
from tlx.cli.options import flags, parse
from tlx.convert import TABLES, read_certificate
from tlx.models import ARCHITECTURES
from tlx.presets.own import OWN
from tlx.tree import summarize

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
REGISTRIES = (ARCHITECTURES, TABLES, OWN)


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """List a page's fenced blocks of a language: how many lines stand before each, and what it holds."""
    text = page.read_text(encoding="utf-8")
    fences = re.finditer(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [(text.count("\n", 0, fence.start(1)), fence[1]) for fence in fences]


# Adding a family


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Run the page's blocks in order, in one namespace and in a folder of their own; return the namespace."""
    page = ROOT / "docs" / "adding-a-family.md"
    names: dict[str, Any] = {"__name__": "adding_a_family"}
    folder = tmp_path_factory.mktemp("family")
    with ExitStack() as stack:
        for registry in REGISTRIES:
            stack.enter_context(mock.patch.dict(registry))
        with chdir(folder):
            for line, block in blocks(page, "python"):
                exec(compile("\n" * line + block, page, "exec"), names)
        yield {**names, "folder": folder}
    assert not any("tiny" in name for registry in REGISTRIES for name in registry)


def test_the_familys_file_is_one_that_a_command_imports(tmp_path: Path) -> None:
    parts = [code for _, code in blocks(ROOT / "docs" / "adding-a-family.md", "python")][1:4]
    assert "register_architecture" in parts[-1]
    (tmp_path / "lab_tiny.py").write_text("\n".join(parts))
    with ExitStack() as stack:
        for registry in (*REGISTRIES, sys.modules):
            stack.enter_context(mock.patch.dict(registry))
        stack.enter_context(mock.patch.object(sys, "path", [*sys.path]))
        import_named([str(tmp_path / "lab_tiny.py")])
        assert OWN["lab/tiny"].classes == ("circle", "square", "triangle")


@pytest.fixture
def certificate(family: dict[str, Any]) -> dict[str, Any]:
    return read_certificate(family["folder"] / "tiny" / "certificate.json")


def test_the_familys_certificate_names_every_tensor(family: dict[str, Any], certificate: dict[str, Any]) -> None:
    ignored = {tensor["source"] for tensor in certificate["ignored"]}
    used = {proof["source"] for proof in certificate["leaves"].values()}
    assert used | ignored == set(family["tensors"])
    assert ignored == {name for name in family["tensors"] if name.startswith("aux.") or name.endswith("tracked")}
    assert certificate["leaves"]["params/base/block2/conv1/kernel"]["source"] == "blocks.1.conv1.weight"
    assert certificate["fresh"] == []


def test_the_familys_logits_are_the_sources(family: dict[str, Any]) -> None:
    """On other images than those of the page, and by no code of tlx's but the model's."""
    base = tlx.load(family["folder"] / "tiny")
    images = np.random.default_rng(1).integers(0, 256, (5, 16, 16, 3)).astype(np.uint8)
    theirs = family["original"](images)["outputs"]
    with jax.default_matmul_precision("highest"):
        ours = base.model.apply(base.variables, (images / np.float32(255) - np.float32(0.5)) / np.float32(0.25))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).max())
    assert base.classes == ("circle", "square", "triangle")


def test_the_familys_case_is_true_of_it(family: dict[str, Any]) -> None:
    case, base = family["case"], tlx.load(family["folder"] / "tiny")
    by_stage: dict[str, int] = {}
    for row in summarize(base.variables).rows:
        by_stage[row.stage] = by_stage.get(row.stage, 0) + row.parameters
    assert by_stage == case.counts
    assert case.owners == base.stages
    norms = {row.path.rpartition("/")[0] for row in summarize(base.variables).rows if row.is_statistic}
    assert norms == set(case.norms)
    assert case.leaf in {row.path for row in summarize(base.variables).rows}
    assert jax.tree.map(np.shape, case.variables()) == jax.tree.map(np.shape, base.variables)


# Converting weights

CONVERSION = ROOT / "docs" / "conversion.md"
FILES = {  # the names that the page gives them
    "resnet20-12fca82f.th": "weights/resnet20-12fca82f.th",
    "mobilenet_v2.h5": "weights/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5",
    "vgg16_part.h5": "weights/vgg16_blocks1to3_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "fox.jpg": "imagenet50/n02120505_grey_fox.JPEG",
}


def told(text: str) -> str:
    """Make printed text comparable: no spaces at line ends, and no digits of differences, which machines differ in."""
    shown = [line for line in text.strip().splitlines() if not re.fullmatch(r"tlx: .* \(\d+ s\)", line)]  # of progress
    lines = "\n".join(line.rstrip() for line in shown)
    return re.sub(r"\d\.\d\de-\d\d", "0.00e-00", lines)


def is_told(text: str, page: str) -> bool:
    """Whether printed text is what the page shows, whose '…' stands for anything."""
    pattern = ".*".join(map(re.escape, told(page).split("…")))
    return re.fullmatch(pattern.replace("\\\n.*\\\n", "\n(.*\n)?"), told(text), re.DOTALL) is not None


@pytest.mark.parametrize(
    ("text", "page", "expected"),
    [
        ("a \nb", "a\nb\n", True),
        ("a\nb", "a", False),
        ("a\nx\ny\nb", "a\n…\nb", True),
        ("a (long) b", "a … b", True),
        ("a\nb", "…\nc", False),
        ("1.25e-07", "9.99e-06", True),
        ("12", "13", False),
    ],
)
def test_what_is_printed_is_compared(text: str, page: str, expected: bool) -> None:
    assert is_told(text, page) is expected


@pytest.mark.slow
def test_the_conversions_are_as_the_page_shows_them(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, file in FILES.items():
        (tmp_path / name).symlink_to(shared_data / file)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    for _, block in blocks(CONVERSION, "console"):
        for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, _, page = step.partition("\n")
            words = shlex.split(line)
            command = words.index("tlx")
            with monkeypatch.context() as patch:
                for setting in words[:command]:
                    patch.setenv(*setting.split("="))
                with pytest.raises(SystemExit) as stop:
                    main(words[command + 1 :])
            printed = "".join(capsys.readouterr())
            assert is_told(printed, page), f"{line}\n{printed}"
            assert bool(stop.value.code) == printed.startswith("tlx: ")
    ((_, code),) = blocks(CONVERSION, "python")
    exec(code, {})
    assert capsys.readouterr().out.strip() == code.rpartition("# ")[2].strip()
    ((_, shown),) = blocks(CONVERSION, "json")
    certificate = Path("resnet20/certificate.json").read_text(encoding="utf-8")
    assert all(line.strip(" ,…") in certificate for line in shown.splitlines())
    assert list(json.loads(shown.replace(",\n    …", ""))) == list(json.loads(certificate))


# Data


def test_the_page_on_data_does_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    for line, block in blocks(ROOT / "docs" / "data.md", "python"):
        exec(compile("\n" * line + block, "data.md", "exec"), names)
        assert capsys.readouterr().out.strip() == block.rpartition("# ")[2].strip()


def test_the_page_on_objectives_does_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    for line, block in blocks(ROOT / "docs" / "objectives.md", "python"):
        exec(compile("\n" * line + block, "objectives.md", "exec"), names)
    assert capsys.readouterr().out.splitlines() == [
        "['loss', 'mae', 'r2', 'rmse']",
        "['val_within_one', 'within_one']",
        "(2, 12) [5 8]",
        "1.0",
    ]


@pytest.mark.slow
def test_the_page_on_texts_does_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    for line, block in blocks(ROOT / "docs" / "text.md", "python"):
        exec(compile("\n" * line + block, "text.md", "exec"), {})
        shown = [each.rpartition("  # ")[2] for each in block.splitlines() if each.startswith("print(")]
        assert capsys.readouterr().out.splitlines() == shown


def test_the_page_on_commands_does_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    ((_, code),) = blocks(ROOT / "docs" / "commands.md", "python")
    exec(code, {})
    assert capsys.readouterr().out.strip() == code.rpartition("# ")[2].strip()


# Probes


@pytest.mark.slow
def test_the_page_on_probes_does_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    ((_, code),) = blocks(ROOT / "docs" / "probe.md", "python")
    exec(code, {})
    told_lines = [line.removeprefix("# ") for line in code.splitlines() if line.startswith("# ")]
    assert capsys.readouterr().out.splitlines() == told_lines


# Commands


def commands(page: Path) -> list[str]:
    """List the commands that a page names, in blocks and within the text, without their comments."""
    fenced = [
        line for language in ("sh", "console") for _, block in blocks(page, language) for line in block.split("\n")
    ]
    fenced = [part.removeprefix("$ ") for line in fenced for part in re.split(r"&&|\|", line.partition("  #")[0])]
    inline = re.findall(r"`((?:\w+=\S+ )?tlx [a-z][^`]*)`", page.read_text(encoding="utf-8"))
    found = [re.sub(r"^(\w+=\S+ )+", "", command.strip()) for command in (*fenced, *inline)]
    return [" ".join(command.split()) for command in found if re.match(r"tlx [a-z]", command)]


COMMAND_LINES = sorted({command for page in PAGES for command in commands(page)})


@pytest.mark.parametrize("command", COMMAND_LINES)
def test_a_command_and_its_options_exist(command: str) -> None:
    _, name, *arguments = shlex.split(command)
    assert name in COMMANDS
    kind = getattr(import_module(f"tlx.cli.{name}"), name.capitalize())
    given = [argument.partition("=")[0] for argument in arguments if argument.startswith("--")]
    assert set(given) <= set(flags(kind))
    if name == "convert" and len(arguments) > 1:
        parse(kind, "tlx convert", arguments)


def test_the_pages_commands_are_found() -> None:
    assert "tlx convert resnet50 resnet50.pth --to torchvision" in COMMAND_LINES
    assert "tlx finetune" in COMMAND_LINES  # behind `pip install . &&`
    assert len(COMMAND_LINES) > 25


# In a notebook


def run_cells(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Run a page's blocks of Python in order; each is followed by what it prints."""
    names: dict[str, Any] = {"__name__": page.stem}
    cells, outputs = blocks(page, "python"), blocks(page, "text")
    assert len(cells) == len(outputs)
    for (line, cell), (_, printed) in zip(cells, outputs, strict=True):
        exec(compile("\n" * line + cell, page, "exec"), names)
        assert is_told(capsys.readouterr().out, printed), f"line {line}"


@pytest.mark.slow
def test_the_page_on_recipes_trains_with_an_optimizer_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    run_cells(ROOT / "docs" / "recipes.md", capsys)


def test_the_page_on_logs_does_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run_cells(ROOT / "docs" / "logs.md", capsys)


@pytest.mark.slow
def test_the_page_on_notebooks_does_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run its cells in order; what follows a cell as text is what it prints, '…' standing for anything."""
    import matplotlib

    matplotlib.use("agg")
    monkeypatch.chdir(tmp_path)
    run_cells(ROOT / "docs" / "notebook.md", capsys)
    assert [line[:16] for line in Path("digits.csv").read_text().splitlines()[1:]] == ["transfer,head,0,"] * 4
    from matplotlib import pyplot

    pyplot.close("all")
