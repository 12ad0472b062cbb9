"""A way to call the command, and one small finished run that many tests look at."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tlx.cli.main import main

QUICK = ["--head-epochs", "2", "--base-epochs", "2", "--labels-per-class", "4"]


class Called(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., Called]:
    def call(*arguments: object) -> Called:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        return Called(stop.value.code or 0, *capsys.readouterr())

    return call


@pytest.fixture
def refused(call: Callable[..., Called]) -> Callable[..., str]:
    """Call the command, expect an exit code and one line on standard error, and return that line."""

    def refused(code: int, *arguments: object) -> str:
        called = call(*arguments)
        assert (called.code, called.out) == (code, ""), called
        assert called.err.startswith("tlx: ")
        assert called.err.count("\n") == 1, called.err
        assert "Traceback" not in called.err
        return called.err

    return refused


@pytest.fixture(scope="session")
def strace() -> str:
    """The program that traces another's system calls; skip where there is none or the system lets no user trace."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    if subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system lets no user trace")
    return "strace"


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run of `tlx finetune` on the digits, with a scratch baseline."""
    out = tmp_path_factory.mktemp("cli") / "run"
    with pytest.raises(SystemExit) as stop:
        main(["finetune", "--json", "--out", str(out), *QUICK])
    assert not stop.value.code
    return out


@pytest.fixture(scope="session")
def result(run_dir: Path) -> Any:
    return json.loads((run_dir / "result.json").read_text(encoding="utf-8"))
