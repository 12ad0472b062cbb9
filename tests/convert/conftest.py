"""The reference libraries, the form that every refusal has, and a child process for what might crash."""

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from tlx.errors import TlxError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def torch() -> ModuleType:
    """PyTorch, which tests compare with: skipped without it, a failure where TLX_REQUIRE_TORCH=1."""
    try:
        return importlib.import_module("torch")
    except ImportError:
        if os.environ.get("TLX_REQUIRE_TORCH") == "1":
            pytest.fail("PyTorch is not installed, and TLX_REQUIRE_TORCH=1")
        pytest.skip("PyTorch is not installed")


@pytest.fixture(scope="session")
def keras() -> ModuleType:
    """Keras on JAX, which tests compare with."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras

    return keras


@pytest.fixture
def refuses() -> Callable[..., AbstractContextManager[None]]:
    """Expect exactly this kind of error, on one printable line that holds all the words."""

    @contextmanager
    def expect(kind: type[TlxError], *words: object) -> Iterator[None]:
        with pytest.raises(kind) as caught:
            yield
        message = str(caught.value)
        assert type(caught.value) is kind, message
        assert message.isprintable()
        assert len(message) < 1000
        assert [word for word in words if str(word) not in message] == [], message

    return expect


@pytest.fixture
def run_child(tmp_path: Path) -> Callable[..., str]:
    """Run a program in a process of its own, in the test's folder; return what it prints. Arguments are in sys.argv."""

    def run(program: str, *arguments: object, prefix: tuple[str, ...] = ()) -> str:
        command = [*prefix, sys.executable, "-c", program, *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    return run
