"""Transfer a pretrained base to other data, measure it, and leave a directory that tells all of it."""

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from tlx.data import Batch, Data, Feed, Source, batches
from tlx.devices import hosts
from tlx.errors import StoppedError, StorageError, check_flags
from tlx.files import home, write_json
from tlx.logs import Log
from tlx.optim.phases import Recipe
from tlx.places import public_source
from tlx.presets.bundle import save
from tlx.presets.pretrained import Pretrained
from tlx.presets.sentinel import MOST_EXAMPLES, doubts
from tlx.progress import doing, lines
from tlx.records.description import RUN, Description
from tlx.records.evaluation import EVALUATION
from tlx.records.result import RESULT, Result
from tlx.runs.begin import begin, same_budget
from tlx.runs.describe import describe
from tlx.runs.directory import CHECKPOINTS, EXPORT, entered
from tlx.runs.interpret import write_evaluation
from tlx.runs.options import RunOptions
from tlx.runs.run import Run
from tlx.runs.seen import Seen
from tlx.runs.trainer import Trainer
from tlx.stop import Stop, never
from tlx.training.activations import example_of
from tlx.training.callback import Callback, check_callbacks, names_of
from tlx.training.evaluate import Evaluation
from tlx.training.options import TrainOptions, as_options
from tlx.training.per_word import count_answers
from tlx.training.prepare import make_task
from tlx.training.task import Task


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

    Processes that train together (`tlx.initialize_distributed`) all call it, with the same arguments and an `out` that
    all of them see; the first one writes what is written once. While it runs, no other process can write to `out`.

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
    start, data, recipe, options = begin(base, data, recipe, as_options(options, RunOptions))
    doing("looking at the first batch")
    batch = _first_batch(data.train, start, options)
    how: dict[str, Any] = {"stop": stop, "example": example_of(batch)}
    task = make_task(start.model, start.variables, recipe, data, options, **how)
    notes = [*data.notes, *(doubts(start, batch["input"]) if options.check_preprocessing else ())]
    doing("fingerprinting the base and the data")
    description = replace(
        describe(base, start, data, recipe, options, out, task.labels, notes), callbacks=tuple(names_of(callbacks))
    )
    trainer = Trainer(start, data, options, out, progress, callbacks, stop)
    hosts.check_alike(description.to_dict())
    with ExitStack() as stack:
        if progress and hosts.is_first():
            stack.enter_context(lines())
        entering = (out, description, options.config, resume, options.allow)
        finished = hosts.broadcast_from_first(lambda: stack.enter_context(entered(*entering)))
        _check_shared(out)
        return Run.open(out) if finished else _run(trainer, base, recipe, task, description)


def _first_batch(train: Source, start: Pretrained, options: RunOptions) -> Batch:
    """Return the first batch, of at most so many examples as the check of inputs wants."""
    feed = Feed(min(MOST_EXAMPLES, len(train)), options.seed, shuffle=True)
    return next(iter(batches(train, start.preprocess, feed)))


def _check_shared(out: Path) -> None:
    """Raise `StorageError` in all processes where one does not see the run directory that the first one began."""
    if hosts.any_of(not (out / RUN).is_file()):
        raise StorageError(f"{out}: is not one directory for all processes: name one on a disk that all hosts share")


def _run(trainer: Trainer, base: Pretrained, recipe: Recipe, task: Task, description: Description) -> Run:
    """Train, test, and write what it came to."""
    began, out, data, start = time.monotonic(), trainer.out, trainer.data, trainer.start
    options = trainer.options
    if trainer.progress and hosts.is_first():
        for note in description.notes:
            print(f"tlx: {note}", file=sys.stderr)
    try:
        fits = [trainer.train(task, "transfer", CHECKPOINTS)]
        if options.compare_scratch:
            more: dict[str, Any] = {"stop": trainer.stop, "example": task.example}
            anew = make_task(start.model, start.variables, same_budget(recipe), data, options, **more)
            fits.append(trainer.train(anew, "scratch", "scratch"))
        transfer, *scratch = fits
        trained = replace(start, variables=transfer.variables, objective=transfer.objective)
        seen = Seen.of(trained, data.test, interpret=options.interpret)
        scores, *others = trainer.test(fits, seen)
    except StoppedError as error:
        raise StoppedError(f"{out}: {error}, all is saved: go on with --resume --out {out}") from error
    result = Result(
        test_accuracy=scores.metrics.get("accuracy"),
        test_loss=scores.loss,
        test=dict(scores.metrics),
        test_examples=count_answers(scores),
        scratch_accuracy=others[0].metrics.get("accuracy") if others else None,
        seconds=round(time.monotonic() - began, 2),
        run_dir=str(out),
        base=base.name,
        data={
            "source": data.spec.source if data.spec else None,
            "classes": len(data.classes),
            **description.sizes,
            "labels_per_class": data.spec.labels_per_class if data.spec else None,
        },
        phases=transfer.phases,
        scratch_phases=scratch[0].phases if scratch else (),
        scratch_test=dict(others[0].metrics) if others else {},
    )
    name = f"{base.name}-{out.name}"
    figures = ", ".join(f"{metric} {value:.4f}" for metric, value in scores.metrics.items() if metric != "loss")
    card = {
        "description": f"{base.name} transferred by the phases {', '.join(phase.name for phase in recipe)}",
        "data": _data_card(data),
        "accuracy": f"{figures.removeprefix('accuracy ')} on {len(data.test)} test examples",
        "base": f"{base.name}, {base.card.get('licence', 'licence unknown')}",
    }
    trained = replace(trained, name=name, card=card, objective=scores.objective)
    plain = result.to_dict()
    hosts.broadcast_from_first(lambda: _write(trainer, trained, scores, seen, plain))
    return Run(out, plain)


def _data_card(data: Data) -> str:
    """Say in a line what was trained on, without the folders of the machine."""
    source = public_source(data.spec.source) if data.spec else "arrays in memory"
    few = f", at most {data.spec.labels_per_class} a class" if data.spec and data.spec.labels_per_class else ""
    sizes = f"{len(data.train)} examples to train on, {len(data.validation)} to validate and {len(data.test)} to test"
    return f"{source}: {len(data.classes)} classes, {sizes}{few}"


def _write(
    trainer: Trainer, trained: Pretrained, scores: Evaluation, seen: Seen | None, result: Mapping[str, Any]
) -> None:
    """Write the trained model, how it does, and last of all the result, which makes a run finished."""
    out = trainer.out
    doing("saving the model")
    if not (out / EXPORT).exists():
        save(trained, out / EXPORT)
    options = trainer.options
    how: dict[str, Any] = {"workers": options.workers, "interpret": options.interpret, "seen": seen}
    how["training"] = trainer.data.train
    write_evaluation(out / EVALUATION, scores, trainer.data.test, trained, **how)
    write_json(out / RESULT, result)
