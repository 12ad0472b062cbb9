"""Time fine-tuning the last block of a base, with a new head, beside Keras and PyTorch.

    python benchmarks/last_block.py [--networks vgg16 resnet50 xception] [--images 150] [--quick] [--json]

Ten epochs of VGG16 from `block5_conv1` up, of ResNet50's last residual block, `block4_3` (Keras's `conv5_block3`), and
of Xception's `block14`, on photographs of flowers at 224x224: 150 of the 600 that there are, or as many as `--images`
says (with `--quick` 60), and a third as many to validate on after every epoch. Batches of 32, Adam, a linear head on
average-pooled features, float32, and in all programs batch norms on their stored statistics. The images are decoded
and scaled in memory before any clock runs; the weights are random, for time does not depend on them.

tlx runs `tlx.fit` whole, with the second phase of `recipes.finetune(thaw_from=…)` and its activation cache in memory:
fingerprints, one pass through the frozen stages, the tracing of the step, epochs, validation. A fit of two epochs comes
first, which compiles all as a peer's first epoch does. The peers do it their usual way, the whole base in
every epoch: Keras by `fit` with `trainable = False` on all layers but the block's, PyTorch by a loop with
`requires_grad` on the block's and the head's parameters only, `eval()` on the base, and `no_grad` for validation. Their
epochs are all alike, so the time of ten is ten times the median of those measured. `uncached` is tlx with
`ActivationCache("off")`, a fit of two epochs, measured likewise. All are asked in turns. `ratio` is the fastest peer's
time over tlx's; `same_loss` says that tlx's training losses with the cache and without are the same to 1e-4, and
`frozen_unchanged` that the frozen bytes were the same after as before.
"""

import json
import sys
from dataclasses import dataclass
from typing import Any

import tyro
from epochs import Task, measure, say
from networks import LAST_BLOCKS, PROGRAMS
from turns import versions

COUNTS = (10,)
QUICK = 60  # images


@dataclass(frozen=True)
class Options:
    """Time epochs of a base's last block and a new head."""

    networks: tuple[str, ...] = tuple(LAST_BLOCKS)
    images: int = 150
    """How many photographs are trained on, of 600."""
    rounds: int = 3
    """How often each program is asked."""
    programs: tuple[str, ...] = PROGRAMS
    quick: bool = False
    """One round, and at most 60 images."""
    json: bool = False
    """Print one JSON object."""


def main(options: Options) -> None:
    images = min(options.images, QUICK) if options.quick else options.images
    figures: dict[str, Any] = {}
    for network in options.networks:
        task = Task(network, "flowers", 224, "block", images)
        found = measure(task, COUNTS, options.programs, 1 if options.quick else options.rounds)
        figures[network] = {**found, "from": LAST_BLOCKS[network].tlx, "images": images}
        if not options.json:
            say(f"{images} flowers", found, COUNTS)
    figures["versions"] = versions("tlx-jax", "jax", "keras", "tensorflow-cpu", "torch", "torchvision", "timm")
    if options.json:
        print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main(tyro.cli(Options, args=sys.argv[1:]))
