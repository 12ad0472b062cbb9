"""Words are found among the pieces of a row, whatever is left out of it."""

import numpy as np
import pytest
from text_models import VOCABULARY

from tlx.text import Tokenizer, Tokens, WordTokenizer, locate_words

TOKENIZER = Tokenizer.from_vocabulary(VOCABULARY)
LONG = "The good films, very dull. [MASK] cafés playing a bad play not fine"
PAIR = {"text": "good films!", "pair": LONG}


def pieces_of(spec, value, word):
    ids = spec.encode([value]).ids
    return "".join(VOCABULARY[ids[place]].removeprefix("##") for place in word.places)


@pytest.mark.parametrize("value", [LONG, PAIR], ids=["one", "pair"])
@pytest.mark.parametrize("long", ["head", "head+tail"])
@pytest.mark.parametrize("max_length", [7, 14, 60])
def test_the_pieces_of_a_word_spell_it(value, long, max_length):
    spec = Tokens(TOKENIZER, max_length=max_length, long=long)
    words = locate_words(spec, value)
    texts = (value, "") if isinstance(value, str) else (value["text"], value["pair"])
    wholes = 0
    for word in words:
        held = texts[word.text][word.start : word.end].lower().replace("é", "e")
        spelled = pieces_of(spec, value, word).lower()
        wholes += spelled == held
        assert spelled in held  # a word at the cut may have lost pieces
    assert wholes >= len(words) - 3
    ids = spec.encode([value]).ids
    special = sum(map(len, spec.tokenizer.single if isinstance(value, str) else spec.tokenizer.pair))
    places = [place for word in words for place in word.places]
    assert len(places) == len(set(places)) == len(ids) - special


def test_a_word_in_several_windows_has_places_in_each():
    spec = Tokens(TOKENIZER, max_length=12, long="windows")
    encoded = spec.encode([PAIR])
    words = locate_words(spec, PAIR)
    good = next(word for word in words if (word.text, word.start) == (0, 0))
    windows = int(encoded.windows.max())
    assert windows > 1
    assert len(good.places) == windows
    assert {encoded.ids[place] for place in good.places} == {VOCABULARY.index("good")}
    last = [word for word in words if word.text == 1][-1]
    assert PAIR["pair"][last.start : last.end] == "fine"


def test_a_special_piece_in_a_text_is_a_word_of_its_own():
    spec = Tokens(TOKENIZER, max_length=20)
    found = [("good [MASK] film"[word.start : word.end]) for word in locate_words(spec, "good [MASK] film")]
    assert found == ["good", "[MASK]", "film"]


def test_words_that_are_unknown_and_left_out_have_no_place():
    spec = Tokens(WordTokenizer(("good", "do", "n't")), max_length=9)
    found = locate_words(spec, "what good films don't")
    assert [(word.start, word.places) for word in found] == [(5, (0,)), (16, (1, 2))]
    assert np.array_equal(spec.encode(["what good films don't"]).ids, [1, 2, 3])
