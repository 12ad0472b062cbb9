"""The activation cache: what is frozen is computed once, and training goes on from there."""

import functools
import hashlib
import json
import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tlx.data.inputs import InputSpec
from tlx.data.pipeline import Feed
from tlx.data.source import columns_of, digests_of, sizes_of, target_kind
from tlx.data.tokenized import by_length
from tlx.devices import forward_options, hosts
from tlx.devices.parallel import ONE, Placement
from tlx.errors import ConfigError
from tlx.files import cache_dir, home
from tlx.models.classifier import Classifier
from tlx.models.staged import StagedModel
from tlx.optim.phases import Phase
from tlx.stop import Stop, check, never
from tlx.training.activations import (
    Activations,
    Places,
    Stored,
    batch_of,
    compute,
    frozen_until,
    program_sha256,
    shapes_after,
)
from tlx.training.cache_options import ActivationCache, Where
from tlx.training.cache_parts import Frozen, Part, Plan, bytes_of, describe_size, on_disk, starts_of
from tlx.training.kept import Kept
from tlx.training.store import free_memory, occupied
from tlx.tree.fingerprint import fingerprint
from tlx.tree.paths import Tree
from tlx.version import versions_of


def check_place(cache: ActivationCache) -> None:
    """Raise `ConfigError` where several processes train together and a cache is to be on the disk."""
    if cache.where == "disk" and hosts.count() > 1:
        raise ConfigError("cache: several processes keep activations in memory: say auto, memory or off, not disk")


class StageActivations:
    """What a fit keeps of its frozen stages, from phase to phase.

    A phase's activations are computed from the highest ones that are kept and still hold, or from raw inputs. In the
    same pass those that later phases will need are computed, too, as far as they fit.
    """

    def __init__(
        self,
        model: StagedModel,
        recipe: Sequence[Phase],
        cache: ActivationCache,
        train: Part,
        validation: Part | None,
        test: Part | None = None,
        stop: Stop = never,
        placement: Placement = ONE,
        labels: Sequence[Tree] = (),  # of the parameters in each phase of the recipe
    ) -> None:
        check_place(cache)
        self.model, self.recipe, self.cache, self.stop, self.placement = model, recipe, cache, stop, placement
        parts = {"train": train, "validation": validation, "test": test}
        self.parts = {name: part for name, part in parts.items() if part}
        self.kept: dict[tuple[str, str], tuple[str, Activations]] = {}  # part, stage -> key, activations
        self.labels = labels

    def of_phase(self, index: int, variables: Tree, workers: int | None) -> Frozen:
        """Return the activations for a phase, or say why there are none."""
        if self.cache.where != "off" and isinstance(self.model, Classifier):
            self._drop(self._boundaries(index), variables)
        stages, reason = self._stages(index)
        if reason:
            return Frozen(reason)
        return self.of_stage(stages[0], variables, workers, later=stages[1:])

    def of_stage(self, stage: str, variables: Tree, workers: int | None, *, later: Sequence[str] = ()) -> Frozen:
        """Return the activations of a stage, or say why there are none; those of `later` ones are kept if they fit."""
        if self.cache.where == "off":
            return Frozen("off")
        try:
            return self._make(stage, list(later), variables, workers)
        except OSError as error:
            reason = f"cannot be kept ({error.strerror or error}): they are computed anew"
            logging.getLogger("tlx").warning("tlx: activations %s", reason)
            return Frozen(reason)

    def plan(self, index: int, variables: Tree) -> Plan:
        """Say where a phase will begin."""
        stages, reason = self._stages(index)
        if reason:
            return Plan(reason)
        wanted = stages[0]
        held = [self.kept[part, wanted][1] for part in self.parts if (part, wanted) in self.kept]
        if len(held) == len(self.parts):
            return Plan("", wanted, "disk" if on_disk(held[0]) else "memory")
        try:
            place = self._agreed(wanted, (wanted,), variables)[0].get(wanted)
        except OSError:  # of which `of_phase` will tell
            place = None
        return Plan("", wanted, place) if place else Plan("no room")

    def _stages(self, index: int) -> tuple[list[str], str]:
        """Return the `_boundaries` of a phase, and why it begins with raw inputs if it does."""
        if self.cache.where == "off":
            return [], "off"
        if not isinstance(self.model, Classifier):
            return [], "the model is no tlx.models.Classifier"
        stages, train = self._boundaries(index), self.parts["train"]
        reason = ""
        if not stages:
            reason = "no stage is frozen from the first one on"
        elif self.recipe[index].epochs == 1:
            reason = "one epoch only"
        elif train.augment and not train.views:
            reason = "augmentation varies the examples in every epoch: keep some views of each"
        return stages, reason

    @functools.cached_property
    def _untils(self) -> list[str | None]:
        """Of each phase, the last stage up to which all are frozen."""
        return [frozen_until(labels, self.model.base.stage_names) for labels in self.labels]

    def _boundaries(self, index: int) -> list[str]:
        """Name the stage up to which a phase is frozen, then those of later phases whose activations hold till then."""
        names, until = self.model.base.stage_names, self._untils[index:]
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

    def _make(self, wanted: str, later: list[str], variables: Tree, workers: int | None) -> Frozen:
        names = self.model.base.stage_names
        hashes = {stage: self._hash(stage, variables) for stage in (wanted, *later)}
        missing = [stage for stage in (wanted, *later) if any((part, stage) not in self.kept for part in self.parts)]
        places, sizes = self._agreed(wanted, missing, variables)
        if wanted in missing and wanted not in places:
            needed, limit = describe_size(sizes[wanted]), describe_size(self.cache.limit)
            return Frozen(f"{needed} are more than there is room for, or than the limit, {limit}")
        making = sorted(places, key=names.index)
        for part in self.parts:
            if making:
                self._fill(part, tuple(making), places, hashes, variables, workers)
        self.kept = {place: held for place, held in self.kept.items() if place[1] in (wanted, *later)}
        held = {part: self.kept[part, wanted][1] for part in self.parts}
        total = sum(map(bytes_of, held.values()))
        where = "on disk" if on_disk(held["train"]) else "in memory"
        note = f"{describe_size(total)} after {wanted}, {where}"
        return Frozen(note, held["train"], held.get("validation"), held.get("test"))

    def _hash(self, stage: str, variables: Tree) -> str:
        """Fingerprint the leaves of the stages up to one."""
        names = self.model.base.stage_names
        up_to = names[: names.index(stage) + 1]
        return fingerprint(
            {
                kind: {name: tree["base"][name] for name in up_to if name in tree.get("base", {})}
                for kind, tree in variables.items()
                if "base" in tree
            }
        )

    def _agreed(self, wanted: str, stages: Sequence[str], variables: Tree) -> tuple[dict[str, Where], dict[str, int]]:
        """Decide as `_places` does, in the first process for all."""
        places, sizes = hosts.broadcast_from_first(lambda: self._places(wanted, stages, variables))
        return places, sizes

    def _places(self, wanted: str, stages: Iterable[str], variables: Tree) -> tuple[dict[str, Where], dict[str, int]]:
        """Decide where the activations of each stage go, the first stages first, and estimate their sizes.

        With "auto" those that are not wanted yet go to memory or nowhere.
        """
        cache = self.cache
        places: dict[str, Where] = {}
        sizes: dict[str, int] = {}
        taken = sum(bytes_of(held) for _, held in self.kept.values())
        memory, disk = free_memory() // 4, -1
        for stage in stages:
            sizes[stage] = sum(
                self._kept_of(part, stage, starts_of(part), variables).nbytes for part in self.parts.values()
            )
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
        part, names = self.parts[name], self.model.base.stage_names
        view, starts = by_length(part.source), starts_of(part)
        count = len(view.source)
        below = [
            held
            for (whose, stage), (_, held) in self.kept.items()
            if whose == name
            and stage in names[: names.index(stages[0])]
            and tuple(str(leaf.dtype) for leaf in jax.tree.leaves(held.rows)) == held.spec.dtypes  # or rounded twice
        ]
        nearest = max(below, key=lambda held: names.index(held.after), default=None)
        spec: InputSpec = part.spec if nearest is None else nearest.spec
        size = batch_of(part.inputs)
        feed = Feed(size, part.seed, augment=part.augment if nearest is None else None, pad=True, workers=workers)
        kept = {stage: self._kept_of(part, stage, starts, variables) for stage in stages}
        with ExitStack() as stack:
            for stage in stages:
                if places[stage] == "memory":
                    kept[stage].in_memory()
                    continue
                key = self._key(part, stage, hashes[stage], kept[stage].types, size, variables)
                for rows in kept[stage].on_disk(self._folder(), key, self.cache.limit):
                    stack.callback(rows.close)
            for number in range(part.views):
                done = min(each.done for each in kept.values()) - number * count
                if done >= count:
                    continue
                first = max(done, 0) // size
                place = first * size
                source = view.source if nearest is None else by_length(nearest.of_epoch(number + 1)).source
                of_view: dict[str, Any] = {
                    "after": None if nearest is None else nearest.after,
                    "epoch": number + 1,
                    "first": first,
                    "placement": self.placement,
                }
                for outputs in compute(self.model, variables, source, spec, feed, stages, **of_view):
                    check(self.stop)
                    for stage, output in zip(stages, outputs, strict=True):
                        kept[stage].put(stage, number, place, output)
                    place += len(jax.tree.leaves(outputs[0])[0])
            columns = columns_of(part.source, [name for name in part.shapes if name != "input"])
            sizes = sizes_of(part.source)
            order = None if sizes is None else Places(view.rows, starts, sizes)
            for stage in stages:
                held = kept[stage]
                ragged = held.ragged if any(held.ragged) else ()
                computed = Stored(tuple(str(each.dtype) for each in held.shapes), ragged)
                about = (columns, tuple(part.source.classes), target_kind(part.source))
                made = Activations(stage, held.whole(), *about, computed, places=order)
                self.kept[name, stage] = (hashes[stage], made)

    def _kept_of(self, part: Part, stage: str, starts: np.ndarray, variables: Tree) -> Kept:
        """Return where a part's rows of a stage will be kept, empty."""
        shapes = shapes_after(self.model, variables, part.spec, part.collated, stage)
        return Kept(shapes, self.cache.dtype, part.views, starts, self.ragged(part, stage, variables))

    def varies(self, stage: str | None, variables: Tree) -> bool:
        """Tell whether what batches of texts hold is as long as these: raw inputs are, and most of what stages make."""
        return stage is None or any(self.ragged(self.parts["train"], stage, variables))

    def ragged(self, part: Part, stage: str, variables: Tree) -> tuple[bool, ...]:
        """Say which leaves of a stage are as long as each text is: those whose shapes differ between two lengths."""
        if sizes_of(part.source) is None:
            return ()
        # One shorter, since a text may already be as long as the model takes; one longer where there is but one.
        padded = getattr(part.spec, "ragged", None)  # by name, where the spec says which of its arrays are
        another = jax.tree_util.tree_map_with_path(
            lambda path, leaf: (
                jax.ShapeDtypeStruct((1, leaf.shape[1] - 1 or 2, *leaf.shape[2:]), leaf.dtype)
                if len(leaf.shape) > 1 and (padded is None or getattr(path[-1], "key", None) in padded)
                else leaf
            ),
            part.collated,
        )
        shapes = [shapes_after(self.model, variables, part.spec, each, stage) for each in (part.collated, another)]
        pairs = zip(*map(jax.tree.leaves, shapes), strict=True)
        return tuple(here.shape[:1] != there.shape[:1] for here, there in pairs)

    def _key(
        self, part: Part, stage: str, leaves: str, types: Sequence[np.dtype], batch_size: int, variables: Tree
    ) -> str:
        """Hash all that activations on disk depend on."""
        said = {
            "leaves": leaves,
            "program": program_sha256(self.model, variables, part.spec, part.collated, stage),
            "platform": [jax.default_backend(), jax.devices()[0].device_kind],
            "compiler": forward_options(),
            "precision": str(jax.config.jax_default_matmul_precision),  # type: ignore[attr-defined]
            "data": hashlib.sha256(b"".join(digests_of(part.source))).hexdigest(),
            "preprocess": part.spec.to_dict(),
            "augment": {"seed": part.seed, "views": part.views, **part.augment.to_dict()} if part.augment else None,
            "dtype": ", ".join(map(str, types)),
            "batch_size": batch_size,
            "devices": self.placement.count,
            "versions": versions_of("jax", "jaxlib", "numpy", "pillow"),
        }
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
