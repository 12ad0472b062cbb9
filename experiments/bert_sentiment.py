"""Sentiment of sentences with a small BERT: frozen, its top layers trained, all of it; then texts of other kinds.

    python experiments/bert_sentiment.py --base FOLDER [--labels-per-class 500]

FOLDER holds all-MiniLM-L6-v2 as model hubs lay it out. `probe` solves a head on the frozen base; the others begin from
this head (A. Kumar et al., Fine-tuning can distort pretrained features and underperform out-of-distribution, 2022) and
train the upper third of the layers, or all, for 3 epochs: AdamW at 5e-5, batches of 32, a tenth of the steps warm up.
They learn from SST-2's sentences about films and are tested on its own, then on reviews of products (Amazon), of
restaurants (Yelp) and of films (IMDB). Intervals are of 95%; `gain` is over the probe, on the same sentences.

    layer4 and up: 107 s
    all: 328 s
    SST-2, 1,821 sentences, 6,228 learned from
      probe          80.2% (78.3 to 81.9)
      layer4 and up  84.2% (82.4 to 85.8)  gain +4.0 points (+2.6 to +5.4)
      all            89.1% (87.6 to 90.4)  gain +8.9 points (+7.2 to +10.5)
    Amazon, 1,000 sentences, 6,228 learned from
      probe          83.5% (81.1 to 85.7)
      layer4 and up  87.5% (85.3 to 89.4)  gain +4.0 points (+2.2 to +5.8)
      all            90.2% (88.2 to 91.9)  gain +6.7 points (+4.5 to +8.8)
    Yelp, 1,000 sentences, 6,228 learned from
      probe          83.1% (80.7 to 85.3)
      layer4 and up  87.5% (85.3 to 89.4)  gain +4.4 points (+2.8 to +6.0)
      all            89.7% (87.7 to 91.4)  gain +6.6 points (+4.5 to +8.7)
    IMDB, 1,000 sentences, 6,228 learned from
      probe          87.7% (85.5 to 89.6)
      layer4 and up  88.8% (86.7 to 90.6)  gain +1.1 points (-0.2 to +2.4)
      all            90.8% (88.8 to 92.4)  gain +3.1 points (+1.4 to +4.8)

on two cores. On sentences about other things, too, all layers trained are better than the frozen base.
"""

from dataclasses import dataclass

import text_results
from common import start
from text_results import bounds, gain, right, thawed

import tlx

OTHERS = {"Amazon": "sentences_amazon.tsv", "Yelp": "sentences_yelp.tsv", "IMDB": "sentences_imdb.tsv"}


@dataclass(frozen=True)
class Sentiment(text_results.Options):
    """Transfer a BERT to the sentiment of sentences."""

    base: str = "hf/all-MiniLM-L6-v2"
    """A preset (see `tlx presets`), or a folder of a text model."""
    rate: float = 5e-5
    """The learning rate of what is thawed."""
    head_rate: float = 1e-3


def main(options: Sentiment) -> None:
    base = tlx.load(options.base).without_head()
    data = options.load("sst2_train.tsv", "sst2_dev.tsv", base)
    tests = {"SST-2": data.test}
    for name, file in OTHERS.items():
        tests[name] = options.load("sst2_train.tsv", file, base).test
    probe = tlx.linear_probe(base, data).model
    layers = [stage for stage in base.stages if stage.startswith("layer")]
    starts = {f"{layers[-(len(layers) // 3 or 1)]} and up": layers[-(len(layers) // 3 or 1)], "all": base.stages[0]}
    found = {"probe": {name: right(probe, test) for name, test in tests.items()}}
    for name, stage in starts.items():
        phase = thawed(base, data, options, stage, options.rate, options.head_rate)
        fit = tlx.fit(
            probe, (phase,), data, tlx.TrainOptions(batch_size=options.batch_size, seed=options.seed), progress=True
        )
        found[name] = {test: right(fit, source) for test, source in tests.items()}
        print(f"{name}: {sum(record['seconds'] for record in fit.history):.0f} s", flush=True)
    for test in tests:
        rows = {
            name: (bounds(by[test]), "" if name == "probe" else f"gain {gain(found['probe'][test], by[test])}")
            for name, by in found.items()
        }
        text_results.say(f"{test}, {len(tests[test]):,} sentences, {len(data.train):,} learned from", rows)


if __name__ == "__main__":
    start(main)
