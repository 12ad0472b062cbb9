"""A run: transfer a pretrained base to other data, measure it, and leave a directory that tells all of it."""

import html
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import quote as quote_url

from tlx.data import Data, DataSpec, Feed, Source, batches, check_data, check_shapes, load_data
from tlx.data import fingerprint as data_fingerprint
from tlx.devices import hosts
from tlx.devices.parallel import Parallel
from tlx.errors import CheckpointError, ConfigError, StoppedError, StorageError, check_choice, check_flags
from tlx.files import home, write_json
from tlx.images import Augment, Preprocess
from tlx.images.augment_function import as_augment
from tlx.models.head import Pool
from tlx.models.registry import build_model
from tlx.optim.memory import Memory
from tlx.optim.phases import Phase, Recipe, check_phases, to_plain
from tlx.places import public_source
from tlx.presets.bundle import load_bundle, save
from tlx.presets.pretrained import Pretrained
from tlx.presets.sentinel import MOST_PICTURES, check_inputs
from tlx.progress import doing, lines
from tlx.recipes import HEAD, scratch
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
from tlx.stop import Stop, never
from tlx.table import html_table
from tlx.training.cache import Cache
from tlx.training.checkpoint import Checkpoints
from tlx.training.evaluate import Evaluation, evaluate
from tlx.training.fitted import Fit
from tlx.training.history import History, read_history
from tlx.training.log import Guarded, JsonLines, Log, TensorBoard, check_logs, progress_log, truncate_lines
from tlx.training.loop import check_economy, check_recipe, fit
from tlx.training.loss import Loss
from tlx.training.loss_function import as_loss
from tlx.training.mix import Mix
from tlx.training.phase import PhaseRecord
from tlx.training.snapshot import memory_left
from tlx.tree.fingerprint import fingerprint
from tlx.tree.labels import label_tree
from tlx.tree.paths import quote
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
        return f"Run({str(self.path)!r}: test accuracy {self.test_accuracy:.4f}{scratch}; phases {phases})"

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
    def test_accuracy(self) -> float:
        """The share of the test examples that the transferred model gets right."""
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
            phases=tuple(PhaseRecord(**record) for record in self.result["phases"]),
            history=History({key: record[key] for key in record if key != "run"} for record in self.history),
            memory=memory_left(snapshot),
            model=trained.model,
            preprocess=trained.preprocess,
        )


def default_batch_size(examples: int, accumulate: int = 1, largest: int = 32) -> int:
    """Return `largest`, or as many as there are examples where these are fewer, so that `accumulate` divides it.

    >>> default_batch_size(1000), default_batch_size(10), default_batch_size(10, accumulate=4)
    (32, 10, 8)
    """
    parts = max(accumulate, 1) if isinstance(accumulate, int) else 1  # `check_economy` refuses what it cannot be
    size = -(-largest // parts) * parts
    return size if size <= examples else max(examples // parts * parts, parts)


@hosts.lost_hosts()
def finetune(
    base: Pretrained,
    data: Data,
    recipe: Recipe,
    *,
    out: str | Path,
    hidden: tuple[int, ...] = (),
    pool: Pool | None = None,
    dropout: float = 0.0,
    keep_head: bool = False,
    preprocess: Preprocess | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    loss: Loss | Callable[..., Any] | None = None,
    augment: Augment | Callable[..., Any] | None = None,
    mix: Mix | None = None,
    balanced: bool = False,
    workers: int | None = None,
    cache: Cache | None = None,
    accumulate: int = 1,
    remat: bool = False,
    ema: float | None = None,
    parallel: Parallel | None = None,
    compare_scratch: bool = True,
    resume: bool = False,
    allow: Sequence[str] = (),
    checkpoint_every: float | None = None,
    progress: bool = False,
    logs: Sequence[Log] = (),
    config: Mapping[str, Any] | None = None,
    stop: Stop = never,
) -> Run:
    """Give a base a new head for the data's classes, train it by a recipe, and test it.

    `hidden`, `pool` and `dropout` shape the head (`tlx.models.Head`); with `keep_head` training begins with the base's
    own one, which must know the data's classes in their order, as after `tlx.linear_probe`. `preprocess` replaces the
    base's own; `batch_size` is 32 by default, or all the training examples where they are fewer; `augment`, `mix`,
    `balanced` and `workers` say how training pictures are fed, `accumulate` and `remat` spare memory, `ema` averages
    the weights (`tlx.fit`), and `cache` says whether and where the activations of frozen
    stages are kept (`tlx.Cache`), and `parallel` on which devices it trains (`tlx.Parallel`). With `compare_scratch`
    the same model is trained from fresh weights for as many epochs and tested beside. The directory `out` takes
    everything: a description, metrics, checkpoints, test results, the trained model under `export/`, and `config`, if
    given, as `config.yaml`. With `progress`, notes on the data, a bar a phase and lines about what takes long go to
    standard error. Each of `logs` (`tlx.Log`) is told of every phase, step and epoch, whose records name the `run`,
    'transfer' or 'scratch'; one that raises an exception is left out from there on, with a warning in the log `tlx`,
    and the run goes on. With `resume`, an interrupted run goes on from its last checkpoint, to the same bits as if it
    had not been interrupted, and a finished one is returned as it is; what it was begun with (`run.json`) must be the
    same, except for what `allow` names: "data_sha256", or "phases" for all about them. Once `stop` says so the run
    saves and ends (`tlx.StopOnSignals`); else it saves every `checkpoint_every` seconds (`Checkpoints`). While it runs,
    no other process can write to `out`. Processes that train together (`tlx.join_hosts`) all call it, with the same
    arguments and an `out` that all of them see; the first one writes what is written once.

    Raise `ConfigError` where `out` is in use and `resume` is off, `CheckpointError` where a resumed run is not the
    same or all its checkpoints are damaged, `DataError` for data that cannot be trained on, `DivergedError`,
    `StorageError`, `StoppedError`, and `LostHostError` where another process is gone.

    >>> import tempfile, tlx
    >>> base, data = tlx.load("mlp-mnist"), tlx.load_data("digits", labels_per_class=2)
    >>> recipe = tlx.recipes.probe(base.stages, epochs=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = finetune(base, data, recipe, out=folder + "/run", batch_size=8, compare_scratch=False)
    >>> [(phase["name"], phase["trainable"], phase["frozen"]) for phase in run.result["phases"]]
    [('head', 50, 6316)]
    """
    if not isinstance(base, Pretrained):
        raise ConfigError(f"base: {base!r:.80} is no tlx.Pretrained: give what tlx.load returns")
    if not isinstance(data, Data):
        raise ConfigError(f"data: {data!r:.80} is no tlx.Data: give what tlx.load_data returns")
    check_flags(keep_head=keep_head, balanced=balanced, remat=remat, compare_scratch=compare_scratch)
    check_flags(resume=resume, progress=progress)
    check_phases(recipe)
    out, loss, augment = home(out), as_loss(loss), as_augment(augment) or None
    mix, cache = mix or None, cache or Cache()
    placement = (parallel or Parallel()).placement()
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 1 << 32:
        raise ConfigError(f"seed must be at least 0 and under 2**32, not {seed!r}")
    if isinstance(allow, str):
        raise ConfigError(f"allow: {allow!r} is one string; write ({allow!r},)")
    batch_size = default_batch_size(len(data.train), accumulate) if batch_size is None else batch_size
    check_data(data, batch_size)
    check_shapes(data, preprocess or base.preprocess)
    check_economy(batch_size, accumulate, ema)
    check_logs(logs)
    loss.check(len(data.classes))
    if keep_head:
        _check_head(base, data, hidden or pool or dropout)
    start = base if keep_head else base.with_head(data.classes, hidden=hidden, pool=pool, dropout=dropout, seed=seed)
    start = replace(start, preprocess=preprocess or base.preprocess)
    check_recipe(recipe, start.variables, data.train, data.validation, batch_size)
    doing("looking at the first batch")
    if augment:
        augment.check(start.preprocess)
    notes = [*data.notes, *_doubts(start, data.train, seed)]
    doing("fingerprinting the base and the data")
    description = {
        "base": base.name,
        "base_sha256": fingerprint(base.variables),
        "classes": list(data.classes),
        "data": asdict(data.spec) if data.spec else None,
        "data_sha256": data_fingerprint(data),
        "sizes": {"train": len(data.train), "validation": len(data.validation), "test": len(data.test)},
        "notes": notes,
        "skipped": list(data.skipped),
        "batch_size": batch_size,
        "seed": seed,
        "preprocess": start.preprocess.to_dict(),
        "model": start.config.to_dict(),
        "loss": to_plain(loss),
        "augment": augment.to_dict() if augment else None,
        "mix": asdict(mix) if mix else None,
        "balanced": balanced,
        "keep_head": keep_head,
        "cache": {"dtype": cache.dtype, "views": cache.views},
        "accumulate": accumulate,
        "ema": ema,
        "phases": [to_plain(phase) | {"stages": _stages(start, phase)} for phase in recipe],
        "compare_scratch": compare_scratch,
        "versions": versions_of("jax", "flax", "optax", "orbax-checkpoint"),
    }
    if placement.groups > 1:
        description["norms_over"] = placement.groups
    description["command"] = f"tlx finetune --config {shlex.quote(str(out / CONFIG))}" if config is not None else None
    feeding: dict[str, Any] = {"augment": augment, "mix": mix, "balanced": balanced, "workers": workers, "cache": cache}
    feeding |= {"accumulate": accumulate, "remat": remat, "ema": ema, "parallel": parallel}
    trainer = _Trainer(start, data, batch_size, seed, loss, feeding, out, checkpoint_every, progress, logs, stop)
    hosts.check_alike(description)
    with ExitStack() as stack:
        if progress and hosts.is_first():
            stack.enter_context(lines())
        finished = hosts.of_first(lambda: stack.enter_context(entered(out, description, config, resume, allow)))
        _check_shared(out)
        return Run.open(out) if finished else _run(trainer, base, recipe, description, compare_scratch)


def _check_shared(out: Path) -> None:
    """Raise `StorageError` in all processes where one does not see the run directory that the first one began."""
    if hosts.any_of(not (out / RUN).is_file()):
        raise StorageError(f"{out}: is not one directory for all processes: name one on a disk that all hosts share")


def _run(
    trainer: "_Trainer", base: Pretrained, recipe: Recipe, description: Mapping[str, Any], compare_scratch: bool
) -> Run:
    """Train, test, and write what it came to."""
    began, out, data, start = time.monotonic(), trainer.out, trainer.data, trainer.start
    if trainer.progress and hosts.is_first():
        for note in description["notes"]:
            print(f"tlx: {note}", file=sys.stderr)
    try:
        transfer, scores = trainer.train(recipe, "transfer", CHECKPOINTS)
        baseline = trainer.train(same_budget(recipe), "scratch", "scratch") if compare_scratch else None
    except StoppedError as error:
        raise StoppedError(f"{out}: {error}, all is saved: go on with --resume --out {out}") from error
    result = {
        "test_accuracy": scores.accuracy,
        "test_loss": scores.loss,
        "test_examples": len(data.test),
        "scratch_accuracy": baseline[1].accuracy if baseline else None,
        "seconds": round(time.monotonic() - began, 2),
        "run_dir": str(out),
        "base": base.name,
        "data": {
            "source": data.spec.source if data.spec else None,
            "classes": len(data.classes),
            **description["sizes"],
            "labels_per_class": data.spec.labels_per_class if data.spec else None,
        },
        "phases": [asdict(record) for record in transfer.phases],
        "scratch": {"phases": [asdict(record) for record in baseline[0].phases]} if baseline else None,
    }
    name = f"{base.name}-{out.name}"
    card = {
        "description": f"{base.name} transferred by the phases {', '.join(phase.name for phase in recipe)}",
        "data": _data_card(data),
        "accuracy": f"{scores.accuracy:.4f} on {len(data.test)} test images",
        "base": f"{base.name}, {base.card.get('licence', 'licence unknown')}",
    }
    trained = replace(start, variables=transfer.variables, name=name, card=card)
    hosts.of_first(lambda: _write(trainer, trained, scores, result))
    return Run(out, result)


def _data_card(data: Data) -> str:
    """Say in a line what was trained on, without the folders of the machine."""
    source = public_source(data.spec.source) if data.spec else "arrays in memory"
    few = f", at most {data.spec.labels_per_class} a class" if data.spec and data.spec.labels_per_class else ""
    sizes = f"{len(data.train)} images to train on, {len(data.validation)} to validate and {len(data.test)} to test"
    return f"{source}: {len(data.classes)} classes, {sizes}{few}"


def _write(trainer: "_Trainer", trained: Pretrained, scores: Evaluation, result: Mapping[str, Any]) -> None:
    """Write the trained model, how it does, and last of all the result, which makes a run finished."""
    out = trainer.out
    doing("saving the model")
    if not (out / EXPORT).exists():
        save(trained, out / EXPORT)
    write_evaluation(out / EVALUATION, scores, trainer.data.test, trained, workers=trainer.feeding["workers"])
    write_json(out / RESULT, result)


def _check_head(base: Pretrained, data: Data, shape: Any) -> None:
    """Raise `ConfigError` where training on these data cannot begin with the base's own head."""
    if shape:
        raise ConfigError("keep_head: hidden, pool and dropout shape a fresh head: leave them out")
    if base.classes != data.classes:
        own = f"knows {quote(base.classes, 5)}" if base.classes else "has none"
        raise ConfigError(
            f"keep_head: {base.name} {own}, and the data have the classes {quote(data.classes, 5)}: leave keep_head "
            "out, or probe the base on these data first"
        )


def _doubts(start: Pretrained, train: Source, seed: int) -> list[str]:
    """Say what is odd about the first batch, as the base's batch norms see it."""
    feed = Feed(min(MOST_PICTURES, len(train)), seed, shuffle=True)
    batch = next(iter(batches(train, start.preprocess, feed)))
    verdict = check_inputs(start.model, start.variables, batch["image"], start.preprocess)
    return [verdict.message] if verdict.message else []


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
    batch_size: int
    seed: int
    loss: Loss
    feeding: Mapping[str, Any]  # what else `fit` takes
    out: Path
    checkpoint_every: float | None
    progress: bool
    logs: Sequence[Log]  # the user's
    stop: Stop

    def train(self, recipe: Recipe, name: str, folder: str) -> tuple[Fit, Evaluation]:
        model, data, preprocess = build_model(self.start.config), self.data, self.start.preprocess
        checkpoints = Checkpoints(self.out / folder, self.checkpoint_every, run=f"{identity_of(self.out)}/{folder}")
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
                data.train,
                data.validation,
                preprocess,
                batch_size=self.batch_size,
                seed=self.seed,
                loss=self.loss,
                **self.feeding,
                logs=[*logs, *(Guarded(log, name) for log in (self.logs if hosts.is_first() else ()))],
                checkpoints=checkpoints,
                stop=self.stop,
            )
            trained = replace(trained, memory=Memory())  # as much as the parameters, twice, on the device
        placement = (self.feeding["parallel"] or Parallel()).placement()
        how: dict[str, Any] = {"workers": self.feeding["workers"], "stop": self.stop, "placement": placement}
        return trained, evaluate(model, trained.variables, data.test, preprocess, self.batch_size, **how)


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
    how: dict[str, Any] = {"workers": workers, "placement": Parallel().placement()}
    return evaluate(trained.model, trained.variables, source, trained.preprocess, size, **how)


def split_of(path: str | Path) -> dict[str, Any]:
    """Return how a run split its data: `seed`, `validation` and `test`, as `load_data` takes them."""
    path = home(path)
    description = read_json(path / RUN, "data", "seed")
    if description["data"] is None:
        return {"seed": description["seed"]}
    spec = _spec(path, description)
    return {name: spec[name] for name in ("seed", "validation", "test")}


def _spec(path: Path, description: dict[str, Any]) -> dict[str, Any]:
    """Return the data that a run's description names, as `load_data` takes them."""
    try:
        return asdict(DataSpec(**description["data"]))
    except (TypeError, ConfigError) as error:
        raise CheckpointError(
            f"{path / RUN}: does not name data as tlx writes it ({error}): the run is damaged"
        ) from error
