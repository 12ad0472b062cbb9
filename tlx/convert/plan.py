"""A plan: which tensor of a source fills which leaf, strictly both ways, before anything is read."""

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tlx.convert.heads import find_head
from tlx.convert.names import Expected, MatchedBy, Named, container, find_names
from tlx.convert.rules import Ignored, Row, Table, resolve
from tlx.convert.source import Source, Tensor
from tlx.convert.strangers import stranger
from tlx.convert.transforms import leaf_shape
from tlx.convert.widths import likely_variant
from tlx.errors import WeightsError
from tlx.models.registry import ModelConfig, architecture_named, build_model, feature_shape, leaf_shapes
from tlx.tree.paths import quote, select

FLOATS = ("float16", "bfloat16", "float32", "float64")
BESIDE = (  # what stands beside a model's weights
    Ignored(r"(.*\.)?num_batches_tracked", "a counter of batches, of no use in inference"),
    Ignored(r"(.*\.)?n_averaged", "a counter of averaged models, of no use in inference"),  # of swa_utils.AveragedModel
    Ignored(
        r"(optimizer|opt|optim|optimizers|optimizer_states?|optimizer_state_dict)\..*",
        "the state of an optimizer",
        kept=False,
    ),
    Ignored(
        r"(lr_)?schedulers?\..*|((amp_|grad_)?scaler|amp|callbacks|loops)\..*",
        "the state of a training loop",
        kept=False,
    ),
    Ignored(
        r"((\w+_)?rng(_states?)?(_all)?|(\w+_)?random_states?)(\.\w+)*", "the state of a random generator", kept=False
    ),
    Ignored(r"(criterion|loss|loss_fn)\..*", "the state of a loss", kept=False),
    Ignored(  # TensorFlow: the slots of a variable by its name and the optimizer's, and the objects of TensorFlow 2
        r"(.*/)?(adam_[mv]|(Adam|Adadelta|RMSProp|Ftrl)(_1)?|Adagrad|Momentum|beta[12]_power)"
        r"|(.*/)?(\.OPTIMIZER_SLOT|_?optimizer)/.*",
        "the state of an optimizer",
        kept=False,
    ),
    Ignored(r"(.*/)?keras_api/metrics/.*", "the state of a metric", kept=False),
    Ignored(r"(.*/)?(global_step|save_counter)(/\.ATTRIBUTES/VARIABLE_VALUE)?", "a counter of steps", kept=False),
)


MOST = 100  # tensors that a message names


@dataclass(frozen=True)
class Match:
    """A leaf's path below the variables ('params/base/…'), the tensor that fills it, and the transform between them."""

    path: str
    shape: tuple[int, ...]
    tensor: Tensor
    transform: str

    @property
    def made(self) -> tuple[int, ...] | None:
        """The shape that the transform makes of the tensor; None where it cannot."""
        return leaf_shape(self.transform, self.tensor.shape)


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
    that stay as initialised; `prefix` what stood before the names of the base, `copies` the prefixes under which the
    file holds it again; `matched_by` says how Keras's layers were found. `table` reads the file's own head, by
    `head_rows` where that is not the published one, and `head` says what was taken for it.
    """

    table: Table
    config: ModelConfig
    matches: tuple[Match, ...]
    ignored: tuple[Unused, ...]
    fresh: tuple[str, ...]
    prefix: str
    matched_by: MatchedBy
    copies: tuple[str, ...] = ()
    head_rows: tuple[Row, ...] = ()
    head: str = ""

    @property
    def coverage(self) -> float:
        """The share of the model's leaves that the source fills."""
        return len(self.matches) / (len(self.matches) + len(self.fresh))


@dataclass(frozen=True)
class Survey:
    """How a source and a table fit: a plan, and what speaks against it.

    It is `ambiguous` where the source holds the base several times, and nobody chose.
    """

    plan: Plan
    ambiguous: bool
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
    size = input_size or architecture_named(table.architecture).input_shape[:2]
    bare = ModelConfig(table.architecture, 0, (*size, 3))
    by_path = {name.replace(".", "/"): name for name in source.tensors}
    left_out = {by_path[path] for path in select(ignored, by_path)} if ignored else set()
    named = find_names(source, table, body := resolve(table, leaf_shapes(bare)), prefix, left_out)
    own = find_head(source, table, named, feature_shape(bare), left_out)
    table, tensors = own.table, own.tensors
    full = replace(bare, classes=table.classes, hidden=table.hidden, pool=table.pool)
    expected = body if own.left else resolve(table, leaf_shapes(full))
    config = _fit_config(full, expected, tensors, until, head)
    shapes = leaf_shapes(config)
    below = {path.partition("/")[2]: path for path in shapes}
    stay_fresh = {below[path] for path in select(fresh, below)} if fresh else set()

    filled, faults, missing = [], [], []
    for path, (name, rule) in resolve(table, shapes).items():
        if path in stay_fresh:
            continue
        if name not in tensors or tensors[name].name in left_out:
            missing.append(name)
            continue
        match = Match(path, shapes[path], tensors[name], rule.transform)
        filled.append(match)
        faults += faults_of(match)
    taken = {match.tensor.name for match in filled}
    names = {tensor.name: name for name, tensor in tensors.items()}
    paths = {name: path for path, (name, _) in expected.items()}
    reasons = dict.fromkeys(own.left, f"of a head that tlx cannot read ({own.fault})") | dict.fromkeys(
        left_out, "as asked for"
    )
    dropped, unused = [], []
    for tensor in source.tensors:
        if tensor not in taken:
            leaf = paths.get(names.get(tensor, ""))
            why = reasons.get(tensor) or ("its leaf stays fresh" if leaf in stay_fresh else "")
            found = Unused(tensor, why) if why else _unused(tensor, leaf, table, named, paths, until)
            dropped.append(found) if found else unused.append(tensor)
    has_head = config.classes > 0
    plan = Plan(
        table,
        config,
        tuple(filled),
        tuple(dropped),
        tuple(sorted(stay_fresh)),
        named.prefix,
        named.by,
        named.copies,
        own.rows if has_head else (),
        own.describe() if has_head or own.left else "",
    )
    return Survey(plan, named.ambiguous, tuple(missing), tuple(unused), tuple(faults))


def _fit_config(
    full: ModelConfig, expected: Expected, tensors: Mapping[str, Tensor], until: str | None, head: bool
) -> ModelConfig:
    """Take the number of classes and of the input's channels from the source."""
    config = replace(full, until=until)
    stem = build_model(full).base.stage_names[0]
    for path, (name, rule) in expected.items():
        if name in tensors and re.fullmatch(f"params/base/{stem}/(conv/)?kernel", path):
            shape = leaf_shape(rule.transform, tensors[name].shape)
            if shape and len(shape) > 1 and shape[-2]:
                config = replace(config, input_shape=(*config.input_shape[:2], shape[-2]))
    own_head = [name for path, (name, _) in expected.items() if path.startswith("params/head/") and name in tensors]
    if until is not None or not head or not own_head:
        return replace(config, classes=0, hidden=(), pool=architecture_named(config.architecture).pool)
    logits = tensors.get(expected["params/head/logits/bias"][0])
    if logits is None or not logits.shape or not math.prod(logits.shape):  # a bias that counts no classes
        return config
    return replace(config, classes=logits.shape[0])


def faults_of(match: Match) -> list[str]:
    """Say why a tensor cannot fill its leaf."""
    tensor, name = match.tensor, match.tensor.name
    if tensor.dtype not in FLOATS:
        return [
            f"{name!r} holds {tensor.dtype}: quantized or whole numbers are not weights, convert them to float first"
        ]
    made = match.made
    if made == match.shape:
        return []
    return [f"{name!r} has shape {tensor.shape}, which makes {made or 'nothing'} where {match.path!r} is {match.shape}"]


def _unused(
    tensor: str, path: str | None, table: Table, named: Named, paths: Collection[str], until: str | None
) -> Unused | None:
    """Say why a tensor that fills no leaf is of no use, or None where nobody said so; `path` is its leaf's."""
    for copy in named.copies:
        below = container(copy, named.prefix)
        if tensor in paths if not copy else tensor.startswith(below) and not named.prefix.startswith(below):
            return Unused(tensor, f"of the same network once more, under {copy!r}")
    rule = beside(tensor, (*table.ignored, *BESIDE))
    if rule:
        return Unused(tensor, rule.reason, rule.kept and tensor.startswith(named.prefix) and until is None)
    if path is None:
        return None
    if path.startswith("params/head/"):
        return Unused(tensor, "of the head, which was not asked for")
    return Unused(tensor, f"of a stage above {until}")


def beside(tensor: str, rules: Iterable[Ignored] = BESIDE) -> Ignored | None:
    """Return the rule by which a tensor stands beside a network's weights, below any prefix; None where none does.

    >>> beside("module.bn1.num_batches_tracked").reason
    'a counter of batches, of no use in inference'
    """
    return next((rule for rule in rules if re.fullmatch(rf"(.*\.)?({rule.pattern})", tensor)), None)


def _refuse(source: Source, survey: Survey) -> None:
    """Raise `WeightsError` with everything that speaks against a plan."""
    table, faults = survey.plan.table, list(survey.faults)
    if survey.ambiguous:
        places = [start.removesuffix(".") for start in (survey.plan.prefix, *survey.plan.copies)]
        options = " or ".join(f"--prefix {place or repr('')}" for place in places[:6])
        raise WeightsError(
            f"{source.path}: holds {table.name} {len(places)} times, under {quote(places, 6)}: choose one (tlx convert "
            f"{options})"
        )
    if not any("/base/" in match.path for match in survey.plan.matches):
        raise WeightsError(
            f"{source.path}: no tensor of {table.name} is in it: it holds {quote(source.tensors, 6)}; "
            "name what it is with --arch"
        )
    if survey.missing:
        faults.insert(0, f"{len(survey.missing)} tensors are missing: {quote(survey.missing, MOST)}")
    if survey.unused:
        faults.append(f"{len(survey.unused)} tensors have no use: {quote(survey.unused, MOST)} (--ignore PATTERN)")
    if faults:
        if survey.missing or survey.unused:
            cause = f"it looks like {whose}" if (whose := stranger(source.tensors)) else ""
        else:
            cause = likely_variant((match.made, match.shape) for match in survey.plan.matches if match.made)
        if cause:
            faults = [f"{cause}: tlx has no table of it", *faults[:6]]
        shown = "; ".join(faults[:MOST]) + (f"; and {len(faults) - MOST} more" if len(faults) > MOST else "")
        cure = "; a file that ends early fills a base that is cut (--until STAGE)" if survey.missing else ""
        raise WeightsError(f"{source.path}: does not fit {table.name}: {shown}{cure}")
