"""A run's directory: what is in it, who writes it, and whether a run that is there is the one to go on with."""

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tlx.errors import CheckpointError, ConfigError, StorageError, suggestion
from tlx.files import sync, write_bytes, write_json
from tlx.files.lock import LOCK, check_unlocked, locked

CONFIG = "config.yaml"
RUN, RESULT, METRICS, EVALUATION = "run.json", "result.json", "metrics.jsonl", "evaluation.npz"
EXPORT, CHECKPOINTS = "export", "checkpoints"
REPORT = "report.html"  # of `tlx.write_report`
_BEGUN = {LOCK, CONFIG, f"{CONFIG}.partial", f"{RUN}.partial"}  # what a run killed as it began may leave
_MAY_DIFFER = ("versions", "notes", "command", "changes", "identity")


@contextlib.contextmanager
def entered(
    out: Path, description: dict[str, Any], config: Mapping[str, Any] | None, resume: bool, allow: Sequence[str]
) -> Iterator[bool]:
    """Begin the run that `description` describes in a directory, or go on with it; say whether it is finished already.

    Within this context no other process writes the run. With `resume`, a run that is there must have been described
    alike, except for what `allow` names. Raise `ConfigError` where something else is there, or a run and `resume` is
    off, `CheckpointError` where it is another run, and `StorageError` where another process has it or the directory
    cannot be made.
    """
    for name in allow:
        if name.partition("/")[0] not in description:
            hint = suggestion(name, description)
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
    out: Path, description: dict[str, Any], config: Mapping[str, Any] | None, resume: bool, allow: Sequence[str]
) -> bool:
    _check_own(out, resume)  # another process may have begun one in between
    described = json.loads(json.dumps(description))
    if resume and os.path.exists(out / RUN):
        older = {"cache": described["cache"], "keep_head": False}  # versions without them
        older |= {"accumulate": 1, "ema": None, "callbacks": []}
        written = read_json(out / RUN)
        kept = {**older, **written}
        before, now = ({k: v for k, v in each.items() if k not in _MAY_DIFFER} for each in (kept, described))
        allowed = dict(_differences(before, now))
        changes = {place: allowed.pop(place) for place in list(allowed) if not _allowed(place, allow)}
        if changes:
            said = "; ".join(f"{place}: {change}" for place, change in changes.items())
            raise CheckpointError(
                f"{out}: not the run that was begun there ({said}): name another directory, or allow the change by "
                f"name (--allow {' '.join(dict.fromkeys(place.partition('/')[0] for place in changes))})"
            )
        finished = (out / RESULT).exists()
        if not finished:
            _tell_versions(out, kept.get("versions"), described["versions"])
        if allowed and not finished:
            more = {"identity": _identity(written), "changes": [*kept.get("changes", []), allowed]}
            _describe(out, {**description, **more}, config)
        return finished
    _describe(out, {**description, "identity": _identity(described)}, config)
    return False


def _identity(described: Mapping[str, Any]) -> str:
    """Return what a run is known by: a hash of its first description, which an allowed change leaves as it is.

    Two runs that were begun alike share it, and come to the same bits.
    """
    if "identity" in described:
        return str(described["identity"])
    plain = {key: value for key, value in described.items() if key not in _MAY_DIFFER}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def identity_of(out: Path) -> str:
    """Return the identity of the run in a directory, by which its checkpoints know it."""
    return _identity(read_json(out / RUN))


def _tell_versions(out: Path, before: Any, now: Mapping[str, str]) -> None:
    """Warn where a run goes on with other versions of tlx or its libraries than it was begun with."""
    older: Mapping[str, str] = before if isinstance(before, dict) else {}
    changes = [f"{name} {older[name]} -> {now[name]}" for name in now if name in older and older[name] != now[name]]
    if changes:
        logging.getLogger("tlx").warning(
            "tlx: %s: begun with other versions (%s): it may come to other bits", out, ", ".join(changes)
        )


def _describe(out: Path, description: Mapping[str, Any], config: Mapping[str, Any] | None) -> None:
    if config is not None:
        write_bytes(out / CONFIG, yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True).encode())
    write_json(out / RUN, description)


def _allowed(place: str, allow: Sequence[str]) -> bool:
    return any(place == name or place.startswith(f"{name}/") for name in allow)


def _differences(before: Any, now: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Say where two pieces of plain data differ, and how: 'phases/0/epochs', '5 -> 6'."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            yield from _differences(before.get(key), now.get(key), f"{place}/{key}" if place else key)
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for index, pair in enumerate(zip(before, now, strict=True)):
            yield from _differences(*pair, f"{place}/{index}")
    elif before != now:
        yield place, _change(repr(before), repr(now))


def _change(before: str, now: str, most: int = 80) -> str:
    """Write two different texts, of long ones the part from a little before the first difference."""
    same = next((index for index, pair in enumerate(zip(before, now, strict=False)) if pair[0] != pair[1]), 0)
    start = same - most // 4 if max(len(before), len(now)) > most and same > most // 2 else 0
    cut = "…" if start else ""
    return f"{cut}{before[start : start + most]} -> {cut}{now[start : start + most]}"


def read_json(path: Path, *keys: str) -> dict[str, Any]:
    """Read a JSON file of a run; raise `CheckpointError` where it is missing, damaged or without one of the keys."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path}: is missing: name the directory of a finished run (--resume finishes one)"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}): the run is damaged") from error
    if not isinstance(found, dict) or any(key not in found for key in keys):
        raise CheckpointError(f"{path}: does not hold what tlx wrote: the run is damaged")
    return found
