import builtins
import json
import os

import numpy as np
import pytest

from tlx.errors import ConfigError, StorageError
from tlx.runs import check_features_file, write_features

ROWS = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
NAMES = ("b.png", "日 本\n", os.fsdecode(b"\xff.png"))
ESCAPED = ["b.png", "日 本\n", "\\xff.png"]


def read(path):
    if path.suffix == ".npz":
        with np.load(path) as found:
            return found["features"], found["paths"].tolist()
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, "np") as found:
            assert list(found.keys()) == ["features"]
            return found.get_tensor("features"), json.loads(found.metadata()["paths"])
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is in the extra `parquet`")
    table = parquet.read_table(path)
    assert table.column_names == ["path", "features"]
    return np.array(table["features"].to_pylist(), np.float32), table["path"].to_pylist()


@pytest.mark.parametrize("suffix", [".npz", ".parquet", ".safetensors", ".NPZ"])
def test_rows_and_names_come_back(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write_features(path, ROWS, NAMES)
    features, names = read(path if suffix != ".NPZ" else path.rename(tmp_path / "a.npz"))
    assert features.dtype == np.float32
    assert (features == ROWS).all()
    assert names == (list(NAMES) if suffix.lower() == ".npz" else ESCAPED)
    assert [entry.suffix.lower() for entry in tmp_path.iterdir()] == [suffix.lower()]


@pytest.mark.parametrize("name", ["a.txt", "a", "a.npz.gz", ".npz"])
def test_other_formats_are_refused_by_name(tmp_path, name):
    with pytest.raises(ConfigError, match=r"written to \.npz, \.parquet or \.safetensors"):
        check_features_file(tmp_path / name)


def test_a_place_that_cannot_be_written_is_told_early(tmp_path):
    (tmp_path / "file").write_text("")
    for place in ("no", "file"):
        with pytest.raises(StorageError, match="no such folder"):
            check_features_file(tmp_path / place / "a.npz")
    (tmp_path / "a.npz").mkdir()
    with pytest.raises(StorageError, match="cannot be written"):
        write_features(tmp_path / "a.npz", ROWS, NAMES)


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    whole = builtins.__import__

    def without_pyarrow(name, *rest):
        if name.startswith("pyarrow"):
            raise ModuleNotFoundError("No module named 'pyarrow'")
        return whole(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_pyarrow)
    with pytest.raises(ConfigError, match=r"needs pyarrow .*pip install 'tlx-jax\[parquet\]', or write \.npz"):
        check_features_file(tmp_path / "a.parquet")
    assert check_features_file(tmp_path / "a.npz")
