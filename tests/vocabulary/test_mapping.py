"""The mapping of rows, and the optimizer's memory with it: a fit goes on with a grown vocabulary."""

import dataclasses

import numpy as np
import optax
import pytest

import tlx
from tlx.data import ColumnSource
from tlx.errors import ConfigError
from tlx.optim import AdamW, Constant, Group
from tlx.text import Tokenizer
from tlx.tree.paths import flatten
from tlx.vocabulary import Mapping, NewPiece, add_words, map_memory, swap_tokenizer
from tlx.vocabulary.mapping import has_rows

WORD = "base/embeddings/word/embedding"


def test_a_mapping_must_agree_with_itself():
    new = NewPiece("films", 2, (0, 1), "mean")
    assert Mapping(2, 3, (0, 1, -1), (new,)).changes
    assert not Mapping(2, 2, (0, 1), ()).changes
    assert Mapping(2, 2, (1, 0), ()).changes
    for fields in (
        (2, 4, (0, 1, -1), (new,)),
        (2, 3, (0, 1, 1), (new,)),
        (2, 3, (0, 1, -1), ()),
        (2, 3, (0, -1, -1), (new, new)),
        (2, 3, (0, 2, -1), (new,)),
        (1, 3, (0, 0, -1), (new,)),
        (2, 3, (0, 1, -1), (new._replace(pieces=()),)),
    ):
        with pytest.raises(ConfigError, match="mapping"):
            Mapping(*fields)


def test_which_leaves_have_rows():
    assert has_rows("params/base/embeddings/word/embedding")
    assert has_rows("head/mlm/bias")
    assert has_rows("word/embedding")
    assert not has_rows("base/sword/embedding")
    assert not has_rows("base/embeddings/word/embedding/scale")


@pytest.fixture(scope="module")
def texts():
    words = ["films xyz good", "bad dull film", "a very good play", "not fine"] * 4
    return ColumnSource({"input": np.array(words, object), "target": [1, 0, 1, 0] * 4}, ("bad", "good"))


GROUPS = {
    "adamw": Group(Constant(1e-3), AdamW()),
    "adafactor": Group(optimizer=optax.adafactor(1e-3, min_dim_size_to_factor=2)),
}


def fitted(tiny, texts, group):
    base = tiny.with_head(("bad", "good"))
    recipe = tlx.recipes.further(base.stages, epochs=1, group=group)
    options = tlx.TrainOptions(batch_size=8, preprocess=base.preprocess)
    return base, options, tlx.fit(base, recipe, (texts, None), options)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "how"), [("adamw", "words"), ("adafactor", "tokenizer")])
def test_a_fit_goes_on_after_its_vocabulary_was_mapped(tiny, texts, name, how):
    group = GROUPS[name]
    base, options, done = fitted(tiny, texts, group)
    trained = dataclasses.replace(base, variables=done.variables)
    if how == "words":
        grown, mapping = add_words(trained, ["films", "xyz"])
    else:
        pieces = [piece for piece in tiny.preprocess.tokenizer.pieces if piece != "dull"]
        grown, mapping = swap_tokenizer(trained, Tokenizer.from_vocabulary([*pieces[::-1], "films", "xyz"]))
    memory = map_memory(done.memory, mapping)
    for slot, old in done.memory.leaves[WORD].items():
        new, old = np.asarray(memory.leaves[WORD][slot]), np.asarray(old)
        if old.shape[0] == mapping.old_size:
            kept = np.array(mapping.kept)
            np.testing.assert_array_equal(new[kept >= 0], old[kept[kept >= 0]])
            for each in mapping.new:
                np.testing.assert_allclose(new[each.id], old[list(each.pieces)].mean(0), rtol=1e-5)
        else:
            np.testing.assert_array_equal(new, old)
    assert any(np.shape(old)[:1] == (mapping.old_size,) for old in done.memory.leaves[WORD].values())
    other = {path: slots for path, slots in memory.leaves.items() if path != WORD}
    assert other == {path: slots for path, slots in done.memory.leaves.items() if path != WORD}
    mapped = dataclasses.replace(
        done, variables=grown.variables, memory=memory, model=grown.model, preprocess=grown.preprocess
    )
    options = dataclasses.replace(options, preprocess=grown.preprocess)
    again = tlx.fit(mapped, tlx.recipes.further(base.stages, epochs=1, group=group), (texts, None), options)
    assert again.memory.shapes[WORD] == (mapping.new_size, 12)
    rows = {
        place: np.asarray(flatten(tree)["params/" + WORD])
        for place, tree in (("then", grown.variables), ("now", again.variables))
    }
    films = next(each.id for each in mapping.new if each.text == "films")
    assert (rows["now"][films] != rows["then"][films]).any()  # which the texts hold
    count = next(value for slots in again.memory.shared.values() for key, value in slots.items() if "count" in key)
    assert int(count) == 4  # steps of both fits: the state was kept
    with pytest.raises(ConfigError, match="not that of the variables"):
        tlx.fit(
            dataclasses.replace(mapped, memory=done.memory),
            tlx.recipes.further(base.stages, epochs=1),
            (texts, None),
            options,
        )


def test_the_memory_of_another_vocabulary_is_refused(tiny):
    from tlx.optim.memory import Memory

    slots = {"mu": np.zeros((7, 2))}
    memory = Memory({WORD: slots}, {"0:all@0": {}}, {WORD: "0:all@0"}, {"0:all@0": 1}, {WORD: (7, 2)})
    _, mapping = add_words(tiny, ["films"])
    with pytest.raises(ConfigError, match="7 rows, and the mapping is of 101"):
        map_memory(memory, mapping)
