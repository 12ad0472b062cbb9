"""Read sentences of words with their columns: CoNLL's lines, CoNLL-U, and JSON lines with lists."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from tlx.data.readers.table import lines_of, objects_of, plain_name
from tlx.errors import DataError
from tlx.files.opening import shown

CONLLU = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
DOCUMENT = "-DOCSTART-"
WORDS, TAGS = ("tokens", "words"), ("tags", "ner_tags", "labels", "pos_tags", "upos", "chunk_tags")
_LOOKED_AT = 400  # lines that tell whether a file holds tagged words
_MOST_TAGS = 60  # that a column of tags has in so many lines, or a sixth of them


class Block(NamedTuple):
    """A sentence: the number of its first line, the values of each word's columns, and what is wrong with it."""

    line: int
    rows: list[list[str]]
    fault: str | None


class Columns(NamedTuple):
    """The sentences of a file, the names of their columns, and how many lines begin a document."""

    blocks: list[Block]
    names: tuple[str, ...]
    documents: int


def read_columns(path: str) -> Columns:
    """Read a file of CoNLL's kind: a word a line, its values between tabs or blanks, and an empty line behind a text.

    Lines with "#" before the values of a text are comments, as are those of CoNLL-U, whose ranges of words (1-2) and
    empty words (1.1) are left out, too. A line of another width is a fault of its text.

    Args:
        path: the file.

    Returns:
        The texts; columns are called by the fields of CoNLL-U, or "1" and on.

    Raises:
        DataError: for a file without a text, and naming the line for one that is no text.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile(suffix=".conll") as file:
    ...     _ = file.write(b"-DOCSTART- O\\n\\nRome B-LOC\\nfell O\\n")
    ...     file.flush()
    ...     found = read_columns(file.name)
    >>> found.blocks, found.names
    ([Block(line=3, rows=[['Rome', 'B-LOC'], ['fell', 'O']], fault=None)], ('1', '2'))
    """
    return _of_lines(path, [(number, text.rstrip("\r\n")) for number, text in lines_of(path)])


def _of_lines(path: str, lines: Sequence[tuple[int, str]]) -> Columns:
    filled = [text for _, text in lines if text.strip()]
    tabs = sum("\t" in text for text in filled) > len(filled) / 2
    separator = "\t" if tabs else None
    widths = Counter(len(text.split(separator)) for text in filled if not text.startswith("#"))
    if not widths:
        raise DataError(f"{shown(path)}: holds no words; give one a line, with its tag")
    width = widths.most_common(1)[0][0]
    is_conllu = path.lower().endswith(".conllu") or (tabs and width == len(CONLLU) and _is_numbered(filled))
    if is_conllu:
        width = len(CONLLU)
    blocks, documents = [], 0
    for empty, group in itertools.groupby(lines, key=lambda line: not line[1].strip()):
        if empty:
            continue
        first = 0
        rows: list[list[str]] = []
        faults: list[str] = []
        for number, text in group:
            values = [value.strip() for value in text.split(separator)]
            if text.startswith("#") and (is_conllu or (not rows and len(values) != width)):
                continue
            if values[0] == DOCUMENT:
                documents += 1
                continue
            if is_conllu and not values[0].isdigit() and len(values) == width:
                continue  # a range of words, or an empty one
            first = first or number
            rows.append(values)
            if len(values) != width:
                columns = f"{len(values)} column{'s' * (len(values) != 1)}"
                faults.append(f"line {number} has {columns}, the others {width}")
        if rows:
            blocks.append(Block(first, rows, faults[0] if faults else None))
    names = CONLLU if is_conllu else tuple(map(str, range(1, width + 1)))
    return Columns(blocks, names, documents)


def _is_numbered(lines: Sequence[str]) -> bool:
    """Tell whether lines begin with the numbers of words, as those of CoNLL-U do."""
    firsts = [text.split("\t")[0] for text in lines if not text.startswith("#")]
    return all(first.replace("-", "").replace(".", "").isdigit() for first in firsts)


def read_lists(path: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Go through the objects of a `.jsonl` file, their names as they are compared, each with its line."""
    for line, row in objects_of(path):
        yield line, {plain_name(name): value for name, value in row.items()}


def holds_tags(path: str) -> bool:
    """Tell whether a file looks like tagged words, by its first lines.

    A `.jsonl` file is one where its first object has lists of words and tags. Others are where texts of several lines
    stand between empty ones, all lines have as many values, two or more, and the last of them are few and begin with no
    small letter.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile(suffix=".txt") as file:
    ...     _ = file.write(b"Rome B-LOC\\nfell O\\n\\nso O\\nit O\\n")
    ...     file.flush()
    ...     holds_tags(file.name)
    True
    """
    try:
        if path.lower().endswith(".jsonl"):
            first = next(read_lists(path), (0, {}))[1]
            words, tags = (next((first[name] for name in each if name in first), None) for each in (WORDS, TAGS))
            return isinstance(words, list) and isinstance(tags, list)
        lines = [(number, text.rstrip("\r\n")) for number, text in itertools.islice(lines_of(path), _LOOKED_AT)]
        if not any(not text.strip() for _, text in lines[:-1]):
            return False
        found = _of_lines(path, lines)
    except DataError:  # which a reader says better
        return False
    rows = [row for block in found.blocks for row in block.rows]
    if len(found.names) < 2 or len(rows) < 2 * max(len(found.blocks) - 1, 1):
        return False
    odd = sum(len(row) != len(found.names) for row in rows)
    last = {row[3] if found.names == CONLLU and len(row) > 3 else row[-1] for row in rows}
    few = 1 < len(last) <= max(_MOST_TAGS, len(rows) // 6)
    return few and odd <= len(rows) // 20 and not any(tag[:1].islower() or " " in tag for tag in last)
