"""`tlx probe`: fit linear heads to a base's features at once."""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from tlx.cli.output import percent, print_facts, print_json, print_table
from tlx.cli.transfer import TransferOptions


@dataclass(frozen=True, kw_only=True)
class Probe(TransferOptions):
    """Fit linear heads to the features of a frozen base, over regularisations and few-shot draws, and test the best.

    To train a head step by step, with hidden layers, dropout or augmentation: tlx finetune --recipe probe.
    """

    GROUPS: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "most used": ("data", "base", "weights", "out", "method", "l2", "stages", "shots", "draws"),
        "fit": ("scale", "max_iterations"),
        **TransferOptions.GROUPS,
    }

    method: Literal["lbfgs", "ridge"] | None = None
    """lbfgs: softmax regression of classes, logistic regression of each of several labels. ridge: least squares, in
    closed form. By default lbfgs, and ridge for numbers."""
    l2: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
    """The weights of half the sum of the kernel's squares, beside the mean loss; the best on validation is taken."""
    shots: tuple[int, ...] = ()
    """Of classes: fit to so many examples of each, too: 1 5 10, say."""
    draws: int = 5
    """How often these are drawn anew."""
    stages: tuple[str, ...] = ()
    """Fit to the features of these stages, too, all for every one, and take the stage that is best on validation."""
    scale: Literal["common", "each"] = "common"
    """What features are divided by: all by one number, or each by its own deviation."""
    max_iterations: int = 1000
    """With lbfgs: of one fit."""
    out: str | None = None
    """A folder for the base with its new head, for tlx predict, tlx evaluate and tlx finetune --keep-head."""

    def run(self) -> None:
        import tlx
        from tlx.presets.bundle import check_free
        from tlx.probes.probe import check_solvable

        self.check_options(self.out)
        if self.out is not None:
            check_free(self.out)
        options = tlx.ProbeOptions(**self.given(tlx.ProbeOptions, "preprocess", "cache"), cache=self.kept())
        base, spec, data = self.base_and_data()
        check_solvable(data, options)
        for note in (*self.check_suits(data, spec), *data.notes):
            print(f"tlx: {note}", file=sys.stderr)
        began = time.monotonic()
        by_stage: dict[str, float] = {}
        if self.stages:
            chosen = () if self.stages == ("all",) else self.stages
            found = tlx.probes.probe_stages(base, data, replace(options, preprocess=spec), stages=chosen)
            probe, by_stage = found.best, dict(found.validation)
        else:
            probe = tlx.linear_probe(base, data, replace(options, preprocess=spec))
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
            **({"stage": found.stage, "stages": by_stage} if by_stage else {}),
        }
        if self.json:
            print_json(result)
        else:
            _show(result, probe.metric)


def _show(result: Mapping[str, Any], metric: str) -> None:
    data, tested, said = result["data"], f"test_{metric}", metric.replace("_", " ")
    if metric == "accuracy":
        print_table(
            f"{result['base']} to {data['source']}: {data['train']} training labels, {data['validation']} for "
            f"validation, {data['test']} test examples",
            ("shots", "draws", f"test {said}", "deviation"),
            [
                ("all" if point["shots"] is None else str(point["shots"]), *list(point.values())[1:])
                for point in result["curve"]
            ],
        )
    if "stages" in result:
        print_table(
            f"stages, {result['stage']} taken",
            ("stage", f"validation {said}"),
            list(result["stages"].items()),
        )
    path = [fit for fit in result["fits"] if fit["shots"] is None]
    columns = (f"validation_{metric}", "validation_loss", tested, "iterations")
    print_table(
        f"{result['method']}, all training examples",
        ("l2", *(column.replace("_", " ") for column in columns)),
        [(f"{fit['l2']:g}", *(fit.get(column) for column in columns)) for fit in path],
    )
    saved = [f"saved {result['path']}"] if result["path"] else []
    best = percent(result[tested]) if metric == "accuracy" else f"{result[tested]:.4g}"
    others = [name for name in result if name.startswith("test_") and name not in (tested, "test_loss")]
    more = [f"{name.removeprefix('test_').replace('_', ' ')} {result[name]:.4g}" for name in others]
    print_facts(
        [
            f"test {said} {best} with l2 {result['l2']:g}",
            *more,
            f"features {result['activations']}",
            f"{result['seconds']:.0f} s",
            *saved,
        ]
    )
