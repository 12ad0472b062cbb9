import io
import struct
import warnings
import zipfile

import ml_dtypes
import numpy as np
import pytest
from weight_files import KERNEL

from tlx.convert.read import open_weights
from tlx.errors import UnsafeFileError, WeightsError


def npy(array, **options):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asarray(array), **options)
    return stream.getvalue()


def npy_header(header, version=b"\1\0"):
    text = header.encode() + b"\n"
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text


@pytest.fixture
def zipped(tmp_path):
    """Write an .npz file of raw members, names repeated where they are."""

    def write(*members, packing=zipfile.ZIP_STORED):
        path = tmp_path / "made.npz"
        with zipfile.ZipFile(path, "w", packing) as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of names that are there twice
            for name, content in members:
                archive.writestr(name, content)
        return path

    return write


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(
    "array",
    [KERNEL, KERNEL[:0], KERNEL.astype(">f8"), np.asfortranarray(KERNEL), np.float16(3), np.array([True]), KERNEL + 1j],
    ids=["C", "empty", "big-endian", "Fortran", "scalar", "bool", "complex"],
)
def test_reads_what_numpy_writes(tmp_path, save, array):
    save(tmp_path / "a.npz", **{"a/b": array})
    read = open_weights(tmp_path / "a.npz").tensors["a/b"].read()
    assert read.dtype == array.dtype.newbyteorder("=")
    assert read.flags.c_contiguous
    assert np.array_equal(read, array)


def test_text_is_among_others_and_raw_values_are_refused_when_read(tmp_path, refuses):
    np.savez(tmp_path / "a.npz", note="text", w=KERNEL.astype(ml_dtypes.bfloat16), record=np.zeros(2, "f4,i4"))
    source = open_weights(tmp_path / "a.npz")
    assert source.others == ("note", "record")
    with refuses(WeightsError, "tensor 'w'", "bfloat16", "float32"):
        source.tensors["w"].read()


def test_objects_are_refused_and_not_unpickled(tmp_path, refuses, zipped):
    class Canary:
        def __reduce__(self):
            return open, (str(tmp_path / "canary"), "w")

    path = zipped(("w.npy", npy(np.array([Canary()], dtype=object), allow_pickle=True)))
    with refuses(UnsafeFileError, "tensor 'w'", "unpickling"):
        open_weights(path)
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("name", ["../w.npy", "/w.npy", "a/../../w.npy", "..\\w.npy", "c:w.npy", "a//w.npy", "./w.npy"])
def test_members_that_lead_elsewhere_are_refused(refuses, zipped, name):
    with refuses(UnsafeFileError, "leads out"):
        open_weights(zipped((name, npy(KERNEL))))


def test_members_that_are_there_twice_are_refused(refuses, zipped):
    with refuses(UnsafeFileError, "'w.npy' is there twice"):
        open_weights(zipped(("w.npy", npy(KERNEL)), ("w.npy", npy(KERNEL))))


def test_encrypted_and_oddly_packed_members_are_refused(refuses, zipped):
    path = zipped(("w.npy", npy(KERNEL)))
    content = path.read_bytes()
    at = content.rindex(b"PK\1\2")
    path.write_bytes(content[: at + 8] + b"\1\0" + content[at + 10 :])
    with refuses(UnsafeFileError, "encrypted"):
        open_weights(path)
    with refuses(UnsafeFileError, "method 14"):
        open_weights(zipped(("w.npy", npy(KERNEL)), packing=zipfile.ZIP_LZMA))


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_flipped_bits_are_noticed_by_the_crc(refuses, zipped, packing):
    noise = np.random.default_rng(0).integers(0, 256, 100_000, np.uint8)
    path = zipped(("w.npy", npy(noise)), packing=packing)
    content = bytearray(path.read_bytes())
    content[60_000] ^= 1
    path.write_bytes(content)
    with refuses(WeightsError, "w.npy", "CRC"):
        open_weights(path).tensors["w"].read()


@pytest.mark.parametrize("size", [65 << 20, 200 << 20])
def test_a_bomb_is_refused(tmp_path, refuses, size):
    with (
        zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("w.npy", "w") as member,
    ):
        member.write(npy_header(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({size},), }}"))
        for _ in range(size >> 20):
            member.write(bytes(1 << 20))
    with refuses(UnsafeFileError, "'w.npy'", "claim to become"):
        open_weights(tmp_path / "a.npz")


def test_members_that_overlap_are_refused(refuses, zipped):
    path = zipped(("v.npy", npy(KERNEL)), ("w.npy", npy(KERNEL)))
    content = path.read_bytes()
    at = content.rindex(b"PK\1\2")  # the second entry of the directory now points to the first member
    path.write_bytes(content[: at + 42] + struct.pack("<I", 0) + content[at + 46 :])
    with refuses(UnsafeFileError, "overlaps another"):
        open_weights(path)


def test_a_directory_that_is_too_long_is_refused_before_it_is_read(tmp_path, refuses):
    path = tmp_path / "a.npz"
    entry = b"PK\1\2" + bytes(42)
    with path.open("wb") as file:
        file.write(b"PK\3\4" + bytes(26))
        file.write(entry * 1_000_000)
        file.write(struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 65535, 65535, 46_000_000, 30, 0))
    with refuses(WeightsError, "a zip directory of 46000000 bytes"):
        open_weights(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        b"not an array",
        npy(KERNEL)[:-1],
        npy(KERNEL) + b"x",
        npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (10**9,), }"),
        npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }"),
        npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -1), }") + bytes(4),
        npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 4611686018427387904), }"),
        npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (), }", b"\x09\0") + bytes(4),
        npy_header("__import__('os').system('true')"),
        npy_header("(" * 5000),
    ],
)
def test_damaged_members_are_refused(refuses, zipped, content):
    with refuses(WeightsError, "tensor 'w'"):
        open_weights(zipped(("w.npy", content)))
