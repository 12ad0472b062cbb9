"""`--import`: run the code that registers a user's own architectures, where the user names it and only there."""

import contextlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tlx.errors import ConfigError
from tlx.files import home
from tlx.progress import doing

VARIABLE = "TLX_IMPORT"


def named_imports(given: str | None) -> tuple[str, ...]:
    """Return the files and modules, separated as in PATH, that `TLX_IMPORT` names and then those that are `given`.

    Files are returned as absolute paths, which hold from any directory.

    >>> named_imports("lab.networks")[-1]
    'lab.networks'
    """
    names = [*os.environ.get(VARIABLE, "").split(os.pathsep), *(given or "").split(os.pathsep)]
    return tuple(dict.fromkeys(str(home(name).absolute()) if is_file(name) else name for name in names if name))


def is_file(name: str) -> bool:
    """Tell a file from a module: it ends in .py, or has a folder in its name.

    >>> is_file("tiny.py"), is_file("lab/tiny"), is_file("lab.tiny")
    (True, True, False)
    """
    return name.endswith(".py") or "/" in name or os.sep in name


def import_named(names: Sequence[str]) -> None:
    """Import files and modules; raise `ConfigError` in one line for what is not there or fails.

    The folder of a file is put at the end of `sys.path`, so that the file may import what lies beside it.
    """
    for name in names:
        doing(f"importing {name}")
        try:
            with contextlib.redirect_stdout(sys.stderr):  # what the command prints may be read by a program
                _import_file(Path(name)) if is_file(name) else importlib.import_module(name)
        except ConfigError as error:
            raise ConfigError(f"--import {name}: {error}") from error
        except ModuleNotFoundError as error:
            if error.name != name.partition(".")[0] or is_file(name):
                raise ConfigError(f"--import {name}: {error}{_line(error, name)}") from error
            beside = f"{name}.py"
            cure = f"name the file, {beside}" if Path(beside).is_file() else "install it, or name a file (FILE.py)"
            raise ConfigError(f"--import {name}: no module is called so: {cure}") from error
        except (Exception, SystemExit) as error:  # whatever a user's code does
            told = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise ConfigError(f"--import {name}: {told}{_line(error, name)}") from error


def _import_file(path: Path) -> None:
    if not path.is_file():
        raise ConfigError("no such file: name a Python file, or a module that is installed")
    module = f"tlx_import_{path.stem}"
    spec = importlib.util.spec_from_file_location(module, path)
    if spec is None or spec.loader is None:
        raise ConfigError("not a Python file: its name must end in .py")
    made = sys.modules[module] = importlib.util.module_from_spec(spec)
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    try:
        spec.loader.exec_module(made)
    except BaseException:
        del sys.modules[module]
        raise


def _line(error: BaseException, name: str) -> str:
    """Say which line of a file an error comes from, the last one that is in it."""
    if isinstance(error, SyntaxError):
        return ""  # says it itself
    lines, trace = [], error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == name:
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    return f" (line {lines[-1]})" if lines else ""
