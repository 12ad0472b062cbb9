"""Load what others publish: fetch the file, or take it from disk, and convert it in memory."""

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tlx.convert.keras_model import check_graph, read_graph
from tlx.convert.leaves import Conversion
from tlx.convert.plan import Plan, make_plan
from tlx.convert.read import open_weights
from tlx.convert.source import Source
from tlx.errors import ConfigError
from tlx.models.registry import init_variables
from tlx.presets.arch import Arch, named_arch
from tlx.presets.hub import fetch
from tlx.presets.hub_config import hub_config
from tlx.presets.pretrained import Pretrained, fit_preprocess
from tlx.presets.stated import UNSTATED, Stated, check_stated, settle


def load_published(
    name: str, weights: str | Path | None = None, *, until: str | None = None, head: bool = True
) -> Pretrained:
    """Load a published model from `weights`, a file as its source publishes it, or else from the cache or the network.

    With `until` the base ends after that stage; the file may end there, too. Without `head` the base is alone. A
    network of one's own (`register_architecture`) is loaded by the name of its table, from `weights`. Raise
    `ConfigError` for an unknown name or stage, `WeightsError` for a file that does not fit, `UnsafeFileError`,
    `DownloadError`.
    """
    known = named_arch(name)
    if weights is None:
        if known.entry is None:
            raise ConfigError(f"{name}: nothing says where its weights are: give --weights FILE (tlx.load(name, FILE))")
        alone = known.entry.location_notop if until is not None or not head else None
        weights = fetch(alone or known.entry.location)
    source = open_weights(weights)
    hub = hub_config(Path(weights), source)
    known, stated = settle(known, hub, source.path, named=True)
    graph = read_graph(source)
    size = stated.size or (graph and graph.input_size) or known.size
    plan = make_plan(source, known.table, input_size=size, until=until, head=head)
    if graph is not None and plan.config.classes:
        check_graph(source, graph, plan.table, stated.preprocess or known.preprocess)
    described = describe(known, plan, source, stated)
    return replace(described, variables=Conversion(plan, str(source.path)).variables())


def blank_published(name: str, *, until: str | None = None) -> Pretrained:
    """Return a published model with zeros for weights: all that shapes alone can tell, without a file or a network.

    Raise `ConfigError` for an unknown name or stage.

    >>> blank_published("keras/mobilenet_v2").variables["params"]["head"]["logits"]["kernel"].shape
    (1280, 1000)
    """
    known = named_arch(name)
    config = known.config(until)
    leaves = jax.eval_shape(functools.partial(init_variables, config))
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), leaves)
    names = known.classes if len(known.classes) == config.classes else _numbered(config.classes)
    return Pretrained(known.name, config, zeros, known.seen, names)


def describe(known: Arch, plan: Plan, source: Source, stated: Stated = UNSTATED) -> Pretrained:
    """Describe what a plan makes of a source, its variables apart: preprocessing, classes and card.

    What is `stated` counts. The published class names, licence and paper are those of the published weights alone: not
    of a head with another number of classes or a fresh one, nor where the entry is `assumed`. Raise `ConfigError` where
    nothing says how the network sees images, `WeightsError` where what is stated contradicts the source.
    """
    config, fresh_head = plan.config, any(path.startswith("params/head/") for path in plan.fresh)
    check_stated(stated, source.path, config, fresh_head=fresh_head)
    own_head = config.classes in (0, len(known.classes)) and not plan.head_rows and not fresh_head
    is_published = own_head and not known.assumed
    preprocess = stated.preprocess or known.seen
    fitted = fit_preprocess(preprocess, config.input_shape)
    averaged = "" if fitted.mean == preprocess.mean else f", mean and std averaged for {fitted.channels} channels"
    card: dict[str, Any] = {
        "description": f"{source.path.name} ({source.format}), converted by the table {plan.table.name}",
        "source": known.name if is_published else source.path.name,
        "preprocessing": (
            stated.preprocess_by or f"{'assumed to be that' if known.assumed else 'that'} of {known.name}{averaged}"
        ),
    }
    if is_published:
        card |= known.card
    names = known.classes if is_published and config.classes else ()
    if stated.classes and config.classes and not (fresh_head and stated.of_the_file):
        names, card["class names"] = stated.classes, stated.classes_by
    names = names or _numbered(config.classes)
    name = known.name if is_published else source.path.stem
    return Pretrained(name, config, {}, fitted, names, card)


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(f"class {index}" for index in range(count))
