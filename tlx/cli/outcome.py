"""What `tlx finetune` shows on the terminal: what a run would take, and what it came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlx.cli.output import percent, print_facts, print_json, print_table
from tlx.errors import StorageError

if TYPE_CHECKING:
    from tlx.runs import Estimate


def show_estimate(found: Estimate, base: str, *, json: bool = False) -> None:
    """Print what a run would take; raise `StorageError` where it does not fit."""
    from tlx.training.cache_parts import describe_size

    if json:
        print_json({**asdict(found), "fits": found.fits, "seconds": found.seconds})
    else:
        available = describe_size(found.available)
        print_table(
            f"{base} on {found.devices} x {found.device}, {available} to have on each",
            ("phase", "from", "steps", "memory", "s a step", "s to read one", "s at most"),
            [
                (
                    phase.name,
                    phase.activations.removeprefix("after ") if phase.after else "inputs",
                    phase.steps,
                    describe_size(phase.memory),
                    phase.seconds,
                    phase.reading,
                    phase.total,
                )
                for phase in found.phases
            ],
            prose=("from",),
        )
    if not found.fits:
        raise StorageError(
            f"{describe_size(found.memory)} are needed on a device and {describe_size(found.available)} are there: "
            "lower --batch-size, take it in parts (--accumulate), or say --remat, --dtype bfloat16 or --shard all"
        )
    if not json:
        print("It fits.")


def show_result(result: Mapping[str, Any], report: Path) -> None:
    """Print what a run came to: its phases, and what its test says."""
    data = result["data"]
    few = f" ({data['labels_per_class']} a class)" if data["labels_per_class"] else ""
    measured = [name for name in result.get("test", ("accuracy",)) if name != "loss"]  # runs have not always had it
    measured = measured or ["loss"]
    metric = next((name for name in ("f1", "accuracy") if name in measured), measured[0])
    print_table(
        f"{result['base']} to {data['source']}: {data['train']} training labels{few}, {data['validation']} for "
        f"validation, {data['test']} test examples",
        ("phase", "trainable", "frozen", "epochs", f"validation {_words(metric)}", "seconds"),
        [
            (name, phase["trainable"], phase["frozen"], phase["epochs"], phase[f"val_{metric}"], phase["seconds"])
            for name, phase in _phases(result)
        ],
        optional=("frozen", "epochs", "seconds"),
    )
    for phase in result["phases"][1:]:
        if phase.get("best_epoch") == 0:
            print(f"phase {phase['name']} bettered validation in no epoch: the weights are those it began with")
    last = result["phases"][-1]
    if last.get("best_epoch") and last["best_epoch"] == last["epochs"]:
        print(f"phase {last['name']} was best in its last epoch: more epochs or a higher learning rate may serve it")
    if metric == "accuracy":
        scratch = [f"from scratch {percent(result['scratch_accuracy'])}"] if result["scratch"] else []
        print_facts(["test accuracy", f"transferred {percent(result['test_accuracy'])}", *scratch])
    else:
        for title, of in (("transferred", result), ("from scratch", result["scratch"])):
            if of:
                print_facts([f"test, {title}", *(f"{_words(name)} {of['test'][name]:.4g}" for name in measured)])
    print_facts([f"run {result['run_dir']}", f"report {report}", f"{result['seconds']:.0f} s"])


def _words(metric: str) -> str:
    return "F1" if metric == "f1" else metric.replace("_", " ")


def _phases(result: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    phases = [(phase["name"], phase) for phase in result["phases"]]
    return phases + [("from scratch", phase) for phase in (result["scratch"] or {"phases": []})["phases"]]
