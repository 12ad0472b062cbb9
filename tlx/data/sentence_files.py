"""Sentences without tags, to predict from: files of words, or of texts that are split at blanks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from tlx.data.arrays import ColumnSource
from tlx.data.bad import some
from tlx.data.readers.tags import are_tags, read_sentences
from tlx.data.tag_arrays import tagged
from tlx.data.text_files import text_files
from tlx.errors import DataError
from tlx.files import home
from tlx.files.opening import shown


class SentenceFiles(ColumnSource):
    """Sentences of files, without tags; `notes` say how they were read."""

    notes: tuple[str, ...] = ()


def sentence_files(paths: Iterable[str | os.PathLike[str]], columns: Sequence[str] = ()) -> SentenceFiles:
    """Read the words of files, as `tlx.data.readers.tags` does, or texts, whose words stand between blanks.

    Args:
        paths: files of tagged words, whose tags do not count, or of texts (`text_files`).
        columns: the column of the words, or of the texts, by name or number.

    Returns:
        A source without targets, whose input is a tuple of words, and whose `names` are file and line.

    Raises:
        DataError: for no files, and for files that hold something else, naming file and line.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile(suffix=".txt") as file:
    ...     _ = file.write(b"Rome fell.\\n")
    ...     file.flush()
    ...     sentence_files([file.name])[0]["input"]
    ('Rome', 'fell.')
    """
    words: list[Sequence[str]] = []
    names: list[str] = []
    notes: list[str] = []
    for path in map(str, map(home, paths)):
        if are_tags(path) and not os.path.isdir(path):
            read = read_sentences(path, columns, needs_tags=False)
            if read.faults:
                total = len(read.words) + len(read.faults)
                raise DataError(f"{len(read.faults)} of {total} texts are bad: {some(read.faults)}; mend these lines")
            words, names, notes = [*words, *read.words], [*names, *read.names], [*notes, *read.notes]
            continue
        texts = text_files([path], columns)
        if isinstance(texts.columns["input"], dict):
            raise DataError(f"{shown(path)}: pairs of texts, and the model tags the words of one; name one column")
        words += [text.split() for text in texts.columns["input"]]
        names += list(texts.names or ())
        notes += list(texts.notes)
    if not words:
        raise DataError("no texts; name a file of words or of texts")
    source = SentenceFiles(tagged(words).columns, names=names)
    source.notes = tuple(notes)
    return source
