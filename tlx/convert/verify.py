"""Verification: run a converted network beside its reference, stage by stage."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from tlx.convert.reference import OUTPUT, Reference
from tlx.convert.rules import Table
from tlx.models.base import call_layer
from tlx.models.registry import ModelConfig, build_model
from tlx.tree.paths import Tree

TOLERANCE = 1e-4  # of the largest magnitude in the reference's output
INPUT = "input"
TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Difference:
    """How far a stage's output is from the reference's: absolutely, and relative to the reference's largest value."""

    stage: str
    absolute: float
    relative: float


@dataclass(frozen=True)
class Verification:
    """The differences from the preprocessed images ('input') through every stage to the logits."""

    reference: str
    differences: tuple[Difference, ...]
    tolerance: float = TOLERANCE

    @property
    def first(self) -> str | None:
        """The first stage that differs by more than the tolerance, or None: where a fault is."""
        return next((each.stage for each in self.differences if not each.relative <= self.tolerance), None)

    @property
    def largest(self) -> float:
        """The largest relative difference; not a number where an output is not finite."""
        return float(np.max([each.relative for each in self.differences]))


def fixed_images(size: tuple[int, int], count: int = 2) -> np.ndarray:
    """Make images (count, *size, 3) of uint8, the same each time: smooth waves of each colour, and noise.

    >>> fixed_images((4, 5)).shape, fixed_images((4, 5)).dtype
    ((2, 4, 5, 3), dtype('uint8'))
    """
    draw = np.random.default_rng(0)
    rows, columns = (np.linspace(0, 1, length)[:, None, None] for length in size)
    waves = [
        np.sin(2 * np.pi * (draw.uniform(1, 4, 3) * rows + draw.uniform(1, 4, 3) * columns.transpose(1, 0, 2)))
        for _ in range(count)
    ]
    noise = draw.normal(0, 25, (count, *size, 3))
    return np.clip(np.stack(waves) * 80 + [150, 120, 90] + noise, 0, 255).astype(np.uint8)


def verify(
    table: Table,
    config: ModelConfig,
    variables: Tree,
    reference: Reference,
    preprocess: Callable[[np.ndarray], np.ndarray],
) -> Verification:
    """Compare a model with its reference on fixed images of the model's size.

    `preprocess` turns them into the model's inputs, and is compared too. Each stage runs on what the stage before it
    made, so the first one that differs is where the fault lies.
    """
    images = fixed_images((config.input_shape[0], config.input_shape[1]))
    model = build_model(config)
    nodes = {stage.name: node for stage in model.base.stages if (node := table.node_of(stage.name))}
    x: Any = preprocess(images)
    theirs_inputs = reference.preprocess(images)
    theirs = reference.outputs(theirs_inputs, list(nodes.values()))
    differences = [difference(INPUT, x, theirs_inputs)]
    with jax.default_matmul_precision("highest"):
        for stage in model.base.stages:
            x = run_layer(stage.layer, variables_of(variables, "base", stage.name), x)
            if stage.name in nodes:
                differences.append(difference(stage.name, x, theirs[nodes[stage.name]]))
        if config.classes:
            logits = run_layer(model.head, variables_of(variables, "head"), x)
            differences.append(difference(OUTPUT, logits, theirs[OUTPUT]))
    return Verification(table.reference, tuple(differences))


@functools.partial(jax.jit, static_argnums=0)
def run_layer(layer: nn.Module, variables: Tree, x: jax.Array) -> Any:
    """Run a layer as in inference; of layers that are equal, as most of a ResNet's are, one is compiled."""
    return layer.apply(variables, x, False, method=call_layer)


def variables_of(variables: Tree, *path: str) -> Tree:
    """Return the variables of the module at a path."""
    return {kind: functools.reduce(lambda tree, name: tree.get(name, {}), path, own) for kind, own in variables.items()}


def difference(stage: str, output: Any, theirs: np.ndarray) -> Difference:
    ours = np.asarray(output)
    if ours.shape != theirs.shape:
        return Difference(stage, np.inf, np.inf)
    absolute = float(np.abs(ours - theirs).max())
    return Difference(stage, absolute, absolute / max(float(np.abs(theirs).max()), TINY))
