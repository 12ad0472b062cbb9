import dataclasses
import itertools
import json

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from peers import import_peer
from PIL import Image

from tlx.errors import ConfigError, DataError
from tlx.images import Preprocess
from tlx.images.augment import JITTER, Augment, generator_of
from tlx.images.boxes import DRAWS
from tlx.images.randaugment import randaugment

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (24, 32, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (24, 32), dtype=np.uint8)
SPEC = Preprocess(24, 32, 3)  # such images stay as they are
EVERYTHING = Augment(
    flip=True,
    flip_vertical=True,
    crop=(0.3, 1.0),
    rotate=20,
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    hue=0.1,
    randaugment=(2, 9),
    erase=0.5,
)
COLOURLESS = dataclasses.replace(EVERYTHING, saturation=0.0, hue=0.0)
GEOMETRY = Augment(flip=True, flip_vertical=True, crop=(0.3, 1.0), rotate=20, erase=0.5)
NAMED = {name: value for name, value in dataclasses.asdict(EVERYTHING).items() if name != "crop_ratio"}


class Drawn:
    """Stand in for a generator: all draws are a half but those given, by row and column."""

    def __init__(self, **others):
        columns = ("flip", "flip_vertical", "rotate", "order", *JITTER, "erase")
        self.rows = np.full((4, DRAWS), 0.5)
        for name, value in others.items():
            self.rows[3, columns.index(name)] = value

    def random(self, shape):
        assert shape == self.rows.shape
        return self.rows

    def integers(self, low, high, shape, dtype):
        return np.random.default_rng(0).integers(low, high, shape, dtype)


def varied(augment, image=RGB, spec=SPEC, seed=0, epoch=0, index=0):
    return augment(image, spec, generator_of(seed, epoch, index))


def test_nothing_is_on_by_default():
    assert not Augment()
    assert (varied(Augment()) == RGB).all()
    spec = Preprocess(16, 16, 3, resize=20)
    assert (varied(Augment(), spec=spec) == spec.frame(RGB[None])[0]).all()


@pytest.mark.parametrize("name", NAMED)
def test_each_option_alone_is_on_and_changes_images(name):
    alone = Augment(**{name: NAMED[name]})
    assert alone
    changed = [not np.array_equal(varied(alone, index=index), RGB) for index in range(40)]
    assert any(changed)
    if name in ("flip", "flip_vertical", "erase"):
        assert not all(changed)


def test_flips_are_exact():
    for draw, expected in ((0.49, RGB[:, ::-1]), (0.5, RGB)):
        assert (Augment(flip=True)(RGB, SPEC, Drawn(flip=draw)) == expected).all()
    for draw, expected in ((0.49, RGB[::-1]), (0.5, RGB)):
        assert (Augment(flip_vertical=True)(RGB, SPEC, Drawn(flip_vertical=draw)) == expected).all()
    half = [np.array_equal(varied(Augment(flip=True), index=index), RGB) for index in range(1000)]
    assert 450 < sum(half) < 550


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 13])
def test_flips_and_rotation_take_any_number_of_channels(channels):
    image = np.random.default_rng(0).integers(0, 256, (9, 9, channels), dtype=np.uint8)
    both = Augment(flip=True, flip_vertical=True)
    got = both(image, Preprocess(9, 9, channels), Drawn(flip=0, flip_vertical=0))
    assert (got == image[::-1, ::-1]).all()
    quarter = Augment(rotate=180)(image, Preprocess(9, 9, channels), Drawn(rotate=0.75))
    assert (quarter == np.rot90(image)).all()
    eighth = Augment(rotate=90)(image, Preprocess(9, 9, channels), Drawn(rotate=0.75))
    for channel in range(channels):
        plane = Image.fromarray(np.ascontiguousarray(image[..., channel]))
        assert (eighth[..., channel] == np.asarray(plane.rotate(45, Image.Resampling.BILINEAR))).all()


@pytest.mark.slow
def test_rotation_is_torchvisions():
    functional = import_peer("torchvision.transforms.functional")
    for draw, angle in ((0.0, -30), (0.25, -15), (0.75, 15), (0.9, 24)):
        bilinear = functional.InterpolationMode.BILINEAR
        theirs = functional.rotate(Image.fromarray(RGB), angle, bilinear, fill=[0, 0, 0])
        difference = abs(Augment(rotate=30)(RGB, SPEC, Drawn(rotate=draw)).astype(int) - np.asarray(theirs))
        assert difference.max() <= 1


@pytest.mark.parametrize("augment", [Augment(rotate=180), Augment(randaugment=(1, 30))], ids=["rotate", "randaugment"])
@pytest.mark.parametrize(
    ("image", "options", "expected"),
    [
        (RGB, {}, (0, 0, 0)),
        (RGB, {"invert": True}, (0, 0, 0)),
        (GREY, {"grey_to_rgb": "viridis"}, tuple(matplotlib.colormaps["viridis"](0, bytes=True)[:3])),
        (RGB, {"grey_to_rgb": "viridis"}, (0, 0, 0)),
        (np.full((24, 32), 255, np.uint8), {"invert": True}, (0, 0, 0)),
    ],
    ids=["rgb", "inverted", "viridis", "viridis-rgb", "paper"],
)
def test_uncovered_corners_are_background_as_a_margin_is(image, options, expected, augment):
    draws = Drawn(rotate=0.625)
    draws.rows[1, :2] = 5.5 / 14, 0.5  # rotate, where RandAugment is on
    got = augment(image, Preprocess(24, 32, 3, **options), draws)
    assert got[0, 0].tolist() == list(expected)
    framed = Preprocess(30, 30, 3, margin=2, **options).frame(image[None])[0]
    assert (got[0, 0] == framed[0, 0]).all()


def test_a_crop_is_a_part_of_the_raw_image_resized():
    image, spec = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8), Preprocess(16, 16, 3)
    got = Augment(crop=(0.25, 0.25), crop_ratio=(1, 1))(image, spec, Drawn())
    side = round((60 * 90 / 4) ** 0.5)
    top, left = (60 - side + 1) // 2, (90 - side + 1) // 2
    part = image[top : top + side, left : left + side]
    assert (got == np.asarray(Image.fromarray(part).resize((16, 16), Image.Resampling.BILINEAR))).all()
    published = Preprocess(16, 16, 3, resize=20, rounding="nearest", channel_order="bgr")
    assert (Augment(crop=(0.25, 0.25), crop_ratio=(1, 1))(image, published, Drawn()) == got).all()
    margin = Preprocess(16, 16, 3, margin=4)
    assert (Augment(crop=(0.25, 0.25), crop_ratio=(1, 1))(image, margin, Drawn()) == got).all()


def test_a_crop_is_torchvisions():
    functional = import_peer("torchvision.transforms.functional")
    image = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    theirs = functional.resized_crop(Image.fromarray(image), 12, 27, 37, 37, [16, 16])
    got = Augment(crop=(0.25, 0.25), crop_ratio=(1, 1))(image, Preprocess(16, 16, 3), Drawn())
    assert (got == np.asarray(theirs)).all()


def test_where_no_crop_fits_the_central_one_is_taken():
    image = np.random.default_rng(0).integers(0, 256, (10, 100, 3), dtype=np.uint8)
    got = Augment(crop=(1, 1), crop_ratio=(0.5, 2.0))(image, Preprocess(10, 20, 3), Drawn())
    assert (got == image[:, 40:60]).all()


@pytest.mark.parametrize("kind", JITTER)
def test_each_jitter_is_torchvisions(kind):
    functional = import_peer("torchvision.transforms.functional")
    adjust = getattr(functional, f"adjust_{kind}")
    spread = 0.5 if kind == "hue" else 0.75
    for draw in (0.0, 0.125, 0.5, 0.875, 0.999):
        value = draw * 2 * spread - spread + (kind != "hue")
        got = Augment(**{kind: spread})(RGB, SPEC, Drawn(**{kind: draw}))
        assert (got == np.asarray(adjust(Image.fromarray(RGB), value))).all()


def test_a_jitter_above_one_never_turns_negative():
    for kind in ("brightness", "contrast", "saturation"):
        none = Augment(**{kind: 3.0})(RGB, SPEC, Drawn(**{kind: 0.0}))
        assert none.std(axis=2).max() == 0 if kind == "saturation" else none.std() == 0
        assert (Augment(**{kind: 3.0})(RGB, SPEC, Drawn(**{kind: 0.25})) == RGB).all()


@pytest.mark.parametrize("order", range(24))
def test_jitters_come_in_every_order(order):
    spreads = {"brightness": 0.5, "contrast": 0.5, "saturation": 0.5, "hue": 0.25}
    draws = {"brightness": 0.9, "contrast": 0.8, "saturation": 0.1, "hue": 0.7}
    expected = RGB
    for kind in list(itertools.permutations(JITTER))[order]:
        expected = Augment(**{kind: spreads[kind]})(expected, SPEC, Drawn(**{kind: draws[kind]}))
    got = Augment(**spreads)(RGB, SPEC, Drawn(order=(order + 0.5) / 24, **draws))
    assert (got == expected).all()


def test_grey_images_can_be_jittered():
    got = Augment(brightness=0.5)(GREY, Preprocess(24, 32, 1), Drawn(brightness=0.0))
    assert (got[..., 0] == (GREY * np.float32(0.5)).astype(np.uint8)).all()


def test_randaugment_takes_the_draws_of_its_own():
    draws = Drawn()
    draws.rows[1] = np.random.default_rng(3).random(DRAWS)
    got = Augment(randaugment=(3, 11))(RGB, SPEC, draws)
    expected = randaugment(Image.fromarray(RGB), 3, 11, draws.rows[1], (0, 0, 0))
    assert (got == np.asarray(expected)).all()
    assert (got != RGB).any()


def test_erasing_puts_random_pixels_into_a_box():
    image, spec = np.full((100, 120, 3), 256 // 3, np.uint8), Preprocess(100, 120, 3)
    for draw, erased in ((0.24, True), (0.25, False)):
        assert (Augment(erase=0.25)(image, spec, Drawn(erase=draw)) != image).any() == erased
    shares = []
    for index in range(400):
        got = varied(Augment(erase=0.25), image, spec, index=index)
        changed = (got != image).any(axis=2)
        if changed.any():
            rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
            box = got[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].reshape(-1, 3)
            shares.append(len(box) / 12000)
            assert changed.mean() == pytest.approx(shares[-1], rel=0.01)  # the box and nothing else
            assert abs(box.mean(axis=0) - 127.5).max() < 20
    assert 0.2 < len(shares) / 400 < 0.3
    assert 0.018 < min(shares) < 0.05
    assert 0.3 < max(shares) < 0.34
    assert (image == 256 // 3).all()


def test_the_source_is_left_alone():
    image = RGB.copy()
    image.setflags(write=False)
    for index in range(20):
        varied(EVERYTHING, image, index=index)
        varied(Augment(erase=1.0), image, index=index)


def test_the_order_of_steps():
    """Each after the other, by the draws that each has alone."""
    single = [
        {"crop": (0.3, 1.0)},
        {"flip": True},
        {"flip_vertical": True},
        {"rotate": 20},
        {"randaugment": (2, 9)},
        {"brightness": 0.4},
        {"erase": 1.0},
    ]
    for index in range(10):
        expected = RGB
        for option in single:
            expected = varied(Augment(**option), expected, index=index)
        whole = Augment(**{name: value for option in single for name, value in option.items()})
        assert (varied(whole, index=index) == expected).all()


def test_the_same_seed_epoch_and_index_give_the_same_bytes():
    first = {key: varied(EVERYTHING, seed=key[0], epoch=key[1], index=key[2]).tobytes() for key in np.ndindex(2, 3, 4)}
    again = {
        key: varied(EVERYTHING, seed=key[0], epoch=key[1], index=key[2]).tobytes()
        for key in reversed(list(np.ndindex(2, 3, 4)))
    }
    assert first == again
    assert len(set(first.values())) == 24


def test_generators_differ_wherever_a_number_does():
    keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (2**32, 0, 0), (0, 2**31, 0), (2**32, 1, 0), (0, 1, 1)]
    assert len({generator_of(*key).random() for key in keys}) == len(keys)
    assert generator_of(np.int64(1), np.int64(2), np.int32(3)).random() == generator_of(1, 2, 3).random()


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    channels=st.sampled_from([None, 1, 3, 4]),
    floating=st.booleans(),
    network=st.sampled_from([1, 3]),
    resize=st.sampled_from([None, 12]),
    index=st.integers(0, 1000),
)
def test_any_image_gives_a_frame(height, width, channels, floating, network, resize, index):
    shape = (height, width) if channels is None else (height, width, channels)
    image = np.random.default_rng(index).integers(0, 256, shape, dtype=np.uint8)
    spec = Preprocess(9, 12, network, resize=resize)
    for augment in (EVERYTHING if network == 3 else COLOURLESS, GEOMETRY, Augment()):
        got = varied(augment, image.astype(np.float32) if floating else image, spec, index=index)
        assert got.shape == (9, 12, network)
        assert got.dtype == np.uint8


def test_floats_are_rounded():
    image = np.full((24, 32, 3), 99.6, np.float32)
    assert (varied(Augment(), image) == 100).all()
    assert (varied(GEOMETRY, image, index=4).max()) >= 100


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"flip": 1}, ("flip 1", "true nor false")),
        ({"flip_vertical": "no"}, ("flip_vertical 'no'",)),
        ({"rotate": 181}, ("rotate 181", "0 to 180")),
        ({"rotate": True}, ("rotate True",)),
        ({"brightness": -0.1}, ("brightness -0.1", "0 or more")),
        ({"contrast": float("inf")}, ("contrast inf",)),
        ({"saturation": float("nan")}, ("saturation nan",)),
        ({"hue": 0.6}, ("hue 0.6", "0 to 0.5")),
        ({"erase": 1.5}, ("erase 1.5", "0 to 1")),
        ({"crop": (0.0, 1.0)}, ("crop (0.0, 1.0)",)),
        ({"crop": (0.9, 0.5)}, ("crop (0.9, 0.5)",)),
        ({"crop": (0.5, 1.1)}, ("crop (0.5, 1.1)",)),
        ({"crop": 0.5}, ("crop 0.5",)),
        ({"crop": (0.5,)}, ("crop (0.5,)",)),
        ({"crop": (0.5, "1")}, ("crop (0.5, '1')",)),
        ({"crop": (0.5, 1), "crop_ratio": (2, 1)}, ("crop_ratio (2, 1)",)),
        ({"crop_ratio": (1, 2)}, ("crop_ratio (1, 2)", "without crop")),
        ({"randaugment": (0, 9)}, ("randaugment (0, 9)", "1 to 20", "0 to 30")),
        ({"randaugment": (21, 9)}, ("randaugment (21, 9)",)),
        ({"randaugment": (2, 31)}, ("randaugment (2, 31)",)),
        ({"randaugment": (2.0, 9)}, ("randaugment (2.0, 9)",)),
        ({"randaugment": 2}, ("randaugment 2",)),
    ],
    ids=str,
)
def test_bad_choices_are_refused(fields, words, refuses):
    with refuses(ConfigError, "augment: ", *words):
        Augment(**fields)


@pytest.mark.parametrize(
    ("augment", "channels", "named"),
    [
        (Augment(saturation=0.1), 1, "saturation"),
        (Augment(hue=0.1), 1, "hue"),
        (Augment(brightness=0.1), 4, "brightness"),
        (Augment(contrast=0.1), 2, "contrast"),
        (Augment(randaugment=(1, 1)), 13, "randaugment"),
    ],
    ids=["saturation", "hue", "brightness", "contrast", "randaugment"],
)
def test_what_a_number_of_channels_cannot_have_is_refused(augment, channels, named, refuses):
    spec = Preprocess(4, 4, channels)
    with refuses(ConfigError, f"augment: {named} needs", f"takes {channels}"):
        augment.check(spec)
    with refuses(ConfigError, named):
        varied(augment, np.zeros((4, 4, channels), np.uint8), spec)
    augment.check(Preprocess(4, 4, 3))
    GEOMETRY.check(spec)


def test_bad_images_are_refused(refuses):
    for augment in (Augment(), Augment(crop=(0.5, 1.0))):
        for image in (np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4), np.int32)):
            with refuses(DataError, "images: "):
                varied(augment, image)


def test_to_dict_is_json_and_from_dict_its_inverse(refuses):
    for augment in (Augment(), EVERYTHING, Augment(crop=(0.2, 1.0), crop_ratio=(0.5, 2.0))):
        again = Augment.from_dict(json.loads(json.dumps(augment.to_dict())))
        assert again == augment
        assert hash(again) == hash(augment)
        assert again.to_dict() == augment.to_dict()
    with refuses(ConfigError, "augment: unknown name 'flips'; did you mean 'flip'?"):
        Augment.from_dict({"flips": True})
    with refuses(ConfigError, "augment: [1] is not a mapping"):
        Augment.from_dict([1])


@pytest.mark.parametrize("image", [GREY, RGB, np.dstack([RGB, GREY])], ids=["L", "RGB", "RGBA"])
def test_pillows_image_is_varied_as_its_pixels(image):
    spec = Preprocess(16, 20, 3, invert=image.ndim == 2)
    for index in range(8):
        expected = varied(EVERYTHING, image, spec, index=index)
        assert (varied(EVERYTHING, Image.fromarray(image), spec, index=index) == expected).all()
