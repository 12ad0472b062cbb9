"""A plan: which tensor of a source fills which leaf, strictly both ways, before anything is read."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tlx.convert.names import Expected, MatchedBy, find_names
from tlx.convert.rules import Ignored, Table, resolve
from tlx.convert.source import Source, Tensor
from tlx.convert.transforms import leaf_shape
from tlx.errors import WeightsError
from tlx.models.registry import ModelConfig, architecture_named, build_model, leaf_shapes
from tlx.tree.paths import quote, select

FLOATS = ("float16", "bfloat16", "float32", "float64")
BESIDE = (  # what stands beside a model's weights
    Ignored(r"(.*\.)?num_batches_tracked", "a counter of batches, of no use in inference"),
    Ignored(
        r"(optimizer|optim|optimizers|optimizer_states?|optimizer_state_dict)\..*",
        "the state of an optimizer",
        kept=False,
    ),
    Ignored(r"(lr_)?schedulers?\..*|(scaler|amp|callbacks|loops)\..*", "the state of a training loop", kept=False),
)


MOST = 100  # tensors that a message names


@dataclass(frozen=True)
class Match:
    """A leaf's path below the variables ('params/base/…'), the tensor that fills it, and the transform between them."""

    path: str
    shape: tuple[int, ...]
    tensor: Tensor
    transform: str


@dataclass(frozen=True)
class Unused:
    """A tensor of the source that fills no leaf, why, and whether it is part of the network all the same.

    What is part of it is kept beside the leaves, so that the way back gives the whole source.
    """

    source: str
    reason: str
    kept: bool = False


@dataclass(frozen=True)
class Plan:
    """What a conversion will do.

    `config` describes the model that the source fills: classes and input channels are the source's own, and there are 0
    classes (no head) where it has none. `ignored` are the tensors without use, each with the reason; `fresh` the leaves
    that stay as initialised; `prefix` what stood before every name; `matched_by` says how Keras's layers were found.
    """

    table: Table
    config: ModelConfig
    matches: tuple[Match, ...]
    ignored: tuple[Unused, ...]
    fresh: tuple[str, ...]
    prefix: str
    matched_by: MatchedBy

    @property
    def coverage(self) -> float:
        """The share of the model's leaves that the source fills."""
        return len(self.matches) / (len(self.matches) + len(self.fresh))


@dataclass(frozen=True)
class Survey:
    """How a source and a table fit: a plan, and what speaks against it."""

    plan: Plan
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    faults: tuple[str, ...]


def make_plan(
    source: Source,
    table: Table,
    *,
    input_size: tuple[int, int] | None = None,
    until: str | None = None,
    head: bool = True,
    prefix: str | None = None,
    ignored: Sequence[str] = (),
    fresh: Sequence[str] = (),
) -> Plan:
    """Match a source's tensors with a model's leaves by a table.

    `until` cuts the base after a stage, and then there is no head; nor without `head`. Every tensor that is used must
    have the shape its leaf asks for, every other must be selected by a pattern of `ignored` (over the name, with '.' as
    '/'), which then fills none, or known to be of no use; every leaf must be filled or selected by a pattern of `fresh`
    (over 'base/…'). `prefix` names what stands before the names of PyTorch's tensors, where several would do. Raise
    `WeightsError` that names all that does not fit at once, `ConfigError` for a pattern that selects nothing.
    """
    found = survey(source, table, input_size, until, head, prefix, ignored, fresh)
    _refuse(source, found)
    return found.plan


def survey(
    source: Source,
    table: Table,
    input_size: tuple[int, int] | None = None,
    until: str | None = None,
    head: bool = True,
    prefix: str | None = None,
    ignored: Sequence[str] = (),
    fresh: Sequence[str] = (),
) -> Survey:
    """Match as `make_plan` does, and return what does not fit instead of raising it."""
    full = ModelConfig(
        table.architecture,
        table.classes,
        (*(input_size or architecture_named(table.architecture).input_shape[:2]), 3),
        hidden=table.hidden,
        pool=table.pool,
    )
    expected = resolve(table, leaf_shapes(full))
    named = find_names(source, table, expected, prefix)
    config = _fit_config(full, expected, named.tensors, until, head)
    shapes = leaf_shapes(config)
    below = {path.partition("/")[2]: path for path in shapes}
    stay_fresh = {below[path] for path in select(fresh, below)} if fresh else set()
    left_out = set(select(ignored, (name.replace(".", "/") for name in source.tensors))) if ignored else set()

    filled, faults, missing = [], [], []
    for path, (name, rule) in resolve(table, shapes).items():
        if path in stay_fresh:
            continue
        if name not in named.tensors or named.tensors[name].name.replace(".", "/") in left_out:
            missing.append(name)
            continue
        match = Match(path, shapes[path], named.tensors[name], rule.transform)
        filled.append(match)
        faults += _faults(match)
    taken = {match.tensor.name for match in filled}
    names = {tensor.name: name for name, tensor in named.tensors.items()}
    paths = {name: path for path, (name, _) in expected.items()}
    dropped, unused = [], []
    for tensor in source.tensors:
        if tensor not in taken:
            leaf = paths.get(names.get(tensor, ""))
            found = Unused(tensor, "its leaf stays fresh") if leaf in stay_fresh else None
            if tensor.replace(".", "/") in left_out:
                found = Unused(tensor, "as asked for")
            found = found or _unused(tensor, leaf, table, named.prefix, until)
            dropped.append(found) if found else unused.append(tensor)
    plan = Plan(table, config, tuple(filled), tuple(dropped), tuple(sorted(stay_fresh)), named.prefix, named.by)
    return Survey(plan, tuple(missing), tuple(unused), tuple(faults))


def _fit_config(
    full: ModelConfig, expected: Expected, tensors: Mapping[str, Tensor], until: str | None, head: bool
) -> ModelConfig:
    """Take the number of classes and of the input's channels from the source."""
    config = replace(full, until=until)
    stem = build_model(full).base.stage_names[0]
    for path, (name, rule) in expected.items():
        if name in tensors and re.fullmatch(f"params/base/{stem}/(conv/)?kernel", path):
            shape = leaf_shape(rule.transform, tensors[name].shape)
            if shape and shape[-2]:
                config = replace(config, input_shape=(*config.input_shape[:2], shape[-2]))
    own_head = [name for path, (name, _) in expected.items() if path.startswith("params/head/") and name in tensors]
    if until is not None or not head or not own_head:
        return replace(config, classes=0, hidden=(), pool=architecture_named(config.architecture).pool)
    logits = tensors.get(expected["params/head/logits/bias"][0])
    return replace(config, classes=logits.shape[0]) if logits and math.prod(logits.shape) else config


def _faults(match: Match) -> list[str]:
    """Say why a tensor cannot fill its leaf."""
    tensor, name = match.tensor, match.tensor.name
    if tensor.dtype not in FLOATS:
        return [
            f"{name!r} holds {tensor.dtype}: quantized or whole numbers are not weights, convert them to float first"
        ]
    made = leaf_shape(match.transform, tensor.shape)
    if made == match.shape:
        return []
    return [f"{name!r} has shape {tensor.shape}, which makes {made or 'nothing'} where {match.path!r} is {match.shape}"]


def _unused(tensor: str, path: str | None, table: Table, prefix: str, until: str | None) -> Unused | None:
    """Say why a tensor that fills no leaf is of no use, or None where nobody said so; `path` is its leaf's."""
    for rule in (*table.ignored, *BESIDE):
        if re.fullmatch(f"(.*\\.)?({rule.pattern})", tensor):
            return Unused(tensor, rule.reason, rule.kept and tensor.startswith(prefix) and until is None)
    if path is None:
        return None
    if path.startswith("params/head/"):
        return Unused(tensor, "of the head, which was not asked for")
    return Unused(tensor, f"of a stage above {until}")


def _refuse(source: Source, survey: Survey) -> None:
    """Raise `WeightsError` with everything that speaks against a plan."""
    table, faults = survey.plan.table, list(survey.faults)
    if not survey.plan.matches:
        raise WeightsError(
            f"{source.path}: no tensor of {table.name} is in it: it holds {quote(source.tensors, 6)}; "
            "name what it is with --arch"
        )
    if survey.missing:
        faults.insert(0, f"{len(survey.missing)} tensors are missing: {quote(survey.missing, MOST)}")
    if survey.unused:
        faults.append(f"{len(survey.unused)} tensors have no use: {quote(survey.unused, MOST)} (--ignore PATTERN)")
    if faults:
        shown = "; ".join(faults[:MOST]) + (f"; and {len(faults) - MOST} more" if len(faults) > MOST else "")
        cure = "; a file that ends early fills a base that is cut (--until STAGE)" if survey.missing else ""
        raise WeightsError(f"{source.path}: does not fit {table.name}: {shown}{cure}")
