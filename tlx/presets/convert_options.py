"""The options of a conversion: how a weight file is read, and what is made of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tlx.errors import ConfigError, check_flags
from tlx.images.preprocess import Preprocess


def check_head(head: object) -> None:
    """Raise `ConfigError` for what says nothing of which head is taken."""
    if head != "pretraining":
        check_flags(head=head)


@dataclass(frozen=True)
class ConvertOptions:
    """What `tlx.convert_weights` takes beside the file, the folder and the architecture.

    Args:
        preprocess: how the network sees images; None as the source's folder says, or as published.
        classes: what its outputs are called; none likewise.
        input_size: height and width of the images, where a head's size depends on them; None as published.
        until: cut the base after this stage; the file may end there.
        head: whether the head is taken, too; 'pretraining' takes those that a text model was pretrained with: for
            masked words and, where the source has it, next sentence.
        use_hub_config: whether the `config.json` and `preprocessor_config.json` of a folder, as model hubs lay them
            out, are read; they must agree with the weights and with what is said here.
        prefix: below which names to look, where a file holds the network several times.
        ignored: patterns of tensors to leave out.
        fresh: patterns of leaves to initialise instead.
        seed: of what is initialised.
        allow_nonfinite: take numbers that are not finite.
        allow_negative_variance: take negative variances of batch norms.
        compare: whether the reference library loads the file into its own network, too, and both run beside each other
            (`tlx.convert.verify`); or an .npz file of known inputs and outputs to compare with (`KnownOutputs`).

    Raises:
        ConfigError: for what none of it can be.

    >>> ConvertOptions(head=False).compare
    False
    """

    preprocess: Preprocess | None = None
    classes: Sequence[str] = ()
    input_size: tuple[int, int] | None = None
    until: str | None = None
    head: bool | Literal["pretraining"] = True
    use_hub_config: bool = True
    prefix: str | None = None
    ignored: Sequence[str] = ()
    fresh: Sequence[str] = ()
    seed: int = 0
    allow_nonfinite: bool = False
    allow_negative_variance: bool = False
    compare: bool | str | Path = False

    def __post_init__(self) -> None:
        check_head(self.head)
        check_flags(use_hub_config=self.use_hub_config)
        check_flags(allow_nonfinite=self.allow_nonfinite, allow_negative_variance=self.allow_negative_variance)
        for name in ("classes", "ignored", "fresh"):
            value = getattr(self, name)
            if isinstance(value, str):
                what = "names" if name == "classes" else "patterns"
                raise ConfigError(f"{name}: {value!r} is one string; give a tuple of {what}")
            object.__setattr__(self, name, tuple(value))
        if self.compare and self.fresh:
            raise ConfigError("what is initialised cannot be compared: leave out --fresh or --verify")


def as_convert_options(options: Any) -> ConvertOptions:
    """Return the options given, or the defaults for None; raise `ConfigError` for something else."""
    if options is None:
        return ConvertOptions()
    if not isinstance(options, ConvertOptions):
        raise ConfigError(f"options: {type(options).__name__}, expected tlx.ConvertOptions(head=...)")
    return options
