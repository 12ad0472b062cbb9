"""Texts from the shell: trained on, tested, predicted, embedded, probed, resumed; base and data that do not suit."""

import json

import numpy as np
import pytest
from text_models import TINY, write_text_folder

import tlx
from tlx.analysis import read_run

GOOD, BAD = ("good", "fine", "very good", "a fine film"), ("bad", "dull", "not good", "a dull play")
TEXTS = [(f"{a} {b}", label) for label, own in ((1, GOOD), (0, BAD)) for a in ("the film,", "the play,") for b in own]
ROWS = [(f"{text}{mark * count}", label) for text, label in TEXTS for mark in ".!" for count in (1, 2, 3)]
QUICK = ["--head-epochs", 3, "--base-epochs", 2, "--batch-size", 8, "--patience", "None", "--compare-scratch", "never"]
VECTORS = "good 1 0 0.5\nbad -1 0 0.5\nfine 0.9 0.1 0\ndull -0.8 0 0.1\nfilm 0 1 0\nplay 0 0.9 0.1\nnot 0 0 -1\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny model, a training and a test file of labels and texts, without names of columns."""
    folder = tmp_path_factory.mktemp("texts")
    write_text_folder(folder / "tiny", TINY | {"num_hidden_layers": 1})
    lines = [f"{label}\t{text}\n" for text, label in ROWS]
    (folder / "train.tsv").write_text("".join(lines[::2]))
    (folder / "test.tsv").write_text("".join(lines[1::2]))
    (folder / "vectors.txt").write_text(VECTORS)
    (folder / "vectors.csv").write_text("a,b,label\n" + "1.5,2,x\n2,3.5,y\n" * 9)
    (folder / "new.txt").write_text("A good film!\n\nA dull play.\n")
    return folder


@pytest.fixture
def run(call, folder):
    out = folder / "run"
    if out.is_dir():
        return call("finetune", "--resume", "--out", out, "--json").json
    data = ["--data", folder / "train.tsv", "--test-data", folder / "test.tsv", "--base", folder / "tiny"]
    called = call("finetune", *data, *QUICK, "--head-rate", 0.05, "--out", out, "--json")
    assert called.code == 0, called.err
    assert "no header; the text is column 2, the target column 1" in called.err
    assert "pieces on average" in called.err
    return called.json


@pytest.mark.slow
def test_a_text_model_is_trained_and_tested_again(call, folder, run):
    assert (run["data"]["test"], [phase["name"] for phase in run["phases"]]) == (48, ["head", "all"])
    frozen = run["phases"][0]
    assert frozen["frozen_sha256_before"] == frozen["frozen_sha256_after"] is not None
    again = call("evaluate", folder / "run", "--json").json
    assert again["accuracy"] == run["test_accuracy"]
    named = call("evaluate", folder / "run", "--data", folder / "test.tsv", "--part", "train", "--json")
    assert named.code == 0, named.err


@pytest.mark.slow
def test_the_report_shows_the_lengths_of_the_texts(call, folder, run):
    (folder / "run" / "report.html").unlink()
    assert call("report", folder / "run").code == 0
    page = (folder / "run" / "report.html").read_text()
    assert "How long the texts are" in page
    assert "tlx predict run new.txt" in page
    held = read_run(folder / "run").texts
    assert {name: part.counts.texts for name, part in held.parts.items()} == {
        "training": run["data"]["train"],
        "test": 48,
    }
    assert len(held.mistakes) == 48 - round(48 * run["test_accuracy"])


@pytest.mark.slow
def test_texts_are_varied_as_they_are_trained_on(call, folder):
    data = ["--data", folder / "train.tsv", "--test-data", folder / "test.tsv", "--base", folder / "tiny"]
    varied = ["--word-dropout", 0.2, "--mask-pieces", 0.15, "--cache-views", 2]
    called = call("finetune", *data, *QUICK, *varied, "--out", folder / "varied", "--json")
    assert called.code == 0, called.err
    said = json.loads((folder / "varied" / "run.json").read_text())["augment"]
    assert said == {"kind": "text", "word_dropout": 0.2, "mask_pieces": 0.15}
    plain = call("finetune", *data, *QUICK, "--out", folder / "unvaried", "--json")
    losses = [each.json["phases"][0]["val_loss"] for each in (called, plain)]
    assert losses[0] != losses[1]


@pytest.mark.slow
def test_new_texts_are_predicted_from_files_and_from_standard_input(call, folder, run, monkeypatch):
    found = call("predict", folder / "run", folder / "new.txt", "--json").json["predictions"]
    assert [each["text"] for each in found] == ["A good film!", "A dull play."]
    assert found[1]["path"] == f"{folder / 'new.txt'} line 3"
    model = tlx.load(folder / "run")
    wanted = tlx.predict(model, ["A good film!", "A dull play."])
    assert [each["top"][0]["label"] for each in found] == list(wanted.labels)
    np.testing.assert_allclose([each["top"][0]["probability"] for each in found], wanted.predictions.max(1), rtol=1e-5)
    import io
    import sys

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((folder / "new.txt").read_bytes())))
    assert call("predict", folder / "run", "-", "--json").json["predictions"][0]["top"] == found[0]["top"]
    unbroken = io.TextIOWrapper(io.BytesIO("a\u2028good\x85film\r\nbad\n".encode()))
    monkeypatch.setattr(sys, "stdin", unbroken)
    lines = call("predict", folder / "run", "-", "--json").json["predictions"]
    assert [each["text"] for each in lines] == ["a\u2028good\x85film", "bad"]
    lines = call("predict", folder / "run", folder / "new.txt", "--format", "jsonl").out.splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["A good film!", "A dull play."]
    assert "A dull play." in call("predict", folder / "run", folder / "new.txt").out


def test_texts_are_embedded_as_the_model_pools_them(call, folder, tmp_path):
    done = call("embed", "--base", folder / "tiny", folder / "new.txt", "--out", tmp_path / "a.npz", "--json")
    assert done.json["pool"] == "pooler"
    mean = call(
        "embed", folder / "tiny", folder / "new.txt", "--pool", "average", "--out", tmp_path / "b.npz", "--json"
    )
    assert mean.json["features"] == 12
    labelled = ["--data", folder / "train.tsv", "--part", "train", "--stage", "layer0", "--out", tmp_path / "c.npz"]
    called = call("embed", folder / "tiny", *labelled, "--json")
    assert called.code == 0, called.err
    with np.load(tmp_path / "c.npz") as held:
        assert held["features"].shape == (called.json["parts"]["train"], 12)


@pytest.mark.slow
def test_what_is_too_long_is_said(call, folder, tmp_path, caplog):
    (tmp_path / "long.txt").write_text("good film " * 40 + "\nbad\n")
    call("embed", folder / "tiny", tmp_path / "long.txt", "--out", tmp_path / "a.npz")
    assert "1 of 2 texts (50.0%) are longer than 40 pieces" in caplog.text
    data = ["--data", folder / "train.tsv", "--base", folder / "tiny", "--max-length", 5]
    refused = call("probe", *data, "--long", "error")
    assert refused.code == 4
    assert "longer than 5 pieces" in refused.err
    cut = call("probe", *data, "--long", "head+tail", "--l2", "1", "--json")
    assert cut.code == 0, cut.err
    assert "are left out (head+tail)" in cut.err


@pytest.mark.slow
def test_a_model_is_trained_on_windows_of_texts_that_are_longer_than_it_has_positions(call, folder, tmp_path):
    rows = [f"{label}\t{f'{text} ' * (1 + 30 * (number % 2))}\n" for number, (text, label) in enumerate(TEXTS * 3)]
    (tmp_path / "long.tsv").write_text("".join(rows))
    data = ["--data", tmp_path / "long.tsv", "--base", folder / "tiny", "--long", "windows"]
    called = call("finetune", *data, *QUICK, "--out", tmp_path / "run", "--json")
    assert called.code == 0, called.err
    assert "long texts are cut into windows of 40 pieces" in called.err
    assert call("evaluate", tmp_path / "run", "--json").json["accuracy"] == called.json["test_accuracy"]


def test_heads_are_solved_on_texts(call, folder):
    data = ["--data", folder / "train.tsv", "--test-data", folder / "test.tsv", "--base", folder / "tiny"]
    found = call("probe", *data, "--json").json
    assert found["test_accuracy"] > 0.6
    assert found["data"]["test"] == 48


def test_a_file_of_word_vectors_is_a_base(call, folder, tmp_path):
    data = ["--data", folder / "train.tsv", "--test-data", folder / "test.tsv", "--base", "glove"]
    weights = ["--weights", folder / "vectors.txt"]
    called = call("finetune", *data, *weights, *QUICK, "--head-rate", 0.05, "--out", tmp_path / "run", "--json")
    assert called.code == 0, called.err
    assert "are unknown to the vocabulary" in called.err
    assert called.json["test_accuracy"] > 0.7
    (tmp_path / "more.txt").write_text("superb film\n")
    (tmp_path / "more.vec").write_text(VECTORS + "superb 1.5 0 0.5\n")
    plain = call("predict", tmp_path / "run", tmp_path / "more.txt", "--json").json["predictions"]
    more = call("predict", tmp_path / "run", tmp_path / "more.txt", "--weights", tmp_path / "more.vec", "--json")
    assert more.code == 0, more.err
    assert more.json["predictions"][0]["top"] != plain[0]["top"]
    assert call("finetune", *data).code == 2


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--data", "train.tsv"], 2, ["the data are texts", "hf/all-MiniLM-L6-v2"]),
        (["--data", "train.tsv", "--base", "cnn-mnist"], 2, ["cnn-mnist", "no texts"]),
        (["--data", "digits", "--base", "tiny"], 2, ["takes texts", "no texts"]),
        (["--data", "train.tsv", "--base", "tiny", "--text", "3"], 4, ["no column '3'"]),
        (["--data", "train.tsv", "--base", "tiny", "--margin", "2"], 2, ["--margin", "images"]),
        (["--data", "digits", "--max-length", "8"], 2, ["--max-length", "texts"]),
        (["--data", "digits", "--word-dropout", "0.1"], 2, ["varies texts", "takes none"]),
        (["--data", "vectors.csv", "--base", "vectors", "--mask-pieces", "0.1"], 2, ["varies texts", "takes none"]),
        (["--data", "train.tsv", "--base", "tiny", "--word-dropout", "1.5"], 2, ["word_dropout 1.5", "of 0 to 1"]),
        (["--data", "train.tsv", "--base", "tiny", "--max-length", "99"], 2, ["max_length 99", "40"]),
        (["--data", "train.tsv", "--base", "tiny", "--test-data", "nothing.tsv"], 4, ["nothing.tsv"]),
    ],
)
def test_what_does_not_suit_is_refused_in_a_line(call, folder, monkeypatch, arguments, code, words):
    monkeypatch.chdir(folder)
    called = call("finetune", *arguments)
    assert called.code == code, called.err
    last = called.err.strip().splitlines()[-1]
    assert [word for word in words if word not in last] == [], last


@pytest.mark.slow
def test_the_report_of_a_dry_run_counts_every_length(call, folder):
    data = ["--data", folder / "train.tsv", "--base", folder / "tiny"]
    found = call("finetune", *data, *QUICK, "--dry-run", "--json")
    assert found.code == 0, found.err
    assert found.json["fits"] is True


def test_the_model_is_inspected(call, folder):
    called = call("inspect", folder / "tiny", "--json")
    assert called.code == 0, called.err
    assert called.json["total"] > 1000
    assert "embeddings.word_embeddings.weight" in [leaf["path"] for leaf in called.json["leaves"]]
    assert [each["arch"] for each in called.json["looks_like"]] == ["hf/bert"]
    assert "looks like hf/bert" in call("inspect", folder / "tiny").out
