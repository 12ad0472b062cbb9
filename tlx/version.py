"""The version of tlx."""

from importlib import metadata

DISTRIBUTION = "tlx-jax"
try:
    __version__ = metadata.version(DISTRIBUTION)
except metadata.PackageNotFoundError:  # run from its sources, which were not installed
    __version__ = "0+unknown"


def versions_of(*distributions: str) -> dict[str, str]:
    """Return the versions of tlx and of installed distributions, by name.

    >>> list(versions_of("jax"))
    ['tlx-jax', 'jax']
    """
    return {DISTRIBUTION: __version__, **{name: metadata.version(name) for name in distributions}}
