"""Tabulate a model by stage or by layer: output shapes, parameters, and what trains when."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from tlx.models.classifier import Classifier
from tlx.table import html_table, text_table
from tlx.tree.labels import FROZEN
from tlx.tree.paths import Tree, flatten
from tlx.tree.summary import Summary, summarize


@dataclass(frozen=True)
class Layer:
    """A stage, or a layer within one: its path, the shape of one example's output, its parameters, its labels.

    `labels` has, for each phase, the labels of its parameters in that phase.
    """

    path: str
    output: tuple[int, ...] | None
    parameters: int
    labels: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, repr=False)
class ModelTable:
    """A model as a table: print it, or show it in a notebook. `phases` has the totals of each phase, by its name."""

    title: str
    layers: tuple[Layer, ...]
    phases: tuple[tuple[str, Summary], ...]
    total: Summary

    @property
    def columns(self) -> tuple[str, ...]:
        last = {0: (), 1: ("label",)}.get(len(self.phases), ("trains in",))
        return ("layer", "output", "parameters", *last)

    def rows(self) -> list[tuple[Any, ...]]:
        """Return the cells of the table."""
        rows = [
            (layer.path, None if layer.output is None else "x".join(map(str, layer.output)), layer.parameters)
            for layer in self.layers
        ]
        if not self.phases:
            return rows
        return [(*row, self._trains(layer)) for row, layer in zip(rows, self.layers, strict=True)]

    def _trains(self, layer: Layer) -> str:
        if len(self.phases) == 1:
            return " + ".join(layer.labels[0]) or "–"
        trained = zip(self.phases, layer.labels, strict=True)
        return ", ".join(name for (name, _), labels in trained if set(labels) - {FROZEN}) or "–"

    def lines(self) -> list[str]:
        """Return the totals as lines of text."""
        whole = self.total
        counts = [f"total {whole.total:,} parameters: base {whole.base:,}, head {whole.head:,}"]
        return counts + [f"{name}: {each.trainable:,} trainable, {each.frozen:,} frozen" for name, each in self.phases]

    def __str__(self) -> str:
        return "\n".join([self.title, text_table(self.columns, self.rows()), *self.lines()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        totals = html_table((self.title,), [[line] for line in self.lines()])
        return html_table(self.columns, self.rows()) + totals


def tabulate(
    model: Classifier,
    variables: Tree,
    inputs: Any,
    phases: Mapping[str, Tree] | None = None,
    *,
    layers: bool = False,
    title: str = "model",
) -> ModelTable:
    """Tabulate a model's stages and the layers of its head, without running it.

    Args:
        model: A base with a head.
        variables: Its variables, or their shapes.
        inputs: The shape of one example, (height, width, channels) of images; or a batch of what the model takes, as a
            tree of shapes and types.
        phases: The label tree of the parameters in each phase, by the phase's name.
        layers: Tabulate every module that owns parameters, not the stages.
        title: What stands above the table.

    Returns:
        The table. Batch statistics count as parameters that do not train.

    >>> from tlx.models.registry import ModelConfig, build_model, init_variables
    >>> config = ModelConfig("mlp", 10, (28, 28, 1), pool="flatten")
    >>> print(tabulate(build_model(config), init_variables(config), config.input_shape))
    model
    layer        output  parameters
    -------------------------------
    dense1       8            6,280
    dense2       4               36
    head/logits  10              50
    total 6,366 parameters: base 6,316, head 50
    """
    phases, whole = phases or {}, summarize(variables)
    outputs = dict(_outputs(_captured(model, variables, inputs)))
    labels = [flatten(tree) for tree in phases.values()]
    sizes = {row.path: row.parameters for row in whole.rows}
    made = []
    for path in _paths(model, list(sizes), layers):
        own = [leaf for leaf in sizes if leaf.startswith(f"{path}/")]
        of_phases = tuple(tuple(dict.fromkeys(each[leaf] for leaf in own if leaf in each)) for each in labels)
        count = sum(sizes[leaf] for leaf in own)
        made.append(Layer(path.removeprefix("base/"), outputs.get(path), count, of_phases))
    totals = tuple((name, summarize(variables, tree)) for name, tree in phases.items())
    return ModelTable(title, tuple(made), totals, whole)


def _paths(model: Classifier, leaves: list[str], layers: bool) -> list[str]:
    """Return the modules to tabulate: those that own leaves, or the stages and the modules of the head that do."""
    stages = [f"base/{stage}" for stage in model.base.stage_names]
    owners = list(dict.fromkeys(leaf.rpartition("/")[0] for leaf in leaves))
    heads = [owner for owner in owners if owner.partition("/")[0] == "head"]
    if not layers:
        return [*stages, *heads]
    order = {stage: index for index, stage in enumerate(stages)}
    of_base = [owner for owner in owners if owner not in heads]
    return [*sorted(of_base, key=lambda owner: order["/".join(owner.split("/")[:2])]), *heads]


def _captured(model: Classifier, variables: Tree, inputs: Any) -> Tree:
    """Return the shapes of what every module returns for one example."""

    def run(variables: Tree, example: jax.Array) -> Tree:
        _, state = model.apply(variables, example, capture_intermediates=True, mutable=["intermediates"])
        return state["intermediates"]

    is_shape = isinstance(inputs, Sequence) and all(isinstance(size, int) for size in inputs)
    example = jax.ShapeDtypeStruct((1, *inputs), jnp.float32) if is_shape else inputs
    found: Tree = jax.eval_shape(run, variables, example)
    return found


def _outputs(captured: Tree, path: str = "") -> Iterator[tuple[str, tuple[int, ...] | None]]:
    for name, value in captured.items():
        if name == "__call__":
            output = value[-1]  # of a call within a call of the same module, the outer returns last
            output = output.get("hidden") if isinstance(output, Mapping) else output
            leaves = jax.tree.leaves(output)
            yield path, tuple(leaves[0].shape[1:]) if len(leaves) == 1 else None
        elif isinstance(value, Mapping):
            yield from _outputs(value, f"{path}/{name}" if path else name)
