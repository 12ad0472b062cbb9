import io
import random
import zipfile

import numpy as np
import pytest

from tlx.data import read_npz
from tlx.data.readers.npz import read_npz_examples
from tlx.data.spec import Request
from tlx.errors import DataError, TlxError, UnsafeFileError

X = np.random.default_rng(0).integers(0, 256, (6, 4, 5), dtype=np.uint8)
Y = np.array([0, 1, 0, 1, 0, 1])


class Canary:
    """Leaves a mark when unpickled."""

    unpickled = False

    def __reduce__(self):
        return (setattr, (Canary, "unpickled", True))


def npy(array, **options):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asarray(array), **options)
    return stream.getvalue()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("array", [X, X[:0], X.astype(">f8"), np.asfortranarray(X), np.array("µ"), np.array(["", ""])])
def test_reads_what_numpy_writes(tmp_path, save, array):
    save(tmp_path / "a.npz", key=array)
    arrays, others = read_npz(tmp_path / "a.npz")
    assert others == ()
    assert arrays["key"].dtype == array.dtype.newbyteorder("=")
    assert arrays["key"].shape == array.shape
    assert (arrays["key"] == array).all()


def test_examples_with_and_without_a_test_set(tmp_path):
    np.savez(tmp_path / "a.npz", images=X, labels=Y, classes=np.array(["cat", "dog"]), extra=np.zeros(3))
    parts = read_npz_examples(Request(str(tmp_path / "a.npz")))
    assert parts.train.classes == ("cat", "dog")
    assert parts.test is None
    assert (parts.train.images == X).all()
    assert parts.notes == (f"{tmp_path}/a.npz: not used: extra",)
    np.savez(tmp_path / "b.npz", x_train=X / 255, y_train=Y, x_test=X[:2] / 255, y_test=Y[:2], value_range=[0, 1])
    parts = read_npz_examples(Request(str(tmp_path / "b.npz")))
    assert len(parts.test) == 2
    assert parts.test.classes == ("0", "1")
    assert np.allclose(parts.train.images, X)


BAD_EXAMPLES = {
    "other keys": ({"image": X, "label": Y}, "holds image, label; expected x_train"),
    "both styles": ({"images": X, "labels": Y, "x_train": X, "y_train": Y}, "expected x_train"),
    "no labels": ({"images": X}, "expected x_train"),
    "half a test set": ({"x_train": X, "y_train": Y, "x_test": X}, "go together"),
    "nothing": ({}, "holds nothing"),
    "floats": ({"images": X / 255, "labels": Y}, "[images]: type float64 from 0"),
    "NaN": ({"images": np.where(X[3, 1, 1] == X, np.nan, X), "labels": Y, "value_range": [0, 255]}, "not finite"),
    "target": ({"x_train": X, "y_train": Y, "x_test": X, "y_test": Y + 1}, "[y_test]: row 1: label 2 is out of range"),
    "gap": ({"images": X, "labels": Y * 7}, "[labels]: row 1: label 7, though no row has label 1"),
    "count": ({"images": X, "labels": Y[:5]}, "5 labels for 6 images"),
    "empty": ({"images": X[:0], "labels": Y[:0]}, "holds no images"),
    "classes": ({"images": X, "labels": Y, "classes": np.array([1, 2])}, "[classes]: expected a row of strings"),
    "same classes": ({"images": X, "labels": Y, "classes": np.array(["a", "a"])}, "different strings"),
    "range": ({"images": X, "labels": Y, "value_range": np.zeros(3)}, "[value_range]: expected two numbers"),
}


@pytest.mark.parametrize("fault", BAD_EXAMPLES)
def test_bad_examples_name_the_file_and_the_array(tmp_path, fault, refuses):
    arrays, words = BAD_EXAMPLES[fault]
    np.savez(tmp_path / "bad.npz", **arrays)
    with refuses(DataError, words):
        read_npz_examples(Request(str(tmp_path / "bad.npz")))


def test_objects_are_refused_and_never_unpickled(tmp_path, refuses):
    np.savez(tmp_path / "evil.npz", images=np.array([Canary()], object), labels=Y)
    with refuses(UnsafeFileError, "evil.npz[images]", "unpickling"):
        read_npz_examples(Request(str(tmp_path / "evil.npz")))
    record = np.zeros(2, [("a", "O")])
    np.savez(tmp_path / "evil.npz", images=record)
    with refuses(UnsafeFileError, "unpickling"):
        read_npz(tmp_path / "evil.npz")
    assert not Canary.unpickled


def test_bombs_are_refused_before_they_unpack(tmp_path, refuses):
    path = tmp_path / "made.npz"
    np.savez_compressed(path, images=np.zeros(30_000_000, np.uint8))
    assert path.stat().st_size < 100_000
    with refuses(UnsafeFileError, "limit of 1000000"):
        read_npz(path, max_bytes=1_000_000)
    np.savez_compressed(path, images=X)
    content = bytearray(path.read_bytes())
    size = content.index(b"PK\x01\x02") + 24
    content[size : size + 4] = (2**31).to_bytes(4, "little")
    path.write_bytes(content)
    with refuses(UnsafeFileError, "claim to become"):
        read_npz(path)


def test_members_that_lead_elsewhere_are_refused(tmp_path, refuses):
    with zipfile.ZipFile(tmp_path / "made.npz", "w") as archive:
        archive.writestr("../images.npy", npy(X))
    with refuses(UnsafeFileError, "leads out of the archive"):
        read_npz(tmp_path / "made.npz")


def test_a_damaged_array_names_the_file_the_array_and_the_cure(tmp_path, refuses):
    with zipfile.ZipFile(tmp_path / "made.npz", "w") as archive:
        archive.writestr("images.npy", npy(X)[:-1])
    with refuses(DataError, "made.npz[images]", "the header announces shape (6, 4, 5)", "numpy.savez"):
        read_npz(tmp_path / "made.npz")
    np.savez(tmp_path / "made.npz", images=X + 1j)
    with refuses(DataError, "made.npz[images]", "expected numbers or strings"):
        read_npz(tmp_path / "made.npz")


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "an empty file"), (b"<html>", "an HTML page"), (npy(X), "a .npy file"), (b"\x80\4K\1.", "a pickle")],
)
def test_other_files_are_named_for_what_they_are(tmp_path, content, words, refuses):
    path = tmp_path / "data.npz"
    path.write_bytes(content)
    with refuses(DataError, str(path), words):
        read_npz(path)
    with refuses(DataError, "No such file"):
        read_npz(tmp_path / "gone.npz")


def test_truncation_and_bit_flips_never_pass_unseen(tmp_path):
    random.seed(0)
    whole = tmp_path / "whole.npz"
    np.savez_compressed(whole, x_train=X, y_train=Y, x_test=X[:2], y_test=Y[:2])
    content = whole.read_bytes()
    path = tmp_path / "bad.npz"
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(DataError):
            read_npz_examples(Request(str(path)))
    refused = 0
    for _ in range(400):
        flipped = bytearray(content)
        flipped[random.randrange(len(flipped))] ^= 1 << random.randrange(8)
        path.write_bytes(flipped)
        try:
            parts = read_npz_examples(Request(str(path)))
            assert (parts.train.images == X).all()
            assert (parts.train.targets == Y).all()
        except TlxError:
            refused += 1
    assert refused > 200
