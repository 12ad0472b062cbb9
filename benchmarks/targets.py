"""Heads for numbers and for several labels, beside scikit-learn's own fits to the same features.

    python benchmarks/targets.py [--flowers]

1,797 digits are turned by up to 60 degrees; the angle is to be told, and which of four properties a digit has, by the
frozen base `cnn-mnist`. With `--flowers`, 1,000 photographs in colour (`flowers.zip` of TLX_TEST_DATA): whether one is
of a flower that grows from a bulb and whether its middle is warm in colour, and its share of green, by Keras's
MobileNet V2. A head trains by Adam with early stopping (`tlx.recipes.probe`), another is solved (`tlx.linear_probe`);
scikit-learn gets what the base makes of the same images: ridge regression, and a logistic regression for each label,
each with the strength that is best on the validation examples.
"""

import argparse
import os
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import average_precision_score, mean_squared_error
from sklearn.preprocessing import StandardScaler

import tlx
from tlx.data.source import targets_of
from tlx.training import features

DATA = Path(os.environ.get("TLX_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
WEIGHTS = DATA / "weights" / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5"
PROPERTIES = {"even": (0, 2, 4, 6, 8), "small": (0, 1, 2, 3, 4), "round": (0, 6, 8, 9), "straight": (1, 4, 7)}
Targets = dict[str, tuple[str, tuple[str, ...], np.ndarray]]


def turned() -> tuple[np.ndarray, Targets]:
    """Return digits turned at random (N, 28, 28), their angles (N, 1) and their properties (N, 4)."""
    draw, data = np.random.default_rng(0), tlx.load_data("digits", labels_per_class=1000)
    examples = [part[row] for part in (data.train, data.validation, data.test) for row in range(len(part))]
    angles = draw.uniform(-60, 60, len(examples))
    images = [
        np.asarray(Image.fromarray(np.asarray(each["input"], np.uint8)).resize((28, 28), 2).rotate(angle))
        for each, angle in zip(examples, angles, strict=True)
    ]
    has = np.array([[int(each["target"]) in group for group in PROPERTIES.values()] for each in examples])
    return np.stack(images), {
        "angle in degrees": ("regression", ("angle",), angles[:, None]),
        "properties": ("multi-label", tuple(PROPERTIES), has),
    }


def flowers() -> tuple[np.ndarray, Targets]:
    """Return photographs (N, 227, 227, 3), two attributes of each (N, 2) and their shares of green (N, 1)."""
    images, bulbs = [], []
    with tempfile.TemporaryDirectory() as folder:
        zipfile.ZipFile(DATA / "flowers.zip").extractall(folder)
        for path in sorted(Path(folder).rglob("*.jpg")):
            images.append(np.asarray(Image.open(path).convert("RGB").resize((227, 227))))
            bulbs.append(path.parent.name == "tulip")
    pixels = np.stack(images)
    middle = pixels[:, 75:150, 75:150].mean((1, 2))
    warm = middle[:, 0] > 1.3 * middle[:, 2]
    green = ((pixels[..., 1] > pixels[..., 0]) & (pixels[..., 1] > pixels[..., 2])).mean((1, 2))
    return pixels, {
        "green in percent": ("regression", ("green",), 100 * green[:, None]),
        "attributes": ("multi-label", ("bulb", "warm"), np.stack([bulbs, warm], 1)),
    }


def features_of(base: tlx.Pretrained, data: tlx.Data) -> list[np.ndarray]:
    """Return the base's features of the three parts, standardised by those of training."""
    pool = base.with_head(data.classes).config.pool
    parts = [np.concatenate(list(features(base, part, pool=pool))) for part in (data.train, data.validation, data.test)]
    scale = StandardScaler().fit(parts[0])
    return [scale.transform(part) for part in parts]


def by_scikit_learn(kind: str, parts: list[np.ndarray], targets: list[np.ndarray]) -> float:
    """Return the root mean squared error of ridge regression, or the mean average precision of logistic ones."""
    (train, validation, test), (y, known, truth) = parts, targets
    if kind == "regression":
        fits = [Ridge(alpha).fit(train, y) for alpha in np.logspace(0, 5, 16)]
        best = min(fits, key=lambda each: mean_squared_error(known, each.predict(validation)))
        return float(mean_squared_error(truth, best.predict(test)) ** 0.5)
    scores = []
    for label in range(y.shape[1]):
        models = [LogisticRegression(C=c, max_iter=2000).fit(train, y[:, label]) for c in np.logspace(-4, 1, 11)]
        of = [average_precision_score(known[:, label], each.decision_function(validation)) for each in models]
        scores.append(average_precision_score(truth[:, label], models[int(np.argmax(of))].decision_function(test)))
    return float(np.mean(scores))


def main() -> None:
    options = argparse.ArgumentParser(description="Compare heads for numbers and labels with scikit-learn's.")
    options.add_argument("--flowers", action="store_true", help="take the photographs, and not the digits")
    if options.parse_args().flowers:
        base, (images, tasks) = tlx.load("keras/mobilenet_v2", WEIGHTS, head=False), flowers()
    else:
        base, (images, tasks) = tlx.load("cnn-mnist"), turned()
    recipe = tlx.recipes.probe(base, epochs=200, head=tlx.Group(tlx.schedules.Cosine(1e-3)), patience=20)
    for name, (kind, names, targets) in tasks.items():
        source = tlx.data.ColumnSource({"input": images, "target": targets}, names, kind)
        data = tlx.data_from_sources(source)
        wanted = [targets_of(part) for part in (data.train, data.validation, data.test)]
        peer = by_scikit_learn(kind, features_of(base, data), wanted)
        objective = tlx.Regression() if kind == "regression" else tlx.MultiLabel()
        start = base.with_head(data.classes, objective=objective)
        fit = tlx.fit(start, recipe, data, tlx.TrainOptions(batch_size=64))
        metric = "rmse" if kind == "regression" else "mean_average_precision"
        trained = tlx.evaluate(fit, data.test).metrics[metric]
        solved = tlx.linear_probe(base, data).test[metric]
        print(f"{name}, {metric}: trained {trained:.4f}, solved {solved:.4f}, scikit-learn {peer:.4f}", flush=True)


if __name__ == "__main__":
    main()
