import subprocess
import sys
from functools import partial
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from sources import source_of
from tf_files import (
    GRAPH,
    NUMBERS,
    ROW,
    TENSORS,
    VALUE,
    Checkpoint,
    entry,
    extents,
    header,
    message,
    read_all,
    same,
    sample,
    write_row,
)

from tlx.convert.identify import identify
from tlx.convert.plan import beside, make_plan
from tlx.convert.read import open_weights
from tlx.convert.tables import TABLES
from tlx.convert.tf_entries import slice_key
from tlx.errors import WeightsError

ROOT = Path(__file__).resolve().parents[2]
TINY = "text/checkpoints/bert_tiny_tf1"


@pytest.fixture
def written(tmp_path):
    """Write a checkpoint of one row, changed by a function; return its index."""
    return partial(write_row, tmp_path)


# Real files


@pytest.mark.parametrize(
    ("folder", "arrays", "others"),
    [
        (TINY, "bert_tiny_tf1", 93),
        (f"{TINY}_partitioned", "bert_tiny_tf1", 1),
        ("text/checkpoints/savedmodel_tiny", "savedmodel_tiny", 0),
    ],
)
def test_every_array_of_a_real_checkpoint_has_the_bits_that_tensorflow_read(shared_data, folder, arrays, others):
    source = open_weights(shared_data / folder)
    with np.load(shared_data / f"text/checkpoints/{arrays}.npz") as expected:
        names = set(expected) - {"input", "output"}
        assert names <= set(source.tensors)
        assert len(source.tensors) == len(names) + others
        assert [name for name in names if not same(source.tensors[name].read(), expected[name])] == []
    assert source.format == "tf"


def test_types_of_a_real_savedmodel(shared_data):
    source = open_weights(shared_data / "text/checkpoints/savedmodel_tiny")
    types = {name: tensor.dtype for name, tensor in source.tensors.items()}
    assert types["half"] == "float16"
    assert types["brain"] == "bfloat16"
    assert types["count"] == "int64"
    assert types["InceptionTiny/Conv2d_1a_3x3/BatchNorm/moving_mean"] == "float32"
    assert source.tensors["brain"].read().dtype == ml_dtypes.bfloat16
    assert source.others == ("_CHECKPOINTABLE_OBJECT_GRAPH",)


@pytest.mark.parametrize(
    ("name", "count", "without_use"),
    [("bert_base_uncased_tf1_with_adam", 619, 413), ("bert_base_vocab5981_tf1", 202, 0)],
)
def test_the_index_alone_lists_all_and_a_read_names_the_shard(shared_data, refuses, name, count, without_use):
    source = open_weights(shared_data / f"text/checkpoints/{name}.ckpt.index")
    assert len(source.tensors) == count
    assert source.tensors["bert/encoder/layer_11/output/dense/kernel"].shape == (3072, 768)
    assert sum(beside(tensor) is not None for tensor in source.tensors) == without_use
    assert source.files == (source.path,)
    with refuses(WeightsError, "lacks", f"{name}.ckpt.data-00000-of-00001"):
        source.tensors["bert/embeddings/LayerNorm/beta"].read()


def test_a_real_savedmodel_of_keras_has_names_and_finite_numbers(shared_data):
    source = open_weights(shared_data / "weights/mlperf_tiny_kws_savedmodel")
    weights = [name for name in source.tensors if not beside(name)]
    assert len(weights) == 56
    assert [name for name in weights if "ATTRIBUTES" in name] == []
    assert source.tensors["depthwise_conv2d_3/depthwise_kernel"].shape == (3, 3, 64, 1)
    assert source.tensors["dense/kernel"].shape == (64, 12)
    assert [name for name, tensor in source.tensors.items() if not np.isfinite(tensor.read()).all()] == []
    assert all(source.tensors[name].read().min() >= 0 for name in weights if name.endswith("moving_variance"))


@pytest.mark.parametrize(
    "name", ["bert_model.ckpt", "bert_model.ckpt.index", "bert_model.ckpt.data-00000-of-00001", ""]
)
def test_a_checkpoint_is_named_by_any_of_its_files_their_prefix_or_the_folder(shared_data, name):
    source = open_weights(shared_data / TINY / name)
    assert source.path == shared_data / TINY / "bert_model.ckpt.index"
    assert [file.name for file in source.files] == ["bert_model.ckpt.index", "bert_model.ckpt.data-00000-of-00001"]


# Every bit counts


@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001"])
def test_no_flipped_bit_gives_another_array_in_silence(shared_data, tmp_path, suffix):
    name = "bert_model.ckpt"
    for end in (".index", ".data-00000-of-00001"):
        (tmp_path / (name + end)).write_bytes((shared_data / f"{TINY}_partitioned" / (name + end)).read_bytes())
    before = read_all(tmp_path)
    path = tmp_path / (name + suffix)
    content = path.read_bytes()
    refused = tried = 0
    for at in range(0, len(content), len(content) // 97):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :])
        tried += 1
        try:
            after = read_all(tmp_path / f"{name}.index")
        except WeightsError:
            refused += 1
            continue
        assert list(after) == list(before)
        assert all(same(after[key], before[key]) for key in before)
    assert refused >= tried - 2  # the zeros that fill the footer up say nothing


def test_a_flipped_bit_is_told_of_the_tensor_it_is_in(written, refuses):
    index = written()
    shard = index.with_name("model.ckpt.data-00000-of-00001")
    content = bytearray(shard.read_bytes())
    content[5] ^= 4
    shard.write_bytes(content)
    with refuses(WeightsError, index, "tensor 'w'", "CRC", shard):
        open_weights(index).tensors["w"].read()


# What TensorFlow writes


@pytest.mark.parametrize(
    "dtype",
    ["b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16", ml_dtypes.bfloat16],
)
@pytest.mark.parametrize("shape", [(), (3, 2), (0, 4)])
@pytest.mark.parametrize("big_endian", [False, True])
def test_reads_every_type_in_either_byte_order(written, dtype, shape, big_endian):
    array = np.asarray(np.random.default_rng(1).normal(size=shape) * 9).astype(dtype)

    def change(made):
        made.entries[b""] = header(order=int(big_endian))
        made.add(b"x", array, big_endian=big_endian)

    tensor = open_weights(written(change)).tensors["x"]
    read = tensor.read()
    assert (tensor.shape, tensor.dtype) == (shape, array.dtype.name)
    assert (read.shape, read.dtype) == (shape, array.dtype)
    assert read.tobytes() == array.tobytes()


@pytest.mark.parametrize(("axis", "places"), [(0, [(0, 4), (4, 1), (5, 1)]), (1, [(0, 70), (70, 30)]), (0, [(0, 6)])])
def test_slices_are_joined_along_their_axis(written, axis, places):
    array = np.random.default_rng(2).normal(size=(6, 100, 2)).astype(np.float32)
    index = written(lambda made: made.add_slices("odd\0\xff name", array, places, axis))
    assert np.array_equal(open_weights(index).tensors["odd\0\xff name"].read(), array)


@pytest.mark.parametrize(
    ("name", "numbers", "key"),
    [
        (b"w", [(0, -1)], "00 77 0001 01 01 80 7f"),
        (b"a\0b\xff", [(63, 64)], "00 61 00ff 62 ff00 0001 01 01 bf c040"),
        (b"", [(300, 8192), (-65, 1 << 40)], "00 0001 01 02 c12c e02000 3fbf fd0000000000"),
    ],
)
def test_keys_of_slices_are_as_the_code_of_tensorflow_orders_them(name, numbers, key):
    assert slice_key(name, numbers) == bytes.fromhex(key)


def test_shards_are_read_each_for_its_own_tensors(tmp_path, refuses):
    made = Checkpoint()
    made.add(b"a", ROW)
    made.shards.append(b"")
    made.add(b"b", ROW + 1)
    index = made.write(tmp_path)
    assert np.array_equal(read_all(index)["b"], ROW + 1)
    shard = tmp_path / "model.ckpt.data-00001-of-00002"
    shard.unlink()
    source = open_weights(index)
    assert np.array_equal(source.tensors["a"].read(), ROW)
    with refuses(WeightsError, index, "lacks", shard, "fetch it"):
        source.tensors["b"].read()


def test_a_slice_in_a_missing_shard_is_named_before_room_is_made(tmp_path, refuses):
    made = Checkpoint()
    parts = [extents((0, 1 << 34)), extents((1 << 34, 1 << 34))]
    made.entries[b"w"] = entry(1, [1 << 35], slices=parts)
    for start in (0, 1 << 34):
        made.entries[slice_key(b"w", [(start, 1 << 34)])] = entry(1, [1 << 34], start * 4, 1 << 36)
    index = made.write(tmp_path)
    index.with_name("model.ckpt.data-00000-of-00001").unlink()
    with refuses(WeightsError, "lacks"):
        open_weights(index).tensors["w"].read()


@pytest.mark.parametrize("number", [7, 20, 21])
def test_texts_and_handles_are_no_tensors(written, number):
    source = open_weights(written(lambda made: made.add_bytes(b"text", number, (2,), b"\1\1....ab")))
    assert source.others == ("text",)
    assert list(source.tensors) == ["w"]


@pytest.mark.parametrize(
    ("number", "size", "word"), [(11, 8, "quantized (qint8)"), (25, 8, "quantized"), (99, 8, "type 99")]
)
def test_quantized_and_unknown_types_are_listed_and_refused_when_read(written, refuses, number, size, word):
    index = written(lambda made: made.add_bytes(b"q", number, (8,), bytes(size)))
    tensor = open_weights(index).tensors["q"]
    assert tensor.shape == (8,)
    with refuses(WeightsError, index, "tensor 'q'", word):
        tensor.read()


# Damage, and what asks for too much


def replace(key, value):
    return lambda made: made.entries.__setitem__(key, value)


def sliced(*places, shape=(8,), dtype=1, leave=()):
    """Say that 'w' is in slices of one axis."""

    def change(made):
        made.entries[b"w"] = entry(1, shape, slices=[extents((start, count)) for start, count in places])
        for start, count in places:
            if start not in leave:
                stored = entry(dtype, [count], start * 4, count * 4)
                made.entries[slice_key(b"w", [(start, count)])] = stored

    return change


def resliced(made, first):
    """Put 'w' into two slices, the first of which is another."""
    sliced((0, 4), (4, 4))(made)
    made.entries[slice_key(b"w", [(0, 4)])] = first


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (replace(b"w", entry(1, [9], 0, 32)), ["tensor 'w'", "does not fill 32 bytes"]),
        (replace(b"w", entry(2, [8], 0, 32)), ["tensor 'w'", "does not fill"]),
        (replace(b"w", entry(1, [1 << 59, 0, 1 << 59], 0, 0)), ["tensor 'w'", "impossible"]),
        (replace(b"w", entry(1, [1] * 100, 0, 4)), ["tensor 'w'", "impossible"]),
        (replace(b"w", entry(1, [-1], 0, 32)), ["out of range"]),
        (replace(b"w", entry(1, [8], -4, 32)), ["out of range"]),
        (replace(b"w", entry(1, [1 << 40], 0, 1 << 42)), ["data-00000-of-00001", "it is cut short"]),
        (replace(b"w", entry(1, [8], 0, 32, shard=1)), ["in shard 1 of 1"]),
        (replace(b"w", message((2, 3))), ["number stands where bytes"]),
        (replace(b"w", message((1, b"x"))), ["bytes stand where a number"]),
        (replace(b"w", message((1, 1), (2, message((3, 1))))), ["unknown rank"]),
        (replace(b"w", b"\x0a"), ["damaged"]),
        (replace(b"v", entry(1, [2], 24, 8)), ["overlap at byte 24"]),
        (replace(b"\xff\xfe", entry(1, [0])), ["no UTF-8"]),
        (replace(b"w" * 5000, entry(1, [0])), ["a key of 5000 bytes"]),
        (replace(b"", header(shards=0)), ["header is damaged"]),
        (replace(b"", header(shards=1 << 40)), ["header is damaged"]),
        (replace(b"", header(order=2)), ["header is damaged"]),
        (replace(b"", header(needed=2)), ["version 2"]),
        (lambda made: made.entries.pop(b""), ["no header"]),
        (sliced((0, 4), (5, 3)), ["tensor 'w'", "gap at 4"]),
        (sliced((0, 4), (4, 3)), ["tensor 'w'", "end at 7 of 8"]),
        (sliced((0, 4), (4, 4), leave=(4,)), ["tensor 'w'", "the slice at 4", "missing"]),
        (sliced((0, 4), (4, 4), dtype=2), ["the slice at 0", "another"]),
        (sliced((0, 4), (4, 4), shape=(8, 1)), ["other axes"]),
        (lambda made: resliced(made, entry(1, [2, 2], 0, 16)), ["the slice at 0", "another"]),
        (lambda made: resliced(made, entry(1, [4], 0, 8)), ["the slice at 0", "does not fill"]),
        (replace(slice_key(b"v", [(0, 4)]), entry(1, [0])), ["1 slices belong to no tensor"]),
    ],
)
def test_a_damaged_index_is_refused(written, refuses, change, words):
    with refuses(WeightsError, *words):
        open_weights(written(change))


def test_slices_along_two_axes_are_refused(written, refuses):
    parts = [extents((r, 2), (c, 2)) for r in (0, 2) for c in (0, 2)]
    with refuses(WeightsError, "tensor 'grid'", "several axes"):
        open_weights(written(replace(b"grid", entry(1, [4, 4], slices=parts))))


@pytest.mark.parametrize("length", [0, 1, 16, 31])
def test_a_shard_that_is_cut_short_is_refused(written, refuses, length):
    index = written()
    shard = index.with_name("model.ckpt.data-00000-of-00001")
    shard.write_bytes(shard.read_bytes()[:length])
    with refuses(WeightsError, shard, "its tensors end at byte 32", f"the file at {length}"):
        open_weights(index)


@pytest.mark.parametrize("name", ["model.ckpt.index", "model.ckpt.data-00000-of-00001"])
def test_a_file_that_changes_between_opening_and_reading_is_noticed(written, refuses, name):
    index = written()
    source = open_weights(index)
    shard = index.with_name("model.ckpt.data-00000-of-00001")
    shard.write_bytes(shard.read_bytes() + b"x")
    with refuses(WeightsError, shard, "changed since it was opened"):
        source.tensors["w"].read()


# Folders


def test_a_savedmodel_or_a_module_of_tensorflow_hub_is_named_by_its_folder(tmp_path):
    (tmp_path / "variables").mkdir()
    (tmp_path / "saved_model.pb").write_bytes(b"never read")
    sample().write(tmp_path / "variables", "variables")
    assert list(open_weights(tmp_path).tensors) == [*TENSORS, "table"]
    assert open_weights(tmp_path).path == tmp_path / "variables" / "variables.index"


def test_a_folder_of_several_checkpoints_asks_which(tmp_path, refuses):
    for step in (7, 8):
        sample().write(tmp_path, f"model.ckpt-{step}")
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-8"\n')
    with refuses(WeightsError, tmp_path, "name the weight file in it", "'model.ckpt-7.index', 'model.ckpt-8.index'"):
        open_weights(tmp_path)
    assert open_weights(tmp_path / "model.ckpt-8").path == tmp_path / "model.ckpt-8.index"


def test_an_index_beside_other_weights_asks_which(tmp_path, refuses):
    sample().write(tmp_path)
    (tmp_path / "model.h5").write_bytes(b"x")
    with refuses(WeightsError, tmp_path, "'model.ckpt.index', 'model.h5'"):
        open_weights(tmp_path)


def test_data_without_an_index_names_the_index(tmp_path, refuses):
    index = sample().write(tmp_path)
    index.unlink()
    with refuses(WeightsError, "without", index, "fetch that file"):
        open_weights(tmp_path / "model.ckpt.data-00000-of-00001")
    with refuses(WeightsError, "without its index"):
        open_weights(tmp_path)


def test_a_table_of_another_name_says_what_it_may_be(tmp_path, refuses):
    index = sample().write(tmp_path)
    index.rename(tmp_path / "index.txt")
    with refuses(WeightsError, "LevelDB", "NAME.index"):
        open_weights(tmp_path / "index.txt")


# All together


def test_names_of_tensorflow_are_identified_as_nothing_else(shared_data):
    assert identify(open_weights(shared_data / "weights/mlperf_tiny_kws_savedmodel")) == ()


def test_the_plan_ignores_the_state_of_training_and_says_why(tmp_path):
    made = Checkpoint()
    for name, tensor in source_of(table := TABLES["cifar/resnet20"]).tensors.items():
        made.add(name.encode(), np.zeros(tensor.shape, tensor.dtype))
    for name in ("conv1.weight/adam_m", "conv1.weight/Adam_1", f"conv1.weight/.OPTIMIZER_SLOT/sgd/momentum{VALUE}"):
        made.add(name.encode(), ROW)
    made.add(b"global_step", np.asarray(np.int64(3)))
    plan = make_plan(open_weights(made.write(tmp_path)), table)
    assert plan.coverage == 1
    found = {unused.source: unused.reason for unused in plan.ignored if not unused.kept}
    assert found.pop("global_step") == "a counter of steps"
    assert len(found) == 3
    assert set(found.values()) == {"the state of an optimizer"}


def test_reading_needs_no_tensorflow(tmp_path, run_child):
    program = """if True:
        import sys
        from tlx.convert.read import open_weights
        assert "google_crc32c" not in sys.modules
        for tensor in open_weights(sys.argv[1]).tensors.values():
            tensor.read()
        print([name for name in ("tensorflow", "google.protobuf") if name in sys.modules])
        """
    assert run_child(program, sample().write(tmp_path)).strip() == "[]"


@pytest.mark.slow
def test_damaged_checkpoints_neither_crash_nor_hang_nor_run_code(tmp_path):
    script = ROOT / "experiments" / "fuzz_readers.py"
    arguments = ["--format", "tf", "--mutations", "150", "--seed", "7", "--keep", str(tmp_path)]
    done = subprocess.run([sys.executable, str(script), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 150 mutations, 0 defects" in done.stdout


def test_the_helpers_types_are_tensorflows():
    assert (NUMBERS["float32"], NUMBERS["bfloat16"], NUMBERS["float16"], NUMBERS["bool"]) == (1, 14, 19, 10)
    assert GRAPH.decode() == "_CHECKPOINTABLE_OBJECT_GRAPH"
