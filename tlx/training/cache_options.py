"""Whether and where the activations of frozen stages are kept."""

from dataclasses import dataclass
from typing import Literal, get_args

from tlx.errors import ConfigError, check_choice

Where = Literal["auto", "memory", "disk", "off"]
Kept = Literal["computed", "float32", "float16", "bfloat16"]


@dataclass(frozen=True)
class ActivationCache:
    """Say whether and where the activations of frozen stages are kept (`tlx.fit`).

    `where` "memory" and "disk" insist; "auto" takes memory if they need at most a quarter of what is free, else the
    disk if at most half. Together they may take `limit` bytes; "off", and whatever does not fit, computes them anew in
    every epoch. `dtype` is the type they are kept in: half the size in "float16" or "bfloat16", which rounds them;
    "computed" is that of the model. With augmentation, `views` says how many variations of each image are kept, which
    the epochs then take in turns; with 0 there is no cache, for every epoch has its own. On the disk they are under
    `folder` (by default `activations` in tlx's cache), by a hash of all that they depend on; the next run that needs
    the same finds them, also what one that was killed has left. Processes that train together
    (`tlx.initialize_distributed`) each keep all, in memory. Raise `ConfigError` for what none of it can be.

    >>> ActivationCache("disk", limit=1 << 30, dtype="bfloat16").views
    0
    """

    where: Where = "auto"
    limit: int = 8_000_000_000
    dtype: Kept = "computed"
    views: int = 0
    folder: str | None = None

    def __post_init__(self) -> None:
        for name, options in (("where", Where), ("dtype", Kept)):
            check_choice(f"ActivationCache.{name}", getattr(self, name), get_args(options))
        if self.limit < 0 or self.views < 0:
            raise ConfigError(f"cache: limit={self.limit}, views={self.views}: neither can be negative")
