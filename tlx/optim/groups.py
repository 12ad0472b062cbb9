"""Groups: one optimizer for each label, put together as one optax transformation."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax

from tlx.errors import ConfigError, check_not_negative, check_positive
from tlx.optim.brief import brief
from tlx.optim.optimizers import Adam, Sgd
from tlx.optim.schedules import Schedule, build_schedule
from tlx.tree.labels import FROZEN
from tlx.tree.paths import Tree, flatten, map_with_path, matches, quote

ADAM = Adam()
NO_DECAY = ("**/bias", "**/scale")


@dataclass(frozen=True, repr=False)
class Group:
    """Say how the leaves of one label train: optimizer, learning rate, weight decay, clipping.

    The optimizer is one of `Sgd`, `Adam` and `AdamW`, or any `optax.GradientTransformation`. As in optax there are two
    kinds of these. What scales by a learning rate itself, as the optimizers of optax do, stands alone:
    `Group(optax.lion(1e-4))`. What knows no rate, as `optax.scale_by_adam()`, goes with a schedule, which tlx applies
    after it, so that `Group(schedule, optax.scale_by_adam())` is `optax.adam(schedule)`.

    A schedule counts the steps of its phase, and so do those inside of a transformation; all other state goes on from
    phase to phase, by path. Leaves that thaw into a running group begin with a state of their own: what a
    transformation computes over all leaves (`optax.clip_by_global_norm`), it computes over those that share a state;
    `clip_norm` counts the whole group.

    Args:
        schedule: the learning rate: one of `tlx.schedules`, or a function from the step within the phase (an int32
            scalar) to the rate, such as optax's schedules. None with an optimizer that has a rate of its own; such a
            one may stand in its place.
        optimizer: what makes an update of a gradient.
        weight_decay: how much of each leaf joins the gradient (`Sgd`, `Adam`) or the update before the rate (`AdamW`
            and optax's transformations: decoupled). With an optimizer that has a rate of its own it must be 0.
        clip_norm: a bound on the norm of the group's gradient taken together, before the optimizer sees it; none of
            another group's leaves count in it.
        no_decay: patterns of the leaves that `weight_decay` spares: biases and the scales of norms by default.

    Raises:
        ConfigError: for what none of these can be, and for a rate or a weight decay that the optimizer does not take.

    >>> from tlx.optim.schedules import Constant
    >>> Group(Constant(1e-4), optax.scale_by_lion(), weight_decay=0.01).schedule
    Constant(rate=0.0001)
    >>> Group(optax.sgd(0.1))
    Group(optimizer=chain(identity(), scale(step_size=-0.1)))
    """

    schedule: Schedule | optax.Schedule | optax.GradientTransformation | None = None
    optimizer: Sgd | Adam | optax.GradientTransformation = ADAM
    weight_decay: float = 0.0
    clip_norm: float | None = None
    no_decay: tuple[str, ...] = NO_DECAY

    __repr__ = brief

    def __post_init__(self) -> None:
        if isinstance(self.schedule, optax.GradientTransformation):  # Group(optax.lion(1e-4))
            if self.optimizer is not ADAM:
                raise ConfigError("Group: two optimizers: give a schedule and one, or one with a rate of its own alone")
            object.__setattr__(self, "optimizer", self.schedule)
            object.__setattr__(self, "schedule", None)
        self._check_kinds()
        check_not_negative(self, weight_decay=self.weight_decay)
        object.__setattr__(self, "no_decay", tuple(self.no_decay))
        if self.clip_norm is not None:
            check_positive(self, clip_norm=self.clip_norm)

    def _check_kinds(self) -> None:
        """Raise `ConfigError` for what is no schedule or no optimizer, and for two that do not go together."""
        named = isinstance(self.optimizer, Sgd | Adam)
        if not (named or isinstance(self.optimizer, optax.GradientTransformation)):
            raise ConfigError(
                "Group: the optimizer must be a tlx.optim.Sgd, Adam or AdamW or an optax.GradientTransformation, not "
                f"{self.optimizer!r:.80}"
            )
        if self.schedule is None and named:
            raise ConfigError(f"Group: {self.optimizer!r} needs a learning rate: Group(Constant(1e-3), ...)")
        known = self.schedule is None or isinstance(self.schedule, Schedule)
        if not known and (isinstance(self.schedule, type) or not callable(self.schedule)):
            raise ConfigError(
                "Group: the schedule must be one of tlx.optim's, such as Constant(1e-3), or a function of the step, "
                f"not {self.schedule!r:.80}"
            )
        if self.schedule is None and self.weight_decay:
            raise ConfigError(
                "Group: weight_decay goes with a schedule, whose rate scales it: this optimizer has a rate of its own, "
                "so give the decay to it, as in optax.lion(1e-4, weight_decay=0.1)"
            )
        try:
            hash((self.schedule, self.optimizer))  # equal groups share a compiled step
        except TypeError as error:
            raise ConfigError(
                f"Group: a schedule or optimizer cannot be hashed ({error}): if it is of a class of your own, make "
                "this a frozen dataclass"
            ) from None

    @property
    def decoupled(self) -> bool:
        """Tell whether weight decay joins the update, and not the gradient."""
        return not isinstance(self.optimizer, Sgd | Adam) or self.optimizer.decoupled

    def transform(self) -> optax.GradientTransformation:
        """Build what makes an update of a gradient, with its rate if it has one of its own."""
        return self.optimizer.transform() if isinstance(self.optimizer, Sgd | Adam) else self.optimizer

    def rate(self, steps: int) -> optax.Schedule | None:
        """Build the function from step to learning rate, for a phase of so many steps; None without a schedule."""
        if self.schedule is None:
            return None
        assert not isinstance(self.schedule, optax.GradientTransformation)
        return build_schedule(self.schedule, steps)


class GroupsState(NamedTuple):
    """The state of an `optimizer`: of what comes before the groups' optimizers, of these, and of what comes after.

    `cohorts` holds a state for each cohort of leaves, by its name (`cohort_names`).
    """

    before: optax.OptState
    cohorts: dict[str, optax.OptState]
    after: optax.OptState


def optimizer(
    labels: Tree, groups: Mapping[str, Group], steps: int, ranks: Mapping[str, int] | None = None
) -> optax.GradientTransformationExtraArgs:
    """Build the optimizer of a label tree: zero updates for 'frozen' leaves, each other label's group for its own.

    The zeros are negative, for that is the number whose addition changes no bit: 0.0 would turn -0.0 into 0.0.

    Args:
        labels: a tree of labels with the structure of the parameters that the optimizer will see (None where they have
            None, as `tlx.tree.partition` leaves them).
        groups: a group for each label but 'frozen'.
        steps: the length of the phase.
        ranks: which leaves of a label share an optimizer's state, by path: those of one number. By default all do; a
            leaf that thaws into a running group has step counts, and so Adam's bias correction, of its own
            (`tlx.optim.cohorts_of`).

    Returns:
        A transformation whose state is a `GroupsState`. What its `update` is given by name, it hands to every group.

    Raises:
        ConfigError: for labels without a group and groups without a leaf, and for a warm-up longer than the phase.

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
    names = cohort_names(labels, ranks or {})
    before = _by_label({label: _before(group) for label, group in groups.items()}, labels)
    after = _by_label({label: _after(group, steps) for label, group in groups.items()}, labels)
    cohorts = {
        name: (frozenset(paths), optax.with_extra_args_support(groups[label].transform()))
        for (name, label), paths in names.items()
    }

    def init(params: Tree) -> GroupsState:
        states = {name: tx.init(only(params, paths)) for name, (paths, tx) in cohorts.items()}
        return GroupsState(before.init(params), states, after.init(params))

    def update(updates: Tree, state: GroupsState, params: Tree = None, **extra: Any) -> tuple[Tree, GroupsState]:
        updates, before_ = before.update(updates, state.before, params, **extra)
        states = {}
        for name, (paths, tx) in cohorts.items():
            given = None if params is None else only(params, paths)
            made, states[name] = tx.update(only(updates, paths), state.cohorts[name], given, **extra)
            updates = _merged(updates, made, paths)
        updates, after_ = after.update(updates, state.after, params, **extra)
        return updates, GroupsState(before_, states, after_)

    return optax.GradientTransformationExtraArgs(init, update)


def only(tree: Tree, paths: Collection[str]) -> Tree:
    """Leave the leaves at some paths in a tree, and optax's sign of a leaf that is not there in the place of others.

    A transformation thus sees the structure of the whole tree, for which a user may have made its masks, and no leaf of
    another group.

    >>> only({"base": 1.0, "head": 2.0}, {"head"})
    {'base': MaskedNode(), 'head': 2.0}
    """
    return map_with_path(lambda path, leaf: leaf if path in paths else optax.MaskedNode(), tree)


def _merged(old: Tree, new: Tree, paths: Collection[str]) -> Tree:
    """Take the leaves at some paths from another tree; the inverse of `only`."""
    return map_with_path(lambda path, kept, made: made if path in paths else kept, old, new)


def cohort_names(labels: Tree, ranks: Mapping[str, int]) -> dict[tuple[str, str], list[str]]:
    """List the paths of each cohort, which are the leaves of one label and rank, by the cohort's name and its label.

    >>> cohort_names({"a": "frozen", "b": "x", "c": "x"}, {"c": 1})
    {('x@0', 'x'): ['b'], ('x@1', 'x'): ['c']}
    """
    cohorts: dict[tuple[str, str], list[str]] = {}
    for path, label in flatten(labels).items():
        if label is not None and label != FROZEN:
            cohorts.setdefault((f"{label}@{ranks.get(path, 0)}", label), []).append(path)
    return dict(sorted(cohorts.items()))


_HOLD = optax.stateless_with_tree_map(lambda update, _: jnp.full_like(update, -0.0))


def _by_label(chains: dict[str, optax.GradientTransformation], labels: Tree) -> optax.GradientTransformationExtraArgs:
    return optax.multi_transform({**chains, FROZEN: _HOLD}, labels)


def _before(group: Group) -> optax.GradientTransformation:
    """What happens to a group's gradient before its optimizer sees it."""
    clip = optax.identity() if group.clip_norm is None else optax.clip_by_global_norm(group.clip_norm)
    return clip if group.decoupled else optax.chain(clip, _decay(group))


def _after(group: Group, steps: int) -> optax.GradientTransformation:
    """What happens to a group's update after its optimizer has made it."""
    schedule = group.rate(steps)
    if schedule is None:
        return optax.identity()
    rate = optax.scale_by_learning_rate(schedule)
    return optax.chain(_decay(group), rate) if group.decoupled else rate


def _decay(group: Group) -> optax.GradientTransformation:
    if not group.weight_decay:
        return optax.identity()

    def decays(path: str, leaf: Any) -> Any:
        is_leaf = hasattr(leaf, "dtype")  # optax leaves a MaskedNode where another label has the leaf
        return not any(matches(pattern, path) for pattern in group.no_decay) if is_leaf else leaf

    return optax.add_decayed_weights(group.weight_decay, lambda params: map_with_path(decays, params))
