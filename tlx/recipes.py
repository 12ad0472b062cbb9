"""Recipes: the ways to transfer that the field uses, as tuples of phases.

Each takes `stages`, the names of the base's stages that own parameters, first to last (`tlx.Pretrained.stages`).
`patience` and `monitor` go into every phase, `norms` into those that thaw the base (`tlx.Phase`): by default its batch
norms keep the statistics that came with the weights, which a few small batches of other pictures would only spoil
(F. Chollet, Transfer learning and fine-tuning, keras.io, 2020).
"""

from collections.abc import Sequence

from tlx.errors import ConfigError, suggestion
from tlx.optim.groups import Group
from tlx.optim.layer_decay import layer_decay as decay_by_layer
from tlx.optim.phases import Monitor, Norms, Phase, Recipe
from tlx.optim.schedules import Constant
from tlx.tree.labels import FROZEN
from tlx.tree.paths import quote

HEAD = Group(Constant(1e-3))
BASE = Group(Constant(1e-4))


def probe(
    stages: Sequence[str],
    *,
    epochs: int = 20,
    head: Group = HEAD,
    patience: int | None = None,
    monitor: Monitor = "val_loss",
) -> Recipe:
    """Train the head alone on frozen features: one phase.

    A linear head that is fitted without augmentation is had sooner, and its regularisation with it, by
    `tlx.linear_probe`, which solves for it.

    >>> [(phase.name, phase.rules) for phase in probe(["conv1", "conv2"])]
    [('head', (('base', 'frozen'), ('head', 'head')))]
    """
    return (Phase("head", epochs, (("base", FROZEN), ("head", "head")), {"head": head}, patience, monitor),)


def finetune(
    stages: Sequence[str],
    *,
    head_epochs: int = 20,
    base_epochs: int = 20,
    head: Group = HEAD,
    base: Group = BASE,
    thaw_from: str | None = None,
    layer_decay: float = 1.0,
    patience: int | None = None,
    monitor: Monitor = "val_loss",
    norms: Norms = "stored",
) -> Recipe:
    """Train the head alone, then the base with it, from stage `thaw_from` upward (None: all of it), at a lower rate.

    >>> [(phase.name, phase.rules) for phase in finetune(["conv1", "conv2"], thaw_from="conv2")]
    [('head', (('base', 'frozen'), ('head', 'head'))),
     ('conv2 and up', (('base/conv1', 'frozen'), ('base/conv2', 'base'), ('head', 'head')))]
    """
    first = _lowest(stages) if thaw_from is None else thaw_from
    return (
        *probe(stages, epochs=head_epochs, head=head, patience=patience, monitor=monitor),
        _thawed(stages, first, base_epochs, head, base, layer_decay, patience, monitor, norms),
    )


def gradual(
    stages: Sequence[str],
    *,
    head_epochs: int = 20,
    stage_epochs: int = 5,
    head: Group = HEAD,
    base: Group = BASE,
    layer_decay: float = 1.0,
    patience: int | None = None,
    monitor: Monitor = "val_loss",
    norms: Norms = "stored",
) -> Recipe:
    """Train the head alone, then thaw the base stage by stage from the top, a phase each.

    (J. Howard and S. Ruder, ULMFiT, 2018, "gradual unfreezing".)

    >>> [phase.name for phase in gradual(["conv1", "conv2", "conv3"])]
    ['head', 'conv3 and up', 'conv2 and up', 'all']
    """
    return (
        *probe(stages, epochs=head_epochs, head=head, patience=patience, monitor=monitor),
        *(
            _thawed(stages, first, stage_epochs, head, base, layer_decay, patience, monitor, norms)
            for first in reversed(stages)
        ),
    )


def full(
    stages: Sequence[str],
    *,
    epochs: int = 20,
    head: Group = HEAD,
    base: Group = BASE,
    layer_decay: float = 1.0,
    patience: int | None = None,
    monitor: Monitor = "val_loss",
    norms: Norms = "stored",
) -> Recipe:
    """Train base and head together from the pretrained weights: one phase.

    >>> [phase.rules for phase in full(["conv1", "conv2"])]
    [(('base', 'base'), ('head', 'head'))]
    """
    return (_thawed(stages, _lowest(stages), epochs, head, base, layer_decay, patience, monitor, norms),)


def scratch(
    stages: Sequence[str],
    *,
    epochs: int = 20,
    group: Group = HEAD,
    patience: int | None = None,
    monitor: Monitor = "val_loss",
) -> Recipe:
    """Train everything from fresh weights: one phase, the baseline that transfer is measured against.

    All parameters are initialised anew, whatever they were: to train on, use `further`.

    >>> [(phase.rules, phase.fresh) for phase in scratch(["conv1"])]
    [((('**', 'all'),), ('**',))]
    """
    return (Phase("scratch", epochs, (("**", "all"),), {"all": group}, patience, monitor, fresh=("**",)),)


def further(
    stages: Sequence[str],
    *,
    epochs: int = 20,
    group: Group = HEAD,
    patience: int | None = None,
    monitor: Monitor = "val_loss",
) -> Recipe:
    """Train everything on from the weights as they are, as `scratch` would from fresh ones: one phase.

    Its batch norms take the statistics of each batch. For pretrained weights `full` is the careful way.

    >>> [(phase.rules, phase.fresh) for phase in further(["conv1"])]
    [((('**', 'all'),), ())]
    """
    return (Phase("all", epochs, (("**", "all"),), {"all": group}, patience, monitor),)


def _lowest(stages: Sequence[str]) -> str:
    if not stages:
        raise ConfigError("no stages: give those of the base that own parameters (tlx.Pretrained.stages)")
    return stages[0]


def _thawed(
    stages: Sequence[str],
    first: str,
    epochs: int,
    head: Group,
    base: Group,
    decay: float,
    patience: int | None,
    monitor: Monitor,
    norms: Norms,
) -> Phase:
    """Build the phase that trains the head and the base from stage `first` upward."""
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
    groups = {**groups, "head": head}
    return Phase(name, epochs, (*frozen, *rules, ("head", "head")), groups, patience, monitor, norms=norms)


RECIPES = {"probe": probe, "finetune": finetune, "gradual": gradual, "full": full, "scratch": scratch}
