"""Time the way from image files to a network's batches, beside PyTorch's DataLoader and tf.data.

    python benchmarks/input_pipeline.py [--runs 5] [--quick] [--tensorflow PYTHON] [--json]

JPEG files in a folder for each class, in the system's cache, become shuffled batches of 32 x 224 x 224 x 3 float32,
less ImageNet's mean and over its deviation, on two cores: 1,000 flowers of 227 x 227 pixels, and 500 photographs, ten
times the same 50 of ImageNet, mostly of 500 x 375. `evaluation` resizes the shorter side to 256 and cuts out the
centre; `augmented` resizes a random part, 8 to 100 % of the area, and mirrors every second one.

Each program is one process, asked for an epoch at a time, in turns so that a busy moment hits all alike. A figure is
the median of its epochs after one that warms up. Beside it stands the work (user and system, workers' too): on a shared
machine it says more than the time. The mean of the first epoch's numbers shows that all make the same of the images.

- tlx: `tlx.data.batches` with 2 worker threads; 0, 1 and 4 show how it scales.
- PyTorch: `DataLoader` over torchvision's `ImageFolder` and transforms (v2 of these was slower), with 2 worker
  processes, which outlive the epochs, and with none. One thread within PyTorch: with two, images this small took ten
  times as long on busy cores.
- tf.data: parallel `map` and `prefetch`, both tuned by itself. `exact` decodes with the accurate transform and resizes
  with antialiasing, as the others do, so that its images are theirs. `defaults` is what TensorFlow does unless told:
  a fast transform, which makes images darker by 0.8 of 255 on average, and no antialiasing. So it is shown, and
  `ratio` (the fastest peer's time over tlx's) leaves it out. When augmenting, both decode only the part that is kept.

TensorFlow may need another Python than the rest: `--tensorflow` names it. Absent peers are left out: `pip install
torch torchvision`, `pip install tensorflow-cpu`. The images are those of the tests (TLX_TEST_DATA). What was measured
stands in benchmarks/README.md.
"""

import importlib.util
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DATA = Path(os.environ.get("TLX_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
CORES = 2
BATCH, SIDE, SHORTER = 32, 224, 256
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
AREA, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
Epoch = Iterable[tuple[Any, int]]
"""Batches of images, and how many there are in each."""


def read_by_tlx(folder: str, augmented: bool, workers: int) -> Callable[[int], Epoch]:
    from tlx.data import Feed, batches, load_data
    from tlx.images import Augment, Preprocess

    source = load_data(folder, validation=0.0, test=0.0).train
    preprocess = Preprocess(SIDE, SIDE, 3, resize=SHORTER, mean=MEAN, std=STD)
    augment = Augment(crop=AREA, crop_ratio=RATIO, flip=True) if augmented else None
    feed = Feed(BATCH, shuffle=True, augment=augment, workers=workers)
    return lambda epoch: ((b["input"], len(b["target"])) for b in batches(source, preprocess, feed, epoch=epoch))


def read_by_torch(folder: str, augmented: bool, workers: int) -> Callable[[int], Epoch]:
    from tlx.convert.reference import import_torchvision

    torchvision = import_torchvision()
    import torch

    torch.set_num_threads(1)  # as in its workers; with two, images this small take ten times as long
    transforms = torchvision.transforms
    cut = [transforms.Resize(SHORTER), transforms.CenterCrop(SIDE)]
    if augmented:
        cut = [transforms.RandomResizedCrop(SIDE, AREA, RATIO), transforms.RandomHorizontalFlip()]
    steps = transforms.Compose([*cut, transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
    folder_images = torchvision.datasets.ImageFolder(folder, steps)
    loader = torch.utils.data.DataLoader(
        folder_images, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )
    return lambda epoch: ((images, len(labels)) for images, labels in loader)


def read_by_tensorflow(folder: str, augmented: bool, exact: bool) -> Callable[[int], Epoch]:
    import tensorflow as tf

    decoding = {"channels": 3, "dct_method": "INTEGER_ACCURATE" if exact else ""}  # "" is INTEGER_FAST

    def cut_centre(content: Any) -> Any:
        image = tf.io.decode_jpeg(content, **decoding)
        size = tf.shape(image)[:2]
        size = SHORTER * size // tf.reduce_min(size)
        top, left = tf.unstack((size - SIDE) // 2)
        return tf.image.resize(image, size, antialias=exact)[top : top + SIDE, left : left + SIDE]

    def cut_at_random(content: Any) -> Any:  # as in TensorFlow's own recipe for ImageNet: decodes the part alone
        begin, size, _ = tf.image.sample_distorted_bounding_box(
            tf.io.extract_jpeg_shape(content),
            tf.zeros((1, 0, 4)),
            area_range=AREA,
            aspect_ratio_range=RATIO,
            max_attempts=10,
            use_image_if_no_bounding_boxes=True,
        )
        image = tf.io.decode_and_crop_jpeg(content, tf.concat([begin[:2], size[:2]], 0), **decoding)
        return tf.image.random_flip_left_right(tf.image.resize(image, (SIDE, SIDE), antialias=exact))

    def prepare(path: Any, label: Any) -> Any:
        image = (cut_at_random if augmented else cut_centre)(tf.io.read_file(path))
        return (tf.ensure_shape(image, (SIDE, SIDE, 3)) / 255 - MEAN) / STD, label

    paths = sorted(Path(folder).glob("*/*"))
    classes = sorted({path.parent.name for path in paths})
    labels = [classes.index(path.parent.name) for path in paths]
    examples = tf.data.Dataset.from_tensor_slices((list(map(str, paths)), labels)).shuffle(len(paths))
    data = examples.map(prepare, tf.data.AUTOTUNE).batch(BATCH).prefetch(tf.data.AUTOTUNE)
    return lambda epoch: ((images, len(labels)) for images, labels in data)


TLX, TORCH, TENSORFLOW = "tlx", "PyTorch DataLoader", "tf.data"
READERS: dict[str, tuple[Callable[..., Callable[[int], Epoch]], int | bool]] = {
    **{f"{TLX}, {workers} workers": (read_by_tlx, workers) for workers in (2, 0, 1, 4)},
    **{f"{TORCH}, {workers} workers": (read_by_torch, workers) for workers in (2, 0)},
    f"{TENSORFLOW}, exact": (read_by_tensorflow, True),
    (DEFAULTS := f"{TENSORFLOW}, defaults"): (read_by_tensorflow, False),  # other images: shown, not compared with
}
OURS = f"{TLX}, 2 workers"


def serve(name: str, folder: str, work: str) -> None:
    """Go through an epoch for each line on standard input, and print what it took."""
    import numpy as np

    read, choice = READERS[name]
    epochs, mean = read(folder, work == "augmented", choice), None
    for line in sys.stdin:
        means, count = [], 0
        start, worked = time.perf_counter(), _worked()
        for images, size in epochs(int(line)):
            count += size
            if mean is None:  # the first epoch warms up, and shows whether all make the same of the images
                means.append(float(np.asarray(images).mean()) * size)
        took = {"seconds": time.perf_counter() - start, "cpu_seconds": _worked() - worked}
        mean = sum(means) / count if mean is None else mean
        print(json.dumps({"images": count, "mean": mean, **took}), flush=True)


def _worked() -> float:
    """Return the seconds that this process and its living children worked; without the children, where no /proc is."""
    ticks = 0
    for child in multiprocessing.active_children():
        path = Path(f"/proc/{child.pid}/stat")
        if path.exists():
            ticks += sum(map(int, path.read_text().rpartition(")")[2].split()[11:13]))
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Options:
    """Time the input pipeline."""

    runs: int = 5
    """Epochs a figure."""
    quick: bool = False
    """Take a fifth of the images and 3 epochs."""
    tensorflow: str = sys.executable
    """The Python that has TensorFlow, if another."""
    json: bool = False
    """Print one JSON object."""


def main(options: Options) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    pythons = {TLX: sys.executable}
    if importlib.util.find_spec("torch") and importlib.util.find_spec("torchvision"):
        pythons[TORCH] = sys.executable
    find = "import importlib.util, sys; sys.exit(importlib.util.find_spec('tensorflow') is None)"
    if subprocess.run([options.tensorflow, "-c", find]).returncode == 0:
        pythons[TENSORFLOW] = options.tensorflow
    readers = {name: pythons[name.partition(",")[0]] for name in READERS if name.partition(",")[0] in pythons}
    comparisons = {}
    with tempfile.TemporaryDirectory(prefix="tlx-benchmark-") as place:
        for name, folder in _folders(Path(place), 5 if options.quick else 1).items():
            for work in ("evaluation", "augmented"):
                figures = _measure(readers, folder, work, 3 if options.quick else options.runs)
                comparisons[f"{name}, {work}"] = {"figures": figures, **_ratios(figures)}
    absent = [peer for peer in (TORCH, TENSORFLOW) if peer not in pythons]
    if options.json:
        print(json.dumps({"cores": CORES, "comparisons": comparisons, "absent": absent}, indent=2))
        return
    for name, comparison in comparisons.items():
        print(name)
        for reader, own in comparison["figures"].items():
            each = f"{own['cpu_ms_per_image']:.2f} ms of work each"
            print(f"  {reader:<29} {own['images_per_second']:6.0f} images/s, {each}, mean {own['mean']:+.4f}")
        print(
            f"  fastest peer that makes the same images / tlx: {comparison['ratio'] or 'no peer is installed'}",
            end="",
        )
        print(f", by work {comparison['ratio_of_work']}; {DEFAULTS} / tlx: {comparison['ratio_of_defaults']}")
    if absent:
        print(f"not installed: {', '.join(absent)}")


def _folders(place: Path, every: int) -> dict[str, str]:
    """Lay out the images, one of so many, as folders with a folder for each class; return the folders by name."""
    flowers, photographs = place / "flowers", place / "imagenet"
    with zipfile.ZipFile(DATA / "flowers.zip") as archive:
        for name in [name for name in archive.namelist() if name.endswith(".jpg")][::every]:
            path = flowers / Path(name).parent.name / Path(name).name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.read(name))
    for file in sorted((DATA / "imagenet50").glob("*.JPEG")):
        for copy in range(10 // every):
            path = photographs / file.stem / f"{copy}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, path)
    return {"flowers": str(flowers), "imagenet": str(photographs)}


def _measure(readers: dict[str, str], folder: str, work: str, runs: int) -> dict[str, dict[str, float]]:
    """Have each program go through epochs in turns, after one to warm up; return the medians."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in readers}
    with ExitStack() as stack:
        programs: dict[str, Any] = {}
        for name, python in readers.items():
            command = [python, __file__, "serve", name, folder, work]
            pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            programs[name] = stack.enter_context(subprocess.Popen(command, text=True, env=environment, **pipes))
        for epoch in range(runs + 1):
            for name, program in programs.items():
                program.stdin.write(f"{epoch}\n")
                program.stdin.flush()
                taken[name].append(json.loads(program.stdout.readline()))
        for program in programs.values():
            program.stdin.close()
    return {name: _figures(each) for name, each in taken.items()}


def _ratios(figures: dict[str, dict[str, float]]) -> dict[str, float | None]:
    """Return the least that a peer needs over what tlx needs; None where no such peer is."""
    ours = figures[OURS]
    alike = [own for name, own in figures.items() if not name.startswith(TLX) and name != DEFAULTS]

    def ratio(peers: list[dict[str, float]], what: str) -> float | None:
        return round(min(own[what] for own in peers) / ours[what], 2) if peers else None

    return {
        "ratio": ratio(alike, "seconds"),
        "ratio_of_work": ratio(alike, "cpu_ms_per_image"),
        "ratio_of_defaults": ratio([figures[DEFAULTS]] if DEFAULTS in figures else [], "seconds"),
    }


def _figures(taken: list[dict[str, float]]) -> dict[str, float]:
    seconds, cpu = (statistics.median(run[key] for run in taken[1:]) for key in ("seconds", "cpu_seconds"))
    images = taken[0]["images"]
    return {
        "images": images,
        "seconds": round(seconds, 4),
        "images_per_second": round(images / seconds, 1),
        "cpu_ms_per_image": round(1000 * cpu / images, 3),
        "mean": round(taken[0]["mean"], 5),
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(*sys.argv[2:])
    else:
        import tyro  # which a Python that has TensorFlow need not have

        main(tyro.cli(Options, args=sys.argv[1:]))
