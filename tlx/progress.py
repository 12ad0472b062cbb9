"""Progress: what is being done, reported to whoever listens."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import TypeVar

Listener = Callable[[str, int, int], None]
T = TypeVar("T")

FIRST = 3.0  # seconds without a line before one says what is being done
AGAIN = 5.0  # seconds before it is said again, later a tenth of the time that it has taken: long work fills no log
_TICK = 0.25
_BAR_FROM = 200  # items

_listener: ContextVar[Listener | None] = ContextVar("tlx_progress", default=None)


def doing(what: str = "", done: int = 0, total: int = 0) -> None:
    """Report what is being done, and `done` of `total` parts of it where that is known; "" for nothing to speak of.

    Nothing happens unless somebody listens (`listening`, `lines`), in this thread or context.

    >>> with listening(print):
    ...     doing("testing", 1, 3)
    testing 1 3
    >>> doing("testing", 2, 3)
    """
    listener = _listener.get()
    if listener is not None:
        listener(what, done, total)


@contextlib.contextmanager
def listening(listener: Listener | None) -> Iterator[None]:
    """Within this context, call `listener` with all that is reported; with None, nobody listens."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def counted(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """Yield the items and report how many have come; show a bar instead where they are many and it is a terminal.

    Nothing is shown or reported unless somebody listens.

    >>> list(counted("ab", 2, "reading"))
    ['a', 'b']
    """
    if _listener.get() is None:
        yield from items
        return
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if total < _BAR_FROM or not console.is_terminal:
        doing(what, 0, total)
        for number, item in enumerate(items, 1):
            yield item
            doing(what, number, total)
        return
    doing()
    # By default, rich would print on standard error what is printed on standard output meanwhile.
    with Progress(console=console, transient=True, redirect_stdout=False) as bar:
        yield from bar.track(items, total, description=what)


@contextlib.contextmanager
def lines() -> Iterator[None]:
    """Within this context, write a line on standard error about whatever takes longer than a few seconds.

    Work that is quick leaves no trace. Nothing changes where somebody listens already, or where the environment has
    TLX_PROGRESS=off.
    """
    if _listener.get() is not None or os.environ.get("TLX_PROGRESS") == "off":
        yield
        return
    writer, stop = Lines(time.monotonic()), threading.Event()

    def watch() -> None:
        while not stop.wait(_TICK):
            if line := writer.due(time.monotonic()):
                with contextlib.suppress(OSError, ValueError, AttributeError):  # a stream that is full, closed or None
                    print(line, file=sys.stderr, flush=True)

    thread = threading.Thread(target=watch, name="tlx-progress", daemon=True)
    thread.start()
    try:
        with listening(writer):
            yield
    finally:
        stop.set()
        thread.join()


class Lines:
    """Decide when a line is due: after `FIRST` seconds without one, and for the same work again after `AGAIN`.

    >>> work = Lines(now=0.0)
    >>> work("compiling", 0, 0, now=1.0)
    >>> work.due(2.0), work.due(3.5), work.due(7.0), work.due(9.0)
    ('', 'tlx: compiling (2 s)', '', 'tlx: compiling (8 s)')
    """

    def __init__(self, now: float) -> None:
        self._written, self._said = now, ""
        self._now: tuple[str, int, int, float] = ("", 0, 0, now)  # replaced at once: two threads look at it

    def __call__(self, what: str, done: int, total: int, *, now: float | None = None) -> None:
        before, *_, since = self._now
        if what != before:
            since = time.monotonic() if now is None else now
        self._now = (what, done, total, since)

    def due(self, now: float) -> str:
        """Return the line to write at this time, or nothing."""
        what, done, total, since = self._now
        wait = max(AGAIN, (now - since) / 10) if what == self._said else FIRST
        if not what or now - self._written < wait:
            return ""
        self._written, self._said = now, what
        count = f", {done} of {total}" if total else ""
        return f"tlx: {what}{count} ({now - since:.0f} s)"
