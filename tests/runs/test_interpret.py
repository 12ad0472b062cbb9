"""What interprets a run: its mistakes with names and heat, and a map of its features, as the report reads them."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from tlx.analysis import read_evaluation
from tlx.data import ArraySource, Subset, gather
from tlx.images import Preprocess
from tlx.models import ModelConfig, init_variables
from tlx.models.gradcam import gradcam
from tlx.objectives import Classification
from tlx.presets import Pretrained
from tlx.runs import interpret
from tlx.runs.interpret import MISTAKES, map_features, project, write_evaluation
from tlx.training import Evaluation
from tlx.tree import flatten, unflatten

CLASSES = ("a", "b", "c")


class Files:
    """ImageFiles of different sizes, with names."""

    classes = CLASSES

    def __init__(self, count, names=True):
        draw = np.random.default_rng(0)
        self.images = [draw.integers(0, 256, (20 + i % 5, 30, 3)).astype(np.uint8) for i in range(count)]
        if names:
            self.names = tuple(f"folder/{number}.png" for number in range(count))

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return {"input": self.images[index], "target": index % 3}


def untrained(architecture="cnn", preprocess=None, **changes):
    """Return a model of fresh weights for three classes."""
    preprocess = preprocess or Preprocess(28, 28, 3, mean=(0.5,) * 3, std=(0.2,) * 3, channel_order="bgr")
    shape = (preprocess.height, preprocess.width, preprocess.channels)
    config = ModelConfig(architecture, 3, shape, **{"pool": "flatten", **changes})
    return Pretrained("untrained", config, init_variables(config), preprocess, CLASSES)


def answers(count, wrong):
    """Make up answers to `count` examples of class i % 3: those of `wrong` are taken for the class after it."""
    labels = np.arange(count, dtype=np.int32) % 3
    probabilities = np.full((count, 3), 0.1, np.float32)
    answered = (labels + np.isin(np.arange(count), wrong)) % 3
    probabilities[np.arange(count), answered] = np.linspace(0.5, 0.8, count)
    metrics = {"loss": 1.0, "accuracy": 1 - len(wrong) / count}
    return Evaluation(metrics, labels, probabilities, {"loss": np.ones(count, np.float32)}, Classification())


def written(tmp_path, scores, source, trained):
    """Write an evaluation and return it as the report reads it."""
    write_evaluation(tmp_path / "evaluation.npz", scores, source, trained)
    return read_evaluation(tmp_path / "evaluation.npz", len(CLASSES))


@pytest.mark.slow
def test_mistakes_as_the_network_was_shown_them(tmp_path):
    source, trained, scores = Files(9), untrained(), answers(9, [1, 4, 6])
    found = written(tmp_path, scores, source, trained)
    assert found.mistakes.tolist() == [6, 4, 1]  # the most confident first
    assert found.mistake_names == ("folder/6.png", "folder/4.png", "folder/1.png")
    frames = np.concatenate([trained.preprocess.frame(source.images[row][None]) for row in found.mistakes])
    np.testing.assert_array_equal(found.mistake_images, frames)  # in RGB, though the network takes BGR
    assert found.mistake_maps.shape == (3, 28, 28)
    np.testing.assert_array_equal(found.labels, scores.labels)
    np.testing.assert_array_equal(found.confidence, scores.confidence)


def enlarged(coarse, size):
    """Enlarge a square map bilinearly, the middles of its cells in their places."""
    at = (np.arange(size) + 0.5) * len(coarse) / size - 0.5
    rows = np.stack([np.interp(at, np.arange(len(coarse)), column) for column in coarse.T], axis=1)
    return np.stack([np.interp(at, np.arange(len(coarse)), row) for row in rows])


@pytest.mark.slow
def test_the_heat_is_that_of_the_answer(tmp_path):
    source, trained, scores = Files(9), untrained(), answers(9, [0, 2, 5, 7])
    found = written(tmp_path, scores, source, trained)
    inputs = trained.preprocess.on_device(gather(source, trained.preprocess, found.mistakes)["input"])
    maps = gradcam(trained.model, trained.variables, inputs, scores.predicted[found.mistakes])
    expected = [enlarged(255 * each, 28) for each in maps]
    np.testing.assert_allclose(found.mistake_maps, expected, atol=1)
    assert found.mistake_maps.max() > 200
    others = gradcam(trained.model, trained.variables, inputs, scores.labels[found.mistakes])
    assert np.abs(others - maps).max() > 0.2


def test_only_the_most_confident_mistakes_are_kept(tmp_path):
    found = written(tmp_path, answers(40, range(40)), Subset(Files(40, names=False), range(40)), untrained())
    assert found.mistakes.tolist() == list(range(39, 39 - MISTAKES, -1))
    assert found.mistake_names == ("",) * MISTAKES
    assert len(found.mistake_maps) == MISTAKES


def test_no_mistake_and_no_spatial_features(tmp_path):
    found = written(tmp_path, answers(5, []), Files(5), untrained())
    assert found.mistake_images.shape == (0, 28, 28, 3)
    assert len(found.mistake_maps) == len(found.mistake_names) == 0
    found = written(tmp_path, answers(5, [2]), Files(5), untrained("mlp"))
    assert len(found.mistake_images) == 1
    assert len(found.mistake_maps) == 0
    assert found.map_points.shape == (5, 2)


@pytest.mark.slow
def test_channels_that_are_no_colours_are_shown_as_their_mean(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (4, 28, 28, 2)).astype(np.uint8)
    source = ArraySource(images, [0, 1, 2, 0], CLASSES)
    found = written(tmp_path, answers(4, [3]), source, untrained(preprocess=Preprocess(28, 28, 2)))
    np.testing.assert_array_equal(found.mistake_images[0], images[3].mean(-1, keepdims=True).round())


def test_what_is_not_finite_loses_no_run(tmp_path):
    trained = untrained()
    leaves = flatten(trained.variables)
    leaves["params/base/conv3/bias"] = jnp.full(64, np.inf)
    broken = dataclasses.replace(trained, variables=unflatten(leaves))
    found = written(tmp_path, answers(12, [2]), Files(12), broken)
    assert len(found.map_rows) == 0
    assert not found.mistake_maps.any()


def test_the_map_is_of_evenly_spread_examples(monkeypatch):
    monkeypatch.setattr("tlx.runs.seen.MAPPED", 5)
    rows, points = map_features(untrained(), Files(21))
    assert rows.tolist() == [0, 5, 10, 15, 20]
    assert points.shape == (5, 2)


@pytest.mark.parametrize(("pool", "size"), [pytest.param("flatten", 576, marks=pytest.mark.slow), ("max", 64)])
def test_the_features_are_those_that_the_head_takes(monkeypatch, pool, size):
    """More of them than go through at a time."""
    monkeypatch.setattr(interpret, "project", lambda features: features)
    trained, source = untrained(pool=pool, hidden=(8,)), Files(70)
    rows, features = map_features(trained, source)
    inputs = trained.preprocess.on_device(gather(source, trained.preprocess, rows)["input"])
    whole = trained.model.apply(trained.variables, inputs, method="features").reshape(70, 9, 64)
    expected = whole.reshape(70, 576) if pool == "flatten" else whole.max(1)
    assert features.shape == (70, size)
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)


def clusters(each=20):
    """Return examples of three clusters in ten dimensions, and which they belong to."""
    draw, members = np.random.default_rng(0), np.repeat(np.arange(3), each)
    return (8 * np.eye(3, 10)[members] + draw.normal(size=(3 * each, 10))).astype(np.float32), members


def test_neighbours_stay_neighbours():
    features, members = clusters()
    points = project(features)
    assert points.dtype == np.float32
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1) + 1e9 * np.eye(len(points))
    np.testing.assert_array_equal(members[distances.argmin(1)], members)
    assert points.tobytes() == project(features).tobytes()
    assert project(2.0**60 * features).tobytes() == points.tobytes()  # their scale does not matter


def test_few_examples_are_placed_by_principal_components():
    features = clusters(3)[0]
    centred = features - features.mean(0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    expected = (left * values)[:, :2] / (left * values)[:, 0].std()
    np.testing.assert_allclose(np.abs(project(features)), np.abs(expected), atol=1e-4)


@pytest.mark.parametrize("count", [0, 1, 2, 12])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_features_with_little_in_them(count, size):
    """Few, narrow, all alike, or of two kinds."""
    for features in (np.zeros((count, size)), np.arange(count * size).reshape(count, size) % 2.0):
        points = project(features.astype(np.float32))
        assert points.shape == (count, 2)
        assert np.isfinite(points).all()
    assert not project(np.ones((count, size), np.float32)).any()
