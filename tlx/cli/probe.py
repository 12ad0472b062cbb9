"""`tlx probe`: fit linear heads to a base's features at once."""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from tlx.cli.output import percent, print_facts, print_json, print_table
from tlx.cli.transfer import TransferOptions


@dataclass(frozen=True, kw_only=True)
class Probe(TransferOptions):
    """Fit linear heads to the features of a frozen base, over regularisations and few-shot draws, and test the best.

    To train a head step by step, with hidden layers, dropout or augmentation: tlx finetune --recipe probe.
    """

    GROUPS: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "most used": ("data", "base", "weights", "out", "method", "l2", "shots", "draws"),
        "fit": ("scale", "max_iterations"),
        **TransferOptions.GROUPS,
    }

    method: Literal["lbfgs", "ridge"] = "lbfgs"
    """lbfgs: softmax regression. ridge: least squares, in closed form."""
    l2: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
    """The weights of half the sum of the kernel's squares, beside the mean loss; the best on validation is taken."""
    shots: tuple[int, ...] = ()
    """Fit to so many examples of each class, too: 1 5 10, say."""
    draws: int = 5
    """How often these are drawn anew."""
    scale: Literal["common", "each"] = "common"
    """What features are divided by: all by one number, or each by its own deviation."""
    max_iterations: int = 1000
    """With lbfgs: of one fit."""
    out: str | None = None
    """A folder for the base with its new head, for tlx predict, tlx evaluate and tlx finetune --keep-head."""

    def run(self) -> None:
        import tlx
        from tlx.presets.bundle import check_free
        from tlx.probes.probe import check_are_classes

        self.check_options(self.out)
        if self.out is not None:
            check_free(self.out)
        base = self.load_base()
        preprocess = self.preprocess(base.preprocess)
        data = self.load_data(preprocess)
        check_are_classes(data)
        for note in (*self.check_suits(data, preprocess), *data.notes):
            print(f"tlx: {note}", file=sys.stderr)
        began = time.monotonic()
        probe = tlx.linear_probe(
            base,
            data,
            method=self.method,
            l2=self.l2,
            shots=self.shots,
            draws=self.draws,
            scale=self.scale,
            max_iterations=self.max_iterations,
            pool=self.pool,
            preprocess=preprocess,
            workers=self.workers,
            cache=self.kept(),
        )
        seconds = round(time.monotonic() - began, 2)
        for note in probe.notes:
            print(f"tlx: {note}", file=sys.stderr)
        if self.out is not None:
            tlx.save(probe.model, self.out)
        sizes = {"train": len(data.train), "validation": len(data.validation), "test": len(data.test)}
        source = data.spec.source if data.spec else self.data
        result = {
            "base": base.name,
            "data": {"source": source, "classes": len(data.classes), **sizes},
            **probe.to_dict(),
            "seconds": seconds,
            "path": self.out,
        }
        if self.json:
            print_json(result)
        else:
            _show(result)


def _show(result: Mapping[str, Any]) -> None:
    data = result["data"]
    print_table(
        f"{result['base']} to {data['source']}: {data['train']} training labels, {data['validation']} for validation, "
        f"{data['test']} test images",
        ("shots", "draws", "test accuracy", "deviation"),
        [
            ("all" if point["shots"] is None else str(point["shots"]), *list(point.values())[1:])
            for point in result["curve"]
        ],
    )
    path = [fit for fit in result["fits"] if fit["shots"] is None]
    columns = ("validation_accuracy", "validation_loss", "test_accuracy", "iterations")
    print_table(
        f"{result['method']}, all training labels",
        ("l2", *(column.replace("_", " ") for column in columns)),
        [(f"{fit['l2']:g}", *(fit[column] for column in columns)) for fit in path],
    )
    saved = [f"saved {result['path']}"] if result["path"] else []
    accuracy = f"test accuracy {percent(result['test_accuracy'])} with l2 {result['l2']:g}"
    print_facts([accuracy, f"features {result['activations']}", f"{result['seconds']:.0f} s", *saved])
