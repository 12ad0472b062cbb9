"""Compare two bases by linear probes on the same splits: the difference with an interval, and a verdict."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from tlx.data import ColumnSource, Data
from tlx.data.source import Source, digests_of, target_kind, targets_of
from tlx.data.spec import PARTS
from tlx.data.views import Subset
from tlx.errors import ConfigError
from tlx.presets.pretrained import Pretrained
from tlx.presets.vector_base import vector_base
from tlx.probes.options import ProbeOptions, as_probe_options
from tlx.probes.probe import linear_probe
from tlx.progress import doing
from tlx.training.features import features

CONFIDENCE = 0.95
Verdict = Literal["better", "worse", "no difference shown"]


@dataclass(frozen=True)
class ProbeComparison:
    """What `compare_probes` found: the test metric of each split before and after, and the interval of the difference.

    `metric` is the probe's ("accuracy", …), of which more is better but for "rmse". `interval` is that of the mean
    difference, after minus before, at 95%.
    """

    metric: str
    seeds: tuple[int, ...]
    before: tuple[float, ...]
    after: tuple[float, ...]
    difference: float
    interval: tuple[float, float]

    @property
    def verdict(self) -> Verdict:
        """Whether the second base is better: the interval excludes zero, on that side."""
        low, high = self.interval if self.metric != "rmse" else (-self.interval[1], -self.interval[0])
        return "better" if low > 0 else "worse" if high < 0 else "no difference shown"

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as data for JSON."""
        names = ("metric", "difference", "verdict")
        lists = ("seeds", "before", "after", "interval")
        return {**{name: getattr(self, name) for name in names}, **{name: list(getattr(self, name)) for name in lists}}


def compare_probes(
    before: Pretrained,
    after: Pretrained,
    load: Callable[[int], Data],
    *,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    options: ProbeOptions | None = None,
) -> ProbeComparison:
    """Compare two bases by linear probes, each fitted and tested on the same split of the data for each seed.

    The features of an example are computed once for all seeds.

    Args:
        before: a base.
        after: the other one.
        load: returns the data for a seed, split by it.
        seeds: two or more.
        options: of the probes (`tlx.ProbeOptions`).

    Returns:
        The test metrics, and the mean difference with its interval (`paired_interval`).

    Raises:
        ConfigError: for fewer than two seeds, and options that choose the pool or few-shot draws.
        DataError: as `linear_probe`.

    >>> import tlx
    >>> base = tlx.load("mlp-mnist")
    >>> load = lambda seed: tlx.load_data("digits", labels_per_class=3, seed=seed)
    >>> found = compare_probes(base, base, load, seeds=(0, 1), options=tlx.ProbeOptions(l2=(1.0,)))
    >>> found.difference, found.verdict
    (0.0, 'no difference shown')
    """
    options = as_probe_options(options)
    seeds = tuple(seeds)
    if len(seeds) < 2 or len(set(seeds)) < len(seeds):
        raise ConfigError(f"seeds: {seeds}: give two or more different ones: an interval needs them")
    if options.pool is not None or options.preprocess is not None or options.shots:
        raise ConfigError("options: pool, preprocess and shots are not for a comparison: change the bases instead")
    held = {"before": _Features(before, options), "after": _Features(after, options)}
    found: dict[str, list[float]] = {name: [] for name in held}
    shares = []
    for place, seed in enumerate(seeds):
        doing("comparing by probes", place, len(seeds))
        data = load(seed)
        shares.append(len(data.test) / max(len(data.train) + len(data.validation), 1))
        for name, kept in held.items():
            own = kept.data(data)
            probe = linear_probe(vector_base(own, standardise=False), own, options)
            found[name].append(probe.test[probe.metric])
            metric = probe.metric
    differences = [after - before for before, after in zip(found["before"], found["after"], strict=True)]
    low, high = paired_interval(differences, statistics.fmean(shares))
    mean = statistics.fmean(differences)
    return ProbeComparison(metric, seeds, tuple(found["before"]), tuple(found["after"]), mean, (low, high))


def paired_interval(
    differences: Sequence[float], share: float = 0.0, *, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Return the t interval of the mean of paired differences over splits of the same data.

    Such splits share examples, so their differences vary less than those of independent data would. With `share`, the
    number of test examples over that of the others, the variance of the mean is (1/n + share) times that of a
    difference, which allows for it (C. Nadeau and Y. Bengio, Inference for the generalization error, 2003); with 0 it
    is the usual one, of independent differences.

    >>> low, high = paired_interval([0.01, 0.03])
    >>> round(low, 3), round(high, 3)
    (-0.107, 0.147)
    """
    from scipy.stats import t

    mean, count = statistics.fmean(differences), len(differences)
    error = statistics.stdev(differences) * math.sqrt(1 / count + share)
    reach = float(t.ppf((1 + confidence) / 2, count - 1)) * error
    return mean - reach, mean + reach


class _Features:
    """The pooled features of examples, each computed once, by its digest."""

    def __init__(self, base: Pretrained, options: ProbeOptions) -> None:
        self.base, self.workers = base.without_head(), options.workers
        self.rows: dict[bytes, np.ndarray] = {}

    def data(self, data: Data) -> Data:
        """Return the data with features in the place of inputs."""
        parts: dict[str, Any] = {name: self._seen(getattr(data, name), data) for name in PARTS}
        return replace(data, **parts, spec=None)

    def _seen(self, source: Source, data: Data) -> Source:
        if not len(source):
            return source
        digests = digests_of(source)
        missing = {digest: row for row, digest in enumerate(digests) if digest not in self.rows}
        if missing:
            view = Subset(source, np.array(list(missing.values()), np.int64))
            base, spec, pool = self.base, self.base.preprocess, self.base.config.pool
            found = features(base.model, base.variables, view, spec, pool=pool, workers=self.workers)
            self.rows |= zip(missing, np.concatenate(list(found)), strict=True)
        columns = {"input": np.stack([self.rows[digest] for digest in digests]), "target": targets_of(source)}
        return ColumnSource(columns, data.classes, target_kind(source))
