"""The base of vectors: features that somebody else computed, as the input to a head alone."""

import numpy as np

from tlx.data.inputs import Vectors
from tlx.data.source import Source, take
from tlx.data.spec import Data
from tlx.errors import DataError
from tlx.models.registry import ModelConfig
from tlx.presets.pretrained import Pretrained

AT_ONCE = 1024


def vector_base(data: Data | Source, *, standardise: bool = True) -> Pretrained:
    """Return a base without parameters for vectors, so that a head alone is trained on them.

    It serves features that another model computed (`tlx embed` writes such files), and tables of numbers.

    Args:
        data: the data, of which the training examples count, or a source; each input is a vector (D,).
        standardise: whether the input spec subtracts each number's mean over these examples and divides by its
            deviation (1 where the number does not vary). Both travel with the model.

    Returns:
        A `Pretrained` of the architecture "vectors", whose input spec is a `tlx.data.Vectors`.

    Raises:
        DataError: for inputs that are no vectors, or of different lengths.

    >>> import tlx
    >>> features = np.random.default_rng(0).normal(size=(60, 8))
    >>> data = tlx.data.data_from_arrays(features, (features[:, 0] > 0).astype(int))
    >>> base = vector_base(data)
    >>> base
    Pretrained('vectors': vectors, input 8, 0 parameters, no head)
    >>> done = tlx.fit(base.with_head(data.classes), tlx.recipes.probe(base, epochs=2), data)
    >>> done.variables["params"]["head"]["logits"]["kernel"].shape
    (8, 2)
    """
    source = data.train if isinstance(data, Data) else data
    columns = data.spec.inputs if isinstance(data, Data) and data.spec is not None else ()
    if not is_of_vectors(source):
        raise DataError("vector_base: the inputs are no vectors (D,) of numbers: load a base for them (tlx.load)")
    size = len(source[0]["input"])
    collate = Vectors(size).collate
    parts = [
        collate(take(source, np.arange(row, min(row + AT_ONCE, len(source))))["input"])
        for row in range(0, len(source), AT_ONCE)
    ]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    if standardise:
        mean, std = _moments(parts)
    spec = Vectors(size, mean, std, columns)
    card = {"description": f"vectors of {size} numbers as they are; only a head is trained on them"}
    return Pretrained("vectors", ModelConfig("vectors", 0, (size,), pool="flatten"), {"params": {}}, spec, (), card)


def is_of_vectors(source: Source) -> bool:
    """Tell whether a source's inputs are vectors, by its first example.

    >>> from tlx.data import ArraySource
    >>> is_of_vectors(ArraySource(np.zeros((2, 3, 3), np.uint8), [0, 1]))
    False
    """
    first = source[0]["input"] if len(source) else None
    return isinstance(first, np.ndarray) and first.ndim == 1 and first.dtype.kind in "biuf"


def _moments(parts: list[np.ndarray]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation of each number, in two passes of float64."""
    count = sum(map(len, parts))
    mean = sum(part.sum(0, dtype=np.float64) for part in parts) / count
    square = sum(np.square(part - mean[None]).sum(0) for part in parts) / count
    std = np.sqrt(square)
    varies = std > np.finfo(np.float32).eps * np.maximum(np.abs(mean), np.finfo(np.float32).tiny)
    return tuple(mean.tolist()), tuple(np.where(varies, std, 1.0).tolist())
