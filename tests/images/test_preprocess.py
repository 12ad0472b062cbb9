import hashlib
import itertools
import json

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from peers import import_peer
from PIL import Image

from tlx.errors import ConfigError, DataError
from tlx.images import Preprocess

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (3, 8, 6), dtype=np.uint8)
RGB = RNG.integers(0, 256, (3, 8, 6, 3), dtype=np.uint8)
RGBA = RNG.integers(0, 256, (3, 8, 6, 4), dtype=np.uint8)
ALL_LEVELS = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)


def unscaled(height=8, width=6, channels=1, **options):
    return Preprocess(height, width, channels, scale=1.0, **options)


def test_without_a_resize_a_pixel_is_exactly_x_times_scale():
    got = Preprocess(16, 16, 1)(ALL_LEVELS)
    assert got.dtype == np.float32
    assert got.shape == (1, 16, 16, 1)
    assert (got[..., 0] == ALL_LEVELS.astype(np.float32) * np.float32(1 / 255)).all()
    assert got.min() == 0
    assert got.max() == 1


def test_standardise_by_channel():
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    got = Preprocess(8, 6, 3, mean=mean, std=std)(RGB)
    expected = (RGB / 255 - np.array(mean)) / np.array(std)
    assert np.allclose(got, expected, atol=1e-5)


def test_alpha_is_composited_on_black_as_pillow_does():
    got = unscaled(channels=3)(RGBA)
    for image, out in zip(RGBA, got, strict=True):
        black = Image.new("RGBA", (6, 8), (0, 0, 0, 255))
        black.alpha_composite(Image.fromarray(image))
        assert np.abs(np.asarray(black)[..., :3] - out).max() <= 1  # Pillow rounds in two steps
    assert (unscaled(channels=3)(np.dstack([RGB[0], np.full((8, 6), 255, np.uint8)])[None]) == RGB[:1]).all()
    floats = unscaled(channels=3)(RGBA.astype(np.float32))
    assert np.abs(floats - got).max() <= 0.5 + 1e-4


def test_grey_is_pillows():
    got = unscaled()(RGB)
    many = RNG.integers(0, 256, (1, 256, 256, 3), dtype=np.uint8)
    assert (unscaled(256, 256)(many)[0, ..., 0] == np.asarray(Image.fromarray(many[0]).convert("L"))).all()
    assert np.abs(unscaled()(RGB.astype(np.float32)) - got).max() <= 0.51
    white = np.full((1, 8, 6, 3), 255, np.uint8)
    assert (unscaled()(white) == 255).all()


def test_grey_becomes_rgb_by_repeating_or_by_a_colour_map():
    repeated = unscaled(channels=3)(GREY)
    assert (repeated == GREY[..., None]).all()
    table = matplotlib.colormaps["viridis"](np.arange(256), bytes=True)[:, :3]
    spec = unscaled(channels=3, grey_to_rgb="viridis")
    assert (spec(GREY) == table[GREY]).all()
    assert (spec(GREY[..., None]) == table[GREY]).all()
    assert (spec(GREY.astype(np.float32)) == table[GREY]).all()
    assert (spec(np.full((1, 8, 6), 7.6, np.float32)) == table[8]).all()
    assert (spec(RGB) == RGB).all()  # what is in colour stays as it is


def test_invert():
    assert (unscaled(invert=True)(GREY)[..., 0] == 255 - GREY).all()
    assert (unscaled(invert=True)(GREY.astype(np.float32))[..., 0] == 255 - GREY).all()


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [(16, 12), (4, 3), (9, 20)])
def test_resizes_as_pillow(interpolation, size):
    method = Image.Resampling[interpolation.upper()]
    grey = unscaled(*size, interpolation=interpolation)(GREY)
    colour = unscaled(*size, 3, interpolation=interpolation)(RGB)
    floats = unscaled(*size, 3, interpolation=interpolation)(RGB.astype(np.float32))
    for i in range(3):
        assert (grey[i, ..., 0] == np.asarray(Image.fromarray(GREY[i]).resize(size[::-1], method))).all()
        assert (colour[i] == np.asarray(Image.fromarray(RGB[i]).resize(size[::-1], method))).all()
        plane = Image.fromarray(RGB[i, ..., 1].astype(np.float32))
        assert (floats[i, ..., 1] == np.clip(plane.resize(size[::-1], method), 0, 255)).all()
    if interpolation in ("nearest", "bilinear"):  # the others overshoot, which 8 bits clip between the two passes
        assert np.abs(floats - colour).max() <= 1


def test_an_image_of_the_right_size_is_taken_whole():
    whole = np.arange(24, dtype=np.uint8).reshape(1, 4, 6)
    assert Preprocess(4, 6, 1, margin=1, scale=1.0)(whole)[0, :, :, 0].tolist() == whole[0].tolist()


def test_the_margin_holds_the_background():
    spec = unscaled(12, 10, margin=2)
    got = spec(GREY)
    assert (got[:, 2:-2, 2:-2, 0] == GREY).all()
    got[:, 2:-2, 2:-2] = 0
    assert (got == 0).all()
    inverted = unscaled(12, 10, margin=2, invert=True)(GREY)
    assert (inverted[:, 2:-2, 2:-2, 0] == 255 - GREY).all()
    assert (inverted[:, :2] == 0).all()  # ink on white paper becomes ink on black
    table = matplotlib.colormaps["viridis"](np.arange(256), bytes=True)[:, :3]
    coloured = unscaled(12, 10, 3, margin=2, grey_to_rgb="viridis")
    assert (coloured(GREY)[:, :2] == table[0]).all()
    assert (coloured(RGB)[:, :2] == 0).all()
    both = unscaled(12, 10, 3, margin=2, grey_to_rgb="viridis", invert=True)
    assert (both(GREY)[:, :2] == 255 - table[255]).all()
    standard = Preprocess(12, 10, 1, margin=2, mean=(0.5,), std=(0.25,))(GREY)
    assert (standard[:, 0] == -2).all()


def test_a_digit_of_8_by_8_fills_the_frame_of_mnist():
    got = Preprocess(28, 28, 1, margin=4)(np.full((1, 8, 8), 255, np.uint8))
    assert got.sum() == 20 * 20


@given(
    images=hnp.arrays(
        np.uint8, st.sampled_from([(0, 4, 4), (2, 4, 4), (2, 5, 3), (1, 4, 4, 1), (2, 5, 3, 3), (1, 4, 4, 4)])
    ),
    channels=st.sampled_from([1, 3]),
    margin=st.integers(0, 1),
    invert=st.booleans(),
)
def test_any_image_gives_the_declared_shape_within_the_scale(images, channels, margin, invert):
    got = Preprocess(4, 4, channels, margin=margin, invert=invert)(images)
    assert got.shape == (len(images), 4, 4, channels)
    assert got.dtype == np.float32
    assert not got.size or (got.min() >= 0 and got.max() <= 1)


@pytest.mark.parametrize("channels", [2, 4, 13])
def test_other_numbers_of_channels_are_taken_as_they_are(channels, refuses):
    images = RNG.integers(0, 256, (2, 8, 6, channels), dtype=np.uint8)
    assert (unscaled(channels=channels)(images) == images).all()
    assert (unscaled(channels=channels, invert=True)(images) == 255 - images).all()
    framed = unscaled(12, 10, channels, margin=2)(images)
    assert (framed[:, 2:-2, 2:-2] == images).all()
    assert (framed[:, :2] == 0).all()
    resized = unscaled(16, 12, channels)(images)
    assert (resized[..., 1] == unscaled(16, 12)(images[..., 1])[..., 0]).all()
    for wrong in (RGB, GREY):
        with refuses(DataError, f"with {channels} channels"):
            unscaled(channels=channels)(wrong)


def test_resize_shortens_the_shorter_side_and_cuts_the_centre():
    wide, tall = np.zeros((1, 10, 20), np.uint8), np.zeros((1, 20, 10), np.uint8)
    wide[:, :, 8:12] = tall[:, 8:12] = 255
    for images in (wide, tall):
        assert (unscaled(4, 4, resize=5, interpolation="nearest")(images) == 255).sum() == 4 * 2
        assert unscaled(4, 4, resize=5, rounding="nearest")(images).shape == (1, 4, 4, 1)
    square = RNG.integers(0, 256, (1, 8, 8), dtype=np.uint8)
    assert (unscaled(4, 6, resize=8)(square)[..., 0] == square[:, 2:6, 1:7]).all()  # also where nothing is resized
    assert (unscaled(4, 8, resize=8)(square[:, 2:6])[0, :, :, 0] != square[0, 2:6]).any()  # and where the size is right
    assert (unscaled(4, 6, resize=8, invert=True)(square)[..., 0] == 255 - square[:, 2:6, 1:7]).all()


@pytest.mark.parametrize(
    ("rounding", "height", "top"),
    [
        ("torchvision", 4, 0),  # 1 / 2 pixel: to the even one
        ("nearest", 4, 0),
        ("torchvision", 2, 2),  # 3 / 2
        ("nearest", 2, 1),
    ],
)
def test_half_a_pixel_goes_where_rounding_says(rounding, height, top):
    image = np.arange(25, dtype=np.uint8).reshape(1, 5, 5)
    got = unscaled(height, 5, resize=5, rounding=rounding)(image)
    assert (got[..., 0] == image[:, top : top + height]).all()


def test_the_longer_side_is_rounded_down_or_to_the_nearest():
    image = RNG.integers(0, 256, (1, 3, 5), dtype=np.uint8)  # 4 pixels high, 6.67 wide
    for rounding, size in (("torchvision", (6, 4)), ("nearest", (7, 4))):
        whole = np.asarray(Image.fromarray(image[0]).resize(size, Image.Resampling.BILINEAR))
        left = (size[0] - 4) // 2
        assert (unscaled(4, 4, resize=4, rounding=rounding)(image)[0, ..., 0] == whole[:, left : left + 4]).all()


def test_a_strip_does_not_fill_the_memory(refuses):
    with refuses(DataError, "1 x 9999", "pixels long"):
        unscaled(8, 8, resize=8)(np.zeros((1, 1, 9999), np.uint8))


def test_bgr_reverses_the_channels_before_the_mean():
    spec = unscaled(channels=3, channel_order="bgr", mean=(1.0, 2.0, 3.0), std=(1.0, 1.0, 2.0))
    got = spec(RGB)
    assert (got == (RGB[..., ::-1] - np.array([1, 2, 3], np.float32)) / np.array([1, 1, 2], np.float32)).all()
    assert (
        unscaled(channels=3, channel_order="bgr", grey_to_rgb="viridis")(GREY)[..., 0]
        == unscaled(channels=3, grey_to_rgb="viridis")(GREY)[..., 2]
    ).all()


def test_reproduces_the_images_of_the_shared_reference(shared_data):
    folder = shared_data / "imagenet50"
    with np.load(folder / "mobilenet_v2_reference.npz") as reference:
        names, expected = reference["names"].tolist(), reference["pixels_sha"].tobytes()
    spec = unscaled(224, 224, 3, resize=256, rounding="nearest")
    total = hashlib.sha256()
    for name in names:
        with Image.open(folder / name) as file:
            total.update(spec(np.asarray(file.convert("RGB"))[None]).astype(np.uint8).tobytes())
    assert total.digest() == expected


MODES = {
    "caffe": {"scale": 1.0, "channel_order": "bgr", "mean": (103.939, 116.779, 123.68)},
    "tf": {"scale": 1 / 127.5, "mean": (1.0, 1.0, 1.0)},
    "torch": {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
}


def keras_preprocess_input(images, mode):
    """The arithmetic of keras/src/applications/imagenet_utils.py, `_preprocess_numpy_input`, Keras 3.15."""
    x = images.astype(np.float32)
    if mode == "tf":
        return x / np.float32(127.5) - np.float32(1)
    if mode == "torch":
        x /= np.float32(255)
        return (x - np.array(MODES[mode]["mean"], np.float32)) / np.array(MODES[mode]["std"], np.float32)
    return x[..., ::-1] - np.array([103.939, 116.779, 123.68], np.float32)


@pytest.mark.parametrize("mode", MODES)
def test_scales_as_keras(mode):
    levels = np.stack([ALL_LEVELS] * 3, axis=-1)
    levels[..., 1] = levels[..., 1][:, ::-1]
    got = Preprocess(16, 16, 3, **MODES[mode])(levels)
    assert np.abs(got - keras_preprocess_input(levels, mode)).max() <= (0 if mode == "caffe" else 1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_the_arithmetic_written_down_is_keras(mode, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    imagenet_utils = pytest.importorskip("keras.applications.imagenet_utils")
    assert (
        imagenet_utils.preprocess_input(RGB.astype(np.float32), mode=mode) == keras_preprocess_input(RGB, mode)
    ).all()


@pytest.mark.parametrize("size", [(300, 400), (401, 233), (224, 224), (256, 256), (97, 150), (1000, 257)])
@pytest.mark.parametrize(("crop", "resize"), [(224, 256), (224, 232), (299, 342)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_is_torchvisions_image_classification(size, crop, resize, interpolation):
    torchvision_presets = import_peer("torchvision.transforms._presets")
    image = RNG.integers(0, 256, (*size, 3), dtype=np.uint8)
    mean, std = MODES["torch"]["mean"], MODES["torch"]["std"]
    published = torchvision_presets.ImageClassification(
        crop_size=crop,
        resize_size=resize,
        mean=mean,
        std=std,
        interpolation=torchvision_presets.InterpolationMode(interpolation),
    )
    expected = published(Image.fromarray(image)).numpy().transpose(1, 2, 0)
    got = Preprocess(crop, crop, 3, interpolation, resize=resize, mean=mean, std=std)(image[None])[0]
    assert np.abs(got - expected).max() <= 1e-6


@given(hnp.arrays(np.uint8, (3, 5, 3, 3)))
def test_a_batch_is_its_images_one_by_one(images):
    spec = Preprocess(7, 7, 1, interpolation="bicubic", margin=1)
    assert (spec(images) == np.concatenate([spec(image[None]) for image in images])).all()


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize(
    "spec",
    [
        unscaled(channels=3),
        unscaled(9, 9, 3, interpolation="bicubic"),
        unscaled(3, 4, 3, resize=7),
        unscaled(4, 4, 3, resize=6, rounding="nearest", interpolation="lanczos"),
        unscaled(9, 9, 3, margin=2),
        unscaled(9, 9, 3, invert=True),
        unscaled(9, 9, 1),
    ],
    ids=["whole", "resized", "cut", "cut nearest", "margin", "inverted", "grey"],
)
def test_pillows_image_becomes_the_frame_of_its_pixels(mode, spec):
    pixels = {"L": GREY, "RGB": RGB, "RGBA": RGBA}[mode][0]
    expected = spec.frame(pixels[None])[0]
    for image in (pixels, Image.fromarray(pixels)):
        got = spec.frame_one(image)
        assert got.dtype == expected.dtype
        assert got.shape == expected.shape
        assert (got == expected).all()


@pytest.mark.parametrize("order", ["rgb", "bgr"])
@pytest.mark.parametrize("count", [0, 1, 300])
def test_a_large_batch_is_normalised_by_the_formula_bit_for_bit(count, order):
    spec = Preprocess(16, 16, 3, channel_order=order, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    frames = RNG.integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)
    turned = frames[..., ::-1] if order == "bgr" else frames
    scaled = turned.astype(np.float32) * np.float32(1 / 255)
    expected = (scaled - np.array(spec.mean, np.float32)) / np.array(spec.std, np.float32)
    got = spec.normalise(frames)
    assert got.dtype == np.float32
    assert got.tobytes() == expected.tobytes()
    assert (spec.normalise(frames.astype(np.float32)) == got).all()


def test_the_caller_keeps_its_images():
    for images, channels, invert in itertools.product(
        (GREY, RGB, RGBA, GREY.astype(np.float32)), (1, 3), (False, True)
    ):
        before = images.copy()
        Preprocess(8, 6, channels, invert=invert)(images)
        assert (images == before).all()


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (GREY[0], "expected (N, H, W)"),
        (np.zeros((1, 3, 8, 8), np.uint8), "1, 3 or 4 channels"),
        (np.zeros((1, 0, 8), np.uint8), "expected (N, H, W)"),
        (GREY.astype(np.int64), "type int64"),
        (GREY > 3, "type bool"),
        (np.where(GREY[1, 0, 0] == GREY, np.nan, GREY)[1:], "image 0"),
        (GREY - 1.0 - GREY[2].min(), "image "),
        (np.full((2, 2, 2), 255.5), "image 0"),
    ],
)
def test_bad_images(images, words, refuses):
    with refuses(DataError, "images", words):
        Preprocess(8, 6, 1)(images)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("height", 0),
        ("width", 2.0),
        ("channels", 0),
        ("channels", True),
        ("margin", -1),
        ("margin", 4),
        ("interpolation", "cubic"),
        ("grey_to_rgb", "virdis"),
        ("grey_to_rgb", None),
        ("invert", 1),
        ("scale", 0),
        ("scale", float("nan")),
        ("mean", (0.5,)),
        ("mean", 0.5),
        ("mean", ("a", "b", "c")),
        ("std", (1, 0, 1)),
        ("std", (1, float("inf"), 1)),
        ("resize", 7),
        ("resize", 0),
        ("resize", 8.0),
        ("channel_order", "grb"),
        ("channel_order", None),
        ("rounding", "up"),
        ("rounding", "nearest"),
    ],
)
def test_a_bad_spec_names_the_field(field, value, refuses):
    fields = {"height": 8, "width": 8, "channels": 3, field: value}
    for build in (lambda: Preprocess(**fields), lambda: Preprocess.from_dict(fields)):
        with refuses(ConfigError, field):
            build()


def test_a_colour_map_needs_colour_and_its_nearest_name_is_given(refuses):
    with refuses(ConfigError, "needs channels=3"):
        Preprocess(8, 8, 1, grey_to_rgb="viridis")
    with refuses(ConfigError, "'viridis'"):
        Preprocess(8, 8, 3, grey_to_rgb="virdis")


def test_fields_that_contradict_each_other(refuses):
    with refuses(ConfigError, "resize", "margin 1"):
        Preprocess(8, 8, 3, margin=1, resize=9)
    with refuses(ConfigError, "resize", "8 x 12"):
        Preprocess(8, 12, 3, resize=11)
    for channels in (1, 4):
        with refuses(ConfigError, "channel_order", "channels=3"):
            Preprocess(8, 8, channels, channel_order="bgr")


def test_a_configuration_saved_before_resize_means_what_it_meant():
    old = {
        "height": 8,
        "width": 6,
        "channels": 3,
        "interpolation": "bilinear",
        "margin": 0,
        "grey_to_rgb": "repeat",
        "invert": False,
        "scale": 1.0,
        "mean": [],
        "std": [],
    }
    assert Preprocess.from_dict(old) == unscaled(channels=3)


def test_to_dict_is_json_and_from_dict_its_inverse(refuses):
    spec = Preprocess(224, 160, 3, "lanczos", 5, "magma", True, 1 / 127.5, (1.0, 1.0, 1.0), (0.5, 0.25, 1.0))
    published = Preprocess(224, 160, 3, resize=256, channel_order="bgr", rounding="nearest")
    for each in (spec, published):
        assert Preprocess.from_dict(json.loads(json.dumps(each.to_dict()))) == each
    assert hash(Preprocess.from_dict(spec.to_dict())) == hash(spec)
    with refuses(ConfigError, "'hieght'", "'height'"):
        Preprocess.from_dict({**spec.to_dict(), "hieght": 3})
    with refuses(ConfigError, "channels missing"):
        Preprocess.from_dict({"height": 3, "width": 3})
    with refuses(ConfigError, "not a mapping"):
        Preprocess.from_dict([1])
