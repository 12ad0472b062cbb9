"""EMNIST's 47 balanced classes on a frozen ResNet50: 32x32 RGB, no top, flattened, one dense layer.

    python experiments/resnet50_emnist.py --out RUN
    python experiments/resnet50_emnist.py --out RUN --data idx:DIR --weights FILE.h5

The data are tfds's `emnist/balanced`, or EMNIST's idx files in DIR; the weights Keras's ResNet50 without top. The base
sees 32x32, so its features are 1x1x2048, and 2,048 x 47 + 47 = 96,303 parameters train.

No weights of ResNet50 were at hand. With Keras's MobileNet V2 in its place (`--base keras/mobilenet_v2 --weights FILE
--data idx:DIR`; handwriting of the same 47 classes in EMNIST's format, 4,216 training and 1,240 test images; seed 0, 2
cores): 60,207 parameters trained, 33.1% of the test images right, 11 s. A frozen base for photographs sees little in
32x32 pixels of ink.
"""

from dataclasses import dataclass

from common import start
from published import Options, squeezed

import tlx
from tlx import Run


@dataclass(frozen=True)
class Emnist(Options):
    """Train a dense layer for EMNIST on a frozen base."""

    data: str = "tfds:emnist/balanced"
    base: str = "keras/resnet50"
    input_size: tuple[int, int] = (32, 32)
    epochs: int = 10
    batch_size: int = 128


def main(options: Emnist) -> Run:
    base, data = options.load_base(), options.load_data()
    return tlx.finetune(
        base,
        data,
        tlx.recipes.probe(base, epochs=options.epochs, patience=None),
        tlx.RunOptions(
            pool="flatten",
            preprocess=squeezed(base.preprocess),
            batch_size=options.batch_size,
            seed=options.seed,
            compare_scratch=False,
        ),
        out=options.out,
        progress=True,
    )


if __name__ == "__main__":
    start(main)
