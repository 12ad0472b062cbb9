"""`tlx predict`: name the classes of pictures."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from tlx.cli.options import Command
from tlx.cli.output import percent, print_json, print_table

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, kw_only=True)
class Predict(Command):
    """Name the most probable classes of pictures, or of arrays of pictures.

    The model comes first, or is named by --base: then all are pictures.
    """

    inputs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[MODEL] IMAGE...")]
    """MODEL IMAGE…: a run, an export or a preset; pictures (PNG, JPEG, BMP, GIF, TIFF, WebP) or arrays (.npy, idx)."""
    base: str | None = None
    """The model, with its own head: keras/mobilenet_v2, say."""
    weights: str | None = None
    """The weight file of a published model, as its source publishes it; by default it is fetched."""
    top: int = 3
    """How many classes to name for each picture."""
    invert: bool = False
    """Turn black into white: where the model knows light on dark and the pictures are dark on light."""

    def run(self) -> None:
        from dataclasses import replace

        import numpy as np

        import tlx
        from tlx.data.pictures import read_pictures
        from tlx.errors import ConfigError

        if self.base is None and not self.inputs:
            raise ConfigError("no model: name a run, an export or a preset, then pictures")
        model, *images = self.inputs if self.base is None else (self.base, *self.inputs)
        if not images:
            raise ConfigError("no pictures: name files after the model")
        if self.top < 1:
            raise ConfigError(f"--top must be at least 1, not {self.top}")
        trained = tlx.load(model, self.weights)
        if not trained.classes:
            raise ConfigError(f"{model}: has no head, so it names no classes: name a model with one")
        preprocess = replace(trained.preprocess, invert=trained.preprocess.invert != self.invert)
        named = [picture for file in images for picture in read_pictures(file)]
        inputs = np.concatenate([preprocess(picture[None]) for _, picture in named])
        probabilities = tlx.predict(trained.model, trained.variables, inputs)
        tops = [_top(row, trained.classes, self.top) for row in probabilities]
        names = [name for name, _ in named]
        if self.json:
            predictions = [{"path": name, "top": top} for name, top in zip(names, tops, strict=True)]
            print_json({"model": model, "predictions": predictions})
            return
        print_table(
            model,
            ("picture", *(f"{place + 1}." for place in range(len(tops[0])))),
            [
                [name, *(f"{best['label']} {percent(best['probability'])}" for best in top)]
                for name, top in zip(names, tops, strict=True)
            ],
        )


def _top(probabilities: "np.ndarray", classes: tuple[str, ...], count: int) -> list[dict[str, Any]]:
    """Describe the `count` most probable classes, the first of equals first."""
    order = (-probabilities).argsort(kind="stable")[:count]
    return [{"index": int(i), "label": classes[i], "probability": float(probabilities[i])} for i in order]
