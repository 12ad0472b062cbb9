"""Sentiment of sentences with word vectors: which file, frozen or tuned, the mean of the words or a small CNN.

    python experiments/word_vectors_sentiment.py [--labels-per-class 500]

SST-2 with vectors of three files: GloVe's first 5,000 words (50 numbers, from 6 billion words of news and Wikipedia);
word2vec's binary layout with 2,747 words (10 numbers, test data of gensim); and fastText's of reviews of films (1,694
words, 100 numbers, learned with the labels of some thousand sentences, no n-grams). On them a linear head on the mean
of the words, or a small CNN (Y. Kim, Convolutional neural networks for sentence classification, 2014). `frozen` trains
the head alone, which is solved where it is linear; `tuned` trains the vectors with it. Words without a vector are left
out; `unknown` is their share in the test sentences. Adam at 1e-3, at most `--epochs` epochs, until validation no longer
improves for 3. Intervals are of 95%; `gain` is tuned over frozen, on the same sentences.

    SST-2, 1,821 sentences, 6,228 learned from
    GloVe, average     unknown 21.9%  frozen 66.1% (63.9 to 68.2) tuned 74.6% (72.6 to 76.6) gain +8.6 (+6.4 to +10.8)
    GloVe, cnn         unknown 21.9%  frozen 69.5% (67.4 to 71.6) tuned 72.3% (70.2 to 74.3) gain +2.7 (+1.3 to +4.2)
    word2vec, average  unknown 44.7%  frozen 55.8% (53.6 to 58.1) tuned 64.7% (62.5 to 66.9) gain +8.9 (+6.4 to +11.3)
    word2vec, cnn      unknown 44.7%  frozen 59.4% (57.1 to 61.7) tuned 60.6% (58.3 to 62.8) gain +1.2 (-0.2 to +2.5)
    fastText, average  unknown 31.9%  frozen 60.6% (58.3 to 62.8) tuned 73.3% (71.2 to 75.3) gain +12.7 (+10.0 to +15.3)
    fastText, cnn      unknown 31.9%  frozen 69.2% (67.1 to 71.3) tuned 74.2% (72.1 to 76.1) gain +4.9 (+2.6 to +7.2)

Tuned vectors are better but for the small file of word2vec under a CNN, where no difference is shown.
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
    "word2vec": "vectors/euclidean_vectors.bin",
    "fastText": "vectors/pang_lee_polarity_fasttext.bin",
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
    if pool == "average" and not tuned:  # Adam would take long: some files' numbers are very small
        return right(tlx.linear_probe(base, data).model, data.test)
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
