"""A text model as its folder describes it, whoever wrote that, and the plan of its conversion."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import jax
import numpy as np

from tlx.convert.plan import Plan
from tlx.convert.rules import Table
from tlx.convert.source import Source
from tlx.convert.tables.texts import Family
from tlx.convert.text_plan import make_text_plan
from tlx.errors import ConfigError, WeightsError
from tlx.files.opening import shown
from tlx.models.bert import BertConfig
from tlx.models.head import Pool
from tlx.models.registry import ModelConfig, init_variables
from tlx.objectives import Classification, Objective
from tlx.presets.convert_options import ConvertOptions
from tlx.presets.hub_json import JsonFile
from tlx.presets.pretrained import Pretrained
from tlx.text.tokenizer import Tokenizer
from tlx.text.tokens import Tokens

Outputs = Callable[[int], tuple[tuple[str, ...], Objective]]


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
        if "settings" in self.described.card:
            said["settings_of"] = self.described.card["settings"]
        return {**said, **{name: spec[name] for name in ("max_length", "vocabulary_sha256", "probe_sha256")}}


@dataclass(frozen=True)
class TextDescription:
    """What the files of a folder say of a text model.

    Args:
        name: what the model is called.
        origin: where it comes from.
        folder: the folder's name.
        config: the configuration.
        table: which reads its weights.
        settings: the network's.
        settings_of: whose code they are from, beside the configuration; nothing, where it says them all.
        sentences: how it makes a vector of a text, where it was made for that.
        tokenizer: its tokenizer.
        parse_special: whether special pieces are recognised in texts.
        longest: to how many pieces texts are cut, where something says it.
        outputs: names a number of outputs, and says what they were trained for.
        dropout: the rate before the classifier.
    """

    name: str
    origin: str
    folder: str
    config: JsonFile
    table: Table
    settings: BertConfig
    tokenizer: Tokenizer
    outputs: Outputs
    settings_of: str = ""
    sentences: Sentences | None = None
    parse_special: bool = True
    longest: int | None = None
    dropout: float | None = None


def plan_text_model(said: TextDescription, opened: Source, options: ConvertOptions) -> TextModel:
    """Plan the conversion of a text model from its weights; no tensor is read yet.

    Raises:
        WeightsError: for weights that do not fit the description, and a tokenizer with more pieces than there are rows.
        ConfigError: for options that select nothing.
    """
    found, settings = said.table, said.settings
    config = _config_of(said, options.until, found.pool)
    patterns: dict[str, Any] = {"prefix": options.prefix, "ignored": options.ignored, "fresh": options.fresh}
    plan = make_text_plan(opened, found, config, head=options.head, **patterns)
    count = plan.config.classes
    classes, objective = said.outputs(count) if count else ((), Classification())
    if count and said.dropout is not None:
        plan = replace(plan, config=replace(plan.config, dropout=said.dropout))
    spec = _spec_of(said)
    card = {
        "description": f"{opened.path.name} ({opened.format}), converted by the table {found.name}",
        "source": said.origin,
        "preprocessing": f"the tokenizer of {said.folder}",
    }
    if said.settings_of:
        card["settings"] = f"{settings.hidden_act} and epsilon {settings.layer_norm_eps:g}, as {said.settings_of} says"
    described = Pretrained(said.name, plan.config, {"params": {}}, spec, classes, card, objective)
    return TextModel(opened, plan, described, found)


def blank_text_model(said: TextDescription, until: str | None = None) -> Pretrained:
    """Return a text model without a head, with zeros for weights: all that its description alone can tell.

    Raise `WeightsError` for a tokenizer with more pieces than there are rows, `ConfigError` for an unknown stage.
    """
    config = _config_of(said, until, "average")
    leaves = jax.eval_shape(functools.partial(init_variables, config))
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), leaves)
    return Pretrained(said.name, config, zeros, _spec_of(said), ())


def _config_of(said: TextDescription, until: str | None, pool: Pool) -> ModelConfig:
    """Return the configuration without classes; a base that is cut has the mean of its last stage."""
    sentences = said.sentences
    if until is not None:
        pool, sentences = "average", None
    return ModelConfig(
        said.table.architecture,
        0,
        (said.settings.max_position_embeddings,),
        pool=sentences.pool if sentences else pool,
        normalize=bool(sentences and sentences.normalize),
        until=until,
        settings=said.settings,
    )


def _spec_of(said: TextDescription) -> Tokens:
    longest = said.settings.max_position_embeddings
    for limit in (said.longest, said.sentences and said.sentences.max_length):
        longest = min(longest, limit or longest)
    try:
        spec = Tokens(said.tokenizer, max_length=longest, parse_special=said.parse_special)
        spec.check_model(said.settings.vocab_size, said.settings.max_position_embeddings)
    except ConfigError as error:
        raise WeightsError(f"{shown(said.config.file)}: {error}") from error
    return spec


def settings_of(model: JsonFile, family: Family) -> BertConfig:
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
        pad = model.get("pad_token_id", "the number of a piece", int)
        rows = model.get("max_position_embeddings", "a number of positions", int)
        given["first_position"] = (pad.value if pad else 1) + 1
        given["max_position_embeddings"] = (rows.value if rows else 514) - given["first_position"]
    if given.get("embedding_size") == given.get("hidden_size", BertConfig.hidden_size):
        given["embedding_size"] = None
    if not family.table.endswith("/electra"):
        given.pop("embedding_size", None)
    try:
        return BertConfig(**given)
    except (ConfigError, TypeError) as error:
        raise WeightsError(f"{shown(model.file)}: {error}") from error
