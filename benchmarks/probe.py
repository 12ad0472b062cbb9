"""Time a sweep of linear probes, over regularisations and few-shot draws, beside scikit-learn's fits one by one.

    python benchmarks/probe.py [--tasks letters47 flowers] [--quick] [--json]

`letters47`: handwriting, 4,216 images to train on, on the packaged CNN of MNIST, 576 features; `flowers`: 600
photographs on MobileNet V2 of ImageNet, 1,280 features. The features are computed before any clock runs. Each program
then fits 7 values of l2 to each of 3 draws of 1, 5 and 10 examples a class and to all, 70 fits, takes of each the value
that is best on validation examples, and tests it.

tlx runs `tlx.probes.sweep.sweep`, with "lbfgs" and with "ridge"; the peers are `LogisticRegression` (L-BFGS, with its
tolerance of 1e-4 and at most 1,000 iterations) and `RidgeClassifier`, on the same rows, centred and scaled likewise,
outside the clock. `first` is the first sweep of a process, with tlx's compilation in it, `seconds` the median of later
ones. `ratio` is the peer's seconds over tlx's first, `ratio_later` over its later ones; `accuracy` is the mean test
accuracy by shots; `objective` is what softmax regression minimises, on all training examples, for each l2 from the
smallest, where less is better. What was measured stands in benchmarks/README.md.
"""

import functools
import hashlib
import json
import os
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from turns import in_turns, median, serve, versions

DATA = Path(os.environ.get("TLX_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
WEIGHTS = DATA / "weights" / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5"
L2 = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
SHOTS, DRAWS = (1, 5, 10), 3
PEERS = {"lbfgs": "LogisticRegression", "ridge": "RidgeClassifier"}


def write_features(task: str, file: Path) -> None:
    """Compute the features of a task's three parts."""
    import tlx
    from tlx.data import labels_of

    with tempfile.TemporaryDirectory() as folder:
        if task == "letters47":
            base, data = tlx.load("cnn-mnist"), tlx.load_data(f"idx:{DATA / 'letters47'}", validation=0.15)
        else:
            zipfile.ZipFile(DATA / "flowers.zip").extractall(folder)
            base = tlx.load("keras/mobilenet_v2", WEIGHTS)
            data = tlx.load_data(str(next(Path(folder).rglob("train")).parent))
        base, found = base.with_head(data.classes), {}
        for name in ("train", "validation", "test"):
            source = getattr(data, name)
            parts = tlx.training.features(base.model, base.variables, source, base.preprocess, pool=base.config.pool)
            found |= {name: np.concatenate(list(parts)), f"{name}_labels": labels_of(source)}
    np.savez(file, **found)


def examples(file: str) -> tuple[dict[str, Any], list[Any], int]:
    """Return the parts, the draws and the number of classes."""
    from tlx.probes.problem import Examples
    from tlx.probes.sweep import few_shot

    found = np.load(file)
    parts = {name: Examples(found[name], found[f"{name}_labels"]) for name in ("train", "validation", "test")}
    labels = parts["train"].targets
    classes = int(labels.max()) + 1
    digests = [hashlib.sha256(str(row).encode()).digest() for row in range(len(labels))]
    return parts, few_shot(labels, digests, [str(number) for number in range(classes)], SHOTS, DRAWS), classes


def objectives(features: np.ndarray, labels: np.ndarray, models: Any) -> list[float]:
    """Return what softmax regression minimises, of (kernel, bias) for each l2 and features centred and scaled."""
    found = []
    for l2, (kernel, bias) in zip(L2, models, strict=True):
        logits = features @ kernel.astype(np.float64) + bias[None]
        logits -= logits.max(1, keepdims=True)
        losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(len(labels)), labels]
        found.append(float(losses.mean() + l2 / 2 * np.square(kernel, dtype=np.float64).sum()))
    return found


def timed(run: Callable[[], dict[str, list[float]]]) -> dict[str, Any]:
    started, worked = time.perf_counter(), time.process_time()
    accuracies = run()
    seconds, cpu = time.perf_counter() - started, time.process_time() - worked
    accuracy = {shots: round(float(np.mean(found)), 4) for shots, found in accuracies.items()}
    return {"seconds": seconds, "cpu_seconds": cpu, "accuracy": accuracy}


def by_tlx(file: str, method: str) -> Callable[[], dict[str, Any]]:
    from tlx.objectives import Classification
    from tlx.probes import softmax_regression
    from tlx.probes.problem import Problem
    from tlx.probes.standard import Standard
    from tlx.probes.sweep import sweep

    parts, draws, classes = examples(file)
    problem = Problem("class", classes, Classification(), method)

    def run() -> dict[str, list[float]]:
        found: dict[str, list[float]] = {}
        for fit in sweep(problem, parts["train"], parts["validation"], parts["test"], draws, L2).fits:
            if fit.test_accuracy is not None:
                found.setdefault(str(fit.shots or "all"), []).append(fit.test_accuracy)
        return found

    def answer() -> dict[str, Any]:
        result = timed(run)
        if method == "lbfgs" and not told:
            standard, (features, labels) = Standard.of(parts["train"].features), parts["train"]
            path = softmax_regression(features, labels, classes, L2)
            kernels = path.kernel * standard.scale[None, :, None]
            biases = path.bias + np.einsum("d,ldc->lc", standard.mean, path.kernel.astype(np.float64))
            scaled = (features - standard.mean[None]) / standard.scale[None]
            told.append(objectives(scaled, labels, zip(kernels, biases, strict=True)))
        return {**result, **({"objective": told[0]} if told else {})}

    told: list[list[float]] = []
    return answer


def by_scikit_learn(file: str, method: str) -> Callable[[], dict[str, Any]]:
    from sklearn.linear_model import LogisticRegression, RidgeClassifier

    from tlx.probes.standard import Standard

    warnings.filterwarnings("ignore")  # of fits that have not converged
    parts, draws, _ = examples(file)
    sets = []
    for draw in draws:
        features, labels = parts["train"].features[draw.rows], parts["train"].targets[draw.rows]
        standard = Standard.of(features)
        scaled = [
            ((each - standard.mean[None]) / standard.scale[None]).astype(np.float32)
            for each in (features, parts["validation"].features, parts["test"].features)
        ]
        sets.append((str(draw.shots or "all"), labels, *scaled))
    last: list[Any] = []

    def fitted(features: np.ndarray, labels: np.ndarray, l2: float) -> Any:
        if method == "ridge":
            return RidgeClassifier(alpha=len(labels) * l2).fit(features, labels)
        return LogisticRegression(C=1 / (len(labels) * l2), max_iter=1000).fit(features, labels)

    def run() -> dict[str, list[float]]:
        found: dict[str, list[float]] = {}
        for shots, labels, features, validation, test in sets:
            last[:] = [fitted(features, labels, l2) for l2 in L2]
            best = max(last, key=lambda model: model.score(validation, parts["validation"].targets))
            found.setdefault(shots, []).append(best.score(test, parts["test"].targets))
        return found

    def answer() -> dict[str, Any]:
        result = timed(run)
        if method == "ridge":
            return result
        models = [(model.coef_.T, model.intercept_) for model in last]
        return {**result, "objective": objectives(sets[-1][2], parts["train"].targets, models)}

    return answer


@dataclass(frozen=True)
class Options:
    """Time a sweep of linear probes."""

    tasks: tuple[str, ...] = ("letters47", "flowers")
    rounds: int = 3
    """How often each program is asked, after its first sweep."""
    quick: bool = False
    """One round."""
    json: bool = False
    """Print one JSON object."""


def measure(task: str, options: Options) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "features.npz"
        write_features(task, file)
        programs = {
            f"{program} {method}": [sys.executable, __file__, "serve", str(file), program, method]
            for method in PEERS
            for program in ("tlx", "scikit-learn")
        }
        answers, _ = in_turns(programs, 2 if options.quick else options.rounds + 1)
    found: dict[str, Any] = {}
    for method, peer in PEERS.items():
        rows = {}
        for program in ("tlx", "scikit-learn"):
            first, *later = answers[f"{program} {method}"]
            rows[program if program == "tlx" else peer] = {
                "first": first["seconds"],
                "seconds": median([answer["seconds"] for answer in later]),
                "cpu_seconds": median([answer["cpu_seconds"] for answer in later]),
                "accuracy": first["accuracy"],
                **({"objective": first["objective"]} if "objective" in first else {}),
            }
        ours, theirs = rows["tlx"], rows[peer]
        ratios = {"ratio": theirs["seconds"] / ours["first"], "ratio_later": theirs["seconds"] / ours["seconds"]}
        found[method] = {**rows, **ratios, "ratio_of_work": theirs["cpu_seconds"] / ours["cpu_seconds"]}
    return found


def main(options: Options) -> None:
    figures: dict[str, Any] = {task: measure(task, options) for task in options.tasks}
    figures["versions"] = versions("tlx-jax", "jax", "scikit-learn", "numpy", "scipy")
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    for task in options.tasks:
        for method, row in figures[task].items():
            print(
                f"{task}, {method}: {row['ratio']:.1f} times faster than {PEERS[method]}, {row['ratio_later']:.1f} "
                f"once compiled, {row['ratio_of_work']:.1f} in work"
            )
            for program in ("tlx", PEERS[method]):
                own = row[program]
                accuracy = ", ".join(f"{shots}: {found:.1%}" for shots, found in own["accuracy"].items())
                print(f"  {program}: first {own['first']:.2f} s, later {own['seconds']:.2f} s; {accuracy}")
                if "objective" in own:
                    print("    objective " + ", ".join(f"{each:.6f}" for each in own["objective"]))


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        file, program, method = sys.argv[2:]
        serve(functools.partial({"tlx": by_tlx, "scikit-learn": by_scikit_learn}[program], file, method))
    else:
        main(tyro.cli(Options, args=sys.argv[1:]))
