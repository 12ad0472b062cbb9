"""Verification of text models: run beside transformers, tokenizer and stages apart."""

import contextlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tlx.convert.reference import OUTPUT, import_torchvision
from tlx.convert.rules import Table
from tlx.convert.verify import Difference, Verification, difference, run_layer, variables_of
from tlx.errors import ConfigError, TlxError, WeightsError
from tlx.models.registry import ModelConfig, build_model
from tlx.text.tokenizer import PROBE
from tlx.text.tokens import Tokens
from tlx.tree.paths import Tree

TEXTS = (
    PROBE,
    "A short one.",
    "x",
    "The quick brown fox, unaffable as ever, jumps over 13 lazy dogs; and nobody minds at all. " * 3,
)
PIECES = "pieces"
POOLER = "pooler"


def verify_text(table: Table, config: ModelConfig, variables: Tree, spec: Tokens, folder: Path) -> Verification:
    """Compare a text model with transformers' on fixed texts, of which some are padded.

    Each stage runs on what the stage before it made, so the first one that differs is where the fault lies; positions
    of padding do not count. The first difference is that of the tokenizers' pieces, which must be the same.

    Args:
        table: which table the model was read by.
        config: the model.
        variables: its variables.
        spec: its tokenizer.
        folder: the source's folder, which transformers reads itself.

    Raises:
        ConfigError: where transformers or torch cannot be imported.
        WeightsError: where transformers cannot read the folder.
    """
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
    batch = spec.on_device(spec.collate(list(TEXTS)))
    theirs = tokenizer(list(TEXTS), padding=True, truncation=True, max_length=spec.max_length, return_tensors="pt")
    with torch.no_grad():
        found = network(**theirs, output_hidden_states=True)
    width = theirs["input_ids"].shape[1]
    ids, mask = (np.asarray(batch[name])[:, :width] for name in ("ids", "mask"))
    same = np.array_equal(ids[mask], theirs["input_ids"].numpy()[mask]) and np.array_equal(
        mask, theirs["attention_mask"].numpy().astype(bool)
    )
    differences = [Difference(PIECES, 0.0 if same else np.inf, 0.0 if same else np.inf)]
    model = build_model(config)
    x: Any = batch
    hidden = found.hidden_states
    with jax.default_matmul_precision("highest"):
        for number, stage in enumerate(model.base.stages):
            x = run_layer(stage.layer, variables_of(variables, "base", stage.name), x)
            ours = np.asarray(x["hidden"])[:, :width][mask]
            differences.append(difference(stage.name, ours, hidden[number].numpy()[mask]))
        if config.pretraining is not None:
            differences += _pretraining(config, variables, x, found, width, mask)
        elif config.classes:
            logits = run_layer(model.head, variables_of(variables, "head"), x)
            differences.append(difference(OUTPUT, np.asarray(logits), found.logits.numpy()))
        elif config.pool == POOLER and getattr(found, "pooler_output", None) is not None:
            pooled = run_layer(model.head, variables_of(variables, "head"), x)
            differences.append(difference(POOLER, np.asarray(pooled), found.pooler_output.numpy()))
    return Verification(f"transformers:{type(network).__name__}", tuple(differences))


def _kind(transformers: Any, config: ModelConfig) -> Any:
    """Return the class of transformers that has the heads that a model has."""
    if config.pretraining is not None:
        name = {"mlm": "AutoModelForMaskedLM", "mlm+nsp": "AutoModelForPreTraining"}[config.pretraining]
    else:
        name = "AutoModelForSequenceClassification" if config.classes else "AutoModel"
    return getattr(transformers, name)


def _pretraining(
    config: ModelConfig, variables: Tree, features: Tree, found: Any, width: int, mask: np.ndarray
) -> list[Difference]:
    """Compare the heads of pretraining on the features of the last stage."""
    matrix = variables["params"]["base"]["embeddings"]["word"]["embedding"]
    head = {"params": variables["params"]["head"]}
    ours = jax.jit(build_model(config).head.apply)(head, features, matrix)
    both = config.pretraining == "mlm+nsp"
    scores = (found.prediction_logits if both else found.logits).numpy()[mask]
    differences = [difference("mlm", np.asarray(ours["mlm"])[:, :width][mask], scores)]
    return (
        [*differences, difference("nsp", ours["nsp"], found.seq_relationship_logits.numpy())] if both else differences
    )


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
