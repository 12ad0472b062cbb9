"""Where tlx keeps fetched files, activations and compiled programs."""

import os
from pathlib import Path

from tlx.files.write import home


def cache_dir() -> Path:
    """Return the folder of fetched files: `TLX_CACHE`, or tlx in the user's cache folder (`XDG_CACHE_HOME`).

    Files of the Hugging Face hub are also looked for in its own cache (`HF_HOME`, `HF_HUB_CACHE`), where other
    libraries may have put them, unless `TLX_CACHE` is set, which then holds everything.

    >>> cache_dir().is_absolute()
    True
    """
    import pooch

    named = os.environ.get("TLX_CACHE")
    return home(named).absolute() if named else Path(pooch.os_cache("tlx")).absolute()
