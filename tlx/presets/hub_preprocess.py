"""The preprocessing that a hub's configuration describes: timm's `pretrained_cfg`, transformers' image processors."""

import math
from typing import Any

from tlx.errors import ConfigError, WeightsError
from tlx.files.opening import shown
from tlx.images.preprocess import INTERPOLATIONS, Preprocess
from tlx.presets.hub_json import JsonFile, Said, is_number
from tlx.tree.paths import quote

PROCESSOR = "preprocessor_config.json"
LEAST_CROP = 0.01  # of less, nothing is seen, and the size of the whole image might be no number
RESAMPLING = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers, as transformers stores them
_CROP = f"a share from {LEAST_CROP} to 1"


def described_preprocess(file: JsonFile) -> Said | None:
    """Return the preprocessing that a file describes, timm's way or Hugging Face's, or None."""
    for place in (file.below("pretrained_cfg"), file):
        if place.content.keys() & {"input_size", "mean", "std", "interpolation"}:
            return _timm_preprocess(place)
    return _processor_preprocess(file) if file.file.name == PROCESSOR else None


def _built(file: JsonFile, key: str, height: int, width: int, channels: int, **fields: Any) -> Said:
    try:
        return Said(Preprocess(height, width, channels, **fields), file.file, key)
    except ConfigError as error:
        raise WeightsError(f"{shown(file.file)}: {error}") from error


def _timm_preprocess(cfg: JsonFile) -> Said:
    """Read the keys of a `pretrained_cfg`; those that are absent are what timm's `resolve_data_config` makes them."""
    size = cfg.numbers("input_size")
    channels, height, width = size.value if size and len(size.value) == 3 else (3, 224, 224)
    if size and not (len(size.value) == 3 and all(isinstance(n, int) and n > 0 for n in size.value)):
        raise WeightsError(f"{size.where} is {size.value!r:.60}, expected [channels, height, width]")
    mean, std = cfg.numbers("mean", channels), cfg.numbers("std", channels)
    interpolation = cfg.get("interpolation", "the name of an interpolation", str)
    if interpolation and interpolation.value not in INTERPOLATIONS:
        raise WeightsError(f"{interpolation.where} is {interpolation.value!r:.40}, tlx has {quote(INTERPOLATIONS)}")
    share = cfg.get("crop_pct", _CROP, int, float)
    if share and not LEAST_CROP <= share.value <= 1:
        raise WeightsError(f"{share.where} is {share.value}, expected {_CROP}")
    mode = cfg.get("crop_mode", "the name of a mode", str)
    crop, how = share.value if share else 0.875, mode.value if mode else "center"
    if how == "squash" and crop == 1:
        resize = None
    elif how == "center" and height == width:
        resize = math.floor(height / crop)
    else:
        key, why = ("crop_mode", f"{how!r} with a crop of {crop}") if how != "center" else ("input_size", "not square")
        raise WeightsError(
            f"{cfg.said(key).where} is {why}, which tlx's preprocessing cannot do (give your own: --preprocess FILE, "
            "--no-hub-config)"
        )
    return _built(
        cfg,
        cfg.above.rstrip("/") or "input_size, mean, std, …",
        height,
        width,
        channels,
        interpolation=interpolation.value if interpolation else "bicubic",
        resize=resize,
        mean=tuple(mean.value) if mean else (0.485, 0.456, 0.406)[:channels],
        std=tuple(std.value) if std else (0.229, 0.224, 0.225)[:channels],
    )


def _processor_preprocess(file: JsonFile) -> Said | None:
    """Read transformers' image processor: ConvNeXt's (ResNet's), ViT's, and those with a `crop_size`."""
    size = file.get("size", "a size", int, dict)
    if size is None and not file.content.keys() & {"image_mean", "image_std", "crop_size"}:
        return None
    for key in ("do_pad", "rescale_offset", "do_reduce_labels"):
        if file.is_on(key, default=False):
            raise WeightsError(f"{file.said(key).where} is true, which tlx's preprocessing cannot do (--no-hub-config)")
    height, width, resize = _processor_size(file, size)
    fields: dict[str, Any] = {"scale": 1.0, "mean": (), "std": ()}
    if file.is_on("do_rescale", default=True):
        factor = file.get("rescale_factor", "a number", int, float)
        fields["scale"] = factor.value if factor else 1 / 255
    channels = 3
    if file.is_on("do_normalize", default=True):
        for field, key in (("mean", "image_mean"), ("std", "image_std")):
            found = file.numbers(key)
            if found is None:
                raise WeightsError(f"{file.said(key).where} is missing: it says how images are normalised")
            fields[field], channels = tuple(found.value), len(found.value)
    if file.is_on("do_flip_channel_order", default=False):
        fields["channel_order"] = "bgr"
    if file.is_on("do_resize", default=True):
        resample = file.get("resample", "a number of Pillow's", int)
        if resample is None or resample.value not in RESAMPLING:
            raise WeightsError(
                f"{file.said('resample').where} is {resample and resample.value}, expected one of {RESAMPLING}"
            )
        fields["interpolation"] = RESAMPLING[resample.value]
    return _built(file, "image_mean, image_std, size, …", height, width, channels, resize=resize, **fields)


def _processor_size(file: JsonFile, size: Said | None) -> tuple[int, int, int | None]:
    """Return height and width of the input, and what the shorter side becomes before it is cut, or None."""
    share = file.get("crop_pct", _CROP, int, float)
    sides = _sides(size)
    crop_size = file.get("crop_size", "a size", int, dict)
    cut = _sides(crop_size) if file.is_on("do_center_crop", default=crop_size is not None) else None
    if not file.is_on("do_resize", default=True):
        raise WeightsError(f"{file.said('do_resize').where} is false: then images keep their sizes, and tlx needs one")
    if sides is None:
        raise WeightsError(f"{file.said('size').where} is missing: it says what size images become")
    if cut is not None:
        if isinstance(sides, tuple):
            raise WeightsError(f"{file.said('size').where} has two sides beside 'crop_size', which tlx cannot do")
        cut = (cut, cut) if isinstance(cut, int) else cut
        return *cut, sides
    if isinstance(sides, tuple):
        return *sides, None
    if share is not None or not isinstance(file.content["size"], int):  # ConvNeXt's: `shortest_edge` is the input's
        if share is None or not LEAST_CROP <= share.value <= 1:
            said = file.said("crop_pct").where
            raise WeightsError(f"{said} is {share and share.value}: with 'shortest_edge' alone it must be {_CROP}")
        return sides, sides, int(sides / share.value) if sides < 384 else None
    return sides, sides, None


def _sides(size: Said | None) -> int | tuple[int, int] | None:
    """Return the shorter side, or (height, width)."""
    if size is None:
        return None
    found: Any = size.value
    if isinstance(found, dict):
        found = found.get("shortest_edge", (found.get("height"), found.get("width")))
    each = found if isinstance(found, tuple) else (found,)
    if not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in each):
        raise WeightsError(
            f"{size.where} is {size.value!r:.60}, expected a number, a height and a width or shortest_edge"
        )
    return found


def check_agreement(preprocess: list[Said]) -> None:
    """Raise `WeightsError` where two files describe two preprocessings."""
    for other in preprocess[1:]:
        field = difference(preprocess[0].value, other.value)
        if field:
            raise WeightsError(f"{other.where} says another {field} than {preprocess[0].by}: which is right?")


def difference(one: Preprocess, other: Preprocess) -> str | None:
    """Name the first field in which two preprocessings differ, with both values, or None.

    >>> difference(Preprocess(4, 4, 3), Preprocess(4, 4, 3, scale=1.0))
    'scale (0.00392156862745098, 1.0)'
    """
    mine, theirs = _in_full(one), _in_full(other)
    return next(
        (f"{name} ({mine[name]}, {theirs[name]})" for name in mine if not _close(mine[name], theirs[name])), None
    )


def _in_full(seen: Preprocess) -> dict[str, Any]:
    """Return the fields; a mean and a deviation that do nothing are written as none."""
    fields = seen.to_dict()
    for name, idle in (("mean", 0.0), ("std", 1.0)):
        fields[name] = [] if all(value == idle for value in fields[name]) else fields[name]
    return fields


def _close(one: Any, other: Any) -> bool:
    """Compare two values; numbers are equal to the digits that configurations are written with."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_close, one, other))
    if is_number(one) and is_number(other):
        return math.isclose(one, other, rel_tol=1e-5, abs_tol=1e-9)
    return bool(one == other)
