"""A run's directory: what is in it, who writes it, and whether a run that is there is the one to go on with."""

import contextlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from tlx.errors import CheckpointError, ConfigError, StorageError, suggestion
from tlx.files import sync, write_bytes, write_json
from tlx.files.lock import LOCK, check_unlocked, locked
from tlx.records.description import RUN, Description, differences, identity_of
from tlx.records.fields import read_json
from tlx.records.result import RESULT

CONFIG = "config.yaml"
EXPORT, CHECKPOINTS = "export", "checkpoints"
REPORT = "report.html"  # of `tlx.write_report`
_BEGUN = {LOCK, CONFIG, f"{CONFIG}.partial", f"{RUN}.partial"}  # what a run killed as it began may leave


@contextlib.contextmanager
def entered(
    out: Path, description: Description, config: Mapping[str, Any] | None, resume: bool, allow: Sequence[str]
) -> Iterator[bool]:
    """Begin the run that `description` describes in a directory, or go on with it; say whether it is finished already.

    Within this context no other process writes the run. With `resume`, a run that is there must have been described
    alike, except for what `allow` names. Raise `ConfigError` where something else is there, or a run and `resume` is
    off, `CheckpointError` where it is another run, and `StorageError` where another process has it or the directory
    cannot be made.
    """
    for name in allow:
        if name.partition("/")[0] not in (known := description.to_dict()):
            hint = suggestion(name, known)
            raise ConfigError(f"allow: a run is described by nothing called {name!r}{hint}: name a key of {out / RUN}")
    if not os.path.lexists(out):
        try:
            out.mkdir(parents=True, exist_ok=True)
            sync(out.parent)
        except OSError as error:
            raise StorageError(f"{out}: cannot be made ({error.strerror}): name another directory") from error
    check_unlocked(out)  # first, for what is there may be changing
    _check_own(out, resume)
    with locked(out) as sign:
        finished = _enter(out, description, config, resume, allow)
        if not finished:
            sign()
        yield finished


def _check_own(out: Path, resume: bool) -> None:
    """Raise unless there is nothing, what a run left that was killed as it began, or with `resume` a run."""
    names = {entry.name for entry in out.iterdir()} if out.is_dir() else {""}
    if not names or (names <= _BEGUN and LOCK in names) or (resume and RUN in names):
        return
    if resume:
        raise CheckpointError(f"{out / RUN}: is missing: what is there cannot go on, name another directory")
    raise ConfigError(f"{out}: is already in use: name another directory, or resume the run that is there")


def _enter(
    out: Path, description: Description, config: Mapping[str, Any] | None, resume: bool, allow: Sequence[str]
) -> bool:
    _check_own(out, resume)  # another process may have begun one in between
    described = json.loads(json.dumps(description.to_dict()))
    if resume and os.path.exists(out / RUN):
        before = Description.read(out / RUN)
        written = read_json(out / RUN)
        allowed = differences(written, described)
        changes = {place: allowed.pop(place) for place in list(allowed) if not _allowed(place, allow)}
        if changes:
            said = "; ".join(f"{place}: {change}" for place, change in changes.items())
            raise CheckpointError(
                f"{out}: not the run that was begun there ({said}): name another directory, or allow the change by "
                f"name (--allow {' '.join(dict.fromkeys(place.partition('/')[0] for place in changes))})"
            )
        finished = (out / RESULT).exists()
        if not finished:
            _tell_versions(out, before.versions, description.versions)
        if allowed and not finished:
            now = replace(description, identity=identity_of(written), changes=(*before.changes, allowed))
            _describe(out, now, config)
        return finished
    _describe(out, replace(description, identity=identity_of(described)), config)
    return False


def known_as(out: Path) -> str:
    """Return the identity of the run in a directory, by which its checkpoints know it."""
    return identity_of(read_json(out / RUN))


def _tell_versions(out: Path, before: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Warn where a run goes on with other versions of tlx or its libraries than it was begun with."""
    changes = [f"{name} {before[name]} -> {now[name]}" for name in now if name in before and before[name] != now[name]]
    if changes:
        logging.getLogger("tlx").warning(
            "tlx: %s: begun with other versions (%s): it may come to other bits", out, ", ".join(changes)
        )


def _describe(out: Path, description: Description, config: Mapping[str, Any] | None) -> None:
    if config is not None:
        write_bytes(out / CONFIG, yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True).encode())
    write_json(out / RUN, description.to_dict())


def _allowed(place: str, allow: Sequence[str]) -> bool:
    return any(place == name or place.startswith(f"{name}/") for name in allow)
