"""Linear probes: heads fitted to a base's features at once, over a path of regularisation and few-shot draws."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from tlx.data import Data, Feed, check_data, check_shapes, labels_of, targets_of
from tlx.data.inputs import InputSpec
from tlx.data.source import Source, digests_of
from tlx.data.tokenized import tokenized_data
from tlx.errors import ConfigError
from tlx.models.head import WHOLE
from tlx.objectives import as_objective
from tlx.places import public_source
from tlx.presets.pretrained import Pretrained
from tlx.probes.options import ProbeOptions, as_probe_options
from tlx.probes.problem import METHODS, Examples, Method, Problem
from tlx.probes.sweep import Draw, ProbeFit, few_shot, sweep
from tlx.training.activations import batch_of, compute
from tlx.training.cache import StageActivations
from tlx.training.cache_options import ActivationCache
from tlx.training.cache_parts import Part
from tlx.tree.surgery import join, split


class Shots(NamedTuple):
    """What `shots` examples a class came to (None: all): mean and deviation of a metric on the test, over the draws."""

    shots: int | None
    draws: int
    mean: float
    deviation: float | None


@dataclass(frozen=True)
class Probe:
    """What `linear_probe` found: the base with the head fitted to all training examples, and a record of every fit.

    `metric` is what `l2` was chosen by: "accuracy" of classes, "mean_average_precision" of labels, "rmse" of numbers.
    `activations` says where the features were kept.
    """

    model: Pretrained
    method: Method
    metric: str
    fits: tuple[ProbeFit, ...]
    activations: str

    @property
    def chosen(self) -> ProbeFit:
        """The fit that `model` has the head of."""
        return next(fit for fit in self.fits if fit.shots is None and fit.test is not None)

    @property
    def test(self) -> Mapping[str, float]:
        """The metrics of `model` on the test examples, by name."""
        found = self.chosen.test
        assert found is not None
        return found

    @property
    def test_accuracy(self) -> float:
        """The share of the test examples that `model` gets right, of classes."""
        if "accuracy" not in self.test:
            raise AttributeError(f"no accuracy: the metrics are {', '.join(self.test)} (Probe.test)")
        return self.test["accuracy"]

    @property
    def curve(self) -> tuple[Shots, ...]:
        """The test metric over the number of examples a class, from few to all; no deviation for a single draw."""
        by_shots: dict[int | None, list[float]] = {}
        for fit in self.fits:
            if fit.test is not None:
                by_shots.setdefault(fit.shots, []).append(fit.test[self.metric])
        return tuple(
            Shots(shots, len(found), statistics.fmean(found), statistics.stdev(found) if len(found) > 1 else None)
            for shots, found in by_shots.items()
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What should be known: the chosen `l2` ends the path, or fits have not converged."""
        path = [fit.l2 for fit in self.fits if fit.shots is None]
        notes = []
        if len(path) > 1 and self.chosen.l2 in (min(path), max(path)):
            end = "smallest" if self.chosen.l2 == min(path) else "largest"
            notes.append(f"the chosen l2, {self.chosen.l2:g}, is the {end} of the path: try further ones")
        open_ends = sum(not fit.converged for fit in self.fits)
        if open_ends:
            smallest = max(fit.l2 for fit in self.fits if not fit.converged)
            notes.append(
                f"{open_ends} of {len(self.fits)} fits have not converged, with an l2 of {smallest:g} and less: leave "
                "these out, or allow more iterations"
            )
        return tuple(notes)

    def to_dict(self) -> dict[str, Any]:
        """Return all but the model as plain data."""
        chosen = self.chosen.to_dict()
        metrics = {name: value for name, value in chosen.items() if name.startswith(("validation_", "test_"))}
        return {
            "method": self.method,
            "l2": self.chosen.l2,
            **metrics,
            "curve": [
                {
                    "shots": each.shots,
                    "draws": each.draws,
                    f"test_{self.metric}": each.mean,
                    "deviation": each.deviation,
                }
                for each in self.curve
            ],
            "fits": [fit.to_dict() for fit in self.fits],
            "activations": self.activations,
            "notes": list(self.notes),
        }


def linear_probe(base: Pretrained, data: Data, options: ProbeOptions | None = None) -> Probe:
    """Fit linear heads to the features of a frozen base, for each value of `l2`, and keep the best on validation.

    The heads are solved, not trained: softmax regression for classes, a logistic regression for each of several labels
    (`tlx.probes.softmax_regression`, `logistic_regression`), least squares for numbers or, with the method "ridge", for
    all (`ridge_regression`). The chosen head's logits are scaled by one number, so that their probabilities have the
    least cross-entropy on the validation examples (C. Guo et al., On calibration of modern neural networks, 2017),
    which changes no order; the thresholds of several labels are chosen there, too. For each of `shots`, heads are also
    fitted to that many examples of each class, drawn `draws` times, each draw with mean, scale and `l2` of its own, and
    tested (`Probe.curve`); their `l2` is chosen on all the validation examples, which few-shot studies should tell.

    The features are computed once, and kept as `cache` says: with `ActivationCache("disk")` the next probe of the same
    base and data, and `tlx.finetune` after it, find them there.

    Use it to measure features and to begin from: the model can be saved, tested, and trained on (`tlx.fit`, or
    `tlx.finetune` with `keep_head`), which distorts pretrained features less than a fresh head does (A. Kumar et al.,
    Fine-tuning can distort pretrained features and underperform out-of-distribution, 2022). `tlx.recipes.probe` trains
    a head step by step instead: take it for heads with hidden layers, dropout, augmentation, another loss, or features
    that do not fit into memory.

    Args:
        base: what to take features of (`tlx.load`, or `tlx.vector_base` of vectors).
        data: what to fit, choose and test on.
        options: how (`tlx.ProbeOptions`).

    Returns:
        The model with its head, and every fit.

    Raises:
        DataError: for data that cannot be fitted: no examples, a class with too few of them, features that are not
            finite.
        ConfigError: for bad options, or no validation examples to choose on.

    >>> import tlx
    >>> base, data = tlx.load("mlp-mnist"), tlx.load_data("digits", labels_per_class=5)
    >>> probe = linear_probe(base, data, tlx.ProbeOptions(l2=(1.0, 0.1), shots=(1,), draws=2))
    >>> [(fit.shots, fit.draw, fit.examples, fit.l2) for fit in probe.fits if fit.test_accuracy is not None]
    [(1, 0, 10, ...), (1, 1, 10, ...), (None, None, 50, ...)]
    >>> probe.model.variables["params"]["head"]["logits"]["kernel"].shape
    (4, 10)
    """
    options = as_probe_options(options)
    data, spec = tokenized_data(data, options.preprocess or base.preprocess)
    start = prepared(base, data, options, spec)
    parts = parts_of(data)
    found, activations = _features(start, parts, options.cache, options.workers)
    return fitted(start, data, options, found, activations, base)


def prepared(base: Pretrained, data: Data, options: ProbeOptions, spec: InputSpec) -> Pretrained:
    """Return the base with a fresh head for the data; raise for what no head can be solved for."""
    check_solvable(data, options)
    check_data(data, 1)
    objective = as_objective(None, data.train).fitted(data.train)
    start = base.with_head(data.classes, pool=options.pool, objective=objective)
    start = replace(start, preprocess=spec)
    if start.config.pool in ("pooler", *WHOLE):
        raise ConfigError(
            f"pool: {start.config.pool!r} has weights of its own: say average, max or cls, or train a head (tlx.fit)"
        )
    check_shapes(data, start.preprocess)
    return start


def parts_of(data: Data) -> dict[str, Source]:
    """Return the parts of data that hold examples, by name."""
    parts = {"train": data.train, "validation": data.validation, "test": data.test}
    return {name: part for name, part in parts.items() if len(part)}


def fitted(
    start: Pretrained,
    data: Data,
    options: ProbeOptions,
    found: Mapping[str, Examples],
    activations: str,
    base: Pretrained,
) -> Probe:
    """Fit heads to the features that `start` makes of each part of the data."""
    kind, l2, objective = data.target_kind, tuple(options.l2), start.objective
    outputs, method = len(data.classes), options.method or METHODS[kind][0]
    problem = Problem(kind, outputs, objective, method, options.scale, options.max_iterations)
    drawn = [Draw(None, None, np.arange(len(data.train)))]
    if kind == "class":
        digests = digests_of(data.train) if options.shots else ()
        drawn = few_shot(labels_of(data.train), digests, data.classes, options.shots, options.draws)
    for name, examples in found.items():
        problem.check(examples, name)
    validation = found.get("validation")
    swept = sweep(problem, found["train"], validation, found["test"], drawn, l2)
    factor = 1.0 if validation is None else problem.steepness(validation, swept.kernel, swept.bias)
    head = {"kernel": jnp.asarray(swept.kernel * factor), "bias": jnp.asarray(swept.bias * factor)}
    if validation is not None:
        outputs_of = np.asarray(validation.features, np.float32) @ swept.kernel + swept.bias[None]
        objective = objective.tuned(np.asarray(objective.predict(factor * outputs_of)), validation.targets)
    variables = join(split(start.variables)[0], {"params": {"logits": head}})
    model = replace(start, variables=variables, name=f"{base.name}-probe", objective=objective)
    probe = Probe(model, method, problem.metric, swept.fits, activations)
    said = f"{probe.test[probe.metric]:.4f} on {len(data.test)} test examples"
    card = {
        "description": f"{base.name} with a linear head fitted to its features ({method}, l2 {probe.chosen.l2:g})",
        "data": f"{public_source(data.spec.source) if data.spec else 'in memory'}, {len(data.train)} training examples",
        **({"accuracy": said} if kind == "class" else {"test": f"{probe.metric} {said}"}),
        "base": f"{base.name}, {base.card.get('licence', 'licence unknown')}",
    }
    return replace(probe, model=replace(probe.model, card=card))


def check_solvable(data: Data, options: ProbeOptions) -> None:
    """Raise `ConfigError` for targets that no head is solved for, and for shots of what has no classes."""
    if data.target_kind not in METHODS:
        solved = ", ".join(METHODS)
        raise ConfigError(
            f"probe: heads are solved for {solved} targets, and these are {data.target_kind!r}: use fit "
            "(tlx finetune --recipe probe)"
        )
    if options.shots and data.target_kind != "class":
        raise ConfigError("shots: are counted a class, and the targets are no classes: leave it out")


def _features(
    start: Pretrained, parts: dict[str, Source], cache: ActivationCache, workers: int | None
) -> tuple[dict[str, Examples], str]:
    """Return the pooled features of each part, kept where the cache keeps them, and a line about that."""
    model, last = start.model, start.model.base.stage_names[-1]
    held = {name: Part(part, start.preprocess) for name, part in parts.items()}
    keeper = StageActivations(model, (), cache, held["train"], held.get("validation"), held["test"])
    kept = keeper.of_stage(last, start.variables, workers)
    if kept.train is not None:
        activations = {"train": kept.train, "validation": kept.validation, "test": kept.test}
        found = {
            name: Examples(each.take(np.arange(len(each)))["input"], targets_of(each))
            for name, each in activations.items()
            if each is not None
        }
        return found, kept.note
    feed = Feed(batch_of(held["train"].inputs), pad=True, workers=workers)
    found = {}
    for name, part in parts.items():
        rows = [row for (row,) in compute(model, start.variables, part, start.preprocess, feed, (last,))]
        found[name] = Examples(np.concatenate(rows), targets_of(part))
    return found, kept.note
