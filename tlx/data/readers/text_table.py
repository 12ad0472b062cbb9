"""Read all columns of a table of texts, quoted or not, with a header or without."""

from __future__ import annotations

import contextlib
import csv
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from tlx.data.readers.numbers import blocks_of
from tlx.data.readers.table import SEPARATORS, lines_of, objects_of
from tlx.data.readers.text_columns import is_header
from tlx.errors import DataError
from tlx.files.opening import shown

_SAMPLE = 1000  # lines that decide on the separator
_LONGEST = (1 << 31) - 1  # characters of a value, as many as csv can be told
_FIELD = r'"(?:[^"]|"")*"|[^"\t]*'
_FIELDS = re.compile(rf"(?:{_FIELD})(?:\t(?:{_FIELD}))*")
_EACH = re.compile(rf"(?:^|\t)({_FIELD})(?=\t|$)")

Line = tuple[int, str]
Row = tuple[int, list[str]]


class TextTable(NamedTuple):
    """The values of each column by name ("1" and on without a header), the line of each row, and the rows left out.

    `faults` are the rows with more or fewer values than the table has columns, a text each.
    """

    columns: dict[str, list[Any]]
    lines: list[int]
    headed: bool
    faults: list[str]


def read_text_table(path: str, asked: Sequence[str] = (), most: int | None = None) -> TextTable:
    """Read a table: Parquet and JSON lines by their suffix, and else lines with separators.

    Columns between tabs are unquoted, so that a double quote is a character, unless all quoted values end in their
    line and one needs its quotes; other separators go with quotes. The first line is a header where it looks like one
    (`is_header`). A line of JSON may be a text alone, in the column `text`.

    Args:
        path: the file.
        asked: columns that the user names, as a header would.
        most: how many lines are read at most; by default all.

    Raises:
        DataError: naming the line, for what is no such table.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile(suffix=".tsv") as file:
    ...     _ = file.write(b'1\\t"Yes," he said to her.\\n0\\tNo "way" out of here.\\n')
    ...     file.flush()
    ...     read_text_table(file.name).columns
    {'1': ['1', '0'], '2': ['"Yes," he said to her.', 'No "way" out of here.']}
    """
    suffix = path.lower().rpartition(".")[2]
    if suffix == "jsonl":
        return _of_objects(list(itertools.islice(objects_of(path, bare_texts=True), most)))
    if suffix in ("parquet", "pq"):
        return _of_parquet(path, most)
    lines = list(itertools.islice(lines_of(path), most))
    if lines and lines[0][1].strip().lower() in {f"sep={separator}" for separator in SEPARATORS}:  # as Excel writes it
        lines = lines[1:]
    lines = [(number, text.rstrip("\r\n")) for number, text in lines]
    with _long_values():
        rows = _rows(path, lines, cut=most is not None)
    return _with_names(path, rows, asked)


@contextlib.contextmanager
def _long_values() -> Iterator[None]:
    """Let the csv module take values of more than 131,072 characters: `lines_of` limits the lines."""
    before = csv.field_size_limit(_LONGEST)  # of the whole process, so that it is put back
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _of_objects(rows: Sequence[tuple[int, dict[str, Any]]]) -> TextTable:
    names = dict.fromkeys(name for _, row in rows for name in row)
    return TextTable({name: [row.get(name) for _, row in rows] for name in names}, [at for at, _ in rows], True, [])


def _of_parquet(path: str, most: int | None) -> TextTable:
    columns: dict[str, list[Any]] = {}
    lines: list[int] = []
    for block in blocks_of(path):
        for name, values in block.columns.items():
            columns.setdefault(name, []).extend(values.tolist() if hasattr(values, "tolist") else values)
        lines += block.lines
        if most is not None and len(lines) >= most:
            break
    return TextTable(columns, lines, True, [])


def _with_names(path: str, rows: list[Row], asked: Sequence[str]) -> TextTable:
    """Give columns their names, and take out the rows of another width."""
    if not rows:
        return TextTable({}, [], True, [])
    widths = Counter(len(values) for _, values in rows)
    width = widths.most_common(1)[0][0]
    first = rows[0][1]
    headed = is_header(first, [values for _, values in rows[1:] if len(values) == len(first)], asked)
    if headed:
        names, width, rows = [name.strip() for name in first], len(first), rows[1:]
        if twice := next((name for name in names if name and names.count(name) > 1), None):
            raise DataError(f"{shown(path)}: a column is named twice in its first line, {shown(twice)}; rename one")
    else:
        names = [str(number) for number in range(1, width + 1)]
    good = [values for _, values in rows if len(values) == width]
    faults = [
        f"{shown(path)}: line {line} has {len(values)} values for {width} columns"
        for line, values in rows
        if len(values) != width
    ]
    columns = {name: [values[at] for values in good] for at, name in enumerate(names)}
    return TextTable(columns, [line for line, values in rows if len(values) == width], headed, faults)


def _rows(path: str, lines: list[Line], cut: bool) -> list[Row]:
    """Divide lines into values; where the lines are `cut` off, a value may be open at the end."""
    separator = _separator([text for _, text in lines[:_SAMPLE] if text.strip()])
    if separator is None:
        return _one_column(path, lines, cut)
    if separator != "\t":
        return list(_quoted(path, lines, separator, cut))
    if _needs_quotes([text for _, text in lines]):
        return list(_quoted(path, lines, separator, cut))
    plain = [(line, text.split("\t")) for line, text in lines if text.strip()]
    if len({len(values) for _, values in plain}) > 1 and any('"' in text for _, text in lines):
        try:  # values over several lines
            quoted = list(_quoted(path, lines, separator, cut))
        except DataError:
            return plain
        return quoted if len({len(values) for _, values in quoted}) == 1 else plain
    return plain


def _one_column(path: str, lines: list[Line], cut: bool) -> list[Row]:
    """Read lines of one value each, which may be quoted in a `.csv` file."""
    if path.lower().endswith(".csv"):
        with contextlib.suppress(DataError):
            quoted = list(_quoted(path, lines, ",", cut))
            if all(len(values) == 1 for _, values in quoted):
                return quoted
    return [(line, [text]) for line, text in lines if text.strip()]


def _separator(sample: Sequence[str]) -> str | None:
    """Return the separator by which the most lines have the same number of values, or None where there is none."""
    best: tuple[float, str | None] = (0.0, None)
    if not sample:
        return None
    whole = sample[0].count('"') % 2 == 0  # or the first row goes on in the next line
    for separator in ("\t", *(each for each in SEPARATORS if each != "\t")):  # a tab is hardly part of a text
        if whole and separator not in sample[0]:
            continue
        widths = [[text.count(separator) + 1 for text in sample]] if separator == "\t" else []
        with contextlib.suppress(csv.Error):
            reader = csv.reader(sample, delimiter=separator, skipinitialspace=True, strict=separator == "\t")
            widths.append([len(values) for values in reader])
        best = max([best, *((_alike(each), separator) for each in widths)], key=lambda each: each[0])
    return best[1]


def _alike(widths: Sequence[int]) -> float:
    """Return the share of the rows that have the most frequent number of values, or 0 where this is one."""
    width, count = Counter(widths).most_common(1)[0]
    return count / len(widths) if width > 1 else 0.0


def _needs_quotes(texts: Sequence[str]) -> bool:
    """Tell whether the double quotes of lines with tabs enclose values, and are no characters of these.

    They do where each value that begins with a quote ends with one, no other value holds a quote, and a value needs its
    quotes (it holds a tab, or a quote written twice) or all values of a column have them.
    """
    if not any('"' in text for text in texts):
        return False
    if not all('"' not in text or _FIELDS.fullmatch(text) for text in texts):
        return False
    rows = [_EACH.findall(text) for text in texts if text.strip()]
    inside = [value[1:-1] for row in rows for value in row if value.startswith('"')]
    if any("\t" in value or '""' in value for value in inside):
        return True
    below = rows[1:] or rows
    return any(all(at < len(row) and row[at].startswith('"') for row in below) for at in range(len(below[0])))


def _quoted(path: str, lines: Sequence[Line], separator: str, cut: bool) -> Iterator[Row]:
    """Read lines whose values may be quoted, each row with the number of its first line."""
    start: int | None = None

    def texts() -> Iterator[str]:
        nonlocal start
        for number, text in lines:
            start = number if start is None else start
            yield text + "\n"

    reader = csv.reader(texts(), delimiter=separator, skipinitialspace=True, strict=True)
    while True:
        start = None
        try:
            values = next(reader, None)
        except csv.Error as error:
            if cut and "unexpected end" in str(error):
                return
            raise DataError(
                f"{shown(path)}: line {start}: {error}; mend the line, whose quotes must enclose a value"
            ) from error
        if values is None:
            return
        if values:
            yield start or 0, values
