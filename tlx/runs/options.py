"""The options of a run: those of a fit, and what else makes a run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tlx.errors import ConfigError, check_flags
from tlx.models.head import Pool
from tlx.training.options import TrainOptions

SMALL = 1_000_000  # parameters: up to here a run from scratch beside costs little


@dataclass(frozen=True)
class RunOptions(TrainOptions):
    """What `tlx.finetune` and `tlx.estimate` take beside base, data and recipe: all of `TrainOptions`, and more.

    Args:
        hidden: the sizes of the fresh head's hidden layers (`tlx.models.Head`).
        pool: how the head takes features; None as suits the base.
        dropout: the rate of dropout in the head.
        keep_head: begin with the base's own head, which must know the data's classes in their order, as after
            `tlx.linear_probe`.
        compare_scratch: whether the same model is trained from fresh weights for as many epochs and tested beside; None
            where it has under a million parameters.
        checkpoint_every: seconds between two checkpoints; None takes 10, or more where saving would take over a
            fiftieth of the time (`tlx.Checkpoints`).
        allow: what may differ when a run is resumed, by its name in `run.json`: "data_sha256", or "phases" for all
            about them.
        check_preprocessing: whether the first batch is compared with the statistics of the base's first batch norm.
        interpret: whether the run keeps where the model looked in its mistakes (Grad-CAM) and a map of the features.
        config: what the run was asked for in other words, kept as `config.yaml`.

    >>> RunOptions(batch_size=8, compare_scratch=False).hidden
    ()
    """

    hidden: tuple[int, ...] = ()
    pool: Pool | None = None
    dropout: float = 0.0
    keep_head: bool = False
    compare_scratch: bool | None = None
    checkpoint_every: float | None = None
    allow: tuple[str, ...] = ()
    check_preprocessing: bool = True
    interpret: bool = True
    config: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_flags(keep_head=self.keep_head, check_preprocessing=self.check_preprocessing, interpret=self.interpret)
        if self.compare_scratch is not None:
            check_flags(compare_scratch=self.compare_scratch)
        if isinstance(self.allow, str):
            raise ConfigError(f"allow: {self.allow!r} is one string; write ({self.allow!r},)")
        object.__setattr__(self, "allow", tuple(self.allow))
        if self.keep_head and (self.hidden or self.pool or self.dropout):
            raise ConfigError("keep_head: hidden, pool and dropout shape a fresh head: leave them out")
