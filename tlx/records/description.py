"""`run.json`: what a run is begun with, and what a resumed one must have."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from tlx.records.fields import REQUIRED, read_json, take, texts
from tlx.records.phase import PhasePlan

RUN = "run.json"
_MAY_DIFFER = ("versions", "notes", "command", "changes", "identity")


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a run is begun with, as plain data.

    `data` are the fields of a `tlx.data.DataSpec`, None of arrays in memory; `preprocess`, `model`, `objective` and
    `augment` what their `to_dict` return; `norms_over` is the number of groups of devices over which batch norms do not
    share their statistics, where there are several; `callbacks` names the classes of those that may end a phase.
    `identity` and `changes` are the directory's (`tlx.runs.directory`): a hash of the first description, and what was
    allowed to change since.
    """

    base: str | None
    base_sha256: str | None = None
    classes: tuple[str, ...]
    data: Mapping[str, Any] | None = None
    data_sha256: str | None = None
    sizes: Mapping[str, int]
    skipped: tuple[str, ...] = ()
    batch_size: int | None = None
    seed: int | None = None
    preprocess: Mapping[str, Any]
    model: Mapping[str, Any]
    objective: Mapping[str, Any]
    augment: Mapping[str, Any] | None = None
    mix: Mapping[str, Any] | None = None
    balanced: bool = False
    keep_head: bool = False
    cache: Mapping[str, Any]
    accumulate: int = 1
    ema: float | None = None
    phases: tuple[PhasePlan, ...]
    compare_scratch: bool = False
    versions: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    norms_over: int | None = None
    command: str | None = None
    callbacks: tuple[str, ...] = ()
    identity: str | None = None
    changes: tuple[Mapping[str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as data for JSON, without those that not every run has; `read` is the inverse."""
        plain = {each.name: getattr(self, each.name) for each in fields(self)}
        plain |= {name: list(value) for name, value in plain.items() if isinstance(value, tuple)}
        plain["phases"] = [plan.to_dict() for plan in self.phases]
        for name, empty in (("norms_over", None), ("identity", None), ("changes", [])):
            if plain[name] == empty:
                del plain[name]
        return plain

    @classmethod
    def read(cls, path: Path) -> "Description":
        """Read and check a `run.json`, of older versions, too; raise `CheckpointError` naming the field and the cure.

        >>> Description.read(Path("no/such/run.json"))
        Traceback (most recent call last):
            ...
        tlx.errors.CheckpointError: no/such/run.json: missing; give the directory that `tlx finetune` wrote, or ...
        """
        plain = read_json(path)

        def get(key: str, kind: str, default: Any = None) -> Any:
            return take(path, plain, key, kind, default)

        sizes = get("sizes", "table", {})
        return cls(
            base=get("base", "text"),
            base_sha256=get("base_sha256", "text"),
            classes=texts(path, plain, "classes", REQUIRED),
            data=get("data", "table"),
            data_sha256=get("data_sha256", "text"),
            sizes={part: take(path, sizes, part, "count", 0) for part in ("train", "validation", "test")},
            skipped=texts(path, plain, "skipped", []),
            batch_size=get("batch_size", "count"),
            seed=get("seed", "integer"),
            preprocess=get("preprocess", "table", {}),
            model=get("model", "table", {}),
            objective=get("objective", "table", {}),
            augment=get("augment", "table"),
            mix=get("mix", "table"),
            balanced=get("balanced", "flag", False),
            keep_head=get("keep_head", "flag", False),
            cache=get("cache", "table", {}),
            accumulate=get("accumulate", "count", 1),
            ema=get("ema", "number"),
            phases=tuple(PhasePlan.read(path, each, at) for at, each in enumerate(get("phases", "list", REQUIRED))),
            compare_scratch=get("compare_scratch", "flag", False),
            versions=get("versions", "table", {}),
            notes=texts(path, plain, "notes", []),
            norms_over=get("norms_over", "count"),
            command=get("command", "text"),
            callbacks=texts(path, plain, "callbacks", []),
            identity=get("identity", "text"),
            changes=tuple(get("changes", "list", [])),
        )


def identity_of(plain: Mapping[str, Any]) -> str:
    """Return what a run is known by: a hash of its first description, which an allowed change leaves as it is.

    Two runs that were begun alike share it, and come to the same bits.
    """
    if "identity" in plain:
        return str(plain["identity"])
    first = {key: value for key, value in plain.items() if key not in _MAY_DIFFER}
    return hashlib.sha256(json.dumps(first, sort_keys=True).encode()).hexdigest()[:16]


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """Say in what two descriptions differ, by place, beside what may: {'phases/0/epochs': '5 -> 6'}.

    `before` may be of an older version, which did not know all that there is now.

    >>> now = {"seed": 1, "keep_head": False, "accumulate": 1, "ema": None, "cache": {}, "notes": ["a"]}
    >>> differences({"seed": 0, "notes": []}, now)
    {'seed': '0 -> 1'}
    """
    unknown: dict[str, Any] = {"cache": now.get("cache"), "keep_head": False, "accumulate": 1, "ema": None}
    unknown["callbacks"] = []
    older = {name: value for name, value in unknown.items() if name in now}
    if before.get("data"):
        before = {**before, "data": {"target": [], "target_kind": "auto", "inputs": [], "text": [], **before["data"]}}
    then, since = ({k: v for k, v in each.items() if k not in _MAY_DIFFER} for each in ({**older, **before}, now))
    return dict(_differences(then, since))


def _differences(before: Any, now: Any, place: str = "") -> Iterator[tuple[str, str]]:
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
