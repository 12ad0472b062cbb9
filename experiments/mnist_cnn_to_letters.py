"""Carry the CNN from digits to letters: its base frozen, then its last convolution thawed, then all of it.

    python experiments/mnist_cnn_to_letters.py --data idx:DIR
    python experiments/mnist_cnn_to_letters.py --data tfds

DIR holds EMNIST balanced as idx files; `tfds` reads `emnist/balanced` as TensorFlow Datasets prepared it.
"""

import sys

import tyro
from transfer_plots import Options, plot_history, say

import tlx
from tlx.optim import Constant, Group, Phase

HEAD, BASE = Group(Constant(1e-3)), Group(Constant(1e-4))


def main(options: Options) -> None:
    base = tlx.load("cnn-mnist")
    data = tlx.load_data(options.source("emnist/balanced"), seed=options.seed)
    lower = (("base/conv1", "frozen"), ("base/conv2", "frozen"))
    recipe = (
        Phase("head", options.epochs, (("base", "frozen"), ("head", "head")), {"head": HEAD}),
        Phase(
            "conv3", options.epochs, (*lower, ("base/conv3", "base"), ("head", "head")), {"head": HEAD, "base": BASE}
        ),
        Phase("all", options.epochs, (("base", "base"), ("head", "head")), {"head": BASE, "base": BASE}),
    )
    run = tlx.finetune(
        base, data, recipe, out=options.out, hidden=(128,), dropout=0.3, batch_size=64, seed=options.seed, progress=True
    )
    say(run)
    plot_history(run)


if __name__ == "__main__":
    main(tyro.cli(Options, args=sys.argv[1:]))
