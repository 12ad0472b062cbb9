"""Xception on tf_flowers: global average pooling and a dense layer; the base frozen, then all of it, by SGD.

    python experiments/xception_flowers.py --out RUN
    python experiments/xception_flowers.py --out RUN --data FOLDER --weights FILE.h5

tfds's tf_flowers is split train[:10%] for testing, train[10%:25%] for validation, train[25%:] for training; a FOLDER
has its own parts or is split at random. The weights are Keras's Xception without top. Phase 1: base frozen, SGD at 0.2,
momentum 0.9, the rate divided by 1 + 0.01 step, 5 epochs; phase 2: all, 0.01, 0.9, 0.001, 10 epochs. (A. Géron,
Hands-On Machine Learning with Scikit-Learn, Keras and TensorFlow, 2nd edition, 2019, chapter 14.)

No weights of Xception were at hand. With Keras's MobileNet V2 in its place (`--base keras/mobilenet_v2 --weights FILE
--data FOLDER --input-size 96 96 --head-rate 0.02 --base-rate 0.001`; five flowers, 600 training, 200 validation and 200
test images; seed 0, 2 cores): 74.5% of the validation images after the first phase, 64.0% after the second, in
which batch norms take each batch's statistics as Keras's do; 63.0% of the test images. The rates of the book, made
for more data and another network, take MobileNet V2 to 20% in the second phase.
"""

from dataclasses import dataclass, replace

from common import start
from published import Options

import tlx
from tlx import Run
from tlx.optim import Group, InverseTime, Phase, Sgd

FLOWERS = "tfds:tf_flowers"


@dataclass(frozen=True)
class Flowers(Options):
    """Train a head on a frozen base, then all."""

    data: str = FLOWERS
    base: str = "keras/xception"
    fine_epochs: int = 10
    """Epochs of the second phase."""
    head_rate: float = 0.2
    """The rate of the first phase."""
    base_rate: float = 0.01
    """The rate of the second phase."""


def main(options: Flowers) -> Run:
    if options.data == FLOWERS and options.train_split is None:
        splits = {"train_split": "train[25%:]", "validation_split": "train[10%:25%]", "test_split": "train[:10%]"}
        options = replace(options, **splits)
    base, data = options.load_base(), options.load_data()
    recipe = (
        Phase(
            "head",
            options.epochs,
            (("base", "frozen"), ("head", "head")),
            {"head": Group(InverseTime(options.head_rate, decay=0.01), Sgd(0.9))},
        ),
        Phase(
            "all",
            options.fine_epochs,
            (("**", "all"),),
            {"all": Group(InverseTime(options.base_rate, decay=0.001), Sgd(0.9))},
        ),
    )
    return tlx.finetune(
        base,
        data,
        recipe,
        tlx.RunOptions(pool="average", batch_size=options.batch_size, seed=options.seed, compare_scratch=False),
        out=options.out,
        progress=True,
    )


if __name__ == "__main__":
    start(main)
