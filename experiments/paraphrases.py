"""Tell paraphrases from pairs of sentences (MRPC) with a small BERT: frozen under a solved head, or all of it trained.

    python experiments/paraphrases.py --base FOLDER [--labels-per-class 300]

FOLDER holds all-MiniLM-L6-v2 as model hubs lay it out. A pair is one input: both sentences, one after the other, with
segments. The probe sees the mean over both, in which little is left of how they relate; training all of the base, 3
epochs by AdamW at 5e-5 from the probe's head, lets its layers compare them. Two thirds of the pairs are paraphrases: F1
is of these, and `always` says yes to every pair. Intervals are of 95%, the gain over the probe's on the same pairs.

    MRPC, 1,725 pairs, 3,671 learned from
      always  66.5% (64.2 to 68.7)  F1 79.9%
      probe   69.4% (67.2 to 71.5)  F1 80.9%
      all     77.3% (75.3 to 79.2)  F1 83.8%  gain +7.9 points (+5.7 to +10.3)
"""

from dataclasses import dataclass

import numpy as np
import text_results
from common import start
from text_results import bounds, gain, thawed

import tlx


@dataclass(frozen=True)
class Paraphrases(text_results.Options):
    """Transfer a BERT to pairs of sentences."""

    base: str = "hf/all-MiniLM-L6-v2"
    """A preset (see `tlx presets`), or a folder of a text model."""
    rate: float = 5e-5
    """The learning rate of the base."""
    head_rate: float = 1e-3


def f1(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Return the F1 of class 1.

    >>> f1(np.array([1, 1, 0, 0]), np.array([1, 0, 1, 0]))
    0.5
    """
    both = int((predicted & labels).sum())
    return 2 * both / max(int(predicted.sum() + labels.sum()), 1)


def main(options: Paraphrases) -> None:
    base = tlx.load(options.base).without_head()
    data = options.load("mrpc_train.tsv", "mrpc_test.tsv", base, text=("2", "3"))
    probe = tlx.linear_probe(base, data).model
    phase = thawed(base, data, options, base.stages[0], options.rate, options.head_rate)
    fit = tlx.fit(
        probe, (phase,), data, tlx.TrainOptions(batch_size=options.batch_size, seed=options.seed), progress=True
    )
    found = {name: tlx.evaluate(model, data.test) for name, model in {"probe": probe, "all": fit}.items()}
    labels = found["probe"].labels
    predicted = {"always": np.ones_like(labels), **{name: each.predicted for name, each in found.items()}}
    rows = {
        name: (
            bounds(each == labels),
            f"F1 {100 * f1(each, labels):.1f}%",
            f"gain {gain(predicted['probe'] == labels, each == labels)}" if name == "all" else "",
        )
        for name, each in predicted.items()
    }
    text_results.say(f"MRPC, {len(labels):,} pairs, {len(data.train):,} learned from", rows)


if __name__ == "__main__":
    start(main)
