"""The options of texts and of parts from files of their own: what is read, kept with the run and found again."""

import json

import numpy as np
import pytest

from tlx.cli.finetune import Finetune
from tlx.cli.options import parse
from tlx.data import labels_of
from tlx.data.spec import DataSpec
from tlx.records.description import differences

QUICK = ["--recipe", "probe", "--head-epochs", "2", "--batch-size", "8"]


def write_vectors(path, count, seed):
    vectors = np.random.default_rng(seed).normal(size=(count, 3))
    rows = "".join(f"{a},{b},{c},{'yes' if a > 0 else 'no'}\n" for a, b, c in vectors.tolist())
    path.write_text("a,b,c,label\n" + rows)
    return path


def test_columns_of_texts_are_named(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("".join(f"{row % 3},first {row} of all,second {row} of all,{row % 2}\n" for row in range(20)))
    arguments = ["--data", str(path), "--text", "3", "2", "--target", "4"]
    data = parse(Finetune, "tlx finetune", arguments).load_data(None)
    assert data.classes == ("0", "1")
    for row, label in enumerate(labels_of(data.train).tolist()):
        pair = data.train[row]["input"]
        assert pair["text"] == pair["pair"].replace("first", "second")
        assert int(pair["text"].split()[1]) % 2 == label


@pytest.mark.slow
def test_a_test_file_of_its_own_is_kept_with_the_run(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, count in (("train", 40), ("dev", 11), ("test", 13)):
        write_vectors(tmp_path / f"{name}.csv", count, count)
    others = ["--test-data", "test.csv", "--validation-data", "dev.csv"]
    called = call("finetune", "--data", "train.csv", *others, *QUICK, "--out", "run", "--json")
    assert called.code == 0, called.err
    result = called.json
    assert [result["data"][part] for part in ("train", "validation", "test")] == [40, 11, 13]
    described = json.loads((tmp_path / "run" / "run.json").read_text())
    assert described["data"]["test_data"] == str(tmp_path / "test.csv")
    run = tmp_path / "run"
    monkeypatch.chdir("/")  # all is found again from another directory
    again = call("evaluate", run, "--json").json
    assert (again["accuracy"], again["examples"]) == (result["test_accuracy"], 13)
    own = call("evaluate", run, "--data", tmp_path / "train.csv", "--json").json
    assert own["accuracy"] == again["accuracy"]
    assert call("evaluate", run, "--data", tmp_path / "dev.csv", "--json").json["examples"] < 11  # split as ever
    assert call("finetune", "--resume", "--out", run, "--json").json["test_accuracy"] == result["test_accuracy"]
    write_vectors(tmp_path / "test.csv", 13, 1)
    assert "the data are not those of the run any more" in call("evaluate", run).err


def test_a_run_of_an_older_version_differs_in_nothing():
    from dataclasses import asdict

    now = {"data": json.loads(json.dumps(asdict(DataSpec("a.csv"))))}
    older = {name: value for name, value in now["data"].items() if name not in ("text", "test_data", "validation_data")}
    assert differences({"data": older}, now) == {}
    assert differences({"data": older}, {"data": {**now["data"], "text": ["a"]}}) == {"data/text": "[] -> ['a']"}
