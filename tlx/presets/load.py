"""Load a pretrained model by the name of a preset, or from a folder."""

import difflib
import os
from dataclasses import replace
from pathlib import Path
from typing import Literal

from tlx.errors import CheckpointError, ConfigError
from tlx.files import home
from tlx.models.registry import DType
from tlx.presets.bundle import CONFIG, load_bundle
from tlx.presets.catalogue import list_published
from tlx.presets.convert_options import ConvertOptions, check_head
from tlx.presets.own import list_own
from tlx.presets.pretrained import Pretrained
from tlx.presets.published import load_published
from tlx.presets.text_catalogue import is_published_text, list_texts
from tlx.presets.text_folder import is_text_folder, load_text, load_text_folder
from tlx.presets.vector_catalogue import list_vectors
from tlx.presets.word_base import is_word_base, load_words

PRESETS = Path(__file__).parent / "packaged"


def list_presets() -> tuple[str, ...]:
    """Name the presets.

    >>> list_presets()
    ('cnn-mnist', 'mlp-mnist')
    """
    return tuple(sorted(entry.name for entry in PRESETS.iterdir() if (entry / CONFIG).is_file()))


def find(name: str | Path) -> Path:
    """Return the folder of a preset, a run or an export; raise `ConfigError` with the nearest name otherwise."""
    if str(name) in list_presets():
        return PRESETS / str(name)
    path = home(name)
    for folder in (path, path / "export"):
        if os.path.isfile(folder / CONFIG):  # unlike Path.is_file, never raises
            return folder
    if os.path.isfile(path / "run.json"):
        raise CheckpointError(
            f"{path}: a run that has not finished: go on with it (tlx finetune --resume --out {path})"
        )
    if os.path.isdir(path):
        raise ConfigError(
            f"{path}: neither a finished run nor an export ({CONFIG} is missing): name another folder, or convert the "
            f"weights in it first (tlx convert {path} FOLDER)"
        )
    if os.path.isfile(path):
        raise ConfigError(
            f"{path}: a file, and a model is the folder of a run or an export: convert a file of weights first (tlx "
            f"convert {path} FOLDER)"
        )
    if str(name) in list_published():
        raise ConfigError(
            f"{name} names published weights, of which this needs a folder: convert their file first (tlx convert FILE "
            f"FOLDER --arch {name})"
        )
    every = [*list_presets(), *list_published(), *list_texts(), *list_vectors()]
    near = difflib.get_close_matches(str(name), every, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ConfigError(f"no preset and no folder is called {str(name)!r}: {hint}tlx presets lists the presets")


def load(
    name: str | Path,
    weights: str | Path | None = None,
    *,
    until: str | None = None,
    head: bool | Literal["pretraining"] = True,
    dtype: DType | None = None,
) -> Pretrained:
    """Load a pretrained model: a preset by name, a published one by name, or a finished run or an export by folder.

    The weights of a published model ('keras/vgg16', `list_published`) come from the file `weights`, or else from the
    cache or the network. With `until` the base ends after that stage and has no head; the file may end there, too.
    Without `head` the base is alone; a text model also has the heads of its pretraining with 'pretraining'. A text
    model is named as 'hf/bert-base-uncased', 'hf:ORG/NAME', or by its folder as model hubs lay it out, which is
    converted in memory. Word vectors are named as 'glove/6B.50d' (`list_vectors`), or 'glove', 'word2vec' or 'fasttext'
    with any file of them as `weights`. `dtype` is the type that the model computes in, 'float32' or 'bfloat16' (None:
    as saved); its parameters are float32. Raise `ConfigError` (with the nearest name) for what does not exist,
    `WeightsError` for what is damaged or does not fit, `UnsafeFileError`, and `DownloadError`.

    >>> load("cnn-mnist").stages
    ('conv1', 'conv2', 'conv3')
    >>> load("cnn-mnist", until="conv2").classes
    ()
    """
    if not isinstance(name, str | os.PathLike):
        raise ConfigError(f"name: {type(name).__name__}, expected a name or a folder; a run's model is run.load()")
    check_head(head)
    if is_word_base(str(name)) and not os.path.isdir(name):
        found = load_words(str(name), weights)
    elif is_published_text(str(name)) and not os.path.isdir(name):
        found = load_text(str(name), weights, ConvertOptions(until=until, head=head))
    elif weights is None and is_text_folder(name):
        found = load_text_folder(name, ConvertOptions(until=until, head=head))
    elif is_published(name):
        found = load_published(str(name), weights, until=until, head=bool(head))
    elif weights is not None:
        raise ConfigError(f"{name}: only published models take a file of weights, such as {list_published()[0]!r}")
    else:
        found = load_bundle(find(name))
        if until is not None:
            found = found.cut(until)
        elif not head:
            found = found.without_head()
    if head == "pretraining" and found.config.pretraining is None:
        raise ConfigError(f"{name}: has no heads of pretraining: leave out head={head!r}")
    return found if dtype is None else replace(found, config=replace(found.config, dtype=dtype))


def is_published(name: str | Path) -> bool:
    """Tell whether a name is meant as that of a published model: it begins with a source, and no folder has it.

    So is the name of a registered table (`register_architecture`), whose weights are a file's.
    """
    sources = {known.partition("/")[0] for known in (*list_published(), *list_own())}
    return "/" in str(name) and str(name).partition("/")[0] in sources and not os.path.isdir(name)
