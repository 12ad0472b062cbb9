"""What tests of several rooms share."""

import ctypes
import gc
import json
import os
import platform
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import settings

from tlx.errors import TlxError

# What tests and the commands that they start compile is kept for the next ones, beside what pytest keeps and not in a
# user's cache (`pytest --cache-clear` empties it); half of the time of a second run. Commands that tests kill keep
# nothing, for they might leave half a program.
PROGRAMS = Path(__file__).resolve().parents[1] / ".pytest_cache" / "d" / "programs" / platform.node()
os.environ |= {"JAX_COMPILATION_CACHE_DIR": str(PROGRAMS), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.05"}
os.environ["TLX_PROGRESS"] = "off"  # what a busy machine makes slow is not to be in what tests compare
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as for what a script starts in its background
    signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("tlx", deadline=None)  # the first example of a test may import or compile
settings.load_profile("tlx")
LARGE = 1_300 << 20  # bytes of a process; a file adds 200 to 600 MB, and a worker is to stay below 2 GB


def _resident() -> int:
    """Return how many bytes of memory this process holds, where Linux tells it."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0


@pytest.fixture(scope="module", autouse=True)
def _release_memory() -> Iterator[None]:
    """Drop after a file of tests what JAX has compiled, all of which it keeps, where the process has become large."""
    yield
    if _resident() > LARGE:
        if "jax" in sys.modules:
            sys.modules["jax"].clear_caches()
        gc.collect()
        with suppress(AttributeError):  # glibc keeps what is freed; another C library has no such function
            ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data: TLX_TEST_DATA, or ../shared/data beside the repository."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("TLX_TEST_DATA", default))
    if not (folder / "mnist").is_dir():
        reason = f"no real data at {folder}; TLX_TEST_DATA names the folder"
        if os.environ.get("TLX_REQUIRE_DATA") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture
def cpu() -> None:
    """Skip what looks at programs for a CPU where JAX compiles for something else."""
    import jax

    if jax.default_backend() != "cpu":
        pytest.skip("needs a CPU as JAX's default")


@pytest.fixture
def refuses() -> Callable[..., AbstractContextManager[None]]:
    """Expect exactly this kind of error, on one line that holds all the words."""

    @contextmanager
    def expect(kind: type[TlxError], *words: str) -> Iterator[None]:
        with pytest.raises(kind) as caught:
            yield
        message = str(caught.value)
        assert type(caught.value) is kind
        assert "\n" not in message
        assert len(message) < 2000
        assert [word for word in words if word not in message] == [], message

    return expect


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """The directory of a finished run: the MLP taken to the digits in two phases, and from scratch beside."""
    from toys import finetune_toy  # and with it jax

    return finetune_toy(tmp_path_factory.mktemp("run") / "digits").path


@pytest.fixture
def described(finished):
    return json.loads((finished / "run.json").read_text())
