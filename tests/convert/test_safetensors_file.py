import json
import struct
import time

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from weight_files import BIAS, KERNEL, entry, safetensors_bytes

from tlx.convert.read import open_weights
from tlx.errors import UnsafeFileError, WeightsError


@pytest.fixture
def opened(tmp_path):
    def write(header, content=b""):
        (tmp_path / "a.safetensors").write_bytes(safetensors_bytes(header, content))
        return open_weights(tmp_path / "a.safetensors")

    return write


@pytest.mark.parametrize(
    "dtype", ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?", ml_dtypes.bfloat16]
)
@pytest.mark.parametrize("shape", [(2, 3), (), (0, 4)])
def test_reads_what_safetensors_writes(tmp_path, dtype, shape):
    array = np.asarray(np.random.default_rng(0).normal(size=shape) * 10).astype(dtype)
    content = safetensors.numpy.save({"a.w": array, "b": BIAS}, {"format": "np"})
    (tmp_path / "a.safetensors").write_bytes(content)
    source = open_weights(tmp_path / "a.safetensors")
    assert source.config == {"format": "np"}
    read = source.tensors["a.w"].read()
    assert read.dtype == array.dtype
    assert read.shape == shape
    assert np.array_equal(read, array)


@pytest.mark.parametrize(("code", "size"), [("F8_E4M3", 4), ("F8_E5M2", 4), ("F8_E8M0", 4), ("F4", 2), ("F6_E2M3", 3)])
def test_quantized_tensors_are_listed_and_refused_when_read(opened, refuses, code, size):
    source = opened({"w": entry(code, [4], 0, size)}, bytes(size))
    assert source.tensors["w"].dtype == code
    with refuses(WeightsError, "tensor 'w'", "quantized", code):
        source.tensors["w"].read()


@pytest.mark.parametrize("length", [1 << 63, (1 << 64) - 1, 100_000_001, 1000, 3])
def test_a_header_longer_than_can_be_is_refused(tmp_path, refuses, length):
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", length) + b'{"w"')
    with refuses(WeightsError, tmp_path / "a.safetensors"):
        open_weights(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("header", "content", "word"),
    [
        ({"w": entry("F32", [2], 0, 7)}, bytes(7), "does not fill 7 bytes"),
        ({"w": entry("F32", [2], 0, 8)}, bytes(7), "the file at"),
        ({"w": entry("F32", [2], 0, 8)}, bytes(9), "the file at"),
        ({"w": entry("F32", [2], 8, 0)}, bytes(8), "does not fill -8 bytes"),
        ({"w": entry("F32", [2], 1, 9)}, bytes(9), "gap at byte 0"),
        ({"w": entry("F32", [2], 0, 8), "v": entry("F32", [2], 4, 12)}, bytes(12), "overlap"),
        ({"w": entry("F32", [2], 0, 8), "v": entry("F32", [2], 0, 8)}, bytes(8), "overlap"),
        ({"w": entry("F32", [2], 0, 8), "v": entry("F32", [2], 9, 17)}, bytes(17), "gap"),
        ({"w": entry("F32", [-2], 0, 8)}, bytes(8), "damaged shape"),
        ({"w": entry("F32", [True], 0, 4)}, bytes(4), "damaged shape"),
        ({"w": entry("F32", [0, 1 << 59, 1 << 59], 0, 0)}, b"", "impossible"),
        ({"w": entry("F32", [1] * 100, 0, 4)}, bytes(4), "impossible"),
        ({"w": entry("Q9", [1], 0, 4)}, bytes(4), "'Q9' are not known"),
        ({"w": {"dtype": "F32"}}, b"", "damaged entry"),
        ({"w": [1]}, b"", "damaged entry"),
        ({"__metadata__": 3}, b"", "metadata"),
        (b'{"w": 1, "w": 2}', b"", "'w' stands there twice"),
        (b'{"w": {"dtype": "F32", "dtype": "F16"}}', b"", "'dtype' stands there twice"),
        (b'{"w": ', b"", "damaged header"),
        (b'{"\xff": 1}', b"", "damaged header"),
        (b'{"w":' + b"[" * 200_000, b"", "damaged header"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(opened, refuses, header, content, word):
    with refuses(WeightsError, word):
        opened(header, content)


def test_a_header_whose_length_is_the_code_of_a_brace_is_no_json(opened):
    header = json.dumps({"w": entry("F32", [1], 0, 4)}).encode().ljust(ord("{"))
    assert opened(header, bytes(4)).tensors["w"].shape == (1,)


def test_too_many_tensors_are_refused_at_once(tmp_path, refuses):
    item = json.dumps(entry("F32", [], 0, 0))
    header = ("{" + ",".join(f'"t{index:06}":{item}' for index in range(800_000)) + "}").encode()
    assert len(header) > 50_000_000
    (tmp_path / "a.safetensors").write_bytes(safetensors_bytes(header))
    start = time.process_time()
    with refuses(WeightsError, "more than 100000 tensors"):
        open_weights(tmp_path / "a.safetensors")
    assert time.process_time() - start < 2


def test_names_are_only_names(opened, refuses):
    names = ["../x", "/etc/passwd", "<script>", "nul\0", "new\nline", "\ud800", ""]
    header = {name: entry("F8_E4M3", [1], index, index + 1) for index, name in enumerate(names)}
    source = opened(header, bytes(len(names)))
    assert list(source.tensors) == names
    for name in names:
        with refuses(WeightsError, "quantized"):
            source.tensors[name].read()


# Shards


@pytest.fixture
def sharded(tmp_path):
    """Write an index and two shards, after changing the index."""

    def write(change=lambda placed: placed):
        shards = {"model-1.safetensors": {"a": KERNEL, "b": BIAS}, "model-2.safetensors": {"c": BIAS}}
        for shard, arrays in shards.items():
            safetensors.numpy.save_file(arrays, tmp_path / shard)
        placed = {name: shard for shard, arrays in shards.items() for name in arrays}
        index = {"metadata": {"total_size": 3}, "weight_map": change(dict(reversed(placed.items())))}
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
        return tmp_path

    return write


@pytest.mark.parametrize("named", ["", "model.safetensors.index.json"])
def test_shards_are_read_through_their_index_or_folder(sharded, named):
    folder = sharded()
    source = open_weights(folder / named)
    assert list(source.tensors) == ["c", "b", "a"]
    assert np.array_equal(source.tensors["a"].read(), KERNEL)
    assert [path.name for path in source.files] == [
        *("model.safetensors.index.json", "model-2.safetensors", "model-1.safetensors"),
    ]
    assert source.config == {"total_size": 3}


@pytest.mark.parametrize("shard", ["../x.safetensors", "/etc/passwd", "a/b", "a\\b", "..", "", "c:x", "a\0b"])
def test_a_shard_that_is_a_path_is_refused(sharded, refuses, shard):
    with refuses(UnsafeFileError, "shard", "not the plain name"):
        open_weights(sharded(lambda placed: placed | {"a": shard}))


def test_a_missing_shard_is_named(sharded, refuses):
    folder = sharded()
    (folder / "model-2.safetensors").unlink()
    with refuses(WeightsError, folder / "model-2.safetensors", "No such file"):
        open_weights(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda placed: placed | {"d": "model-2.safetensors"}, ["tensor 'd'", "the shard lacks it"]),
        (lambda placed: {"a": placed["a"], "c": placed["c"]}, ["tensor 'b'", "the index does not place it"]),
        (lambda placed: placed | {"a": 3}, ["weight_map"]),
    ],
)
def test_index_and_shards_must_agree(sharded, refuses, change, words):
    with refuses(WeightsError, *words):
        open_weights(sharded(change))


def test_a_folder_of_several_files_is_refused(tmp_path, refuses):
    for name in ("a", "b"):
        safetensors.numpy.save_file({"w": BIAS}, tmp_path / f"{name}.safetensors")
    with refuses(WeightsError, "name the weight file in it"):
        open_weights(tmp_path)


def test_reads_what_pytorch_saves_through_safetensors(tmp_path, torch):
    from safetensors.torch import save_file

    tensors = {"w": torch.randn(3, 4).bfloat16(), "b": torch.arange(3)}
    save_file(tensors, tmp_path / "a.safetensors")
    source = open_weights(tmp_path / "a.safetensors")
    assert np.array_equal(source.tensors["w"].read().astype(np.float32), tensors["w"].float().numpy())
    assert np.array_equal(source.tensors["b"].read(), [0, 1, 2])
