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
from tlx.models.head import WORDS
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
            heads = {True: "AutoModelForTokenClassification", False: "AutoModelForSequenceClassification"}
            kind = getattr(transformers, heads[config.pool == WORDS] if config.classes else "AutoModel")
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
        if config.classes:
            logits, wanted = run_layer(model.head, variables_of(variables, "head"), x), found.logits.numpy()
            if config.pool == WORDS:  # of every piece, since these texts are not split into words
                logits, wanted = np.asarray(logits["logits"])[:, :width][mask], wanted[mask]
            differences.append(difference(OUTPUT, np.asarray(logits), wanted))
        elif config.pool == POOLER and getattr(found, "pooler_output", None) is not None:
            pooled = run_layer(model.head, variables_of(variables, "head"), x)
            differences.append(difference(POOLER, np.asarray(pooled), found.pooler_output.numpy()))
    return Verification(f"transformers:{type(network).__name__}", tuple(differences))


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
