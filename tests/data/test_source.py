import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlx.data import ArraySource, DataSpec, Relabelled, Subset, labels_of, names_of
from tlx.data.source import digest, digests_of, take
from tlx.errors import ConfigError, DataError

IMAGES = np.arange(4 * 2 * 3, dtype=np.uint8).reshape(4, 2, 3)
LABELS = [0, 1, 2, 1]


class Lazy:
    """A source with nothing but the protocol, whose images differ in size if asked to."""

    classes = ("0", "1", "2")

    def __init__(self, ragged=False):
        self.ragged = ragged

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return {"input": IMAGES[index, : 1 + index % 2] if self.ragged else IMAGES[index], "target": LABELS[index]}


def test_uint8_stays_as_it_is_and_cannot_be_changed():
    source = ArraySource(IMAGES, LABELS)
    assert source.images.dtype == np.uint8
    assert np.shares_memory(source.images, IMAGES)
    assert source.classes == ("0", "1", "2")
    assert source.targets.dtype == np.int32
    with pytest.raises(ValueError, match="read-only"):
        source[0]["input"][0, 0] = 1
    IMAGES[0, 0, 0] = 0  # the caller's own array is still writable


@pytest.mark.parametrize(
    ("values", "value_range", "expected"),
    [
        (np.array([0.0, 0.5, 1.0], np.float32), (0, 1), [0, 127.5, 255]),
        (np.array([-1.0, 0.0, 1.0]), (-1, 1), [0, 127.5, 255]),
        (np.array([0.0, 7.25, 255.0]), (0, 255), [0, 7.25, 255]),
        (np.array([0, 8, 16]), (0, 16), [0, 127.5, 255]),
        (np.array([0, 65535], np.uint16), (0, 65535), [0, 255]),
        (np.array([0, 7, 255], np.int64), None, [0, 7, 255]),
        (np.array([False, True]), None, [0, 255]),
        (np.array([0.0, 1.0 + 1e-7]), (0, 1), [0, 255]),
    ],
)
def test_every_scale_becomes_0_to_255(values, value_range, expected):
    source = ArraySource(values.reshape(1, 1, -1), [0], value_range=value_range)
    assert source.images.dtype in (np.uint8, np.float32)
    assert source.images.reshape(-1).tolist() == expected


BAD_IMAGES = {
    "floats": (IMAGES / 255, None, "value_range=(low, high)"),
    "NaN": (np.where(IMAGES == 14, np.nan, IMAGES), (0, 255), "image 2 has pixels that are not finite"),
    "infinity": (np.where(IMAGES == 23, -np.inf, IMAGES), (0, 255), "image 3"),
    "above": (IMAGES.astype(np.int32) + 240, None, "image 2 has pixels from 252 to 257, outside the range 0 to 255"),
    "below": (IMAGES.astype(np.int8) - 1, None, "image 0 has pixels from -1"),
    "uint8 above": (IMAGES, (0, 16), "image 2"),
    "one image": (IMAGES[0], None, "expected (N, H, W)"),
    "channels first": (np.zeros((4, 3, 28, 28), np.uint8), None, "has channels first"),
    "no images": (IMAGES[:0], None, "holds no images"),
    "no pixels": (IMAGES[:, :0], None, "holds no images"),
    "ragged": ([[[1]], [[1, 2]]], None, "resize the images"),
    "strings": (np.array([[["a"]]]), None, "expected numbers"),
    "objects": (np.array([[[None]]]), None, "expected numbers"),
    "complex": (IMAGES * 1j, None, "expected numbers"),
}


@pytest.mark.parametrize("fault", BAD_IMAGES)
def test_bad_images(fault, refuses):
    images, value_range, words = BAD_IMAGES[fault]
    with refuses(DataError, "images", words):
        ArraySource(images, LABELS, value_range=value_range)


@pytest.mark.parametrize("value_range", [(1, 0), (0, 0), (0, float("nan")), (0,), "ab", 3, (0, float("inf"))])
def test_bad_value_range(value_range, refuses):
    with refuses(ConfigError, "value_range"):
        ArraySource(IMAGES, LABELS, value_range=value_range)


BAD_LABELS = {
    "too few": (LABELS[:3], None, "3 labels for 4 images"),
    "one-hot": (np.eye(4), None, "argmax"),
    "floats": ([0.0, 1.0, 2.0, 1.0], None, "expected integers"),
    "booleans": ([True, False, True, False], None, "expected integers"),
    "negative": ([0, 1, -1, 2], None, "row 2: label -1"),
    "out of range": ([0, 1, 0, 2], ("a", "b"), "row 3: label 2 is out of range for 2 classes"),
    "huge": ([0, 1, 10**12, 2], None, "row 2: label 1000000000000"),
    "unsigned huge": (np.array([0, 1, 2**64 - 1, 2], np.uint64), ("a", "b", "c"), "row 2"),
}


@pytest.mark.parametrize("fault", BAD_LABELS)
def test_bad_labels(fault, refuses):
    labels, classes, words = BAD_LABELS[fault]
    with refuses(DataError, "labels", words):
        ArraySource(IMAGES, labels, classes)


@pytest.mark.parametrize("classes", [("a", "a", "b"), ("a", "", "b"), ("a", 1, "b"), "abc"])
def test_bad_class_names(classes, refuses):
    with refuses(DataError, "classes"):
        ArraySource(IMAGES, LABELS, classes)


def test_a_subset_is_a_view_in_its_own_order(refuses):
    for source in (ArraySource(IMAGES, LABELS), Lazy()):
        subset = Subset(source, [3, 0])
        assert len(subset) == 2
        assert subset.classes == source.classes
        assert (subset[0]["input"] == IMAGES[3]).all()
        assert labels_of(subset).tolist() == [1, 0]
        assert digests_of(subset) == (digest(IMAGES[3]), digest(IMAGES[0]))
        columns = take(Subset(subset, [1, 0, 0]), np.array([2, 0]))
        assert (columns["input"] == IMAGES[[3, 0]]).all()
        assert columns["target"].tolist() == [1, 0]
    assert len(Subset(source, [])) == 0
    assert labels_of(Subset(source, [])).dtype == np.int32
    for bad in ([4], [-1]):
        with refuses(DataError, str(bad[0])):
            Subset(source, bad)


def test_functions_agree_on_lazy_and_array_sources():
    array, lazy = ArraySource(IMAGES, LABELS), Lazy()
    assert labels_of(array).tolist() == labels_of(lazy).tolist()
    assert digests_of(array) == digests_of(lazy)
    rows = np.array([2, 2, 1])
    for name, column in take(array, rows).items():
        assert (column == take(lazy, rows)[name]).all()
    images = take(Lazy(ragged=True), rows)["input"]
    assert [image.shape for image in images] == [(1, 3), (1, 3), (2, 3)]


@given(st.integers(0, 3), st.integers(0, 3))
def test_digests_are_equal_only_for_equal_images(i, j):
    assert (digest(IMAGES[i]) == digest(IMAGES[j])) == (i == j)
    assert digest(IMAGES[i]) != digest(IMAGES[i].reshape(3, 2))
    assert digest(IMAGES[i]) != digest(IMAGES[i].view(np.int8))


@pytest.mark.parametrize(
    "field",
    [
        {"seed": -1},
        {"seed": 1.5},
        {"seed": True},
        {"labels_per_class": 0},
        {"labels_per_class": 2.0},
        {"validation": 1},
        {"validation": -0.1},
        {"test": float("nan")},
        {"test": "half"},
        {"source": None},
        {"skip_bad": 1.0},
        {"skip_bad": "5%"},
    ],
)
def test_a_bad_spec_names_the_field(field, refuses):
    with refuses(ConfigError, next(iter(field))):
        DataSpec(**field)


def test_images_may_have_any_number_of_channels():
    source = ArraySource(np.zeros((4, 28, 28, 13), np.uint8), np.zeros(4, np.int64))
    assert source[0]["input"].shape == (28, 28, 13)


def test_two_parts_of_one_name_are_refused(refuses):
    with refuses(ConfigError, "splits: two of 'a', 'a' are the same"):
        DataSpec("x", train_split="a", test_split="a")


def test_another_model_s_classes_are_matched_by_name(refuses):
    for source in (ArraySource(IMAGES, LABELS, ("ant", "bee", "cat")), Lazy()):
        classes = source.classes
        seen = Relabelled(source, ("zoo", *classes[::-1]))
        assert seen.classes == ("zoo", *classes[::-1])
        assert labels_of(seen).tolist() == [3, 2, 1, 2]
        assert [seen[i]["target"] for i in range(len(seen))] == [3, 2, 1, 2]
        columns = take(seen, np.array([2, 0]))
        assert (columns["input"] == IMAGES[[2, 0]]).all()
        assert columns["target"].tolist() == [1, 3]
        assert digests_of(seen) == digests_of(source)
        assert labels_of(Subset(seen, [2])).tolist() == [1]
        with refuses(DataError, f"data: 2 classes that the model does not know: {classes[0]!r}, {classes[2]!r}"):
            Relabelled(source, (classes[1],))


def test_names_go_with_the_examples():
    class Named(Lazy):
        names = ("a", "b", "c", "d")

    assert names_of(Relabelled(Subset(Named(), [3, 0]), Lazy.classes)) == ("d", "a")
    assert names_of(Relabelled(Subset(Lazy(), [3, 0]), Lazy.classes)) is None
