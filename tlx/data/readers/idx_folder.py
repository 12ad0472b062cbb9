"""Read a folder of idx files: MNIST's names, and EMNIST's with a prefix for each subset."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from tlx.data.arrays import ArraySource
from tlx.data.readers.emnist import SUBSETS, UPRIGHT_NOTE, LabelMap, read_mapping
from tlx.data.readers.idx import read_idx
from tlx.data.spec import Parts
from tlx.data.validate import check_labels, numbered_classes
from tlx.errors import DataError
from tlx.files import home
from tlx.files.opening import one_line, shown

_NAME = re.compile(
    r"(?:(?P<prefix>.+)-)?(?P<split>train|t10k|test)-(?P<kind>images[-.]idx[34]|labels[-.]idx1)-ubyte(?:\.gz)?",
    re.ASCII,
)
_Files = dict[tuple[str, str], Path]  # by split ("train", "test") and kind ("images", "labels")


def read_idx_folder(where: str) -> Parts:
    """Read `DIR` or `DIR/PREFIX`: train-images-idx3-ubyte, train-labels-idx1-ubyte, and t10k- or test- where there.

    The files may be gzip (.gz) and may carry a prefix, as in emnist-balanced-train-images-idx3-ubyte.gz. A file
    PREFIX-mapping.txt names the classes and orders them by label. Files whose name starts with `emnist-` hold
    transposed images, which come out upright. Raises `DataError` for a folder that holds several prefixes, for a file
    that is missing or there twice, and for every fault of a file.
    """
    if not where:
        raise DataError("idx: no folder given; say idx:DIR or idx:DIR/PREFIX")
    folder, prefix = home(where), None
    if not os.path.isdir(folder):  # unlike Path.is_dir, never raises
        folder, prefix = folder.parent, folder.name
        if not os.path.isdir(folder):
            raise DataError(f"{shown(where)}: no such folder; say idx:DIR, or idx:DIR/PREFIX")
    prefix, files = _choose(folder, prefix)
    mapping_file = folder / f"{prefix}-mapping.txt"
    emnist = prefix.lower().startswith("emnist-")
    mapping = None
    if prefix and os.path.lexists(mapping_file):
        mapping = read_mapping(mapping_file)
    elif emnist:
        mapping = SUBSETS.get(prefix.lower().removeprefix("emnist-"))
    train = _read_pair(files, "train", mapping, None, upright=emnist)
    has_test = any(split == "test" for split, _ in files)
    test = _read_pair(files, "test", mapping, train.classes, upright=emnist) if has_test else None
    return Parts(train, test, (UPRIGHT_NOTE,) if emnist else ())


def _choose(folder: Path, prefix: str | None) -> tuple[str, _Files]:
    """Find the files of one prefix."""
    found: dict[str, _Files] = {}
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        raise DataError(f"{shown(folder)}: {one_line(error)}; check the folder's permissions") from error
    for name in names:
        match = _NAME.fullmatch(name)
        if match is None:
            continue
        files = found.setdefault(match["prefix"] or "", {})
        key = ("train" if match["split"] == "train" else "test", match["kind"][:6])
        if key in files:
            raise DataError(f"{shown(folder)}: both {shown(files[key].name)} and {shown(name)}; remove one")
        files[key] = folder / name
    listed = ", ".join(shown(each) if each else "(none)" for each in sorted(found))
    if prefix is None and len(found) > 1:
        raise DataError(
            f"{shown(folder)}: holds several data sets: {listed}; choose one with idx:{shown(folder)}/PREFIX"
        )
    if prefix is None and found:
        prefix = next(iter(found))
    if prefix is None or prefix not in found:
        what = f"no folder {shown(prefix)} and no idx files with that prefix" if prefix else "no idx files"
        raise DataError(
            f"{shown(folder)}: {what}" + (f" (there are: {listed})" if found else "") + "; expected names such as "
            "train-images-idx3-ubyte.gz or emnist-balanced-train-images-idx3-ubyte.gz"
        )
    files = found[prefix]
    start = f"{prefix}-" if prefix else ""
    for split in ("train", "test"):
        for kind, digit in (("images", 3), ("labels", 1)):
            if (split, kind) not in files and (split == "train" or any(key[0] == "test" for key in files)):
                raise DataError(
                    f"{shown(folder)}: {shown(start)}{split}-{kind}-idx{digit}-ubyte is missing (plain or .gz); "
                    "put it beside the others"
                )
    return prefix, files


def _read_pair(
    files: _Files, split: str, mapping: LabelMap | None, classes: tuple[str, ...] | None, *, upright: bool
) -> ArraySource:
    images_path, labels_path = files[split, "images"], files[split, "labels"]
    name = shown(labels_path)
    labels = check_labels(read_idx(labels_path), name)
    if mapping is not None:
        labels, classes = mapping.indices(labels, name), mapping.classes
    elif classes is None:
        classes = numbered_classes(labels, name)
    images = read_idx(images_path)
    if upright and images.ndim >= 3:
        images = np.ascontiguousarray(images.swapaxes(1, 2))
    return ArraySource(images, labels, classes, images_name=shown(images_path), labels_name=name)
