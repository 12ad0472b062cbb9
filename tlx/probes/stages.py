"""Probes of several stages of a base: which one's features serve best, chosen on validation."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from tlx.data import Data, Feed, batches, targets_of
from tlx.data.inputs import InputSpec
from tlx.data.source import Source
from tlx.data.tokenized import by_length, tokenized_data
from tlx.devices.compiler import forward_options, jit
from tlx.errors import ConfigError
from tlx.models.head import Pool, pooled
from tlx.models.staged import StagedModel
from tlx.presets.pretrained import Pretrained
from tlx.probes.options import ProbeOptions, as_probe_options
from tlx.probes.probe import Probe, fitted, parts_of, prepared
from tlx.probes.problem import Examples
from tlx.progress import counted
from tlx.training.activations import batch_of, batch_shapes, input_shapes
from tlx.tree.paths import Tree, quote


@dataclass(frozen=True)
class StageProbes:
    """What probes of several stages found.

    Args:
        stage: the one that is best on validation.
        best: the probe of it, whose model ends there.
        validation: the metric of each stage's best fit on the validation examples, in the order of the stages.
    """

    stage: str
    best: Probe
    validation: Mapping[str, float]


def probe_stages(
    base: Pretrained, data: Data, options: ProbeOptions | None = None, *, stages: Sequence[str] = ()
) -> StageProbes:
    """Fit linear heads to the features of several stages, in one pass over the examples, and take the best.

    The stage is chosen on the validation examples, and only its probe is tested to be told of: the best of many test
    figures would say too much.

    Args:
        base: what to take features of.
        data: what to fit, choose and test on.
        options: how, as for `tlx.linear_probe`; features are pooled by 'average' unless it says otherwise, and stay in
            memory.
        stages: their names; by default all that own parameters.

    Returns:
        The probe of the best stage, and what each came to on validation.

    Raises:
        DataError, ConfigError: as `tlx.linear_probe`, and for an unknown stage.

    >>> import tlx
    >>> base, data = tlx.load("cnn-mnist"), tlx.load_data("digits", labels_per_class=4)
    >>> found = probe_stages(base, data, tlx.ProbeOptions(l2=(0.1,)))
    >>> list(found.validation), found.stage in found.validation
    (['conv1', 'conv2', 'conv3'], True)
    """
    options = as_probe_options(options)
    data, spec = tokenized_data(data, options.preprocess or base.preprocess)
    names = tuple(stages) or base.stages
    if len(set(names)) < len(names):
        raise ConfigError(f"stages: {quote(names)} holds one twice")
    order = base.model.base.span()
    for name in names:
        base.model.base.span(until=name)  # which knows them
    names = tuple(name for name in order if name in names)
    if not len(data.validation):
        raise ConfigError("stages: are chosen on validation examples, and there are none: keep a share for validation")
    options = replace(options, pool=options.pool or "average", preprocess=spec)
    starts = {name: prepared(base.cut(name), data, options, spec) for name in names}
    parts = parts_of(data)
    found = {part: _features(base, spec, source, names, options) for part, source in parts.items()}
    probes = {}
    for name in names:
        of_stage = {part: Examples(found[part][name], targets_of(source)) for part, source in parts.items()}
        probes[name] = fitted(starts[name], data, options, of_stage, "in memory", base)
    scores = {name: float(_validated(probe)) for name, probe in probes.items()}
    better = min if probes[names[0]].metric in ("rmse", "mae", "loss") else max
    best = better(scores, key=scores.__getitem__)
    return StageProbes(best, probes[best], scores)


def _validated(probe: Probe) -> float:
    found = probe.chosen.validation
    assert found is not None
    return found[probe.metric]


def _features(
    base: Pretrained, spec: InputSpec, source: Source, stages: tuple[str, ...], options: ProbeOptions
) -> dict[str, np.ndarray]:
    """Return the pooled features (N, D) of each stage."""
    size = min(batch_of(input_shapes(spec, batch_shapes(source, spec)["input"])), len(source))
    view, variables = by_length(source), jax.device_put(base.variables)
    feed = Feed(size, pad=True, workers=options.workers)
    rows: list[tuple[np.ndarray, ...]] = []
    total = -(-len(source) // size)
    for batch in counted(batches(view.source, spec, feed), total, "computing the features"):
        outputs = _of_stages(base.model, stages, options.pool or "average", spec, variables, batch["input"])
        rows.append(tuple(np.asarray(each) for each in outputs))
    return {
        name: view.restored(np.concatenate([row[at] for row in rows])[: len(source)]) for at, name in enumerate(stages)
    }


@functools.partial(jit, options=forward_options, static_argnums=(0, 1, 2, 3))
def _of_stages(
    model: StagedModel, stages: tuple[str, ...], pool: Pool, spec: InputSpec, variables: Tree, collated: Any
) -> tuple[jax.Array, ...]:
    values, x, after = [], spec.on_device(collated), None
    for stage in stages:
        x = model.apply(variables, x, after=after, until=stage, method="features")
        values.append(pooled(x, pool).astype("float32"))
        after = stage
    return tuple(values)
