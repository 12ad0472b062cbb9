"""Linear probes: heads fitted to a base's features at once, over a path of regularisation and few-shot draws."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple, get_args

import jax.numpy as jnp
import numpy as np

from tlx.data import Data, Feed, check_data, check_shapes, labels_of
from tlx.data.source import Source, digests_of
from tlx.errors import ConfigError, check_choice
from tlx.images import Preprocess
from tlx.models.head import Pool
from tlx.places import public_source
from tlx.presets.pretrained import Pretrained
from tlx.probes.standard import Scale, check_examples, check_path
from tlx.probes.sweep import Examples, Method, ProbeFit, few_shot, sweep
from tlx.training.activations import batch_of, compute
from tlx.training.cache import ActivationCache, Cache, Part
from tlx.tree.surgery import join, split

L2 = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
STEEPEST = 1e4  # factor between a head's logits and those that fit best


class Shots(NamedTuple):
    """What `shots` examples a class came to (None: all): mean and deviation of the test accuracy over the draws."""

    shots: int | None
    draws: int
    test_accuracy: float
    deviation: float | None


@dataclass(frozen=True)
class Probe:
    """What `linear_probe` found: the base with the head fitted to all training examples, and a record of every fit.

    `activations` says where the features were kept.
    """

    model: Pretrained
    method: Method
    fits: tuple[ProbeFit, ...]
    activations: str

    @property
    def chosen(self) -> ProbeFit:
        """The fit that `model` has the head of."""
        return next(fit for fit in self.fits if fit.shots is None and fit.test_accuracy is not None)

    @property
    def test_accuracy(self) -> float:
        """The share of the test examples that `model` gets right."""
        accuracy = self.chosen.test_accuracy
        assert accuracy is not None
        return accuracy

    @property
    def curve(self) -> tuple[Shots, ...]:
        """Test accuracy over the number of examples a class, from few to all; no deviation for a single draw."""
        by_shots: dict[int | None, list[float]] = {}
        for fit in self.fits:
            if fit.test_accuracy is not None:
                by_shots.setdefault(fit.shots, []).append(fit.test_accuracy)
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
        return {
            "method": self.method,
            "l2": self.chosen.l2,
            "validation_accuracy": self.chosen.validation_accuracy,
            "test_accuracy": self.test_accuracy,
            "curve": [point._asdict() for point in self.curve],
            "fits": [asdict(fit) for fit in self.fits],
            "activations": self.activations,
            "notes": list(self.notes),
        }


def check_are_classes(data: Data) -> None:
    """Raise `ConfigError` for data whose targets are no classes, for which no head is solved."""
    if data.target_kind != "class":
        raise ConfigError(
            f"probe: heads are solved for classes, and the targets are {data.target_kind!r}: use finetune"
        )


def linear_probe(
    base: Pretrained,
    data: Data,
    *,
    method: Method = "lbfgs",
    l2: Sequence[float] = L2,
    shots: Sequence[int] = (),
    draws: int = 5,
    scale: Scale = "common",
    max_iterations: int = 1000,
    pool: Pool | None = None,
    preprocess: Preprocess | None = None,
    workers: int | None = None,
    cache: Cache | None = None,
) -> Probe:
    """Fit linear heads to the features of a frozen base, for each value of `l2`, and keep the best on validation.

    `method` is "lbfgs", softmax regression (`tlx.probes.softmax_regression`), or "ridge", least squares
    (`tlx.probes.ridge_regression`): quicker, and often less accurate. The chosen head's logits are scaled by one
    number, so that their softmax has the least cross-entropy on the validation examples (C. Guo et al., On calibration
    of modern neural networks, 2017), which changes no prediction. For each of `shots`, heads are also fitted to that
    many examples of each class, drawn `draws` times, each draw with mean, scale and `l2` of its own, and tested
    (`Probe.curve`); their `l2` is chosen on all the validation examples, which few-shot studies should tell.

    Features are centred and divided by one number, so that the path means the same for every base, or with the `scale`
    "each" by their own deviations: from few examples these are noise.

    The features are computed once, and kept as `cache` says: with `Cache("disk")` the next probe of the same base and
    data, and `tlx.finetune` after it, find them there. `pool`, `preprocess` and `workers` are those of `tlx.finetune`.

    Use it to measure features and to begin from: the model can be saved, tested, and trained on (`tlx.fit`, or
    `tlx.finetune` with `keep_head`), which distorts pretrained features less than a fresh head does (A. Kumar et al.,
    Fine-tuning can distort pretrained features and underperform out-of-distribution, 2022). `tlx.recipes.probe` trains
    a head step by step instead: take it for heads with hidden layers, dropout, augmentation, another loss, or features
    that do not fit into memory.

    Raise `DataError` for data that cannot be fitted (no examples, a class with too few of them, features that are not
    finite) and `ConfigError` for bad options, or no validation examples to choose on.

    >>> import tlx
    >>> base, data = tlx.load("mlp-mnist"), tlx.load_data("digits", labels_per_class=5)
    >>> probe = linear_probe(base, data, l2=(1.0, 0.1), shots=(1,), draws=2)
    >>> [(fit.shots, fit.draw, fit.examples, fit.l2) for fit in probe.fits if fit.test_accuracy is not None]
    [(1, 0, 10, ...), (1, 1, 10, ...), (None, None, 50, ...)]
    >>> probe.model.variables["params"]["head"]["logits"]["kernel"].shape
    (4, 10)
    """
    l2 = tuple(map(float, l2))
    check_path(l2)
    check_choice("method", method, get_args(Method))
    check_choice("scale", scale, get_args(Scale))
    check_are_classes(data)
    check_data(data, 1)
    start = base.with_head(data.classes, pool=pool)
    start = replace(start, preprocess=preprocess or base.preprocess)
    check_shapes(data, start.preprocess)
    labels = labels_of(data.train)
    drawn = few_shot(labels, digests_of(data.train) if shots else (), data.classes, shots, draws)
    parts = {"train": data.train, "validation": data.validation, "test": data.test}
    parts = {name: part for name, part in parts.items() if len(part)}
    found, activations = _features(start, parts, cache or Cache(), workers)
    for name, examples in found.items():
        check_examples(*examples, len(data.classes), name)
    validation = found.get("validation")
    options: dict[str, Any] = {"method": method, "scale": scale, "max_iterations": max_iterations}
    swept = sweep(found["train"], validation, found["test"], drawn, len(data.classes), l2, **options)
    factor = 1.0 if validation is None else _steepness(validation, swept.kernel, swept.bias)
    head = {"kernel": jnp.asarray(swept.kernel * factor), "bias": jnp.asarray(swept.bias * factor)}
    variables = join(split(start.variables)[0], {"params": {"logits": head}})
    probe = Probe(replace(start, variables=variables, name=f"{base.name}-probe"), method, swept.fits, activations)
    card = {
        "description": f"{base.name} with a linear head fitted to its features ({method}, l2 {probe.chosen.l2:g})",
        "data": f"{public_source(data.spec.source) if data.spec else 'in memory'}, {len(data.train)} training examples",
        "accuracy": f"{probe.test_accuracy:.4f} on {len(data.test)} test images",
        "base": f"{base.name}, {base.card.get('licence', 'licence unknown')}",
    }
    return replace(probe, model=replace(probe.model, card=card))


def _features(
    start: Pretrained, parts: dict[str, Source], cache: Cache, workers: int | None
) -> tuple[dict[str, Examples], str]:
    """Return the pooled features of each part, kept where the cache keeps them, and a line about that."""
    model, last = start.model, start.model.base.stage_names[-1]
    held = {name: Part(part, start.preprocess) for name, part in parts.items()}
    keeper = ActivationCache(model, (), cache, held["train"], held.get("validation"), held["test"])
    kept = keeper.of_stage(last, start.variables, workers)
    if kept.train is not None:
        activations = {"train": kept.train, "validation": kept.validation, "test": kept.test}
        found = {
            name: Examples(each.rows[0], labels_of(each)) for name, each in activations.items() if each is not None
        }
        return found, kept.note
    feed = Feed(batch_of(held["train"].inputs), pad=True, workers=workers)
    found = {}
    for name, part in parts.items():
        rows = [row for (row,) in compute(model, start.variables, part, start.preprocess, feed, (last,))]
        found[name] = Examples(np.concatenate(rows), labels_of(part))
    return found, kept.note


def _steepness(examples: Examples, kernel: np.ndarray, bias: np.ndarray) -> float:
    """Return the factor of the logits with which their softmax has the least cross-entropy, at most `STEEPEST`.

    One example more is counted, which is of all classes alike: where all others are right, the probabilities would
    become certain (as J. Platt, Probabilistic outputs for support vector machines, 1999, smooths his targets).
    """
    logits = (np.asarray(examples.features, np.float32) @ kernel + bias[None]).astype(np.float64)
    count = len(logits)
    wanted = (logits[np.arange(count), examples.labels].sum() + logits.mean()) / (count + 1)

    def slope(factor: float) -> float:
        weights = np.exp(factor * (logits - logits.max(1, keepdims=True)))
        return float(((weights * logits).sum(1) / weights.sum(1)).mean()) - wanted

    low, high = 1 / STEEPEST, STEEPEST  # the slope rises with the factor
    for _ in range(60):
        middle = float(np.sqrt(low * high))
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
    return low
