"""Packing: every text once, none beyond the length, none seen by another."""

import jax
import numpy as np
import pytest
from text_models import VOCABULARY, write_text_folder

import tlx
from tlx.errors import ConfigError, DataError
from tlx.text import Tokenizer, Tokens, pack

WORDS = ["good", "bad", "film", "play", "very", "not", "dull", "fine"]
SPEC = Tokens(Tokenizer.from_vocabulary(VOCABULARY), max_length=32, long="windows")


def texts(count, most=28, seed=0):
    draw = np.random.default_rng(seed)
    return [" ".join(draw.choice(WORDS, size)) for size in draw.integers(1, most + 1, count)]


def of_text(packed, text):
    """Return where a text's pieces lie: its row, and which places of the row."""
    rows, row = packed.rows, packed.row[text]
    own = slice(rows.starts[row], rows.starts[row + 1])
    return row, np.flatnonzero(rows.windows[own] == packed.window[text])


def test_each_text_is_whole_in_one_row_and_rows_are_full():
    rows = SPEC.encode(texts(500))
    packed = pack(rows, 64)
    assert packed.rows.lengths.max() <= 64
    for text in range(500):
        row, places = of_text(packed, text)
        ids = packed.rows.ids[packed.rows.starts[row] :][places]
        assert ids.tolist() == rows.ids[rows.starts[text] : rows.starts[text + 1]].tolist()
        assert (np.diff(places) == 1).all()
    assert len(packed.rows.ids) == len(rows.ids)
    assert len(packed.rows) * 64 < 1.02 * len(rows.ids)
    assert packed.rows.unknown.sum() == rows.unknown.sum()


@pytest.mark.slow
def test_texts_in_one_row_do_not_see_each_other(tmp_path):
    base = tlx.load(str(write_text_folder(tmp_path / "tiny")))
    given = texts(30, 20)
    rows = SPEC.encode(given)
    packed = pack(rows, 32)

    def hidden(batch):
        found = base.model.apply(base.variables, SPEC.on_device(batch), method="features")
        return jax.device_get(found["hidden"])

    together = hidden(SPEC.collate(packed.rows.take(np.arange(len(packed.rows))), 32))
    alone = hidden(SPEC.collate(rows.take(np.arange(30)), 32))
    assert len(together) < 15
    for text in range(30):
        row, places = of_text(packed, text)
        np.testing.assert_allclose(together[row, places], alone[text, : len(places)], atol=2e-6)


def test_what_does_not_go_into_rows_is_refused():
    rows = SPEC.encode(texts(3))
    with pytest.raises(DataError, match=r"text [0-2] has [0-9]+ pieces, and a row 4: cut it"):
        pack(rows, 4)
    with pytest.raises(ConfigError, match="length: 0"):
        pack(rows, 0)
    for other in (SPEC.encode([{"text": "good", "pair": "bad"}]), SPEC.encode(["good " * 80])):
        with pytest.raises(DataError, match="single texts that are whole"):
            pack(other, 200)
    nothing = pack(SPEC.encode([]), 8)
    assert (len(nothing.rows), len(nothing.row)) == (0, 0)
