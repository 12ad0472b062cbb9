import io
import struct
import warnings
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from weight_files import KERNEL

from tlx.errors import DataError, UnsafeFileError, WeightsError
from tlx.files.archive import read_directory
from tlx.files.npz import read_header
from tlx.files.opening import DATA, WEIGHTS, RegularFile


def read_arrays(path, kind=WEIGHTS):
    members = read_directory(RegularFile.at(path, kind))
    return {header.name: header.read() for header in map(read_header, members.values())}


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
    [
        KERNEL,
        KERNEL[:0],
        KERNEL.astype(">f8"),
        np.asfortranarray(KERNEL),
        np.float16(3),
        np.array([True]),
        KERNEL + 1j,
        (KERNEL + 1j).astype(">c8"),
        np.array("µ"),
        np.array(["a", "µ"], ">U3"),
        np.array(["", ""]),
    ],
    ids=str,
)
def test_reads_what_numpy_writes(tmp_path, save, array):
    save(tmp_path / "a.npz", **{"a/b": array})
    read = read_arrays(tmp_path / "a.npz")["a/b"]
    assert read.dtype == array.dtype.newbyteorder("=")
    assert read.flags.c_contiguous
    assert read.shape == array.shape
    assert np.array_equal(read, array)


def test_objects_are_refused_and_not_unpickled(tmp_path, refuses, zipped):
    class Canary:
        def __reduce__(self):
            return open, (str(tmp_path / "canary"), "w")

    path = zipped(("w.npy", npy(np.array([Canary()], dtype=object), allow_pickle=True)))
    with refuses(UnsafeFileError, "made.npz[w]", "unpickling"):
        read_arrays(path)
    with refuses(UnsafeFileError, "unpickling"):
        read_arrays(zipped(("w.npy", npy(np.zeros(2, [("a", "O")]), allow_pickle=True))))
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("name", ["../w.npy", "/w.npy", "a/../../w.npy", "..\\w.npy", "c:w.npy", "a//w.npy", "./w.npy"])
def test_members_that_lead_elsewhere_are_refused(refuses, zipped, name):
    with refuses(UnsafeFileError, "leads out"):
        read_arrays(zipped((name, npy(KERNEL))))


def test_members_that_are_there_twice_are_refused(refuses, zipped):
    with refuses(UnsafeFileError, "'w.npy' is there twice"):
        read_arrays(zipped(("w.npy", npy(KERNEL)), ("w.npy", npy(KERNEL))))


def test_encrypted_and_oddly_packed_members_are_refused(refuses, zipped):
    path = zipped(("w.npy", npy(KERNEL)))
    content = path.read_bytes()
    at = content.rindex(b"PK\1\2")
    path.write_bytes(content[: at + 8] + b"\1\0" + content[at + 10 :])
    with refuses(UnsafeFileError, "encrypted"):
        read_arrays(path)
    with refuses(UnsafeFileError, "method 14"):
        read_arrays(zipped(("w.npy", npy(KERNEL)), packing=zipfile.ZIP_LZMA))


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_flipped_bits_are_noticed_by_the_crc(refuses, zipped, packing):
    noise = np.random.default_rng(0).integers(0, 256, 100_000, np.uint8)
    path = zipped(("w.npy", npy(noise)), packing=packing)
    content = bytearray(path.read_bytes())
    content[60_000] ^= 1
    path.write_bytes(content)
    with refuses(WeightsError, "w.npy", "CRC"):
        read_arrays(path)


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
        read_arrays(tmp_path / "a.npz")


def test_members_that_overlap_are_refused(refuses, zipped):
    path = zipped(("v.npy", npy(KERNEL)), ("w.npy", npy(KERNEL)))
    content = path.read_bytes()
    at = content.rindex(b"PK\1\2")  # the second entry of the directory now points to the first member
    path.write_bytes(content[: at + 42] + struct.pack("<I", 0) + content[at + 46 :])
    with refuses(UnsafeFileError, "overlaps another"):
        read_arrays(path)


def test_a_directory_that_is_too_long_is_refused_before_it_is_read(tmp_path, refuses):
    path = tmp_path / "a.npz"
    entry = b"PK\1\2" + bytes(42)
    with path.open("wb") as file:
        file.write(b"PK\3\4" + bytes(26))
        file.write(entry * 1_000_000)
        file.write(struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 65535, 65535, 46_000_000, 30, 0))
    with refuses(WeightsError, "a zip directory of 46000000 bytes"):
        read_arrays(path)


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
        npy_header("{'descr': '|u1', 'fortran_order': False, 'shape': (50000000, 50000000), }") + bytes(24),
        npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -1), }") + bytes(4),
        npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 4611686018427387904), }"),
        npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (), }", b"\x09\0") + bytes(4),
        npy_header("__import__('os').system('true')"),
        npy_header("(" * 5000),
        npy_header(" " * 20_000),
    ],
)
@pytest.mark.parametrize(("kind", "error"), [(WEIGHTS, WeightsError), (DATA, DataError)], ids=["weights", "data"])
def test_damaged_members_are_refused(refuses, zipped, content, kind, error):
    with refuses(error, "made.npz[w]", kind.cure):
        read_arrays(zipped(("w.npy", content)), kind)


def test_structured_arrays_of_the_third_version_are_refused(refuses, zipped):
    with refuses(WeightsError, "made.npz[w]", "structured"):
        read_arrays(zipped(("w.npy", npy_header("{}", b"\3\0"))))


def test_a_kind_says_how_far_its_files_may_unpack(tmp_path, refuses):
    np.savez_compressed(tmp_path / "a.npz", w=np.zeros(65 << 20, np.uint8))
    assert not read_arrays(tmp_path / "a.npz", DATA)["w"].any()  # as blank images are, which weights never are
    with refuses(UnsafeFileError, "a.npz", "limit of 1000"):
        read_arrays(tmp_path / "a.npz", replace(DATA, max_unpacked=1000))


def test_a_member_that_is_no_array_is_refused(refuses, zipped):
    with refuses(WeightsError, "made.npz[x]", ".npy"):
        read_arrays(zipped(("x", npy(KERNEL))))
