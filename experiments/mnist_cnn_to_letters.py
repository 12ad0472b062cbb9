"""Carry the CNN from digits to letters: its base frozen, then its last convolution thawed, then all of it.

    python experiments/mnist_cnn_to_letters.py --data idx:DIR
    python experiments/mnist_cnn_to_letters.py --data tfds

DIR holds EMNIST balanced as idx files; `tfds` reads `emnist/balanced` as TensorFlow Datasets prepared it.

Measured on handwriting of the same 47 classes in EMNIST's format, not NIST's own images (4,960 training and 1,240
test images, 157 of the latter also among the former; `--data idx:DIR`, 10 epochs a phase, seed 0, 2 cores):

| --labels-per-class | head | conv3 | all | test | from scratch, 30 epochs |
| --- | --- | --- | --- | --- | --- |
| 5 | 50.2% | 67.2% | 68.1% | 69.0% | 54.0% |
| 20 | 78.1% | 82.2% | 82.9% | 81.1% | 76.0% |
| all | 87.4% | 90.5% | 90.7% | 89.1% | 88.7% |

(head, conv3, all: validation accuracy after each phase.) The base brings much where labels are few, and nothing where
there are about ninety a class.
"""

from common import Options, start

import tlx
from tlx import Run
from tlx.optim import Constant, Group, Phase

HEAD, BASE = Group(Constant(1e-3)), Group(Constant(1e-4))


def main(options: Options) -> Run:
    base = tlx.load("cnn-mnist")
    data = options.load("emnist/balanced")
    lower = (("base/conv1", "frozen"), ("base/conv2", "frozen"))
    recipe = (
        Phase("head", options.epochs, (("base", "frozen"), ("head", "head")), {"head": HEAD}),
        Phase(
            "conv3", options.epochs, (*lower, ("base/conv3", "base"), ("head", "head")), {"head": HEAD, "base": BASE}
        ),
        Phase("all", options.epochs, (("base", "base"), ("head", "head")), {"head": BASE, "base": BASE}),
    )
    return tlx.finetune(
        base,
        data,
        recipe,
        tlx.RunOptions(hidden=(128,), dropout=0.3, batch_size=64, seed=options.seed),
        out=options.out,
        progress=True,
    )


if __name__ == "__main__":
    start(main)
