"""Write features with the names of what they are of: .npz, .parquet or .safetensors."""

import io
import json
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tlx.errors import ConfigError, StorageError
from tlx.files import home, write_bytes


class FeatureLabels(NamedTuple):
    """What is known of N rows of features: their targets, the names of the classes, and each row's part.

    `numbers` are class numbers (N,), or of another `target_kind` rows (N, K) of as many labels or numbers as `classes`
    names.
    """

    numbers: np.ndarray
    classes: tuple[str, ...]
    parts: tuple[str, ...]
    target_kind: str = "class"


def write_features(
    path: str | os.PathLike[str], features: np.ndarray, names: Sequence[str], labels: FeatureLabels | None = None
) -> None:
    """Write features (N, D) float32 and N names, whole or not at all, in the format that the path's suffix says.

    .npz holds `features` and `paths` (N,) of text; .parquet the columns `path` and `features` (lists of D); and
    .safetensors the tensor `features`, with the names as a JSON list in its metadata, under `paths`. With `labels`,
    .npz and .safetensors hold `labels` (N,) int32, `classes`, `parts` and `target_kind` as well, the latter three in
    the metadata of .safetensors; .parquet has columns `label`, `class` and `part`. Several labels are `labels` (N, K)
    bool and numbers (N, K) float32; .parquet has a column for each of them. Names that are not UTF-8 are escaped in
    .parquet and .safetensors. Raise `ConfigError` as `check_features_file`, and `StorageError`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_features(folder + "/a.npz", np.zeros((1, 4), np.float32), ["a.jpg"])
    ...     np.load(folder + "/a.npz")["paths"].tolist()
    ['a.jpg']
    """
    write_bytes(home(path), check_features_file(path)(features, names, labels))


def check_features_file(
    path: str | os.PathLike[str],
) -> Callable[[np.ndarray, Sequence[str], FeatureLabels | None], bytes]:
    """Return the writer for a path, or say early why it cannot be written.

    Raise `ConfigError` for another suffix, and for .parquet without pyarrow, and `StorageError` for a folder that is
    not there or cannot be written to.

    >>> check_features_file("a.txt")
    Traceback (most recent call last):
        ...
    tlx.errors.ConfigError: a.txt: features are written to .npz, .parquet or .safetensors; name such a file
    """
    writer = _WRITERS.get(home(path).suffix.lower())
    if writer is None:
        raise ConfigError(f"{path}: features are written to {_LISTED}; name such a file")
    if writer is _parquet:
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError as error:
            raise ConfigError(
                f"{path}: needs pyarrow ({error}); pip install 'tlx-jax[parquet]', or write .npz"
            ) from error
    folder = home(path).absolute().parent
    if not folder.is_dir():
        raise StorageError(f"{path}: there is no such folder; make it, or name another place")
    if not os.access(folder, os.W_OK):
        raise StorageError(f"{path}: its folder cannot be written to; mend the rights, or name another place")
    return writer


def _npz(features: np.ndarray, names: Sequence[str], labels: FeatureLabels | None) -> bytes:
    content = io.BytesIO()
    arrays: dict[str, Any] = {"features": features, "paths": np.array(names, np.str_)}
    if labels is not None:
        arrays["labels"], arrays["target_kind"] = _targets(labels), np.array(labels.target_kind, np.str_)
        arrays["classes"], arrays["parts"] = np.array(labels.classes, np.str_), np.array(labels.parts, np.str_)
    np.savez(content, **arrays)
    return content.getvalue()


def _parquet(features: np.ndarray, names: Sequence[str], labels: FeatureLabels | None) -> bytes:
    import pyarrow
    import pyarrow.parquet

    flat = pyarrow.array(features.reshape(-1))
    lists = pyarrow.FixedSizeListArray.from_arrays(flat, features.shape[1])
    content = io.BytesIO()
    columns: dict[str, Any] = {"path": [_escaped(name) for name in names], "features": lists}
    if labels is not None:
        if labels.target_kind == "class":
            columns["label"] = pyarrow.array(_targets(labels))
            columns["class"] = [labels.classes[number] for number in labels.numbers.tolist()]
        else:
            held = _targets(labels).astype(np.int32 if labels.target_kind == "multi-label" else np.float32)
            if taken := [name for name in labels.classes if name in (*columns, "part")]:
                raise ConfigError(
                    f"a column of the name {taken[0]!r} is there already: write .npz, or rename the target"
                )
            columns |= {name: pyarrow.array(held[:, at]) for at, name in enumerate(labels.classes)}
        columns["part"] = list(labels.parts)
    table = pyarrow.table(columns)
    pyarrow.parquet.write_table(table, content)
    return content.getvalue()


def _safetensors(features: np.ndarray, names: Sequence[str], labels: FeatureLabels | None) -> bytes:
    from safetensors.numpy import save

    tensors, metadata = {"features": features}, {"paths": json.dumps([_escaped(name) for name in names])}
    if labels is not None:
        tensors["labels"] = _targets(labels)
        metadata |= {"classes": json.dumps(labels.classes), "parts": json.dumps(labels.parts)}
        metadata |= {"target_kind": labels.target_kind}
    return save(tensors, metadata)


def _targets(labels: FeatureLabels) -> np.ndarray:
    kinds: dict[str, Any] = {"class": np.int32, "multi-label": np.bool_}
    found: np.ndarray = np.asarray(labels.numbers).astype(kinds.get(labels.target_kind, np.float32))
    return found


def _escaped(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


_WRITERS = {".npz": _npz, ".parquet": _parquet, ".safetensors": _safetensors}
_LISTED = " or ".join(", ".join(_WRITERS).rsplit(", ", 1))
