"""Memory that is not there: told before it hangs a library, and known again in whatever a library makes of it."""

import ctypes
import os
import signal
from collections.abc import Iterator

from tlx.errors import StorageError

HINT = (
    "lower --batch-size, or take it in parts with --accumulate, or keep less for the gradient with --remat "
    "(--dry-run says what is needed)"
)
_LEAST, _A_CORE = 1_800_000_000, 100_000_000  # bytes of addresses that JAX, SciPy and TensorStore take before any work
_WORDS = (
    *("RESOURCE_EXHAUSTED", "Out of memory", "out of memory"),  # XLA
    *("bad_alloc", "Cannot allocate memory", "Unable to allocate"),  # C++, the system, NumPy
    *("failed to map segment", "cannot allocate memory in static TLS block"),  # the loader of shared libraries
    "can't start new thread",
)


def address_limit() -> int | None:
    """Return how many bytes this process may map (`ulimit -v`), or None where that is not limited."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY else soft


def check_limit() -> None:
    """Raise `StorageError` for a limit under which the libraries do not even load: some of them then try for ever.

    Under a larger one, what C++ aborts for want of memory exits with the same code.
    """
    limit, least = address_limit(), _LEAST + _A_CORE * (os.cpu_count() or 1)
    if limit is None:
        return
    if limit < least:
        raise StorageError(
            f"out of memory: this process may map {limit / 1e9:.1f} GB (ulimit -v), and its libraries alone take about "
            f"{least / 1e9:.1f} GB: raise the limit, or limit memory by a control group, which counts what is used"
        )
    _exit_on_abort()


def _exit_on_abort() -> None:
    """Let `abort`, by which C++ ends a process where `new` finds no memory, exit with `StorageError`'s code.

    Nothing in Python runs then. The handler is C's own `_exit`, which takes the signal's number for the code: 6, too.
    """
    library = ctypes.CDLL(None)
    if StorageError.exit_code == signal.SIGABRT and hasattr(library, "_exit"):
        library.signal(ctypes.c_int(signal.SIGABRT), ctypes.cast(library._exit, ctypes.c_void_p))


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether memory is what an error is about, or one that it came of.

    >>> is_out_of_memory(RuntimeError("RESOURCE_EXHAUSTED: allocating 9 bytes")), is_out_of_memory(KeyError("x"))
    (True, False)
    """
    limited = address_limit() is not None
    for each in _chain(error):
        if isinstance(each, MemoryError) or any(words in str(each) for words in _WORDS):
            return True
        # What C extensions raise, or fail to, where an allocation failed that they do not look at
        if limited and isinstance(each, SystemError):
            return True
    return False


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def out_of_memory() -> StorageError:
    """Say what to do where memory does not suffice."""
    limit = address_limit()
    limited = "" if limit is None else f"; this process may map {limit / 1e9:.1f} GB (ulimit -v)"
    return StorageError(f"out of memory: {HINT}{limited}")
