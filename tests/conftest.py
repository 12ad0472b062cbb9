"""What tests of several rooms share."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

if "PYTEST_XDIST_WORKER" not in os.environ:
    # What JAX compiles is shared by the workers and the commands they start, and never found in a user's cache.
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="tlx-programs-")
    os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] = str(1 << 30)  # with a limit JAX locks, and none reads half a file
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.3"

settings.register_profile("tlx", deadline=None)  # the first example of a test may import or compile
settings.load_profile("tlx")


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


def pytest_unconfigure() -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        shutil.rmtree(os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
