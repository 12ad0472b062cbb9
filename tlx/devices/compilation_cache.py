"""Compiled programs that outlive the process: JAX's persistent compilation cache, in tlx's cache folder."""

import hashlib
import logging
import platform
from pathlib import Path

import jax
from filelock import FileLock, Timeout

from tlx.files import cache_dir

SECONDS = 0.1  # what takes longer to compile is kept
LIMIT = 1_000_000_000  # bytes; what was used longest ago goes
_OPTIONS = (  # of JAX's, its default and ours
    ("jax_persistent_cache_min_compile_time_secs", 1.0, SECONDS),
    ("jax_compilation_cache_max_size", -1, LIMIT),
)


def keep_programs() -> None:
    """Let JAX keep what it compiles, under `programs` in tlx's cache folder, where it has not been told otherwise.

    It stays as it is where `jax_compilation_cache_dir` is set or `jax_enable_compilation_cache` is off
    (`JAX_COMPILATION_CACHE_DIR`, `JAX_ENABLE_COMPILATION_CACHE=false`), and where the folder cannot be written to.
    `tlx.fit` and the commands call this; importing tlx changes nothing. JAX's key has the program, the flags and the
    versions, but not what a CPU can do: kinds of them have folders of their own. It holds for all that the process
    compiles from then on.
    """
    config = jax.config
    if config.jax_compilation_cache_dir or not config.jax_enable_compilation_cache:  # type: ignore[attr-defined]
        return
    folder = cache_dir() / "programs" / _processor()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_partial(folder)
    except (OSError, NotImplementedError) as error:  # the latter of file systems without locks
        reason = getattr(error, "strerror", None) or error
        logging.getLogger("tlx").info("tlx: compiled programs cannot be kept in %s (%s)", folder, reason)
        return
    config.update("jax_compilation_cache_dir", str(folder))
    for name, default, ours in _OPTIONS:
        if getattr(config, name) == default:
            config.update(name, ours)


def _remove_partial(folder: Path) -> None:
    """Remove what a process that was killed has left half written: JAX writes the time of use after the program.

    A program without it would also make JAX warn of every program that it is to keep.
    """
    try:
        with FileLock(folder / ".lockfile", timeout=1):  # JAX's own, which it holds as it writes
            for program in folder.glob("*-cache"):
                if not program.with_name(program.name.removesuffix("cache") + "atime").exists():
                    program.unlink(missing_ok=True)
    except Timeout:
        return


def _processor() -> str:
    """Name the kind of processor, by what it can do."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        able = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        able = platform.processor()
    return f"{platform.machine()}-{hashlib.sha256(able.encode()).hexdigest()[:12]}"
