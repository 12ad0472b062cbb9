"""A log: the protocol of what is told of a run."""

from types import TracebackType
from typing import Any, Self, TypeGuard


class Log:
    """Something that is told of a run: the start of a phase, each step, each epoch's record, the end.

    Derive from it and override what you need, `epoch` mostly, or give any object that has these methods to `tlx.fit` or
    `tlx.finetune` (`callbacks`). Neither closes it: whoever makes a log closes it, by `with`, say. `tlx.logs` has those
    that are ready.

    >>> class Losses(Log):
    ...     def epoch(self, record):
    ...         print(record["epoch"], record["loss"])
    >>> with Losses() as log:
    ...     log.epoch({"epoch": 1, "loss": 2.5})
    1 2.5
    """

    def phase(self, name: str, epochs: int, steps: int, done: int) -> None:
        """Note that phase `name` begins, of `epochs` epochs and `steps` steps, `done` of them before a resume."""

    def steps(self, count: int) -> None:
        """Note that so many more steps were taken."""

    def epoch(self, record: dict[str, Any]) -> None:
        """Note an epoch's record: phase, epoch, step, loss, metrics, val_loss, …, seconds, rates, compiled.

        `compiled` counts the programs that the epoch waited for XLA to compile. `tlx.training.History` lists all keys.
        A resumed run tells of an epoch again that ended after its last checkpoint.
        """

    def sync(self) -> None:
        """Bring what was noted to the disk: a checkpoint will follow that takes it for granted."""

    def close(self) -> None:
        """Finish."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


METHODS = ("phase", "steps", "epoch", "sync", "close")


def is_log(given: Any) -> TypeGuard[Log]:
    """Tell whether an object has the methods of `Log`.

    >>> is_log(Log()), is_log(Log), is_log(print)
    (True, False, False)
    """
    return not isinstance(given, type) and all(callable(getattr(given, name, None)) for name in METHODS)
