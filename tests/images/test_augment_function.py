"""A function varies images with the seeds of each, whoever calls it."""

import numpy as np
import pytest
from PIL import Image

from tlx.data import ArraySource, Feed, batches
from tlx.errors import ConfigError, DataError
from tlx.images import Augment, AugmentFunction, Preprocess
from tlx.images.augment_function import as_augment

SPEC = Preprocess(6, 5, 1)
SOURCE = ArraySource(np.random.default_rng(0).integers(0, 256, (7, 6, 5)).astype(np.uint8), [0] * 7)


def noisy(image, generator):
    image[:] = generator.integers(0, 256, image.shape)  # in place, which must harm nobody
    return image


def epoch(number, **options):
    feed = Feed(3, seed=4, shuffle=True, augment=as_augment(noisy), pad=True, **options)
    return [batch["input"] for batch in batches(SOURCE, SPEC, feed, epoch=number)]


def test_images_depend_on_seed_epoch_and_number_alone():
    one = epoch(1, workers=0)
    for again in (epoch(1, workers=0), epoch(1, workers=2)):
        np.testing.assert_array_equal(again, one)
    assert not np.array_equal(epoch(2, workers=0), one)
    assert len({image.tobytes() for batch in one for image in batch}) == 7  # and the copies that pad


def test_the_source_keeps_its_images():
    before = SOURCE.images.copy()
    epoch(1, workers=0)
    np.testing.assert_array_equal(SOURCE.images, before)


def test_it_is_shown_frames():
    seen = []

    def look(image, generator):
        seen.append((image.shape, image.dtype))
        return image

    augment = AugmentFunction(look)
    for image in (np.zeros((9, 9, 3), np.uint8), np.zeros((6, 5), np.float32), Image.new("RGB", (8, 4))):
        assert augment(image, SPEC, np.random.default_rng(0)).shape == (6, 5, 1)
    assert seen == [((6, 5, 1), np.dtype(np.uint8))] * 3


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda image, generator: image / 255, r"returns float64 \(6, 5, 1\), expected an array, uint8 \(6, 5, 1\)"),
        (lambda image, generator: image[1:], r"returns uint8 \(5, 5, 1\)"),
        (lambda image, generator: None, "returns NoneType"),
        (lambda image: image, "cannot take an image, uint8 .*TypeError"),
    ],
)
def test_a_function_that_does_not_fit_is_refused(function, said):
    with pytest.raises(ConfigError, match=said):
        as_augment(function).check(SPEC)


def test_a_function_that_fails_later_is_an_error_of_the_data():
    with pytest.raises(DataError, match="returns uint8"):
        AugmentFunction(lambda image, generator: image[1:])(SOURCE.images[0], SPEC, np.random.default_rng(0))


def test_what_is_an_augmentation_stays_so():
    augment = Augment(flip=True)
    assert as_augment(augment) is augment
    assert as_augment(None) is None
    for value in (Augment, "flip"):
        with pytest.raises(ConfigError, match=r"neither a tlx\.Augment nor a function"):
            as_augment(value)


def test_a_description_names_the_function():
    assert as_augment(noisy).to_dict() == {"function": f"{__name__}.noisy"}
