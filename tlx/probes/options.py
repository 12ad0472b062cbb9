"""The options of a probe: how heads are fitted, and what to."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, get_args

from tlx.data.inputs import InputSpec, check_inputs_spec
from tlx.errors import ConfigError, check_choice
from tlx.models.head import Pool
from tlx.probes.problem import Method
from tlx.probes.standard import Scale, check_path
from tlx.training.cache_options import ActivationCache

L2 = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)


@dataclass(frozen=True)
class ProbeOptions:
    """What `tlx.linear_probe` takes beside base and data.

    Args:
        method: "lbfgs", softmax regression of classes and a logistic regression for each of several labels; or "ridge",
            least squares, which is quicker and often less accurate, and the only one for numbers. None takes lbfgs, and
            ridge for numbers.
        l2: the path of regularisation: weights of half the sum of the kernel's squares beside the mean loss. The best
            on validation is taken.
        shots: of classes, fit to so many examples of each, too, for each of these numbers.
        draws: how often these are drawn.
        scale: what features are divided by, once they are centred: "common", one number, so that the path means the
            same for every base; or "each" its own deviation, which is noise where examples are few.
        max_iterations: with lbfgs, of one fit.
        pool: how the head takes features; None as suits the base.
        preprocess: the input spec; None takes the base's own.
        workers: threads that prepare batches; None takes as many as suit.
        cache: where the features are kept (`tlx.ActivationCache`).

    Raises:
        ConfigError: for what none of it can be.

    >>> ProbeOptions(l2=(0.1, 1.0)).draws
    5
    """

    method: Method | None = None
    l2: Sequence[float] = L2
    shots: Sequence[int] = ()
    draws: int = 5
    scale: Scale = "common"
    max_iterations: int = 1000
    pool: Pool | None = None
    preprocess: InputSpec | None = None
    workers: int | None = None
    cache: ActivationCache = field(default_factory=ActivationCache)

    def __post_init__(self) -> None:
        if self.method is not None:
            check_choice("method", self.method, get_args(Method))
        check_choice("scale", self.scale, get_args(Scale))
        given = (self.l2,) if isinstance(self.l2, int | float) else self.l2
        object.__setattr__(self, "l2", tuple(map(float, given)))
        check_path(tuple(self.l2))
        object.__setattr__(self, "shots", tuple(self.shots))
        if any(isinstance(each, bool) or not isinstance(each, int) or each < 1 for each in (*self.shots, self.draws)):
            raise ConfigError(f"shots={tuple(self.shots)} and draws={self.draws}: give integers of 1 or more")
        if len(set(self.shots)) < len(self.shots):
            raise ConfigError(f"shots: {tuple(self.shots)} holds a number twice: give different ones")
        if self.preprocess is not None:
            check_inputs_spec(self.preprocess)


def as_probe_options(options: Any) -> ProbeOptions:
    """Return the options given, or the defaults for None; raise `ConfigError` for something else."""
    if options is None:
        return ProbeOptions()
    if isinstance(options, ProbeOptions):
        return options
    named = ", ".join(f"{each.name}=..." for each in fields(ProbeOptions)[:2])
    raise ConfigError(f"options: {type(options).__name__}, expected tlx.ProbeOptions({named})")
