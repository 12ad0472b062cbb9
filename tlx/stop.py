"""Stop on request: a run that is asked to end saves what it has and ends so that it can go on."""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any

from tlx.errors import StoppedError

Stop = Callable[[], bool]
"""What `fit` and `finetune` ask, after every step, whether they are to save and stop."""
SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name))


def heeded() -> list[signal.Signals]:
    """Return those of the signals that this thread can handle and that are not ignored.

    SIGINT is ignored in a script's background, SIGHUP under `nohup`. Python lets only the main thread handle signals.
    """
    if threading.current_thread() is not threading.main_thread():
        return []
    return [each for each in SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]


def never() -> bool:
    """Go on."""
    return False


def check(stop: Stop) -> None:
    """Raise `StoppedError` if a stop was asked for."""
    if stop():
        raise StoppedError("stopped on request")


def within_import(frame: FrameType | None) -> bool:
    """Tell whether this frame, or one that it was called from, is the import system's: no handler should raise there.

    What it raises may pass through the set-up of a library in C++, as jaxlib's, which is not made for it and ends in a
    segmentation fault.

    >>> within_import(sys._getframe())
    False
    """
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


@contextlib.contextmanager
def stopping_at_once() -> Iterator[None]:
    """Within this context `SIGNALS` end the process with `StoppedError`'s code: where nothing needs saving.

    It raises `SystemExit`: temporary files are removed on the way out, and code that catches an `Exception` does not
    catch it. Within an import (`within_import`) nothing is raised, and the process ends there.

    >>> with stopping_at_once():
    ...     pass
    """

    def handle(_: int, frame: FrameType | None) -> None:
        print("tlx: stopped on request, not in training: nothing is lost", file=sys.stderr, flush=True)
        if within_import(frame):
            os._exit(StoppedError.exit_code)
        raise SystemExit(StoppedError.exit_code)

    before = {each: signal.signal(each, handle) for each in heeded()}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


class StopOnSignals:
    """Within this context the first SIGTERM, SIGINT or SIGHUP asks for a stop; one a second later ends the process.

    Python runs a signal's handler between two of its own instructions, and a compilation by XLA is one. So the
    interpreter's own handler wakes a thread (`signal.set_wakeup_fd`), which counts; what comes within a second is taken
    for the same request, which a terminal and a scheduler may both pass on. What is ignored stays so. Fork no processes
    within it. In another thread than the main one, where Python handles no signals, it changes nothing, and its `Stop`
    says no: ask for a stop in another way there.

    >>> with StopOnSignals() as stop:
    ...     os.kill(os.getpid(), signal.SIGTERM)
    ...     while not stop():
    ...         pass
    """

    def __enter__(self) -> Stop:
        self._asked = threading.Event()
        self._before: dict[signal.Signals, Any] | None = None
        if threading.current_thread() is not threading.main_thread():
            return self._asked.is_set
        self._wakes, self._woken = socket.socketpair()
        self._wakes.setblocking(False)
        self._fd_before = signal.set_wakeup_fd(self._wakes.fileno(), warn_on_full_buffer=False)
        self._watch = threading.Thread(target=self._count, name="tlx-signals", daemon=True)
        self._watch.start()
        self._before = {each: signal.signal(each, lambda *_: None) for each in heeded()}
        return self._asked.is_set

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is None:
            return
        for each, handler in self._before.items():
            signal.signal(each, handler)
        signal.set_wakeup_fd(self._fd_before)
        self._wakes.shutdown(socket.SHUT_WR)  # ends the thread
        self._watch.join()
        self._wakes.close()
        self._woken.close()

    def _count(self) -> None:
        first = 0.0
        while heard := self._woken.recv(1):
            if heard[0] not in SIGNALS:
                continue
            if not self._asked.is_set():
                first = time.monotonic()
                self._asked.set()
            elif time.monotonic() - first > 1:
                os._exit(128 + heard[0])
