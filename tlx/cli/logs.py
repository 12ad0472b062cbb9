"""The logs that `tlx finetune --log` names."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from tlx.logs import CSV, Log, MLflow, Trackio, WandB
from tlx.logs.service import imported

Name = Literal["csv", "wandb", "mlflow", "trackio"]
PROJECT = "tlx"


class OfRun(Log):
    """A log that is made when its run has begun, for it goes by the run's name and identity."""

    def __init__(self, make: Callable[[str, Path], Log], out: Path) -> None:
        self.make, self.out = make, out
        self.log: Log | None = None

    def phase(self, name: str, epochs: int, steps: int, done: int) -> None:
        from tlx.runs.directory import known_as

        if self.log is None:
            self.log = self.make(f"{self.out.absolute().name}-{known_as(self.out)}", self.out)
        self.log.phase(name, epochs, steps, done)

    def epoch(self, record: dict[str, Any]) -> None:
        if self.log is not None:
            self.log.epoch(record)

    def close(self) -> None:
        if self.log is not None:
            self.log.close()


SERVICES: dict[Name, tuple[str, Callable[[str, Path], Log]]] = {
    "wandb": ("WandB", lambda run, out: WandB(project=PROJECT, name=run, id=run, resume="allow", dir=str(out))),
    "mlflow": ("MLflow", lambda run, out: MLflow(PROJECT, run_name=run, resume=True)),
    "trackio": ("Trackio", lambda run, out: Trackio(PROJECT, name=run, resume="allow", embed=False)),
}


def check_installed(names: Sequence[Name]) -> None:
    """Raise `ConfigError` where a log needs an extra that is not installed."""
    for name in names:
        if name in SERVICES:
            imported(name, SERVICES[name][0])


def logs_of(names: Sequence[Name], out: Path) -> list[Log]:
    """Return the logs of these names for the run in a directory, each once.

    >>> [type(log).__name__ for log in logs_of(("csv", "mlflow", "csv"), Path("runs/flowers"))]
    ['CSV', 'OfRun']
    """
    return [
        OfRun(SERVICES[name][1], out) if name in SERVICES else CSV(out / "metrics.csv") for name in dict.fromkeys(names)
    ]
