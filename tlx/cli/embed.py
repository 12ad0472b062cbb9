"""`tlx embed`: write the features of pictures to a file."""

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from tlx.cli.options import PictureOptions, percentage
from tlx.cli.output import print_json
from tlx.cli.pictures import check_faults, open_model
from tlx.files import home


@dataclass(frozen=True, kw_only=True)
class Embed(PictureOptions):
    """Write the features of pictures, at any stage of a base, to a .npz, .parquet or .safetensors file.

    The model comes first, or is named by --base: then all are pictures.
    """

    inputs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[MODEL] IMAGE...")]
    """MODEL IMAGE…: as for tlx predict."""
    out: str
    """The file to make: .npz (features, paths), .parquet (path, features) or .safetensors (features; paths in its
    metadata, as JSON)."""
    base: str | None = None
    """The model: keras/mobilenet_v2, say."""
    weights: str | None = None
    """The weight file of a published model, as its source publishes it; by default it is fetched."""
    stage: str | None = None
    """The stage of the base whose output is written; by default the last."""
    pool: Literal["average", "max", "flatten"] = "average"
    """What becomes of height and width."""
    batch_size: int = 64
    """How many images are computed at once."""

    def run(self) -> None:
        import numpy as np

        from tlx.presets.conversion import check_free
        from tlx.progress import counted
        from tlx.training import check_features_file, features, write_features

        allowed = percentage("skip-bad", self.skip_bad)
        check_free(home(self.out))
        check_features_file(self.out)
        name, trained, pictures = open_model(self.base, self.weights, self.inputs)
        parts = features(
            trained.model,
            trained.variables,
            pictures,
            trained.preprocess,
            stage=self.stage,
            pool=self.pool,
            batch_size=self.batch_size,
            workers=self.workers,
        )
        rows = np.stack(list(counted((row for part in parts for row in part), len(pictures), "embedding")))
        check_faults(list(pictures.faults.values()), len(pictures), allowed)
        good = [index for index in range(len(pictures)) if index not in pictures.faults]
        write_features(self.out, rows[good], [pictures.names[index] for index in good])
        stage = self.stage or trained.model.base.stage_names[-1]
        result = {"path": self.out, "rows": len(good), "features": rows.shape[1], "stage": stage, "pool": self.pool}
        if self.json:
            print_json({"model": name, **result, "skipped": list(pictures.faults.values())})
        else:
            print(f"{self.out}: {len(good)} rows of {rows.shape[1]} features of {name}'s stage {stage}, {self.pool}")
