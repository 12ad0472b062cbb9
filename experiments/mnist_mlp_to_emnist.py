"""Carry the MLP's first layers from digits to letters: frozen, under a new head of 47 classes and 235 parameters.

    python experiments/mnist_mlp_to_emnist.py --data idx:DIR
    python experiments/mnist_mlp_to_emnist.py --data tfds

DIR holds EMNIST balanced as idx files; `tfds` reads `emnist/balanced` as TensorFlow Datasets prepared it. The MLP
784-8-4-10 was trained on MNIST, saved and packaged as `mlp-mnist` (`experiments/mnist_presets.py`); here it is loaded,
its head is replaced, and the head alone is trained.

Measured on handwriting of the same 47 classes in EMNIST's format, not NIST's own images (4,960 training and 1,240
test images; `--data idx:DIR --epochs 20`, seeds 0 to 4): 235 parameters trained and 6,316 frozen reach 22.7 to 24.1%
on the test images; the same network trained from scratch, all of it, for 20 epochs reaches 23.8, 34.7, 36.7, 27.6 and
34.6%. Four features that tell ten digits apart are too narrow a base for 47 letters: this is transfer that does harm,
kept here because it is worth seeing.
"""

from common import Options, start

import tlx
from tlx import Run
from tlx.optim import Constant, Group


def main(options: Options) -> Run:
    base = tlx.load("mlp-mnist")
    data = options.load("emnist/balanced")
    recipe = tlx.recipes.probe(base, epochs=options.epochs, patience=None, head=Group(Constant(1e-2)))
    return tlx.finetune(
        base, data, recipe, tlx.RunOptions(batch_size=128, seed=options.seed), out=options.out, progress=True
    )


if __name__ == "__main__":
    start(main)
