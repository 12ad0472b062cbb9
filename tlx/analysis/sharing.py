"""A run as it may be shown to others: files and data named without the folders above them."""

import os
import re
import shlex
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from tlx.analysis.run_record import RunRecord
from tlx.places import public_source, public_text

_OPTION = re.compile(r"(?P<key>\w+): (?P<quote>['\"]?)(?P<value>.*)(?P=quote)")


def shareable(run: RunRecord) -> RunRecord:
    """Return a run whose texts hold no folder, user or machine of its author's.

    `read_run` is what a run left behind; `config.yaml` and `run.json` themselves keep whole paths, for without them a
    run cannot be resumed.
    """
    config = None if run.config is None else _unfolded(run.config)
    folders = [str(run.path.absolute()), str(run.path.absolute().parent), *_folders_of(config or "")]
    if run.source:
        place = run.source.partition(":")[2] or run.source
        folders += [place, os.path.dirname(place)]
    public = partial(public_text, folders=[folder for folder in folders if os.path.isabs(folder)])
    names = tuple(public(name) for name in run.evaluation.mistake_names)
    return replace(
        run,
        path=run.path.absolute().relative_to(run.path.absolute().parent),
        base=run.base and public(public_source(run.base)),
        source=run.source and public_source(run.source),
        notes=tuple(map(public, run.notes)),
        skipped=tuple(map(public, run.skipped)),
        command=run.command and _public_command(run),
        config=None if config is None else "\n".join(public(_public_option(line)) for line in config.split("\n")),
        evaluation=replace(run.evaluation, mistake_names=names),
    )


def _unfolded(config: str) -> str:
    """Put each option of a YAML file of options on one line; only long texts are folded, in lines that are indented."""
    return re.sub(r"\\?\n +\\?", " ", config)


def _public_option(line: str) -> str:
    found = _OPTION.fullmatch(line)
    public = public_source(found["value"]) if found else ""
    return line if found is None or public == found["value"] else f"{found['key']}: {public}"


def _folders_of(config: str) -> Iterable[str]:
    """Return the folders of files that options name."""
    for line in config.split("\n"):
        if found := _OPTION.fullmatch(line):
            yield os.path.dirname(found["value"].rpartition(":")[2])


def _public_command(run: RunRecord) -> str:
    """Name what the command names as one does who stands beside the run's directory."""
    assert run.command is not None
    try:
        words = shlex.split(run.command)
    except ValueError:  # not as tlx writes it
        return public_text(run.command)
    return shlex.join(f"{run.path.absolute().name}/{public_source(w)}" if os.path.isabs(w) else w for w in words)
