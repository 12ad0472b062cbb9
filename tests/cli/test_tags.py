"""Words tagged from the shell: trained on, tested, predicted, reported, resumed; what is refused."""

import json
import random

import pytest
from text_models import write_text_folder

pytestmark = pytest.mark.slow
QUICK = ["--head-epochs", 10, "--base-epochs", 10, "--batch-size", 8, "--compare-scratch", "never"]
QUICK += ["--head-rate", 0.05, "--base-rate", 0.005]
OTHERS = ("a", "good", "film", "not", "very", "bad", "fine", "dull", "play")


def columns(count):
    """Draw sentences in which "the cafe" and "car" are the names; "cafe" alone is none."""
    draw = random.Random(count)
    blocks = []
    for _ in range(count):
        words = [[f"{word} O"] for word in draw.sample(OTHERS, 4)]
        names = draw.choices((["the B-PER", "cafe I-PER"], ["car B-LOC"], ["cafe O"]), k=2)
        blocks.append("\n".join(line for part in draw.sample([*words, *names], 6) for line in part))
    return "\n\n".join(blocks) + "\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tags")
    write_text_folder(folder / "tiny")
    (folder / "train.conll").write_text(f"-DOCSTART- O\n\n{columns(96)}")
    (folder / "test.txt").write_text(columns(24))
    (folder / "new.txt").write_text("the cafe\n\ncafe\n")
    return folder


@pytest.fixture
def run(call, folder):
    out = folder / "run"
    if not out.is_dir():
        data = ["--data", folder / "train.conll", "--test-data", folder / "test.txt", "--base", folder / "tiny"]
        called = call("finetune", *data, *QUICK, "--out", out, "--json")
        assert called.code == 0, called.err
        assert "entities in scheme IOB2, of 2 types: 'LOC', 'PER'" in called.err
    return out


def test_words_are_learned_tested_and_resumed(call, folder, run):
    result = json.loads((run / "result.json").read_text())
    assert {"f1", "precision", "recall", "accuracy", "loss"} == set(result["test"])
    assert result["test"]["f1"] > 0.8
    assert all("val_f1" in phase for phase in result["phases"])
    assert "monitor: null" in (run / "config.yaml").read_text()
    assert '"monitor": "val_f1"' in (run / "run.json").read_text()
    tested = call("evaluate", run, "--json").json
    assert tested["f1"] == result["test"]["f1"]
    assert [each["type"] for each in tested["entities"]] == ["LOC", "PER"]
    assert (tested["examples"], tested["texts"], tested["without_prediction"]) == (result["test_examples"], 24, 0)
    other = call("evaluate", run, "--data", folder / "test.txt", "--part", "train", "--json")
    assert other.code == 0, other.err
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert call("finetune", "--resume", "--out", run, "--json").json == result
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_predictions_are_columns_rows_or_objects(call, folder, run, monkeypatch):
    plain = call("predict", run, folder / "new.txt").out
    assert [line.split("\t")[0] for line in plain.split("\n")] == ["the", "cafe", "", "cafe", "", ""]
    again = call("predict", run, folder / "test.txt").out  # which may be read again as it was written
    words = [line.split()[0] if line else "" for line in (folder / "test.txt").read_text().split("\n")]
    assert [line.split("\t")[0] for line in again.split("\n")[: len(words)]] == words
    rows = call("predict", run, folder / "new.txt", "--format", "csv").out.splitlines()
    assert rows[0] == "path,number,word,tag,probability"
    assert len(rows) == 4
    found = call("predict", run, folder / "new.txt", "--json").json["predictions"]
    assert [each["text"] for each in found] == ["the cafe", "cafe"]
    assert found[0]["words"][0].keys() == {"word", "tag", "probability"}
    cut = call("predict", run, folder / "new.txt", "--format", "jsonl").out.splitlines()
    assert json.loads(cut[1]) == found[1]


def test_the_report_tells_of_words_and_entities(call, run):
    (run / "report.html").unlink()
    assert call("report", run).code == 0
    page = (run / "report.html").read_text()
    assert "Entity by entity" in page
    assert "test words of 24 texts" in page
    assert "F1 of entities" in page


def test_what_does_not_go_with_tags_is_refused_in_a_line(call, refused, folder):
    data = ["--data", folder / "train.conll", "--base", folder / "tiny"]
    assert "and these are 'tags'" in refused_line(call, 2, "probe", *data)
    assert "--focal goes with" in refused_line(call, 2, "finetune", *data, "--focal", 2, "--out", folder / "no")
    assert "pool='words'" in refused_line(call, 2, "finetune", *data, "--pool", "cls", "--out", folder / "no")
    assert "name a base for these" in refused_line(call, 2, "finetune", "--data", folder / "train.conll")
    assert call("finetune", *data, *QUICK, "--dry-run", "--json").json["fits"]


def refused_line(call, code, *arguments):
    called = call(*arguments)
    assert called.code == code, called
    return called.err.splitlines()[-1]
