"""Train the packaged presets `cnn-mnist` and `mlp-mnist` on MNIST, from scratch.

    python experiments/mnist_presets.py cnn-mnist --data idx:DIR
    python experiments/mnist_presets.py mlp-mnist --data idx:DIR

DIR holds MNIST's four idx files; `--data tfds:mnist` reads a prepared TensorFlow data set instead.
"""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from common import start

import tlx
from tlx.logs import ProgressBar
from tlx.models import ModelConfig, build_model, init_variables
from tlx.optim import Cosine, Group

MODELS = {
    "cnn-mnist": ModelConfig("cnn", classes=10, input_shape=(28, 28, 1), hidden=(64,), pool="flatten", dropout=0.5),
    "mlp-mnist": ModelConfig("mlp", classes=10, input_shape=(28, 28, 1), pool="flatten"),
}


@dataclass(frozen=True)
class Options:
    """Train a packaged preset on MNIST."""

    name: Annotated[Literal["cnn-mnist", "mlp-mnist"], tyro.conf.Positional]
    """Which preset."""
    data: str = "tfds:mnist"
    """Where MNIST is: idx:DIR or tfds:mnist."""
    epochs: int = 12
    batch_size: int = 64
    rate: float = 1e-3
    """The highest learning rate of Adam; it falls along a cosine."""
    seed: int = 0
    out: Path = Path("tlx/presets/packaged")
    """The folder in which the preset's folder is made."""


def main(options: Options) -> None:
    data = tlx.load_data(options.data, validation=0.05, seed=options.seed)
    config = MODELS[options.name]
    # MNIST's digits fill the middle 20x20 of 28x28; an image of another size is fitted in likewise.
    preprocess = tlx.Preprocess(28, 28, 1, margin=4, interpolation="bicubic")
    model = build_model(config)
    recipe = tlx.recipes.scratch((), epochs=options.epochs, group=Group(Cosine(options.rate)), patience=None)
    bar = ProgressBar(options.name)
    done = tlx.fit(
        model,
        init_variables(config, options.seed),
        recipe,
        data,
        tlx.TrainOptions(batch_size=options.batch_size, seed=options.seed, preprocess=preprocess),
        callbacks=[bar],
    )
    bar.close()
    scores = tlx.evaluate(done, data.test)
    print(f"{options.name}: test accuracy {scores.accuracy:.4f}, loss {scores.loss:.4f} on {len(data.test)} images")
    card = {
        "description": f"{config.architecture.upper()} trained from scratch on MNIST's handwritten digits",
        "data": f"MNIST: {len(data.train)} training and {len(data.validation)} validation images",
        "accuracy": f"{scores.accuracy:.4f} on MNIST's {len(data.test)} test images",
        "licence": "Apache-2.0",
        "command": shlex.join(["python", "experiments/mnist_presets.py", options.name, *_settings(options)]),
    }
    tlx.save(
        tlx.Pretrained(options.name, config, done.variables, preprocess, data.classes, card), options.out / options.name
    )


def _settings(options: Options) -> list[str]:
    kind = options.data.partition(":")[0]
    where = "tfds:mnist" if kind == "tfds" else f"{kind}:DIR"
    names = ("epochs", "batch_size", "rate", "seed")
    return ["--data", where, *(f"--{name.replace('_', '-')}={getattr(options, name)}" for name in names)]


if __name__ == "__main__":
    start(main)
