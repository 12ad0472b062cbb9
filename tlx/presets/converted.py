"""What a conversion came to."""

from dataclasses import dataclass
from pathlib import Path

from tlx.convert.verify import Verification

KEPT = "kept.safetensors"  # beside the weights: what the source has and no leaf takes


@dataclass(frozen=True)
class Converted:
    """What a conversion came to.

    `arch` names the table; `ignored` are the source's tensors without use, each with the reason, `fresh` the leaves
    without a tensor, `coverage` the share of leaves with one. `preprocessing` says whose it is, and 'assumed' where
    that is not sure; `class_names` whose they are, where the folder of the source or the caller names them. `prefix`
    stood before the names of the base, `copies` before those of the same base once more; `head` says what was taken for
    a head that is not the published one. `notes` are what should be said of the source beside that. `certificate` and
    `verification` are None where none was made.
    """

    path: Path
    arch: str
    coverage: float
    ignored: tuple[tuple[str, str], ...] = ()
    fresh: tuple[str, ...] = ()
    certificate: Path | None = None
    verification: Verification | None = None
    matched_by: str = "name"
    prefix: str = ""
    copies: tuple[str, ...] = ()
    head: str = ""
    preprocessing: str = ""
    class_names: str = ""
    notes: tuple[str, ...] = ()
