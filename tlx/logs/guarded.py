"""A guard: a log of a user's that fails loses no run."""

import logging
from typing import Any

from tlx.errors import TlxError
from tlx.logs.log import Log


class Guarded(Log):
    """Pass on what a run tells to another log until that raises an exception; it is then left out, with a warning.

    `run` joins the records, as in the lines of `JsonLines`. What tlx itself raises passes.
    """

    def __init__(self, log: Log, run: str) -> None:
        self.log, self.run, self._failed = log, run, False

    def _call(self, method: str, *arguments: Any) -> None:
        if self._failed:
            return
        try:
            getattr(self.log, method)(*arguments)
        except TlxError:
            raise
        except Exception as error:
            self._failed = True
            what = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
            logging.getLogger("tlx").warning(
                "tlx: the log %s failed in %s (%s): it is told no more", type(self.log).__name__, method, what
            )

    def phase(self, name: str, epochs: int, steps: int, done: int) -> None:
        self._call("phase", name, epochs, steps, done)

    def steps(self, count: int) -> None:
        self._call("steps", count)

    def epoch(self, record: dict[str, Any]) -> None:
        self._call("epoch", {"run": self.run, **record})

    def sync(self) -> None:
        self._call("sync")
