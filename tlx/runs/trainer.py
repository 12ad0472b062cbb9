"""Train and test one model in one run directory."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tlx.data import Data, Source
from tlx.devices import hosts
from tlx.models.registry import build_model
from tlx.objectives import Objective
from tlx.optim.memory import Memory
from tlx.optim.phases import Recipe
from tlx.presets.pretrained import Pretrained
from tlx.records.epoch import METRICS
from tlx.runs.directory import known_as
from tlx.runs.options import RunOptions
from tlx.stop import Stop
from tlx.training.checkpoint import Checkpoints
from tlx.training.evaluate import Evaluation, evaluated
from tlx.training.fitted import Fit
from tlx.training.log import Guarded, JsonLines, Log, TensorBoard, progress_log, truncate_lines
from tlx.training.loop import fit


@dataclass(frozen=True)
class Trainer:
    """Train and test one model in one run directory."""

    start: Pretrained
    data: Data
    options: RunOptions
    out: Path
    progress: bool
    logs: Sequence[Log]  # the user's
    stop: Stop

    def train(self, recipe: Recipe, name: str, folder: str) -> tuple[Fit, Evaluation]:
        """Train by a recipe, from the last checkpoint in `folder` on, and test; `name` stands in logs."""
        model, data, options = build_model(self.start.config), self.data, self.options
        run = f"{known_as(self.out)}/{folder}"
        checkpoints = Checkpoints(self.out / folder, options.checkpoint_every, run=run)
        snapshot = checkpoints.latest()
        done = sum(record["epochs"] for record in snapshot.records) + snapshot.epoch if snapshot else 0
        del snapshot  # as much as the model and its optimizer, on the device
        logs: list[Log] = []
        if hosts.is_first():
            truncate_lines(self.out / METRICS, name, done)
            logs = [JsonLines(self.out / METRICS, name), TensorBoard(self.out / "tensorboard" / name, done)]
            logs += [progress_log(name)] if self.progress else []
        with ExitStack() as stack:
            stack.callback(checkpoints.close)  # last, whatever the logs say
            for log in logs:
                stack.callback(log.close)
            trained = fit(
                model,
                self.start.variables,
                recipe,
                data,
                options,
                logs=[*logs, *(Guarded(log, name) for log in (self.logs if hosts.is_first() else ()))],
                checkpoints=checkpoints,
                stop=self.stop,
            )
            trained = replace(trained, memory=Memory())  # as much as the parameters, twice, on the device
        return trained, self._test(model, trained)

    def _test(self, model: Any, trained: Fit) -> Evaluation:
        """Evaluate on the test examples, once what validation chooses is chosen."""
        options, objective, data = self.options, trained.objective, self.data
        size, placement = options.batch_of(len(data.train)), options.parallel.placement()
        how = (size, options.workers, placement, self.stop)

        def over(source: Source, objective: Objective) -> Evaluation:
            return evaluated(model, trained.variables, source, trained.preprocess, objective, *how)

        if type(objective).tuned is not Objective.tuned and len(data.validation):
            validated = over(data.validation, objective)
            objective = objective.tuned(validated.predictions, validated.targets)
        return over(data.test, objective)
