"""Recipes: the ways to transfer that the field uses, as tuples of phases.

Each takes `stages`: a `tlx.Pretrained`, or the names of its stages that own parameters, first to last
(`tlx.Pretrained.stages`). `patience` and `monitor` (`Stopping`) go into every phase, `norms` into those that thaw the
base (`tlx.Phase`): by default its batch norms keep the statistics that came with the weights, which a few small batches
of other examples would only spoil (F. Chollet, Transfer learning and fine-tuning, keras.io, 2020). The base's group is
by default Adam at a rate of 1e-4, and of 1e-5 for a `Pretrained` of a million parameters or more; for one of texts
5e-5, for 3 epochs, rising over a tenth of the steps and falling to zero, as BERT's are (Devlin et al. 2018: 2e-5 to
5e-5, 2 to 4 epochs). The command line has the same defaults.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol, TypedDict, Unpack

from tlx.errors import ConfigError, suggestion
from tlx.optim.groups import Group
from tlx.optim.layer_decay import layer_decay as decay_by_layer
from tlx.optim.phases import Monitor, Norms, Phase, Recipe
from tlx.optim.schedules import Constant, Linear
from tlx.tree.labels import FROZEN
from tlx.tree.paths import flatten, quote

HEAD = Group(Constant(1e-3))
BASE, LARGE_BASE = Group(Constant(1e-4)), Group(Constant(1e-5))
TEXT_BASE = Group(Linear(5e-5, warmup=0.1))
LARGE = 1_000_000  # parameters, from which on a base trains slower
EPOCHS = 30  # of the head alone, and of the base with it
TEXT_EPOCHS = 3  # of a large base of texts with its head
PATIENCE = 5


class Stopping(TypedDict, total=False):
    """When a phase stops early, as `tlx.Phase` has it; by default after 5 epochs without a lower validation loss."""

    patience: int | None
    monitor: Monitor


def _early(stopping: Stopping) -> Stopping:
    return {"patience": PATIENCE, **stopping}


class HasStages(Protocol):
    """What a recipe looks at of a `tlx.Pretrained`."""

    @property
    def stages(self) -> tuple[str, ...]: ...

    @property
    def variables(self) -> Any: ...


Stages = Sequence[str] | HasStages


def names_of(stages: Stages) -> Sequence[str]:
    """Return the names of the stages of a base, or those given.

    >>> names_of(["conv1", "conv2"])
    ['conv1', 'conv2']
    """
    if isinstance(stages, str):
        raise ConfigError(f"stages: {stages!r} is one string; give a tlx.Pretrained, or the names of its stages")
    return stages if isinstance(stages, Sequence) else stages.stages


def has_no_parameters(stages: Stages) -> bool:
    """Tell whether a base has none to train, as that of vectors (`tlx.vector_base`)."""
    return not isinstance(stages, Sequence) and not stages.stages


def base_group(stages: Stages) -> Group:
    """Return the group that a base trains in by default, by its size."""
    if not _is_large(stages):
        return BASE
    return TEXT_BASE if _takes_text(stages) else LARGE_BASE


def thawed_epochs(stages: Stages) -> int:
    """Return for how many epochs a base trains with its head by default.

    >>> thawed_epochs(["conv1"])
    30
    """
    return TEXT_EPOCHS if _is_large(stages) and _takes_text(stages) else EPOCHS


def _is_large(stages: Stages) -> bool:
    if isinstance(stages, Sequence):
        return False
    return sum(leaf.size for leaf in flatten(stages.variables).values()) >= LARGE


def _takes_text(stages: Stages) -> bool:
    return bool(getattr(getattr(stages, "preprocess", None), "takes_text", False))


def probe(
    stages: Stages,
    *,
    epochs: int = EPOCHS,
    head: Group = HEAD,
    **stopping: Unpack[Stopping],
) -> Recipe:
    """Train the head alone on frozen features: one phase.

    A linear head that is fitted without augmentation is had sooner, and its regularisation with it, by
    `tlx.linear_probe`, which solves for it.

    >>> [(phase.name, phase.rules) for phase in probe(["conv1", "conv2"])]
    [('head', (('base', 'frozen'), ('head', 'head')))]
    """
    rules: tuple[tuple[str, str], ...] = (("base", FROZEN), ("head", "head"))
    if has_no_parameters(stages):
        rules = rules[1:]
    return (Phase("head", epochs, rules, {"head": head}, **_early(stopping)),)


def finetune(
    stages: Stages,
    *,
    head_epochs: int = EPOCHS,
    base_epochs: int | None = None,
    head: Group = HEAD,
    base: Group | None = None,
    thaw_from: str | None = None,
    layer_decay: float = 1.0,
    norms: Norms = "stored",
    **stopping: Unpack[Stopping],
) -> Recipe:
    """Train the head alone, then the base with it, from stage `thaw_from` upward (None: all of it), at a lower rate.

    Of a base without parameters (`tlx.vector_base`) the head alone is trained.

    >>> [(phase.name, phase.rules) for phase in finetune(["conv1", "conv2"], thaw_from="conv2")]
    [('head', (('base', 'frozen'), ('head', 'head'))),
     ('conv2 and up', (('base/conv1', 'frozen'), ('base/conv2', 'base'), ('head', 'head')))]
    """
    alone = probe(stages, epochs=head_epochs, head=head, **stopping)
    if has_no_parameters(stages) and thaw_from is None:
        return alone
    names = names_of(stages)
    first = _lowest(names) if thaw_from is None else thaw_from
    epochs = thawed_epochs(stages) if base_epochs is None else base_epochs
    return (*alone, _thawed(alone[0], names, first, epochs, base or base_group(stages), layer_decay, norms))


def gradual(
    stages: Stages,
    *,
    head_epochs: int = EPOCHS,
    stage_epochs: int | None = None,
    head: Group = HEAD,
    base: Group | None = None,
    layer_decay: float = 1.0,
    norms: Norms = "stored",
    **stopping: Unpack[Stopping],
) -> Recipe:
    """Train the head alone, then thaw the base stage by stage from the top, a phase each.

    (J. Howard and S. Ruder, ULMFiT, 2018, "gradual unfreezing".)

    >>> [phase.name for phase in gradual(["conv1", "conv2", "conv3"])]
    ['head', 'conv3 and up', 'conv2 and up', 'all']
    """
    names, base = names_of(stages), base or base_group(stages)
    alone = probe(names, epochs=head_epochs, head=head, **stopping)
    epochs = thawed_epochs(stages) if stage_epochs is None else stage_epochs
    thawed = [_thawed(alone[0], names, first, epochs, base, layer_decay, norms) for first in reversed(names)]
    return (*alone, *thawed)


def full(
    stages: Stages,
    *,
    epochs: int = 2 * EPOCHS,
    head: Group = HEAD,
    base: Group | None = None,
    layer_decay: float = 1.0,
    norms: Norms = "stored",
    **stopping: Unpack[Stopping],
) -> Recipe:
    """Train base and head together from the pretrained weights: one phase.

    >>> [phase.rules for phase in full(["conv1", "conv2"])]
    [(('base', 'base'), ('head', 'head'))]
    """
    names = names_of(stages)
    alone = probe(names, epochs=epochs, head=head, **stopping)
    return (_thawed(alone[0], names, _lowest(names), epochs, base or base_group(stages), layer_decay, norms),)


def scratch(
    stages: Stages,
    *,
    epochs: int = 2 * EPOCHS,
    group: Group = HEAD,
    **stopping: Unpack[Stopping],
) -> Recipe:
    """Train everything from fresh weights: one phase, the baseline that transfer is measured against.

    All parameters are initialised anew, whatever they were: to train on, use `further`.

    >>> [(phase.rules, phase.fresh) for phase in scratch(["conv1"])]
    [((('**', 'all'),), ('**',))]
    """
    return (Phase("scratch", epochs, (("**", "all"),), {"all": group}, **_early(stopping), fresh=("**",)),)


def further(
    stages: Stages,
    *,
    epochs: int = 2 * EPOCHS,
    group: Group = HEAD,
    **stopping: Unpack[Stopping],
) -> Recipe:
    """Train everything on from the weights as they are, as `scratch` would from fresh ones: one phase.

    Its batch norms take the statistics of each batch. For pretrained weights `full` is the careful way.

    >>> [(phase.rules, phase.fresh) for phase in further(["conv1"])]
    [((('**', 'all'),), ())]
    """
    return (Phase("all", epochs, (("**", "all"),), {"all": group}, **_early(stopping)),)


def _lowest(stages: Sequence[str]) -> str:
    if not stages:
        raise ConfigError("no stages: give those of the base that own parameters (tlx.Pretrained.stages)")
    return stages[0]


def _thawed(
    alone: Phase, stages: Sequence[str], first: str, epochs: int, base: Group, decay: float, norms: Norms
) -> Phase:
    """Build the phase that trains the head as the phase `alone` does, and the base from stage `first` upward."""
    if first not in stages:
        hint = suggestion(first, stages)
        raise ConfigError(f"no stage {first!r} to thaw from{hint}: the stages are {quote(stages, 40)}")
    index = list(stages).index(first)
    below, thawed = stages[:index], stages[index:]
    if decay != 1.0:
        rules, groups = decay_by_layer(thawed, base, decay)
    else:
        rules = (("base", "base"),) if not below else tuple((f"base/{stage}", "base") for stage in thawed)
        groups = {"base": base}
    frozen = tuple((f"base/{stage}", FROZEN) for stage in below)
    name = f"{first} and up" if below else "all"
    groups = {**groups, "head": alone.groups["head"]}
    return replace(
        alone, name=name, epochs=epochs, rules=(*frozen, *rules, ("head", "head")), groups=groups, norms=norms
    )


RECIPES = {"probe": probe, "finetune": finetune, "gradual": gradual, "full": full, "scratch": scratch}
