"""`tlx evaluate`: test a trained model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from tlx.cli.options import Command
from tlx.cli.output import percent, print_json


@dataclass(frozen=True, kw_only=True)
class Evaluate(Command):
    """Test a finished run on its own test examples, or any model on --data."""

    model: Annotated[str, tyro.conf.Positional]
    """The folder of a run or an export, or a preset."""
    data: str | None = None
    """Test on the test examples of digits, idx:DIR, idx:DIR/PREFIX, npz:FILE or tfds:NAME; by default the run's own.
    Data without a test set are split, as the run split its own."""
    batch_size: int = 128
    """With --data."""

    def run(self) -> None:
        import tlx
        from tlx.errors import ConfigError

        is_run = Path(self.model, "run.json").is_file()
        if self.data is None:
            if not is_run:
                raise ConfigError(f"{self.model}: not a run: say with --data what to test it on")
            scores = tlx.training.evaluate_run(self.model)
        else:
            # With the run's own seed and shares, data that the run was trained on are split as they were then.
            trained, split = tlx.load(self.model), tlx.training.split_of(self.model) if is_run else {}
            data = tlx.load_data(self.data, **split)
            if data.classes != trained.classes:
                raise ConfigError(f"{self.data} has the classes {data.classes}, {self.model} {trained.classes}")
            scores = tlx.evaluate(
                trained.model, trained.variables, data.test, trained.preprocess, batch_size=self.batch_size
            )
        result = {"accuracy": scores.accuracy, "loss": scores.loss, "examples": len(scores.labels)}
        if self.json:
            print_json(result)
        else:
            print(f"accuracy {percent(scores.accuracy)}   loss {scores.loss:.4f}   on {len(scores.labels)} examples")
