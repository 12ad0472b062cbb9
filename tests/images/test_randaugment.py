import numpy as np
import pytest
from peers import import_peer
from PIL import Image

from tlx.images.randaugment import OPERATIONS, randaugment

RGB = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8))
GREY = RGB.convert("L")
NAMES = list(OPERATIONS)
TORCHVISIONS = {
    "identity": "Identity",
    "shear_x": "ShearX",
    "shear_y": "ShearY",
    "translate_x": "TranslateX",
    "translate_y": "TranslateY",
    "rotate": "Rotate",
    "brightness": "Brightness",
    "colour": "Color",
    "contrast": "Contrast",
    "sharpness": "Sharpness",
    "posterize": "Posterize",
    "solarize": "Solarize",
    "autocontrast": "AutoContrast",
    "equalize": "Equalize",
}


def drawing(*names, sign=0.0):
    return np.array([[(NAMES.index(name) + 0.5) / len(NAMES), sign] for name in names]).ravel()


def pixels(image):
    return np.asarray(image).astype(int)


def test_the_operations_are_torchvisions():
    peer = import_peer("torchvision.transforms")
    space = peer.RandAugment()._augmentation_space(31, (40, 56))
    assert {TORCHVISIONS[name]: operation.signed for name, operation in OPERATIONS.items()} == {
        name: signed for name, (_, signed) in space.items()
    }


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("image", [RGB, GREY], ids=lambda image: image.mode)
def test_every_magnitude_gives_torchvisions_image(name, image):
    auto = import_peer("torchvision.transforms.autoaugment")
    fill = (7, 99, 200) if image.mode == "RGB" else 99
    values, signed = auto.RandAugment()._augmentation_space(31, (40, 56))[TORCHVISIONS[name]]
    for magnitude in (0, 1, 5, 9, 10, 14, 23, 30):
        for sign in (0.0, 0.9):
            value = round(float(values[magnitude]), 6) if values.ndim else 0.0  # it holds float32
            value = -value if signed and sign >= 0.5 else value
            theirs = auto._apply_op(image, TORCHVISIONS[name], value, auto.InterpolationMode.BILINEAR, fill)
            ours = randaugment(image, 1, magnitude, drawing(name, sign=sign), fill)
            assert ours.mode == image.mode
            difference = abs(pixels(ours) - pixels(theirs))
            assert difference.max() <= 1
            assert (difference > 0).mean() < 0.01


@pytest.mark.parametrize("name", NAMES)
def test_every_operation_but_identity_does_something(name):
    dim = RGB.point([i // 2 + 20 for i in range(256)] * 3)
    changed = randaugment(dim, 1, 20, drawing(name), (0, 0, 0))
    assert (pixels(changed) != pixels(dim)).any() == (name != "identity")


def test_operations_follow_each_other_in_the_order_drawn():
    first = randaugment(RGB, 1, 12, drawing("rotate"), (0, 0, 0))
    expected = randaugment(first, 1, 12, drawing("solarize"), (0, 0, 0))
    both = randaugment(RGB, 2, 12, drawing("rotate", "solarize"), (0, 0, 0))
    assert (pixels(both) == pixels(expected)).all()
    assert (pixels(both) != pixels(randaugment(RGB, 2, 12, drawing("solarize", "rotate"), (0, 0, 0)))).any()


def test_each_operation_is_drawn_as_often_with_either_sign(monkeypatch):
    drawn = []
    for name, operation in OPERATIONS.items():
        record = operation._replace(apply=lambda image, value, fill, name=name: drawn.append((name, value)))
        monkeypatch.setitem(OPERATIONS, name, record)
    randaugment(GREY, 7000, 15, np.random.default_rng(1).random(14000), 0)
    for name, operation in OPERATIONS.items():
        values = [value for each, value in drawn if each == name]
        assert abs(len(values) / 7000 - 1 / 14) < 0.015
        assert np.allclose(np.abs(values), operation.greatest / 2)
        assert abs((np.array(values) < 0).mean() - operation.signed / 2) < 0.1


def test_a_fraction_of_a_bin_lies_between_its_neighbours():
    low, middle, high = (
        pixels(randaugment(GREY, 1, magnitude, drawing("brightness"), 0)).sum() for magnitude in (9, 9.5, 10)
    )
    assert low < middle < high
