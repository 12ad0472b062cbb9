"""Read the rows of a table of texts, with a line of names above them or without, and tell which column is what."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tlx.data.readers.numbers import INDICES, PATHS, SPLITS, blocks_of
from tlx.data.readers.table import SEPARATORS, numbered_lines, plain_name, text_of
from tlx.errors import DataError
from tlx.files.opening import shown

TEXTS = (
    *("text", "sentence", "review", "content", "comment", "body", "abstract", "document", "tweet", "message"),
    *("question", "utterance", "description", "title"),
)
PAIRS = (
    ("text", "pair"),
    ("text_a", "text_b"),
    ("text1", "text2"),
    ("sentence1", "sentence2"),
    ("sentence_a", "sentence_b"),
    ("question1", "question2"),
    ("premise", "hypothesis"),
    ("question", "sentence"),
    ("question", "context"),
)
LABELS = ("label", "class", "target", "labels", "category", "sentiment", "rating", "stars", "gold_label", "intent")
PROSE = 3.0  # words of a value on average: fewer are no texts
FEW = 20  # distinct values of a column of labels where the rows are few
_SHORT = 64  # characters of a column's name at most
_LOOKED_AT = 1000  # rows that tell what a column holds


@dataclass(frozen=True)
class TextTable:
    """The rows of a table: the names of the columns, those that the file has or "1", "2" and on, and what each holds.

    Args:
        path: the file.
        names: of the columns.
        named: whether the file names them itself.
        lines: (N,), the line of each row.
        rows: (N,), the values of each, as many as there are names.
    """

    path: str
    names: tuple[str, ...]
    named: bool
    lines: list[int]
    rows: list[list[str]]

    def column(self, name: str) -> list[str]:
        """Return the values of a column."""
        at = self.names.index(name)
        return [row[at] for row in self.rows]

    def find(self, name: str) -> str:
        """Return a column's name as the table has it; raise `DataError` where there is none of it."""
        plain = {plain_name(own): own for own in reversed(self.names)}
        found = name if name in self.names else plain.get(plain_name(name))
        if found is None:
            kind = "its columns are" if self.named else "it names none, and its columns are"
            listed = ", ".join(map(shown, self.names[:10]))
            raise DataError(f"{shown(self.path)}: has no column {shown(name)!r}; {kind} {listed}")
        return found

    def words(self, name: str) -> float:
        """Return how many words a value of a column has, on average."""
        values = self.column(name)[:_LOOKED_AT]
        return sum(len(value.split()) for value in values) / max(len(values), 1)

    def few(self, name: str) -> bool:
        """Tell whether a column holds few distinct values, as one of labels does."""
        values = self.column(name)
        return len(set(values)) <= max(FEW, len(values) // 10) and self.words(name) < PROSE


def read_text_table(path: str) -> TextTable:
    """Read a `.jsonl` or `.parquet` file, a CSV file by any common separator, or tabs without quotation marks.

    The first line names the columns where its values are short, different and no numbers, and one of them holds a
    usual name, such as text or label. In a file of tabs a quotation mark is a character like any other unless all
    values that begin with one end with one.

    Raises:
        DataError: naming the line, for rows of other lengths, and what is no text.
    """
    suffix = path.lower().rpartition(".")[2]
    if suffix in ("jsonl", "parquet", "pq"):
        return _of_objects(path)
    lines = list(numbered_lines(path))
    while lines and not lines[0][1].strip():
        lines.pop(0)
    if not lines:
        raise DataError(f"{shown(path)}: has no rows; give at least one")
    separator = _separator(path, [text for _, text in lines[:20]])
    rows = _split(path, lines, separator)
    width = len(rows[0][1])
    faults = [f"line {line} has {len(values)}" for line, values in rows if len(values) != width]
    if faults:
        more = f" and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise DataError(
            f"{shown(path)}: {width} columns in its first line, and {', '.join(faults[:5])}{more}: mend these lines"
        )
    first = [value.strip() for value in rows[0][1]]
    named = _is_header(first)
    if named:
        rows = rows[1:]
    names = tuple(first) if named else tuple(map(str, range(1, width + 1)))
    return TextTable(path, names, named, [line for line, _ in rows], [values for _, values in rows])


def holds_texts(path: str) -> bool:
    """Tell whether a table is one of texts: it lists no files, and has a column of prose and none of numbers beside."""
    try:
        table = read_text_table(path)
    except DataError:
        return False
    plain = set(map(plain_name, table.names))
    if not table.rows or plain & set(PATHS):
        return False
    prose = [name for name in table.names if table.words(name) >= PROSE]
    numbers = [name for name in table.names if _are_numbers(table.column(name)[:_LOOKED_AT])]
    if not table.named:
        return bool(prose) and len(numbers) <= 1
    others = [name for name in numbers if plain_name(name) not in (*LABELS, *INDICES)]
    return bool(prose) and (not others or bool(plain & set(TEXTS)))


@dataclass(frozen=True)
class TextRoles:
    """Which columns of a table are what; `text` are two of a pair."""

    text: tuple[str, ...]
    target: tuple[str, ...]
    split: str | None

    def note(self, table: TextTable) -> str:
        """Say what was taken for what."""

        def listed(names: Iterable[str]) -> str:
            return " and ".join(f"{shown(name)!r}" if table.named else f"column {name}" for name in names)

        unused = [name for name in table.names if name not in (*self.text, *self.target, self.split)]
        target = f", labels in {listed(self.target)}" if self.target else ", no labels"
        rest = f"; columns not used: {', '.join(map(shown, unused))}" if unused else ""
        pairs = "pairs of texts" if len(self.text) == 2 else "texts"
        return f"{shown(table.path)}: {pairs} in {listed(self.text)}{target}{rest}"


def text_roles(
    table: TextTable, text: Sequence[str] = (), target: Sequence[str] = (), *, labelled: bool = True
) -> TextRoles:
    """Find the columns of texts, labels and splits, as they are named or as they look.

    Args:
        table: the table.
        text: the names of the columns of texts, one or two.
        target: the names of those of labels.
        labelled: whether there must be one of labels.

    Raises:
        DataError: for columns that are not there, and where nothing looks like texts or labels.
    """
    plain = {plain_name(name): name for name in reversed(table.names)}
    split = next((plain[name] for name in SPLITS if name in plain), None) if table.named else None
    named_text, named_target = tuple(map(table.find, text)), tuple(map(table.find, target))
    labels = named_target or _labels(table, plain, named_text)
    texts = named_text or _texts(table, plain, {*labels, split or ""})
    if not texts:
        raise DataError(
            f"{shown(table.path)}: no column holds texts: say which does (--text COLUMN); its columns are "
            f"{', '.join(map(shown, table.names[:10]))}"
        )
    if labelled and not labels:
        raise DataError(
            f"{shown(table.path)}: no column looks like labels: say which is to be predicted (--target COLUMN); its "
            f"columns are {', '.join(map(shown, table.names[:10]))}"
        )
    return TextRoles(texts, labels, split)


def _labels(table: TextTable, plain: dict[str, str], text: Sequence[str]) -> tuple[str, ...]:
    usual = [plain[name] for name in LABELS if name in plain]
    usual += [name for name in table.names if table.named and {*plain_name(name).split("_")} & {"label", "class"}]
    others = [name for name in table.names if name not in text and plain_name(name) not in (*SPLITS, *INDICES)]
    found = [name for name in usual if name in others]
    if not found and not table.named:
        found = [name for name in others if table.few(name)]
    return tuple(found[:1])


def _texts(table: TextTable, plain: dict[str, str], others: set[str]) -> tuple[str, ...]:
    for pair in PAIRS:
        if all(name in plain and plain[name] not in others for name in pair):
            return tuple(plain[name] for name in pair)
    for name in TEXTS:
        if name in plain and plain[name] not in others:
            return (plain[name],)
    left = [name for name in table.names if name not in others and plain_name(name) not in INDICES]
    prose = [name for name in left if table.words(name) >= PROSE]
    if not table.named and len(prose) == 2:
        return tuple(prose)
    best = max(prose or left, key=table.words, default=None)
    return () if best is None else (best,)


def _is_header(values: Sequence[str]) -> bool:
    """Tell whether the values of a first line are names."""
    known = {*TEXTS, *LABELS, *SPLITS, *(name for pair in PAIRS for name in pair), *PATHS}
    short = all(value and len(value) <= _SHORT and not _is_number(value) for value in values)
    parts = [{plain_name(value), *plain_name(value).split("_")} for value in values]
    wordy = any(len(value.split()) > 3 for value in values)
    return short and not wordy and len(set(values)) == len(values) and any(part & known for part in parts)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _are_numbers(values: Sequence[str]) -> bool:
    return bool(values) and 2 * sum(map(_is_number, values)) >= len(values)


def _separator(path: str, lines: Sequence[str]) -> str:
    """Find what separates the columns: what the first lines hold equally often, a tab before others."""
    if path.lower().endswith((".tsv", ".tab")):
        return "\t"
    best = (0, ",")
    for separator in ("\t", *SEPARATORS):
        try:
            counts = [len(row) for row in csv.reader(lines, delimiter=separator)]
        except csv.Error:
            continue
        if counts and min(counts) > 1 and counts[0] > best[0] + 1 and len(set(counts)) == 1:
            best = (counts[0] - 1, separator)
    return best[1]


def _split(path: str, lines: Sequence[tuple[int, str]], separator: str) -> list[tuple[int, list[str]]]:
    if separator == "\t" and not _is_quoted(lines):
        rows = ((number, text.rstrip("\r\n").split("\t")) for number, text in lines)
        return [(number, values) for number, values in rows if any(values)]
    at = 0

    def texts() -> Iterable[str]:
        nonlocal at
        for number, text in lines:
            at = number
            yield text

    reader = csv.reader(texts(), delimiter=separator, skipinitialspace=True, strict=True)
    rows_read: list[tuple[int, list[str]]] = []
    try:
        rows_read.extend((at, values) for values in reader if values)
    except csv.Error as error:
        raise DataError(f"{shown(path)}: line {at}: {error}; mend the line") from error
    return rows_read


def _is_quoted(lines: Sequence[tuple[int, str]]) -> bool:
    """Tell whether the quotation marks of a file of tabs stand around values: all that begin with one end with one."""
    values = itertools.chain.from_iterable(text.rstrip("\r\n").split("\t") for _, text in lines)
    begun = [value for value in values if value.startswith('"')]
    return bool(begun) and all(
        len(value) > 1 and value.endswith('"') and '"' not in value[1:-1].replace('""', "") for value in begun
    )


def _of_objects(path: str) -> TextTable:
    """Read the objects of a `.jsonl` file, or its bare texts, or the rows of a `.parquet` file."""
    names: dict[str, None] = {}
    lines: list[int] = []
    rows: list[dict[str, Any]] = []
    for block in blocks_of(path):
        names |= dict.fromkeys(block.columns)
        lines += block.lines
        columns = {name: list(values) for name, values in block.columns.items()}
        rows += [{name: column[at] for name, column in columns.items()} for at in range(len(block.lines))]
    if not rows:
        raise DataError(f"{shown(path)}: has no rows; give at least one")

    def text(row: dict[str, Any], name: str, line: int) -> str:
        value = row.get(name)
        return text_of(value, f"{shown(path)}: line {line}: {shown(name)}", lists=True)

    pairs = zip(rows, lines, strict=True)
    table = [[text(row, name, line) for name in names] for row, line in pairs]
    return TextTable(path, tuple(names), True, lines, table)
