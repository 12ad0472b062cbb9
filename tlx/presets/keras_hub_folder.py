"""KerasHub presets of text models: what their folder says of them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from tlx.convert.keras_hub_file import TASK, read_keras_hub
from tlx.convert.source import Source
from tlx.convert.tables.texts import KERAS_HUB, TEXT_TABLES
from tlx.errors import ConfigError, WeightsError, suggestion
from tlx.files import home
from tlx.files.opening import shown
from tlx.models.head import Pool
from tlx.objectives import Classification, MultiLabel, Objective
from tlx.presets.convert_options import ConvertOptions
from tlx.presets.hub_json import JsonFile, Said, read_json_file
from tlx.presets.text_model import Sentences, TextDescription, settings_of
from tlx.text.keras_hub_tokenizer import read_keras_hub_tokenizer
from tlx.text.tokenizer import read_tokenizer

CONFIG, TASK_CONFIG, PREPROCESSOR = "config.json", "task.json", "preprocessor.json"
POOLS: dict[str, Pool] = {"mean": "average", "cls": "cls", "max": "max"}  # of a TextEmbedder
OBJECTIVES: dict[str, Objective] = {
    "linear": Classification(),
    "softmax": Classification(),  # which tlx takes of the logits
    "sigmoid": MultiLabel(),
}


def is_keras_hub(config: JsonFile) -> bool:
    """Tell whether a configuration is that of a KerasHub backbone for texts.

    Raise `WeightsError` for one of KerasHub's text backbones that tlx has no table of.
    """
    kind = config.content.get("class_name")
    whose = f"{config.content.get('module', '')} {config.content.get('registered_name', '')}"
    if not isinstance(kind, str) or not ("keras_hub" in whose or "keras_nlp" in whose):
        return False
    inside = config.below("config").content
    if kind not in KERAS_HUB and {"vocabulary_size", "vocab_size"} & inside.keys():
        raise WeightsError(
            f"{config.said('class_name').where} is {shown(kind)!r}, a KerasHub model that tlx has no table of"
            f"{suggestion(kind, KERAS_HUB)}: it has {', '.join(KERAS_HUB)}"
        )
    return kind in KERAS_HUB


def keras_hub_folder(path: str | Path) -> Path | None:
    """Return the folder of a KerasHub preset of texts, by itself or by a file in it; None for anything else."""
    path = home(path)
    folder = path if os.path.isdir(path) else path.parent
    config = read_json_file(folder / CONFIG) if os.path.isfile(folder / CONFIG) else None
    return folder if config is not None and is_keras_hub(config) else None


def read_keras_hub_folder(
    folder: Path, options: ConvertOptions, table: str | None = None, tokenizer: str | Path | None = None
) -> TextDescription:
    """Read what a preset says of itself, its weights apart (`keras_hub_weights`).

    Args:
        folder: the preset (`save_to_preset`): `config.json`, `model.weights.h5`, `tokenizer.json` and
            `assets/tokenizer/`, and for a classifier or an embedder `task.json` and `task.weights.h5`.
        options: how it is read.
        table: the table to read it by, where the class of the backbone is not to say it.
        tokenizer: a `tokenizer.json` of the tokenizers library or a `vocab.txt` in place of the preset's own.

    Raises:
        WeightsError: for files that are missing, damaged or contradict one another, naming file and key.
        ConfigError: for a table that does not exist.
    """
    config = read_json_file(folder / CONFIG)
    assert config is not None
    kind = str(config.content["class_name"])
    family = KERAS_HUB[kind]
    inside = config.below("config")
    keys = {key for name, key in family.names.items() if name not in family.fixed}
    missing = sorted(keys - inside.content.keys())
    if missing:
        raise WeightsError(f"{shown(config.file)}: says no {', '.join(missing)} of {kind}: save the preset again")
    if table is not None and table not in TEXT_TABLES:
        raise ConfigError(f"unknown table {table!r}{suggestion(table, TEXT_TABLES)}: {', '.join(TEXT_TABLES)}")
    task = _task_of(folder) if options.use_hub_config else None
    found, special = (read_tokenizer(home(tokenizer)), True) if tokenizer else read_keras_hub_tokenizer(folder)
    dropout = task.get("dropout", "a rate", float, int) if task else None
    return TextDescription(
        name=folder.name,
        origin=f"a KerasHub preset of {kind}",
        folder=folder.name,
        config=config,
        table=TEXT_TABLES[table or family.table],
        settings=settings_of(inside, family),
        settings_of=f"KerasHub's {kind}",
        tokenizer=found,
        outputs=lambda count: _outputs(task, count, options),
        sentences=_sentences(task) if task else None,
        parse_special=special,
        longest=_longest(folder),
        dropout=float(dropout.value) if dropout else None,
    )


def keras_hub_weights(folder: Path, options: ConvertOptions) -> Source:
    """List the tensors of a preset: of the backbone, and of the task where its configuration is read."""
    return read_keras_hub(folder, task=options.use_hub_config and (folder / TASK).is_file())


def _task_of(folder: Path) -> JsonFile | None:
    """Return the configuration of what stands on the backbone, below its class; None where there is nothing."""
    task = read_json_file(folder / TASK_CONFIG)
    if task is None:
        return None
    kind = task.get("class_name", "the name of a class", str)
    if kind is None:
        raise WeightsError(f"{shown(task.file)}: names no class ('class_name'): --no-hub-config leaves it out")
    inside = task.below("config")
    return replace(inside, content={**inside.content, "class_name": kind.value})


def _sentences(task: JsonFile) -> Sentences | None:
    """Return how a TextEmbedder makes a vector of a text."""
    said = task.get("pooling_mode", "mean, cls or max", str)
    if said is None:
        return None
    if said.value not in POOLS:
        raise WeightsError(f"{said.where} is {shown(said.value)!r}: tlx pools by {', '.join(POOLS)}")
    return Sentences(POOLS[said.value], task.is_on("normalize", True))


def _longest(folder: Path) -> int | None:
    """Return to how many pieces the preset's preprocessor cuts texts."""
    preprocessor = read_json_file(folder / PREPROCESSOR)
    said: Said | None = preprocessor.below("config").get("sequence_length", "a number", int) if preprocessor else None
    return said.value if said else None


def _outputs(task: JsonFile | None, count: int, options: ConvertOptions) -> tuple[tuple[str, ...], Objective]:
    """Return the names of a classifier's outputs and what it was trained for."""
    if task is None:
        raise WeightsError(f"{TASK_CONFIG}: missing beside {TASK}, whose head it describes: --no-head leaves it out")
    told: Any = task.content.get("num_classes", count)
    if told != count:
        raise WeightsError(f"{task.said('num_classes').where} is {told!r:.60}, and the weights have {count}")
    activation: Any = task.content.get("activation") or "linear"
    if activation not in OBJECTIVES:
        raise WeightsError(
            f"{task.said('activation').where} is {activation!r:.60}: tlx has classifiers with "
            f"{', '.join(OBJECTIVES)} (--no-head takes the backbone alone)"
        )
    names = tuple(options.classes) or tuple(f"class {number}" for number in range(count))
    if len(names) != count:
        raise WeightsError(f"{shown(task.file)}: {len(names)} classes were named, and the weights have {count}")
    return names, OBJECTIVES[activation]
