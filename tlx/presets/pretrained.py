"""A pretrained model: weights with the preprocessing, the classes and the card that belong to them."""

import functools
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp

from tlx.data.inputs import InputSpec, check_inputs_spec
from tlx.errors import ConfigError
from tlx.images.preprocess import Preprocess
from tlx.models.classifier import Classifier
from tlx.models.head import Pool
from tlx.models.registry import (
    ModelConfig,
    architecture_named,
    build_model,
    example_inputs,
    init_head,
    init_variables,
    leaf_shapes,
)
from tlx.models.tabulate import ModelTable, tabulate
from tlx.objectives import Classification, Objective
from tlx.tree.labels import label_tree
from tlx.tree.paths import Tree, flatten, quote, unflatten
from tlx.tree.surgery import Resize, graft, join, split

CLASSES = Classification()


@dataclass(frozen=True, repr=False)
class Pretrained:
    """A model as it is loaded, transferred and saved.

    `variables` is its whole tree, `preprocess` is the input spec that turns raw inputs into its own
    (`tlx.images.Preprocess` of images), `classes` names its outputs in order (none for a base without a head),
    `objective` is what it was trained for, and turns outputs into predictions, `card` says where the weights come from
    (architecture, data, accuracy, licence, command).
    """

    name: str
    config: ModelConfig
    variables: Tree
    preprocess: InputSpec
    classes: tuple[str, ...]
    card: Mapping[str, Any] = field(default_factory=dict)
    objective: Objective = CLASSES

    def __post_init__(self) -> None:
        other = [name for name in self.classes if not isinstance(name, str)]
        if other:
            raise ConfigError(
                f"{self.name}: class names must be strings, not {other[0]!r}: write tuple(map(str, classes))"
            )
        if len(set(self.classes)) != len(self.classes):
            twice = [name for name, count in Counter(self.classes).items() if count > 1]
            raise ConfigError(f"{self.name}: class names must be different; {quote(twice)} come more than once")
        if len(self.classes) != self.config.classes:
            raise ConfigError(f"{self.name}: {len(self.classes)} class names for {self.config.classes} outputs")
        check_inputs_spec(self.preprocess)
        self._check_texts()
        made = getattr(self.preprocess, "shape", self.config.input_shape)
        if made != self.config.input_shape:
            raise ConfigError(
                f"{self.name}: preprocessing makes inputs of {made}, the model takes {self.config.input_shape}"
            )

    def _check_texts(self) -> None:
        """Raise `ConfigError` where a tokenizer has more pieces than the model has rows, or texts are too long."""
        check = getattr(self.preprocess, "check_model", None)
        settings = self.config.settings
        if check is None or settings is None:
            return
        try:
            check(settings.vocab_size, getattr(settings, "max_position_embeddings", None))
        except ConfigError as error:
            raise ConfigError(f"{self.name}: {error}") from None

    def __repr__(self) -> str:
        config, size = self.config, "x".join(map(str, self.config.input_shape))
        count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(self.variables))
        until = f" until {config.until}" if config.until else ""
        head = f"{len(self.classes)} classes: {quote(self.classes, 3)}" if self.classes else "no head"
        return f"Pretrained({self.name!r}: {config.architecture}{until}, input {size}, {count:,} parameters, {head})"

    @property
    def model(self) -> Classifier:
        """The Linen module whose variables these are."""
        return build_model(self.config)

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages of the base that own parameters, first to last."""
        own = self.variables["params"].get("base", {})
        return tuple(stage for stage in self.model.base.stage_names if stage in own)

    @property
    def _origin(self) -> dict[str, Any]:
        """What of the card holds for the base alone."""
        return {key: self.card[key] for key in ("source", "licence", "paper", "page") if key in self.card}

    def summary(self, recipe: Any = None, *, layers: bool = False) -> ModelTable:
        """Tabulate the model: stages, output shapes, parameters and, for a recipe, what trains in which phase.

        Args:
            recipe: A recipe or one of its phases, rules of labels, or a label tree (`tlx.tree.label_tree`).
            layers: Tabulate every layer, not the stages.

        Returns:
            A table to print, or to show in a notebook.

        >>> import tlx
        >>> digits = tlx.load("mlp-mnist")
        >>> print(digits.summary(tlx.recipes.finetune(digits.stages)))
        mlp-mnist: mlp, input 28x28x1
        layer        output  parameters  trains in
        ------------------------------------------
        dense1       8            6,280  all
        dense2       4               36  all
        head/logits  10              50  head, all
        total 6,366 parameters: base 6,316, head 50
        head: 50 trainable, 6,316 frozen
        all: 6,366 trainable, 0 frozen
        """
        title = f"{self.name}: {self.config.architecture}, input {'x'.join(map(str, self.config.input_shape))}"
        phases = _labels_of(self.variables["params"], recipe)
        return tabulate(self.model, self.variables, example_inputs(self.config), phases, layers=layers, title=title)

    def with_head(
        self,
        classes: Sequence[str],
        *,
        hidden: tuple[int, ...] = (),
        pool: Pool | None = None,
        dropout: float = 0.0,
        seed: int = 0,
        objective: Objective = CLASSES,
    ) -> "Pretrained":
        """Return the same base with a fresh head for other classes; `pool` None takes the objective's, or the
        architecture's own.

        `classes` names what the head's outputs stand for, labels or numbers with another `objective`.

        A linear head begins at zero, as in Big Transfer (Kolesnikov et al. 2020): it finds every class equally likely,
        and what it learns from few examples carries no noise of its start. A head with hidden layers, which would not
        learn behind a layer of zeros at first, begins at random, from `seed`.

        >>> import tlx
        >>> letters = tlx.load("mlp-mnist").with_head(tuple("ABCDEFGHIJ"))
        >>> letters.variables["params"]["head"]["logits"]["kernel"].shape
        (4, 10)
        """
        if isinstance(classes, str):
            raise ConfigError(f"classes: {classes!r} is one string; give a tuple of names")
        if not isinstance(classes, Iterable):
            raise ConfigError(f"classes: {type(classes).__name__}, expected a tuple of names, such as data.classes")
        if isinstance(hidden, int):
            raise ConfigError(f"hidden: {hidden} is no tuple of sizes: write ({hidden},)")
        classes = tuple(classes)
        config = replace(
            self.config,
            classes=len(classes),
            hidden=hidden,
            pool=pool or objective.pool or self._pool,
            dropout=dropout,
            normalize=False,
            pretraining=None,
        )
        base, head = split(self.variables)[0], init_head(config, seed)
        if not hidden and "logits" in head.get("params", {}):
            head["params"]["logits"] = jax.tree.map(jnp.zeros_like, head["params"]["logits"])
        own = self.variables["params"].get("head", {}).get("pooler")
        if own is not None and "pooler" in head["params"]:  # which was pretrained with the base
            head["params"]["pooler"] = own
        variables = join(base, head)
        new: dict[str, Any] = {"classes": classes, "card": self._origin, "objective": objective}
        return replace(self, config=config, variables=variables, **new)

    @property
    def _pool(self) -> Pool:
        """How a new head pools, where nothing is said: as the base alone does, or as its architecture's heads do."""
        own = self.config.pool if self.config.settings is not None else None
        return own if own in ("average", "max", "cls") else architecture_named(self.config.architecture).pool

    def without_head(self) -> "Pretrained":
        """Return the base alone; its outputs are its features, pooled as new heads take them.

        >>> import tlx
        >>> tlx.load("cnn-mnist").without_head().classes
        ()
        """
        config = replace(self.config, classes=0, hidden=(), pool=self._pool, dropout=0.0, pretraining=None)
        new: dict[str, Any] = {"classes": (), "card": self._origin, "objective": CLASSES}
        return replace(self, config=config, variables=_only(self.variables, config), **new)

    def cut(self, until: str) -> "Pretrained":
        """Return the base until and with a stage, without the head, which belongs to the whole.

        Raise `ConfigError` for an unknown stage.

        >>> import tlx
        >>> tlx.load("cnn-mnist").cut("conv2").stages
        ('conv1', 'conv2')
        """
        alone = self.without_head()
        config = replace(alone.config, until=self.model.base.span(until=until)[-1])
        return replace(alone, config=config, variables=_only(alone.variables, config))

    def with_input(self, size: tuple[int, int] | None = None, channels: int | None = None) -> "Pretrained":
        """Return the model for images of another (height, width) or number of channels.

        For other channels the first kernel is averaged over its own and repeated, scaled so that equal channels give
        the response that they gave before (`Resize` "input_channels"); the preprocessing's mean and deviation are
        averaged. What is resized before it is cropped keeps the proportion of the two. Raise `ConfigError` where the
        head is made for the size: take it off first (`without_head`).

        >>> import tlx
        >>> colour = tlx.load("cnn-mnist").with_input(channels=3)
        >>> colour.variables["params"]["base"]["conv1"]["kernel"].shape
        (3, 3, 3, 32)
        """
        if size is not None and not (isinstance(size, Sequence) and len(size) == 2):
            raise ConfigError(f"size: {size!r} is no (height, width): write ({size}, {size})")
        if not isinstance(self.preprocess, Preprocess):
            raise ConfigError(f"{self.name}: takes no images: its inputs have no size or channels to choose")
        own = self.config.input_shape
        shape = (*(own[:2] if size is None else size), own[2] if channels is None else channels)
        config = replace(self.config, input_shape=shape)
        leaves, targets = flatten(self.variables), leaf_shapes(config)
        first = rf"params/base/{self.stages[0]}/(.*/)?kernel"
        takes_channels = {path for path, leaf in leaves.items() if leaf.ndim == 4 and re.fullmatch(first, path)}
        other = [path for path in leaves if leaves[path].shape != targets[path] and path not in takes_channels]
        if other:
            part, cure = ("head", " (without_head)") if all("/head/" in path for path in other) else ("base", "")
            raise ConfigError(
                f"{self.name}: its {part} is made for images of {own}, not {shape}: {quote(other)} would have "
                f"another shape{cure}"
            )
        template = jax.eval_shape(functools.partial(init_variables, config))
        fitted = graft(template, self.variables, resize=[Resize(path, "input_channels") for path in takes_channels])
        return replace(self, config=config, variables=fitted.tree, preprocess=fit_preprocess(self.preprocess, shape))


def _labels_of(params: Tree, recipe: Any) -> dict[str, Tree]:
    """Return the label tree of each phase that a recipe, a phase, rules or a label tree stand for, by name."""
    if recipe is None:
        return {}
    if isinstance(recipe, Mapping):
        return {"labels": recipe}
    if isinstance(recipe, str) or not (isinstance(recipe, Iterable) or hasattr(recipe, "rules")):
        raise ConfigError(f"recipe: {recipe!r:.80} is none: give one of tlx.recipes, a phase, rules or a label tree")
    phases = [recipe] if hasattr(recipe, "rules") else list(recipe)
    if not all(hasattr(phase, "rules") for phase in phases):
        return {"rules": label_tree(params, phases)}
    names = Counter(phase.name for phase in phases)
    numbered = {
        phase.name if names[phase.name] == 1 else f"{phase.name} ({index})": label_tree(params, phase.rules)
        for index, phase in enumerate(phases, start=1)
    }
    return numbered


def fit_preprocess(preprocess: Preprocess, shape: tuple[int, ...]) -> Preprocess:
    """Return a preprocessing that makes images of another shape (height, width, channels)."""
    height, width, channels = shape
    changes: dict[str, Any] = {"height": height, "width": width, "channels": channels}
    if preprocess.resize is not None:
        changes["resize"] = round(preprocess.resize * max(height, width) / max(preprocess.height, preprocess.width))
    if channels != preprocess.channels:
        averaged = {name: getattr(preprocess, name) for name in ("mean", "std")}
        changes |= {name: (sum(own) / len(own),) * channels for name, own in averaged.items() if own}
        changes |= {"channel_order": "rgb", "grey_to_rgb": "repeat"}
    return replace(preprocess, **changes)


def _only(variables: Tree, config: ModelConfig) -> Tree:
    """Return the leaves of variables that a smaller model has."""
    leaves = flatten(variables)
    return unflatten({path: leaves[path] for path in leaf_shapes(config)})
