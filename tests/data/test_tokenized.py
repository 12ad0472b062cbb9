"""Texts as rows of pieces: tokenised once, batches of few lengths, an order that a seed decides, parts on disk."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from text_models import VOCABULARY

from tlx.data import ColumnSource, Feed, batches
from tlx.data import tokenized as module
from tlx.data.pipeline import gather, rows_of_epoch
from tlx.data.tokenized import TokenSource, by_length, tokenized, tokenized_data, tokenized_parts
from tlx.text import Tokenizer, Tokens

SPEC = Tokens(Tokenizer.from_vocabulary(VOCABULARY), max_length=30)


def source_of(lengths, labels=None):
    texts = [" ".join(["good"] * length) for length in lengths]
    labels = np.arange(len(lengths)) % 2 if labels is None else labels
    return ColumnSource({"input": texts, "target": labels}, ("no", "yes"))


def prepared(lengths):
    spec, (source,) = tokenized_parts(SPEC, source_of(lengths))
    return spec, source


def test_each_text_is_tokenised_once(monkeypatch):
    source, asked = source_of([3, 4]), []
    encode = Tokenizer.encode
    monkeypatch.setattr(
        Tokenizer, "encode", lambda self, texts, **how: asked.append(list(texts)) or encode(self, texts, **how)
    )
    first = tokenized(source, SPEC)
    assert tokenized(source, SPEC) is first
    assert tokenized(first, SPEC) is first
    spec = SPEC.fitted(first.rows.lengths)
    padded = tokenized(source, spec)
    assert padded.rows is first.rows
    assert sum(texts[0].startswith("good") for texts in asked) == 1


def test_another_way_to_tokenise_is_another_source():
    from dataclasses import replace

    source = source_of([3, 9])
    short = tokenized(source, replace(SPEC, max_length=6))
    assert short.rows.lengths.tolist() == [5, 6]
    assert tokenized(short, SPEC).rows.lengths.tolist() == [5, 11]


def test_other_sources_stay_as_they_are():
    from tlx.images import Preprocess

    source = source_of([3])
    assert tokenized(source, Preprocess(8, 8, 1)) is source


@given(st.lists(st.integers(1, 25), min_size=1, max_size=40), st.integers(1, 7), st.integers(0, 3))
def test_an_epoch_holds_every_text_once_in_batches_of_few_lengths(lengths, size, epoch):
    spec, source = prepared(lengths)
    made = list(batches(source, spec, Feed(size, seed=1, shuffle=True, workers=0), epoch=epoch))
    assert sum(len(batch["target"]) for batch in made) == len(lengths)
    pieces = sorted(int(count) for batch in made for count in batch["input"]["length"])
    assert pieces == sorted(length + 2 for length in lengths)
    assert {batch["input"]["ids"].shape[1] for batch in made} <= set(spec.lengths)


def inputs_of(feed, epoch, first=0):
    spec, source = prepared([1, 2, 3, 20, 21, 22, 9, 10, 11, 1, 2, 3, 20])
    return [batch["input"] for batch in batches(source, spec, feed, epoch=epoch, first=first)]


def test_the_order_is_decided_by_seed_and_epoch_wherever_it_is_taken_up():
    feed = Feed(3, seed=2, shuffle=True, pad=True, workers=0)
    whole, later = inputs_of(feed, 1), inputs_of(feed, 1, first=2)
    for one, other in zip(whole[2:], later, strict=True):
        assert {name: array.tolist() for name, array in one.items()} == {n: a.tolist() for n, a in other.items()}
    assert [each["ids"].tolist() for each in inputs_of(feed, 2)] != [each["ids"].tolist() for each in whole]
    lengths = [each["ids"].shape[1] for each in whole]
    assert lengths != sorted(lengths)  # batches of one length do not follow one another


def test_most_batches_hold_texts_of_one_length():
    spec, source = prepared([2] * 40 + [20] * 40)
    computed = sum(each["input"]["ids"].size for each in batches(source, spec, Feed(8, shuffle=True, workers=0)))
    assert computed == source.sizes.sum()


def test_a_batch_is_as_long_as_all_hosts_together_need():
    spec, source = prepared([2, 20])
    assert gather(source, spec, np.array([0]), length=24)["input"]["ids"].shape == (1, 24)


def test_sorted_by_length_and_put_back():
    _, source = prepared([20, 2, 9])
    view = by_length(source)
    lengths = np.array([len(view.source[i]["input"]["ids"]) for i in range(3)])
    assert lengths.tolist() == [4, 11, 22]
    assert view.restored(lengths).tolist() == [22, 4, 11]
    assert view.rows.tolist() == [1, 2, 0]


def test_pairs_and_further_columns_go_along():
    columns = {"input": {"text": ["good"], "pair": ["bad film"]}, "target": [1], "weight": [0.5]}
    source = tokenized(ColumnSource(columns, ("a", "b")), SPEC)
    batch = gather(source, SPEC, np.array([0]))
    assert batch["input"]["second"].tolist() == [3]
    assert batch["weight"].tolist() == [0.5]


def test_notes_tell_what_is_left_out(monkeypatch):
    from tlx.data import data_from_sources

    train = source_of([2, 50, 4, 60, 7, 8])
    data = data_from_sources(train, test=source_of([1, 2]))
    found, spec = tokenized_data(data, SPEC)
    told = " ".join(found.notes)
    assert "2 of 8 texts (25.0%) are longer than 30 pieces" in told
    assert "54 of their pieces" in told
    assert isinstance(found.train, TokenSource) or found.train.sizes is not None
    again, same = tokenized_data(found, spec)
    assert (again.notes, same) == (found.notes, spec)


def test_many_texts_are_kept_on_disk_in_parts_and_taken_from_there(monkeypatch, tmp_path):
    monkeypatch.setenv("TLX_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "AT_ONCE", 4)
    monkeypatch.setattr(module, "KEPT", 8)
    lengths = list(range(1, 11))
    first = TokenSource(source_of(lengths), SPEC)
    parts = sorted(tmp_path.glob("tokens/*/*.npz"))
    assert [part.name for part in parts] == ["0.npz", "1.npz", "2.npz"]
    parts[1].write_bytes(parts[1].read_bytes()[:-20])
    asked = []
    encode = Tokens.encode
    monkeypatch.setattr(Tokens, "encode", lambda self, texts: asked.append(len(texts)) or encode(self, texts))
    second = TokenSource(source_of(lengths), SPEC)
    assert asked == [4]
    assert second.rows.ids.tolist() == first.rows.ids.tolist()
    assert second.rows.starts.tolist() == first.rows.starts.tolist()


def test_what_is_no_text_is_refused(refuses):
    from tlx.errors import DataError

    with refuses(DataError, "expected a text"):
        tokenized(ColumnSource({"input": np.zeros((2, 3)), "target": [0, 1]}, ("a", "b")), SPEC)


def test_an_order_for_all_examples_at_hand_is_that_of_batches():
    spec, source = prepared([2] * 6)
    rows, _ = rows_of_epoch(source, Feed(2, shuffle=True, pad=True), 1)
    made = [batch["target"].tolist() for batch in batches(source, spec, Feed(2, shuffle=True, pad=True), epoch=1)]
    assert [[int(row) % 2 for row in each] for each in rows] == made
