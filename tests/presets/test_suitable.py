"""Images are told apart by colour and size, and a base by what it would lose of them."""

import numpy as np
import pytest

from tlx.data import ArraySource
from tlx.images import Preprocess
from tlx.presets.suitable import Images, look_at, lost, suitable_bases, takes


def source_of(*images):
    class Source:
        classes = ("a",)

        def __len__(self):
            return len(images)

        def __getitem__(self, index):
            return {"input": images[index], "target": 0}

    return Source()


def photo(height, width, tint=60, channels=3):
    image = np.full((height, width, channels), 90, np.uint8)
    image[..., 0] += np.uint8(tint)
    return image


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ([photo(200, 300)], Images(200, 300, True)),
        ([photo(20, 30, tint=0)], Images(20, 30, False)),  # grey, saved as RGB
        ([photo(20, 30, tint=6)], Images(20, 30, False)),  # the tint of a scan
        ([photo(20, 30, channels=4)], Images(20, 30, True)),
        ([photo(20, 30, tint=0, channels=4)], Images(20, 30, False)),  # opaque
        ([np.zeros((9, 7), np.uint8)], Images(9, 7, False)),
        ([np.zeros((9, 7, 1), np.float32)], Images(9, 7, False)),
        ([photo(9, 7, channels=5)], Images(9, 7, False)),  # no colours that we know
        ([photo(8, 8, 0), photo(8, 8), photo(8, 8)], Images(8, 8, True)),
        ([photo(8, 8, 0), photo(8, 8, 0), photo(80, 90)], Images(8, 8, False)),
    ],
)
def test_what_images_are_like(images, expected):
    assert look_at(source_of(*images)) == expected


def test_few_of_many_are_looked_at():
    seen = []

    class Source(ArraySource):
        def __getitem__(self, index):
            seen.append(index)
            return super().__getitem__(index)

    look_at(Source(np.zeros((1000, 2, 2), np.uint8), np.zeros(1000, int)))
    assert (len(seen), seen[0], seen[-1]) == (16, 0, 999)


@pytest.mark.parametrize(
    ("images", "preprocess", "expected"),
    [
        (Images(227, 227, True), Preprocess(28, 28, 1), ("colour", "detail")),
        (Images(227, 227, False), Preprocess(28, 28, 1), ("detail",)),
        (Images(32, 32, True), Preprocess(28, 28, 1), ("colour",)),
        (Images(111, 500, False), Preprocess(28, 28, 1), ()),
        (Images(112, 500, False), Preprocess(28, 28, 1), ("detail",)),
        (Images(8, 8, False), Preprocess(28, 28, 1), ()),
        (Images(8, 8, False), Preprocess(224, 224, 3), ()),
        (Images(300, 300, True), Preprocess(224, 224, 3), ()),
        (Images(3000, 4000, True), Preprocess(224, 224, 3), ()),
        (Images(300, 300, True), Preprocess(32, 32, 3), ("detail",)),
    ],
)
def test_what_is_lost(images, preprocess, expected):
    assert lost(images, preprocess) == expected


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (Images(8, 8, False), ("cnn-mnist", "cifar/resnet20", "keras/mobilenet_v2", "torchvision/resnet50")),
        (Images(32, 32, True), ("cifar/resnet20", "keras/mobilenet_v2", "torchvision/resnet50")),
        (Images(600, 800, True), ("keras/mobilenet_v2", "torchvision/resnet50")),
        (Images(3000, 4000, True), ("keras/mobilenet_v2", "torchvision/resnet50")),
    ],
)
def test_bases_that_lose_nothing(images, expected):
    assert suitable_bases(images) == expected


def test_inputs_are_named():
    assert takes(Preprocess(224, 200, 3)) == "224x200 images in colour"
    assert takes(Preprocess(8, 8, 5)) == "8x8 images of 5 channels"
