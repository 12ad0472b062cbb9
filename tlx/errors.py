"""Errors a user can mend, each knowing the exit code of the command that meets it."""

import difflib
import math
from collections.abc import Iterable


def suggestion(name: object, known: Iterable[str]) -> str:
    """Return ', did you mean …?' for the known name that is nearest to `name`, or nothing where none is near.

    >>> suggestion("bilinaer", ["nearest", "bilinear"])
    ", did you mean 'bilinear'?"
    >>> suggestion("qqq", ["nearest", "bilinear"])
    ''
    """
    near = difflib.get_close_matches(str(name), list(known), n=1)
    return f", did you mean {near[0]!r}?" if near else ""


class TlxError(ValueError):
    """Report a fault in one line: what is wrong, where, and how to mend it.

    `exit_code` is what the `tlx` command exits with.

    >>> DataError("labels.gz: 3 labels for 4 images").exit_code
    4
    """

    exit_code = 1


class ConfigError(TlxError):
    """Refuse an option, a configuration or an argument."""

    exit_code = 2


class WeightsError(TlxError):
    """Refuse weights that do not fit or cannot be read."""

    exit_code = 3


class DataError(TlxError):
    """Refuse examples or labels."""

    exit_code = 4


class CheckpointError(TlxError):
    """Refuse a checkpoint or a run directory."""

    exit_code = 5


class StorageError(TlxError):
    """Stop because something could not be written or did not fit."""

    exit_code = 6


class LostHostError(TlxError):
    """Stop because another process of the same run is gone."""

    exit_code = 6


class DownloadError(TlxError):
    """Stop because something could not be fetched or was not what was asked for."""

    exit_code = 7


class UnsafeFileError(TlxError):
    """Refuse a file that could run code or reach outside itself."""

    exit_code = 8


class DivergedError(TlxError):
    """Stop because the loss or a parameter is no longer finite."""

    exit_code = 9


class StoppedError(TlxError):
    """Stop because it was asked for; what was done is saved."""

    exit_code = 75


def check_choice(field: str, value: object, choices: Iterable[str]) -> None:
    """Raise `ConfigError` that suggests the nearest one for a value that is none of the choices.

    >>> check_choice("pool", "max", ["average", "max"])
    >>> check_choice("pool", "maximum", ["average", "max"])
    Traceback (most recent call last):
    tlx.errors.ConfigError: unknown pool 'maximum', did you mean 'max'? Use one of 'average', 'max'
    """
    choices = list(choices)
    if value not in choices:
        near = suggestion(value, choices)
        hint = f"{near} Use" if near else ": use"
        raise ConfigError(f"unknown {field} {value!r}{hint} one of {', '.join(map(repr, choices))}")


def check_flags(**flags: object) -> None:
    """Raise `ConfigError` for a value that is neither True nor False: any text, "never" too, would count as true.

    >>> check_flags(resume=True)
    >>> check_flags(compare_scratch="never")
    Traceback (most recent call last):
    tlx.errors.ConfigError: compare_scratch: 'never' is neither True nor False
    """
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise ConfigError(f"{name}: {value!r:.60} is neither True nor False")


def check_positive(owner: object, **values: float) -> None:
    """Raise `ConfigError` for a value that is not a finite number above zero."""
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise ConfigError(f"{type(owner).__name__}: {name} must be a finite number above 0, not {value}")


def check_not_negative(owner: object, **values: float) -> None:
    """Raise `ConfigError` for a value that is not a finite number of at least zero."""
    for name, value in values.items():
        if not (math.isfinite(value) and value >= 0):
            raise ConfigError(f"{type(owner).__name__}: {name} must be a finite number of at least 0, not {value}")


def check_fraction(owner: object, **values: float) -> None:
    """Raise `ConfigError` for a value that is not at least zero and under one."""
    for name, value in values.items():
        if not 0 <= value < 1:
            raise ConfigError(f"{type(owner).__name__}: {name} must be at least 0 and under 1, not {value}")
