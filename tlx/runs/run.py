"""A run: transfer a pretrained base to other data, measure it, and leave a directory that tells all of it."""

import html
import math
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import quote as quote_url

from tlx.data import Data, DataSpec, Feed, Source, batches, check_data, check_shapes, load_data
from tlx.data import fingerprint as data_fingerprint
from tlx.devices import Parallel, hosts
from tlx.errors import CheckpointError, ConfigError, StoppedError, StorageError, check_choice, check_flags
from tlx.files import home, write_json
from tlx.logs import JsonLines, Log, TensorBoard
from tlx.logs.guarded import Guarded
from tlx.logs.json_lines import truncate_lines
from tlx.logs.log import is_log
from tlx.logs.progress import progress_log
from tlx.models.registry import build_model
from tlx.objectives import Objective, Regression, as_objective
from tlx.optim.memory import Memory
from tlx.optim.phases import Phase, Recipe, check_phases, to_plain
from tlx.places import public_source
from tlx.presets.bundle import load_bundle, save
from tlx.presets.pretrained import Pretrained
from tlx.presets.sentinel import MOST_PICTURES, doubts
from tlx.progress import doing, lines
from tlx.recipes import HEAD, scratch
from tlx.recipes import finetune as finetuning
from tlx.runs.directory import (
    CHECKPOINTS,
    CONFIG,
    EVALUATION,
    EXPORT,
    METRICS,
    REPORT,
    RESULT,
    RUN,
    entered,
    identity_of,
    read_json,
)
from tlx.runs.interpret import write_evaluation
from tlx.runs.options import SMALL, RunOptions
from tlx.stop import Stop, never
from tlx.table import html_table
from tlx.training.callback import Callback, OfRun, asks, check_callbacks, names_of
from tlx.training.checkpoint import Checkpoints
from tlx.training.evaluate import Evaluation, evaluate, evaluated
from tlx.training.fitted import Fit
from tlx.training.history import History, read_history
from tlx.training.loop import fit
from tlx.training.options import TrainOptions, as_options
from tlx.training.phase_record import PhaseRecord
from tlx.training.prepare import make_task
from tlx.training.snapshot import memory_left
from tlx.tree.fingerprint import fingerprint
from tlx.tree.labels import label_tree
from tlx.tree.paths import flatten, quote
from tlx.tree.summary import summarize
from tlx.version import versions_of

Part = Literal["train", "validation", "test"]


@dataclass(frozen=True, repr=False)
class Run:
    """A finished run: its directory, and what it came to (`result.json`)."""

    path: Path
    result: Mapping[str, Any]

    def __repr__(self) -> str:
        scratch = "" if self.scratch_accuracy is None else f", from scratch {self.scratch_accuracy:.4f}"
        phases = ", ".join(phase["name"] for phase in self.result["phases"])
        test = {name: value for name, value in self.test.items() if name != "loss"} or self.test
        figures = ", ".join(f"{name} {value:.4f}" for name, value in test.items())
        return f"Run({str(self.path)!r}: test {figures}{scratch}; phases {phases})"

    def _repr_html_(self) -> str:
        columns = ("name", "epochs", "trainable", "frozen", "val_accuracy", "val_loss", "seconds")
        rows = [[phase.get(name) for name in columns] for phase in self.result["phases"]]
        report = self.path / REPORT
        link = f' <a href="{html.escape(quote_url(str(report)))}">report</a>' if report.is_file() else ""
        return f"<p>{html.escape(repr(self))}{link}</p>{html_table(columns, rows)}"

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """Open the directory of a finished run; raise `CheckpointError` for anything else."""
        return cls(home(path), read_json(home(path) / RESULT, "test_accuracy", "scratch_accuracy"))

    @property
    def history(self) -> History:
        """The record of each epoch of the transferred model (`metrics.jsonl`)."""
        return read_history(self.path / METRICS, "transfer")

    @property
    def scratch_history(self) -> History:
        """The record of each epoch of the model trained from scratch; empty if there was none."""
        return read_history(self.path / METRICS, "scratch")

    @property
    def test(self) -> Mapping[str, float]:
        """The metrics of the transferred model on the test examples, by name."""
        old = {"loss": self.result.get("test_loss"), "accuracy": self.result["test_accuracy"]}
        metrics: Mapping[str, float] = self.result.get("test") or old
        return metrics

    @property
    def test_accuracy(self) -> float:
        """The share of the test examples that the transferred model gets right; `test` has other metrics."""
        if self.result["test_accuracy"] is None:
            raise AttributeError(f"no accuracy: the run measured {', '.join(self.test)} (Run.test)")
        return float(self.result["test_accuracy"])

    @property
    def scratch_accuracy(self) -> float | None:
        """The same for the same model trained from scratch for as many epochs, or None if that was not asked for."""
        return self.result["scratch_accuracy"]

    def load(self) -> Pretrained:
        """Load the trained model."""
        return load_bundle(self.path / EXPORT)

    def load_fit(self) -> Fit:
        """Load the trained model as what `tlx.fit` returned, with its optimizer's state, to train on.

        Raise `CheckpointError` where the run's last checkpoint is gone or damaged.

        `more = tlx.fit(run.load_fit(), tlx.recipes.further(stages), data.train, data.validation)`
        """
        trained, folder = self.load(), self.path / CHECKPOINTS
        run = f"{identity_of(self.path)}/{CHECKPOINTS}"
        checkpoints = Checkpoints(folder, run=run) if folder.is_dir() else None
        snapshot = checkpoints.latest() if checkpoints else None
        if snapshot is None:
            raise CheckpointError(f"{folder}: holds no checkpoint, and so no state of the optimizer: train from load()")
        assert checkpoints is not None
        checkpoints.close()
        return Fit(
            variables=trained.variables,
            phases=tuple(map(PhaseRecord.from_dict, self.result["phases"])),
            history=History({key: record[key] for key in record if key != "run"} for record in self.history),
            memory=memory_left(snapshot),
            model=trained.model,
            preprocess=trained.preprocess,
            objective=trained.objective,
        )


@hosts.lost_hosts()
def finetune(
    base: Pretrained,
    data: Data,
    recipe: Recipe | None = None,
    options: RunOptions | TrainOptions | None = None,
    *,
    out: str | Path,
    resume: bool = False,
    progress: bool = False,
    callbacks: Sequence[Log | Callback] = (),
    stop: Stop = never,
) -> Run:
    """Give a base a new head for the data's classes, train it by a recipe, and test it.

    Processes that train together (`tlx.join_hosts`) all call it, with the same arguments and an `out` that all of them
    see; the first one writes what is written once. While it runs, no other process can write to `out`.

    Args:
        base: what to start from (`tlx.load`).
        data: what to train, validate and test on (`tlx.load_data`).
        recipe: the phases; None takes `tlx.recipes.finetune(base)`.
        options: what else to train by (`tlx.RunOptions`).
        out: the directory that takes everything: a description, metrics, checkpoints, test results, the trained model
            under `export/`.
        resume: whether an interrupted run goes on from its last checkpoint, to the same bits as if it had not been
            interrupted, and a finished one is returned as it is; what it was begun with (`run.json`) must be the same.
        progress: whether notes on the data, a bar a phase and lines about what takes long go to standard error.
        callbacks: logs, told of every phase, step and epoch (`tlx.Log`, `tlx.logs`), and callbacks, asked after each
            epoch whether its phase ends (`tlx.Callback`); the records name the `run`, 'transfer' or 'scratch'. A log
            that raises an exception is left out from there on, with a warning in Python's log `tlx`; what a callback
            raises ends the run, which can be resumed.
        stop: asked after every step; when it says so the run saves and ends (`tlx.StopOnSignals`).

    Returns:
        The finished run.

    Raises:
        ConfigError: where `out` is in use and `resume` is off, or something does not fit something else.
        CheckpointError: where a resumed run is not the same or all its checkpoints are damaged.
        DataError: for data that cannot be trained on.
        DivergedError, StorageError, StoppedError, LostHostError: as `tlx.fit`.

    >>> import tempfile, tlx
    >>> base, data = tlx.load("mlp-mnist"), tlx.load_data("digits", labels_per_class=2)
    >>> recipe = tlx.recipes.probe(base, epochs=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = finetune(base, data, recipe, tlx.RunOptions(compare_scratch=False), out=folder + "/run")
    >>> [(phase["name"], phase["trainable"], phase["frozen"]) for phase in run.result["phases"]]
    [('head', 50, 6316)]
    """
    check_flags(resume=resume, progress=progress)
    out = home(out)
    check_callbacks(callbacks)
    start, recipe, options = begin(base, data, recipe, as_options(options, RunOptions))
    make_task(start.model, start.variables, recipe, data, options)  # what does not fit is refused before all else
    placement = options.parallel.placement()
    doing("looking at the first batch")
    batch = _first_batch(data.train, start, options)
    notes = [*data.notes, *(doubts(start, batch) if options.check_inputs else ())]
    doing("fingerprinting the base and the data")
    description = _describe(base, start, data, recipe, options) | {"notes": notes}
    description["callbacks"] = names_of(callbacks)
    if placement.groups > 1:
        description["norms_over"] = placement.groups
    command = f"tlx finetune --config {shlex.quote(str(out / CONFIG))}" if options.config is not None else None
    description["command"] = command
    trainer = _Trainer(start, data, options, out, progress, callbacks, stop)
    hosts.check_alike(description)
    with ExitStack() as stack:
        if progress and hosts.is_first():
            stack.enter_context(lines())
        entering = (out, description, options.config, resume, options.allow)
        finished = hosts.of_first(lambda: stack.enter_context(entered(*entering)))
        _check_shared(out)
        return Run.open(out) if finished else _run(trainer, base, recipe, description)


def begin(
    base: Pretrained, data: Data, recipe: Recipe | None, options: RunOptions
) -> tuple[Pretrained, Recipe, RunOptions]:
    """Return what a run trains, by what recipe, and its options with nothing left open.

    Raise for what would stop the run before its first step, as far as that is known without decoding an example.
    """
    if not isinstance(base, Pretrained):
        raise ConfigError(f"base: {base!r:.80} is no tlx.Pretrained: give what tlx.load returns")
    if not isinstance(data, Data):
        raise ConfigError(f"data: {data!r:.80} is no tlx.Data: give what tlx.load_data returns")
    recipe = finetuning(base) if recipe is None else recipe
    check_phases(recipe)
    size = options.batch_of(len(data.train))
    check_data(data, size)
    spec = base.preprocess if options.preprocess is None else options.preprocess
    check_shapes(data, spec)
    objective = as_objective(options.objective, data.train)
    if options.keep_head and isinstance(objective, Regression) and isinstance(base.objective, Regression):
        # A kept head's outputs are in deviations of the targets that it was trained on, not of these.
        objective = (
            objective if objective.mean else replace(objective, mean=base.objective.mean, std=base.objective.std)
        )
    if options.keep_head:
        _check_head(base, data)
    head: dict[str, Any] = {"hidden": options.hidden, "pool": options.pool, "dropout": options.dropout}
    head["seed"] = options.seed
    start = base if options.keep_head else base.with_head(data.classes, **head, objective=objective)
    start = replace(start, preprocess=spec)
    small = bool(start.stages) and sum(math.prod(leaf.shape) for leaf in flatten(start.variables).values()) < SMALL
    alone = [phase.name for phase in recipe] != ["scratch"]
    compare = alone and (small if options.compare_scratch is None else options.compare_scratch)
    chosen: dict[str, Any] = {
        "batch_size": size,
        "preprocess": spec,
        "objective": objective,
        "compare_scratch": compare,
    }
    return start, tuple(recipe), replace(options, **chosen)


def _first_batch(train: Source, start: Pretrained, options: RunOptions) -> Any:
    """Return the inputs of the first batch, at most so many as the check of inputs wants."""
    feed = Feed(min(MOST_PICTURES, len(train)), options.seed, shuffle=True)
    return next(iter(batches(train, start.preprocess, feed)))["input"]


def _describe(base: Pretrained, start: Pretrained, data: Data, recipe: Recipe, options: RunOptions) -> dict[str, Any]:
    """Return what a run is begun with, as `run.json` holds it, and a resumed one must have."""
    augment = options.feed(1).augment
    return {
        "base": base.name,
        "base_sha256": fingerprint(base.variables),
        "classes": list(data.classes),
        "data": asdict(data.spec) if data.spec else None,
        "data_sha256": data_fingerprint(data),
        "sizes": {"train": len(data.train), "validation": len(data.validation), "test": len(data.test)},
        "skipped": list(data.skipped),
        "batch_size": options.batch_size,
        "seed": options.seed,
        "preprocess": start.preprocess.to_dict(),
        "model": start.config.to_dict(),
        "objective": start.objective.to_dict(),
        "augment": augment.to_dict() if augment else None,  # type: ignore[union-attr]
        "mix": asdict(options.mix) if options.mix else None,
        "balanced": options.balanced,
        "keep_head": options.keep_head,
        "cache": {"dtype": options.cache.dtype, "views": options.cache.views},
        "accumulate": options.accumulate,
        "ema": options.ema,
        "phases": [to_plain(phase) | {"stages": _stages(start, phase)} for phase in recipe],
        "compare_scratch": options.compare_scratch,
        "versions": versions_of("jax", "flax", "optax", "orbax-checkpoint"),
    }


def _check_shared(out: Path) -> None:
    """Raise `StorageError` in all processes where one does not see the run directory that the first one began."""
    if hosts.any_of(not (out / RUN).is_file()):
        raise StorageError(f"{out}: is not one directory for all processes: name one on a disk that all hosts share")


def _run(trainer: "_Trainer", base: Pretrained, recipe: Recipe, description: Mapping[str, Any]) -> Run:
    """Train, test, and write what it came to."""
    began, out, data, start = time.monotonic(), trainer.out, trainer.data, trainer.start
    if trainer.progress and hosts.is_first():
        for note in description["notes"]:
            print(f"tlx: {note}", file=sys.stderr)
    compares = trainer.options.compare_scratch
    try:
        transfer, scores = trainer.train(recipe, "transfer", CHECKPOINTS)
        baseline = trainer.train(same_budget(recipe), "scratch", "scratch") if compares else None
    except StoppedError as error:
        raise StoppedError(f"{out}: {error}, all is saved: go on with --resume --out {out}") from error
    result = {
        "test_accuracy": scores.metrics.get("accuracy"),
        "test_loss": scores.loss,
        "test": dict(scores.metrics),
        "test_examples": len(data.test),
        "scratch_accuracy": baseline[1].metrics.get("accuracy") if baseline else None,
        "seconds": round(time.monotonic() - began, 2),
        "run_dir": str(out),
        "base": base.name,
        "data": {
            "source": data.spec.source if data.spec else None,
            "classes": len(data.classes),
            **description["sizes"],
            "labels_per_class": data.spec.labels_per_class if data.spec else None,
        },
        "phases": [record.to_dict() for record in transfer.phases],
        "scratch": None,
    }
    if baseline:
        phases = [record.to_dict() for record in baseline[0].phases]
        result["scratch"] = {"phases": phases, "test": dict(baseline[1].metrics)}
    name = f"{base.name}-{out.name}"
    figures = ", ".join(f"{metric} {value:.4f}" for metric, value in scores.metrics.items() if metric != "loss")
    card = {
        "description": f"{base.name} transferred by the phases {', '.join(phase.name for phase in recipe)}",
        "data": _data_card(data),
        "accuracy": f"{figures.removeprefix('accuracy ')} on {len(data.test)} test examples",
        "base": f"{base.name}, {base.card.get('licence', 'licence unknown')}",
    }
    trained = replace(start, variables=transfer.variables, name=name, card=card, objective=scores.objective)
    hosts.of_first(lambda: _write(trainer, trained, scores, result))
    return Run(out, result)


def _data_card(data: Data) -> str:
    """Say in a line what was trained on, without the folders of the machine."""
    source = public_source(data.spec.source) if data.spec else "arrays in memory"
    few = f", at most {data.spec.labels_per_class} a class" if data.spec and data.spec.labels_per_class else ""
    sizes = f"{len(data.train)} examples to train on, {len(data.validation)} to validate and {len(data.test)} to test"
    return f"{source}: {len(data.classes)} classes, {sizes}{few}"


def _write(trainer: "_Trainer", trained: Pretrained, scores: Evaluation, result: Mapping[str, Any]) -> None:
    """Write the trained model, how it does, and last of all the result, which makes a run finished."""
    out = trainer.out
    doing("saving the model")
    if not (out / EXPORT).exists():
        save(trained, out / EXPORT)
    options = trainer.options
    how: dict[str, Any] = {"workers": options.workers, "interpret": options.interpret}
    write_evaluation(out / EVALUATION, scores, trainer.data.test, trained, **how)
    write_json(out / RESULT, result)


def _check_head(base: Pretrained, data: Data) -> None:
    """Raise `ConfigError` where training on these data cannot begin with the base's own head."""
    if base.classes != data.classes:
        own = f"knows {quote(base.classes, 5)}" if base.classes else "has none"
        raise ConfigError(
            f"keep_head: {base.name} {own}, and the data have the classes {quote(data.classes, 5)}: leave keep_head "
            "out, or probe the base on these data first"
        )


def same_budget(recipe: Recipe) -> Recipe:
    """Return the recipe that trains everything from fresh weights for as many epochs as `recipe`.

    It trains as the head does in the first phase, for all these epochs; where the recipe stops early, and so takes its
    best epoch, so does it.

    >>> from tlx.recipes import finetune
    >>> [(phase.name, phase.epochs) for phase in same_budget(finetune(["conv1"], head_epochs=5, base_epochs=10))]
    [('scratch', 15)]
    """
    group, last = recipe[0].groups.get("head", HEAD), recipe[-1]
    epochs = sum(phase.epochs for phase in recipe)
    patience = None if last.patience is None else epochs  # never exhausted
    return scratch((), epochs=epochs, group=group, patience=patience, monitor=last.monitor)


def _stages(start: Pretrained, phase: Phase) -> dict[str, dict[str, Any]]:
    """Say of each stage, from input to output, which label it has in a phase, and how many parameters."""
    found = summarize(start.variables, label_tree(start.variables["params"], phase.rules)).by_stage()
    return {name: found[name] for name in (*start.stages, "head")}


@dataclass(frozen=True)
class _Trainer:
    """Train and test one model in one run directory."""

    start: Pretrained
    data: Data
    options: RunOptions
    out: Path
    progress: bool
    callbacks: Sequence[Log | Callback]  # the user's
    stop: Stop

    def train(self, recipe: Recipe, name: str, folder: str) -> tuple[Fit, Evaluation]:
        model, data, options = build_model(self.start.config), self.data, self.options
        run = f"{identity_of(self.out)}/{folder}"
        checkpoints = Checkpoints(self.out / folder, options.checkpoint_every, run=run)
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
            trained = fit(
                model,
                self.start.variables,
                recipe,
                data,
                options,
                callbacks=[*logs, *self._of_user(name)],
                checkpoints=checkpoints,
                stop=self.stop,
            )
            trained = replace(trained, memory=Memory())  # as much as the parameters, twice, on the device
        return trained, self._test(model, trained)

    def _of_user(self, name: str) -> list[Log | Callback]:
        """Return the user's logs, told in the first process alone, and callbacks, for a run of this name."""
        logs: list[Any] = [each for each in self.callbacks if is_log(each) and hosts.is_first()]
        asked: list[Any] = [each for each in self.callbacks if asks(each)]
        return [*(Guarded(log, name) for log in logs), *(OfRun(each, name) for each in asked)]

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


def evaluate_run(
    path: str | Path, data: Data | None = None, *, part: Part = "test", workers: int | None = None
) -> Evaluation:
    """Test a finished run's model again, on a part of the run's own data or of `data`.

    On the run's own test examples, and as many devices, it repeats the test accuracy exactly. Raise `CheckpointError`
    where its data have changed, and `ConfigError` where they were arrays in memory.
    """
    check_choice("part", part, get_args(Part))
    path = home(path)
    trained, description = Run.open(path).load(), read_json(path / RUN, "data", "data_sha256", "batch_size")
    if data is None:
        if description["data"] is None:
            raise ConfigError(f"{path}: this run's data were arrays in memory: name data to evaluate on")
        doing("reading the data")
        data = load_data(**_spec(path, description), preprocess=trained.preprocess)
        if data_fingerprint(data) != description["data_sha256"]:
            raise CheckpointError(f"{path}: the data are not those of the run any more: name data to evaluate on")
    size, source = description["batch_size"], getattr(data, part)
    how: dict[str, Any] = {"workers": workers, "placement": Parallel().placement(), "batch_size": size}
    return evaluate(trained, source, **how)


def split_of(path: str | Path) -> dict[str, Any]:
    """Return how a run split its data: `seed`, `validation`, `test` and `target`, as `load_data` takes them."""
    path = home(path)
    description = read_json(path / RUN, "data", "seed")
    if description["data"] is None:
        return {"seed": description["seed"]}
    spec = _spec(path, description)
    return {name: spec[name] for name in ("seed", "validation", "test", "target")}


def _spec(path: Path, description: dict[str, Any]) -> dict[str, Any]:
    """Return the data that a run's description names, as `load_data` takes them."""
    try:
        return asdict(DataSpec(**description["data"]))
    except (TypeError, ConfigError) as error:
        raise CheckpointError(
            f"{path / RUN}: does not name data as tlx writes it ({error}): the run is damaged"
        ) from error
