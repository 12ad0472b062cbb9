import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tf_files import (
    TENSORS,
    block,
    entry,
    header,
    literal,
    read_all,
    same,
    sample,
    table,
    table_of,
    varint,
    write_row,
)

from tlx.convert.read import open_weights
from tlx.errors import TlxError, UnsafeFileError, WeightsError


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("every", [1, 3, 1000])
def test_reads_tables_of_any_number_of_blocks(tmp_path, packed, every):
    arrays = read_all(sample().write(tmp_path, packed=packed, every=every))
    assert list(arrays) == [*TENSORS, "table"]
    assert all(same(arrays[name], np.asarray(array)) for name, array in TENSORS.items())
    assert np.array_equal(arrays["table"], np.arange(12).reshape(6, 2))


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html>", bytes(48), b"x" * 1000])
def test_an_index_that_is_none_is_told_as_what_it_is(tmp_path, refuses, content):
    (tmp_path / "a.index").write_bytes(content)
    with refuses(WeightsError, tmp_path / "a.index", "TensorFlow (.index, SavedModel)"):
        open_weights(tmp_path)


def test_an_index_cut_anywhere_is_refused(tmp_path):
    index = write_row(tmp_path)
    content = index.read_bytes()
    for length in range(len(content)):
        index.write_bytes(content[:length])
        with pytest.raises(WeightsError):
            open_weights(index)


PLAIN = block({b"": header(), b"w": entry(1, [0], crc=0xA282EAD8)})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (table_of([(b"w", PLAIN, 2)]), ["packed by method 2"]),
        (table_of([(b"w", b"", 0)]), ["ends early"]),
        (table_of([(b"w", PLAIN[:-4] + b"\xff" * 4, 0)]), ["ends early"]),
        (table_of([(b"w", PLAIN, 0), (b"x", PLAIN, 0)]), ["keys are out of order"]),
        (table_of([(b"w", b"\5\0\0" + PLAIN, 0)]), ["past its block"]),
        (table_of([(b"w", b"\0\xff\xff\xff\x0f\0" + PLAIN, 0)]), ["past its block"]),
        (table_of([(b"w", literal(PLAIN)[:-1], 1)]), ["literal reaches past"]),
    ],
)
def test_a_damaged_table_is_refused(tmp_path, refuses, content, words):
    (tmp_path / "a.index").write_bytes(content)
    with refuses(WeightsError, tmp_path / "a.index", "damaged index", *words):
        open_weights(tmp_path / "a.index")


def test_the_blocks_of_the_damaged_tables_are_sound_without_the_damage(tmp_path):
    (tmp_path / "a.index").write_bytes(table_of([(b"w", PLAIN, 0)]))
    assert list(open_weights(tmp_path / "a.index").tensors) == ["w"]


@pytest.mark.parametrize("claimed", [1 << 40, 1 << 20])
def test_a_snappy_bomb_is_refused_before_room_is_made(tmp_path, refuses, claimed):
    packed = varint(claimed) + bytes([3 << 2]) + b"abcd"
    (tmp_path / "a.index").write_bytes(table_of([(b"w", packed, 1)]))
    tracemalloc.start()
    try:
        with refuses(UnsafeFileError, tmp_path / "a.index", f"claim to become {claimed}"):
            open_weights(tmp_path / "a.index")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_blocks_that_become_too_much_together_are_refused(tmp_path, refuses, monkeypatch):
    def packed(key):
        head, zeros = varint(0) + varint(1) + varint(64_002) + key, bytes([4, 0, 0]) + bytes([63 << 2 | 2, 1, 0]) * 1000
        tail = (0).to_bytes(4, "little") + (1).to_bytes(4, "little")
        parts = [bytes([len(part) - 1 << 2]) + part for part in (head, tail)]
        return varint(len(head) + 64_002 + len(tail)) + parts[0] + zeros + parts[1]

    first = (b"", literal(block({b"": header()})), 1)
    blocks = [first, *((key, packed(key), 1) for key in (b"a", b"b", b"c"))]
    (tmp_path / "a.index").write_bytes(table_of(blocks))
    monkeypatch.setattr("tlx.convert.tf_table._MAX_BYTES", 150_000)
    with refuses(UnsafeFileError, tmp_path / "a.index", "claim to become 64"):
        open_weights(tmp_path / "a.index")
    (tmp_path / "a.index").write_bytes(table_of(blocks[:-1]))
    assert list(open_weights(tmp_path / "a.index").tensors) == ["a", "b"]


def test_an_index_that_is_too_large_is_not_read(tmp_path, refuses):
    with (tmp_path / "a.index").open("wb") as file:
        file.truncate(1 << 40)
        file.seek(0, 2)
        file.write(table({b"": header()}))
    with refuses(WeightsError, tmp_path / "a.index", "no checkpoint has so large a one"):
        open_weights(tmp_path / "a.index")


@pytest.mark.slow
def test_more_tensors_than_any_model_has_are_refused_in_time(tmp_path, refuses):
    value = entry(1, [0], crc=0xA282EAD8)
    entries = {b"": header()} | {f"{n:06}".encode(): value for n in range(800_000)}
    (tmp_path / "a.index").write_bytes(table(entries, every=4000))
    start = time.perf_counter()
    with refuses(WeightsError, "more than 100000 tensors"):
        open_weights(tmp_path / "a.index")
    assert time.perf_counter() - start < 5


def test_a_block_that_stands_for_many_is_refused(tmp_path, refuses):
    content = table_of([(b"w", PLAIN, 0)])
    handle = varint(0) + varint(len(PLAIN))
    where = varint(len(PLAIN) + 5) + varint(len(block({})))
    index = block({b"w": handle, b"x": handle}, shared=False)
    at = len(PLAIN) + 5 + len(block({})) + 5
    rest = table_of([(b"", index, 0)])[: len(index) + 5]
    footer = (where + varint(at) + varint(len(index))).ljust(40, b"\0") + content[-8:]
    (tmp_path / "a.index").write_bytes(content[:at] + rest + footer)
    with refuses(WeightsError, "blocks are out of order"):
        open_weights(tmp_path / "a.index")


@given(st.binary(max_size=200), st.integers(0, 3))
def test_bytes_of_any_kind_are_no_index(tmp_path_factory, content, kind):
    path = tmp_path_factory.mktemp("any") / "a.index"
    path.write_bytes(table_of([(b"w", content, kind)]))
    with pytest.raises(TlxError):
        open_weights(path)
