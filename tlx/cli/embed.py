"""`tlx embed`: write the features of images to a file, with their labels where these are known."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import tyro

from tlx.cli.data_options import DATA_GROUP, DataOptions
from tlx.cli.model_inputs import check_faults, find_inputs, open_model
from tlx.cli.options import percentage
from tlx.cli.output import print_json
from tlx.errors import ConfigError
from tlx.files import home

if TYPE_CHECKING:
    import numpy as np

    from tlx.data import Source
    from tlx.presets import Pretrained

_PARTS = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class Embed(DataOptions):
    """Write the features of images, at any stage of a base, to a .npz, .parquet or .safetensors file.

    The model comes first, or is named by --base: then all are images. With --data the labels are written, too, for
    another classifier.
    """

    GROUPS: ClassVar[Mapping[str, tuple[str, ...]]] = {"options": (), "labelled data": DATA_GROUP}  # its own first

    inputs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[MODEL] IMAGE...")]
    """MODEL IMAGE…: as for tlx predict; with --data, the model alone."""
    out: str
    """The file to make: .npz (features, paths), .parquet (path, features) or .safetensors (features; paths in its
    metadata, as JSON); with --data also labels, classes and parts (.parquet: label, class, part)."""
    data: str | None = None
    """Embed the examples of these data, named as for tlx finetune, and write their labels."""
    part: Literal["all", "train", "validation", "test"] = "all"
    """With --data: which part; all: one after the other."""
    base: str | None = None
    """The model: keras/mobilenet_v2, say."""
    weights: str | None = None
    """The weight file of a published model, as its source publishes it; by default it is fetched."""
    stage: str | None = None
    """The stage of the base whose output is written; by default the last."""
    pool: Literal["average", "max", "flatten", "cls"] | None = None
    """What becomes of height and width, or of a text's pieces; by default average, and of texts as the model says,
    which may normalise, too."""
    batch_size: int = 64
    """How many images are computed at once."""

    def run(self) -> None:
        from tlx.presets.conversion import check_free
        from tlx.runs import check_features_file

        percentage("skip-bad", self.skip_bad)
        check_free(home(self.out))
        check_features_file(self.out)
        name, trained, inputs = open_model(self.base, self.weights, self.inputs)
        if self.data is None:
            if self.part != "all":
                raise ConfigError(f"--part {self.part} goes with --data")
            written = self._images(inputs, trained)
        elif inputs:
            raise ConfigError(f"--data {self.data} and {inputs[0]}: name data or images, not both")
        else:
            written = self._examples(self.data, trained)
        stage = self.stage or trained.model.base.stage_names[-1]
        result = {"path": self.out, **written, "stage": stage, "pool": self.pool or pool_of(trained, self.stage)}
        if self.json:
            print_json({"model": name, **result})
        else:
            rows, features = written["rows"], written["features"]
            print(f"{self.out}: {rows} rows of {features} features of {name}'s stage {stage}, {result['pool']}")

    def _images(self, inputs: list[str], trained: "Pretrained") -> dict[str, Any]:
        """Write the features of images; return how many, and which are left out."""
        import numpy as np

        from tlx.progress import counted
        from tlx.runs import write_features

        examples: Any = find_inputs(inputs, trained)
        rows = np.stack(list(counted(self._features(examples, trained), len(examples), "embedding")))
        bad = getattr(examples, "faults", {})
        faults = list(bad.values())
        check_faults(faults, len(examples), percentage("skip-bad", self.skip_bad))
        good = [index for index in range(len(examples)) if index not in bad]
        write_features(self.out, rows[good], [examples.names[index] for index in good])
        return {"rows": len(good), "features": rows.shape[1], "skipped": faults}

    def _examples(self, source: str, trained: "Pretrained") -> dict[str, Any]:
        """Write the features of labelled data; return how many of each part, the classes, and what is left out."""
        import numpy as np

        from tlx.data import names_of, targets_of
        from tlx.images.preprocess import of_images
        from tlx.progress import counted
        from tlx.runs import FeatureLabels, write_features

        spec = trained.preprocess
        data = self.load(source, spec if takes_texts(trained) else of_images(spec))
        chosen = _PARTS if self.part == "all" else (self.part,)
        parts = {part: getattr(data, part) for part in chosen if len(getattr(data, part))}
        if not parts:
            raise ConfigError(f"--part {self.part}: the data have no such examples; change the shares or name a set")
        for note in data.notes:
            print(f"tlx: {note}", file=sys.stderr)
        total = sum(map(len, parts.values()))
        features = (row for part in parts.values() for row in self._features(part, trained))
        rows = np.stack(list(counted(features, total, "embedding")))
        names = [name for part, held in parts.items() for name in names_of(held) or _numbered(part, len(held))]
        targets = np.concatenate([targets_of(part) for part in parts.values()])
        of_rows = tuple(part for part, held in parts.items() for _ in range(len(held)))
        write_features(self.out, rows, names, FeatureLabels(targets, data.classes, of_rows, data.target_kind))
        sizes = {part: len(held) for part, held in parts.items()}
        return {
            "rows": total,
            "features": rows.shape[1],
            "classes": list(data.classes),
            "parts": sizes,
            "skipped": list(data.skipped),
        }

    def _features(self, source: "Source", trained: "Pretrained") -> "Iterator[np.ndarray]":
        """Yield the features of one example after the other."""
        from tlx.training import features

        for part in features(
            trained.model,
            trained.variables,
            source,
            trained.preprocess,
            stage=self.stage,
            pool=self.pool or (None if takes_texts(trained) and self.stage is None else "average"),
            batch_size=self.batch_size,
            workers=self.workers,
        ):
            yield from part


def takes_texts(trained: "Pretrained") -> bool:
    """Tell whether a model takes texts."""
    return hasattr(trained.preprocess, "takes_text")


def pool_of(trained: "Pretrained", stage: str | None) -> str:
    """Say how features are pooled where nobody said so."""
    if stage is not None or not takes_texts(trained):
        return "average"
    return trained.config.pool + (", normalised" if trained.config.normalize else "")


def _numbered(part: str, count: int) -> Iterator[str]:
    return (f"{part}#{number}" for number in range(count))
