import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from peers import import_peer

from tlx.images.boxes import ATTEMPTS, DRAWS, central_box, random_box

SIZES = [(48, 64), (64, 48), (7, 5), (300, 20), (1, 1), (1, 40)]


def shape_of(box):
    rows, columns = box
    return rows.stop - rows.start, columns.stop - columns.start


def place_and_shape(box):
    return (box[0].start, box[1].start, *shape_of(box))


def test_a_thousand_boxes_are_within_the_image_the_shares_and_the_ratios():
    size, shares, ratios = (480, 640), (0.08, 1.0), (3 / 4, 4 / 3)
    boxes = [random_box(draws, size, shares, ratios) for draws in np.random.default_rng(0).random((1000, DRAWS))]
    assert None not in boxes
    tops, lefts, heights, widths = np.array([place_and_shape(box) for box in boxes]).T
    assert min(tops.min(), lefts.min()) == 0
    assert (tops + heights).max() == 480
    assert (lefts + widths).max() == 640
    areas, aspects = heights * widths / (480 * 640), widths / heights
    assert 0.075 < areas.min() < 0.1  # sides are rounded to whole pixels
    assert 0.95 < areas.max() <= 1
    assert 0.74 < aspects.min() < 0.77
    assert 1.31 < aspects.max() < 1.35


def test_shares_are_uniform_ratios_log_uniform_and_places_uniform():
    boxes = [
        random_box(draws, (1000, 1000), (0.1, 0.3), (0.5, 2.0))
        for draws in np.random.default_rng(0).random((4000, DRAWS))
    ]
    tops, lefts, heights, widths = np.array([place_and_shape(box) for box in boxes]).T
    for draws in (
        (heights * widths / 1e6 - 0.1) / 0.2,
        np.log(widths / heights) / np.log(4) + 0.5,
        tops / (1000 - heights),
        lefts / (1000 - widths),
    ):
        shares, _ = np.histogram(draws, 10, (-0.01, 1.01))
        assert abs(shares / 4000 - 0.1).max() < 0.025


@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 1000),
    least=st.floats(0.01, 1),
    spare=st.integers(0, 1),
)
def test_a_box_is_never_empty_and_never_outside(size, seed, least, spare):
    box = random_box(np.random.default_rng(seed).random(DRAWS), size, (least, 1.0), (0.75, 4 / 3), spare)
    for each in (box, central_box(size, (0.75, 4 / 3))):
        if each is not None:
            top, left, height, width = place_and_shape(each)
            assert 0 <= top < top + height <= size[0]
            assert 0 <= left < left + width <= size[1]
    assert box is None or (np.array(shape_of(box)) <= np.array(size) - spare).all()


def test_the_last_attempt_counts_and_none_is_said():
    draws = np.full((ATTEMPTS, 4), [0.999, 0.999, 0.5, 0.5])  # too wide, ten times
    assert random_box(draws.ravel(), (40, 40), (0.1, 1.0), (0.5, 2.0)) is None
    draws[-1] = [0.0, 0.5, 0.0, 0.999]
    assert random_box(draws.ravel(), (40, 40), (0.25, 1.0), (0.5, 2.0)) == (slice(0, 20), slice(20, 40))


def test_the_whole_image_or_all_but_a_pixel():
    draws = np.full(DRAWS, 0.5)
    assert random_box(draws, (9, 9), (1, 1), (1, 1)) == (slice(0, 9), slice(0, 9))
    assert random_box(draws, (9, 9), (1, 1), (1, 1), spare=1) is None
    assert random_box(draws, (9, 9), (64 / 81, 64 / 81), (1, 1), spare=1) == (slice(1, 9), slice(1, 9))
    for size in ((9, 99), (99, 9)):
        assert random_box(draws, size, (81 / 891, 81 / 891), (1, 1), spare=1) is None


@pytest.mark.parametrize(
    ("size", "ratios", "expected"),
    [
        ((30, 40), (3 / 4, 4 / 3), (slice(0, 30), slice(0, 40))),
        ((30, 100), (3 / 4, 4 / 3), (slice(0, 30), slice(30, 70))),
        ((100, 30), (3 / 4, 4 / 3), (slice(30, 70), slice(0, 30))),
        ((5, 1), (3, 4), (slice(2, 3), slice(0, 1))),
        ((1, 5), (1 / 4, 1 / 3), (slice(0, 1), slice(2, 3))),
    ],
)
def test_the_central_box(size, ratios, expected):
    assert central_box(size, ratios) == expected


class GivenDraws:
    """Stand in for torch in torchvision's sampling, so that it takes the very draws."""

    def __init__(self, torch, draws):
        self.torch, self.draws, self.attempt = torch, draws.reshape(ATTEMPTS, 4), -1

    def __getattr__(self, name):
        return getattr(self.torch, name)

    def empty(self, *shape, **_):
        return SimpleNamespace(uniform_=self.uniform, normal_=lambda: None)

    def uniform(self, low, high):
        self.column = 1 if self.column == 0 else 0
        self.attempt += self.column == 0
        return self.torch.tensor(float(low + self.draws[self.attempt, self.column] * (high - low)))

    def randint(self, low, high, size):
        self.column = max(self.column, 1) + 1
        return self.torch.tensor(int(self.draws[self.attempt, self.column] * high))

    column = 1


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_boxes_of_torchvisions_crop(size, monkeypatch):
    transforms = import_peer("torchvision.transforms.transforms")
    torch, image = transforms.torch, import_peer("torch").zeros(3, *size)
    differing = 0
    for draws in np.random.default_rng(0).random((200, DRAWS)):
        box = random_box(draws, size, (0.08, 1.0), (3 / 4, 4 / 3)) or central_box(size, (3 / 4, 4 / 3))
        with monkeypatch.context() as patched:
            patched.setattr(transforms, "torch", GivenDraws(torch, draws))
            theirs = transforms.RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3])
        ours = place_and_shape(box)
        differing += ours != tuple(map(int, theirs))
    assert differing <= 1  # it computes in float32, which may round a side the other way


def test_the_boxes_of_torchvisions_erasing(monkeypatch):
    transforms = import_peer("torchvision.transforms.transforms")
    torch, image = transforms.torch, import_peer("torch").zeros(3, 48, 64)
    mirrored = np.array([0, 1, 0, 0]) + np.array([1, -1, 1, 1]) * np.random.default_rng(0).random((200, ATTEMPTS, 4))
    differing = 0
    for draws in mirrored:
        unmirrored = np.where([False, True, False, False], 1 - draws, draws)  # height over width, there
        box = random_box(draws.ravel(), (48, 64), (0.02, 0.33), (1 / 3.3, 1 / 0.3), spare=1)
        with monkeypatch.context() as patched:
            patched.setattr(transforms, "torch", GivenDraws(torch, unmirrored.ravel()))
            theirs = transforms.RandomErasing.get_params(image, (0.02, 0.33), (0.3, 3.3), [0.0])
        differing += place_and_shape(box) != tuple(map(int, theirs[:4]))
    assert differing <= 1


def test_ratios_are_width_over_height():
    box = random_box(np.full(DRAWS, 0.5), (100, 100), (0.25, 0.25), (4.0, 4.0))
    assert shape_of(box) == (25, 100)
    assert math.isclose(np.prod(shape_of(box)), 2500)
