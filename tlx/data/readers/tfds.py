"""Read data sets that TensorFlow Datasets has prepared, without TensorFlow and without downloading."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from tlx.data.readers.emnist import SUBSETS, UPRIGHT_NOTE, LabelMap
from tlx.data.source import Example, describe
from tlx.data.spec import PARTS, Parts, Request
from tlx.data.validate import check_classes, check_labels
from tlx.errors import ConfigError, DataError
from tlx.files.opening import one_line, shown

_CACHE_BYTES = 1 << 30


class TfdsSource:
    """See one split of a prepared data set, decoding an image when it is asked for.

    `examples` decodes images, `encoded` leaves them encoded (the labels and digests come from it in one pass, so equal
    digests mean equal files). Images of one fixed size are kept once decoded, where the split fits in `cache_bytes`.
    """

    def __init__(
        self,
        name: str,
        examples: Any,
        encoded: Any,
        mapping: LabelMap,
        *,
        upright: bool = False,
        shape: tuple[int | None, ...] = (),
        cache_bytes: int = _CACHE_BYTES,
    ) -> None:
        self.shapes: np.ndarray | None = None  # not known without decoding
        self.name, self.classes = name, mapping.classes
        self._examples, self._encoded, self._mapping, self._upright = examples, encoded, mapping, upright
        sizes = [size for size in shape if size is not None]
        fixed = len(sizes) == len(shape) == 3 and len(examples) * math.prod(sizes) <= cache_bytes
        self._cache: list[np.ndarray | None] | None = [None] * len(examples) if fixed else None

    __repr__ = describe

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Example:
        if not -len(self) <= index < len(self):
            raise IndexError(f"{self.name}: no example {index} of {len(self)}")
        index %= len(self)
        return {"input": self._image(index), "target": int(self.targets[index])}

    @property
    def targets(self) -> np.ndarray:
        return self._scanned[0]

    @property
    def digests(self) -> tuple[bytes, ...]:
        return self._scanned[1]

    @cached_property
    def _scanned(self) -> tuple[np.ndarray, tuple[bytes, ...]]:
        labels, digests = [], []
        for index in range(len(self)):
            example = self._read(self._encoded, index)
            image, label = example.get("image"), example.get("label")
            if not isinstance(image, bytes) or label is None:  # what a truncated file gives
                raise DataError(f"{self.name}: row {index} is empty; prepare the data set again")
            labels.append(label)
            digests.append(hashlib.sha256(image).digest())
        indices = self._mapping.indices(check_labels(labels, self.name), self.name)
        return indices.astype(np.int32), tuple(digests)

    def _image(self, index: int) -> np.ndarray:
        if self._cache is not None and (kept := self._cache[index]) is not None:
            return kept
        image = np.asarray(self._read(self._examples, index)["image"])
        if image.dtype != np.uint8 or image.ndim != 3:
            raise DataError(
                f"{self.name}: row {index}: image of type {image.dtype}, shape {image.shape}, not uint8 H x W x C"
            )
        if self._upright:
            image = np.ascontiguousarray(image.swapaxes(0, 1))
        image.setflags(write=False)
        if self._cache is not None:
            self._cache[index] = image
        return image

    def _read(self, examples: Any, index: int) -> Any:
        try:
            return examples[index]
        except MemoryError:  # says nothing about the file
            raise
        except Exception as error:  # array_record and the image decoders raise many kinds
            raise DataError(
                f"{self.name}: row {index} cannot be read ({one_line(error)}); prepare the data set again"
            ) from error


def read_tfds(request: Request) -> Parts:
    """Read the splits train, validation and test of `NAME`, such as `emnist/balanced`, from the local tfds folder.

    The request may name the splits, with tfds's slices: `train[:10%]`.

    That folder is `TFDS_DATA_DIR`, or ~/tensorflow_datasets. EMNIST's images, which tfds stores transposed as the
    original does, come out upright. Nothing is downloaded: raises `DataError` saying how to prepare a data set
    that is not there as array_record files, and `ConfigError` where tensorflow-datasets is not installed.
    """
    where, asked = request.where, request.spec.splits()
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ConfigError(
            f"tfds:{shown(where)} needs tensorflow-datasets ({one_line(error)}); pip install 'tlx-jax[tfds]'"
        ) from error
    if not where:
        raise DataError("tfds: no data set named; say tfds:NAME, such as tfds:emnist/balanced")
    name = f"tfds:{shown(where)}"
    if asked and "train" not in asked:
        raise DataError(f"{name}: --train-split is missing; name the split to train on, too")
    wanted = {"split": asked} if asked else {}
    splits = _open(lambda: tfds.data_source(where, download=False, **wanted), where)
    info = splits["train"].dataset_info
    features = info.features
    if "image" not in features or "label" not in features or not hasattr(features["label"], "names"):
        raise DataError(f"{name}: has {', '.join(features)}; expected an image and a label that is a class")
    encoded = _open(
        lambda: tfds.data_source(where, download=False, decoders={"image": tfds.decode.SkipDecoding()}, **wanted),
        where,
    )
    emnist = info.name == "emnist"
    subset = SUBSETS.get(info.full_name.split("/")[1]) if emnist else None
    if subset is None:
        classes = check_classes(features["label"].names, np.empty(0, np.int64), name)
        subset = LabelMap(tuple(range(len(classes))), classes)

    def source(split: str) -> TfdsSource:
        return TfdsSource(
            f"{name} {asked.get(split, split)}",
            splits[split],
            encoded[split],
            subset,
            upright=emnist,
            shape=tuple(features["image"].shape),
        )

    notes = [UPRIGHT_NOTE] if emnist else []
    unused = sorted(str(split) for split in splits if split not in PARTS)
    if unused:
        notes.append(f"{name}: splits not used: {', '.join(unused)}")
    own = {part: source(part) if part in splits else None for part in ("validation", "test")}
    return Parts(source("train"), own["test"], tuple(notes), own["validation"])


def _open(read: Callable[[], Any], where: str) -> Any:
    """Open the splits, or say how to prepare them."""
    cure = (
        "tlx never downloads; where TensorFlow is installed, prepare it with: "
        'python -c "import tensorflow_datasets as t; '
        f"t.builder('{shown(where)}', file_format='array_record').download_and_prepare()\""
    )
    try:
        splits = read()
    except MemoryError:  # says nothing about the file
        raise
    except Exception as error:  # tfds raises many kinds, some with pages of text
        raise DataError(
            f"tfds:{shown(where)}: not prepared as array_record files ({one_line(error)}); {cure}"
        ) from error
    if "train" not in splits:
        raise DataError(f"tfds:{shown(where)}: not prepared: no train split in the local tfds folder; {cure}")
    return splits
