"""What a download shows: a bar on a terminal, and elsewhere how much has come, to whoever listens."""

import contextlib
import sys
from collections.abc import Callable, Iterator

from tlx.files.opening import shown
from tlx.progress import doing

MB = 10**6


@contextlib.contextmanager
def arriving(name: str, offset: int, total: int | None, bar: bool) -> Iterator[Callable[[int], None]]:
    """Within this context, show how much of a file has come; call what is yielded with each part's number of bytes.

    With `bar`, where standard error is a terminal, that is a bar there; else it is reported as progress in MB
    (`tlx.progress`). `offset` bytes were there before; `total` is None where nobody knows it.

    >>> from tlx.progress import listening
    >>> with listening(print), arriving("a.bin", 0, 3_000_000, bar=False) as arrived:
    ...     arrived(2_000_000)
    fetching a.bin, in MB 0 3
    fetching a.bin, in MB 2 3
    """
    if bar and sys.stderr is not None and sys.stderr.isatty():
        with _bar(name, offset, total) as advance:
            doing()  # the bar says it
            yield advance
        return
    what = f"fetching {shown(name)}, in MB"
    came = offset

    def arrived(count: int) -> None:
        nonlocal came
        came += count
        doing(what, came // MB, round((total or 0) / MB))

    arrived(0)
    yield arrived


@contextlib.contextmanager
def _bar(name: str, offset: int, total: int | None) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    title = TextColumn("{task.description}", markup=False)
    # By default, rich would print on standard error what is printed on standard output meanwhile.
    with Progress(title, *columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as bar:
        task = bar.add_task(f"fetching {shown(name)}", total=total, completed=offset)
        yield lambda count: bar.advance(task, count)
