"""Models that tag words: frozen layers kept without padding, groups of lengths, words that are cut off."""

import dataclasses

import jax
import numpy as np
import pytest
from text_models import write_text_folder

import tlx
from tlx.data.tag_arrays import tagged
from tlx.errors import ConfigError
from tlx.runs.begin import begin
from tlx.tree import flatten

NAMES, OTHERS = ("the", "car", "cafe"), ("good", "bad", "fine", "not")
TAGS = ("O", "B-X", "I-X")


def sentences(count, seed=0):
    """Draw sentences of 1 to 12 words, in which "the" or a car begin a name that goes on with "cafe"."""
    draw = np.random.default_rng(seed)
    words, tags = [], []
    for _ in range(count):
        own, marks = [], []
        for word in draw.choice([*NAMES, *OTHERS], draw.integers(1, 13)).tolist():
            inside = word == "cafe" and marks and marks[-1] != "O"
            marks.append("I-X" if inside else "B-X" if word in ("the", "car") else "O")
            own.append(word)
        words.append(own)
        tags.append(marks)
    return tagged(words, tags, TAGS)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tlx.load(str(write_text_folder(tmp_path_factory.mktemp("model") / "tiny")))


def with_random_head(base, **spec):
    """Give a base a head that answers otherwise to each word."""
    trained = base.with_head(TAGS, objective=tlx.TokenClassification(tags=TAGS))
    kernel = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
    logits = {**trained.variables["params"]["head"]["logits"], "kernel": kernel}
    variables = {"params": {**trained.variables["params"], "head": {"logits": logits}}}
    return dataclasses.replace(trained, variables=variables, preprocess=dataclasses.replace(base.preprocess, **spec))


@pytest.mark.slow
@pytest.mark.parametrize("where", ["memory", "disk"])
def test_a_head_learns_the_same_from_kept_activations(base, where, tmp_path):
    data = tlx.data_from_sources(sentences(60), sentences(20, 1), sentences(20, 2))
    recipe = tlx.recipes.probe(base, epochs=3, patience=None)
    found = []
    for cache in (tlx.ActivationCache("off"), tlx.ActivationCache(where, folder=str(tmp_path))):
        options = tlx.TrainOptions(batch_size=16, cache=cache)
        start = base.with_head(TAGS, objective=tlx.TokenClassification())
        found.append(tlx.fit(start, recipe, data, options))
    assert found[0].history[-1]["val_f1"] == pytest.approx(found[1].history[-1]["val_f1"], abs=1e-6)
    plain, kept = (flatten(each.variables["params"]["head"]) for each in found)
    for path, leaf in plain.items():
        np.testing.assert_allclose(leaf, kept[path], atol=2e-5)
    assert found[1].phases[0].activations.endswith({"memory": "in memory", "disk": "on disk"}[where])


def test_a_recipe_that_nobody_named_goes_by_f1(base):
    data = tlx.data_from_sources(sentences(60))
    start, _, recipe, _ = begin(base, data, None, tlx.RunOptions(batch_size=20))
    assert {phase.monitor for phase in recipe} == {"val_f1"}
    assert start.config.pool == "words"
    named = tlx.recipes.finetune(base)
    assert {phase.monitor for phase in begin(base, data, named, tlx.RunOptions(batch_size=20))[2]} == {"val_loss"}


@pytest.mark.slow
def test_answers_do_not_hang_on_batches_or_neighbours(base):
    trained, source = with_random_head(base), sentences(30)
    one = tlx.evaluate(trained, source, batch_size=1)
    many = tlx.evaluate(trained, source, batch_size=16)
    np.testing.assert_allclose(one.predictions, many.predictions, atol=1e-6)
    assert one.metrics == pytest.approx(many.metrics, abs=1e-6)
    alone = tlx.predict(trained, [source[7]["input"]]).predictions[0]
    np.testing.assert_allclose(one.predictions[7, : len(alone)], alone, atol=1e-6)


@pytest.mark.slow
def test_words_that_are_cut_off_have_no_answer_and_count_as_wrong(base, caplog):
    long = tagged([["good"] * 10, ["the", "car"]], [["O"] * 10, ["B-X", "B-X"]], TAGS)
    whole = tlx.evaluate(with_random_head(base), long)
    cut = tlx.evaluate(with_random_head(base, max_length=6), long)
    assert "6 of 12 words (50.0%) have no piece left" in caplog.text
    assert cut.predictions.shape == (2, 4, 3)
    found = tlx.training.per_word(cut)
    assert (found.without, len(found.scores)) == (6, 6)
    kept = [row < 4 for row in found.words]
    assert all(kept)
    right = (found.scores.predicted == found.scores.labels).sum()
    assert cut.accuracy == pytest.approx(right / 12)
    windows = tlx.evaluate(with_random_head(base, max_length=6, long="windows"), long)
    assert tlx.training.per_word(windows).without == 0
    assert len(tlx.training.per_word(whole).scores) == 12
    labels = tlx.predict(with_random_head(base, max_length=6), [["good"] * 10]).labels
    assert labels[0][4:] == (None,) * 6
    assert None not in labels[0][:4]


def test_another_head_is_refused(base):
    data = tlx.data_from_sources(sentences(40))
    with pytest.raises(ConfigError, match="pool='words'"):
        tlx.fit(base.with_head(TAGS), tlx.recipes.probe(base), data, tlx.TrainOptions(batch_size=8))


@pytest.mark.slow
def test_the_gradient_of_accumulated_parts_is_that_of_the_words(base):
    """Parts have other numbers of words: their sums must add up, not their means."""
    data = tlx.data_from_sources(sentences(32), sentences(8, 1), sentences(8, 2))
    recipe = tlx.recipes.probe(base, epochs=1, patience=None)
    start = base.with_head(TAGS, objective=tlx.TokenClassification())
    heads = []
    for parts in (1, 4):
        options = tlx.TrainOptions(batch_size=16, accumulate=parts, cache=tlx.ActivationCache("off"))
        heads.append(tlx.fit(start, recipe, data, options).variables["params"]["head"]["logits"])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *heads)
