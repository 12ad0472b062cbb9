"""Gradient x input is what the formula says, text by text."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from text_models import write_text_folder

import tlx
from tlx.errors import ConfigError, DataError
from tlx.models import Base, Classifier, Head, Stage
from tlx.models.saliency import saliency


class Same(nn.Module):
    """A stage that changes nothing."""

    def __call__(self, x):
        return x


def test_scores_made_by_hand():
    """A linear head on the mean of the pieces: a piece's score is its product with the class's weights over T."""
    kernel = np.array([[1, 0], [-1, 2]], np.float32)
    model = Classifier(Base((Stage("same", Same()),)), Head(2))
    variables = {"params": {"base": {}, "head": {"logits": {"kernel": kernel, "bias": np.zeros(2, np.float32)}}}}
    hidden = np.array([[[4, 1], [0, 3], [9, 9]], [[1, 1], [2, -2], [4, 0]]], np.float32)
    inputs = {"hidden": hidden, "mask": np.array([[1, 1, 0], [1, 1, 1]], bool)}
    found = saliency(model, variables, inputs, np.array([0, 1]))
    np.testing.assert_allclose(found, [[1.5, -1.5, 0], [2 / 3, -4 / 3, 0]], rtol=1e-6)
    assert found.dtype == np.float32


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    base = tlx.load(str(write_text_folder(tmp_path_factory.mktemp("model") / "tiny")))
    base = base.with_head(("a", "b", "c"))
    kernel = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)  # a fresh one may be zero
    logits = {**base.variables["params"]["head"]["logits"], "kernel": kernel}
    params = {**base.variables["params"], "head": {"logits": logits}}
    return dataclasses.replace(base, variables={**base.variables, "params": params})


@pytest.mark.slow
@pytest.mark.parametrize("long", ["head", "windows"])
def test_a_batch_gives_what_each_text_alone_gives(tiny, long):
    spec = dataclasses.replace(tiny.preprocess, max_length=10, long=long)
    texts = [f"the film is {word} " * (1 + number % 3) for number, word in enumerate(["good", "bad", "dull"] * 4)]
    inputs = spec.on_device(spec.collate(texts))
    classes = np.arange(12) % 3
    found = saliency(tiny.model, tiny.variables, inputs, classes)
    assert not found[~np.asarray(inputs["mask"])].any()
    state = tiny.model.apply(tiny.variables, inputs, until="embeddings", method="features")
    for row in (0, 5, 11):
        one = jax.tree.map(lambda leaf, row=row: leaf[row : row + 1], state)

        def logit(hidden, one=one, row=row):
            after = tiny.model.apply(tiny.variables, {**one, "hidden": hidden}, after="embeddings", method="features")
            return tiny.model.apply(tiny.variables, after, method="logits")[0, classes[row]]

        wanted = (jax.grad(logit)(one["hidden"]) * one["hidden"]).sum(-1)
        np.testing.assert_allclose(found[row], jnp.where(one["mask"], wanted, 0)[0], rtol=1e-3, atol=1e-6)
        assert found[row].any()


def test_classes_that_the_model_has_not_and_images_are_refused(tiny):
    inputs = tiny.preprocess.on_device(tiny.preprocess.collate(["good", "bad"]))
    for classes in ([0], [0, 3], [-1, 0]):
        with pytest.raises(DataError, match="0 to 2"):
            saliency(tiny.model, tiny.variables, inputs, np.array(classes))


def test_a_base_without_pieces_is_refused():
    model = Classifier(Base((Stage("pick", Picked()),)), Head(2))
    inputs = {"image": np.ones((1, 3), np.float32)}
    variables = model.init(jax.random.key(0), inputs)
    with pytest.raises(ConfigError, match="base of texts"):
        saliency(model, variables, inputs, np.array([0]))


class Picked(nn.Module):
    """A stage whose output is an array."""

    def __call__(self, x):
        return x["image"]
