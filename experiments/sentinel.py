"""Measure how often the sentinel tells of wrongly made inputs, and how often it cries over right ones.

    python experiments/sentinel.py DIR --batches 1000

DIR holds the weights and the images under the names that stand below. A batch is drawn at random with replacement
from a pool (50 images of ImageNet, 100 of each flower, of MNIST and of two sets of letters, 1,000 of CIFAR-10 test).

Measured (seed 0, 1,000 batches of each of the sizes 8/16/32/50 in every cell, 2 cores, 21 minutes beside other work):
how many of the right batches were told of, and how many of the wrong ones by the right name, in percent.

Keras's MobileNet V2, which wants -1..1. 0..255, and inputs preprocessed twice, were named in 99.9% or more of the
batches of photographs, whatever their size; being told of a preprocessing that is the wrong one ("standardised") gives
the same as inputs made by it.

| images | right | BGR | 0..1 | standardised |
| --- | --- | --- | --- | --- |
| ImageNet | 0/0/0/0 | 0/77/92/96 | 100/100/100/100 | 93/99/100/100 |
| flowers | 0/0/0/0 | 0/100/100/100 | 100/100/100/100 | 99/100/100/100 |
| only daisies | 0/0/0/0 | 0/92/98/100 | 100/100/100/100 | 99/100/100/100 |
| only dandelions | 0/0/0/0 | 0/89/98/99 | 100/100/100/100 | 74/87/98/100 |
| only roses | 0/0/0/0 | 0/63/74/79 | 100/100/100/100 | 99/100/100/100 |
| only sunflowers | 0/0/0/0 | 0/100/100/100 | 100/100/100/100 | 100/100/100/100 |
| only tulips | 0/0/0/0 | 0/94/100/100 | 100/100/100/100 | 100/100/100/100 |
| MNIST, letters47, letters62, black on white | 0/0/0/0 | 0/0/0/0 | 0/0/0/0 | 0/0/0/0 |

CIFAR's ResNet-20, which wants standardised. 0..255, 0..1, -1..1 and twice were named in 99.6% or more of the batches of
photographs, but for ships, where BGR was added to the name as often as right ones were told of.

| images | right | BGR | 0..1 | -1..1 |
| --- | --- | --- | --- | --- |
| ImageNet | 0/0.1/0/0 | 0/64/81/88 | 100/100/100/100 | 100/100/100/100 |
| CIFAR-10 | 0/0.1/0/0 | 0/46/57/63 | 100/100/100/100 | 100/100/100/100 |
| only airplanes | 0/0.1/0/0 | 0/0/0/0 | 100/100/100/100 | 100/100/100/100 |
| only ships | 0/7.4/5.0/1.8 | 0/0/0/0 | 100/93/95/98 | 100/93/95/98 |
| only frogs | 0/0/0/0 | 0/96/100/100 | 100/100/100/100 | 100/100/100/100 |
| flowers | 0/0/0/0 | 0/77/93/98 | 100/100/100/100 | 100/100/100/100 |
| only roses | 0/0/0/0 | 0/12/7/4 | 100/100/100/100 | 100/100/100/100 |
| only sunflowers | 0/0/0/0 | 0/3/1/0 | 100/100/100/100 | 100/100/100/100 |
| MNIST | 0/0/0/0 | 0/0/0/0 | 100/100/100/100 | 97/100/100/100 |
| letters47 | 0/0/0/0 | 0/0/0/0 | 100/100/100/100 | 0/0/0/0 |
| letters62 (dim), letters47 black on white | 0/0/0/0 | 0/0/0/0 | 0.5/0.3/0/0 | 0/0/0/0 |

So a wrong scale shows in 8 photographs. Reversed channels show in 32 to 50 of mixed contents on MobileNet, less surely
on ResNet-20, and not always where all are of one colour; sky and sea, in which blue outweighs red, look reversed by
nature. Drawings hardly ever alarm for their kind, nor are their faults sure to show: 0..255 was named for all of MNIST
and letters47, for 27/52/80/92% (ResNet-20: 5/15/41/61%) of letters62, which is dim and does not fill the scale.

How the thresholds were chosen, on the same images, by trials that are not part of this script:

- On right batches of 16 no other scale fitted more than 0.95 times as well as the right one (99% of batches); of the
  wrongly scaled photographs 95% fitted the right one 2.07 times as well or better. Hence 2.
- By Kullback and Leibler's divergence line drawings (the edges of the photographs) fitted another scale 3 to 5 times as
  well, by Bhattacharyya's distance 1.4 to 1.5 times. Hence the latter.
- Photographs at half their contrast fitted another scale 4 times as well or better by both, on MobileNet. Hence only
  scales that pixels fill are considered; 0.5 x + 127 still looks like 0..1 where -1..1 is wanted, as it equals it.
- Reversed channels move the means: for 16 images of ImageNet on MobileNet their part grew 12 times and the whole 1.5
  times (medians); reversing right ships on ResNet-20 shrank them 1.7 and 1.25 times. Hence 2.5 and 1.25, together.
- The first batch norm tells most: reversing grew the means' part in MobileNet's first three 16, 8 and 1.1 times, in
  those tried after them 1.5 times at most (24 images of ImageNet, medians).
"""

import functools
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from common import start

import tlx
from tlx.data import read_idx
from tlx.data.image_files import read_images
from tlx.presets import sentinel
from tlx.presets.sentinel import CODINGS, Gap, Hypothesis, Moments

SIZES = (8, 16, 32, 50)
MOBILENET = "weights/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5"
IMAGES = 100  # of each pool that has more


@dataclass(frozen=True)
class Options:
    """Measure the sentinel on real networks and images."""

    folder: Annotated[Path, tyro.conf.Positional]
    """Where the weights and the images are."""
    batches: int = 500
    """Random batches of each size from each pool, drawn with replacement."""
    seed: int = 0


@dataclass(frozen=True)
class Fault:
    """A way to make inputs, the preprocessing that is told of, and the suspect that should be named."""

    make: Callable[[np.ndarray], np.ndarray]
    told: tlx.Preprocess
    suspect: str | None


def faults_of(base: tlx.Pretrained, own: str) -> dict[str, Fault]:
    """Return what can go wrong with a network whose preprocessing is called `own`; first, nothing."""
    right = base.preprocess
    others = {
        name: replace(right, **{"scale": 1 / 255, "mean": (), "std": (), **fields}) for name, fields in CODINGS.items()
    }
    others = {name: other for name, other in others.items() if name != own and other.channel_order == "rgb"}
    wrong = next(reversed(others))
    return {
        "right": Fault(right.normalise, right, None),
        "BGR": Fault(lambda x: right.normalise(x[..., ::-1]), right, "BGR for RGB"),
        **{name: Fault(other.normalise, right, f"{name} for {own}") for name, other in others.items()},
        "again": Fault(lambda x: right.normalise(right.normalise(x)), right, f"{own} scaled again for {own}"),
        f"told {wrong}": Fault(others[wrong].normalise, others[wrong], f"{wrong} for {own}"),
    }


def pools_of(folder: Path, draw: np.random.Generator) -> dict[str, list[np.ndarray]]:
    """Read images of each kind, at most `IMAGES` of each: (H, W) or (H, W, C) on 0..255."""

    def some(paths: Iterator[Path]) -> list[np.ndarray]:
        return [read_images(str(path))[0][1] for path in draw.permutation(sorted(paths))[:IMAGES]]

    pools = {"ImageNet": some((folder / "imagenet50").glob("*.JPEG"))}
    with tempfile.TemporaryDirectory() as temporary:
        for name in ("flowers", "letters62_sample"):
            zipfile.ZipFile(folder / f"{name}.zip").extractall(Path(temporary) / name)
        flowers = sorted((Path(temporary) / "flowers").rglob("*.jpg"))
        kinds = sorted({path.parent.name for path in flowers})
        each = {kind: some(path for path in flowers if path.parent.name == kind) for kind in kinds}
        pools["flowers"] = [image for kind in kinds for image in each[kind]]
        pools |= {f"only {kind}": members for kind, members in each.items()}
        pools["letters62"] = some((Path(temporary) / "letters62_sample").rglob("*.png"))
    for name, path in (("MNIST", "mnist/t10k"), ("letters47", "letters47/emnist-balanced-test")):
        pools[name] = list(draw.permutation(read_idx(str(folder / f"{path}-images-idx3-ubyte.gz")))[:IMAGES])
    pools["letters47, black on white"] = [255 - image for image in pools["letters47"]]
    with np.load(folder / "cifar10_jpeg_1000.npz") as cifar:
        images, labels, classes = cifar["input"], cifar["target"], [str(name) for name in cifar["classes"]]
    pools["CIFAR-10"] = list(images)
    pools |= {f"only {name}": list(images[labels == classes.index(name)]) for name in ("airplane", "ship", "frog")}
    return pools


def rates(base: tlx.Pretrained, frames: np.ndarray, fault: Fault, options: Options) -> dict[int, tuple[float, float]]:
    """Return for each size of batch how often it is told that something is wrong, and that it is this fault."""
    inputs = fault.make(frames)
    stored = sentinel.respond(base.model, base.variables, inputs[:1])[1]

    @functools.cache
    def moments(guess: Hypothesis) -> Moments:
        parts = [inputs[start : start + 50] for start in range(0, len(inputs), 50)]
        came = [sentinel.respond(base.model, base.variables, guess.correct(part))[0] for part in parts]
        return Moments(*(np.concatenate(moment) for moment in zip(*came, strict=True)))

    extremes, guesses = np.stack([inputs.min((1, 2)), inputs.max((1, 2))]), sentinel.hypotheses(fault.told)
    draw, found = np.random.default_rng(options.seed), {}
    for size in SIZES:
        told = []
        for _ in range(options.batches):
            rows = draw.integers(0, len(inputs), size)

            @functools.cache
            def gap(guess: Hypothesis, rows: np.ndarray = rows) -> Gap:
                return sentinel.measure(Moments(*(moment[rows] for moment in moments(guess))), stored)

            ends = np.stack([extremes[0][rows].min(0), extremes[1][rows].max(0)])
            told.append(sentinel.judge(sentinel.possible(guesses, ends), gap, size).suspect)
        found[size] = (
            100 * sum(name is not None for name in told) / len(told),
            100 * told.count(fault.suspect) / len(told),
        )
    return found


def main(options: Options) -> None:
    pools = pools_of(options.folder, np.random.default_rng(options.seed))
    small = ("CIFAR-10", "only airplane", "only ship", "only frog")
    for name, own, weights, left_out in (
        ("keras/mobilenet_v2", "-1..1", MOBILENET, small),
        ("cifar/resnet20", "standardised", "weights/resnet20-12fca82f.th", ()),
    ):
        base = tlx.load(name, options.folder / weights)
        faults = faults_of(base, own)
        print(f"\n{name}: % told of (right), % told of by name (the rest), batches of {', '.join(map(str, SIZES))}")
        print("|", " | ".join(["images", *faults]), "|")
        for pool, images in pools.items():
            if pool in left_out:
                continue
            frames = np.concatenate([base.preprocess.frame(image[None]) for image in images])
            cells = []
            for fault in faults.values():
                found = rates(base, frames, fault, options)
                cells.append("/".join(f"{found[size][fault.suspect is not None]:.3g}" for size in SIZES))
            print("|", " | ".join([pool, *cells]), "|", flush=True)


if __name__ == "__main__":
    start(main)
