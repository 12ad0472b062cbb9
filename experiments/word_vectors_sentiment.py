"""Sentiment of sentences with word vectors: which file, frozen or tuned, the mean of the words or a small CNN.

    python experiments/word_vectors_sentiment.py [--labels-per-class 500]

SST-2 with vectors of three files: GloVe's first 5,000 words (50 numbers, from 6 billion words of news and Wikipedia);
and fastText's of reviews of films (100 numbers, from some thousand sentences), as `.vec`, which has 1,694 words, and as
`.bin`, whose n-grams make a vector of any word. On them a linear head on the mean of the words, or a small CNN (Y. Kim,
Convolutional neural networks for sentence classification, 2014). `frozen` trains the head alone, `tuned` the vectors
with it. Words without a vector are left out; `unknown` is their share in the test sentences.
Adam at 1e-3, at most `--epochs` epochs, until validation no longer improves for 3. Intervals are of 95%; `gain` is
tuned over frozen, on the same sentences.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import text_results
from common import start
from text_results import bounds, gain, right

import tlx

FILES: Mapping[str, str] = {
    "GloVe": "glove.6B.50d.first5k.txt",
    "fastText .vec": "vectors/pang_lee_polarity_fasttext.vec",
    "fastText .bin": "vectors/pang_lee_polarity_fasttext.bin",
}


@dataclass(frozen=True)
class Words(text_results.Options):
    """Transfer word vectors to the sentiment of sentences."""

    files: tuple[str, ...] = tuple(FILES)
    pools: tuple[str, ...] = ("average", "cnn")
    epochs: int = 20
    rate: float = 1e-3
    """The learning rate of head and vectors."""
    batch_size: int = 64


def unknown(base: tlx.Pretrained, data: tlx.Data) -> str:
    """Say the share of the test sentences' words that have no vector."""
    rows = base.preprocess.encode([data.test[row]["input"] for row in range(len(data.test))])
    absent, known = int(rows.unknown.sum()), int(rows.lengths.sum())
    return f"{100 * absent / (absent + known):.1f}%"


def trained(base: tlx.Pretrained, data: tlx.Data, pool: str, tuned: bool, options: Words) -> np.ndarray:
    """Train a head, and the vectors with it where they are `tuned`; tell of each test sentence whether it is right."""
    group = tlx.Group(tlx.schedules.Constant(options.rate))
    if tuned:
        recipe = tlx.recipes.full(base, epochs=options.epochs, head=group, base=group, patience=3)
    else:
        recipe = tlx.recipes.probe(base, epochs=options.epochs, head=group, patience=3)
    start = base.with_head(data.classes, pool=pool, seed=options.seed)
    return right(
        tlx.fit(start, recipe, data, tlx.TrainOptions(batch_size=options.batch_size, seed=options.seed)), data.test
    )


def main(options: Words) -> None:
    data = options.load("sst2_train.tsv", "sst2_dev.tsv")
    rows: dict[str, tuple[str, ...]] = {}
    for file in options.files:
        base = tlx.word_base(Path(options.folder, FILES.get(file, file)), data)
        for pool in options.pools:
            frozen, tuned = (trained(base, data, pool, which, options) for which in (False, True))
            rows[f"{file}, {pool}"] = (
                f"unknown {unknown(base, data)}",
                f"frozen {bounds(frozen)}",
                f"tuned {bounds(tuned)}",
                f"gain {gain(frozen, tuned)}",
            )
            print(f"{file}, {pool}: {', '.join(rows[f'{file}, {pool}'])}", flush=True)
    text_results.say(f"SST-2, {len(data.test):,} sentences, {len(data.train):,} learned from", rows)


if __name__ == "__main__":
    start(main)
