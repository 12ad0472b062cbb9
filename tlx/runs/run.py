"""A finished run: what it came to, its model, and its test once more."""

import html
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import quote as quote_url

from tlx.data import Data, DataSpec, load_data
from tlx.data import fingerprint as data_fingerprint
from tlx.devices import Devices
from tlx.errors import CheckpointError, ConfigError, check_choice
from tlx.files import home
from tlx.presets.bundle import load_bundle
from tlx.presets.pretrained import Pretrained
from tlx.progress import doing
from tlx.records.description import RUN, Description
from tlx.records.epoch import METRICS
from tlx.records.fields import read_json
from tlx.records.phase import PhaseRecord
from tlx.records.result import RESULT, Result
from tlx.runs.directory import CHECKPOINTS, EXPORT, REPORT, known_as
from tlx.table import html_table
from tlx.training.checkpoint import Checkpoints
from tlx.training.evaluate import Evaluation, evaluate
from tlx.training.fitted import Fit
from tlx.training.history import History, read_history
from tlx.training.snapshot import memory_left

Part = Literal["train", "validation", "test"]


@dataclass(frozen=True, repr=False)
class Run:
    """A finished run: its directory, and what it came to (`result.json`)."""

    path: Path
    result: Mapping[str, Any]

    def __repr__(self) -> str:
        scratch = "" if self.scratch_accuracy is None else f", from scratch {self.scratch_accuracy:.4f}"
        phases = ", ".join(phase["name"] for phase in self.result["phases"])
        test = {name: value for name, value in self.test.items() if name != "loss"} or self.test
        figures = ", ".join(f"{name} {value:.4f}" for name, value in test.items())
        return f"Run({str(self.path)!r}: test {figures}{scratch}; phases {phases})"

    def _repr_html_(self) -> str:
        columns = ("name", "epochs", "trainable", "frozen", "val_accuracy", "val_loss", "seconds")
        rows = [[phase.get(name) for name in columns] for phase in self.result["phases"]]
        report = self.path / REPORT
        link = f' <a href="{html.escape(quote_url(str(report)))}">report</a>' if report.is_file() else ""
        return f"<p>{html.escape(repr(self))}{link}</p>{html_table(columns, rows)}"

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """Open the directory of a finished run; raise `CheckpointError` for anything else."""
        Result.read(home(path) / RESULT)
        return cls(home(path), read_json(home(path) / RESULT))

    @property
    def history(self) -> History:
        """The record of each epoch of the transferred model (`metrics.jsonl`)."""
        return read_history(self.path / METRICS, "transfer")

    @property
    def scratch_history(self) -> History:
        """The record of each epoch of the model trained from scratch; empty if there was none."""
        return read_history(self.path / METRICS, "scratch")

    @property
    def test(self) -> Mapping[str, float]:
        """The metrics of the transferred model on the test examples, by name."""
        old = {"loss": self.result.get("test_loss"), "accuracy": self.result["test_accuracy"]}
        metrics: Mapping[str, float] = self.result.get("test") or old
        return metrics

    @property
    def test_accuracy(self) -> float:
        """The share of the test examples that the transferred model gets right; `test` has other metrics."""
        if self.result["test_accuracy"] is None:
            raise AttributeError(f"no accuracy: the run measured {', '.join(self.test)} (Run.test)")
        return float(self.result["test_accuracy"])

    @property
    def scratch_accuracy(self) -> float | None:
        """The same for the same model trained from scratch for as many epochs, or None if that was not asked for."""
        return self.result["scratch_accuracy"]

    def load(self) -> Pretrained:
        """Load the trained model."""
        return load_bundle(self.path / EXPORT)

    def load_fit(self) -> Fit:
        """Load the trained model as what `tlx.fit` returned, with its optimizer's state, to train on.

        Raise `CheckpointError` where the run's last checkpoint is gone or damaged.

        `more = tlx.fit(run.load_fit(), tlx.recipes.further(stages), data.train, data.validation)`
        """
        trained, folder = self.load(), self.path / CHECKPOINTS
        run = f"{known_as(self.path)}/{CHECKPOINTS}"
        checkpoints = Checkpoints(folder, run=run) if folder.is_dir() else None
        snapshot = checkpoints.latest() if checkpoints else None
        if snapshot is None:
            raise CheckpointError(f"{folder}: holds no checkpoint, and so no state of the optimizer: train from load()")
        assert checkpoints is not None
        checkpoints.close()
        return Fit(
            variables=trained.variables,
            phases=tuple(map(PhaseRecord.from_dict, self.result["phases"])),
            history=History({key: record[key] for key in record if key != "run"} for record in self.history),
            memory=memory_left(snapshot),
            model=trained.model,
            preprocess=trained.preprocess,
            objective=trained.objective,
        )


def evaluate_run(
    path: str | Path, data: Data | None = None, *, part: Part = "test", workers: int | None = None
) -> Evaluation:
    """Test a finished run's model again, on a part of the run's own data or of `data`.

    On the run's own test examples, and as many devices, it repeats the test accuracy exactly. Raise `CheckpointError`
    where its data have changed, and `ConfigError` where they were arrays in memory.
    """
    check_choice("part", part, get_args(Part))
    path = home(path)
    trained, description = Run.open(path).load(), Description.read(path / RUN)
    if data is None:
        if description.data is None:
            raise ConfigError(f"{path}: this run's data were arrays in memory: name data to evaluate on")
        doing("reading the data")
        data = load_data(**_spec(path, description), preprocess=trained.preprocess)
        if data_fingerprint(data) != description.data_sha256:
            raise CheckpointError(f"{path}: the data are not those of the run any more: name data to evaluate on")
    size, source = description.batch_size, getattr(data, part)
    how: dict[str, Any] = {"workers": workers, "placement": Devices().placement(), "batch_size": size}
    return evaluate(trained, source, **how)


def split_of(path: str | Path, data: str | None = None) -> dict[str, Any]:
    """Return how a run split its data: `seed`, `validation`, `test`, `target` and `text`, as `load_data` takes them.

    Args:
        path: the directory of the run.
        data: what is to be split in the same way, by its name. Of the run's own, `test_data` and `validation_data` are
            returned, too.
    """
    path = home(path)
    description = Description.read(path / RUN)
    if description.data is None:
        return {"seed": description.seed}
    spec = _spec(path, description)
    names = ("seed", "validation", "test", "target", "text")
    own = data is not None and str(home(_place(data)).absolute()) == _place(spec["source"])
    return {name: spec[name] for name in (*names, *(("test_data", "validation_data") if own else ()))}


def _place(source: str) -> str:
    """Return the path that a name of data holds."""
    return source if os.path.lexists(home(source)) else source.partition(":")[2] or source


def _spec(path: Path, description: Description) -> dict[str, Any]:
    """Return the data that a run's description names, as `load_data` takes them."""
    try:
        return asdict(DataSpec(**(description.data or {})))
    except (TypeError, ConfigError) as error:
        raise CheckpointError(
            f"{path / RUN}: does not name data as tlx writes it ({error}): the run is damaged"
        ) from error
