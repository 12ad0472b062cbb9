"""What the tests of training share."""

import atexit
import shutil
import tempfile

import jax

# Many tests compile the same steps: let XLA's results of this session be found again.
CACHE = tempfile.mkdtemp(prefix="tlx-tests-")
atexit.register(shutil.rmtree, CACHE, ignore_errors=True)
jax.config.update("jax_compilation_cache_dir", CACHE)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
