"""What `finetune` and `probe` share: the base, the data, how the base sees them, and the cache."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tlx.cli.data_options import DATA_GROUP, DataOptions
from tlx.errors import ConfigError
from tlx.progress import doing

if TYPE_CHECKING:
    from tlx.data import Data, InputSpec
    from tlx.images import Preprocess
    from tlx.presets import Pretrained
    from tlx.training import Cache

DEFAULT_DATA, DEFAULT_BASE = "digits", "cnn-mnist"


@dataclass(frozen=True, kw_only=True)
class TransferOptions(DataOptions):
    """What every command understands that takes a base to other data."""

    GROUPS: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "data": (*DATA_GROUP, "skip_bad", "workers"),
        "how the base sees images": ("input_size", "invert", "margin", "interpolation", "grey_to_rgb"),
        "model": ("until", "pool", "dtype"),
        "cache of frozen stages": ("cache", "cache_limit", "cache_dtype"),
        "machine and output": ("device", "config", "json", "debug"),
    }

    data: str = DEFAULT_DATA
    """What to train on: a folder of pictures with a folder for each class, a .csv or .jsonl manifest, a .npz file, or
    digits, idx:DIR, idx:DIR/PREFIX, tfds:NAME, hf:NAME."""
    base: str | None = None
    """What to start from: a preset (see tlx presets), or the folder of a run, an export or a conversion. By default
    cnn-mnist, which is refused where images are in colour."""
    weights: str | None = None
    """The weight file of a published base, as its source publishes it; by default it is fetched."""
    until: str | None = None
    """Cut the base after this stage."""
    input_size: tuple[int, int] | None = None
    """Height and width at which the base sees pictures; by default as the base says."""
    dtype: Literal["float32", "bfloat16"] | None = None
    """What the model computes in; its parameters are float32 in either. By default as the base says."""
    config: str | None = None
    """A YAML file of these options; flags win over it."""
    invert: bool = False
    """Turn black into white: where the base knows light on dark and the data are dark on light."""
    margin: int | None = None
    """Pixels of background put around the picture; by default what the base says."""
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] | None = None
    """How pictures are resized; by default as the base says."""
    grey_to_rgb: str | None = None
    """How grey becomes RGB: repeat, or the name of a matplotlib colour map."""
    pool: Literal["flatten", "average", "max"] | None = None
    """How the head takes features; by default as suits the base."""

    cache: Literal["auto", "memory", "disk", "off"] = "auto"
    """Where the activations of frozen stages are kept, so that they are computed once."""
    cache_limit: float = 8.0
    """How many gigabytes they may take."""
    cache_dtype: Literal["computed", "float32", "float16", "bfloat16"] = "computed"
    """The type they are kept in; half the size in float16 and bfloat16, which round them."""

    def check_options(self, out: str | None) -> None:
        """Raise `ConfigError` for what would be noticed too late."""
        if not (math.isfinite(self.cache_limit) and self.cache_limit >= 0):
            raise ConfigError(f"--cache-limit: {self.cache_limit} is no number of gigabytes; say 8, for example")
        if out == "":
            raise ConfigError("--out is empty: name a directory")

    @property
    def base_name(self) -> str:
        """The base, as --base names it, or the default one."""
        return DEFAULT_BASE if self.base is None else self.base

    def load_base(self) -> "Pretrained":
        """Load the base, for pictures of --input-size."""
        doing(f"loading {self.base_name}")
        base = self.base_as_named()
        return base if self.input_size is None else base.without_head().with_input(self.input_size)

    def base_as_named(self) -> "Pretrained":
        """Load the base, for images of its own size."""
        import tlx

        return tlx.load(self.base_name, self.weights, until=self.until, dtype=self.dtype)

    def load_data(self, preprocess: "Preprocess") -> "Data":
        """Load the data that the options name, as `load` does."""
        return self.load(self.data, preprocess)

    def check_suits(self, data: "Data", preprocess: "Preprocess") -> list[str]:
        """Say which base was taken where none was named, and what the base's input loses of the images.

        Raise `ConfigError` where none was named and the images are in colour, which the default one does not see.
        """
        from tlx.presets.suitable import look_at, lost, suitable_bases, takes

        if not len(data.train):
            return []
        name, images = self.base_name, look_at(data.train)
        losses = " and ".join(lost(images, preprocess))
        others = " or ".join(f"--base {other}" for other in suitable_bases(images))
        misfit = f"the images are {images}, and {name} takes {takes(preprocess)}"
        if self.base is None and "colour" in losses:
            raise ConfigError(f"no --base was named, and the default one does not suit: {misfit}: name {others}")
        notes = []
        if self.base is None and self.data != DEFAULT_DATA:
            notes.append(f"no --base was named: took {name}, which comes with tlx and takes {takes(preprocess)}")
        if losses:
            notes.append(f"{misfit}: {losses} will be lost; try {others}")
        return notes

    def preprocess(self, spec: "InputSpec") -> "Preprocess":
        """Return the base's preprocessing with what the options change of it."""
        from tlx.images.preprocess import of_images

        own = of_images(spec)
        names = ("margin", "interpolation", "grey_to_rgb")
        changed = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return replace(own, invert=own.invert != self.invert, **changed)

    def kept(self, views: int = 0) -> "Cache":
        """Return where activations are kept."""
        from tlx.training.cache import Cache

        return Cache(self.cache, round(self.cache_limit * 1e9), self.cache_dtype, views)

    def given(self, kind: Any, *but: str) -> dict[str, Any]:
        """Return the options that are fields of `kind`, by name."""
        return {f.name: getattr(self, f.name) for f in fields(kind) if f.name not in but and hasattr(self, f.name)}
