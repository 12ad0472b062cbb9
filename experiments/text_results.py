"""What the experiments on texts share: where the tables are, and what the accuracies are worth."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import tlx
from tlx.analysis import accuracy_interval

DATA = Path(os.environ.get("TLX_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")) / "text"
DRAWS = 10_000


@dataclass(frozen=True)
class Options:
    """Run an experiment on texts."""

    folder: str = str(DATA)
    """Where the tables of texts are."""
    labels_per_class: int | None = None
    """How many labels a class training and validation may use; by default all."""
    epochs: int = 3
    batch_size: int = 32
    seed: int = 0

    def load(self, train: str, test: str, base: tlx.Pretrained | None = None, text: Sequence[str] = ("2",)) -> tlx.Data:
        """Load tables without names of columns, the label in the first; a tenth of the first table validates."""
        return tlx.load_data(
            f"texts:{Path(self.folder, train)}",
            preprocess=None if base is None else base.preprocess,
            test_data=f"texts:{Path(self.folder, test)}",
            text=tuple(text),
            target=("1",),
            target_kind="class",
            validation=0.1,
            labels_per_class=self.labels_per_class,
            seed=self.seed,
        )


def bounds(right: np.ndarray) -> str:
    """Say the share of what is right, (N,) bool, and its 95% interval.

    >>> bounds(np.array([True] * 80 + [False] * 20))
    '80.0% (71.1 to 86.7)'
    """
    low, high = accuracy_interval(float(right.mean()), len(right))
    return f"{100 * right.mean():.1f}% ({100 * low:.1f} to {100 * high:.1f})"


def gain(before: np.ndarray, after: np.ndarray, seed: int = 0) -> str:
    """Say by how many points what is right grew, both (N,) bool on the same texts: a 95% interval by paired bootstrap.

    Texts are drawn with replacement; of each only the change counts, so that the draws are multinomial.

    >>> gain(np.array([True] * 80 + [False] * 20), np.array([True] * 95 + [False] * 5))
    '+15.0 points (+8.0 to +22.0)'
    """
    change = after.astype(int) - before.astype(int)
    shares = [(change == value).mean() for value in (-1, 0, 1)]
    drawn = np.random.default_rng(seed).multinomial(len(change), shares, DRAWS)
    low, high = np.percentile((drawn[:, 2] - drawn[:, 0]) / len(change), (2.5, 97.5))
    return f"{100 * change.mean():+.1f} points ({100 * low:+.1f} to {100 * high:+.1f})"


def right(trained: tlx.Pretrained | tlx.Fit, source: tlx.data.Source) -> np.ndarray:
    """Tell of each text whether its class was found, (N,) bool."""
    found = tlx.evaluate(trained, source)
    return found.predicted == found.labels


def thawed(base: tlx.Pretrained, data: tlx.Data, options: Options, stage: str, rate: float, head: float) -> tlx.Phase:
    """Return the phase that trains a head and the base from a stage upward, as BERT is: AdamW at a rate that rises
    over the first tenth of the steps and falls linearly to zero.
    """
    steps = options.epochs * -(-len(data.train) // options.batch_size)
    base_group, head_group = (
        tlx.Group(tlx.schedules.Linear(each, warmup=steps // 10), tlx.optim.AdamW(), weight_decay=0.01)
        for each in (rate, head)
    )
    recipe = tlx.recipes.finetune(
        base, base_epochs=options.epochs, base=base_group, head=head_group, thaw_from=stage, patience=None
    )
    return recipe[1]


def say(title: str, rows: Mapping[str, Sequence[str]]) -> None:
    """Print a table, a row for each key."""
    print(title)
    wide = max(map(len, rows))
    for name, cells in rows.items():
        print(f"  {name:{wide}}  {'  '.join(cells)}", flush=True)
