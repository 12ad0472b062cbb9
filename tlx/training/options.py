"""The options of a fit: one record, the same for `fit`, `finetune`, `estimate`, the command line and a run's file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from tlx.data.inputs import InputSpec, check_inputs_spec
from tlx.data.pipeline import Feed, Varies
from tlx.devices.parallel import Devices
from tlx.errors import ConfigError, check_flags
from tlx.images.mix import Mixup
from tlx.objectives import Objective
from tlx.training.cache_options import ActivationCache

LARGEST_BATCH = 128


@dataclass(frozen=True)
class TrainOptions:
    """What a fit takes beside model, recipe and data; checked when built.

    Args:
        batch_size: examples a step; None takes a twentieth of the training examples, but at least 20 (all, where they
            are fewer) and at most 128, or 32 for a text model (`default_batch_size`).
        seed: of the order of examples, fresh weights, dropout, augmentation and mixing; from 0 to 2**32 - 1.
        objective: what to train for (`tlx.Objective`), or a function of outputs, batch and key; None goes by what the
            data's targets are: classes, several labels, numbers.
        preprocess: the input spec (`tlx.data.InputSpec`); None takes the model's own.
        augment: how training inputs vary (`tlx.Augment`, or a function of an input and a numpy Generator).
        mix: mixes training inputs in pairs (`tlx.Mixup`).
        balanced: draw from every class equally often.
        workers: threads that prepare batches; None takes as many as suit (`tlx.data.Feed`). Neither their number nor a
            resume changes any input.
        cache: whether and where the activations of frozen stages are kept (`tlx.ActivationCache`).
        accumulate: take a batch in so many parts, one after the other, to spare memory; it must divide the batch.
        remat: keep only what goes from stage to stage for the gradient, and compute the rest again.
        ema: the decay, 0.999 say, of a moving average of what each phase trains, which is validated and kept.
        devices: on which to train, and how (`tlx.Devices`); None takes all that JAX has.

    Raises:
        ConfigError: for what none of it can be.

    >>> TrainOptions(batch_size=64, ema=0.999).seed
    0
    """

    batch_size: int | None = None
    seed: int = 0
    objective: Objective | Callable[..., Any] | None = None
    preprocess: InputSpec | None = None
    augment: Varies | Callable[..., Any] | None = None
    mix: Mixup = field(default_factory=Mixup)
    balanced: bool = False
    workers: int | None = None
    cache: ActivationCache = field(default_factory=ActivationCache)
    accumulate: int = 1
    remat: bool = False
    ema: float | None = None
    devices: Devices = field(default_factory=Devices)

    def __post_init__(self) -> None:
        check_flags(balanced=self.balanced, remat=self.remat)
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 1 << 32:
            raise ConfigError(f"seed must be at least 0 and under 2**32, not {self.seed!r}")
        for name, kind in (("mix", Mixup), ("cache", ActivationCache), ("devices", Devices)):
            value = getattr(self, name)
            if value is None:
                object.__setattr__(self, name, kind())
            elif not isinstance(value, kind):
                raise ConfigError(f"{name}: {value!r:.80} is no tlx.{kind.__name__}")
        self.feed(1 if self.batch_size is None else self.batch_size)  # checks what is its own
        parts, size = self.accumulate, self.batch_size
        if isinstance(parts, bool) or not isinstance(parts, int) or parts < 1 or (size or 0) % parts:
            of = "" if size is None else f" of {size}"
            raise ConfigError(f"accumulate: {parts!r} does not divide a batch{of}; give a divisor of it")
        if self.ema is not None and not 0 < self.ema < 1:
            raise ConfigError(f"ema: {self.ema!r} is no decay; give a number between 0 and 1 such as 0.999, or None")
        if self.preprocess is not None:
            check_inputs_spec(self.preprocess)
        if self.objective is not None and (isinstance(self.objective, type) or not callable(self.objective)):
            raise ConfigError(
                f"objective: {self.objective!r:.80} is neither a tlx.Objective nor a function of outputs, batch and key"
            )

    def feed(self, batch_size: int) -> Feed:
        """Return how training examples are fed."""
        how: dict[str, Any] = {"balanced": self.balanced, "augment": self.augment, "workers": self.workers}
        return Feed(batch_size, self.seed, shuffle=True, pad=True, **how)

    def batch_of(self, examples: int, spec: Any = None) -> int:
        """Return the size of batches of so many training examples; an input spec may have a `largest_batch`."""
        largest = getattr(spec, "largest_batch", LARGEST_BATCH)
        return default_batch_size(examples, self.accumulate, largest) if self.batch_size is None else self.batch_size


def default_batch_size(examples: int, accumulate: int = 1, largest: int = LARGEST_BATCH) -> int:
    """Return how many of so many examples make a batch, a number that `accumulate` divides.

    It is a twentieth of them, but at least 20 and at most `largest`, and never more than there are.

    >>> default_batch_size(1000), default_batch_size(10_000), default_batch_size(10), default_batch_size(10, 4)
    (50, 128, 10, 8)
    """
    wanted = min(max(examples // 20, 20), largest)
    size = -(-wanted // accumulate) * accumulate
    return size if size <= examples else max(examples // accumulate * accumulate, accumulate)


def as_options(options: Any, kind: type[TrainOptions] = TrainOptions) -> Any:
    """Return options of a kind: those given, the defaults for None, or those of a kind that has fewer.

    >>> as_options(None).accumulate
    1
    >>> as_options({"batch_size": 8})
    Traceback (most recent call last):
        ...
    tlx.errors.ConfigError: options: dict, expected tlx.TrainOptions(batch_size=...)
    """
    if options is None:
        return kind()
    if isinstance(options, kind):
        return options
    if isinstance(options, TrainOptions):
        return kind(**{each.name: getattr(options, each.name) for each in fields(options)})
    how = ", ".join(f"{name}=..." for name in options) if isinstance(options, Mapping) else "batch_size=..."
    raise ConfigError(f"options: {type(options).__name__}, expected tlx.{kind.__name__}({how})")
