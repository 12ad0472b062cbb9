import numpy as np
import pytest

from tlx.data.readers.emnist import SUBSETS
from tlx.data.readers.idx_folder import read_idx_folder
from tlx.errors import DataError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (6, 5, 4), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2], np.uint8)


@pytest.fixture
def make(tmp_path, write_idx):
    """Write a data set's four files (or those of `splits`) into the folder."""

    def write(prefix="", *, splits=("train", "t10k"), labels=LABELS, images=PIXELS, ending=".gz", mapping=None):
        for split in splits:
            write_idx(tmp_path / f"{prefix}{split}-images-idx3-ubyte{ending}", images)
            write_idx(tmp_path / f"{prefix}{split}-labels-idx1-ubyte{ending}", labels)
        if mapping is not None:
            (tmp_path / f"{prefix}mapping.txt").write_text(mapping)
        return str(tmp_path)

    return write


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_mnist_layout(make, ending):
    parts = read_idx_folder(make(ending=ending))
    assert (parts.train.images == PIXELS).all()
    assert (parts.test.targets == LABELS).all()
    assert parts.train.classes == ("0", "1", "2")
    assert parts.notes == ()


def test_other_spelling_and_no_test_set(tmp_path, write_idx):
    write_idx(tmp_path / "train-images.idx3-ubyte", PIXELS)
    write_idx(tmp_path / "train-labels.idx1-ubyte", LABELS)
    parts = read_idx_folder(str(tmp_path))
    assert len(parts.train) == 6
    assert parts.test is None


def test_emnist_comes_out_upright_with_names(make):
    parts = read_idx_folder(make("emnist-small-", splits=("train", "test"), mapping="0 65\n1 66\n2 98\n"))
    for source in (parts.train, parts.test):
        assert source.images.shape == (6, 4, 5)
        assert (source.images == PIXELS.transpose(0, 2, 1)).all()
        assert source.images.flags.c_contiguous
        assert source.classes == ("A", "B", "b")
    assert "transposed" in parts.notes[0]
    assert "upright" in parts.notes[0]


def test_only_emnist_is_transposed(make):
    parts = read_idx_folder(make("kmnist-", mapping="0 48\n1 49\n2 50\n"))
    assert (parts.train.images == PIXELS).all()
    assert parts.notes == ()


def test_labels_follow_the_mapping_not_the_number(make):
    parts = read_idx_folder(make("emnist-letters-", labels=LABELS + 1, mapping="3 67 99\n1 65 97\n2 66 98\n"))
    assert parts.train.classes == ("Aa", "Bb", "Cc")
    assert (parts.train.targets == LABELS).all()


def test_emnist_letters_without_its_mapping_file(make):
    parts = read_idx_folder(make("emnist-letters-", labels=LABELS + 1))
    assert parts.train.classes == SUBSETS["letters"].classes
    assert parts.train.classes[:2] == ("Aa", "Bb")
    assert (parts.train.targets == LABELS).all()


def test_several_data_sets_ask_for_a_prefix(make, refuses):
    make("emnist-digits-")
    folder = make("emnist-letters-", labels=LABELS + 1)
    with refuses(DataError, folder, "emnist-digits, emnist-letters", "idx:", "/PREFIX"):
        read_idx_folder(folder)
    assert read_idx_folder(f"{folder}/emnist-digits").train.classes == tuple("0123456789")
    assert len(read_idx_folder(f"{folder}/emnist-letters").train.classes) == 26
    with refuses(DataError, "no folder emnist-leters", "emnist-digits, emnist-letters"):
        read_idx_folder(f"{folder}/emnist-leters")


@pytest.mark.parametrize("missing", ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"])
def test_a_missing_file_is_named(make, tmp_path, missing, refuses):
    folder = make()
    (tmp_path / f"{missing}-ubyte.gz").unlink()
    with refuses(DataError, folder, missing.replace("t10k", "test"), "missing"):
        read_idx_folder(folder)


def test_a_file_there_twice_is_refused(make, refuses):
    make(ending=".gz")
    with refuses(DataError, "both", "remove one"):
        read_idx_folder(make(ending=""))


def test_no_folder_and_no_files(tmp_path, refuses):
    for where in (f"{tmp_path}/a/b", ""):
        with refuses(DataError, "folder", "idx:DIR"):
            read_idx_folder(where)
    with refuses(DataError, str(tmp_path), "no idx files", "train-images-idx3-ubyte.gz"):
        read_idx_folder(str(tmp_path))
    with refuses(DataError, "no folder"):
        read_idx_folder(str(tmp_path / ("x" * 3000)))


BAD_LABELS = {
    "label of the test set": (
        {"labels": LABELS},
        {"labels": np.array([0, 1, 3, 0, 1, 2], np.uint8)},
        "row 2: label 3",
    ),
    "negative": ({"labels": np.array([0, 1, -1, 0, 1, 2], np.int8)}, {}, "row 2: label -1 is negative"),
    "far away": ({"labels": np.array([0, 1, 2, 0, 255, 2], np.uint8)}, {}, "row 4: label 255"),
    "too few": ({"labels": LABELS[:5]}, {}, "5 labels for 6 images"),
    "two columns": ({"labels": LABELS.reshape(3, 2)}, {}, "expected (N,)"),
    "floats": ({"labels": LABELS.astype(np.float32)}, {}, "expected integers"),
}


@pytest.mark.parametrize("fault", BAD_LABELS)
def test_bad_labels_name_file_and_row(make, fault, refuses):
    train, test, words = BAD_LABELS[fault]
    folder = make(splits=("train",), **train)
    make(splits=("t10k",), **test)
    wrong = "t10k-labels" if test else "train-labels"
    with refuses(DataError, folder, wrong, words):
        read_idx_folder(folder)


def test_a_label_that_the_mapping_lacks(make, refuses):
    folder = make("emnist-x-", splits=("train",), mapping="0 48\n1 49\n")
    with refuses(DataError, "emnist-x-train-labels", "row 2: label 2 is out of range"):
        read_idx_folder(folder)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (PIXELS.astype(np.float32), "value_range"),
        (PIXELS[:, 0, 0], "expected (N, H, W)"),
        (PIXELS[:0], "holds no images"),
        (np.where(PIXELS < 9, np.float32("nan"), PIXELS).astype(np.float32), "not finite"),
    ],
)
def test_bad_images_name_the_file(make, images, words, refuses):
    with refuses(DataError, "train-images", words):
        read_idx_folder(make(images=images, labels=LABELS[: len(images)]))


def test_the_real_letters_stand_upright(shared_data):
    """In upright handwriting an I, a 1 and a T are taller than broad, an m or W broader: measure the I's."""
    parts = read_idx_folder(str(shared_data / "letters47"))
    assert (len(parts.train), len(parts.test), len(parts.train.classes)) == (4960, 1240, 47)
    assert "".join(parts.train.classes) == "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt"
    strokes = parts.train.images[parts.train.targets == parts.train.classes.index("I")] > 64
    tall = [(stroke.any(axis=1).sum(), stroke.any(axis=0).sum()) for stroke in strokes]
    assert np.mean([height >= width for height, width in tall]) > 0.9
