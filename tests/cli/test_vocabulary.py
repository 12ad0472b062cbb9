"""`tlx vocabulary`: the report, the base that it writes, the comparison, and what it refuses."""

import numpy as np
import pytest
from text_models import write_text_folder

import tlx
from tlx.tree.paths import flatten


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_text_folder(tmp_path_factory.mktemp("base") / "bert")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    draw = np.random.default_rng(0)
    words = {"good": ["films", "fine", "playing", "good"], "bad": ["dull", "cars", "not", "bad"]}
    path = tmp_path_factory.mktemp("data") / "texts.csv"
    rows = [
        f"{number} {' '.join(draw.choice(words[label], 6))},{label}"
        for number in range(40)
        for label in ("good", "bad")
    ]
    path.write_text("\n".join(["text,label", *rows]) + "\n")
    return path


def test_it_reports_how_texts_are_split(call, base, table):
    called = call("vocabulary", "--data", table, "--base", base, "--json")
    assert called.code == 0, called.err
    found = called.json
    assert found["before"]["texts"] == 80
    assert {"films", "playing", "cars"} <= {each["word"] for each in found["before"]["most_split"]}
    assert "after" not in found
    shown = call("vocabulary", "--data", table, "--base", base)
    for words in ("pieces a word", "words split", "most split words", "film ##s"):
        assert words in shown.out


def test_texts_a_line_need_no_labels(call, base, tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("good films\n\nbad films\n")
    found = call("vocabulary", "--data", path, "--base", base, "--json").json["before"]
    assert (found["texts"], found["words"], found["pieces"]) == (2, 4, 6)


def test_words_are_added_and_the_base_is_written(call, base, table, tmp_path):
    out = tmp_path / "adapted"
    options = ["--data", table, "--base", base, "--add", 3, "--out", out]
    called = call("vocabulary", *options, "--json")
    assert called.code == 0, called.err
    found = called.json
    assert sorted(found["words"]) == ["cars", "films", "playing"]
    assert (found["added"], found["in_unused_slots"], found["path"]) == (3, 1, str(out))
    assert found["rows"]["after"] == found["rows"]["before"] + 2
    assert found["chosen_on"] + found["before"]["texts"] == 80
    assert found["after"]["pieces"] < found["before"]["pieces"]
    assert found["after"]["words"] == found["before"]["words"]
    assert found["pieces_saved"] == 1 - found["after"]["pieces"] / found["before"]["pieces"]
    adapted = tlx.load(out)
    assert set(found["words"]) <= set(adapted.preprocess.tokenizer.vocabulary)
    again = call("vocabulary", "--data", table, "--base", out, "--json").json["before"]
    assert not {each["word"] for each in again["most_split"]} & set(found["words"])
    shown = call("vocabulary", *options[:-2], "--begin", "fresh")
    for words in ("before", "after", "3 words added, 1 in place of unused pieces", "rows 101 -> 103"):
        assert words in shown.out


def test_no_words_change_no_bit(call, base, table, tmp_path):
    out = tmp_path / "same"
    assert call("vocabulary", "--data", table, "--base", base, "--add", 0, "--out", out).code == 0
    old, new = (flatten(tlx.load(path).variables) for path in (base, out))
    assert old.keys() == new.keys()
    assert all(np.array_equal(old[path], new[path]) for path in old)


def test_fewer_words_than_asked_for_are_told_of(call, base, table):
    called = call("vocabulary", "--data", table, "--base", base, "--add", 500, "--json")
    assert f"only {called.json['added']} words" in called.err


def test_rows_begin_from_a_file_of_word_vectors(call, base, table, tmp_path):
    draw = np.random.default_rng(0)
    path = tmp_path / "vectors.txt"
    words = ["films", "good", "bad", "film", "play", "dull", "fine"]
    path.write_text("".join(f"{word} {' '.join(map(str, draw.normal(size=2).round(3)))}\n" for word in words))
    out = tmp_path / "adapted"
    options = ["--data", table, "--base", base, "--add", 1, "--least", 1, "--out", out]
    assert call("vocabulary", *options, "--begin", path).code == 0


@pytest.mark.slow
def test_probes_before_and_after_are_compared(call, base, table):
    options = ["--data", table, "--base", base, "--add", 3, "--compare", "--seeds", 3, "--max-length", 16]
    found = call("vocabulary", *options, "--json").json["comparison"]
    assert found["seeds"] == [0, 1, 2]
    assert found["metric"] == "accuracy"
    assert found["difference"] == pytest.approx(np.mean(np.subtract(found["after"], found["before"])))
    assert found["interval"][0] <= found["difference"] <= found["interval"][1]
    assert found["verdict"] in ("better", "worse", "no difference shown")
    shown = call("vocabulary", *options)
    assert "linear probes before and after" in shown.out
    assert f"{found['verdict']}: mean difference" in shown.out


@pytest.mark.parametrize(
    ("code", "options", "words"),
    [
        (2, ["--out", "adapted"], "--out: goes with --add"),
        (2, ["--compare"], "--compare: goes with --add"),
        (2, ["--add", -1], "not a number of words"),
        (2, ["--add", 3, "--compare", "--seeds", 1], "two or more"),
        (2, ["--add", 3, "--least", 0], "least: 0"),
        (2, ["--add", 3, "--begin", "median"], "--begin median"),
        (2, ["--add", 3, "--out", ""], "--out is empty"),
        (2, ["--max-length", 2], "max_length"),
        (2, ["--max-length", 41], "max_length 41"),
        (2, ["--base", "mlp-mnist"], "takes no texts"),
        (4, ["--data", "nowhere.csv"], "nowhere.csv"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(refused, base, table, code, options, words):
    given = dict(zip(options[::2], options[1::2], strict=False))
    more = [
        each for name, value in (("--data", table), ("--base", base)) if name not in given for each in (name, value)
    ]
    assert words in refused(code, "vocabulary", *more, *options)
