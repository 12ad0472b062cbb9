import jax
import numpy as np
import pytest
from toys import PLAIN, SPEC, toy_source

import tlx
from tlx.data import ArraySource
from tlx.errors import ConfigError
from tlx.models.registry import initialise
from tlx.objectives import Classification
from tlx.training import features, predictions

SOURCE = toy_source(14)
VARIABLES = initialise(PLAIN.model, (6, 6, 1), 0)


def whole(parts):
    return np.concatenate(list(parts))


@pytest.mark.parametrize("batch_size", [1, 4, 14, 64])
@pytest.mark.parametrize("workers", [0, 3])
def test_rows_stand_in_the_source_s_order_whatever_the_batches(batch_size, workers):
    images = SPEC(SOURCE.images)
    feeding = {"batch_size": batch_size, "workers": workers}
    parts = list(features(PLAIN.model, VARIABLES, SOURCE, SPEC, stage="stem", **feeding))
    sizes = [len(part) for part in parts]
    assert (sum(sizes), set(sizes[:-1]) <= {batch_size}) == (14, True)
    expected = PLAIN.model.apply(VARIABLES, images, until="stem", method="features")
    np.testing.assert_allclose(np.concatenate(parts), expected, rtol=1e-5, atol=1e-6)
    found = whole(predictions(PLAIN.model, VARIABLES, SOURCE, SPEC, Classification(), **feeding))
    np.testing.assert_allclose(found, jax.nn.softmax(PLAIN.model.apply(VARIABLES, images)), rtol=1e-5, atol=1e-6)
    assert found.dtype == np.float32


@pytest.mark.slow
def test_every_stage_and_way_of_pooling():
    base, images = tlx.load("cnn-mnist"), np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype=np.uint8)
    source = ArraySource(images, [0, 0, 0])
    for stage in (*base.model.base.stage_names, None):
        grid = base.model.apply(base.variables, base.preprocess(images), until=stage, method="features")
        ways = {
            "average": lambda x: x.mean((1, 2)),
            "max": lambda x: x.max((1, 2)),
            "flatten": lambda x: x.reshape(3, -1),
        }
        for pool, way in ways.items():
            found = whole(features(base.model, base.variables, source, base.preprocess, stage=stage, pool=pool))
            np.testing.assert_allclose(found, way(np.asarray(grid)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"stage": "steam"}, "steam"), ({"batch_size": 0}, "batch_size: 0"), ({"workers": -1}, "workers: -1")],
)
def test_bad_choices_are_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        list(features(PLAIN.model, VARIABLES, SOURCE, SPEC, **options))


def test_nothing_gives_nothing():
    from tlx.data import Subset

    assert list(features(PLAIN.model, VARIABLES, Subset(SOURCE, []), SPEC)) == []
