"""Examples are decoded as rarely as can be: what interprets a run takes what its test saw."""

import collections
import dataclasses
import sys

import numpy as np
import pytest
from image_files import encoded
from toys import finetune_with

import tlx
import tlx.data.encoded
import tlx.data.screen
from tlx.data import ArraySource
from tlx.images import Preprocess
from tlx.models import ModelConfig, init_variables
from tlx.presets import Pretrained
from tlx.runs.interpret import write_evaluation
from tlx.runs.seen import MISTAKES, Seen
from tlx.training.evaluate import evaluated_together


def untrained():
    config = ModelConfig("cnn", 3, (28, 28, 1))
    return Pretrained("untrained", config, init_variables(config), Preprocess(28, 28, 1), ("a", "b", "c"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_what_was_seen_is_what_would_be_asked_for(tmp_path, monkeypatch, kind):
    """More examples than the map has, more mistakes than are kept, and a last batch that is padded."""
    monkeypatch.setattr("tlx.runs.seen.MAPPED", 70)
    images = np.random.default_rng(0).integers(0, 256, (101, 28, 28)).astype(kind)
    source, trained = ArraySource(images, np.arange(101) % 3, ("a", "b", "c"), value_range=(0, 255)), untrained()
    seen = Seen.of(trained, source, interpret=True)
    pieces = (trained.model, [(trained.variables, trained.objective)], source, trained.preprocess, 32)
    (scores,) = evaluated_together(*pieces, watch=seen)
    assert (scores.predicted != scores.labels).sum() > MISTAKES
    write_evaluation(tmp_path / "asked.npz", scores, source, trained)
    monkeypatch.setattr("tlx.runs.interpret.features", None)
    if kind == np.uint8:
        monkeypatch.setattr("tlx.runs.interpret.take", None)
    write_evaluation(tmp_path / "seen.npz", scores, source, trained, seen=seen)
    with np.load(tmp_path / "asked.npz") as asked, np.load(tmp_path / "seen.npz") as found:
        assert asked.files == found.files
        for name in asked.files:
            assert np.array_equal(asked[name], found[name]), name


def test_several_variables_are_tested_in_one_pass():
    trained = untrained()
    others = dataclasses.replace(trained, variables=init_variables(trained.config, seed=1))
    source = ArraySource(
        np.random.default_rng(0).integers(0, 256, (20, 28, 28), np.uint8), np.arange(20) % 3, trained.classes
    )
    pairs = [(each.variables, each.objective) for each in (trained, others)]
    together = evaluated_together(trained.model, pairs, source, trained.preprocess, 8)
    for each, found in zip((trained, others), together, strict=True):
        assert np.array_equal(tlx.evaluate(each, source, batch_size=8).probabilities, found.probabilities)


@pytest.fixture
def decodes(monkeypatch):
    """Count how often each image file is decoded."""
    counts = collections.Counter()

    def counted(decode):
        def count(content, name):
            counts[name] += 1
            return decode(content, name)

        return count

    monkeypatch.setattr("tlx.data.screen.decode_image", counted(tlx.data.screen.decode_image))
    monkeypatch.setattr("tlx.data.encoded.open_image", counted(tlx.data.encoded.open_image))
    return counts


@pytest.mark.slow
def test_a_run_decodes_an_image_twice_at_most_outside_of_its_epochs(tmp_path, decodes):
    draw = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(20):
            content = encoded(draw.integers(0, 256, (28, 28), np.uint8))
            (tmp_path / "data" / name / f"{number}.png").write_bytes(content)
    base, data = tlx.load("cnn-mnist"), tlx.load_data(f"folder:{tmp_path / 'data'}")
    recipe, epochs = tlx.recipes.probe(base, epochs=2), 2
    finetune_with(base, data, recipe, out=tmp_path / "run", compare_scratch=True, batch_size=8)
    kept, scratch = 1, epochs  # passes: one for the activations of all epochs, and then one an epoch
    assert {decodes[name] for name in data.test.names} == {2}  # screened, tested
    assert {decodes[name] for name in data.validation.names} == {1 + kept + scratch}  # screened
    assert {decodes[name] for name in data.train.names} == {2 + kept + scratch}  # screened, looked at by the check


@pytest.mark.slow
def test_the_labels_of_a_recipe_are_made_once(tmp_path, monkeypatch):
    made, real = [], tlx.tree.label_tree

    def counted(tree, rules):
        made.append(rules)
        return real(tree, rules)

    for name, module in list(sys.modules.items()):
        if name.startswith("tlx.") and getattr(module, "label_tree", None) is real:
            monkeypatch.setattr(module, "label_tree", counted)
    base, data = tlx.load("mlp-mnist"), tlx.load_data("digits", labels_per_class=2)
    recipe = tlx.recipes.gradual(base, head_epochs=1, stage_epochs=1)
    finetune_with(base, data, recipe, out=tmp_path / "run", compare_scratch=False, batch_size=20)
    assert made == [phase.rules for phase in recipe]
