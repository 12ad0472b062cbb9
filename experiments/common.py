"""What the experiments share: their options, a table of the phases, and an image of the history."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, get_type_hints

import tyro

from tlx import Data, Run, TlxError, devices, load_data, write_report

AnyOptions = TypeVar("AnyOptions")


@dataclass(frozen=True)
class Options:
    """Run a transfer experiment."""

    out: str
    """A new directory for the run."""
    data: str = "tfds"
    """tfds (prepared on this machine), or idx:DIR, a folder of idx files."""
    epochs: int = 10
    """Epochs of each phase."""
    labels_per_class: int | None = None
    """How many labels a class training and validation may use; by default all."""
    seed: int = 0

    def load(self, name: str) -> Data:
        """Load the data set `name` of tfds, or the idx folder."""
        source = f"tfds:{name}" if self.data == "tfds" else self.data
        return load_data(source, seed=self.seed, labels_per_class=self.labels_per_class, validation=0.15)


def start(main: Callable[[AnyOptions], Run | None]) -> None:
    """Run an experiment with the options of the command line, or say in one line what is missing, with tlx's code."""
    options = tyro.cli(get_type_hints(main)["options"], args=sys.argv[1:])
    devices.enable_compilation_cache()
    try:
        run = main(options)
    except TlxError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    if run is not None:
        say(run)
        plot_history(run)


def say(run: Run) -> None:
    """Print a line a phase, and the test accuracies."""
    for phase in run.result["phases"]:
        print(
            f"{phase['name']}: {phase['trainable']:,} trained, {phase['frozen']:,} frozen, {phase['epochs']} epochs, "
            f"validation accuracy {phase['val_accuracy']:.4f}"
        )
    scratch = "" if run.scratch_accuracy is None else f", from scratch {run.scratch_accuracy:.4f}"
    seconds = f"{run.result['seconds']:.0f} s"
    print(f"test accuracy {run.test_accuracy:.4f} on {run.result['test_examples']} images{scratch}, {seconds}")
    print(f"report: {write_report(run.path)}")


def plot_history(run: Run) -> Path:
    """Draw loss and accuracy by epoch, training and validation, transfer and scratch; return the image's path."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    run.history.plot(scratch=run.scratch_history, axes=figure.subplots(1, 2))
    path = run.path / "history.png"
    figure.savefig(path, dpi=120)
    return path
