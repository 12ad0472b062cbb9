"""A tiny text model, and BERT's real vocabulary under one as tiny."""

import dataclasses

import numpy as np
import pytest
from text_models import VOCABULARY, write_text_folder

import tlx
from tlx.models import ModelConfig, init_variables
from tlx.presets import Pretrained
from tlx.text import Tokenizer, Tokens, read_tokenizer


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    return tlx.load(write_text_folder(tmp_path_factory.mktemp("tiny") / "bert"))


@pytest.fixture(scope="session")
def splits():
    return Tokenizer.from_vocabulary(VOCABULARY)


@pytest.fixture(scope="session")
def real_splits(shared_data):
    return read_tokenizer(shared_data / "text/bert-base-uncased-vocab.txt")


@pytest.fixture(scope="session")
def real_vocabulary(real_splits):
    return narrow_bert(real_splits)


def narrow_bert(tokenizer, rows=None):
    settings = {"vocab_size": rows or tokenizer.size, "hidden_size": 4, "num_hidden_layers": 1}
    settings |= {"num_attention_heads": 1, "intermediate_size": 4, "max_position_embeddings": 32}
    config = ModelConfig("bert", 0, (32,), settings=settings)
    return Pretrained("narrow", config, init_variables(config), Tokens(tokenizer, max_length=32), ())


@pytest.fixture(scope="session")
def with_decoder(tiny):
    """The tiny model with the bias of a decoder that is tied to its embedding."""
    bias = np.arange(tiny.config.settings.vocab_size, dtype=np.float32)
    params = {**tiny.variables["params"], "head": {"mlm": {"bias": bias}}}
    return dataclasses.replace(tiny, variables={**tiny.variables, "params": params})
