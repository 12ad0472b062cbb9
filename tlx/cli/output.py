"""What commands print: one JSON object, or tables for people."""

import json
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tlx.table import cell

_LEAST = 8  # characters to which a text may be cut


def print_json(content: Any) -> None:
    """Print one JSON object on standard output."""
    print(json.dumps(content, indent=2, ensure_ascii=False))


@dataclass(frozen=True)
class _Column:
    header: str
    cells: tuple[str, ...]
    numeric: bool
    kind: str  # "whole", "prose" or "cut"

    def least(self, *, stacked: bool) -> int:
        """Return the width below which a name would be broken; with a header of one word a line, if `stacked`."""
        header = max(map(_width, self.header.split()), default=0) if stacked else _width(self.header)
        widest = max(map(_width, self.cells), default=0)
        if self.kind == "prose":
            widest = max((_width(word) for text in self.cells for word in text.split()), default=0)
        return max(header, min(widest, _LEAST) if self.kind == "cut" else widest)

    @property
    def most(self) -> int:
        return max(map(_width, (self.header, *self.cells)))


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    prose: Sequence[str] = (),
    cut: Sequence[str] = (),
    optional: Sequence[str] = (),
    plain: bool = False,
) -> None:
    """Print a table on standard output, as wide as the terminal is or COLUMNS says, or 80 characters.

    Numbers are set right. Names are never broken. Where there is no room, headers and the texts of `prose` columns are
    folded between words and those of `cut` ones are cut, then `optional` columns are left out, the last first, which a
    line says; where even that does not help, each row becomes a few lines. A `plain` table has no rules.
    """
    from rich.console import Console

    console, rows = Console(), [list(row) for row in rows]
    made = []
    for index, header in enumerate(columns):
        values = [row[index] for row in rows]
        numeric = all(isinstance(value, int | float | None) for value in values)
        kind = "prose" if header in prose else "cut" if header in cut else "whole"
        made.append(_Column(header, tuple(map(cell, values)), numeric, kind))
    stacked = not _fits(made, console.width, plain, stacked=False)
    shown, left_out = made, list[str]()
    for header in reversed(optional):
        if _fits(shown, console.width, plain, stacked=stacked):
            break
        left_out = [header, *left_out]
        shown = [column for column in shown if column.header != header]
    print(_folded(title, console.width))
    if not _fits(shown, console.width, plain, stacked=stacked):
        _print_rows(made, console.width)
        return
    with console.capture() as drawn:  # rich itself would end the process where nobody reads, with a code of its own
        console.print(_table(shown, console.width, plain, stacked=stacked))
    print(drawn.get(), end="")
    if left_out:
        print(_folded(f"(no room for {', '.join(left_out)}: widen the window, or see --json)", console.width))


def _overhead(count: int, plain: bool) -> int:
    """Return how many characters a table of so many columns has beside their texts."""
    return 2 * (count - 1) if plain else 3 * count + 1


def _fits(columns: Sequence[_Column], width: int, plain: bool, *, stacked: bool) -> bool:
    return sum(column.least(stacked=stacked) for column in columns) + _overhead(len(columns), plain) <= width


def _table(columns: Sequence[_Column], width: int, plain: bool, *, stacked: bool) -> Any:
    from rich.table import Table
    from rich.text import Text

    widths = [column.least(stacked=stacked) for column in columns]
    spare = width - _overhead(len(columns), plain) - sum(widths)
    for index, column in enumerate(columns):  # from left to right: the first texts are the most telling
        more = min(spare, column.most - widths[index])
        widths[index], spare = widths[index] + more, spare - more
    look: dict[str, Any] = {"box": None, "pad_edge": False, "padding": (0, 2, 0, 0)} if plain else {}
    table = Table(**look)
    for column, size in zip(columns, widths, strict=True):
        table.add_column(column.header, justify="right" if column.numeric else "left", width=size, overflow="fold")
    for texts in zip(*(column.cells for column in columns), strict=True):
        fitted = map(_fitted, texts, widths, columns)
        table.add_row(*map(Text, fitted))
    return table


def _fitted(text: str, width: int, column: _Column) -> str:
    return text if column.kind != "cut" or _width(text) <= width else text[: width - 1].rstrip() + "…"


def _print_rows(columns: Sequence[_Column], width: int) -> None:
    """Print the first text of each row on a line of its own and the others below it, folded between words."""
    for first, *rest in zip(*(column.cells for column in columns), strict=True):
        print(first)
        named = [f"{column.header} {text}" for column, text in zip(columns[1:], rest, strict=True)]
        for line in _packed(named, width - 2):
            print(f"  {line}")


def print_facts(facts: Iterable[str]) -> None:
    """Print facts side by side, as many on a line as the terminal's width takes."""
    from rich.console import Console

    for line in _packed(facts, Console().width):
        print(line)


def _packed(facts: Iterable[str], width: int) -> Iterator[str]:
    """Put as many texts on a line as there is room for; none is broken.

    >>> list(_packed(["accuracy 80%", "loss 0.5", "on 60 examples"], 24))
    ['accuracy 80%   loss 0.5', 'on 60 examples']
    """
    line = ""
    for fact in facts:
        if line and _width(line) + 3 + _width(fact) > width:
            yield line
            line = ""
        line = f"{line}   {fact}" if line else fact
    if line:
        yield line


def _folded(text: str, width: int) -> str:
    return textwrap.fill(text, max(width, 20), break_long_words=False, break_on_hyphens=False)


def _width(text: str) -> int:
    """Return how many characters of a terminal a text takes: two for most of East Asia's."""
    from rich.cells import cell_len

    return cell_len(text)


def percent(share: float | None) -> str:
    """Write a share as a percentage.

    >>> percent(0.97586)
    '97.59%'
    """
    return "–" if share is None else f"{share:.2%}"
