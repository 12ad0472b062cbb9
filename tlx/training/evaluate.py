"""Evaluate: run a model over a source without training it."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlx.data.inputs import InputSpec
from tlx.data.pipeline import Batch, Feed, batches, steps_per_epoch
from tlx.data.share import Share
from tlx.data.source import Source, check_source, targets_of
from tlx.data.tokenized import ByLength, by_length, tokenized_for_use
from tlx.devices.compiler import forward_options, jit
from tlx.devices.parallel import ONE, Placement
from tlx.errors import DataError
from tlx.models.staged import Model
from tlx.objectives import Objective, as_objective
from tlx.objectives.objective import check_target_kind, loss_first, sums_of
from tlx.progress import doing
from tlx.stop import Stop, check, never
from tlx.training.accepts_pretrained import accepts_pretrained
from tlx.tree.paths import Tree


@dataclass(frozen=True, repr=False)
class Evaluation:
    """What a model says of N examples, and how right it is.

    `metrics` has `loss` and the objective's metrics; `targets` are the examples' (None where they have none),
    `predictions` what the objective makes of outputs, arrays (N, …) or a tree of them; `values` has what each example
    contributes to a metric, (N,), as far as one falls apart so.

    Of a classification, `labels` (N,) int32, `probabilities` (N, C) float32, `predicted` (N,) int32 and `confidence`
    (N,) float32 are at hand.
    """

    metrics: Mapping[str, float]
    targets: Any
    predictions: Any
    values: Mapping[str, np.ndarray]
    objective: Objective = field(compare=False)

    def __repr__(self) -> str:
        scores = ", ".join(f"{name} {value:.4f}" for name, value in reversed(list(self.metrics.items())))
        return f"Evaluation({len(self):,} examples: {scores})"

    def __len__(self) -> int:
        return len(jax.tree.leaves(self.predictions)[0])

    @property
    def loss(self) -> float:
        """The mean loss: of a classification the cross-entropy in nats, without smoothing or class weights."""
        return self.metrics["loss"]

    @property
    def losses(self) -> np.ndarray:
        """The loss of each example, (N,) float32."""
        return self.values["loss"]

    @property
    def accuracy(self) -> float:
        """The share of the examples that a classification gets right."""
        if "accuracy" not in self.metrics:
            known = ", ".join(self.metrics)
            raise AttributeError(f"no accuracy of {type(self.objective).__name__}: its metrics are {known}")
        return self.metrics["accuracy"]

    @property
    def labels(self) -> np.ndarray:
        """The number of each example's class, (N,) int32."""
        labels: np.ndarray = self.targets if self.targets.ndim == 1 else self.targets.argmax(-1).astype(np.int32)
        return labels

    @property
    def probabilities(self) -> np.ndarray:
        """The predictions of a classification: the probability of each class, (N, C) float32."""
        probabilities: np.ndarray = self.predictions
        return probabilities

    @property
    def predicted(self) -> np.ndarray:
        """The most probable class of each example, (N,) int32."""
        predicted: np.ndarray = self.probabilities.argmax(-1).astype(np.int32)
        return predicted

    @property
    def confidence(self) -> np.ndarray:
        """The probability of the predicted class, (N,) float32."""
        confidence: np.ndarray = self.probabilities.max(-1)
        return confidence


@accepts_pretrained
def evaluate(
    model: Model,
    variables: Tree,
    source: Source,
    preprocess: InputSpec,
    *,
    objective: Objective | None = None,
    batch_size: int = 128,
    workers: int | None = None,
    placement: Placement = ONE,
    stop: Stop = never,
) -> Evaluation:
    """Evaluate a model on every example of a source, in the source's order.

    A `tlx.Pretrained`, or what `tlx.fit` returned, can take the place of `model`, `variables` and `preprocess`, and
    knows its objective: `evaluate(pretrained, source)`. A source whose classes stand in another order than those of a
    `Pretrained` is matched by their names.

    Args:
        model: a Linen module of a staged base and a head (`tlx.models.Classifier`).
        variables: its whole tree.
        source: examples (`tlx.data.Source`).
        preprocess: the input spec.
        objective: what the model was trained for; None goes by the source's targets.
        batch_size: examples at once. The same variables, source and batch size give the same bits on the same devices,
            whatever the number of `workers`.
        workers: threads that prepare batches (`tlx.data.Feed`).
        placement: on which devices.
        stop: asked before each batch (`tlx.StopOnSignals`).

    Raises:
        DataError: for no examples, and for classes that the model does not know.
        ConfigError: for a `Pretrained` without a head, and an objective that does not take the source's targets.
        StoppedError: once `stop` says so.

    >>> import tlx
    >>> data = tlx.load_data("digits", labels_per_class=2)
    >>> evaluate(tlx.load("mlp-mnist"), data.train).probabilities.shape
    (20, 10)
    """
    check_source(source, "source")
    objective = as_objective(objective, source)
    check_target_kind(objective, source, "source")
    return evaluated(model, variables, source, preprocess, objective, batch_size, workers, placement, stop)


def evaluated(
    model: Model,
    variables: Tree,
    source: Source,
    spec: InputSpec,
    objective: Objective,
    batch_size: int,
    workers: int | None = None,
    placement: Placement = ONE,
    stop: Stop = never,
    *,
    after: str | None = None,
) -> Evaluation:
    """Do as `evaluate`, of checked arguments; with `after` the inputs are what that stage returns."""
    how = (batch_size, workers, placement, stop)
    return evaluated_together(model, [(variables, objective)], source, spec, *how, after=after)[0]


Watch = Callable[[np.ndarray, Batch, Any], None]
"""Told of each batch: which examples it holds, the batch on the host, and the predictions of its rows."""


def evaluated_together(
    model: Model,
    trained: Sequence[tuple[Tree, Objective]],
    source: Source,
    spec: InputSpec,
    batch_size: int,
    workers: int | None = None,
    placement: Placement = ONE,
    stop: Stop = never,
    *,
    after: str | None = None,
    watch: Watch | None = None,
) -> list[Evaluation]:
    """Do as `evaluated` for several variables of a model, with their objectives, in one pass over the examples.

    `watch` is told of each batch and of what the first of them predicts.
    """
    count = len(source)
    if not count:
        raise DataError("no examples to evaluate on: give some, or change the shares kept for validation and testing")
    placement, size = placement.jitted, min(batch_size, count)
    placed = [(placement.parameters(variables), objective) for variables, objective in trained]
    feed = Feed(size, pad=True, workers=workers, share=Share.of(placement))
    view = by_length(tokenized_for_use(source, spec))
    scored: list[list[Any]] = []
    waiting: tuple[np.ndarray, Batch, Any] | None = None
    for number, batch in enumerate(batches(view.source, spec, feed)):
        doing("testing", number, steps_per_epoch(count, size))
        check(stop)
        rows = placement.rows(batch)
        scored.append([_scores(model, after, spec, each, placement, variables, rows) for variables, each in placed])
        if watch is not None:
            _tell(watch, waiting)  # one batch late, so that the device always has work
            waiting = (view.rows[number * size : (number + 1) * size], batch, scored[-1][0][0])
    if watch is not None:
        _tell(watch, waiting)
    collected = zip(*jax.device_get(scored), strict=True)
    return [
        _collected(each, source, objective, size, view) for each, (_, objective) in zip(collected, trained, strict=True)
    ]


def _tell(watch: Watch, waiting: tuple[np.ndarray, Batch, Any] | None) -> None:
    if waiting is not None:
        numbers, batch, predictions = waiting
        watch(numbers, batch, jax.tree.map(lambda rows: np.asarray(rows)[: len(numbers)], predictions))


def _collected(scored: Sequence[Any], source: Source, objective: Objective, size: int, view: ByLength) -> Evaluation:
    """Put the batches' predictions and terms together, in the source's order and without the rows of padding."""
    count = len(source)

    def rows(*parts: np.ndarray) -> np.ndarray:
        joined: np.ndarray = view.restored(np.concatenate([part[:size] for part in parts])[:count])
        return joined

    predictions = jax.tree.map(rows, *(predictions for predictions, _ in scored))
    values, metrics = {}, {}
    for name in loss_first(scored[0][1]):
        value, _ = scored[0][1][name]
        pairs = [terms[name] for _, terms in scored]
        if value.ndim:
            value, weight = (rows(*column) for column in zip(*pairs, strict=True))
            values[name] = value if (weight == 1).all() else value / np.where(weight > 0, weight, 1)
        else:
            value, weight = (np.array(column) for column in zip(*pairs, strict=True))
        metrics[name] = float(value.sum(dtype=np.float64) / weight.sum(dtype=np.float64))
    targets = None if getattr(source, "target_kind", "class") == "none" else targets_of(source)
    measured = {} if targets is None and objective.target_kinds is not None else objective.measure(predictions, targets)
    return Evaluation(metrics | measured, targets, predictions, values, objective)


def predict_arrays(model: Model, variables: Tree, inputs: np.ndarray, batch_size: int = 128) -> np.ndarray:
    """Return the class probabilities (N, C) float32 of preprocessed inputs (N, …) float32, N at least 1."""
    inputs = np.asarray(inputs)
    if inputs.dtype.kind in "biu":
        raise DataError(
            f"inputs: type {inputs.dtype}, expected preprocessed ones of floats: call the model's preprocess first, or "
            "predict(pretrained, inputs), which does"
        )
    variables, size = jax.device_put(variables), min(batch_size, len(inputs))
    parts = []
    for start in range(0, len(inputs), size):
        part = inputs[start : start + size]
        filled = np.concatenate([part, np.repeat(part[:1], size - len(part), axis=0)]) if len(part) < size else part
        parts.append(_probabilities(model, variables, filled))
    probabilities: np.ndarray = np.concatenate(jax.device_get(parts))[: len(inputs)]
    return probabilities


def lower_scores(
    model: Model,
    after: str | None,
    spec: InputSpec,
    objective: Objective,
    placement: Placement,
    variables: Tree,
    batch: Batch,
) -> Any:
    """Trace what `evaluate` compiles, for a batch of shapes."""
    placement = placement.jitted
    placed = placement.parameters(variables), placement.rows(batch)
    return _scores.lower(model, after, spec, objective, placement, *placed)


def start_after(stage: str | None) -> dict[str, str]:
    """Return what a model is called with to start after a stage; a model of one's own need not know of it.

    >>> start_after("conv1"), start_after(None)
    ({'after': 'conv1'}, {})
    """
    return {} if stage is None else {"after": stage}


@functools.partial(jit, options=forward_options, static_argnums=(0, 1, 2, 3, 4))
def _scores(
    model: Model,
    after: str | None,
    spec: InputSpec,
    objective: Objective,
    placement: Placement,
    variables: Tree,
    batch: Batch,
) -> tuple[Any, dict[str, tuple[jax.Array, jax.Array]]]:
    """Return predictions, and of each term values and weights, of all rows on each device; padding is not cut yet."""
    outputs = model.apply(variables, spec.on_device(batch["input"]), **start_after(after))
    terms = {} if "target" not in batch and objective.target_kinds is not None else objective(outputs, batch, None)
    pairs = {name: _pair(term, batch) for name, term in terms.items()}
    scored: tuple[Any, Any] = placement.replicated((objective.predict(outputs), pairs))
    return scored


def _pair(term: Any, batch: Batch) -> tuple[jax.Array, jax.Array]:
    value, weight = term if isinstance(term, tuple) else (term, None)
    value = jnp.asarray(value)
    if value.ndim:
        return value, jnp.ones(value.shape, jnp.int32) if weight is None else weight
    mask = batch.get("mask")
    size = len(jax.tree.leaves(batch["input"])[0]) if mask is None else mask.sum()
    return sums_of({"it": term}, mask, size)["it"]


@functools.partial(jit, options=forward_options, static_argnums=0)
def _probabilities(model: Model, variables: Tree, inputs: jax.Array) -> jax.Array:
    return jax.nn.softmax(model.apply(variables, inputs))
