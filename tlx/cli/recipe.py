"""The options that say how to train: recipe, learning rates, optimizer, schedule and early stopping."""

import math
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal

from tlx.cli.transfer import TransferOptions
from tlx.errors import ConfigError

if TYPE_CHECKING:
    from tlx.presets import Pretrained


@dataclass(frozen=True, kw_only=True)
class RecipeOptions(TransferOptions):
    """What `tlx finetune` understands of recipes."""

    recipe: Literal["probe", "finetune", "gradual", "full", "scratch"] = "finetune"
    """probe: head alone. finetune: head, then base with it. gradual: stage by stage. full: all. scratch: all, fresh."""
    head_epochs: int = 30
    """Epochs of the head alone."""
    base_epochs: int | None = None
    """Epochs with the base; with gradual, epochs of each further stage. full and scratch train for both together. By
    default 30, and 3 for a large base of texts."""
    head_rate: tuple[float, ...] = (1e-3,)
    """The head's learning rate; a second one is for the phases in which the base trains, too."""
    base_rate: float | None = None
    """The base's learning rate; by default 1e-4 where the model has under a million parameters, else 1e-5, and 5e-5 for
    one of texts."""
    thaw_from: str | None = None
    """With finetune: the lowest stage to train; by default all do."""
    layer_decay: float = 1.0
    """The factor by which the rate falls with each stage below the top."""
    norms: Literal["stored", "batch"] = "stored"
    """Which statistics the base's batch norms use while it trains: those that came with it, or each batch's."""
    optimizer: Literal["sgd", "adam", "adamw"] = "adam"
    """What turns gradients into updates."""
    momentum: float | None = None
    """With sgd: by default 0.9."""
    weight_decay: float = 0.0
    """Never on biases and the scales of norms."""
    clip_norm: float | None = None
    """The largest norm of a group's gradient."""
    schedule: Literal["constant", "cosine", "linear", "step", "exponential", "inverse-time"] | None = None
    """How the rate runs through a phase. By default it is constant; that of a large base of texts rises over a tenth of
    the steps and falls to zero."""
    warmup: float | None = None
    """With cosine and linear: steps in which the rate rises from zero, or a share of the phase's below 1."""
    end: float | None = None
    """With cosine and linear: the share of the rate that is left at the end."""
    every: int | None = None
    """With step and exponential: after how many steps the rate is multiplied by --factor."""
    factor: float | None = None
    """With step and exponential: what the rate is multiplied by every --every steps."""
    decay: tuple[float, ...] = ()
    """With inverse-time: the rate is divided by 1 + decay * step; a second one is for the phases with the base."""
    patience: int | None = 5
    """Stop a phase after so many epochs without a better --monitor, and take its best weights; None: never."""
    monitor: str | None = None
    """What makes one epoch better than another: val_loss, val_accuracy, or val_ and another metric of the objective. By
    default val_loss; where words are tagged val_f1 of entities, or val_accuracy."""

    def build_recipe(self, model: "Pretrained", monitor: str = "val_loss") -> Any:
        """Build the recipe that the options describe, for a base; `monitor` is what --monitor is by default."""
        from tlx import recipes

        staged = self.recipe in ("finetune", "gradual")  # the head alone, then the base with it
        for option, values in (("head-rate", self.head_rate), ("decay", self.decay)):
            if len(values) > (2 if staged else 1) or (option == "head-rate" and not values):
                allowed = "one or two" if staged else f"one with --recipe {self.recipe}, which has a single phase"
                raise ConfigError(f"--{option}: {len(values)} values: give {allowed}")
        head, later = (self._group("head-rate", self.head_rate[phase], phase) for phase in (0, -1))
        rate: Any = recipes.base_group(model).schedule
        base_rate = rate.rate if self.base_rate is None else self.base_rate
        base = self._group("base-rate", base_rate, -1)
        if self.schedule is None:
            base = replace(base, schedule=replace(rate, rate=base_rate))
        stages = model.stages
        phase: dict[str, Any] = {"patience": self.patience, "monitor": self.monitor or monitor}
        base_epochs = recipes.thawed_epochs(model) if self.base_epochs is None else self.base_epochs
        both = self.head_epochs + base_epochs
        if self.thaw_from is not None and self.recipe != "finetune":
            raise ConfigError(f"--thaw-from goes with --recipe finetune, not {self.recipe}")
        if self.layer_decay != 1.0 and self.recipe in ("probe", "scratch"):
            raise ConfigError(f"--layer-decay does not go with --recipe {self.recipe}")
        if not stages:
            if self.recipe not in ("probe", "finetune") or self.thaw_from is not None:
                raise ConfigError(f"{model.name}: its base has no parameters to train: say --recipe probe")
            return recipes.probe(model, epochs=self.head_epochs, head=head, **phase)
        match self.recipe:
            case "probe":
                return recipes.probe(stages, epochs=self.head_epochs, head=head, **phase)
            case "scratch":
                return recipes.scratch(stages, epochs=both, group=head, **phase)
        phase |= {"head": head, "base": base, "layer_decay": self.layer_decay, "norms": self.norms}
        if self.recipe == "full":
            return recipes.full(stages, epochs=both, **phase)
        phase["head_epochs"] = self.head_epochs
        if self.recipe == "finetune":
            first, *others = recipes.finetune(stages, base_epochs=base_epochs, thaw_from=self.thaw_from, **phase)
        else:
            first, *others = recipes.gradual(stages, stage_epochs=base_epochs, **phase)
        return (first, *(replace(each, groups={**each.groups, "head": later}) for each in others))

    def _group(self, option: str, rate: float, phase: int) -> Any:
        """Build the group that trains at `rate` in the first phase (0) or in those after it (-1).

        Raise `ConfigError` for options that the choices do not know.
        """
        from tlx import optim

        if not (math.isfinite(rate) and rate > 0):
            raise ConfigError(f"--{option}: the learning rate must be a finite number above 0, not {rate}")
        schedules = {
            "constant": (optim.Constant, ()),
            "cosine": (optim.Cosine, ("warmup", "end")),
            "linear": (optim.Linear, ("warmup", "end")),
            "step": (optim.Step, ("every", "factor")),
            "exponential": (optim.Exponential, ("every", "factor")),
            "inverse-time": (optim.InverseTime, ("decay",)),
        }
        optimizers = {"sgd": (optim.Sgd, ("momentum",)), "adam": (optim.Adam, ()), "adamw": (optim.AdamW, ())}
        return optim.Group(
            schedule=self._choose("schedule", schedules, phase, rate=rate),
            optimizer=self._choose("optimizer", optimizers, phase),
            weight_decay=self.weight_decay,
            clip_norm=self.clip_norm,
        )

    def _choose(self, option: str, table: dict[str, tuple[Any, tuple[str, ...]]], phase: int, **values: Any) -> Any:
        """Build what an option names, from the further options that belong to that choice."""
        choice = getattr(self, option) or "constant"
        kind, own = table[choice]
        names = sorted({name for _, each in table.values() for name in each})
        given = {name: getattr(self, name) for name in names if getattr(self, name) not in (None, ())}
        for name in given:
            if name not in own:
                raise ConfigError(f"--{name} does not go with --{option} {choice}")
        needed = {field.name for field in fields(kind) if field.default is field.default_factory}
        missing = sorted(needed - set(values) - set(given))
        if missing:
            raise ConfigError(f"--{option} {choice} needs --{missing[0]}")
        one = {name: value[phase] if isinstance(value, tuple) else value for name, value in given.items()}
        return kind(**values, **one)
