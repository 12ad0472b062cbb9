"""A run directory as training writes it, small enough to build in every test."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

TEST_EXAMPLES = 540
LATER = ("mistake_maps", "mistake_names", "map_rows", "map_points")  # what runs have not always written
BASE_STAGES = {"conv1": 320, "conv2": 18_496, "conv3": 36_928}
HEAD = 36_928 + 650
PLANS = [  # name, epochs, the stages that train and their label, the rates
    ("head", 4, {}, {"head": 1e-3}),
    ("top", 5, {"conv3": "base"}, {"head": 1e-3, "base": 1e-4}),
    ("all", 6, dict.fromkeys(BASE_STAGES, "base"), {"head": 5e-4, "base": 5e-5}),
]


def _stages(trained: dict[str, str]) -> dict[str, dict[str, Any]]:
    stages = {name: {"label": trained.get(name, "frozen"), "parameters": n} for name, n in BASE_STAGES.items()}
    return {**stages, "head": {"label": "head", "parameters": HEAD}}


def _plan(name: str, epochs: int, trained: dict[str, str], rates: dict[str, float]) -> dict[str, Any]:
    def group(rate: float) -> dict[str, Any]:
        schedule = {"kind": "Cosine", "rate": rate, "warmup": 10, "end": 0.0}
        optimizer = {"kind": "Adam", "b1": 0.9, "b2": 0.999, "eps": 1e-8}
        options = {"weight_decay": 0.0, "clip_norm": None, "no_decay": ["**/bias", "**/scale"]}
        return {"kind": "Group", "schedule": schedule, "optimizer": optimizer, **options}

    return {
        "kind": "Phase",
        "name": name,
        "epochs": epochs,
        "rules": [["head/**", "head"], *([f"base/{stage}/**", label] for stage, label in trained.items())],
        "groups": {label: group(rate) for label, rate in rates.items()},
        "stages": _stages(trained),
    }


def _outcome(name: str, epochs: int, trained: dict[str, str], accuracy: float) -> dict[str, Any]:
    labels: dict[str, int] = {}
    for stage in _stages(trained).values():
        labels[stage["label"]] = labels.get(stage["label"], 0) + stage["parameters"]
    frozen = labels.get("frozen", 0)
    digest = {"head": "9f2c", "top": "4be1", "all": "e3b0"}.get(name, "0000") * 16
    return {
        "name": name,
        "trainable": sum(labels.values()) - frozen,
        "frozen": frozen,
        "epochs": epochs,
        "steps": epochs * 7,
        "val_accuracy": accuracy,
        "val_loss": 0.2,
        "seconds": 3.25,
        "stopped_early": name == "top",
        "best_epoch": epochs - 1,
        "labels": labels,
        "frozen_sha256_before": digest,
        "frozen_sha256_after": digest,
    }


def _curve(run: str, phases: list[tuple[str, int]], low: float, high: float) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    total = sum(epochs for _, epochs in phases)
    for index, (name, epochs) in enumerate(phases):
        for _ in range(epochs):
            done = 1 - 0.72 ** (len(rows) + 1 + 0.2 * total * (run == "transfer") / 5)
            accuracy = low + (high - low) * done
            rows.append({
                "run": run, "phase": name, "phase_index": index, "epoch": len(rows) + 1, "step": 7 * (len(rows) + 1),
                "loss": 2.3 * (1.02 - done), "accuracy": min(accuracy + 0.015, 1.0),
                "val_loss": 2.3 * (1.06 - done), "val_accuracy": accuracy,
                "seconds": 0.61, "rates": {"head": 1e-3},
            })  # fmt: skip
    return rows


def evaluation(classes: int, examples: int, accuracy: float, image: tuple[int, ...], seed: int = 0) -> dict[str, Any]:
    """Make up labels, predictions wrong mostly towards a few neighbours, and images of the mistakes."""
    random = np.random.default_rng(seed)
    labels = np.arange(examples) % classes
    wrong = random.random(examples) > accuracy
    predicted = np.where(wrong, (labels + random.choice([1, 1, 1, 3, 5], examples)) % classes, labels)
    confidence = random.uniform(0.4, 1.0, examples).astype(np.float32)
    mistakes = np.flatnonzero(labels != predicted)
    mistakes = mistakes[np.argsort(-confidence[mistakes])][:24]
    images = random.integers(0, 256, (len(mistakes), *image)).astype(np.uint8)
    rows = np.arange(0, examples, 3)
    return {
        "labels": labels.astype(np.int32),
        "predicted": predicted.astype(np.int32),
        "confidence": confidence,
        "loss": -np.log(confidence),
        "mistakes": mistakes.astype(np.int64),
        "mistake_images": images,
        "mistake_maps": random.integers(0, 256, images.shape[:3]).astype(np.uint8),
        "mistake_names": np.array([f"images/{index}.png" for index in mistakes], np.str_),
        "map_rows": rows,
        "map_points": random.normal(size=(len(rows), 2)).astype(np.float32),
    }


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Write a run of three phases with its baseline; the arguments say what to make different.

    `run`, `result` and `arrays` replace keys of those files (a value of `...` removes the key), `metrics` is a
    function of its rows; `config` is the text of config.yaml. An `old` run has no interpretation.
    """

    def make(
        classes: tuple[str, ...] = tuple("0123456789"),
        accuracy: float = 0.965,
        examples: int = TEST_EXAMPLES,
        image: tuple[int, ...] = (28, 28, 1),
        run: dict[str, Any] | None = None,
        result: dict[str, Any] | None = None,
        metrics: Callable[[list[dict[str, Any]]], list[dict[str, Any]]] = lambda rows: rows,
        arrays: dict[str, Any] | None = None,
        old: bool = False,
        config: str | None = "base: cnn-mnist\ndata: digits\n",
        directory: str = "run",
    ) -> Path:
        path = tmp_path / directory
        path.mkdir()
        names = [(name, epochs) for name, epochs, _, _ in PLANS]
        sizes = {"train": 100, "validation": 100, "test": examples}
        evaluated = evaluation(len(classes), examples, accuracy, image)
        right = float(np.mean(evaluated["labels"] == evaluated["predicted"])) if examples else 0.0
        run_json = {
            "base": "cnn-mnist", "classes": list(classes),
            "data": {"source": "digits", "seed": 0, "labels_per_class": 10, "validation": 0.15, "test": 0.3},
            "sizes": sizes, "notes": ["digits: 8x8 images resized to 28x28"], "batch_size": 32, "seed": 0,
            "preprocess": {"height": 28, "width": 28, "channels": 1, "interpolation": "bilinear", "margin": 4,
                           "invert": False, "scale": 0.00392156862745098, "mean": [], "std": []},
            "model": {"base": "cnn", "head": "mlp", "units": [64]},
            "phases": [_plan(*plan) for plan in PLANS],
            "versions": {"tlx": "0.1.0", "jax": "0.10.2", "flax": "0.12.1", "python": "3.11.2"},
            "command": "tlx finetune --base cnn-mnist --data digits --recipe gradual --seed 0",
        }  # fmt: skip
        result_json = {
            "test_accuracy": right, "test_loss": 0.113, "test_examples": examples, "scratch_accuracy": 0.8574,
            "seconds": 48.3, "run_dir": str(path), "base": "cnn-mnist",
            "data": {"source": "digits", "classes": len(classes), **sizes, "labels_per_class": 10},
            "phases": [_outcome(n, e, t, a) for (n, e, t, _), a in zip(PLANS, (0.91, 0.955, 0.97), strict=True)],
            "scratch": {"phases": [_outcome("scratch", 15, dict.fromkeys(BASE_STAGES, "base"), 0.85)]},
        }  # fmt: skip
        rows = metrics([*_curve("transfer", names, 0.45, 0.975), *_curve("scratch", [("scratch", 15)], 0.1, 0.87)])
        arrays = {**(dict.fromkeys(LATER, ...) if old else {}), **(arrays or {})}
        for value, changes in ((run_json, run), (result_json, result), (evaluated, arrays)):
            value.update(changes or {})
            for key in [key for key, each in value.items() if each is ...]:
                del value[key]
        (path / "run.json").write_text(json.dumps(run_json))
        (path / "result.json").write_text(json.dumps(result_json))
        (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        np.savez(path / "evaluation.npz", **evaluated)
        if config is not None:
            (path / "config.yaml").write_text(config, encoding="utf-8")
        return path

    return make
