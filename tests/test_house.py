"""The house stands: imports point downward, `__init__.py` is a table of contents, importing costs nothing."""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import tlx

ROOT = Path(tlx.__file__).parent
SMALL = {"errors", "stop", "progress", "places", "version", "table"}  # single files that import little
BELOW = {
    **{name: set() for name in SMALL},
    "stop": {"errors"},
    "files": {"errors"},
    "tree": {"errors", "table"},
    "records": {"files", "errors"},
    "devices": {"tree", "files", "errors"},
    "models": {"devices", "tree", "table", "errors"},
    "images": {"files", "errors"},
    "text": {"tree", "files", "errors", "progress"},
    "data": {"images", "text", "tree", "files", "progress", "errors"},
    "logs": {"records", "files", "progress", "errors"},
    "convert": {"models", "text", "devices", "tree", "files", "version", "errors"},
    "optim": {"tree", "errors"},
    "recipes": {"optim", "tree", "errors"},
    "objectives": {"data", "models", "text", "optim", "tree", "errors"},
    "presets": {"objectives", "convert", "data", "images", "text", "models", "devices", "tree", "files", "errors"},
}
BELOW["presets"] |= {"progress"}
BELOW["training"] = BELOW["presets"] | {"optim", "logs", "presets", "records", *SMALL}
BELOW["probes"] = BELOW["training"] | {"training"}
BELOW["runs"] = BELOW["training"] | {"training", "recipes"}
BELOW["vocabulary"] = BELOW["presets"] | {"presets", "optim", "progress"}
BELOW["analysis"] = {"records", "files", "places", "errors"}
BELOW["predictions"] = BELOW["training"] | {"training", "text"}
BELOW["cli"] = BELOW["runs"] | {"runs", "predictions", "probes", "vocabulary", "analysis", "convert"}
ROOMS = sorted(name for name in BELOW if (ROOT / name).is_dir())


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


FILES = [path for path in sorted(ROOT.rglob("*.py")) if path.parent != ROOT or room_of(path) in BELOW]


def imports_of(path: Path) -> set[str]:
    """Name the rooms that a file imports from; the bare package (`import tlx`) counts as 'tlx'."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" if node.module == "tlx" else node.module for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found |= {[*name.split("."), "tlx"][1] for name in names if name.split(".")[0] == "tlx"}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downward(path: Path) -> None:
    room = room_of(path)
    allowed = BELOW[room] | {room} | ({"tlx"} if room == "cli" else set())
    assert imports_of(path) <= allowed


def test_the_check_sees_an_upward_import(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text("def f():\n    from tlx.training.loop import fit\n    from tlx import cli\n")
    assert imports_of(wrong) == {"training", "cli"}


def test_every_room_is_in_the_table() -> None:
    rooms = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_an_init_holds_no_logic(room: str) -> None:
    for node in ast.parse((ROOT / room / "__init__.py").read_text(encoding="utf-8")).body:
        is_list = isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        assert isinstance(node, ast.ImportFrom) or is_list or is_text, ast.unparse(node)


@pytest.mark.parametrize("room", ROOMS)
def test_what_a_room_offers_is_documented(room: str) -> None:
    module = importlib.import_module(f"tlx.{room}")
    for name in getattr(module, "__all__", ()):
        offered = getattr(module, name)
        if inspect.isfunction(offered) or inspect.isclass(offered):
            assert inspect.getdoc(offered), f"tlx.{room}.{name} has no docstring"


def test_every_public_name_resolves() -> None:
    assert len(tlx.__all__) > 20
    for name in tlx.__all__:
        assert getattr(tlx, name) is not None


def run_python(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT.parent, check=True)
    return done.stdout


def test_importing_tlx_imports_nothing_heavy() -> None:
    heavy = "('jax', 'flax', 'optax', 'numpy', 'orbax', 'grain', 'sklearn', 'matplotlib', 'PIL', 'yaml', 'rich')"
    assert run_python(f"import sys, tlx; print([m for m in {heavy} if m in sys.modules])").strip() == "[]"


def test_using_tlx_imports_nothing_that_only_some_need() -> None:
    some = (
        "('tensorflow', 'tensorflow_datasets', 'torch', 'h5py', 'sklearn', 'matplotlib', 'jinja2', 'tensorboardX', "
        "'wandb', 'mlflow', 'trackio')"
    )
    names = "tlx.finetune, tlx.load, tlx.logs, tlx.load_data"
    program = f"import sys, tlx; {names}; print([m for m in {some} if m in sys.modules])"
    assert run_python(program).strip() == "[]"


@pytest.mark.parametrize("arguments", ["--help", "finetune --help", "predict --help"])
def test_help_imports_nothing_heavy(arguments: str) -> None:
    program = (
        "import sys\nfrom tlx.cli.main import main\ntry:\n    main(sys.argv[1:] or "
        f"{arguments.split()!r})\nexcept SystemExit as stop:\n    assert not stop.code\n"
        "print('\\nHEAVY', [m for m in ('jax', 'flax', 'numpy', 'yaml') if m in sys.modules])"
    )
    assert run_python(program).splitlines()[-1] == "HEAVY []"
