"""What is stated of a weight file: by the user, by the folder it lies in, by who published it. All of it must agree."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tlx.errors import ConfigError, WeightsError
from tlx.files.opening import shown
from tlx.images.preprocess import Preprocess
from tlx.models.registry import ModelConfig
from tlx.presets.arch import Arch
from tlx.presets.hub_config import HubConfig
from tlx.presets.hub_json import Said
from tlx.presets.hub_preprocess import difference

OUT = "--no-hub-config leaves the configuration out"


@dataclass(frozen=True)
class Stated:
    """Preprocessing and class names that count before a published entry's, and who states them.

    `classes` are `of_the_file` where its folder names them: then they belong to its own head. `count` and `channels`
    are the numbers of classes and of the input's channels that the folder's configuration says. `size` is the height
    and width to build for, or None.
    """

    preprocess: Preprocess | None = None
    preprocess_by: str = ""
    classes: tuple[str, ...] = ()
    classes_by: str = ""
    of_the_file: bool = False
    count: Said | None = None
    channels: Said | None = None
    size: tuple[int, int] | None = None


UNSTATED = Stated()


def settle(
    known: Arch,
    hub: HubConfig,
    path: Path,
    *,
    named: bool,
    preprocess: Preprocess | None = None,
    classes: Sequence[str] = (),
    input_size: tuple[int, int] | None = None,
) -> tuple[Arch, Stated]:
    """Weigh what the user asks for, what a folder's configuration says and what is known of an architecture.

    `named` says that the user named the architecture. The user and the configuration count before the published entry,
    which is then no longer said to be whose weights these are. Raise `ConfigError` where the configuration contradicts
    the user, `WeightsError` where it contradicts the weights at `path`, naming the key.
    """
    said, asked = hub.architecture, known.table.architecture
    if said and said.value != asked:
        if named:
            raise ConfigError(f"{said.where} says {said.value!r}, and {known.table.name} was asked for: {OUT}")
        raise WeightsError(f"{said.where} says {said.value!r}, and {shown(path)} holds {asked!r}: {OUT}")
    seen = hub.preprocess
    if seen and preprocess and (other := difference(seen.value, preprocess)):
        raise ConfigError(f"{seen.where} has another {other} than the preprocessing asked for: {OUT}")
    if seen and known.exact and known.preprocess and (other := difference(seen.value, known.preprocess)):
        raise ConfigError(f"{seen.where} has another {other} than {known.name}, which was asked for: {OUT}")
    for stated, by in ((preprocess, "the preprocessing asked for"), (seen.value, seen.where) if seen else (None, "")):
        if stated and input_size and input_size != (stated.height, stated.width):
            size = f"{stated.height}x{stated.width}"
            cure = f": {OUT}" if stated is not preprocess else ""
            raise ConfigError(f"input size {input_size[0]}x{input_size[1]} contradicts {by}, which makes {size}{cure}")
    if classes and hub.classes and tuple(classes) != hub.classes.value:
        raise ConfigError(f"{hub.classes.where} has other names than the classes asked for: {OUT}")
    own: Preprocess | None = preprocess or (seen.value if seen else None)
    theirs = bool(own and known.preprocess and difference(own, known.preprocess)) or bool(classes or hub.classes)
    return replace(known, assumed=known.assumed or (theirs and not known.exact)), Stated(
        preprocess=own,
        preprocess_by="as asked for" if preprocess else f"that of {seen.by}" if seen else "",
        classes=tuple(classes) or (hub.classes.value if hub.classes and not known.exact else ()),
        classes_by="as asked for" if classes else f"those of {hub.classes.by}" if hub.classes else "",
        of_the_file=not classes,
        count=hub.count,
        channels=hub.channels,
        size=input_size or ((own.height, own.width) if own else None),
    )


def check_stated(stated: Stated, path: Path, config: ModelConfig, *, fresh_head: bool) -> None:
    """Raise `WeightsError` where what is stated contradicts what was read from the weights at `path`."""
    channels = config.input_shape[2]
    if stated.preprocess and stated.preprocess.channels != channels:
        raise WeightsError(
            f"{shown(path)}: takes {channels} channels, and the preprocessing ({stated.preprocess_by}) makes "
            f"{stated.preprocess.channels}"
        )
    if stated.channels and stated.channels.value != channels:
        raise WeightsError(
            f"{stated.channels.where} says {stated.channels.value} channels, and {shown(path)} has {channels}: {OUT}"
        )
    if not config.classes:
        return
    if stated.count and not fresh_head and stated.count.value != config.classes:
        raise WeightsError(
            f"{stated.count.where} says {stated.count.value} classes, and {shown(path)} has {config.classes}: {OUT}"
        )
    if stated.classes and len(stated.classes) != config.classes and not (fresh_head and stated.of_the_file):
        raise WeightsError(
            f"{shown(path)}: has {config.classes} classes, and {len(stated.classes)} names are {stated.classes_by}"
        )
