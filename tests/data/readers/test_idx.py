import gzip
import os
import random
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tlx.data import read_idx
from tlx.errors import DataError

IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


def plain(array, code=8):
    return struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape) + array.tobytes()


@pytest.mark.parametrize(
    ("code", "stored"), [(8, "u1"), (9, "i1"), (0x0B, ">i2"), (0x0C, ">i4"), (0x0D, ">f4"), (0x0E, ">f8")]
)
def test_every_type_comes_out_in_native_order(tmp_path, code, stored):
    array = np.array([[1, -2 if stored != "u1" else 2]], stored)
    path = tmp_path / "any.name"
    path.write_bytes(plain(array, code))
    got = read_idx(path)
    assert got.dtype == np.dtype(stored).newbyteorder("=")
    assert got.tolist() == array.tolist()


@given(
    array=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5)), packed=st.booleans()
)
def test_reads_what_was_written(tmp_path_factory, array, packed):
    path = tmp_path_factory.mktemp("idx") / "x"
    path.write_bytes(gzip.compress(plain(array)) if packed else plain(array))
    got = read_idx(path)
    assert got.shape == array.shape
    assert got.tobytes() == array.tobytes()


def test_gzip_is_known_by_content_not_by_name(tmp_path):
    (tmp_path / "plain.gz").write_bytes(plain(IMAGES))
    (tmp_path / "packed").write_bytes(gzip.compress(plain(IMAGES)))
    assert (read_idx(tmp_path / "plain.gz") == IMAGES).all()
    assert (read_idx(tmp_path / "packed") == IMAGES).all()


GOOD = plain(IMAGES)
PACKED = gzip.compress(GOOD, mtime=0)
FAULTS = {
    "empty": (b"", "an empty file"),
    "html": (b"<!DOCTYPE html><p>404", "an HTML page"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
    "zip": (b"PK\x03\x04rest", "a zip file"),
    "magic type": (b"\0\0\x0a\x03" + GOOD[4:], "starts with 0x00000a03"),
    "magic zeros": (b"\1\0\x08\x03" + GOOD[4:], "not an idx file"),
    "no dimensions": (b"\0\0\x08\x00", "not an idx file"),
    "255 dimensions": (b"\0\0\x08\xff" + GOOD[4:], "not an idx file"),
    "short magic": (GOOD[:3], "not an idx file"),
    "short header": (GOOD[:10], "truncated in the header"),
    "count too large": (GOOD[:4] + struct.pack(">I", 3) + GOOD[8:], "3 x 3 x 4"),
    "count too small": (GOOD[:4] + struct.pack(">I", 1) + GOOD[8:], "bytes follow"),
    "truncated": (GOOD[:-1], "ends in row 1, after 23 of 24 bytes"),
    "cut in half": (plain(IMAGES[:1].repeat(9, axis=0))[:60], "more than the file can hold"),
    "trailing": (GOOD + b"\0", "bytes follow"),
    "bomb": (GOOD[:4] + struct.pack(">III", 2**32 - 1, 2**32 - 1, 2**32 - 1), "limit"),
    "impossible": (GOOD[:4] + struct.pack(">III", 0, 2**32 - 1, 2**32 - 1), "impossible sizes"),
    "gzip truncated": (PACKED[:-9], "truncated"),
    "gzip without its end": (PACKED[:-1], "truncated"),
    "gzip checksum": (PACKED[:-8] + bytes([PACKED[-8] ^ 1]) + PACKED[-7:], "damaged gzip"),
    "gzip trailing": (PACKED + b"junk", "damaged gzip"),
    "gzip second member": (PACKED + PACKED, "bytes follow"),
    "gzip payload short": (gzip.compress(GOOD[:-5]), "ends in row 1, after 19 of 24 bytes"),
    "gzip payload long": (gzip.compress(GOOD + b"x"), "bytes follow"),
    "gzip in gzip": (gzip.compress(PACKED), "a gzip file"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_file_is_one_data_error_that_names_it(tmp_path, fault, refuses):
    content, words = FAULTS[fault]
    path = tmp_path / "bad-idx3-ubyte"
    path.write_bytes(content)
    with refuses(DataError, str(path), words):
        read_idx(path)


def test_missing_folders_and_fifos_are_refused_at_once(tmp_path, refuses):
    os.mkfifo(tmp_path / "pipe")
    with refuses(DataError, "No such file", "gone"):
        read_idx(tmp_path / "gone")
    for path in (tmp_path, tmp_path / "pipe"):
        with refuses(DataError, "not a regular file"):
            read_idx(path)
    with refuses(DataError, "a\\x00b"):
        read_idx("a\0b")
    with refuses(DataError, "File name too long"):
        read_idx("x" * 5000)


def test_a_path_with_a_newline_is_escaped_in_the_message(tmp_path, refuses):
    with refuses(DataError, "two\\nlines"):
        read_idx(tmp_path / "two\nlines")


@pytest.mark.parametrize("packed", [False, True])
def test_a_header_bomb_is_refused_before_allocation(tmp_path, packed, refuses):
    bomb = struct.pack(">HBBII", 0, 8, 2, 3_000, 1_000_000) + bytes(1000)
    path = tmp_path / "bomb"
    path.write_bytes(gzip.compress(bomb) if packed else bomb)
    tracemalloc.start()
    try:
        with refuses(DataError, "more than the file can hold"):
            read_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_a_real_gzip_bomb_stops_at_the_limit(tmp_path, refuses):
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(struct.pack(">HBBI", 0, 8, 1, 20_000_000) + bytes(20_000_000)))
    with refuses(DataError, "limit of 1000000"):
        read_idx(path, max_bytes=1_000_000)


def test_bit_flips_of_a_gzip_file_never_pass_unseen(tmp_path):
    random.seed(0)
    array = np.frombuffer(random.randbytes(900), np.uint8).reshape(9, 10, 10)
    whole = gzip.compress(plain(array), mtime=0)
    path = tmp_path / "flipped"
    refused = 0
    for _ in range(300):
        content = bytearray(whole)
        content[random.randrange(len(content))] ^= 1 << random.randrange(8)
        path.write_bytes(content)
        try:
            assert (read_idx(path) == array).all()  # the flip hit a field that says nothing of the data
        except DataError:
            refused += 1
    assert refused > 280


def test_every_truncation_is_refused(tmp_path):
    path = tmp_path / "cut"
    for whole in (GOOD, PACKED):
        for length in range(len(whole)):
            path.write_bytes(whole[:length])
            with pytest.raises(DataError):
                read_idx(path)


def test_reads_the_real_mnist(shared_data: Path):
    images = read_idx(shared_data / "mnist/t10k-images-idx3-ubyte.gz")
    labels = read_idx(shared_data / "mnist/t10k-labels-idx1-ubyte.gz")
    assert (images.shape, images.dtype) == ((10_000, 28, 28), np.uint8)
    assert np.bincount(labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
