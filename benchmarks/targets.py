"""Heads for numbers and for several labels, beside scikit-learn's own fits to the same features.

    python benchmarks/targets.py

1,797 digits are turned by up to 60 degrees; the angle is to be told, and which of four properties a digit has. The
frozen base is `cnn-mnist`, its head trains by Adam with early stopping (`tlx.recipes.probe`); scikit-learn gets what
the base makes of the same images: ridge regression, and a logistic regression for each label, each with the strength
that is best on the validation examples.
"""

import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import average_precision_score, mean_squared_error
from sklearn.preprocessing import StandardScaler

import tlx
from tlx.data.source import targets_of
from tlx.training import features

STRENGTHS = np.logspace(-4, 1, 11)
PROPERTIES = {"even": (0, 2, 4, 6, 8), "small": (0, 1, 2, 3, 4), "round": (0, 6, 8, 9), "straight": (1, 4, 7)}


def turned() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return digits turned at random (N, 28, 28), their angles (N, 1) and their properties (N, 4)."""
    draw, data = np.random.default_rng(0), tlx.load_data("digits", labels_per_class=1000)
    examples = [part[row] for part in (data.train, data.validation, data.test) for row in range(len(part))]
    angles = draw.uniform(-60, 60, len(examples))
    images = [
        np.asarray(Image.fromarray(np.asarray(each["input"], np.uint8)).resize((28, 28), 2).rotate(angle))
        for each, angle in zip(examples, angles, strict=True)
    ]
    has = np.array([[int(each["target"]) in group for group in PROPERTIES.values()] for each in examples])
    return np.stack(images), angles[:, None], has


def split(images: np.ndarray, targets: np.ndarray, names: tuple[str, ...], kind: str) -> tlx.Data:
    return tlx.data_from_sources(tlx.data.ColumnSource({"input": images, "target": targets}, names, kind))


def features_of(base: tlx.Pretrained, data: tlx.Data) -> list[np.ndarray]:
    """Return the base's features of the three parts, standardised by those of training."""
    parts = [
        np.concatenate(list(features(base, part, pool="flatten"))) for part in (data.train, data.validation, data.test)
    ]
    scale = StandardScaler().fit(parts[0])
    return [scale.transform(part) for part in parts]


def head(base: tlx.Pretrained, data: tlx.Data, rate: float) -> dict[str, float]:
    """Train a head by the recipe, and return what the test says."""
    recipe = tlx.recipes.probe(base, epochs=200, head=tlx.Group(tlx.schedules.Cosine(rate)), patience=20)
    fit = tlx.fit(base.with_head(data.classes), recipe, data, tlx.TrainOptions(batch_size=64))
    return dict(tlx.evaluate(fit, data.test).metrics)


def main() -> None:
    base, (images, angles, has) = tlx.load("cnn-mnist"), turned()

    data = split(images, angles, ("angle",), "regression")
    train, validation, test = features_of(base, data)
    wanted = [targets_of(part) for part in (data.train, data.validation, data.test)]
    fits = [Ridge(alpha).fit(train, wanted[0]) for alpha in np.logspace(0, 5, 16)]
    best = min(fits, key=lambda each: mean_squared_error(wanted[1], each.predict(validation)))
    peer = mean_squared_error(wanted[2], best.predict(test)) ** 0.5
    ours = head(base, data, 1e-3)["rmse"]
    print(f"angle, RMSE in degrees: tlx {ours:.3f}, ridge regression {peer:.3f}, ratio {ours / peer:.3f}")

    data = split(images, has, tuple(PROPERTIES), "multi-label")
    train, validation, test = features_of(base, data)
    wanted = [targets_of(part) for part in (data.train, data.validation, data.test)]
    scores = []
    for label in range(len(PROPERTIES)):
        models = [
            LogisticRegression(C=c, max_iter=2000).fit(train, wanted[0][:, label]) for c in np.logspace(-4, 1, 11)
        ]
        of = [average_precision_score(wanted[1][:, label], each.decision_function(validation)) for each in models]
        chosen = models[int(np.argmax(of))]
        scores.append(average_precision_score(wanted[2][:, label], chosen.decision_function(test)))
    peer, ours = float(np.mean(scores)), head(base, data, 1e-3)["mean_average_precision"]
    print(f"properties, mean average precision: tlx {ours:.4f}, logistic regressions {peer:.4f}, {ours - peer:+.4f}")


if __name__ == "__main__":
    main()
