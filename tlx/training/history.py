"""The history of a fit: a record for each epoch, as a list, a table of pandas's or a plot."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tlx.errors import CheckpointError, ConfigError
from tlx.records.epoch import PLACE
from tlx.table import html_table


class History(list[dict[str, Any]]):
    """A list of dicts, one for each epoch, in the order of training.

    Each has the keys of a line of `metrics.jsonl`: `phase`, `phase_index`, `epoch` (from 1, over all phases), `step`
    (within the phase), `loss` and the objective's metrics, such as `accuracy`, `val_loss`, `val_accuracy` and so on
    (None without validation), `seconds`, `rates` (the learning rate of each group) and `compiled` (programs compiled in
    that epoch); those of a `tlx.Run` have `run`, too: 'transfer' or 'scratch'.

    >>> history = History([{"phase": "head", "phase_index": 0, "epoch": 1, "loss": 2.5, "val_accuracy": 0.25}])
    >>> history
    History(1 epoch: head 1; loss 2.5000, val_accuracy 0.2500)
    >>> [record["loss"] for record in history]
    [2.5]
    """

    def __repr__(self) -> str:
        if not self:
            return "History(0 epochs)"
        spans = ", ".join(
            f"{name} {first}" if first == last else f"{name} {first}-{last}" for name, first, last in self._spans()
        )
        last = ", ".join(f"{name} {self[-1][name]:.4f}" for name in figures_of(self[-1]) if self[-1][name] is not None)
        return f"History({len(self)} epoch{'s' if len(self) > 1 else ''}: {spans}; {last})"

    def _repr_html_(self) -> str:
        columns = ("phase", "epoch", *(figures_of(self[-1]) if self else ()), "seconds")
        return html_table(columns, [[record.get(name) for name in columns] for record in self])

    def _spans(self) -> list[tuple[str, int, int]]:
        """Return the name, the first and the last epoch of each phase."""
        spans: dict[int, tuple[str, int, int]] = {}
        for record in self:
            index, epoch = record["phase_index"], record["epoch"]
            spans[index] = (record["phase"], spans.get(index, ("", epoch))[1], epoch)
        return list(spans.values())

    def to_pandas(self) -> Any:
        """Return a `pandas.DataFrame` of one row an epoch; the rates become columns such as `rate/head`.

        Raise `ConfigError` where pandas is not installed.

        >>> History([{"epoch": 1, "loss": 2.5, "rates": {"head": 0.1}}]).to_pandas().columns.tolist()
        ['epoch', 'loss', 'rate/head']
        """
        try:
            import pandas as pd  # type: ignore[import-untyped]
        except ImportError as error:
            raise ConfigError(f"to_pandas needs pandas ({error}): pip install pandas, or use the list itself") from None
        return pd.DataFrame([_flat(record) for record in self])

    def plot(self, *, scratch: Sequence[dict[str, Any]] = (), axes: Any = None) -> Any:
        """Plot loss and accuracy, or the first metric, by epoch, training dashed, validation solid; lines begin phases.

        Args:
            scratch: The history of a baseline to plot beside (`tlx.Run.scratch_history`).
            axes: Two axes of matplotlib's to draw into; by default those of a new figure of pyplot's.

        Returns:
            The two axes.
        """
        if axes is None:
            import matplotlib.pyplot as plt

            axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")[1]
        named = "transfer, " if scratch else ""
        for axis, name in zip(axes, ("loss", _metric(self)), strict=True):
            _draw(axis, self, name, "tab:blue", named)
            if scratch:
                _draw(axis, scratch, name, "tab:orange", "scratch, ")
            for phase, first, _ in self._spans()[1:]:
                axis.axvline(first - 0.5, color="grey", linewidth=0.8)
                axis.text(first - 0.4, 1.01, phase, transform=axis.get_xaxis_transform(), fontsize=8, color="grey")
            axis.set(xlabel="epoch", ylabel=name)
        if self:
            axes[-1].legend()
        return axes


def figures_of(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Name what an epoch's record measured, in its order: the loss, the metrics, and those of validation.

    >>> figures_of({"phase": "head", "epoch": 1, "loss": 2.5, "mae": 1.5, "val_loss": None, "seconds": 0.1})
    ('loss', 'mae', 'val_loss')
    """
    return tuple(name for name in record if name not in PLACE)


def _metric(records: Sequence[Mapping[str, Any]]) -> str:
    """Name the metric that is plotted beside the loss."""
    names = [name.removeprefix("val_") for record in records[-1:] for name in figures_of(record)]
    return next((name for name in names if name != "loss"), "accuracy")


def _flat(record: dict[str, Any]) -> dict[str, Any]:
    rates = {f"rate/{label}": rate for label, rate in record.get("rates", {}).items()}
    return {**{name: value for name, value in record.items() if name != "rates"}, **rates}


def _draw(axis: Any, records: Iterable[dict[str, Any]], name: str, colour: str, named: str) -> None:
    records = list(records)
    epochs = [record["epoch"] for record in records]
    for key, style, of in ((name, "--", "training"), (f"val_{name}", "-", "validation")):
        values = [math.nan if record.get(key) is None else record[key] for record in records]
        if not all(map(math.isnan, values)):
            axis.plot(epochs, values, style, color=colour, label=f"{named}{of}")


def read_history(path: Path, run: str) -> History:
    """Read the lines of a run ('transfer', 'scratch') from a file of `tlx.training.log.JsonLines`.

    Raise `CheckpointError` where the file is missing or damaged.
    """
    history, number = History(), 0
    try:
        # Not splitlines: a name may hold U+2028 and the like, which JSON leaves as they are.
        for line in path.read_text(encoding="utf-8").split("\n"):
            number += 1
            record = json.loads(line) if line.strip() else None
            if record is not None and record["run"] == run:
                history.append({key: record[key] for key in ("run", "phase", "phase_index", "epoch")} | record)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}): restore it from a copy") from error
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        place = f"line {number} " if number else ""  # not even text
        raise CheckpointError(f"{path}: {place}is not what tlx wrote: the run is damaged") from error
    return history
