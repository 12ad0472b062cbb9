"""Time the usual beginning of a transfer, some epochs of a new head on a frozen base, beside Keras and PyTorch.

    python benchmarks/frozen_epochs.py [--tasks letters47 flowers] [--quick] [--json]

`letters47`: ResNet50 on 4,960 images of handwriting at 32x32, validated on 1,240 after every epoch; `flowers`:
MobileNet V2 on 600 photographs at 224x224, validated on 200. Batches of 32, Adam, a linear head on average-pooled
features, float32. The images are decoded and scaled in memory before any clock runs. The base's weights are random,
for time does not depend on them; but where `--accuracy` asks how well the head of each of tlx and Keras does after ten
epochs, on the images held out, both have the same: MobileNet V2's of ImageNet, ResNet50's drawn by Keras. tlx then
trains with five seeds, Keras once.

tlx runs `tlx.fit` with `recipes.probe`, whole, for each number of epochs. A fit of two epochs comes first, which
compiles base and head as a peer's first epoch does; later ones trace the head's step, which counts, and find it
compiled. The peers do it their usual way, the base in every epoch: Keras by `fit` with `trainable = False`, PyTorch by
a loop, under `no_grad` for validation. Their epochs are all alike, so the time of n of them is n times the median of
those measured. `uncached` is tlx with `ActivationCache("off")`, measured likewise. All are asked in turns. `ratio` is
the fastest peer's time over tlx's; `same_loss` says that tlx's training losses with the cache and without are the same
to 1e-4, and `frozen_unchanged` that the frozen bytes were the same after as before. What was measured stands in
benchmarks/README.md.
"""

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import tyro
from epochs import DATA, Task, accuracies, measure, say
from networks import PROGRAMS
from turns import versions

TASKS = {"letters47": Task("resnet50", "letters47", 32), "flowers": Task("mobilenet_v2", "flowers", 224)}
COUNTS = (10, 50)
IMAGENET = DATA / "weights" / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5"


@dataclass(frozen=True)
class Options:
    """Time epochs of a new head on a frozen base."""

    tasks: tuple[str, ...] = tuple(TASKS)
    rounds: int = 3
    """How often each program is asked."""
    programs: tuple[str, ...] = PROGRAMS
    quick: bool = False
    """One round."""
    accuracy: bool = False
    """Measure accuracies, and no times."""
    json: bool = False
    """Print one JSON object."""


def accuracy_of(task: Task, programs: tuple[str, ...]) -> dict[str, list[float]]:
    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder) / "base.weights.h5"
        task = replace(task, weights=str(IMAGENET if task.network == "mobilenet_v2" else drawn))
        if task.weights == str(drawn):
            subprocess.run(
                [sys.executable, str(Path(__file__).with_name("epochs.py")), json.dumps(asdict(task)), "weights"],
                check=True,
            )
        return accuracies(task, programs, COUNTS[0])


def main(options: Options) -> None:
    if options.accuracy:
        reached = {task: accuracy_of(TASKS[task], options.programs) for task in options.tasks}
        print(json.dumps(reached, indent=2) if options.json else f"accuracy after {COUNTS[0]} epochs: {reached}")
        return
    rounds = 1 if options.quick else options.rounds
    figures: dict[str, Any] = {task: measure(TASKS[task], COUNTS, options.programs, rounds) for task in options.tasks}
    figures["versions"] = versions("tlx-jax", "jax", "keras", "tensorflow-cpu", "torch")
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    for task in options.tasks:
        say(task, figures[task], COUNTS)


if __name__ == "__main__":
    main(tyro.cli(Options, args=sys.argv[1:]))
