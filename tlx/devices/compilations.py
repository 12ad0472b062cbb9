"""Count compilations: how often a thread had to wait for XLA."""

import collections
import functools
import threading
from typing import Any

import jax

_COMPILED = "/jax/core/compile/backend_compile_duration"
_by_thread: collections.Counter[int] = collections.Counter()


def compilations() -> int:
    """Return how many programs this thread has compiled, or taken from the persistent cache, since the first call.

    >>> before = compilations()
    >>> double = jax.jit(lambda x: 2 * x)
    >>> [int(double(1)), int(double(2))], compilations() - before
    ([2, 4], 1)
    """
    _listen()
    return _by_thread[threading.get_ident()]


@functools.cache
def _listen() -> None:
    def count(event: str, duration_secs: float, **_: Any) -> None:
        if event == _COMPILED:
            _by_thread[threading.get_ident()] += 1

    jax.monitoring.register_event_duration_secs_listener(count)
