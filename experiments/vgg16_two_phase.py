"""VGG16 with a new fully connected head: the base frozen, then its upper part thawed, then all of it.

    python experiments/vgg16_two_phase.py --out RUN --data FOLDER --weights FILE.h5

FOLDER holds a folder of images for each class; the weights are Keras's VGG16 without top. Each phase trains at a
lower rate than the one before, with images mirrored and cropped at random.

Only the first three blocks of VGG16 were at hand. With Keras's MobileNet V2 in its place (`--base keras/mobilenet_v2
--weights FILE --data FOLDER --input-size 96 96 --thaw-from block13`; five flowers, 600 training, 200 validation and 200
test images; seed 0, 2 cores): 71.0%, 71.5% and 75.5% of the validation images after the three phases, 72.0% of the
test images, 70 s.
"""

from dataclasses import dataclass

from common import start
from published import Options

import tlx
from tlx import Run
from tlx.optim import Constant, Group, Phase, Sgd


@dataclass(frozen=True)
class TwoPhase(Options):
    """Train a new head, then a part of the base with it, then all."""

    base: str = "keras/vgg16"
    thaw_from: str = "block5_conv1"
    """The lowest stage of the part that thaws first."""
    hidden: int = 256
    """Units of the head's hidden layer."""
    fine_epochs: int = 3
    """Epochs of the second and of the third phase."""


def main(options: TwoPhase) -> Run:
    base, data = options.load_base(), options.load_data()
    head, part, whole = (Group(Constant(rate), Sgd(0.9)) for rate in (1e-2, 1e-3, 1e-4))
    chain = base.model.base.span(until=options.thaw_from)  # an unknown stage is an error that names them all
    below = [stage for stage in base.stages if stage in chain[:-1]]
    recipe = (
        Phase("head", options.epochs, (("base", "frozen"), ("head", "head")), {"head": head}),
        Phase(
            f"{options.thaw_from} and up",
            options.fine_epochs,
            (*((f"base/{stage}", "frozen") for stage in below), ("**", "all")),
            {"all": part},
        ),
        Phase("all", options.fine_epochs, (("**", "all"),), {"all": whole}),
    )
    return tlx.finetune(
        base,
        data,
        recipe,
        tlx.RunOptions(
            hidden=(options.hidden,),
            dropout=0.5,
            batch_size=options.batch_size,
            seed=options.seed,
            augment=tlx.Augment(flip=True, crop=(0.5, 1.0)),
            compare_scratch=False,
        ),
        out=options.out,
        progress=True,
    )


if __name__ == "__main__":
    start(main)
