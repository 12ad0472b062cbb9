"""From a table of numbers or of several labels to a run, its report, its test and its predictions, by commands."""

import csv
import io
import json

import numpy as np
import pytest
from PIL import Image

import tlx

QUICK = ("--base", "mlp-mnist", "--head-epochs", 2, "--base-epochs", 1, "--batch-size", 10)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Turn digits by angles; a table says the angles, and what kinds of digits they are."""
    folder, draw = tmp_path_factory.mktemp("table"), np.random.default_rng(0)
    digits = tlx.load_data("digits").test
    with open(folder / "turned.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "angle", "tags", "even", "small"])
        for number in range(60):
            image = Image.fromarray(np.asarray(digits[number]["input"]).astype(np.uint8)).resize((28, 28))
            angle, digit = draw.uniform(-60, 60), int(digits[number]["target"])
            image.rotate(angle).save(folder / f"{number}.png")
            tags = "|".join(name for name, is_so in (("even", digit % 2 == 0), ("small", digit < 5)) if is_so)
            rows.writerow([f"{number}.png", f"{angle:.1f}", tags, int(digit % 2 == 0), int(digit < 5)])
    return folder


@pytest.fixture(scope="module")
def regression(table, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "angle"
    data = tlx.load_data(table / "turned.csv", target="angle")
    base = tlx.load("mlp-mnist")
    tlx.finetune(base, data, tlx.recipes.probe(base, epochs=2), tlx.RunOptions(batch_size=10), out=out)
    return out


@pytest.mark.slow
def test_numbers_from_the_shell(call, table, tmp_path):
    out = tmp_path / "run"
    told = call("finetune", *QUICK, "--data", table / "turned.csv", "--target", "angle", "--out", out)
    assert told.code == 0, told.err
    assert "targets: numbers to predict: angle" in told.err
    assert "validation mae" in told.out
    assert "from scratch" in told.out
    result = json.loads((out / "result.json").read_text())
    assert set(result["test"]) == {"loss", "mae", "rmse", "r2"}
    page = (out / "report.html").read_text()
    assert "Number by number" in page
    assert "angle: predicted over true" in page
    assert "Class by class" not in page

    tested = call("evaluate", out, "--json").json
    assert tested["mae"] == pytest.approx(result["test"]["mae"])
    assert tested["outputs"][0]["mae"] == pytest.approx(result["test"]["mae"], rel=1e-5)
    elsewhere = call("evaluate", out, "--data", table / "turned.csv", "--json").json
    assert elsewhere == tested
    assert "angle" in call("evaluate", out).out


@pytest.mark.slow
def test_the_loss_of_numbers_is_chosen(call, table, tmp_path):
    options = ("--target", "angle", "--regression-loss", "huber", "--compare-scratch", "never")
    assert call("finetune", *QUICK, "--data", table / "turned.csv", *options, "--out", tmp_path / "run").code == 0
    described = json.loads((tmp_path / "run" / "run.json").read_text())
    assert described["objective"]["kind"] == "Regression"
    assert described["objective"]["loss"] == "huber"
    assert described["data"]["target"] == ["angle"]


@pytest.mark.slow
@pytest.mark.parametrize("target", [["tags"], ["even", "small"]], ids=str)
def test_several_labels_from_the_shell(call, table, tmp_path, target):
    out = tmp_path / "run"
    how = ("--compare-scratch", "never", "--monitor", "val_f1_micro")
    told = call("finetune", *QUICK, *how, "--data", table / "turned.csv", "--target", *target, "--out", out)
    assert told.code == 0, told.err
    assert "targets: 2 labels, any number of them an example: even, small" in told.err
    measured = {"loss", "exact_match", "mean_average_precision", "f1_micro", "f1_macro"}
    assert set(json.loads((out / "result.json").read_text())["test"]) == measured
    page = (out / "report.html").read_text()
    assert "Label by label" in page
    assert "threshold" in page
    tested = call("evaluate", out, "--json").json
    assert [each["name"] for each in tested["outputs"]] == ["even", "small"]
    assert tested["outputs"][0]["threshold"] == pytest.approx(tlx.load(out).objective.thresholds[0])

    found = call("predict", out, table / "1.png", "--json").json["predictions"][0]
    assert set(found) == {"path", "labels", "top"}
    thresholds = dict(zip(("even", "small"), tlx.load(out).objective.thresholds, strict=True))
    applies = {each["label"] for each in found["top"] if each["probability"] >= thresholds[each["label"]]}
    assert set(found["labels"]) == applies
    assert call("predict", out, table / "1.png").code == 0
    (row,) = csv.DictReader(io.StringIO(call("predict", out, table / "1.png", "--format", "csv").out))
    assert row["labels"] == "|".join(found["labels"])
    assert tlx.predict(tlx.load(out), table / "1.png").labels == (tuple(found["labels"]),)


@pytest.mark.slow
def test_numbers_are_predicted(call, regression, table):
    found = call("predict", regression, table / "1.png", table / "2.png", "--json").json["predictions"]
    assert [set(each) for each in found] == [{"path", "numbers"}] * 2
    said = tlx.predict(tlx.load(regression), [table / "1.png", table / "2.png"])
    for one, row in zip(found, said.predictions, strict=True):
        assert one["numbers"]["angle"] == pytest.approx(float(row[0]), rel=1e-5)
    assert "angle" in call("predict", regression, table / "1.png").out
    (row,) = csv.DictReader(io.StringIO(call("predict", regression, table / "1.png", "--format", "csv").out))
    assert float(row["angle"]) == pytest.approx(found[0]["numbers"]["angle"])
    assert "angle" in str(said)
    assert repr(said) == "Predictions(2 images: 'angle')"
    for name in ("labels", "probabilities"):
        with pytest.raises(AttributeError, match="the model predicts numbers"):
            getattr(said, name)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--target", "angle", "--label-smoothing", 0.1), "--label-smoothing goes with class or tags targets"),
        (("--target", "tags", "--class-weights", "balanced"), "--class-weights goes with class targets"),
        (("--target", "tags", "--regression-loss", "huber"), "--regression-loss goes with regression targets"),
        (("--target", "angle", "--monitor", "val_accuracy"), "monitor 'val_accuracy' is no metric of Regression"),
    ],
    ids=str,
)
def test_options_that_do_not_go_with_the_target_are_refused(refused, table, tmp_path, options, said):
    assert said in refused(2, "finetune", *QUICK, "--data", table / "turned.csv", *options, "--out", tmp_path / "run")


def test_a_column_that_is_not_there_is_named(refused, table, tmp_path):
    line = refused(4, "finetune", *QUICK, "--data", table / "turned.csv", "--target", "height", "--out", tmp_path / "x")
    assert "names no column height" in line


@pytest.mark.slow
def test_numbers_and_labels_are_probed(call, table):
    given = ("--base", "mlp-mnist", "--data", table / "turned.csv", "--l2", 0.1, "--json")
    numbers = call("probe", *given, "--target", "angle").json
    assert (numbers["method"], "test_rmse" in numbers, numbers["fits"][0]["l2"]) == ("ridge", True, 0.1)
    labels = call("probe", *given, "--target", "even", "small").json
    assert (labels["method"], "test_mean_average_precision" in labels) == ("lbfgs", True)


@pytest.mark.slow
def test_a_run_goes_on_with_its_targets(call, table, tmp_path, monkeypatch):
    out = tmp_path / "run"
    how = ("--data", table / "turned.csv", "--target", "even", "small", "--compare-scratch", "never")

    def interrupted(*given, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tlx.runs._finetune.write_evaluation", interrupted)
        assert call("finetune", *QUICK, *how, "--out", out).code == 130
    assert call("finetune", "--resume", "--out", out).code == 0
    assert json.loads((out / "run.json").read_text())["data"]["target"] == ["even", "small"]
