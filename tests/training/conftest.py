"""What the tests of training share."""

import atexit
import json
import shutil
import tempfile
from pathlib import Path

import jax
import pytest
from toys import finetune_toy

# Many tests compile the same steps: let XLA's results of this session be found again.
CACHE = tempfile.mkdtemp(prefix="tlx-tests-")
atexit.register(shutil.rmtree, CACHE, ignore_errors=True)
jax.config.update("jax_compilation_cache_dir", CACHE)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """The directory of a finished run: the MLP taken to the digits in two phases, and from scratch beside."""
    return finetune_toy(tmp_path_factory.mktemp("run") / "digits").path


@pytest.fixture
def described(finished):
    return json.loads((finished / "run.json").read_text())
