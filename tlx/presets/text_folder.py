"""Text models as model hubs lay them out: a folder of weights, configuration and tokenizer."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tlx.convert.leaves import Conversion
from tlx.convert.read import open_weights
from tlx.convert.rules import Table
from tlx.convert.tables.texts import FAMILIES, TEXT_TABLES, Family, tagging
from tlx.convert.text_plan import check_tied
from tlx.errors import ConfigError, WeightsError, suggestion
from tlx.files import home
from tlx.files.opening import shown
from tlx.models.head import Pool
from tlx.objectives import Classification, MultiLabel, Objective, Regression, TokenClassification
from tlx.presets.convert_options import ConvertOptions
from tlx.presets.hub import fetch_folder
from tlx.presets.hub_config import class_names_of
from tlx.presets.hub_json import JsonFile, read_json_file
from tlx.presets.keras_hub_folder import is_keras_hub, keras_hub_folder, keras_hub_weights, read_keras_hub_folder
from tlx.presets.pretrained import Pretrained
from tlx.presets.text_catalogue import PREFIX, PUBLISHED_TEXTS, files_of, optional_of, published_text
from tlx.presets.text_model import (
    Sentences,
    TextDescription,
    TextModel,
    blank_text_model,
    plan_text_model,
    settings_of,
)
from tlx.text.tokenizer import length_beside, read_tokenizer

CONFIGS = ("config.json", "bert_config.json")  # Hugging Face's, and that beside Google's checkpoints
MODULES, POOLING, LENGTH = "modules.json", "config.json", "sentence_bert_config.json"  # of sentence-transformers
WEIGHTS = ("model", "pytorch_model", "bert_model")  # what hubs call the file of weights
NAMELESS = re.compile(r"(pytorch_|bert_|best_)?model|checkpoint(-\d+)?|snapshots|export|weights|[0-9a-f]{40}|")
TOKENIZER_CONFIG = "tokenizer_config.json"
POOLS: Mapping[str, Pool] = {"mean": "average", "cls": "cls", "max": "max"}
OLD_POOLS = {  # by flags, before sentence-transformers 6
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
}


def name_of_folder(folder: Path) -> str:
    """Name a model after its folder, or after the first one above that has a name of its own.

    >>> name_of_folder(Path("/tmp/all-MiniLM-L6-v2/model"))
    'all-MiniLM-L6-v2'
    >>> name_of_folder(Path("/hub/models--google-bert--bert-base-uncased/snapshots/" + 40 * "a"))
    'bert-base-uncased'
    """
    above = (folder.absolute(), *folder.absolute().parents)
    name = next((each.name for each in above if not NAMELESS.fullmatch(each.name)), folder.name)
    return name.rpartition("--")[2] if name.startswith("models--") else name


def is_text_folder(path: str | Path) -> bool:
    """Tell whether a path is a folder that holds a text model of a family that tlx knows."""
    return os.path.isdir(home(path)) and text_family(home(path)) is not None


def text_family(path: Path) -> str | None:
    """Return the family that the configuration beside a weight file, or in a folder, names; None where it is none.

    Of a KerasHub preset that is the class of its backbone.
    """
    model = _config_of(path if os.path.isdir(path) else path.parent)
    if model is None:
        return None
    kind = model.content.get("model_type")
    if isinstance(kind, str):
        return kind if kind in FAMILIES else None
    if is_keras_hub(model):
        return str(model.content["class_name"])
    return "google" if _is_google(model) else "bert" if _is_bert(model) else None


def _config_of(folder: Path) -> JsonFile | None:
    found = [folder / name for name in CONFIGS if os.path.isfile(folder / name)]
    return read_json_file(found[0]) if found else None


def _is_google(model: JsonFile) -> bool:
    return model.file.name == CONFIGS[1]


def _is_bert(model: JsonFile) -> bool:
    """Tell whether a configuration from before `model_type` is one of BERT's."""
    return {"vocab_size", "hidden_size", "num_hidden_layers", "type_vocab_size"} <= model.content.keys()


def read_text_model(
    path: str | Path, options: ConvertOptions, *, table: str | None = None, tokenizer: str | Path | None = None
) -> TextModel:
    """Read the description of a text model, and plan its conversion; no tensor is read yet.

    Args:
        path: the folder, or the weight file in it; its configuration and tokenizer are beside.
        options: how it is read (`tlx.ConvertOptions`).
        table: the table to read it by; by default that of the configuration's `model_type`.
        tokenizer: a `tokenizer.json` or `vocab.txt` in place of the folder's own.

    Raises:
        WeightsError: for files that are missing, damaged or contradict one another, naming file and key.
        ConfigError: for a table that does not exist.
    """
    preset = keras_hub_folder(path)
    if preset is not None:
        said = read_keras_hub_folder(preset, options, table, tokenizer)
        return plan_text_model(said, keras_hub_weights(preset, options), options)
    opened = open_weights(path)
    folder = opened.path.parent
    said = _described(folder, options, table or ("google/bert" if opened.format == "tf" else None), tokenizer)
    if opened.path.stem not in WEIGHTS:
        said = replace(said, name=opened.path.stem)
    return plan_text_model(said, opened, options)


def _described(
    folder: Path, options: ConvertOptions, table: str | None = None, tokenizer: str | Path | None = None
) -> TextDescription:
    """Read what a folder of Hugging Face's kind says of a text model, its weights apart."""
    model = _config_of(folder)
    if model is None:
        raise WeightsError(
            f"{shown(folder)}: no {' or '.join(CONFIGS)} beside the weights: the number of heads, activation and "
            "epsilon of a text model stand there"
        )
    family, found = _family(model, table)
    dropout = model.get("classifier_dropout", "a number of at least 0 and under 1", int, float)
    if dropout and not 0 <= dropout.value < 1:
        raise WeightsError(f"{dropout.where} is {dropout.value!r:.40}, expected a number of at least 0 and under 1")
    return TextDescription(
        name=name_of_folder(folder),
        origin=str(model.content.get("_name_or_path") or folder.name),
        folder=folder.name,
        config=model,
        table=tagging(found) if tags_words(model) else found,
        settings=settings_of(model, family),
        tokenizer=read_tokenizer(home(tokenizer) if tokenizer else folder),
        outputs=lambda count: _outputs(model, count, options),
        sentences=_sentences(folder) if options.use_hub_config else None,
        dropout=float(dropout.value) if dropout else None,
    )


def load_text_folder(path: str | Path, options: ConvertOptions, tokenizer: str | Path | None = None) -> Pretrained:
    """Load a text model from its folder, converted in memory; raise as `read_text_model`."""
    read = read_text_model(path, options, tokenizer=tokenizer)
    check_tied(read.plan, read.source)
    conversion = Conversion(read.plan, str(read.source.path), options.allow_nonfinite, seed=options.seed)
    return replace(read.described, variables=conversion.variables())


def load_text(name: str, weights: str | Path | None, options: ConvertOptions) -> Pretrained:
    """Load a published text model, 'hf/NAME' or 'hf:ORG/NAME[@REVISION]', from a folder or file, or from the hub."""
    entry = published_text(name)
    folder: str | Path = home(weights) if weights is not None else _fetched(entry.repo, name)
    found = load_text_folder(folder, options)
    if name not in PUBLISHED_TEXTS:
        return replace(found, name=entry.repo.partition("/")[2])
    own = {"licence": entry.licence, "paper": entry.paper, "page": entry.page}
    return replace(found, name=entry.name, card={**found.card, "source": entry.repo, **own})


def blank_text(name: str, *, until: str | None = None) -> Pretrained:
    """Return a published text model with zeros for weights, which are not fetched: its description alone is.

    Raise as `load_text`.
    """
    entry, options = published_text(name), ConvertOptions(until=until)
    folder = _fetched(entry.repo, name, weights=False)
    is_preset = keras_hub_folder(folder) is not None
    said = read_keras_hub_folder(folder, options) if is_preset else _described(folder, options)
    return blank_text_model(replace(said, name=entry.name), until)


def _fetched(repo: str, name: str, *, weights: bool = True) -> Path:
    """Fetch the files of a text model, or without `weights` those that describe it."""
    *described, of_weights = files_of(repo)
    revision = name.partition("@")[2] if name.startswith(PREFIX) else ""
    optional = [each for each in optional_of(repo) if weights or not each.endswith(".h5")]
    return fetch_folder(repo, [*described, of_weights] if weights else described, optional, revision or "main")


# What a folder says


def _family(model: JsonFile, table: str | None) -> tuple[Family, Table]:
    """Return how a configuration describes the model, and the table that reads the weights beside it."""
    named = model.get("model_type", "the name of a kind of network", str)
    kind = named.value if named else "bert"
    if kind not in FAMILIES:
        assert named is not None
        raise WeightsError(
            f"{named.where} is {shown(kind)!r}, a text model that tlx has no table of{suggestion(kind, FAMILIES)}: "
            f"it has {', '.join(FAMILIES)}"
        )
    family = FAMILIES[kind]
    for key, value in family.refused.items():
        if model.content.get(key, value) != value:
            raise WeightsError(f"{model.said(key).where} is {model.content[key]!r:.60}: tlx's {kind} has {value!r}")
    name = table or family.table
    if name not in TEXT_TABLES:
        raise ConfigError(f"unknown table {name!r}{suggestion(name, TEXT_TABLES)}: {', '.join(TEXT_TABLES)}")
    return family, TEXT_TABLES[name]


def _sentences(folder: Path) -> Sentences | None:
    """Read what sentence-transformers keeps in a folder: how it pools, and whether it normalises."""
    if not (folder / MODULES).is_file():
        return None
    pool: Pool = "average"
    normalize = False
    for each in _modules(folder / MODULES):
        kind = str(each.get("type", "")).rpartition(".")[2]
        if kind == "Pooling":
            pool = _pooling(folder, str(each.get("path", "")))
        elif kind == "Normalize":
            normalize = True
        elif kind != "Transformer":
            raise WeightsError(
                f"{shown(folder / MODULES)}: has a module {shown(kind)!r}, which tlx does not run (--no-hub-config "
                "takes the transformer alone)"
            )
    return Sentences(pool, normalize, _longest(folder))


def _longest(folder: Path) -> int | None:
    """Return to how many pieces sentence-transformers cuts texts: as it says itself, or as the tokenizer's files do."""
    said = read_json_file(folder / LENGTH)
    length = said.get("max_seq_length", "a number of pieces", int) if said else None
    if length:
        return int(length.value)
    return length_beside(folder / TOKENIZER_CONFIG)


def _modules(path: Path) -> list[dict[str, Any]]:
    import json

    from tlx.files.opening import RegularFile, one_line

    file = RegularFile.at(path)
    try:
        found = json.loads(file.read(0, min(file.size, 1 << 20)).tobytes())
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{shown(path)}: not JSON ({one_line(error)}): --no-hub-config leaves it out") from error
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise WeightsError(f"{shown(path)}: expected a list of modules (--no-hub-config leaves it out)")
    return found


def _pooling(folder: Path, name: str) -> Pool:
    """Read how sentence-transformers pools, from the folder of that module."""
    if not name or "/" in name or "\\" in name or name.startswith("."):
        raise WeightsError(f"{shown(folder / MODULES)}: {shown(name)!r} is no folder of a module beside it")
    said = read_json_file(folder / name / POOLING)
    if said is None:
        raise WeightsError(f"{shown(folder / name / POOLING)}: missing: fetch it, or --no-hub-config")
    on = [key for key, value in said.content.items() if key.startswith("pooling_mode_") and value is True]
    named = said.content.get("pooling_mode", [OLD_POOLS.get(key, key) for key in on])
    modes = [str(each) for each in named] if isinstance(named, list) else [str(named)]
    if len(modes) != 1 or modes[0] not in POOLS:
        raise WeightsError(
            f"{shown(said.file)}: pools by {shown(', '.join(modes)) or 'nothing'}: tlx pools by one of "
            f"{', '.join(POOLS)} (--no-hub-config takes the transformer alone)"
        )
    return POOLS[modes[0]]


def tags_words(model: JsonFile) -> bool:
    """Tell whether a configuration is that of a model which tags words (`…ForTokenClassification`)."""
    named = model.content.get("architectures")
    return isinstance(named, list) and any(str(name).endswith("ForTokenClassification") for name in named)


def _outputs(model: JsonFile, count: int, options: ConvertOptions) -> tuple[tuple[str, ...], Objective]:
    """Return the names of a classifier's outputs and what it was trained for."""
    named = class_names_of(model) if options.use_hub_config else None
    names = tuple(options.classes) or (named.value if named else tuple(f"class {number}" for number in range(count)))
    if len(names) != count:
        raise WeightsError(f"{shown(model.file)}: names {len(names)} classes, and the weights have {count}")
    if tags_words(model):
        return names, TokenClassification(tags=names)
    kind = model.content.get("problem_type")
    objectives: dict[Any, Objective] = {
        "regression": Regression(mean=(0.0,) * count, std=(1.0,) * count),
        "multi_label_classification": MultiLabel(),
    }
    return names, objectives.get(kind, Classification()) if isinstance(kind, str) else Classification()
