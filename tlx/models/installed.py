"""Installed packages that register architectures: the entry points of the group `tlx.architectures`."""

import contextlib
import functools
import logging
import sys
from importlib import metadata

GROUP = "tlx.architectures"
_loaded: set[str] = set()


@functools.lru_cache(maxsize=8)  # by where packages lie: reading their metadata takes milliseconds
def _points(path: tuple[str, ...]) -> tuple[metadata.EntryPoint, ...]:
    return tuple(metadata.entry_points(group=GROUP))


def load_installed() -> None:
    """Load every entry point of the group once: a module that registers as it is imported, or a function that does.

    One that cannot be loaded is reported (logger "tlx") and keeps nobody from the others.
    """
    for point in _points(tuple(sys.path)):
        if point.value in _loaded:
            continue
        _loaded.add(point.value)  # first, since what it loads may look up an architecture
        try:
            with contextlib.redirect_stdout(sys.stderr):  # what a command prints may be read by a program
                found = point.load()
                if callable(found):
                    found()
        except (Exception, SystemExit) as error:  # whatever a package raises
            told = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            logging.getLogger("tlx").warning(
                "tlx: the entry point %s of %s cannot be loaded (%s)", point.name, GROUP, told
            )
