"""What a run begins with: the model to train, the recipe, and options with nothing left open."""

import math
from dataclasses import replace
from typing import Any

from tlx.data import Data, check_data, check_shapes
from tlx.data.tokenized import tokenized_data
from tlx.errors import ConfigError
from tlx.objectives import Regression, as_objective
from tlx.optim.phases import Recipe, check_phases
from tlx.presets.pretrained import Pretrained
from tlx.recipes import HEAD, scratch
from tlx.recipes import finetune as finetuning
from tlx.runs.options import SMALL, RunOptions
from tlx.tree.paths import flatten, quote


def begin(
    base: Pretrained, data: Data, recipe: Recipe | None, options: RunOptions
) -> tuple[Pretrained, Data, Recipe, RunOptions]:
    """Return what a run trains, on what, by what recipe, and its options with nothing left open.

    Texts are tokenised, and the model's input spec pads to their lengths.

    Raise for what would stop the run before its first step, as far as that is known without decoding an example.
    """
    if not isinstance(base, Pretrained):
        raise ConfigError(f"base: {base!r:.80} is no tlx.Pretrained: give what tlx.load returns")
    if not isinstance(data, Data):
        raise ConfigError(f"data: {data!r:.80} is no tlx.Data: give what tlx.load_data returns")
    if recipe is not None:
        check_phases(recipe)
    spec = base.preprocess if options.preprocess is None else options.preprocess
    size = options.batch_of(len(data.train), spec)
    check_data(data, size)
    check_shapes(data, spec)
    data, spec = tokenized_data(data, spec)
    objective = as_objective(options.objective, data.train)
    recipe = finetuning(base, monitor=objective.monitor(data.train)) if recipe is None else recipe
    if options.keep_head and isinstance(objective, Regression) and isinstance(base.objective, Regression):
        # A kept head's outputs are in deviations of the targets that it was trained on, not of these.
        objective = (
            objective if objective.mean else replace(objective, mean=base.objective.mean, std=base.objective.std)
        )
    if options.keep_head:
        _check_head(base, data)
    head: dict[str, Any] = {"hidden": options.hidden, "pool": options.pool, "dropout": options.dropout}
    head["seed"] = options.seed
    start = base if options.keep_head else base.with_head(data.classes, **head, objective=objective)
    start = replace(start, preprocess=spec)
    small = bool(start.stages) and sum(math.prod(leaf.shape) for leaf in flatten(start.variables).values()) < SMALL
    alone = [phase.name for phase in recipe] != ["scratch"]
    compare = alone and (small if options.compare_scratch is None else options.compare_scratch)
    chosen: dict[str, Any] = {
        "batch_size": size,
        "preprocess": spec,
        "objective": objective,
        "compare_scratch": compare,
    }
    return start, data, tuple(recipe), replace(options, **chosen)


def same_budget(recipe: Recipe) -> Recipe:
    """Return the recipe that trains everything from fresh weights for as many epochs as `recipe`.

    It trains as the head does in the first phase, for all these epochs; where the recipe stops early, and so takes its
    best epoch, so does it.

    >>> from tlx.recipes import finetune
    >>> [(phase.name, phase.epochs) for phase in same_budget(finetune(["conv1"], head_epochs=5, base_epochs=10))]
    [('scratch', 15)]
    """
    group, last = recipe[0].groups.get("head", HEAD), recipe[-1]
    epochs = sum(phase.epochs for phase in recipe)
    patience = None if last.patience is None else epochs  # never exhausted
    return scratch((), epochs=epochs, group=group, patience=patience, monitor=last.monitor)


def _check_head(base: Pretrained, data: Data) -> None:
    """Raise `ConfigError` where training on these data cannot begin with the base's own head."""
    if base.classes != data.classes:
        own = f"knows {quote(base.classes, 5)}" if base.classes else "has none"
        raise ConfigError(
            f"keep_head: {base.name} {own}, and the data have the classes {quote(data.classes, 5)}: leave keep_head "
            "out, or probe the base on these data first"
        )
