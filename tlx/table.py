"""Tables for people: text of a limited width, and HTML."""

import html
from collections.abc import Iterable, Sequence
from typing import Any

WIDTH = 80


def cell(value: Any) -> str:
    """Return the text of a cell: integers with separators, floats to four digits, nothing that a terminal would obey.

    >>> [cell(value) for value in (1234567, 0.5, None, "a\\x1b[31m")]
    ['1,234,567', '0.5000', '–', 'a\\\\x1b[31m']
    """
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    text = str(value)
    return text if text.isprintable() else ascii(text)[1:-1]  # a name from a file may hold a terminal's commands


def text_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], width: int = WIDTH) -> str:
    """Return a table as lines of at most `width` characters; numbers are set right, long texts are folded.

    >>> print(text_table(("stage", "parameters"), [("conv1", 320), ("conv2", 18496)]))
    stage  parameters
    -----------------
    conv1         320
    conv2      18,496
    """
    rows = [list(row) for row in rows]
    right = [is_numeric(row[index] for row in rows) for index in range(len(columns))]
    lines = [[cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *lines, strict=True)]
    while sum(widths) + 2 * (len(widths) - 1) > width:
        widest = max((index for index, number in enumerate(right) if not number), key=widths.__getitem__, default=0)
        if widths[widest] <= 8:
            break  # too many columns for the width
        widths[widest] -= 1
    printed = []
    for number, line in enumerate([list(columns), *lines]):
        folded = [_folded(text, size) for text, size in zip(line, widths, strict=True)]
        for part in range(max(map(len, folded))):
            cells = [parts[part] if part < len(parts) else "" for parts in folded]
            pairs = zip(cells, widths, right, strict=True)
            printed.append("  ".join(f"{text:>{size}}" if by else f"{text:<{size}}" for text, size, by in pairs))
        if not number:
            printed.append("-" * (sum(widths) + 2 * (len(widths) - 1)))
    return "\n".join(line.rstrip() for line in printed)


def _folded(text: str, width: int) -> list[str]:
    return [text[start : start + width] for start in range(0, len(text), width)] or [""]


def html_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table as HTML; whatever a cell holds is text.

    >>> html_table(("a",), [("<b>",)])
    '<table><thead><tr><th>a</th></tr></thead><tbody><tr><td>&lt;b&gt;</td></tr></tbody></table>'
    """
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell(value))}</td>' for value in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def is_numeric(values: Iterable[Any]) -> bool:
    """Tell whether all values of a column are numbers, or missing."""
    return all(value is None or isinstance(value, int | float) for value in values)
