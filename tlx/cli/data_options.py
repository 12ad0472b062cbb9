"""Which examples of labelled data a command takes: their split, their number, and what becomes of empty classes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tlx.cli.options import InputOptions, percentage
from tlx.progress import doing

if TYPE_CHECKING:
    from tlx.data import Data, InputSpec

DATA_GROUP = (
    *("labels_per_class", "validation", "test"),
    *("text", "target", "objective", "test_data", "validation_data"),
    *("train_split", "validation_split", "test_split", "empty_classes", "seed"),
)


@dataclass(frozen=True, kw_only=True)
class DataOptions(InputOptions):
    """What every command understands that takes labelled data apart."""

    seed: int = 0
    """Of the split, the order of examples, augmentation and what is initialised."""
    labels_per_class: int | None = None
    """How many labels a class training and validation may use; by default all (10 for digits)."""
    validation: float | None = None
    """The share of the training examples kept for validation where the data have no validation set; by default 0.2
    (0.15 for digits)."""
    test: float | None = None
    """The share kept for testing before that, where the data have no test set; by default 0.2 (0.3 for digits)."""
    train_split: str | None = None
    """What to train on of the data: a folder, a split of a manifest, or a slice such as train[10%:] (tfds, hf)."""
    validation_split: str | None = None
    """What to validate on, named likewise."""
    test_split: str | None = None
    """What to test on, named likewise."""
    test_data: str | None = None
    """What to test on, where it is a file or folder of its own, read as --data is."""
    validation_data: str | None = None
    """What to validate on, likewise."""
    text: tuple[str, ...] = ()
    """Of a table of texts: the column that is the input, or two for pairs, by name, or by number from 1 where there is
    no header; by default the one with a usual name or the longest prose, which is said. Of tagged words: theirs, by
    number or a field of CoNLL-U; by default the first, or FORM."""
    target: tuple[str, ...] = ()
    """Of a table: the column to predict, or several; by default label, and of texts also class, stars and so on. Of
     tagged words: their tags; by default the last column, or UPOS."""
    objective: Literal["auto", "classification", "multi-label", "regression", "tags"] = "auto"
    """What the target holds: a class, several labels (between commas, semicolons or bars, or a column of zeros and ones
    each), numbers, or a tag for each word (CoNLL's columns, or JSON lines with lists). auto: what the file holds, a
    class, or with --target what it looks like, which is said."""
    empty_classes: Literal["refuse", "skip"] = "refuse"
    """What becomes of a class folder that holds no images; skip: it is left out and noted."""

    def load(self, source: str, preprocess: "InputSpec | None", inputs: tuple[str, ...] = ()) -> "Data":
        """Load the data of that name; an image of a shape that `preprocess` does not take is bad."""
        import tlx

        allowed = percentage("skip-bad", self.skip_bad)
        doing("reading the data")
        return tlx.load_data(
            source,
            seed=self.seed,
            labels_per_class=self.labels_per_class,
            validation=self.validation,
            test=self.test,
            train_split=self.train_split,
            validation_split=self.validation_split,
            test_split=self.test_split,
            skip_bad=allowed,
            empty_classes=self.empty_classes,
            target=self.target,
            inputs=inputs,
            text=self.text,
            test_data=self.test_data,
            validation_data=self.validation_data,
            target_kind="class" if self.objective == "classification" else self.objective,
            preprocess=preprocess,
            progress=True,
        )
