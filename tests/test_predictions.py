"""Paths and arrays become names; what is not pixels is refused."""

import numpy as np
import pytest
from PIL import Image

import tlx
from tlx.data import ArraySource, Relabelled, Subset
from tlx.errors import ConfigError, DataError
from tlx.predictions import Predictions

DIGITS = tlx.load_data("digits", labels_per_class=2)


@pytest.fixture(scope="module")
def digits():
    return tlx.load("mlp-mnist")


@pytest.fixture(scope="module")
def pixels():
    """Twelve images of 8x8."""
    return np.stack([DIGITS.test[i]["input"] for i in range(12)]).astype(np.uint8)


@pytest.fixture(scope="module")
def expected(digits, pixels):
    return tlx.predict(digits.model, digits.variables, digits.preprocess(pixels))


def test_arrays_are_preprocessed(digits, pixels, expected):
    found = tlx.predict(digits, pixels)
    np.testing.assert_allclose(found.probabilities, expected, rtol=1e-5)
    assert found.labels == tuple(digits.classes[i] for i in expected.argmax(-1))
    assert found.names == tuple(map(str, range(12)))
    assert len(found) == 12


@pytest.mark.parametrize(
    ("shape", "count"),
    [((8, 8), 1), ((8, 8, 1), 1), ((8, 8, 3), 1), ((12, 8, 8), 12), ((12, 8, 8, 1), 12), ((2, 8, 8, 3), 2)],
)
def test_one_image_and_many_are_told_apart(digits, pixels, expected, shape, count):
    channels = shape[-1] if len(shape) > 2 and shape[-1] in (1, 3) else 0
    given = pixels[:count] if not channels else np.repeat(pixels[:count, ..., None], channels, axis=-1)
    found = tlx.predict(digits, given.reshape(shape))
    np.testing.assert_allclose(found.probabilities, expected[:count], rtol=1e-5)


def test_a_list_holds_images_of_any_size(digits, pixels):
    larger = np.kron(pixels[0], np.ones((2, 2), np.uint8))
    several = [pixels[0], larger, Image.fromarray(pixels[0]), pixels[0].astype(np.int64)]
    found = tlx.predict(digits, several)
    assert len(found) == 4
    for index in (2, 3):
        np.testing.assert_array_equal(found.probabilities[index], found.probabilities[0])
    np.testing.assert_allclose(found.probabilities[1], tlx.predict(digits, larger).probabilities[0], rtol=1e-5)


def test_a_path_becomes_a_name(digits, pixels, expected, tmp_path):
    for index in range(3):
        Image.fromarray(pixels[index]).save(tmp_path / f"{index}.png")
    one = tlx.predict(digits, tmp_path / "0.png")
    assert one.labels[0] == digits.classes[expected[0].argmax()]
    assert one.names == (str(tmp_path / "0.png"),)
    for several in (str(tmp_path), str(tmp_path / "*.png"), [tmp_path / f"{index}.png" for index in range(3)]):
        np.testing.assert_allclose(tlx.predict(digits, several).probabilities, expected[:3], rtol=1e-5)


def test_a_source_has_its_names(digits, expected):
    found = tlx.predict(digits, Subset(DIGITS.test, range(12)), batch_size=5, workers=0)
    np.testing.assert_allclose(found.probabilities, expected, rtol=1e-5)


def test_bad_files_are_listed(digits, pixels, tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"")
    Image.fromarray(pixels[0]).save(tmp_path / "c.png")
    with pytest.raises(DataError, match=r"2 of 3 images cannot be read: .*a\.png: .*; .*b\.png: "):
        tlx.predict(digits, tmp_path)
    with pytest.raises(DataError, match=r"^\S*a\.png: "):
        tlx.predict(digits, tmp_path / "a.png")


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (np.zeros((28, 28)), "images: type float64, expected integers from 0 to 255"),
        ([np.zeros((28, 28), np.float32)], r"images\[0\]: type float32"),
        (np.full((28, 28), 256), r"images: image 0 has pixels from 256"),
        (["a.png", np.zeros((8, 8), np.uint8)], "all of one kind"),
        ([], "at least one"),
        ([np.zeros((8, 8, 2), np.uint8)], r"images\[0\]: shape \(8, 8, 2\), expected"),
        ([3, 4], r"images\[0\]: shape \(\), expected"),
        (Image.new("P", (8, 8)), r"mode 'P', expected L, RGB or RGBA: call convert"),
        (3, "shape"),
        ("no/such.png", r"no/such\.png: No such file"),
    ],
)
def test_what_is_no_image_is_refused(digits, images, said):
    with pytest.raises(DataError, match=said):
        tlx.predict(digits, images)


def test_pixels_are_not_taken_for_preprocessed_images(digits, pixels):
    with pytest.raises(DataError, match=r"type uint8, expected preprocessed ones .*predict\(pretrained, inputs\)"):
        tlx.predict(digits.model, digits.variables, pixels[..., None])


def test_a_base_alone_names_nothing(digits):
    with pytest.raises(ConfigError, match="mlp-mnist: has no head"):
        tlx.predict(digits.without_head(), DIGITS.test)
    with pytest.raises(ConfigError, match="no head to evaluate"):
        tlx.evaluate(digits.without_head(), DIGITS.test)


def test_it_evaluates_by_the_names_of_classes(digits):
    whole = tlx.evaluate(digits, DIGITS.test)
    pieces = tlx.evaluate(digits.model, digits.variables, DIGITS.test, digits.preprocess)
    assert whole.accuracy == pieces.accuracy > 0.5
    turned = Relabelled(DIGITS.test, DIGITS.classes[::-1])
    assert tlx.evaluate(digits, turned, batch_size=64).accuracy == whole.accuracy
    strange = ArraySource(np.zeros((1, 8, 8), np.uint8), [0], ("zebra",))
    with pytest.raises(DataError, match="'zebra'"):
        tlx.evaluate(digits, strange)


def test_predictions_show_themselves_briefly():
    many = Predictions(tuple(map(str, range(30))), ("<a>", "b"), np.tile([0.75, 0.25], (30, 1)))
    assert repr(many) == "Predictions(30 images: '<a>', '<a>', '<a>' and 27 more)"
    assert str(many).splitlines()[0].split() == ["image", "label", "probability"]
    assert str(many).splitlines()[-1] == "… and 10 more"
    assert len(str(many).splitlines()) == 23
    assert "&lt;a&gt;" in many._repr_html_()
    assert "<a>" not in many._repr_html_()
    assert many.top(1)[0] == {"path": "0", "top": [{"index": 0, "label": "<a>", "probability": 0.75}]}
