"""Progress: what is shown of a run while it goes on, as a bar or as lines on standard error."""

import sys
from importlib.util import find_spec
from typing import Any

from tlx.logs.log import Log
from tlx.logs.record import figures_of
from tlx.progress import doing


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
