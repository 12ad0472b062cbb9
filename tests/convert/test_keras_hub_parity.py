"""Presets that KerasHub saves, beside KerasHub: pieces, every stage, pooler and logits."""

from dataclasses import replace

import numpy as np
import pytest
from text_models import VOCABULARY

from tlx.convert.reference import keras_backend
from tlx.convert.tables.texts import KERAS_HUB
from tlx.errors import WeightsError
from tlx.presets import ConvertOptions, convert_weights

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")]
SIZES = {"num_layers": 2, "num_heads": 3, "hidden_dim": 12, "intermediate_dim": 20, "max_sequence_length": 40}
OWN = {
    "Bert": {"vocabulary_size": len(VOCABULARY)},
    "DistilBert": {"vocabulary_size": len(VOCABULARY)},
    "Roberta": {"vocabulary_size": len(VOCABULARY)},
    "Electra": {"vocab_size": len(VOCABULARY), "embedding_dim": 8},
}
BYTES = ("<s>", "<pad>", "</s>", "<mask>", *"abcdefghijklmnopqrstuvwxyzATQ.,;!' ".replace(" ", "Ġ"))


@pytest.fixture
def models():
    with keras_backend("jax"):
        return pytest.importorskip("keras_hub").models


def saved(models, folder, family, classes=0):
    """Let KerasHub save a preset of random numbers, biases among them, and a tokenizer."""
    model = getattr(models, f"{family}Backbone")(**SIZES, **OWN[family])
    if family == "Roberta":
        tokenizer = models.RobertaTokenizer({piece: n for n, piece in enumerate(BYTES)}, merges=[])
    else:
        tokenizer = getattr(models, f"{family}Tokenizer")(list(VOCABULARY), lowercase=True, strip_accents=True)
    if classes:
        kind = getattr(models, f"{family}TextClassifier")
        preprocessor = kind.preprocessor_cls(tokenizer, sequence_length=30)
        model = kind(model, num_classes=classes, preprocessor=preprocessor)
    draw = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(draw.normal(size=weight.shape, scale=0.3))
    model.save_to_preset(folder)
    tokenizer.save_to_preset(folder)
    return folder


@pytest.mark.parametrize("family", OWN)
def test_what_keras_hub_saves_is_computed_as_it_does(models, family, tmp_path):
    folder = saved(models, tmp_path / "preset", family)
    done = convert_weights(folder, tmp_path / "converted", None, ConvertOptions(compare=True)).verification
    assert done.largest < 1e-5
    stages = [each.stage for each in done.differences]
    assert stages == [
        *([] if family == "Roberta" else ["pieces"]),
        *("embeddings", "layer0", "layer1"),
        *(["pooler"] if family == "Bert" else []),
    ]


@pytest.mark.parametrize("family", ["Bert", "DistilBert", "Roberta"])
def test_classifiers_agree(models, family, tmp_path):
    folder = saved(models, tmp_path / "preset", family, classes=3)
    done = convert_weights(folder, tmp_path / "converted", None, ConvertOptions(compare=True)).verification
    assert done.differences[-1].stage == "logits"
    assert done.largest < 1e-5


def test_a_preset_read_with_another_activation_is_found_out(models, tmp_path, monkeypatch, refuses):
    folder = saved(models, tmp_path / "preset", "Bert")
    family = KERAS_HUB["BertBackbone"]
    monkeypatch.setitem(KERAS_HUB, "BertBackbone", replace(family, fixed=family.fixed | {"hidden_act": "gelu"}))
    with refuses(WeightsError, "at 'layer"):
        convert_weights(folder, tmp_path / "converted", None, ConvertOptions(compare=True))
