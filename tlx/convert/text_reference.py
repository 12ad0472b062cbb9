"""Verification of text models: run beside transformers, tokenizer and stages apart."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tlx.convert.keras_hub_reference import keras_hub_outputs
from tlx.convert.reference import OUTPUT, import_torchvision
from tlx.convert.rules import Table
from tlx.convert.text_outputs import TEXTS, TextOutputs
from tlx.convert.verify import Difference, Verification, difference, run_layer, variables_of
from tlx.errors import ConfigError, TlxError, WeightsError
from tlx.models.head import WORDS
from tlx.models.registry import ModelConfig, build_model
from tlx.text.tokens import Tokens
from tlx.tree.paths import Tree

PIECES = "pieces"
POOLER = "pooler"


def verify_text(table: Table, config: ModelConfig, variables: Tree, spec: Tokens, folder: Path) -> Verification:
    """Compare a text model with the library's that wrote it, transformers or KerasHub, on fixed texts.

    Each stage runs on what the stage before it made, so the first one that differs is where the fault lies; positions
    of padding do not count. The first difference is that of the tokenizers' pieces, which must be the same.

    Args:
        table: which table the model was read by.
        config: the model.
        variables: its variables.
        spec: its tokenizer.
        folder: the source's folder, which the library reads itself.

    Raises:
        ConfigError: where the library cannot be imported.
        WeightsError: where it cannot read the folder.
    """
    batch = spec.on_device(spec.collate(list(TEXTS)))
    if table.dialect == "keras_hub":
        theirs = keras_hub_outputs(table, spec, folder, batch, config.classes)
    else:
        theirs = _transformers_outputs(table, spec, folder, batch, config)
    mask = np.asarray(batch["mask"])[:, : theirs.width]
    differences = []
    if theirs.same_pieces is not None:
        off = 0.0 if theirs.same_pieces else np.inf
        differences.append(Difference(PIECES, off, off))
    model = build_model(config)
    x: Any = batch
    with jax.default_matmul_precision("highest"):
        for number, stage in enumerate(model.base.stages):
            x = run_layer(stage.layer, variables_of(variables, "base", stage.name), x)
            ours = np.asarray(x["hidden"])[:, : theirs.width][mask]
            differences.append(difference(stage.name, ours, theirs.hidden[number][mask]))
        if config.pretraining is not None:
            differences += _pretraining(config, variables, x, theirs, mask)
        elif config.classes:
            logits, wanted = run_layer(model.head, variables_of(variables, "head"), x), theirs.logits
            assert wanted is not None
            if config.pool == WORDS:  # of every piece, since these texts are not split into words
                logits, wanted = np.asarray(logits["logits"])[:, : theirs.width][mask], wanted[mask]
            differences.append(difference(OUTPUT, np.asarray(logits), wanted))
        elif config.pool == POOLER and theirs.pooled is not None:
            pooled = run_layer(model.head, variables_of(variables, "head"), x)
            differences.append(difference(POOLER, np.asarray(pooled), theirs.pooled))
    return Verification(theirs.by, tuple(differences))


def _transformers_outputs(
    table: Table, spec: Tokens, folder: Path, batch: Mapping[str, Any], config: ModelConfig
) -> TextOutputs:
    """Run transformers' tokenizer and model."""
    with contextlib.suppress(ImportError):  # transformers does without
        import_torchvision()
    try:
        import torch
        import transformers
    except ImportError as error:
        raise ConfigError(
            f"{table.name} is compared with transformers, which cannot be imported ({error}): pip install torch "
            "transformers, or leave out --verify"
        ) from error
    try:
        with _quiet(transformers):
            kind = _kind(transformers, config)
            network = kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False).eval().float()
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except TlxError:
        raise
    except Exception as error:  # whatever transformers makes of a folder that tlx reads
        told = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"{folder}: transformers cannot load it ({type(error).__name__}: {told}): leave out --verify"
        ) from error
    theirs = tokenizer(list(TEXTS), padding=True, truncation=True, max_length=spec.max_length, return_tensors="pt")
    with torch.no_grad():
        found = network(**theirs, output_hidden_states=True)
    width = theirs["input_ids"].shape[1]
    ids, mask = (np.asarray(batch[name])[:, :width] for name in ("ids", "mask"))
    same = np.array_equal(ids[mask], theirs["input_ids"].numpy()[mask]) and np.array_equal(
        mask, theirs["attention_mask"].numpy().astype(bool)
    )
    pooled = getattr(found, "pooler_output", None)
    return TextOutputs(
        f"transformers:{type(network).__name__}",
        same,
        width,
        tuple(each.numpy() for each in found.hidden_states),
        None if pooled is None else pooled.numpy(),
        found.logits.numpy() if config.classes else None,
        _pretraining_outputs(config, found),
    )


def _kind(transformers: Any, config: ModelConfig) -> Any:
    """Return the class of transformers that has the heads that a model has."""
    if config.pretraining is not None:
        name = {"mlm": "AutoModelForMaskedLM", "mlm+nsp": "AutoModelForPreTraining"}[config.pretraining]
    else:
        heads = "AutoModelForTokenClassification" if config.pool == WORDS else "AutoModelForSequenceClassification"
        name = heads if config.classes else "AutoModel"
    return getattr(transformers, name)


def _pretraining_outputs(config: ModelConfig, found: Any) -> dict[str, np.ndarray]:
    """Return the scores of transformers' heads of pretraining by their names in tlx."""
    if config.pretraining is None:
        return {}
    if config.pretraining == "mlm":
        return {"mlm": found.logits.numpy()}
    return {"mlm": found.prediction_logits.numpy(), "nsp": found.seq_relationship_logits.numpy()}


def _pretraining(
    config: ModelConfig, variables: Tree, features: Tree, theirs: TextOutputs, mask: np.ndarray
) -> list[Difference]:
    """Compare the heads of pretraining on the features of the last stage."""
    matrix = variables["params"]["base"]["embeddings"]["word"]["embedding"]
    head = {"params": variables["params"]["head"]}
    ours = jax.jit(build_model(config).head.apply)(head, features, matrix)
    scores = np.asarray(ours["mlm"])[:, : theirs.width][mask]
    differences = [difference("mlm", scores, theirs.pretraining["mlm"][mask])]
    if "nsp" in theirs.pretraining:
        differences.append(difference("nsp", ours["nsp"], theirs.pretraining["nsp"]))
    return differences


class _quiet:
    """Keep transformers from writing bars and advice while it loads."""

    def __init__(self, transformers: Any) -> None:
        self._logging = transformers.logging

    def __enter__(self) -> None:
        self._before = self._logging.get_verbosity()
        self._logging.set_verbosity_error()
        self._logging.disable_progress_bar()

    def __exit__(self, *_: object) -> None:
        self._logging.set_verbosity(self._before)
        self._logging.enable_progress_bar()
