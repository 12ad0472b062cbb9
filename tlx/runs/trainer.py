"""Train and test one model in one run directory."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from tlx.data import Data, Source
from tlx.devices import hosts
from tlx.logs import JsonLines, Log, TensorBoard
from tlx.logs.guarded import Guarded
from tlx.logs.json_lines import truncate_lines
from tlx.logs.log import is_log
from tlx.logs.progress import progress_log
from tlx.objectives import Objective
from tlx.optim.memory import Memory
from tlx.presets.pretrained import Pretrained
from tlx.records.epoch import METRICS
from tlx.runs.directory import known_as
from tlx.runs.options import RunOptions
from tlx.stop import Stop
from tlx.training.callback import Callback, OfRun, asks
from tlx.training.checkpoint import Checkpoints
from tlx.training.evaluate import Evaluation, Watch, evaluated_together
from tlx.training.fitted import Fit
from tlx.training.loop import fit_task
from tlx.training.task import Task
from tlx.tree import to_jax_types


@dataclass(frozen=True)
class Trainer:
    """Train and test one model in one run directory."""

    start: Pretrained
    data: Data
    options: RunOptions
    out: Path
    progress: bool
    callbacks: Sequence[Log | Callback]  # the user's
    stop: Stop

    def train(self, task: Task, name: str, folder: str) -> Fit:
        """Train, from the last checkpoint in `folder` on; `name` stands in logs."""
        run = f"{known_as(self.out)}/{folder}"
        checkpoints = Checkpoints(self.out / folder, self.options.checkpoint_every, run=run)
        snapshot = checkpoints.latest()
        done = sum(record["epochs"] for record in snapshot.records) + snapshot.epoch if snapshot else 0
        del snapshot  # as much as the model and its optimizer, on the device
        logs: list[Log] = []
        if hosts.is_first():
            truncate_lines(self.out / METRICS, name, done)
            logs = [JsonLines(self.out / METRICS, name), TensorBoard(self.out / "tensorboard" / name)]
            logs += [progress_log(name)] if self.progress else []
        with ExitStack() as stack:
            stack.callback(checkpoints.close)  # last, whatever the logs say
            for log in logs:
                stack.callback(log.close)
            told = [Guarded(each, name) for each in self.callbacks if is_log(each) and hosts.is_first()]
            asked = [OfRun(each, name) for each in self.callbacks if asks(each)]
            task = replace(task, logs=(*logs, *told), callbacks=asked)
            trained = fit_task(task, self.start.model, to_jax_types(self.start.variables), checkpoints=checkpoints)
        return replace(trained, memory=Memory())  # as much as the parameters, twice, on the device

    def test(self, fits: Sequence[Fit], watch: Watch | None) -> list[Evaluation]:
        """Evaluate on the test examples, once what validation chooses is chosen: all in one pass, `watch` the first."""
        options, data = self.options, self.data
        size, placement = options.batch_of(len(data.train), fits[0].preprocess), options.devices.placement()

        def over(source: Source, objectives: Sequence[Objective], watch: Watch | None = None) -> list[Evaluation]:
            trained = [(each.variables, objective) for each, objective in zip(fits, objectives, strict=True)]
            pieces = (self.start.model, trained, source, fits[0].preprocess)
            return evaluated_together(*pieces, size, options.workers, placement, self.stop, watch=watch)

        objectives = [each.objective for each in fits]
        if any(type(each).tuned is not Objective.tuned for each in objectives) and len(data.validation):
            validated = over(data.validation, objectives)
            pairs = zip(objectives, validated, strict=True)
            objectives = [each.tuned(found.predictions, found.targets) for each, found in pairs]
        return over(data.test, objectives, watch)
