"""Logs: what happens in a run, written as JSON lines and TensorBoard events and shown as a progress bar."""

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tlx.errors import StorageError
from tlx.files import sync, write_bytes
from tlx.progress import doing


class Log:
    """Something that is told of a run: the start of a phase, each step, each epoch's record, the end."""

    def phase(self, name: str, epochs: int, steps: int, done: int) -> None:
        """Note that phase `name` begins, of `epochs` epochs and `steps` steps, `done` of them before a resume."""

    def steps(self, count: int) -> None:
        """Note that so many more steps were taken."""

    def epoch(self, record: dict[str, Any]) -> None:
        """Note an epoch's record: phase, epoch, step, loss, accuracy, val_loss, val_accuracy, seconds, rates, compiled.

        `compiled` counts the programs that the epoch waited for XLA to compile.
        """

    def sync(self) -> None:
        """Bring what was noted to the disk: a checkpoint will follow that takes it for granted."""

    def close(self) -> None:
        """Finish."""


class JsonLines(Log):
    """Append each epoch's record to a file, one JSON object a line."""

    def __init__(self, path: Path, run: str) -> None:
        self.path, self.run = path, run

    def epoch(self, record: dict[str, Any]) -> None:
        with _storage_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"run": self.run, **record}) + "\n")

    def sync(self) -> None:
        with _storage_errors(self.path):
            if self.path.exists():  # not before the first epoch has ended
                sync(self.path)
                sync(self.path.parent)


def truncate_lines(path: Path, run: str, epoch: int) -> None:
    """Drop the lines of `run` after epoch `epoch` from a file of `JsonLines`, as a resume from that epoch needs."""
    if not path.exists():
        return
    lines = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
            keep = record["run"] != run or record["epoch"] <= epoch
        except (ValueError, LookupError, TypeError):  # a line cut short when the run was killed
            continue
        if keep:
            lines.append(line + "\n")
    write_bytes(path, "".join(lines).encode())


class TensorBoard(Log):
    """Write each epoch's record as TensorBoard scalars, under `directory`.

    What an earlier part of the run wrote there after epoch `done` is marked as void.
    """

    def __init__(self, directory: Path, done: int = 0) -> None:
        with _hidden("torch"):  # of which tensorboardX takes a type, and its import takes seconds
            from tensorboardX import SummaryWriter

        with _storage_errors(directory):
            self._writer = SummaryWriter(str(directory), purge_step=done + 1)

    def epoch(self, record: dict[str, Any]) -> None:
        with _storage_errors(self._writer.logdir):
            for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
                if record[name] is not None:
                    self._writer.add_scalar(name, record[name], record["epoch"])
            for label, rate in record["rates"].items():
                self._writer.add_scalar(f"rate/{label}", rate, record["epoch"])

    def close(self) -> None:
        with _storage_errors(self._writer.logdir):
            self._writer.close()


@contextlib.contextmanager
def _hidden(module: str) -> Iterator[None]:
    """Make imports of a module that was not imported yet fail, as if it were not installed."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]


@contextlib.contextmanager
def _storage_errors(path: str | Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}): free the disk, then --resume") from error


class ProgressBar(Log):
    """Show a bar a phase on standard error."""

    def __init__(self, title: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.title = title
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._progress.start()

    def phase(self, name: str, epochs: int, steps: int, done: int) -> None:
        self._task = self._progress.add_task(f"{self.title}: {name}", total=steps, completed=done, note="")

    def steps(self, count: int) -> None:
        self._progress.advance(self._task, count)
        if self._progress.console.is_terminal:
            doing()  # the bar says it
        else:
            task = self._progress.tasks[self._task]
            doing(f"training {task.description}", int(task.completed), int(task.total or 0))

    def epoch(self, record: dict[str, Any]) -> None:
        shown = {"loss": record["loss"], "val_accuracy": record["val_accuracy"]}
        note = " ".join(f"{name} {value:.4f}" for name, value in shown.items() if value is not None)
        self._progress.update(self._task, note=note)

    def close(self) -> None:
        self._progress.stop()
