"""Epochs as JSON, one object a line."""

import json
from pathlib import Path
from typing import Any

from tlx.errors import ConfigError
from tlx.files import home, sync, write_bytes
from tlx.logs.log import Log
from tlx.logs.storage_errors import storage_errors


class JsonLines(Log):
    """Append each epoch's record to a file, one JSON object a line; a run's directory has one, `metrics.jsonl`.

    What the file holds of the same run from the first record's epoch on goes, as of an epoch that is trained again
    after a resume.

    Args:
        path: the file; its folder must be there.
        run: what each line names as its `run`; None takes what the records say, if anything.

    Raises:
        ConfigError: where the file is there and holds something else.
        StorageError: when an epoch cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, JsonLines(folder + "/metrics.jsonl") as log:
    ...     log.epoch({"phase": "head", "epoch": 1, "loss": 2.5})
    ...     print(log.path.read_text(), end="")
    {"phase": "head", "epoch": 1, "loss": 2.5}
    """

    def __init__(self, path: str | Path, run: str | None = None) -> None:
        self.path, self.run = home(path), run
        _check_own(self.path)
        self._told: set[str | None] = set()  # the runs of which an epoch was written

    def epoch(self, record: dict[str, Any]) -> None:
        if self.run is not None:
            record = {"run": self.run, **record}
        run = record.get("run")
        with storage_errors(self.path):
            if run not in self._told:
                truncate_lines(self.path, run, record["epoch"] - 1)
            self._told.add(run)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")

    def sync(self) -> None:
        with storage_errors(self.path):
            if self.path.exists():  # not before the first epoch has ended
                sync(self.path)
                sync(self.path.parent)


def _check_own(path: Path) -> None:
    """Raise `ConfigError` for a file of something else than epochs, which would lose its lines."""
    if path.exists():
        with storage_errors(path), path.open("rb") as file:
            line = file.readline(100_000)
        if line.strip() and (not line.startswith(b'{"') or (line.endswith(b"\n") and b'"epoch"' not in line)):
            raise ConfigError(f"{path}: holds something else than the epochs of a fit: name another file")


def truncate_lines(path: Path, run: str | None, epoch: int) -> None:
    """Drop the lines of `run` after epoch `epoch` from a file of `JsonLines`, as a resume from that epoch needs."""
    if not path.exists():
        return
    lines, text = [], path.read_text(encoding="utf-8", errors="replace")
    for line in text.split("\n"):
        try:
            record = json.loads(line)
            keep = record.get("run") != run or record["epoch"] <= epoch
        except (ValueError, LookupError, TypeError, AttributeError):  # a line cut short when the run was killed
            continue
        if keep:
            lines.append(line + "\n")
    if "".join(lines) != text:
        write_bytes(path, "".join(lines).encode())
