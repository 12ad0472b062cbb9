"""A hub folder's own configuration: what timm's and Hugging Face's JSON files say of the weights beside them."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tlx.convert.source import Source
from tlx.convert.tables import TABLES
from tlx.errors import WeightsError, suggestion
from tlx.files.opening import shown
from tlx.presets.bundle import CONFIG
from tlx.presets.catalogue import TIMM
from tlx.presets.hub_json import JsonFile, Said, read_json_file
from tlx.presets.hub_preprocess import PROCESSOR, check_agreement, described_preprocess
from tlx.tree.paths import quote

WEIGHT_FILES = (  # the names that hubs give: with one of these a file is known to be its folder's
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "tf_model.h5",
)
TRANSFORMERS_RESNETS = {
    ("basic", (2, 2, 2, 2)): "resnet18",
    ("basic", (3, 4, 6, 3)): "resnet34",
    ("bottleneck", (3, 4, 6, 3)): "resnet50",
    ("bottleneck", (3, 4, 23, 3)): "resnet101",
    ("bottleneck", (3, 8, 36, 3)): "resnet152",
}


@dataclass(frozen=True)
class HubConfig:
    """What the configuration beside a weight file says; None where it says nothing.

    `architecture` is tlx's name of the network, and `table` the name of the table that the key names, which only timm's
    do. `count` is the number of classes and `classes` are their names, made different where two were the same.
    """

    architecture: Said | None = None
    table: str | None = None
    count: Said | None = None
    classes: Said | None = None
    preprocess: Said | None = None
    channels: Said | None = None
    notes: tuple[str, ...] = ()


def hub_config(named: Path, source: Source) -> HubConfig:
    """Read the configuration of the folder that a user named, or whose weight file has a name that hubs give.

    Raise `WeightsError` for a file that cannot be read, or says what tlx cannot do or what contradicts itself, naming
    the key.
    """
    folder = source.path.parent
    if not named.expanduser().is_dir() and source.path.name not in WEIGHT_FILES:
        return HubConfig()
    model, processor = (read_json_file(folder / name) for name in (CONFIG, PROCESSOR))
    if model and "format" in model.content and "weights" in model.content:  # tlx's own
        return HubConfig()
    notes: list[str] = []
    if model and not _KNOWN & model.content.keys():
        note = f"{shown(model.file)}: neither timm's nor Hugging Face's configuration, so it is not used"
        model, notes = None, [note]
    architecture, table = _architecture(model) if model else (None, None)
    classes, twice = _classes(model) if model else (None, ())
    if twice and classes:
        notes.append(f"{classes.where} names {quote(twice)} more than once: their numbers are put behind them")
    preprocess = [found for each in (model, processor) if each and (found := described_preprocess(each))]
    check_agreement(preprocess)
    count = _count(model) if model else None
    if count and classes and len(classes.value) != count.value:
        raise WeightsError(f"{classes.where} names {len(classes.value)} classes, {count.key!r} says {count.value}")
    channels = _channels(model) if model else None
    if model and preprocess:
        _check_size(model, preprocess[0])
    return HubConfig(architecture, table, count, classes, preprocess[0] if preprocess else None, channels, tuple(notes))


_KNOWN = {"architecture", "pretrained_cfg", "architectures", "model_type", "id2label", "label2id", "num_labels"}
_KNOWN |= {"input_size", "mean", "std", "label_names", "num_classes"}


# The network


def _architecture(model: JsonFile) -> tuple[Said | None, str | None]:
    """Return tlx's name of the network that a configuration names, and of timm's table for it."""
    named = model.get("architecture", "the name of a network", str)
    if named:
        architectures = dict(list(TIMM))
        name = named.value.partition(".")[0]
        if name not in architectures:
            raise WeightsError(
                f"{named.where} is {shown(named.value)!r}, a network of timm that tlx has no table of"
                f"{suggestion(name, architectures)} (--no-hub-config leaves the configuration out)"
            )
        table = f"timm/{architectures[name]}"
        pool = model.get("global_pool", "the name of a pool", str)
        if pool and pool.value != "avg":
            raise WeightsError(f"{pool.where} is {pool.value!r}, and tlx's {table} pools by 'avg' (--no-hub-config)")
        _refuse_model_args(model.below("model_args"))
        return Said(TABLES[table].architecture, named.file, named.key), table
    kind = model.get("model_type", "the name of a kind of network", str)
    if kind is None:
        return None, None
    if kind.value == "resnet":
        return _transformers_resnet(model), None
    raise WeightsError(
        f"{kind.where} is {shown(kind.value)!r}, a network of transformers that tlx has no table of (--no-hub-config "
        "leaves the configuration out)"
    )


def _refuse_model_args(arguments: JsonFile) -> None:
    """Raise `WeightsError` for what makes timm's network another one than its name says."""
    harmless = ("num_classes", "in_chans", "img_size", "drop_rate", "drop_path_rate", "pretrained")
    other = [key for key, value in arguments.content.items() if key not in harmless and value is not None]
    if other:
        said = arguments.said(other[0])
        raise WeightsError(
            f"{said.where} is {said.value!r:.60}: it makes the network another one than tlx's (--no-hub-config)"
        )


def _transformers_resnet(model: JsonFile) -> Said:
    depths = model.numbers("depths")
    layer = model.get("layer_type", "'basic' or 'bottleneck'", str)
    blocks = (layer.value if layer else "bottleneck", tuple(depths.value) if depths else (3, 4, 6, 3))
    for key, expected in (
        ("hidden_act", "relu"),
        ("downsample_in_first_stage", False),
        ("downsample_in_bottleneck", False),
    ):
        if model.content.get(key, expected) != expected:
            raise WeightsError(
                f"{model.said(key).where} is {model.content[key]!r:.60}, tlx's ResNets have {expected!r}"
            )
    if blocks not in TRANSFORMERS_RESNETS:
        raise WeightsError(
            f"{model.said('depths').where} is {list(blocks[1])} of {blocks[0]!r}: no ResNet that tlx has"
        )
    return Said(TRANSFORMERS_RESNETS[blocks], model.file, "depths" if depths else "model_type")


def _channels(model: JsonFile) -> Said | None:
    """Return the number of channels that the network takes."""
    expected = "a number of channels", int
    return model.get("num_channels", *expected) or model.below("model_args").get("in_chans", *expected)


def _check_size(model: JsonFile, preprocess: Said) -> None:
    """Raise `WeightsError` where the network's `image_size` is not the one that images are brought to."""
    said = model.get("image_size", "a size", int, list)
    if said is None:
        return
    size = said.value if isinstance(said.value, list) else [said.value] * 2
    made = [preprocess.value.height, preprocess.value.width]
    if size != made:
        raise WeightsError(f"{said.where} is {said.value!r:.60}, and {preprocess.by} makes {made}: which is right?")


# The classes


def _count(model: JsonFile) -> Said | None:
    """Return the number of classes; what stands on top is of these weights, below may be of those they began with."""
    for place in (model, model.below("pretrained_cfg")):
        for key in ("num_classes", "num_labels"):
            found = place.get(key, "a number of classes", int)
            if found and found.value < 0:
                raise WeightsError(f"{found.where} is {found.value}, expected a number of classes")
            if found:
                return found
    return None


def _classes(model: JsonFile) -> tuple[Said | None, tuple[str, ...]]:
    """Return the names of the classes in order, each one different, and those that were not."""
    by_number = _numbered(model.get("id2label", "an object of names by number", dict))
    by_name = model.get("label2id", "an object of numbers by name", dict)
    if by_name and by_number is None:
        by_number = _numbered(Said({str(n): name for name, n in by_name.value.items()}, by_name.file, by_name.key))
    elif by_name and by_number:
        for name, number in by_name.value.items():
            if type(number) is not int or not 0 <= number < len(by_number.value) or by_number.value[number] != name:
                raise WeightsError(
                    f"{by_name.where} gives {shown(name)!r} the number {number!r:.20}, unlike 'id2label'"
                )
    listed = [
        _numbered(found) if isinstance(found.value, dict) else found
        for place in (model, model.below("pretrained_cfg"))
        if (found := place.get("label_names", "a list of names", list, dict))
    ]
    given = [found for found in (*listed[:1], by_number) if found]
    if not given:
        return None, ()
    for found in given:
        if not all(isinstance(name, str) and name for name in found.value):
            raise WeightsError(f"{found.where}: not all of its names are texts")
        if list(found.value) != list(given[0].value):
            raise WeightsError(f"{found.where} has other names than {given[0].key!r}: which are right?")
    names = given[0].value
    counts = Counter(names)
    twice = tuple(name for name, count in counts.items() if count > 1)
    distinct = tuple(f"{name} ({number})" if counts[name] > 1 else name for number, name in enumerate(names))
    if len(set(distinct)) != len(distinct):
        raise WeightsError(f"{given[0].where}: names {quote(twice)} more than once")
    return Said(distinct, given[0].file, given[0].key), twice


def class_names_of(model: JsonFile) -> Said | None:
    """Return the names of the classes that a configuration gives, each one different."""
    return _classes(model)[0]


def _numbered(found: Said | None) -> Said | None:
    """Turn names by number ({"0": name}) into a list."""
    if found is None:
        return None
    try:
        numbered = {int(number): name for number, name in found.value.items()}
    except (ValueError, TypeError):
        numbered = {}
    if sorted(numbered) != list(range(len(found.value))):
        raise WeightsError(f"{found.where}: its numbers are not 0 to {len(found.value) - 1}, each once")
    return Said([numbered[index] for index in range(len(numbered))], found.file, found.key)
