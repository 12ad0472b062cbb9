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
    """Name the most probable classes of pictures, or of arrays of pictures."""

    model: Annotated[str, tyro.conf.Positional]
    """The folder of a run or an export, or a preset."""
    images: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Pictures (PNG, JPEG, BMP, GIF, TIFF, WebP), or arrays on the scale 0 to 255 (.npy, idx)."""
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

        if not self.images:
            raise ConfigError("no pictures: name files after the model")
        if self.top < 1:
            raise ConfigError(f"--top must be at least 1, not {self.top}")
        trained = tlx.load(self.model)
        preprocess = replace(trained.preprocess, invert=trained.preprocess.invert != self.invert)
        named = [picture for file in self.images for picture in read_pictures(file)]
        inputs = np.concatenate([preprocess(picture[None]) for _, picture in named])
        probabilities = tlx.predict(trained.model, trained.variables, inputs)
        tops = [_top(row, trained.classes, self.top) for row in probabilities]
        names = [name for name, _ in named]
        if self.json:
            predictions = [{"path": name, "top": top} for name, top in zip(names, tops, strict=True)]
            print_json({"model": self.model, "predictions": predictions})
            return
        print_table(
            self.model,
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
