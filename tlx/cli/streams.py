"""The standard streams: what is closed is opened on nothing, and no failing write to standard error is a failure."""

import contextlib
import os
import sys
from typing import Any, TextIO


class Forgiving:
    """A text stream of which writes that fail are lost: a full disk or a terminal that is gone is no error to tell of.

    >>> import io
    >>> closed = io.StringIO()
    >>> closed.close()
    >>> Forgiving(closed).write("lost")
    4
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            return self._stream.write(text)
        return len(text)

    def writelines(self, texts: Any) -> None:
        for text in texts:
            self.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def repair_streams() -> None:
    """Open on the null device what is closed of the standard streams, and let no write to standard error fail.

    A descriptor that is free would go to the next file that is opened, which libraries in C would then write messages
    to; and where Python has no standard error, `print` takes standard output for it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free: this one
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            _set(name, open(number, mode, closefd=False))  # noqa: SIM115
    _set("stderr", Forgiving(sys.stderr))


def _set(name: str, stream: Any) -> None:
    setattr(sys, name, stream)
    setattr(sys, f"__{name}__", stream)


def drop_output() -> None:
    """Send what is still to come on standard output nowhere: nobody reads it, and Python writes it as it ends."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
