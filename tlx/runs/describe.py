"""Describe what a run is begun with."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tlx.data import Data
from tlx.data import fingerprint as data_fingerprint
from tlx.optim.phases import Recipe, to_plain
from tlx.presets.pretrained import Pretrained
from tlx.records.description import Description
from tlx.records.phase import PhasePlan, Stage
from tlx.runs.directory import CONFIG
from tlx.runs.options import RunOptions
from tlx.tree.fingerprint import fingerprint
from tlx.tree.paths import Tree
from tlx.tree.summary import summarize
from tlx.version import versions_of


def describe(
    base: Pretrained,
    start: Pretrained,
    data: Data,
    recipe: Recipe,
    options: RunOptions,
    out: Path,
    labels: Sequence[Tree],
    notes: Sequence[str],
) -> Description:
    """Describe a run that trains `start`, made from `base`, with options that leave nothing open (`begin`)."""
    planned = zip(recipe, labels, strict=True)
    groups = options.devices.placement().groups
    augment = options.feed(1).augment
    command = f"tlx finetune --config {shlex.quote(str(out / CONFIG))}" if options.config is not None else None
    return Description(
        base=base.name,
        base_sha256=fingerprint(base.variables),
        classes=tuple(data.classes),
        data=asdict(data.spec) if data.spec else None,
        data_sha256=data_fingerprint(data),
        sizes={"train": len(data.train), "validation": len(data.validation), "test": len(data.test)},
        skipped=tuple(data.skipped),
        batch_size=options.batch_size,
        seed=options.seed,
        preprocess=start.preprocess.to_dict(),
        model=start.config.to_dict(),
        objective=start.objective.to_dict(),
        augment=augment.to_dict() if augment else None,  # type: ignore[union-attr]
        mix=asdict(options.mix) if options.mix else None,
        balanced=options.balanced,
        keep_head=options.keep_head,
        cache={"dtype": options.cache.dtype, "views": options.cache.views},
        accumulate=options.accumulate,
        ema=options.ema,
        phases=tuple(PhasePlan(to_plain(phase), stages_of(start, each)) for phase, each in planned),
        compare_scratch=bool(options.compare_scratch),
        versions=versions_of("jax", "flax", "optax", "orbax-checkpoint"),
        notes=tuple(notes),
        norms_over=groups if groups > 1 else None,
        command=command,
    )


def stages_of(start: Pretrained, labels: Tree) -> tuple[Stage, ...]:
    """Say of each stage, from input to output, which label it has in a phase, and how many parameters."""
    found = summarize(start.variables, labels).by_stage()
    return tuple(Stage(name, **found[name]) for name in (*start.stages, "head"))
