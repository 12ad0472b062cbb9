"""Images: the input spec, its operations, augmentation and decoding; no source of data is known here."""

from tlx.images.augment import Augment
from tlx.images.augment_function import AugmentFunction
from tlx.images.preprocess import Preprocess

__all__ = ["Augment", "AugmentFunction", "Preprocess"]
