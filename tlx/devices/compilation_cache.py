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


def enable_compilation_cache() -> Path | None:
    """Keep what JAX compiles for later processes: its persistent compilation cache, in tlx's cache folder.

    It changes JAX's configuration (`jax_compilation_cache_dir`, `jax_persistent_cache_min_compile_time_secs`,
    `jax_compilation_cache_max_size`) for all that the process compiles from then on. Therefore the library never calls
    it; the commands do. Programs that took longer than 0.1 s to compile are kept, up to 1 GB; what was used longest ago
    goes. JAX's key has the program, the flags and the versions, but not what a CPU can do: kinds of CPUs have folders
    of their own.

    Returns:
        The folder, `programs/…` in tlx's cache folder (`TLX_CACHE`). None where nothing was changed: where
        `jax_compilation_cache_dir` is set already (`JAX_COMPILATION_CACHE_DIR`), where `jax_enable_compilation_cache`
        is off (`JAX_ENABLE_COMPILATION_CACHE=false`), and where the folder cannot be written to.

    Example:
        >>> import tlx
        >>> folder = tlx.devices.enable_compilation_cache()  # doctest: +SKIP
    """
    config = jax.config
    if config.jax_compilation_cache_dir or not config.jax_enable_compilation_cache:  # type: ignore[attr-defined]
        return None
    folder = cache_dir() / "programs" / _processor()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_partial(folder)
    except (OSError, NotImplementedError) as error:  # the latter of file systems without locks
        reason = getattr(error, "strerror", None) or error
        logging.getLogger("tlx").info("tlx: compiled programs cannot be kept in %s (%s)", folder, reason)
        return None
    config.update("jax_compilation_cache_dir", str(folder))
    for name, default, ours in _OPTIONS:
        if getattr(config, name) == default:
            config.update(name, ours)
    return folder


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
