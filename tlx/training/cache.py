"""The activation cache: what is frozen is computed once, and training goes on from there."""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import jax
import ml_dtypes
import numpy as np

from tlx.data.pipeline import Feed
from tlx.data.source import Source, digests_of, labels_of
from tlx.devices import forward_options, hosts
from tlx.devices.parallel import ONE, Placement
from tlx.errors import ConfigError, check_choice
from tlx.files import cache_dir, home
from tlx.images.augment import Augment
from tlx.images.preprocess import Preprocess
from tlx.models.classifier import Classifier
from tlx.optim.phases import Phase
from tlx.stop import Stop, check, never
from tlx.training.activations import Activations, batch_of, compute, frozen_until, program_sha256, shape_after
from tlx.training.store import DiskRows, MemoryRows, Rows, free_memory, occupied
from tlx.tree.fingerprint import fingerprint
from tlx.tree.labels import label_tree
from tlx.tree.paths import Tree
from tlx.version import versions_of

Where = Literal["auto", "memory", "disk", "off"]
Kept = Literal["computed", "float32", "float16", "bfloat16"]


@dataclass(frozen=True)
class Cache:
    """Say whether and where the activations of frozen stages are kept (`tlx.fit`).

    `where` "memory" and "disk" insist; "auto" takes memory if they need at most a quarter of what is free, else the
    disk if at most half. Together they may take `limit` bytes; "off", and whatever does not fit, computes them anew in
    every epoch. `dtype` is the type they are kept in: half the size in "float16" or "bfloat16", which rounds them;
    "computed" is that of the model. With augmentation, `views` says how many variations of each picture are kept, which
    the epochs then take in turns; with 0 there is no cache, for every epoch has its own. On the disk they are under
    `folder` (by default `activations` in tlx's cache), by a hash of all that they depend on; the next run that needs
    the same finds them, also what one that was killed has left. Processes that train together (`tlx.join_hosts`) each
    keep all, in memory. Raise `ConfigError` for what none of it can be.

    >>> Cache("disk", limit=1 << 30, dtype="bfloat16").views
    0
    """

    where: Where = "auto"
    limit: int = 8_000_000_000
    dtype: Kept = "computed"
    views: int = 0
    folder: str | None = None

    def __post_init__(self) -> None:
        for name, options in (("where", Where), ("dtype", Kept)):
            check_choice(f"Cache.{name}", getattr(self, name), get_args(options))
        if self.limit < 0 or self.views < 0:
            raise ConfigError(f"cache: limit={self.limit}, views={self.views}: neither can be negative")


@dataclass(frozen=True)
class Part:
    """A source of a fit, how its pictures are prepared and varied, and in how many views."""

    source: Source
    preprocess: Preprocess
    augment: Augment | None = None
    seed: int = 0
    views: int = 1


@dataclass(frozen=True)
class Frozen:
    """The activations with which a phase or a probe works in the place of pictures, and a line about them."""

    train: Activations
    validation: Activations | None
    note: str
    test: Activations | None = None


class ActivationCache:
    """What a fit keeps of its frozen stages, from phase to phase.

    A phase's activations are computed from the highest ones that are kept and still hold, or from pictures. In the same
    pass those that later phases will need are computed, too, as far as they fit.
    """

    def __init__(
        self,
        model: Any,
        recipe: Sequence[Phase],
        cache: Cache,
        train: Part,
        validation: Part | None,
        test: Part | None = None,
        stop: Stop = never,
        placement: Placement = ONE,
    ) -> None:
        if cache.where == "disk" and hosts.count() > 1:
            raise ConfigError("cache: several processes keep activations in memory: say auto, memory or off, not disk")
        self.model, self.recipe, self.cache, self.stop, self.placement = model, recipe, cache, stop, placement
        parts = {"train": train, "validation": validation, "test": test}
        self.parts = {name: part for name, part in parts.items() if part}
        self.kept: dict[tuple[str, str], tuple[str, Activations]] = {}  # part, stage -> key, activations

    def of_phase(self, index: int, variables: Tree, workers: int | None) -> Frozen | str:
        """Return the activations for a phase, or say why there are none."""
        if self.cache.where != "off" and isinstance(self.model, Classifier):
            self._drop(self._boundaries(index, variables), variables)
        stages = self._stages(index, variables)
        if isinstance(stages, str):
            return stages
        return self.of_stage(stages[0], variables, workers, later=stages[1:])

    def of_stage(self, stage: str, variables: Tree, workers: int | None, *, later: Sequence[str] = ()) -> Frozen | str:
        """Return the activations of a stage, or say why there are none; those of `later` ones are kept if they fit."""
        if self.cache.where == "off":
            return "off"
        try:
            return self._make(stage, list(later), variables, workers)
        except OSError as error:
            reason = f"cannot be kept ({error.strerror or error}): they are computed anew"
            logging.getLogger("tlx").warning("tlx: activations %s", reason)
            return reason

    def plan(self, index: int, variables: Tree) -> tuple[str, Where] | str:
        """Name the stage after which a phase will begin, and where its activations will be, or say why it will not."""
        stages = self._stages(index, variables)
        if isinstance(stages, str):
            return stages
        wanted = stages[0]
        held = [self.kept[part, wanted][1].rows for part in self.parts if (part, wanted) in self.kept]
        if len(held) == len(self.parts):
            return wanted, "disk" if isinstance(held[0], np.memmap) else "memory"
        try:
            place = self._agreed(wanted, (wanted,), variables)[0].get(wanted)
        except OSError:  # of which `of_phase` will tell
            place = None
        return (wanted, place) if place else "no room"

    def _stages(self, index: int, variables: Tree) -> list[str] | str:
        """Return the `_boundaries` of a phase, or say why it begins with pictures."""
        if self.cache.where == "off":
            return "off"
        if not isinstance(self.model, Classifier):
            return "the model is no tlx.models.Classifier"
        stages, train = self._boundaries(index, variables), self.parts["train"]
        if not stages:
            return "no stage is frozen from the first one on"
        if self.recipe[index].epochs == 1:
            return "one epoch only"
        if train.augment and not train.views:
            return "augmentation varies the pictures in every epoch: keep some views of each"
        return stages

    def _boundaries(self, index: int, variables: Tree) -> list[str]:
        """Name the stage up to which a phase is frozen, then those of later phases whose activations hold till then."""
        names = self.model.base.stage_names
        until = [frozen_until(label_tree(variables["params"], phase.rules), names) for phase in self.recipe[index:]]
        if until[0] is None:
            return []
        found, lowest = [until[0]], names.index(until[0])
        for phase, stage in zip(self.recipe[index + 1 :], until[1:], strict=True):
            if phase.fresh or stage is None:
                break
            if names.index(stage) < lowest:
                lowest = names.index(stage)
                found += [stage] if phase.epochs > 1 else []
        return found

    def _drop(self, stages: list[str], variables: Tree) -> None:
        """Forget the activations that hold no more, and those that no phase needs nor anything is computed from."""
        names = self.model.base.stage_names
        hashes = {stage: self._hash(stage, variables) for stage in {stage for _, stage in self.kept}}
        valid = {place: held for place, held in self.kept.items() if hashes[place[1]] == held[0]}
        here = {stage for _, stage in valid}
        below = [names.index(stage) for stage in stages if stage not in here]
        self.kept = {
            (part, stage): held
            for (part, stage), held in valid.items()
            if stage in stages or any(names.index(stage) < index for index in below)
        }

    def _make(self, wanted: str, later: list[str], variables: Tree, workers: int | None) -> Frozen | str:
        names = self.model.base.stage_names
        hashes = {stage: self._hash(stage, variables) for stage in (wanted, *later)}
        missing = [stage for stage in (wanted, *later) if any((part, stage) not in self.kept for part in self.parts)]
        places, sizes = self._agreed(wanted, missing, variables)
        if wanted in missing and wanted not in places:
            needed, limit = describe_size(sizes[wanted]), describe_size(self.cache.limit)
            return f"{needed} are more than there is room for, or than the limit, {limit}"
        making = sorted(places, key=names.index)
        for part in self.parts:
            if making:
                self._fill(part, tuple(making), places, hashes, variables, workers)
        self.kept = {place: held for place, held in self.kept.items() if place[1] in (wanted, *later)}
        held = {part: self.kept[part, wanted][1] for part in self.parts}
        total = sum(each.rows.nbytes for each in held.values())
        where = "on disk" if isinstance(held["train"].rows, np.memmap) else "in memory"
        note = f"{describe_size(total)} after {wanted}, {where}"
        return Frozen(held["train"], held.get("validation"), note, held.get("test"))

    def _hash(self, stage: str, variables: Tree) -> str:
        """Fingerprint the leaves of the stages up to one."""
        names = self.model.base.stage_names
        up_to = names[: names.index(stage) + 1]
        return fingerprint(
            {
                kind: {name: tree["base"][name] for name in up_to if name in tree["base"]}
                for kind, tree in variables.items()
                if "base" in tree
            }
        )

    def _agreed(self, wanted: str, stages: Sequence[str], variables: Tree) -> tuple[dict[str, Where], dict[str, int]]:
        """Decide as `_places` does, in the first process for all."""
        places, sizes = hosts.of_first(lambda: self._places(wanted, stages, variables))
        return places, sizes

    def _places(self, wanted: str, stages: Iterable[str], variables: Tree) -> tuple[dict[str, Where], dict[str, int]]:
        """Decide where the activations of each stage go, the first stages first, and estimate their sizes.

        With "auto" those that are not wanted yet go to memory or nowhere.
        """
        cache = self.cache
        places: dict[str, Where] = {}
        sizes: dict[str, int] = {}
        preprocess = self.parts["train"].preprocess
        taken = sum(held.rows.nbytes for _, held in self.kept.values())
        memory, disk = free_memory() // 4, -1
        for stage in stages:
            shape = shape_after(self.model, variables, preprocess, stage)
            each = int(np.prod(shape.shape)) * _dtype(cache.dtype, shape.dtype).itemsize
            sizes[stage] = each * sum(part.views * len(part.source) for part in self.parts.values())
            if taken + sizes[stage] > cache.limit:
                continue
            if cache.where == "memory" or (cache.where == "auto" and sizes[stage] <= memory):
                places[stage], memory = "memory", memory - sizes[stage]
            elif (cache.where == "disk" or stage == wanted) and hosts.count() == 1:
                if disk < 0:
                    folder = _made(self._folder())
                    free = shutil.disk_usage(folder).free + sum(occupied(folder).values())
                    disk = int(free * (0.95 if cache.where == "disk" else 0.5))
                if sizes[stage] > disk:
                    continue
                places[stage], disk = "disk", disk - sizes[stage]
            else:
                continue
            taken += sizes[stage]
        return places, sizes

    def _folder(self) -> Path:
        return home(self.cache.folder) if self.cache.folder else cache_dir() / "activations"

    def _fill(
        self,
        name: str,
        stages: tuple[str, ...],
        places: Mapping[str, Where],
        hashes: Mapping[str, str],
        variables: Tree,
        workers: int | None,
    ) -> None:
        """Compute what the stages make of a part's examples, in one pass for each view, and keep it."""
        part, names, count = self.parts[name], self.model.base.stage_names, len(self.parts[name].source)
        below = [
            held
            for (whose, stage), (_, held) in self.kept.items()
            if whose == name
            and stage in names[: names.index(stages[0])]
            and held.rows.dtype == held.dtype  # else it would be rounded twice
        ]
        nearest = max(below, key=lambda held: names.index(held.after), default=None)
        preprocess = part.preprocess if nearest is None else nearest.preprocess
        after = None if nearest is None else nearest.after
        size = batch_of(part.preprocess)
        feed = Feed(size, part.seed, augment=part.augment if nearest is None else None, pad=True, workers=workers)
        shapes = {stage: shape_after(self.model, variables, part.preprocess, stage) for stage in stages}
        types = {stage: _dtype(self.cache.dtype, shapes[stage].dtype) for stage in stages}
        with ExitStack() as stack:
            rows: dict[str, Rows] = {}
            for stage in stages:
                shape = (part.views, count, *shapes[stage].shape)
                if places[stage] == "memory":
                    rows[stage] = MemoryRows(shape, types[stage])
                    continue
                key = self._key(part, stage, hashes[stage], types[stage], size, variables)
                on_disk = DiskRows(self._folder(), key, shape, types[stage], self.cache.limit)
                stack.callback(on_disk.close)
                rows[stage] = on_disk
            for view in range(part.views):
                done = min(each.done for each in rows.values()) - view * count
                if done >= count:
                    continue
                first = max(done, 0) // size
                place = view * count + first * size
                source = part.source if nearest is None else nearest.of_epoch(view + 1)
                of_view: dict[str, Any] = {
                    "after": after,
                    "epoch": view + 1,
                    "first": first,
                    "placement": self.placement,
                }
                for outputs in compute(self.model, variables, source, preprocess, feed, stages, **of_view):
                    check(self.stop)
                    for stage, output in zip(stages, outputs, strict=True):
                        rows[stage].put(place, _narrowed(stage, output, types[stage]))
                    place += len(outputs[0])
            labels, classes = labels_of(part.source), tuple(part.source.classes)
            for stage in stages:
                held = Activations(stage, rows[stage].whole(), labels, classes, shapes[stage].dtype)
                self.kept[name, stage] = (hashes[stage], held)

    def _key(self, part: Part, stage: str, leaves: str, dtype: np.dtype, batch_size: int, variables: Tree) -> str:
        """Hash all that activations on disk depend on."""
        said = {
            "leaves": leaves,
            "program": program_sha256(self.model, variables, part.preprocess, stage),
            "platform": [jax.default_backend(), jax.devices()[0].device_kind],
            "compiler": forward_options(),
            "precision": str(jax.config.jax_default_matmul_precision),  # type: ignore[attr-defined]
            "data": hashlib.sha256(b"".join(digests_of(part.source))).hexdigest(),
            "preprocess": part.preprocess.to_dict(),
            "augment": {"seed": part.seed, "views": part.views, **part.augment.to_dict()} if part.augment else None,
            "dtype": str(dtype),
            "batch_size": batch_size,
            "devices": self.placement.count,
            "versions": versions_of("jax", "jaxlib", "numpy", "pillow"),
        }
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _dtype(kept: Kept, computed: Any) -> np.dtype:
    if kept == "computed":
        return np.dtype(computed)
    return np.dtype(ml_dtypes.bfloat16) if kept == "bfloat16" else np.dtype(kept)


def _narrowed(stage: str, rows: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Cast activations; raise `ConfigError` where the type has no room for them."""
    if rows.dtype == dtype:
        return rows
    with np.errstate(over="ignore"):
        cast = rows.astype(dtype)
    if not np.isfinite(cast).all() and np.isfinite(rows).all():
        raise ConfigError(f"cache: activations of stage {stage!r} overflow {dtype}: keep them in bfloat16 or float32")
    return cast


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def describe_size(count: int) -> str:
    """Say a number of bytes as people do.

    >>> describe_size(20_480), describe_size(3 << 30)
    ('20.5 kB', '3.22 GB')
    """
    value, units = float(count), iter(("B", "kB", "MB", "GB", "TB"))
    unit = next(units)
    while value >= 1000 and unit != "TB":
        value, unit = value / 1000, next(units)
    return f"{value:.3g} {unit}"
