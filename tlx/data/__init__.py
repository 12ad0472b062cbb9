"""Examples by number, their splits, and batches."""

from tlx.data.arrays import ArraySource, ColumnSource
from tlx.data.encoded import EncodedSource, encoded_images
from tlx.data.image_files import ImageFiles
from tlx.data.inputs import InputSpec, Vectors
from tlx.data.load import check_data, check_shapes, data_from_arrays, data_from_sources, fingerprint, load_data
from tlx.data.pipeline import Batch, Feed, batches, gather, steps_per_epoch
from tlx.data.readers.idx import read_idx
from tlx.data.readers.npz import read_npz
from tlx.data.source import Example, Source, labels_of, names_of, targets_of
from tlx.data.spec import Data, DataSpec
from tlx.data.splits import Split, split_rows
from tlx.data.text_arrays import texts
from tlx.data.text_files import TextFiles, text_files
from tlx.data.views import Relabelled, Subset

__all__ = [
    "ArraySource",
    "Batch",
    "ColumnSource",
    "Data",
    "DataSpec",
    "EncodedSource",
    "Example",
    "Feed",
    "ImageFiles",
    "InputSpec",
    "Relabelled",
    "Source",
    "Split",
    "Subset",
    "TextFiles",
    "Vectors",
    "batches",
    "check_data",
    "check_shapes",
    "data_from_arrays",
    "data_from_sources",
    "encoded_images",
    "fingerprint",
    "gather",
    "labels_of",
    "load_data",
    "names_of",
    "read_idx",
    "read_npz",
    "split_rows",
    "steps_per_epoch",
    "targets_of",
    "text_files",
    "texts",
]
