"""Groups: one optimizer for each label, put together as an `optax.multi_transform`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
import optax

from tlx.errors import ConfigError, check_flags
from tlx.optim.brief import brief
from tlx.optim.schedules import Schedule, build_schedule, check_fraction, check_not_negative, check_positive
from tlx.tree.labels import FROZEN
from tlx.tree.paths import Tree, flatten, map_with_path, matches, quote

NO_DECAY = ("**/bias", "**/scale")


@dataclass(frozen=True, repr=False)
class Sgd:
    """Stochastic gradient descent with momentum, Nesterov's by choice; weight decay joins the gradient."""

    momentum: float = 0.9
    nesterov: bool = False
    slots: ClassVar[tuple[str, ...]] = ("trace",)
    decoupled: ClassVar[bool] = False

    __repr__ = brief

    def __post_init__(self) -> None:
        check_fraction(self, momentum=self.momentum)
        check_flags(nesterov=self.nesterov)

    def transform(self) -> optax.GradientTransformation:
        return optax.trace(self.momentum, nesterov=self.nesterov)


@dataclass(frozen=True, repr=False)
class Adam:
    """Adam (D. Kingma and J. Ba, 2015); weight decay joins the gradient."""

    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    slots: ClassVar[tuple[str, ...]] = ("mu", "nu")
    decoupled: ClassVar[bool] = False

    __repr__ = brief

    def __post_init__(self) -> None:
        check_fraction(self, b1=self.b1, b2=self.b2)
        check_positive(self, eps=self.eps)

    def transform(self) -> optax.GradientTransformation:
        return optax.scale_by_adam(self.b1, self.b2, self.eps)


@dataclass(frozen=True, repr=False)
class AdamW(Adam):
    """Adam with decoupled weight decay (I. Loshchilov and F. Hutter, 2019)."""

    decoupled: ClassVar[bool] = True


@dataclass(frozen=True, repr=False)
class Group:
    """How the leaves of one label train: optimizer, schedule, weight decay, clipping.

    `clip_norm` bounds the norm of the group's gradient taken together (none of another group's leaves count in it).
    `weight_decay` spares the leaves that a pattern of `no_decay` selects: biases and the scales of norms.
    """

    schedule: Schedule
    optimizer: Sgd | Adam = Adam()
    weight_decay: float = 0.0
    clip_norm: float | None = None
    no_decay: tuple[str, ...] = NO_DECAY

    __repr__ = brief

    def __post_init__(self) -> None:
        if not isinstance(self.schedule, Schedule):
            raise ConfigError(
                f"Group: the schedule must be one of tlx.optim's, such as Constant(1e-3), not {self.schedule!r:.80}"
            )
        if not isinstance(self.optimizer, Sgd | Adam):
            raise ConfigError(
                f"Group: the optimizer must be a tlx.optim.Sgd, Adam or AdamW, not {self.optimizer!r:.80}"
            )
        check_not_negative(self, weight_decay=self.weight_decay)
        object.__setattr__(self, "no_decay", tuple(self.no_decay))
        if self.clip_norm is not None:
            check_positive(self, clip_norm=self.clip_norm)


def optimizer(
    labels: Tree, groups: Mapping[str, Group], steps: int, ages: Mapping[str, int] | None = None
) -> optax.GradientTransformation:
    """Build the optimizer of a label tree: zero updates for 'frozen' leaves, each other label's group for its own.

    The zeros are negative, for that is the number whose addition changes no bit: 0.0 would turn -0.0 into 0.0.

    `labels` has the structure of the parameters that the optimizer will see (None where they have None, as
    `tlx.tree.partition` leaves them); `steps` is the length of the phase. `ages` says for how many steps each path has
    trained before, for state kept from an earlier phase (`tlx.optim.install`); leaves of one group that differ in age
    have step counts, and so Adam's bias corrections, of their own. Raise `ConfigError` for labels without a group and
    groups without a leaf.

    >>> import jax.numpy as jnp
    >>> from tlx.optim.schedules import Constant
    >>> params = {"base": jnp.ones(2), "head": jnp.ones(2)}
    >>> tx = optimizer({"base": "frozen", "head": "head"}, {"head": Group(Constant(0.1), Sgd(momentum=0.0))}, steps=10)
    >>> updates, _ = tx.update(params, tx.init(params), params)
    >>> print(updates["base"], updates["head"])
    [-0. -0.] [-0.1 -0.1]
    """
    used = {label for label in flatten(labels).values() if label is not None} - {FROZEN}
    if used != set(groups):
        lacking, idle = sorted(used - set(groups)), sorted(set(groups) - used)
        raise ConfigError(
            f"every label needs one group: without a group {quote(lacking)}, without a leaf {quote(idle)}"
        )
    label_of, cohorts = _cohorts(labels, ages or {})
    return optax.chain(
        _by_label({label: _before(group) for label, group in groups.items()}, labels),
        _by_label({cohort: groups[label].optimizer.transform() for cohort, label in label_of.items()}, cohorts),
        _by_label({label: _after(group, steps) for label, group in groups.items()}, labels),
    )


_HOLD = optax.stateless_with_tree_map(lambda update, _: jnp.full_like(update, -0.0))


def _by_label(chains: dict[str, optax.GradientTransformation], labels: Tree) -> optax.GradientTransformation:
    return optax.multi_transform({**chains, FROZEN: _HOLD}, labels)


def _cohorts(labels: Tree, ages: Mapping[str, int]) -> tuple[dict[str, str], Tree]:
    """Split each label into cohorts of one age: a dict from cohort to label, and the tree of cohorts.

    They are named by the order of their ages, not by these, which differ from run to run where one stops early: the
    state's structure, and with it the compiled step, stays the same.
    """
    label_of: dict[str, str] = {}
    ranks = ranked(ages)

    def cohort(path: str, label: str | None) -> str | None:
        if label is None or label == FROZEN:
            return label
        name = f"{label}@{ranks.get(path, 0)}"
        label_of[name] = label
        return name

    return label_of, map_with_path(cohort, labels)


def ranked(ages: Mapping[str, int]) -> dict[str, int]:
    """Replace ages by their order: 0 for what has not trained, 1 for the youngest that has.

    >>> ranked({"a": 0, "b": 70, "c": 20})
    {'a': 0, 'b': 2, 'c': 1}
    """
    order = {age: rank for rank, age in enumerate(sorted({0, *ages.values()}))}
    return {path: order[age] for path, age in ages.items()}


def _before(group: Group) -> optax.GradientTransformation:
    """What happens to a group's gradient before its optimizer sees it."""
    clip = optax.identity() if group.clip_norm is None else optax.clip_by_global_norm(group.clip_norm)
    return clip if group.optimizer.decoupled else optax.chain(clip, _decay(group))


def _after(group: Group, steps: int) -> optax.GradientTransformation:
    """What happens to a group's update after its optimizer has made it."""
    rate = optax.scale_by_learning_rate(build_schedule(group.schedule, steps))
    return optax.chain(_decay(group), rate) if group.optimizer.decoupled else rate


def _decay(group: Group) -> optax.GradientTransformation:
    if not group.weight_decay:
        return optax.identity()

    def decays(path: str, leaf: Any) -> Any:
        is_leaf = hasattr(leaf, "dtype")  # optax leaves a MaskedNode where another label has the leaf
        return not any(matches(pattern, path) for pattern in group.no_decay) if is_leaf else leaf

    return optax.add_decayed_weights(group.weight_decay, lambda params: map_with_path(decays, params))
