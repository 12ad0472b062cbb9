"""Prepare a fit: put together what it is given, and refuse what would stop it before its first step."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax

from tlx.data.inputs import check_inputs_spec
from tlx.data.pipeline import steps_per_epoch
from tlx.data.source import Source, check_source, sizes_of
from tlx.data.tokenized import tokenized_parts
from tlx.devices import hosts
from tlx.errors import ConfigError, DataError
from tlx.logs.log import Log, is_log
from tlx.models.base import rematerialised
from tlx.models.staged import StagedModel
from tlx.objectives import Objective, as_objective
from tlx.objectives.objective import check_target_kind
from tlx.optim.check import check_optimizers
from tlx.optim.groups import optimizer
from tlx.optim.phases import Recipe, check_phases
from tlx.stop import Stop, never
from tlx.training.activations import batch_shapes, input_shapes
from tlx.training.cache import StageActivations, check_place
from tlx.training.cache_parts import Part
from tlx.training.callback import Callback, asks, check_callbacks
from tlx.training.method import training_sums
from tlx.training.options import TrainOptions, as_options
from tlx.training.task import Task
from tlx.tree.labels import label_tree
from tlx.tree.paths import Tree, flatten, quote, select


def make_task(
    model: StagedModel,
    variables: Tree,
    recipe: Recipe,
    data: Any,
    options: TrainOptions | None = None,
    *,
    callbacks: Sequence[Log | Callback] = (),
    stop: Stop = never,
    example: Mapping[str, Any] | None = None,
) -> Task:
    """Put together what `tlx.fit` was given, with the recipe as it will run; raise as `fit` does before the first step.

    `example` is a batch of one training example, as shapes, where it is known; else one is decoded.
    """
    check_phases(recipe)
    options, (train, validation) = as_options(options), parts_of(data)
    spec = options.preprocess
    if spec is None:
        raise ConfigError("preprocess: a model in pieces needs one: TrainOptions(preprocess=...), or give a Pretrained")
    check_inputs_spec(spec)
    spec, (train, validation) = tokenized_parts(spec, train, validation)  # type: ignore[assignment]
    objective = as_objective(options.objective, train)
    for name, source in (("train", train), ("validation", validation)):
        if source is not None:
            check_target_kind(objective, source, name)
    steps_per_epoch(len(train), 1)
    if not len(train):
        raise DataError("no examples to train on")
    size = options.batch_of(len(train), spec)
    feed = options.feed(size)
    augment: Any = feed.augment
    if augment is not None:
        augment.check(spec)
    if not getattr(augment, "is_described", True) and options.cache.views and options.cache.where == "disk":
        raise ConfigError("cache: views of a function of one's own cannot be known again on a disk: use 'memory'")
    check_place(options.cache)
    check_callbacks(callbacks)
    model = rematerialised(model) if options.remat else model
    example = batch_shapes(train, spec) if example is None else dict(example)
    objective, sums = suited(objective, model, variables, spec, train, example, options)
    recipe = as_it_runs(recipe, validation)
    return Task(
        model=model,
        recipe=recipe,
        labels=check_recipe(recipe, variables, train, objective, size, tuple(sums)),
        train=train,
        validation=validation,
        spec=spec,
        objective=objective,
        options=replace(options, batch_size=size),
        feed=feed,
        placement=options.devices.placement(),
        example=example,
        sums=sums,
        logs=[each for each in callbacks if is_log(each)],
        callbacks=[each for each in callbacks if asks(each)],
        stop=_agreed(stop),
    )


def parts_of(data: Any) -> tuple[Source, Source | None]:
    """Return the training and validation examples of what a fit is given; None for no validation examples."""
    if hasattr(data, "train") and hasattr(data, "validation"):
        train, validation = data.train, data.validation
    elif isinstance(data, tuple | list) and len(data) == 2:
        train, validation = data
    else:
        train, validation = data, None
    check_source(train, "train")
    if validation is not None:
        check_source(validation, "validation")
    return train, validation if validation is not None and len(validation) else None


def _agreed(stop: Stop) -> Stop:
    """Ask on behalf of all processes that train together."""
    poll = hosts.Poll()
    return lambda: poll(stop())


def as_it_runs(recipe: Recipe, validation: Source | None) -> Recipe:
    """Return the recipe as it runs: without validation examples no phase stops early, which is said once."""
    if validation is not None or all(phase.patience is None for phase in recipe):
        return tuple(recipe)
    logging.getLogger("tlx").info("tlx: no validation examples: no phase stops early")
    return tuple(replace(phase, patience=None) for phase in recipe)


def check_recipe(
    recipe: Recipe, variables: Tree, train: Source, objective: Objective, batch_size: int, terms: Sequence[str]
) -> tuple[Tree, ...]:
    """Return the labels of each phase; raise `ConfigError` for what would stop one as it begins.

    That is: a monitor that is no metric of the objective, rules, groups and patterns that do not fit the parameters, a
    warm-up longer than its phase, an optimizer that cannot train them.
    """
    labelled = []
    steps = steps_per_epoch(len(train), batch_size)
    for phase in recipe:
        monitored = phase.monitor.removeprefix("val_")
        known = list(dict.fromkeys([*terms, *objective.metrics]))
        if phase.patience is not None and monitored not in known:
            raise ConfigError(
                f"phase {phase.name!r}: monitor {phase.monitor!r} is no metric of {type(objective).__name__}: choose "
                f"{quote([f'val_{name}' for name in known])}"
            )
        select(phase.fresh, flatten(variables["params"]))  # each must select something
        labels = label_tree(variables["params"], phase.rules)
        optimizer(labels, phase.groups, phase.epochs * steps)
        labelled.append((labels, phase.groups))
    check_optimizers(variables["params"], labelled)
    return tuple(labels for labels, _ in labelled)


def suited(
    objective: Objective,
    model: StagedModel,
    variables: Tree,
    spec: Any,
    train: Source,
    example: dict[str, Any],
    options: TrainOptions,
) -> tuple[Objective, dict[str, Any]]:
    """Return the objective fitted to the training targets, and what its terms add up to, as shapes.

    Raise `ConfigError` where model, objective, inputs and targets do not suit one another.
    """
    inputs = input_shapes(spec, example["input"])
    options.mix.check(inputs)
    outputs = jax.eval_shape(model.apply, variables, inputs)
    objective.check(outputs, train)
    objective = objective.fitted(train)

    def terms(outputs: Any, batch: dict[str, Any], key: jax.Array) -> Any:
        return training_sums(objective, outputs, batch, key, 1)

    try:
        sums: dict[str, Any] = jax.eval_shape(terms, outputs, example, jax.random.key(0))
    except KeyError as error:
        raise ConfigError(
            f"objective: {type(objective).__name__} needs {error}, which the examples lack (they have "
            f"{quote(example)}) or its terms do: one of them must be 'loss'"
        ) from error
    return objective, sums


def activation_cache(task: Task) -> StageActivations:
    """Return the cache of a fit's activations, empty."""
    augment: Any = task.feed.augment
    cache = task.options.cache
    example = dict(task.example)
    train = Part(task.train, task.spec, augment, task.seed, cache.views if augment else 1, example)
    validation = None
    if task.validation is not None:
        # Texts of other parts may have more words, or fewer; images are alike, and one more would have to be decoded.
        alike = example if sizes_of(task.validation) is None else None
        validation = Part(task.validation, task.spec, example=alike)
    more: dict[str, Any] = {"stop": task.stop, "placement": task.placement, "labels": task.labels}
    return StageActivations(task.model, task.recipe, cache, train, validation, **more)
