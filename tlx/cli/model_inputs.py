"""What `predict` and `embed` share: which model, which inputs, and what becomes of bad images."""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from tlx.errors import ConfigError, DataError
from tlx.progress import doing

if TYPE_CHECKING:
    from tlx.data import ColumnSource, ImageFiles
    from tlx.presets import Pretrained

_LISTED = 10


def open_model(base: str | None, weights: str | None, inputs: Sequence[str]) -> "tuple[str, Pretrained, list[str]]":
    """Load the model that is named by --base or stands first; return its name, the model and what else is named."""
    import tlx

    if base is None and not inputs:
        raise ConfigError("no model: name a run, an export or a preset, then images")
    name, *others = inputs if base is None else (base, *inputs)
    doing(f"loading {name}")
    if weights is not None and os.path.isdir(name):
        return name, _with_words(tlx.load(name), weights, others), others
    return name, tlx.load(name, weights), others


def _with_words(trained: "Pretrained", weights: str, inputs: Sequence[str]) -> "Pretrained":
    """Give a model of word vectors those of the words that it lacks and texts hold, from a file."""
    import numpy as np

    from tlx.data.source import take
    from tlx.presets.word_base import extended
    from tlx.text.tokens import as_texts

    if trained.config.architecture != "words":
        raise ConfigError(f"{trained.name}: only published models, and those of word vectors, take a file of weights")
    if "-" in inputs:
        raise ConfigError("--weights with -: words are looked up before texts are read: name files")
    texts = find_texts(inputs)
    first, second = as_texts(take(texts, np.arange(len(texts)))["input"])
    return extended(trained, weights, [*first, *(second or ())])


def find_inputs(inputs: Sequence[str], trained: "Pretrained") -> "ImageFiles | ColumnSource":
    """Find what a command's arguments stand for: images, or texts or vectors where the model takes these."""
    from tlx.data import Vectors
    from tlx.data.vector_files import vector_files

    if "tags" in (trained.objective.target_kinds or ()):
        return find_sentences(inputs)
    if hasattr(trained.preprocess, "takes_text"):
        return find_texts(inputs)
    if not isinstance(trained.preprocess, Vectors):
        return find_images(inputs, trained)
    if not inputs:
        raise ConfigError("no vectors: name files after the model")
    return vector_files(_expanded(inputs), trained.preprocess)


def find_sentences(inputs: Sequence[str]) -> "ColumnSource":
    """Find the words that a command's arguments stand for: those of files, or of standard input for -.

    Standard input has CoNLL's lines, or a text a line, as a file would.
    """
    import tempfile

    from tlx.data.sentence_files import sentence_files

    if not inputs:
        raise ConfigError("no texts: name files after the model, or - for standard input")
    if "-" not in inputs:
        found = sentence_files(inputs)
        for note in found.notes:
            print(f"tlx: {note}", file=sys.stderr)
        return found
    if len(inputs) > 1:
        raise ConfigError("-: stands for standard input: name it alone, or files alone")
    with tempfile.TemporaryDirectory() as folder:  # what a file holds is told by its lines, some of them twice
        path = os.path.join(folder, "standard-input.txt")
        with open(path, "wb") as file:
            file.write(_standard_input())
        try:
            found = sentence_files([path])
        except DataError as error:
            raise DataError(str(error).replace(path, "-")) from None
    names = [name.replace(f"{path} ", "") for name in found.names or ()]
    from tlx.data import ColumnSource

    return ColumnSource(found.columns, names=names)


def find_texts(inputs: Sequence[str]) -> "ColumnSource":
    """Find the texts that a command's arguments stand for: those of files, or the lines of standard input for -."""
    import numpy as np

    from tlx.data import ColumnSource
    from tlx.data.text_files import text_files

    if not inputs:
        raise ConfigError("no texts: name files after the model, or - for the lines of standard input")
    if "-" not in inputs:
        return text_files(inputs)
    if len(inputs) > 1:
        raise ConfigError("-: stands for standard input: name it alone, or files alone")
    try:
        lines = _standard_input().decode("utf-8-sig").split("\n")  # as files: other separators may stand in a text
    except UnicodeDecodeError as error:
        raise DataError(f"-: standard input is not UTF-8 at byte {error.start}: convert it first") from error
    numbered = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    if not numbered:
        raise DataError("-: standard input holds no text")
    names = [f"line {number}" for number, _ in numbered]
    return ColumnSource({"input": np.array([line for _, line in numbered], object)}, names=names)


def find_images(inputs: Sequence[str], trained: "Pretrained") -> "ImageFiles":
    """Find the images that a command's arguments stand for."""
    from tlx.data import ImageFiles
    from tlx.images.preprocess import of_images

    if not inputs:
        raise ConfigError("no images: name files or folders after the model")
    images = ImageFiles(_expanded(inputs), of_images(trained.preprocess))
    for note in images.notes:
        print(f"tlx: {note}", file=sys.stderr)
    return images


def _expanded(inputs: Iterable[str]) -> Iterator[str]:
    """Put the lines of standard input where - stands."""
    for name in inputs:
        if name == "-":
            text = _standard_input().decode(sys.getfilesystemencoding(), "surrogateescape")
            yield from (line for line in text.split("\0" if "\0" in text else "\n") if line.strip())
        else:
            yield name


def _standard_input() -> bytes:
    try:
        return sys.stdin.buffer.read()
    except (OSError, ValueError, AttributeError) as error:  # a directory, closed, or None
        reason = getattr(error, "strerror", None) or "it is closed"
        raise DataError(f"-: standard input cannot be read ({reason}): name files") from error


def check_faults(faults: Sequence[str], total: int, allowed: float) -> None:
    """Tell of bad images on standard error, or raise `DataError` that lists them where they are too many."""
    if not faults:
        return
    listed = "; ".join(faults[:_LISTED]) + (f"; and {len(faults) - _LISTED} more" if len(faults) > _LISTED else "")
    if len(faults) / total <= allowed:
        print(f"tlx: {len(faults)} of {total} images are bad and left out: {listed}", file=sys.stderr)
    elif total == 1:
        raise DataError(faults[0])
    else:
        raise DataError(f"{len(faults)} of {total} images are bad (--skip-bad allows {100 * allowed:g}%): {listed}")
