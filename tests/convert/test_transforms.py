import math

import numpy as np
import pytest
from cases import bits
from hypothesis import given
from hypothesis import strategies as st

from tlx.convert.transforms import TRANSFORMS, blocks, forward, inverse, leaf_shape, source_shape
from tlx.errors import ConfigError

AXES = {"same": None, "oihw_to_hwio": 4, "oi_to_io": 2, "hwcm_to_hwmc": 4, "conv_1x1": 4}


@st.composite
def cases(draw):
    """Draw a transform and an array that it takes."""
    name = draw(st.sampled_from(sorted(TRANSFORMS)))
    if name.endswith("7x7x512"):
        outputs = draw(st.integers(1, 3))
        shape = (outputs, 512, 7, 7) if name.startswith("conv") else (outputs, 512 * 49)
    elif name == "conv_1x1":
        shape = (*draw(st.tuples(st.integers(1, 4), st.integers(1, 5))), 1, 1)
    else:
        axes = AXES[name] if AXES[name] is not None else draw(st.integers(0, 4))
        shape = tuple(draw(st.lists(st.integers(1, 5), min_size=axes, max_size=axes)))
    dtype = draw(st.sampled_from([np.float32, np.float16, np.float64]))
    return name, (np.arange(math.prod(shape)) % 2039).reshape(shape).astype(dtype)


def test_every_transform_is_tried():
    assert TRANSFORMS.keys() == AXES.keys() | {"rows_7x7x512", "conv_7x7x512"}


@given(cases())
def test_a_transform_goes_back(case):
    name, array = case
    leaf = forward(name, array)
    assert leaf.shape == leaf_shape(name, array.shape)
    assert source_shape(name, leaf.shape) == array.shape
    assert bits(inverse(name, leaf)) == bits(array)
    assert sorted(leaf.ravel().tolist()) == sorted(array.ravel().tolist())


@given(cases(), st.integers(1, 5000))
def test_pieces_are_the_leaf(case, most):
    name, array = case
    leaf, pieces = forward(name, array), list(blocks(name, array, most))
    assert b"".join(piece.tobytes() for piece in pieces) == np.ascontiguousarray(leaf).tobytes()
    for piece in pieces:
        assert piece.flags.c_contiguous
        assert piece.nbytes <= most or piece.ndim < 2


PLACES = {  # where the number at (2, 1, …) of a source goes, by hand
    "oihw_to_hwio": ((3, 2, 5, 7), (2, 1, 4, 6), (5, 7, 2, 3), (4, 6, 1, 2)),
    "oi_to_io": ((3, 4), (2, 1), (4, 3), (1, 2)),
    "hwcm_to_hwmc": ((3, 5, 8, 1), (2, 1, 6, 0), (3, 5, 1, 8), (2, 1, 0, 6)),
    "conv_1x1": ((3, 4, 1, 1), (2, 1, 0, 0), (4, 3), (1, 2)),
    # torchvision flattens (channels, rows, columns), tlx (rows, columns, channels)
    "rows_7x7x512": ((3, 25088), (2, 100 * 49 + 5 * 7 + 6), (25088, 3), ((5 * 7 + 6) * 512 + 100, 2)),
    "conv_7x7x512": ((3, 512, 7, 7), (2, 100, 5, 6), (25088, 3), ((5 * 7 + 6) * 512 + 100, 2)),
}


@pytest.mark.parametrize("name", PLACES)
def test_a_number_goes_to_its_place(name):
    shape, place, made, there = PLACES[name]
    array = np.zeros(shape, np.float32)
    array[place] = 1
    leaf = forward(name, array)
    assert leaf.shape == made
    assert leaf[there] == leaf.sum() == 1


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("oihw_to_hwio", (3, 3)),
        ("oi_to_io", (3,)),
        ("oi_to_io", ()),
        ("hwcm_to_hwmc", (3, 3, 8)),
        ("rows_7x7x512", (3, 25087)),
        ("rows_7x7x512", (3, 512, 7, 7)),
        ("rows_7x7x512", (25088,)),
        ("conv_7x7x512", (3, 512, 7, 6)),
        ("conv_7x7x512", (3, 25088)),
        ("conv_1x1", (3, 4)),
        ("conv_1x1", (3, 4, 1)),
    ],
)
def test_a_shape_that_does_not_fit_makes_nothing(name, shape):
    assert leaf_shape(name, shape) is None


def test_an_unknown_transform_is_refused():
    with pytest.raises(ConfigError, match="unknown transform 'x'"):
        forward("x", np.zeros(1))
