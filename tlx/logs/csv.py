"""Epochs as a table: comma-separated values, a row an epoch."""

import csv
import io
from pathlib import Path
from typing import Any

from tlx.errors import ConfigError
from tlx.files import home, sync, write_bytes
from tlx.logs.log import Log
from tlx.logs.record import row_of
from tlx.logs.storage_errors import storage_errors

Row = dict[str, str]


class CSV(Log):
    """Write each epoch as a row of a table of comma-separated values, in UTF-8, with a line of column names.

    The columns are the keys of a `tlx.History`'s records, with a column for each group's learning rate, such as
    `rate/head`. A phase or a run that brings new columns adds them at the right, and they are empty in the rows before.
    What has no value is empty, too.

    A file that is there goes on: where it holds epochs of the same run from the first record's epoch on, these go, as
    those that are trained again after a resume. So a fit that begins anew replaces its rows.

    Args:
        path: the file; its folder must be there.

    Raises:
        ConfigError: where the file is there and holds something else.
        StorageError: when an epoch cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, CSV(folder + "/epochs.csv") as log:
    ...     log.epoch({"phase": "head", "epoch": 1, "loss": 2.5, "rates": {"head": 0.1}})
    ...     log.epoch({"phase": "all", "epoch": 2, "loss": 1.5, "rates": {"head": 0.1, "base": 0.01}})
    ...     print(log.path.read_text(), end="")
    phase,epoch,loss,rate/head,rate/base
    head,1,2.5,0.1,
    all,2,1.5,0.1,0.01
    """

    def __init__(self, path: str | Path) -> None:
        self.path = home(path)
        self._columns: list[str] = []
        self._told: set[str] = set()  # the runs of which an epoch was written
        _read(self.path)  # what is something else is refused at once

    def epoch(self, record: dict[str, Any]) -> None:
        row = {name: "" if value is None else str(value) for name, value in row_of(record).items()}
        run = row.get("run", "")
        with storage_errors(self.path):
            if run in self._told and set(row) <= set(self._columns) and self.path.exists():
                with self.path.open("a", encoding="utf-8", newline="") as file:
                    file.write(_text(self._columns, [row]))
                return
            columns, rows = _read(self.path)
        self._columns = list(dict.fromkeys([*columns, *row]))
        if run not in self._told:
            rows = [each for each in rows if each.get("run", "") != run or int(each["epoch"]) < record["epoch"]]
        self._told.add(run)
        header = dict(zip(self._columns, self._columns, strict=True))
        write_bytes(self.path, _text(self._columns, [header, *rows, row]).encode())

    def sync(self) -> None:
        with storage_errors(self.path):
            if self.path.exists():  # not before the first epoch has ended
                sync(self.path)


def _text(columns: list[str], rows: list[Row]) -> str:
    text = io.StringIO()
    csv.DictWriter(text, columns, restval="", lineterminator="\n").writerows(rows)
    return text.getvalue()


def _read(path: Path) -> tuple[list[str], list[Row]]:
    """Return the columns and the rows of a file, without one that was cut short when the run was killed.

    Raise `ConfigError` where it holds something else than epochs.
    """
    if not path.exists():
        return [], []
    fault = ConfigError(f"{path}: holds something else than the epochs of a fit: name another file")
    with storage_errors(path):
        content = path.read_bytes()
    if not content:
        return [], []
    try:
        whole = content[: content.rindex(b"\n") + 1].decode()
        header, *lines = csv.reader(io.StringIO(whole, newline=""))
    except (ValueError, csv.Error):
        raise fault from None
    if not {"phase", "epoch"} <= set(header):
        raise fault
    rows = [dict(zip(header, line, strict=False)) for line in lines if len(line) == len(header)]
    if len(rows) != len(lines) or not all(row["epoch"].isdecimal() for row in rows):
        raise fault
    return header, rows
