"""What another library makes of texts, stage by stage: what a text model is compared with."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from tlx.text.tokenizer import PROBE

TEXTS = (
    PROBE,
    "A short one.",
    "x",
    "The quick brown fox, unaffable as ever, jumps over 13 lazy dogs; and nobody minds at all. " * 3,
)
"""Texts of very different lengths, so that most of them are padded."""


@dataclass(frozen=True)
class TextOutputs:
    """What a library makes of `TEXTS`.

    Args:
        by: the library and the class.
        same_pieces: whether its tokenizer makes the same pieces; None where that was not compared.
        width: to how many pieces its batch is padded.
        hidden: of embeddings and each layer, (B, width, C).
        pooled: of the pooler (B, C), where there is one.
        logits: of a classifier (B, classes).
        pretraining: of the heads of pretraining, by name: 'mlm' (B, width, pieces) and 'nsp' (B, 2).
    """

    by: str
    same_pieces: bool | None
    width: int
    hidden: tuple[np.ndarray, ...]
    pooled: np.ndarray | None = None
    logits: np.ndarray | None = None
    pretraining: Mapping[str, np.ndarray] = field(default_factory=dict)
