"""What the experiments on published bases share: their options."""

from dataclasses import dataclass, replace

import tlx
from tlx import Pretrained
from tlx.images import Preprocess


@dataclass(frozen=True)
class Options:
    """Run a transfer experiment with a published base."""

    out: str
    """A new directory for the run."""
    data: str
    """What `tlx finetune --data` takes: a folder of images, idx:DIR, tfds:NAME …"""
    base: str
    """A published base (see `tlx presets`)."""
    weights: str | None = None
    """The base's weight file, as its source publishes it; by default it is fetched."""
    input_size: tuple[int, int] | None = None
    """Height and width at which the base sees images; by default its own."""
    train_split: str | None = None
    validation_split: str | None = None
    test_split: str | None = None
    labels_per_class: int | None = None
    epochs: int = 5
    """Epochs of the first phase."""
    batch_size: int = 32
    seed: int = 0

    def load_base(self) -> Pretrained:
        """Load the base without its head, at the size of image that is wanted."""
        base = tlx.load(self.base, self.weights).without_head()
        return base if self.input_size is None else base.with_input(self.input_size)

    def load_data(self) -> tlx.Data:
        """Load the data, by their own splits or by those named."""
        return tlx.load_data(
            self.data,
            seed=self.seed,
            labels_per_class=self.labels_per_class,
            validation=0.15,
            train_split=self.train_split,
            validation_split=self.validation_split,
            test_split=self.test_split,
            progress=True,
        )


def squeezed(preprocess: Preprocess) -> Preprocess:
    """Resize the whole image instead of cutting its middle out: a letter's edges matter."""
    return replace(preprocess, resize=None, rounding="torchvision")
