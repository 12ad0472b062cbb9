"""Vectors from the shell: a table of numbers is trained on, tested, predicted, probed and resumed."""

import numpy as np
import pytest
from PIL import Image

import tlx

RNG = np.random.default_rng(0)
VECTORS = RNG.normal(size=(150, 4)) * [1, 10, 1, 1] + [0, 100, 0, 0]
HEIGHTS = VECTORS @ [2.0, 0.5, 0.0, 1.0] + 30
QUICK = ["--head-epochs", 4, "--head-rate", 0.05]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("vectors") / "table.csv"
    header = "id,a,b,c,d,class,height"
    rows = [
        ",".join([str(i), *map(repr, row.tolist()), "yes" if row[0] > 0 else "no", repr(float(HEIGHTS[i]))])
        for i, row in enumerate(VECTORS)
    ]
    path.write_text("\n".join([header, *rows]))
    return path


@pytest.fixture
def run(call, table):
    out = table.parent / "run"
    if out.is_dir():
        return call("finetune", "--resume", "--out", out, "--json").json
    called = call("finetune", "--data", table, "--target", "height", *QUICK, "--out", out, "--json")
    assert called.code == 0, called.err
    assert "inputs are vectors of 4 numbers (a, b, c, ...)" in called.err
    return called.json


def test_a_head_alone_is_trained_on_a_table_and_tested_again(call, table, run):
    assert (run["base"], [phase["name"] for phase in run["phases"]], run["scratch"]) == ("vectors", ["head"], None)
    assert run["test"]["rmse"] < np.std(HEIGHTS)
    again = call("evaluate", table.parent / "run", "--json").json
    assert again["rmse"] == pytest.approx(run["test"]["rmse"], rel=1e-6)
    named = call("evaluate", table.parent / "run", "--data", table, "--json").json  # columns and split are the run's
    assert named["rmse"] == pytest.approx(run["test"]["rmse"], rel=1e-6)
    report = (table.parent / "run" / "report.html").read_text()
    assert "Number by number" in report


def test_new_rows_are_predicted_by_the_names_of_their_columns(call, table, run, tmp_path):
    (tmp_path / "new.csv").write_text("d,c,note,b,a\n0,0,x,100,0\n1,0,y,100,1\n")
    found = call("predict", table.parent / "run", tmp_path / "new.csv", "--json").json["predictions"]
    model = tlx.load(table.parent / "run")
    wanted = tlx.predict(model, np.array([[0, 100, 0, 0], [1, 100, 0, 1]])).predictions
    assert [each["numbers"]["height"] for each in found] == pytest.approx(wanted[:, 0].tolist(), rel=1e-6)
    assert found[1]["path"] == f"{tmp_path / 'new.csv'} line 3"
    np.savez(tmp_path / "new.npz", features=wanted.repeat(4, 1))
    assert len(call("predict", table.parent / "run", tmp_path / "new.npz", "--json").json["predictions"]) == 2
    assert call("predict", table.parent / "run", tmp_path / "new.csv").out.count("new.csv line") == 2


def test_an_image_is_no_table_of_vectors(table, run, refused, tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    assert "a.png: a PNG image, and the model takes vectors" in refused(
        4, "predict", table.parent / "run", tmp_path / "a.png"
    )


@pytest.mark.slow
def test_classes_by_default_and_a_finished_run_is_resumed_to_the_same(call, table):
    out = table.parent / "classes"
    begun = call("finetune", "--data", table, "--inputs", "[a-d]", "--hidden", 8, *QUICK, "--out", out, "--json")
    assert begun.json["test_accuracy"] > 0.8
    assert call("finetune", "--resume", "--out", out, "--json").json == begun.json
    assert "line " in (out / "report.html").read_text() or begun.json["test_accuracy"] == 1.0  # the mistakes by name


def test_it_is_probed(call, table):
    found = call("probe", "--data", table, "--target", "height", "--l2", 1e-6, 1e-3, "--json").json
    assert (found["base"], found["method"]) == ("vectors", "ridge")
    assert found["test_r2"] > 0.999
    assert "test rmse" in call("probe", "--data", table, "--target", "height", "--l2", 1e-6).out


@pytest.mark.slow
def test_features_that_were_embedded_are_trained_on(call, tmp_path):
    out = tmp_path / "digits.npz"
    assert call("embed", "mlp-mnist", "--data", "digits", "--labels-per-class", 8, "--out", out).code == 0
    found = call("probe", "--data", out, "--json").json
    direct = call("probe", "--base", "mlp-mnist", "--data", "digits", "--labels-per-class", 8, "--json").json
    assert found["data"]["train"] == direct["data"]["train"] == 80
    assert found["test_accuracy"] == pytest.approx(direct["test_accuracy"], abs=0.03)


def test_an_estimate_trains_nothing(call, table):
    found = call("finetune", "--data", table, "--target", "height", "--dry-run", "--json").json
    assert (found["fits"], [phase["name"] for phase in found["phases"]]) == (True, ["head"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--flip"], "augment: varies images, and the model takes none: leave it out"),
        (["--invert"], "--invert: is for images"),
        (["--base", "cnn-mnist"], "--base cnn-mnist: takes images, and the data are vectors: leave --base out"),
        (["--recipe", "gradual"], "vectors: its base has no parameters to train: say --recipe probe"),
        (["--inputs", "x"], "has no column 'x'; its columns are id, a, b, c, d, class, height"),
        (["--data", "digits", "--base", "vectors"], "--base vectors: the data are no vectors of numbers"),
        (["--mixup", 0.2], "mixup and CutMix take images"),
    ],
)
def test_what_does_not_go_with_vectors_is_one_line(refused, table, tmp_path, options, words):
    data = [] if "--data" in options else ["--data", table]
    code = 4 if "--inputs" in options else 2
    assert words in refused(code, "finetune", *data, *options, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()
