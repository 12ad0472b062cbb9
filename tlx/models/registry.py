"""The registry: architectures by name, and the configuration that builds a model from one."""

import functools
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from tlx.devices.compiler import hasty_options, jit
from tlx.errors import ConfigError, check_choice, suggestion
from tlx.models._lowerings import lowerings
from tlx.models.base import Base, cut
from tlx.models.bert import BertConfig, bert
from tlx.models.classifier import Classifier
from tlx.models.head import POOLS, Head, Pool
from tlx.models.inception_v3 import inception_v3
from tlx.models.installed import load_installed
from tlx.models.mobilenet_v2 import mobilenet_v2
from tlx.models.pretraining import Pretraining, PretrainingHead, PretrainingModel
from tlx.models.resnet import BLOCKS as RESNET_BLOCKS
from tlx.models.resnet import cifar_resnet, resnet
from tlx.models.small import cnn, mlp, vectors
from tlx.models.staged import Model
from tlx.models.vgg import BLOCKS as VGG_BLOCKS
from tlx.models.vgg import vgg
from tlx.models.words import WordsConfig, words
from tlx.models.xception import xception
from tlx.tree.paths import Tree, flatten, quote

Build = Callable[..., Base]
"""Build a base that computes in a type, `dtype=`; of an architecture with settings, by these, which come first."""


def images(shape: tuple[int, ...]) -> jax.ShapeDtypeStruct:
    """Return a batch of one image or vector of floats, as shapes."""
    return jax.ShapeDtypeStruct((1, *shape), jnp.float32)


def texts(shape: tuple[int, ...]) -> dict[str, jax.ShapeDtypeStruct]:
    """Return a batch of one text of so many pieces, as shapes: `ids`, `segments` and `mask`."""
    return {
        "ids": jax.ShapeDtypeStruct((1, *shape), jnp.int32),
        "segments": jax.ShapeDtypeStruct((1, *shape), jnp.int32),
        "mask": jax.ShapeDtypeStruct((1, *shape), jnp.bool_),
    }


def check_input_shape(shape: object, axes: int | None = None) -> None:
    """Raise `ConfigError` for what is not whole numbers above 0, as many as an example has `axes` (None: any)."""
    if not isinstance(shape, tuple) or not shape or (axes is not None and len(shape) != axes):
        expected = {1: "(size,)", 3: "(height, width, channels)"}.get(axes or 3, f"of {axes} sizes")
        raise ConfigError(f"input_shape is {expected}, not {shape}")
    if not all(isinstance(size, int) and not isinstance(size, bool) and size > 0 for size in shape):
        raise ConfigError(f"input_shape: sizes must be whole numbers above 0, not {shape}")


@dataclass(frozen=True)
class Architecture:
    """How to build a base, the shape of one input it was made for, and the pooling its heads take by default.

    `minimum` is the least height and width of images. `settings` is a frozen dataclass whose fields make one network of
    the architecture another (`tlx.models.BertConfig`), or None. `inputs` makes of the shape of one input a batch of it,
    as shapes and types.
    """

    build: Build
    input_shape: tuple[int, ...]
    pool: Pool
    minimum: int = 1
    settings: type | None = None
    inputs: Callable[[tuple[int, ...]], Tree] = images

    def __post_init__(self) -> None:
        if not callable(self.build):
            raise ConfigError(f"build: {self.build!r:.60} is not a function that returns a tlx.models.Base")
        check_input_shape(
            self.input_shape, 1 if isinstance(self.input_shape, tuple) and len(self.input_shape) == 1 else 3
        )
        check_choice("pool", self.pool, POOLS)
        if isinstance(self.minimum, bool) or not isinstance(self.minimum, int) or self.minimum < 1:
            raise ConfigError(f"minimum: {self.minimum!r} is not a least height and width of 1 or more")

    @property
    def file(self) -> str:
        """The name of the file that defines `build`, or of its module where that has no file."""
        function = getattr(self.build, "func", self.build)  # of a functools.partial
        module = getattr(function, "__module__", None) or ""
        return Path(getattr(sys.modules.get(module), "__file__", None) or module).name


ARCHITECTURES: dict[str, Architecture] = {
    "mlp": Architecture(mlp, (28, 28, 1), "flatten"),
    "cnn": Architecture(cnn, (28, 28, 1), "flatten"),
    **{name: Architecture(functools.partial(vgg, name), (224, 224, 3), "average", minimum=32) for name in VGG_BLOCKS},
    **{
        f"{name}_bn": Architecture(functools.partial(vgg, name, norm=True), (224, 224, 3), "average", minimum=32)
        for name in VGG_BLOCKS
    },
    **{name: Architecture(functools.partial(resnet, name), (224, 224, 3), "average") for name in RESNET_BLOCKS},
    **{
        f"{name}_keras": Architecture(functools.partial(resnet, name, "keras"), (224, 224, 3), "average")
        for name in ("resnet50", "resnet101", "resnet152")
    },
    **{
        f"resnet{n}": Architecture(functools.partial(cifar_resnet, n), (32, 32, 3), "average") for n in (20, 32, 44, 56)
    },
    "xception": Architecture(xception, (299, 299, 3), "average", minimum=71),
    "inception_v3": Architecture(inception_v3, (299, 299, 3), "average", minimum=75),
    "inception_v3_keras": Architecture(functools.partial(inception_v3, "keras"), (299, 299, 3), "average", minimum=75),
    "mobilenet_v2": Architecture(mobilenet_v2, (224, 224, 3), "average"),
    "mobilenet_v2_keras": Architecture(functools.partial(mobilenet_v2, "keras"), (224, 224, 3), "average"),
    "vectors": Architecture(vectors, (1,), "flatten"),
    "bert": Architecture(bert, (512,), "average", settings=BertConfig, inputs=texts),
    "words": Architecture(words, (512,), "average", settings=WordsConfig, inputs=texts),
}

BUILT_IN = frozenset(ARCHITECTURES)

DType = Literal["float32", "bfloat16"]


def check_own_name(name: str) -> None:
    """Raise `ConfigError` for a name that is tlx's, or could not stand in a configuration."""
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w.-]*", name):
        raise ConfigError(f"architecture: {name!r} is not a name: use letters, digits, '_', '-' and '.'")
    if name in BUILT_IN:
        raise ConfigError(f"architecture: {name!r} is one of tlx's own: choose another name")


def is_known(name: str) -> bool:
    """Say whether an architecture is tlx's or registered, here or by an installed package.

    >>> is_known("cnn"), is_known("rnn")
    (True, False)
    """
    if name not in ARCHITECTURES:
        load_installed()
    return name in ARCHITECTURES


def architecture_named(name: str) -> Architecture:
    """Return an architecture by name, one of tlx's or registered here or by an installed package.

    Raise `ConfigError` that names the nearest one and says how to register another.

    >>> architecture_named("cnn").pool
    'flatten'
    """
    if not is_known(name):
        raise ConfigError(
            f"unknown architecture {name!r}{suggestion(name, ARCHITECTURES) or ':'} tlx has {quote(ARCHITECTURES)}; "
            "one of your own is there when the file that registers it is named (--import FILE.py) or imported first "
            "(docs/adding-a-family.md)"
        )
    return ARCHITECTURES[name]


@dataclass(frozen=True)
class ModelConfig:
    """What a model is made of; plain data, so that it can be stored beside weights.

    `input_shape` is that of one input, (height, width, channels) of images; `hidden`, `pool` and `dropout` describe the
    head (`Head`), which is none with 0 `classes`. `until` cuts the base after a stage, `dtype` is the type that the
    model computes in; its parameters are float32. `settings` are those of the architecture, if it has any
    (`Architecture`), and `normalize` divides pooled features by their length. With `pretraining` a text model has the
    heads that it is pretrained with, in place of one for classes: 'mlm' (masked words) or 'mlm+nsp' (next sentence,
    too).
    """

    architecture: str
    classes: int
    input_shape: tuple[int, ...]
    hidden: tuple[int, ...] = ()
    pool: Pool = "average"
    dropout: float = 0.0
    until: str | None = None
    dtype: DType = "float32"
    normalize: bool = False
    settings: Any = None
    pretraining: Pretraining | None = None

    def __post_init__(self) -> None:
        for name in ("input_shape", "hidden"):  # lists would make the model unhashable, and jit needs the hash
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        architecture = architecture_named(self.architecture)
        object.__setattr__(self, "settings", _settings_of(architecture, self.architecture, self.settings))
        if self.until is not None:
            built_base(self).span(until=self.until)
        minimum = architecture.minimum
        check_input_shape(self.input_shape, len(architecture.input_shape))
        if self.classes < 0 or any(size < 1 for size in self.hidden):
            raise ConfigError(
                f"sizes must be positive (0 classes: no head): classes={self.classes}, hidden={self.hidden}, "
                f"input_shape={self.input_shape}"
            )
        if not self.classes and self.hidden:
            raise ConfigError(f"0 classes mean no head, which has no hidden layers: {self.hidden}")
        if self.until is None and min(self.input_shape[:2]) < minimum:
            raise ConfigError(
                f"{self.architecture} takes images from {minimum}x{minimum}, not {self.input_shape[:2]}: enlarge "
                "them, or cut the base with until="
            )
        check_choice("pool", self.pool, POOLS)
        check_choice("dtype", self.dtype, get_args(DType))
        if self.pretraining is not None:
            check_choice("pretraining", self.pretraining, get_args(Pretraining))
            if not isinstance(self.settings, BertConfig) or self.classes or self.until is not None:
                raise ConfigError("pretraining: is for a whole text model without classes: leave it out")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout must be at least 0 and under 1, not {self.dropout}")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain data, without settings where there are none; the inverse of `from_dict`."""
        plain = asdict(self)
        plain |= {} if self.settings is None else {"settings": asdict(self.settings)}
        optional = {"settings": None, "normalize": False, "pretraining": None}
        return {name: value for name, value in plain.items() if name not in optional or value != optional[name]}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "ModelConfig":
        """Build a configuration from plain data; raise `ConfigError` for keys that are missing or unknown."""
        plain: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()
        }
        try:
            return cls(**plain)
        except TypeError as error:
            raise ConfigError(f"model configuration {fields}: {error}") from None


def _settings_of(architecture: Architecture, name: str, given: Any) -> Any:
    """Return the settings of an architecture, made of plain data where they are such, or by default."""
    kind = architecture.settings
    if kind is None:
        if given is not None:
            raise ConfigError(f"settings: {name} has none: leave them out")
        return None
    if given is None or isinstance(given, kind):
        return kind() if given is None else given
    if not isinstance(given, Mapping):
        raise ConfigError(f"settings: {type(given).__name__}, expected {kind.__name__}")
    try:
        return kind(**given)
    except TypeError as error:
        raise ConfigError(f"settings: {error}") from None


def built_base(config: ModelConfig, dtype: Any = jnp.float32) -> Base:
    """Build the whole base that a configuration names, uncut."""
    build = architecture_named(config.architecture).build
    return build(dtype=dtype) if config.settings is None else build(config.settings, dtype=dtype)


def example_inputs(config: ModelConfig) -> Tree:
    """Return what the model takes, a batch of one example, as shapes and types.

    >>> example_inputs(ModelConfig("mlp", 10, (28, 28, 1))).shape
    (1, 28, 28, 1)
    """
    return architecture_named(config.architecture).inputs(config.input_shape)


def build_model(config: ModelConfig) -> Classifier:
    """Build the classifier that a configuration describes.

    >>> model = build_model(ModelConfig("cnn", classes=10, input_shape=(28, 28, 1), hidden=(64,), pool="flatten"))
    >>> model.base.stage_names
    ('conv1', 'conv2', 'conv3')
    """
    dtype = jnp.dtype(config.dtype)
    if config.pretraining is not None:
        own = config.settings
        heads = PretrainingHead(config.pretraining == "mlm+nsp", own.hidden_act, own.layer_norm_eps, dtype)
        return PretrainingModel(base=built_base(config, dtype), head=heads)
    head = Head(config.classes, config.hidden, config.pool, config.dropout, config.normalize, dtype)
    base = built_base(config, dtype)
    return Classifier(base=base if config.until is None else cut(base, config.until), head=head)


def init_variables(config: ModelConfig, seed: int = 0) -> Tree:
    """Initialise the variables of the model that a configuration describes (`initialise`).

    >>> variables = init_variables(ModelConfig("mlp", classes=10, input_shape=(28, 28, 1)))
    >>> sum(leaf.size for leaf in jax.tree.leaves(variables))
    6366
    """
    return initialise(build_model(config), example_inputs(config), seed)


def init_head(config: ModelConfig, seed: int = 0) -> Tree:
    """Initialise the head alone, to the bits that `init_variables` gives it, sparing the work of making a base.

    >>> jax.tree.map(jnp.shape, init_head(ModelConfig("mlp", classes=10, input_shape=(28, 28, 1), pool="flatten")))
    {'params': {'logits': {'bias': (10,), 'kernel': (4, 10)}}}
    """
    variables: Tree = _initialise(build_model(config), _zeros(example_inputs(config)), jax.random.key(seed), "head")
    return variables


def leaf_shapes(config: ModelConfig) -> Mapping[str, tuple[int, ...]]:
    """Return the shape of every leaf of a model by path, without making one.

    >>> leaf_shapes(ModelConfig("mlp", 10, (28, 28, 1), pool="flatten"))["params/head/logits/kernel"]
    (4, 10)
    """
    model = build_model(config)
    features, base = _traced(config, model)
    matrix = () if config.pretraining is None else (base["params"]["embeddings"]["word"]["embedding"],)
    head = jax.eval_shape(model.head.init, jax.random.key(0), features, *matrix)
    tree = {kind: {"base": base.get(kind, {}), "head": head.get(kind, {})} for kind in {**base, **head}}
    return MappingProxyType({path: tuple(leaf.shape) for path, leaf in flatten(tree).items()})


def feature_shape(config: ModelConfig) -> tuple[int, ...]:
    """Return the shape of the features that a base leaves for one example, without making any.

    >>> feature_shape(ModelConfig("resnet18", 0, (224, 224, 3)))
    (7, 7, 512)
    """
    features = _traced(config, build_model(config))[0]
    leaf = features["hidden"] if isinstance(features, dict) else features
    shape: tuple[int, ...] = leaf.shape[1:]
    return shape


def _traced(config: ModelConfig, model: Classifier) -> tuple[Tree, Tree]:
    return _traced_base(model.base, architecture_named(config.architecture).inputs, config.input_shape)


@functools.lru_cache(maxsize=256)  # by the module, not by its name, which may come to mean another
def _traced_base(
    base: Base, inputs: Callable[[tuple[int, ...]], Tree], input_shape: tuple[int, ...]
) -> tuple[Tree, Tree]:
    """Trace a base, which is what takes time, once for all heads: return its features and its variables as shapes."""
    with lowerings("plain"):  # the same shapes, and fewer operations to trace
        found: tuple[Tree, Tree] = jax.eval_shape(base.init_with_output, jax.random.key(0), inputs(input_shape))
    return found


def initialise(model: Model, inputs: Any, seed: int) -> Tree:
    """Initialise the variables of a Linen module, as nested dicts of float32 arrays.

    Args:
        model: the module.
        inputs: the shape of one example, floats; or a batch of what the module takes, as a tree of shapes and types.
        seed: of the random numbers.
    """
    variables: Tree = _initialise(model, _zeros(inputs), jax.random.key(seed))
    return variables


def _zeros(inputs: Any) -> Tree:
    if isinstance(inputs, tuple) and all(isinstance(size, int) for size in inputs):
        return np.zeros((1, *inputs), np.float32)
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), inputs)


@functools.partial(jit, options=hasty_options, static_argnums=(0, 3))
def _initialise(model: Model, inputs: Tree, key: jax.Array, part: str | None = None) -> Tree:
    # Nothing computed from the zeros is returned, and XLA drops it. Plain, it is traced without looking for a device,
    # which several processes must not do for shapes alone before they have joined.
    with lowerings("plain"):
        variables = model.init(key, inputs)
    return variables if part is None else {kind: tree[part] for kind, tree in variables.items() if part in tree}
