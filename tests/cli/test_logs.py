"""`tlx finetune --log`: epochs go to a table and to services, which a resume finds again."""

import csv
import sys

import pytest

from tlx.logs import JsonLines

TINY = ("--recipe", "probe", "--head-epochs", 2, "--labels-per-class", 4, "--compare-scratch", "never")


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return [(row["run"], row["phase"], row["epoch"]) for row in csv.DictReader(file)]


@pytest.mark.slow
def test_a_table_lies_in_the_run_and_a_resume_goes_on_with_it(call, tmp_path, monkeypatch):
    out, own = tmp_path / "run", JsonLines.epoch

    def killed(self, record):
        if record["epoch"] == 2:
            raise KeyboardInterrupt
        own(self, record)

    with monkeypatch.context() as patch:
        patch.setattr(JsonLines, "epoch", killed)
        call("finetune", *TINY, "--out", out, "--log", "csv")
    assert not (out / "result.json").exists()
    assert rows(out / "metrics.csv") == [("transfer", "head", "1")]
    assert call("finetune", "--resume", "--out", out, "--json").json["phases"][0]["epochs"] == 2
    assert rows(out / "metrics.csv") == [("transfer", "head", "1"), ("transfer", "head", "2")]


def test_a_service_that_is_not_installed_is_told_before_anything_is_read_or_written(refused, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    said = refused(
        2, "finetune", *TINY, "--data", tmp_path / "gone", "--out", tmp_path / "run", "--log", "csv", "wandb"
    )
    assert said.rstrip().endswith("pip install 'tlx-jax[wandb]'")
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("default")
def test_mlflow_is_told_of_a_run_by_its_name_and_identity(call, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", exc_type=ImportError)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    for out in (tmp_path / "run", tmp_path / "again" / "run"):
        assert call("finetune", *TINY, "--out", out, "--log", "mlflow", "--json").json["phases"][0]["epochs"] == 2
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("tlx").experiment_id])  # two that are alike are one
    assert run.info.run_name.startswith("run-")
    history = client.get_metric_history(run.info.run_id, "transfer/loss")
    assert [each.step for each in history] == [1, 2, 1, 2]
    assert {each.value for each in history[:2]} == {each.value for each in history[2:]}
