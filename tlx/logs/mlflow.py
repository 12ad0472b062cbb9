"""Epochs for MLflow."""

import re
import time
from typing import Any

from tlx.errors import ConfigError, check_flags
from tlx.logs.service import Service, imported


class MLflow(Service):
    """Log the figures and learning rates of each epoch to MLflow, with the epoch as the step.

    It begins its run with the first phase and ends it when closed, beside whatever run is active in MLflow's own
    functions. An epoch that is trained again after a resume is logged again, with the same figures: `run_name="..."`,
    `resume=True` let a resumed fit go on in the same run.

    Args:
        experiment: the name of the experiment, which is made where there is none.
        run_name: the name of the run; None lets MLflow make one up.
        resume: whether to go on with the experiment's last run of this name, if there is one.
        tracking_uri: where runs are kept, "sqlite:///mlflow.db", say; None goes by MLflow's own settings.

    Raises:
        ConfigError: where MLflow is not installed (the extra `mlflow`), or `resume` has no name to go by.

    >>> log = MLflow("flowers", tracking_uri="sqlite:///mlflow.db")  # doctest: +SKIP
    >>> run = tlx.finetune(base, data, out="runs/flowers", callbacks=[log])  # doctest: +SKIP
    """

    def __init__(
        self,
        experiment: str = "tlx",
        *,
        run_name: str | None = None,
        resume: bool = False,
        tracking_uri: str | None = None,
    ) -> None:
        self._mlflow = imported("mlflow", "MLflow")
        check_flags(resume=resume)
        if resume and run_name is None:
            raise ConfigError("resume: no run to go on with is named: give run_name, too")
        self.experiment, self.run_name, self.resume, self.tracking_uri = experiment, run_name, resume, tracking_uri

    def begin(self) -> Any:
        self._client = self._mlflow.MlflowClient(self.tracking_uri)
        found = self._client.get_experiment_by_name(self.experiment)
        number = self._client.create_experiment(self.experiment) if found is None else found.experiment_id
        if self.resume:
            quoted = str(self.run_name).replace("'", "\\'")
            for run in self._client.search_runs([number], f"attributes.run_name = '{quoted}'", max_results=1):
                self._client.update_run(run.info.run_id, status="RUNNING")
                return run
        return self._client.create_run(number, run_name=self.run_name)

    def send(self, scalars: dict[str, float], epoch: int, prefix: str) -> None:
        now, metric = int(time.time() * 1000), self._mlflow.entities.Metric
        names = {name: re.sub(r"[^\w. :/-]", "_", name, flags=re.ASCII) for name in scalars}  # all that MLflow takes
        metrics = [metric(names[name], value, now, epoch) for name, value in scalars.items()]
        self._client.log_batch(self.run.info.run_id, metrics)

    def end(self) -> None:
        self._client.set_terminated(self.run.info.run_id)
