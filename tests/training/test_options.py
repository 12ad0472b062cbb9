"""What a fit takes where nothing is said."""

import pytest
from text_models import VOCABULARY

import tlx
from tlx.text import Tokenizer, Tokens, WordTokenizer
from tlx.training import TrainOptions

PIECES = Tokens(Tokenizer.from_vocabulary(VOCABULARY), max_length=16)
WORDS = Tokens(WordTokenizer(("good", "bad")), max_length=16)


@pytest.mark.parametrize(
    ("spec", "given", "size"),
    [(None, None, 128), (PIECES, None, 32), (WORDS, None, 128), (PIECES, 100, 100), (tlx.load, 7, 7)],
)
def test_text_models_have_small_batches(spec, given, size):
    assert TrainOptions(batch_size=given).batch_of(10_000, spec) == size


def test_small_data_have_smaller_ones():
    assert [TrainOptions().batch_of(count, PIECES) for count in (10, 100, 500, 1000)] == [10, 20, 25, 32]
    assert TrainOptions(accumulate=3).batch_of(10_000, PIECES) == 33
