"""Epochs as TensorBoard's scalars."""

import contextlib
import sys
import threading
from collections.abc import Iterator
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

from tlx.files import home
from tlx.logs.log import Log
from tlx.logs.record import scalars_of
from tlx.logs.storage_errors import storage_errors


class TensorBoard(Log):
    """Write the figures and learning rates of each epoch as TensorBoard's scalars, by epoch.

    `tlx.finetune` writes them under `tensorboard/` in a run's directory by itself. Records that name a run go to a
    folder of its name. What the folder holds from the first record's epoch on is marked as void, as of an epoch that is
    trained again after a resume.

    Args:
        directory: the folder for the event files; it is made.

    Raises:
        StorageError: where it cannot be made or written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, TensorBoard(folder + "/events") as log:
    ...     log.epoch({"phase": "head", "epoch": 1, "loss": 2.5, "rates": {"head": 0.1}})
    ...     print(len(list(log.directory.iterdir())))
    1
    """

    def __init__(self, directory: str | Path) -> None:
        with _hidden("torch"):  # of which tensorboardX takes a type, and its import takes seconds
            from tensorboardX import SummaryWriter

        self.directory, self._new = home(directory), SummaryWriter
        self._writers: dict[str, Any] = {}
        with storage_errors(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)

    def epoch(self, record: dict[str, Any]) -> None:
        run, epoch = record.get("run", ""), record["epoch"]
        with storage_errors(self.directory / run):
            if run not in self._writers:
                self._writers[run] = self._new(str(self.directory / run), purge_step=epoch)
            for name, value in scalars_of(record).items():
                self._writers[run].add_scalar(name, value, epoch)

    def close(self) -> None:
        with storage_errors(self.directory):
            for writer in self._writers.values():
                writer.close()


@contextlib.contextmanager
def _hidden(module: str) -> Iterator[None]:
    """Make this thread's imports of a module that was not imported yet fail, as if it were not installed."""
    finder = _Hiding(module)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Hiding(MetaPathFinder):
    """Finds nothing, and lets nothing else find one module, for the thread that made it: others import it meanwhile."""

    def __init__(self, module: str) -> None:
        self.module, self.thread = module, threading.get_ident()

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        if fullname == self.module and threading.get_ident() == self.thread:
            raise ModuleNotFoundError(f"{fullname} is not needed here", name=fullname)
