"""Load a pretrained model by the name of a preset, or from a folder."""

import difflib
import os
from pathlib import Path

from tlx.errors import ConfigError
from tlx.presets.bundle import CONFIG, load_bundle
from tlx.presets.pretrained import Pretrained

PRESETS = Path(__file__).parent / "packaged"


def preset_names() -> tuple[str, ...]:
    """Name the presets.

    >>> preset_names()
    ('cnn-mnist', 'mlp-mnist')
    """
    return tuple(sorted(entry.name for entry in PRESETS.iterdir() if (entry / CONFIG).is_file()))


def find(name: str | Path) -> Path:
    """Return the folder of a preset, a run or an export; raise `ConfigError` with the nearest name otherwise."""
    if str(name) in preset_names():
        return PRESETS / str(name)
    path = Path(name)
    for folder in (path, path / "export"):
        if os.path.isfile(folder / CONFIG):  # unlike Path.is_file, never raises
            return folder
    if os.path.isdir(path):
        raise ConfigError(f"{path}: neither a finished run nor an export ({CONFIG} is missing): name another folder")
    near = difflib.get_close_matches(str(name), preset_names(), n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ConfigError(f"no preset and no folder is called {str(name)!r}: {hint}presets are {', '.join(preset_names())}")


def load(name: str | Path) -> Pretrained:
    """Load a pretrained model: a preset by name, a finished run, or an export, by folder.

    Raise `ConfigError` (with the nearest name) for what does not exist and `WeightsError` for what is damaged.

    >>> load("cnn-mnist").stages
    ('conv1', 'conv2', 'conv3')
    """
    return load_bundle(find(name))
