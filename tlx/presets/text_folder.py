"""Text models as model hubs lay them out: a folder of weights, configuration and tokenizer."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from tlx.convert.leaves import Conversion
from tlx.convert.plan import Plan
from tlx.convert.read import open_weights
from tlx.convert.rules import Table
from tlx.convert.source import Source
from tlx.convert.tables.texts import FAMILIES, TEXT_TABLES, Family, tagging
from tlx.convert.text_plan import make_text_plan
from tlx.errors import ConfigError, WeightsError, suggestion
from tlx.files import home
from tlx.files.opening import shown
from tlx.models.bert import BertConfig
from tlx.models.head import WORDS, Pool
from tlx.models.registry import ModelConfig
from tlx.objectives import Classification, MultiLabel, Objective, Regression, TokenClassification
from tlx.presets.convert_options import ConvertOptions
from tlx.presets.hub import fetch_folder
from tlx.presets.hub_config import class_names_of
from tlx.presets.hub_json import JsonFile, read_json_file
from tlx.presets.pretrained import Pretrained
from tlx.presets.text_catalogue import FILES, OPTIONAL, PREFIX, PUBLISHED_TEXTS, published_text
from tlx.text.tokenizer import read_tokenizer
from tlx.text.tokens import Tokens

CONFIGS = ("config.json", "bert_config.json")  # Hugging Face's, and that beside Google's checkpoints
MODULES, POOLING, LENGTH = "modules.json", "config.json", "sentence_bert_config.json"  # of sentence-transformers
POOLS: Mapping[str, Pool] = {
    "pooling_mode_mean_tokens": "average",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
}


@dataclass(frozen=True)
class Sentences:
    """How a folder of sentence-transformers makes a vector of a text, and to how many pieces it cuts it."""

    pool: Pool
    normalize: bool = False
    max_length: int | None = None


@dataclass(frozen=True)
class TextModel:
    """A text model as its folder describes it, and the plan of its conversion."""

    source: Source
    plan: Plan
    described: Pretrained  # without variables
    table: Table

    @property
    def certified(self) -> dict[str, Any]:
        """What the model depends on beside its weights, as data for the certificate."""
        config, spec = self.plan.config, self.described.preprocess.to_dict()
        said = {"settings": config.to_dict()["settings"], "pool": config.pool, "normalize": config.normalize}
        return {**said, **{name: spec[name] for name in ("max_length", "vocabulary_sha256", "probe_sha256")}}


def is_text_folder(path: str | Path) -> bool:
    """Tell whether a path is a folder that holds a text model of a family that tlx knows."""
    return os.path.isdir(home(path)) and text_family(home(path)) is not None


def text_family(path: Path) -> str | None:
    """Return the family that the configuration beside a weight file, or in a folder, names; None where it is none."""
    model = _config_of(path if os.path.isdir(path) else path.parent)
    if model is None:
        return None
    kind = model.content.get("model_type")
    if isinstance(kind, str):
        return kind if kind in FAMILIES else None
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
    opened = open_weights(path)
    folder = opened.path.parent
    model = _config_of(folder)
    if model is None:
        raise WeightsError(
            f"{shown(folder)}: no {' or '.join(CONFIGS)} beside the weights: the number of heads, activation and "
            "epsilon of a text model stand there"
        )
    family, found = _family(model, table, opened)
    if tags_words(model):
        found = tagging(found)
    settings = _settings(model, family)
    sentences = _sentences(folder) if options.use_hub_config else None
    config = ModelConfig(
        found.architecture,
        0,
        (settings.max_position_embeddings,),
        pool=sentences.pool if sentences else found.pool,
        normalize=bool(sentences and sentences.normalize and options.until is None),
        until=options.until,
        settings=settings,
    )
    if options.until is not None:
        config = replace(config, pool="average")
    patterns: dict[str, Any] = {"prefix": options.prefix, "ignored": options.ignored, "fresh": options.fresh}
    plan = make_text_plan(opened, found, config, head=options.head, **patterns)
    classes, objective = _outputs(model, plan.config, options)
    dropout = model.content.get("classifier_dropout")
    if plan.config.classes and isinstance(dropout, float):
        plan = replace(plan, config=replace(plan.config, dropout=dropout))
    longest = settings.max_position_embeddings
    if sentences and sentences.max_length:
        longest = min(longest, sentences.max_length)
    spec = Tokens(read_tokenizer(home(tokenizer) if tokenizer else folder), max_length=longest)
    _check_same_words(model, spec, settings)
    card = {
        "description": f"{opened.path.name} ({opened.format}), converted by the table {found.name}",
        "source": str(model.content.get("_name_or_path") or folder.name),
        "preprocessing": f"the tokenizer of {folder.name}",
    }
    name = folder.name if opened.path.stem in ("model", "pytorch_model", "bert_model") else opened.path.stem
    described = Pretrained(name, plan.config, {"params": {}}, spec, classes, card, objective)
    return TextModel(opened, plan, described, found)


def load_text_folder(path: str | Path, options: ConvertOptions, tokenizer: str | Path | None = None) -> Pretrained:
    """Load a text model from its folder, converted in memory; raise as `read_text_model`."""
    read = read_text_model(path, options, tokenizer=tokenizer)
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


def _fetched(repo: str, name: str) -> Path:
    revision = name.partition("@")[2] if name.startswith(PREFIX) else ""
    return fetch_folder(repo, FILES, OPTIONAL, revision or "main")


# What a folder says


def _family(model: JsonFile, table: str | None, opened: Source) -> tuple[Family, Table]:
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
    name = table or ("google/bert" if opened.format == "tf" else family.table)
    if name not in TEXT_TABLES:
        raise ConfigError(f"unknown table {name!r}{suggestion(name, TEXT_TABLES)}: {', '.join(TEXT_TABLES)}")
    return family, TEXT_TABLES[name]


def _settings(model: JsonFile, family: Family) -> BertConfig:
    """Read the settings of a network; what a configuration does not say is as in the paper."""
    given: dict[str, Any] = dict(family.fixed)
    for each in fields(BertConfig):
        key = family.names.get(each.name, each.name)
        if each.name not in family.fixed and model.content.get(key) is not None:
            given[each.name] = model.content[key]
    for name in ("layer_norm_eps", "hidden_dropout_prob", "attention_probs_dropout_prob"):
        if isinstance(given.get(name), int) and not isinstance(given[name], bool):
            given[name] = float(given[name])
    if family.table == "hf/roberta":
        pad = given.get("pad_token_id", model.content.get("pad_token_id", 1))
        given["first_position"] = pad + 1
        given["max_position_embeddings"] = given.get("max_position_embeddings", 514) - given["first_position"]
    if given.get("embedding_size") == given.get("hidden_size", BertConfig.hidden_size):
        given["embedding_size"] = None
    if family.table != "hf/electra":
        given.pop("embedding_size", None)
    try:
        return BertConfig(**given)
    except (ConfigError, TypeError) as error:
        raise WeightsError(f"{shown(model.file)}: {error}") from error


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
    said = read_json_file(folder / LENGTH)
    length = said.get("max_seq_length", "a number of pieces", int) if said else None
    return Sentences(pool, normalize, length.value if length else None)


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
    if len(on) != 1 or on[0] not in POOLS:
        raise WeightsError(
            f"{shown(said.file)}: pools by {', '.join(on) or 'nothing'}: tlx pools by one of {', '.join(POOLS)}"
        )
    return POOLS[on[0]]


def tags_words(model: JsonFile) -> bool:
    """Tell whether a configuration is that of a model which tags words (`…ForTokenClassification`)."""
    named = model.content.get("architectures")
    return isinstance(named, list) and any(str(name).endswith("ForTokenClassification") for name in named)


def _outputs(model: JsonFile, config: ModelConfig, options: ConvertOptions) -> tuple[tuple[str, ...], Objective]:
    """Return the names of a classifier's outputs and what it was trained for."""
    count = config.classes
    if not count:
        return (), Classification()
    named = class_names_of(model) if options.use_hub_config else None
    names = tuple(options.classes) or (named.value if named else tuple(f"class {number}" for number in range(count)))
    if len(names) != count:
        raise WeightsError(f"{shown(model.file)}: names {len(names)} classes, and the weights have {count}")
    if config.pool == WORDS:
        return names, TokenClassification(tags=names)
    kind = model.content.get("problem_type")
    objectives: dict[Any, Objective] = {
        "regression": Regression(mean=(0.0,) * count, std=(1.0,) * count),
        "multi_label_classification": MultiLabel(),
    }
    return names, objectives.get(kind, Classification())


def _check_same_words(model: JsonFile, spec: Tokens, settings: BertConfig) -> None:
    """Raise `WeightsError` where the tokenizer numbers more pieces than the matrix has rows."""
    try:
        spec.check_model(settings.vocab_size, settings.max_position_embeddings)
    except ConfigError as error:
        raise WeightsError(f"{shown(model.file)}: {error}") from error
