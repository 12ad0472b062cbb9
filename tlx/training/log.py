"""Logs: what happens in a run, written as JSON lines and TensorBoard events and shown as a progress bar."""

import contextlib
import json
import logging
import sys
import threading
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tlx.errors import ConfigError, StorageError, TlxError
from tlx.files import sync, write_bytes
from tlx.progress import doing
from tlx.training.history import figures_of


class Log:
    """Something that is told of a run: the start of a phase, each step, each epoch's record, the end.

    Derive from it and override what you need, `epoch` mostly, or give any object that has these methods to `tlx.fit` or
    `tlx.finetune` (`logs`). Neither closes it: whoever makes a log closes it.
    """

    def phase(self, name: str, epochs: int, steps: int, done: int) -> None:
        """Note that phase `name` begins, of `epochs` epochs and `steps` steps, `done` of them before a resume."""

    def steps(self, count: int) -> None:
        """Note that so many more steps were taken."""

    def epoch(self, record: dict[str, Any]) -> None:
        """Note an epoch's record: phase, epoch, step, loss, metrics, val_loss, …, seconds, rates, compiled.

        `compiled` counts the programs that the epoch waited for XLA to compile. `tlx.training.History` lists all keys.
        """

    def sync(self) -> None:
        """Bring what was noted to the disk: a checkpoint will follow that takes it for granted."""

    def close(self) -> None:
        """Finish."""


METHODS = ("phase", "steps", "epoch", "sync", "close")


def check_logs(logs: Sequence[Any]) -> None:
    """Raise `ConfigError` where something given as a log lacks a method of `Log`."""
    if not isinstance(logs, Sequence):
        raise ConfigError(f"logs: {type(logs).__name__} is not a list of logs: write logs=[log]")
    for index, log in enumerate(logs):
        missing = [name for name in METHODS if not callable(getattr(log, name, None))]
        if missing or isinstance(log, type):
            lacks = "is a class, not an object" if isinstance(log, type) else f"has no method {', '.join(missing)}"
            raise ConfigError(
                f"logs[{index}]: {getattr(log, '__name__', type(log).__name__)} {lacks}: derive a class from tlx.Log, "
                "override what you need (epoch, mostly) and give an object of it"
            )


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
            for name in figures_of(record):
                if record[name] is not None:
                    self._writer.add_scalar(name, record[name], record["epoch"])
            for label, rate in record["rates"].items():
                self._writer.add_scalar(f"rate/{label}", rate, record["epoch"])

    def close(self) -> None:
        with _storage_errors(self._writer.logdir):
            self._writer.close()


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
        doing()  # the bar says it

    def epoch(self, record: dict[str, Any]) -> None:
        self._progress.update(self._task, note=_scores(record))

    def close(self) -> None:
        self._progress.stop()


class ProgressLines(Log):
    """Write a line an epoch on standard error, where no bar can be drawn."""

    def __init__(self, title: str) -> None:
        self.title, self._phase, self._epochs, self._steps, self._taken = title, "", 0, 0, 0

    def phase(self, name: str, epochs: int, steps: int, done: int) -> None:
        self._phase, self._epochs, self._steps, self._taken = name, epochs, steps, done

    def steps(self, count: int) -> None:
        self._taken += count
        doing(f"training {self.title}: {self._phase}", self._taken, self._steps)

    def epoch(self, record: dict[str, Any]) -> None:
        place = f"{self.title}: {self._phase} {self._taken * self._epochs // self._steps}/{self._epochs}"
        print(place, _scores(record), f"{record['seconds']:.1f} s", file=sys.stderr, flush=True)


class PhaseLines(Log):
    """Write a line a phase on standard error, for a file or a pipe."""

    def __init__(self, title: str) -> None:
        self.title, self._phase, self._steps, self._taken, self._scores = title, "", 0, 0, ""

    def phase(self, name: str, epochs: int, steps: int, done: int) -> None:
        self.close()
        self._phase, self._steps, self._taken, self._scores = name, steps, done, ""

    def steps(self, count: int) -> None:
        self._taken += count
        doing(f"training {self.title}: {self._phase}", self._taken, self._steps)

    def epoch(self, record: dict[str, Any]) -> None:
        self._scores = _scores(record)

    def close(self) -> None:
        if self._phase:
            line = f"tlx: {self.title}: {self._phase}, {self._taken} of {self._steps} steps {self._scores}"
            print(line.rstrip(), file=sys.stderr, flush=True)
        self._phase = ""


def progress_log(title: str) -> Log:
    """Return the log that shows progress here: a bar, or lines in a file or in a notebook that cannot show widgets."""
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_jupyter:
        return ProgressLines(title) if find_spec("ipywidgets") is None else ProgressBar(title)
    return ProgressBar(title) if console.is_terminal else PhaseLines(title)


def _scores(record: dict[str, Any]) -> str:
    """Say the loss, and what validation says in one figure: its first metric, or the loss."""
    validated = [name for name in figures_of(record) if name.startswith("val_") and record[name] is not None]
    shown = ["loss", *sorted(validated, key="val_loss".__eq__)[:1]]  # any metric before the loss
    return " ".join(f"{name} {record[name]:.4f}" for name in shown)
