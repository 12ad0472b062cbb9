"""What commands print: one JSON object, or tables for people."""

import json
from collections.abc import Iterable, Sequence
from typing import Any


def print_json(content: Any) -> None:
    """Print one JSON object on standard output."""
    print(json.dumps(content, indent=2, ensure_ascii=False))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table on standard output; numbers are set right, text is printed as it is."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rows = [list(row) for row in rows]
    table = Table(title=Text(title), title_justify="left")
    for index, column in enumerate(columns):
        numeric = all(isinstance(row[index], int | float | None) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_shown(value)) for value in row))
    Console().print(table)


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, int):
        return f"{value:,}"
    text = str(value)
    return text if text.isprintable() else ascii(text)[1:-1]  # a name from a file may hold a terminal's commands


def percent(share: float | None) -> str:
    """Write a share as a percentage.

    >>> percent(0.97586)
    '97.59%'
    """
    return "–" if share is None else f"{share:.2%}"
