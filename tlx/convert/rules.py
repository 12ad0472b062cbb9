"""Rules: tables that name each leaf's tensor in a source, read in both directions."""

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from tlx.errors import ConfigError, check_choice
from tlx.models.head import POOLS, Pool
from tlx.tree.paths import quote

Dialect = Literal["keras", "torch", "tf", "keras_hub"]
REFERENCES = ("keras", "torchvision", "timm", "transformers", "keras_hub")


@dataclass(frozen=True)
class LeafRule:
    """What one weight of a module is called in the source and in tlx, and how it is transformed."""

    source: str
    target: str
    transform: str = "same"
    collection: str = "params"


def _norm(names: tuple[str, str, str, str]) -> tuple[LeafRule, ...]:
    scale, bias, mean, var = names
    return (
        LeafRule(scale, "scale"),
        LeafRule(bias, "bias"),
        LeafRule(mean, "mean", collection="batch_stats"),
        LeafRule(var, "var", collection="batch_stats"),
    )


# A module's weights, in the order in which the source keeps them.
KINDS: Mapping[Dialect, Mapping[str, tuple[LeafRule, ...]]] = {
    "keras": {
        "conv": (LeafRule("kernel", "kernel"), LeafRule("bias", "bias")),
        "depthwise": (LeafRule("kernel", "kernel", "hwcm_to_hwmc"),),
        "separable": (
            LeafRule("depthwise_kernel", "depthwise/kernel", "hwcm_to_hwmc"),
            LeafRule("pointwise_kernel", "pointwise/kernel"),
        ),
        "norm": _norm(("gamma", "beta", "moving_mean", "moving_variance")),
        "dense": (LeafRule("kernel", "kernel"), LeafRule("bias", "bias")),
    },
    "torch": {
        "conv": (LeafRule("weight", "kernel", "oihw_to_hwio"), LeafRule("bias", "bias")),
        "norm": _norm(("weight", "bias", "running_mean", "running_var")),
        "dense": (LeafRule("weight", "kernel", "oi_to_io"), LeafRule("bias", "bias")),
        "dense_7x7x512": (LeafRule("weight", "kernel", "rows_7x7x512"), LeafRule("bias", "bias")),
        "conv_1x1": (LeafRule("weight", "kernel", "conv_1x1"), LeafRule("bias", "bias")),
        "conv_7x7x512": (LeafRule("weight", "kernel", "conv_7x7x512"), LeafRule("bias", "bias")),
        "embedding": (LeafRule("weight", "embedding"),),
        "layer_norm": (LeafRule("weight", "scale"), LeafRule("bias", "bias")),
        "bias": (LeafRule("bias", "bias"),),
    },
    "tf": {
        "dense": (LeafRule("kernel", "kernel"), LeafRule("bias", "bias")),
        "embedding": (LeafRule("", "embedding"),),
        "layer_norm": (LeafRule("gamma", "scale"), LeafRule("beta", "bias")),
        "bias": (LeafRule("output_bias", "bias"),),
        "output": (LeafRule("output_weights", "kernel", "oi_to_io"), LeafRule("output_bias", "bias")),
    },
    "keras_hub": {
        "dense": (LeafRule("0", "kernel"), LeafRule("1", "bias")),
        "embedding": (LeafRule("0", "embedding"),),
        "layer_norm": (LeafRule("0", "scale"), LeafRule("1", "bias")),
    },
}
KERAS_CLASSES = {  # the name that Keras 3 derives from a layer's class
    "conv": "conv2d",
    "depthwise": "depthwise_conv2d",
    "separable": "separable_conv2d",
    "norm": "batch_normalization",
    "dense": "dense",
}


@dataclass(frozen=True)
class Row:
    """One line of a table: a kind of module, its name in the source, its path in tlx.

    A placeholder stands for the same in both: `{i}`, of one letter, for a whole number, `{i+1}` for the number one
    above; `{part}`, a word, for any text without '/' and '.'. So a row reads both ways. A module that is `outside`
    stands beside the network in a file, not below the prefix of its other names.

    >>> row = Row("conv", "layer{g}.{i}.conv{c}", "base/block{g}_{i+1}/conv{c}")
    >>> row.source_of("base/block2_1/conv3"), row.target_of("layer2.0.conv3")
    ('layer2.0.conv3', 'base/block2_1/conv3')
    """

    kind: str
    source: str
    target: str
    outside: bool = False

    def source_of(self, target: str) -> str | None:
        """Name the module in the source of a module of tlx, or None where this row says nothing of it."""
        return _translate(target, self.target, self.source)

    def target_of(self, source: str) -> str | None:
        """Name the module of tlx for a module of the source, or None where this row says nothing of it."""
        return _translate(source, self.source, self.target)


@dataclass(frozen=True)
class Ignored:
    """Tensors of a source that tlx has no use for, by regular expression over the whole name, and why.

    Those that are `kept` are part of the network, and go back into it.
    """

    pattern: str
    reason: str
    kept: bool = True


@dataclass(frozen=True)
class Table:
    """How one source writes one architecture.

    `hidden` and `pool` describe the head that it is published with, `classes` its outputs. `layers` are Keras's layers
    that own weights, in the order of its model. `stages` names the reference's module whose output each stage's equals
    (rows as above, without a kind), `reference` what builds it. `sees_like` names the published weights whose
    preprocessing is assumed where the source has published none.
    """

    name: str
    architecture: str
    dialect: Dialect
    rows: tuple[Row, ...]
    reference: str = ""
    stages: tuple[tuple[str, str], ...] = ()
    hidden: tuple[int, ...] = ()
    pool: Pool = "average"
    classes: int = 1000
    ignored: tuple[Ignored, ...] = ()
    layers: tuple[str, ...] = ()
    sees_like: str = ""

    def __post_init__(self) -> None:
        check_choice("dialect", self.dialect, tuple(KINDS))
        check_choice("pool", self.pool, POOLS)
        for row in self.rows:
            check_choice(f"kind of row {row.source!r}", row.kind, tuple(KINDS[self.dialect]))
        library = self.reference.partition(":")[0]
        if library:
            check_choice("reference library", library, REFERENCES)
        if self.classes < 0:
            raise ConfigError(f"table {self.name}: classes must be at least 0, not {self.classes}")

    def entry(self, path: str) -> tuple[str, LeafRule, Row]:
        """Return the source's module, the rule and the row for a leaf's path such as 'params/base/block1_conv1/kernel'.

        Raise `ConfigError` for a leaf that no row covers: the table is not complete.
        """
        collection, _, rest = path.partition("/")
        for row in self.rows:
            for rule in KINDS[self.dialect][row.kind]:
                if rule.collection != collection or not rest.endswith(f"/{rule.target}"):
                    continue
                module = row.source_of(rest.removesuffix(f"/{rule.target}"))
                if module is not None:
                    return module, rule, row
        raise ConfigError(f"table {self.name} has no row for {path!r}")

    def node_of(self, stage: str) -> str | None:
        """Name the reference's module whose output a stage's output equals, or None where it has none."""
        for target, source in self.stages:
            found = _translate(stage, target, source)
            if found is not None:
                return found
        return None

    @property
    def separator(self) -> str:
        """What stands between a module's name and a weight's."""
        return "." if self.dialect == "torch" else "/"

    def name_of(self, module: str, rule: LeafRule) -> str:
        """Name the tensor of a module's weight; a weight without a name of its own has the module's."""
        return f"{module}{self.separator}{rule.source}" if rule.source else module


_PLACEHOLDER = re.compile(r"\{(\w+?)([+-]\d+)?\}")


def _translate(text: str, pattern: str, into: str) -> str | None:
    """Match `text` with `pattern` and write what its placeholders stand for into `into`."""
    found = _compile(pattern).fullmatch(text)
    if found is None:
        return None
    shifts = {name: int(shift or 0) for name, shift in _PLACEHOLDER.findall(pattern)}

    def write(place: re.Match[str]) -> str:
        name, shift = place[1], int(place[2] or 0) - shifts[place[1]]
        return str(int(found[name]) + shift) if shift else found[name]

    return _PLACEHOLDER.sub(write, into)


@functools.cache
def _compile(pattern: str) -> re.Pattern[str]:
    parts = _PLACEHOLDER.split(pattern)  # text, name, shift, text, name, …
    whole = re.escape(parts[0])
    for name, text in zip(parts[1::3], parts[3::3], strict=True):
        whole += f"(?P<{name}>{'[0-9]+' if len(name) == 1 else '[^/.]+'})" + re.escape(text)
    return re.compile(whole)


def resolve(table: Table, leaves: Iterable[str]) -> dict[str, tuple[str, LeafRule]]:
    """Name the source's tensor of each leaf path, with its rule; raise `ConfigError` where two leaves share one."""
    resolved: dict[str, tuple[str, LeafRule]] = {}
    taken: dict[str, str] = {}
    for path in leaves:
        module, rule, _ = table.entry(path)
        name = table.name_of(module, rule)
        if name in taken:
            raise ConfigError(f"table {table.name} gives {quote([taken[name], path])} the same tensor {name!r}")
        taken[name] = path
        resolved[path] = (name, rule)
    return resolved
