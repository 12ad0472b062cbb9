"""Know the kinds of data: what reads each, its defaults, and which one a name means."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tlx.data.arrays import ArraySource
from tlx.data.inputs import InputSpec
from tlx.data.readers.huggingface import read_hub
from tlx.data.readers.idx_folder import read_idx_folder
from tlx.data.readers.manifest import read_manifest
from tlx.data.readers.npz import read_npz_examples
from tlx.data.readers.numbers import read_numbers
from tlx.data.readers.tags import SURE, are_tags, read_tags
from tlx.data.readers.text_folder import read_folder
from tlx.data.readers.texts import names_texts, read_texts
from tlx.data.readers.tfds import read_tfds
from tlx.data.spec import TEST, VALIDATION, DataSpec, Parts, Request
from tlx.errors import ConfigError, DataError
from tlx.files import home
from tlx.files.opening import shown


def read_digits(where: str = "") -> Parts:
    """Read scikit-learn's embedded digits: 1,797 images of 8 x 8, their 17 levels spread over 0..255 in uint8."""
    if where:
        raise ConfigError(f"digits:{where!r}: digits come with scikit-learn and take no path; say digits")
    from sklearn.datasets import load_digits

    digits = load_digits()
    return Parts(ArraySource(np.rint(digits.images * (255 / 16)).astype(np.uint8), digits.target), None, ())


class Kind(NamedTuple):
    """Say how a kind of source is read, and its defaults.

    `where` is what stands after its colon, `path` what it is a path of ("folder", "file", "file or folder", "files", or
    "" for none);
    `labels_per_class`, `validation` and `test` are what `load_data` takes where nothing is said. `targets` says whether
    it has columns, or arrays, that can be named as the target.
    """

    read: Callable[[Request], Parts]
    where: str = ""
    path: str = ""
    labels_per_class: int | None = None
    validation: float = VALIDATION
    test: float = TEST
    targets: bool = False


def _whole(read: Callable[[str], Parts]) -> Callable[[Request], Parts]:
    """Make a reader of one place into one of requests that name neither splits nor bad images."""

    def of_request(request: Request) -> Parts:
        if request.spec.splits() or request.spec.skip_bad:
            raise ConfigError(
                f"{shown(request.where) or 'digits'}: has neither named splits nor image files; leave out "
                "train_split, validation_split, test_split and skip_bad"
            )
        return read(request.where)

    return of_request


KINDS = {
    "digits": Kind(_whole(read_digits), labels_per_class=10, validation=0.15, test=0.3),  # as published figures have it
    "folder": Kind(read_folder, "DIR", "folder"),
    "manifest": Kind(read_manifest, "FILE", "file", targets=True),
    "table": Kind(read_numbers, "FILE", "file", targets=True),
    "texts": Kind(read_texts, "FILE", "file", targets=True),
    "tags": Kind(read_tags, "FILE", "file or folder", targets=True),
    "idx": Kind(_whole(read_idx_folder), "DIR[/PREFIX]", "files"),
    "npz": Kind(read_npz_examples, "FILE", "file", targets=True),
    "tfds": Kind(read_tfds, "NAME"),
    "hf": Kind(read_hub, "NAME[@CONFIG]"),
}
_BY_SUFFIX = {".csv": "manifest", ".tsv": "manifest", ".jsonl": "manifest", ".npz": "npz"}
_BY_SUFFIX |= {".parquet": "table", ".pq": "table", ".txt": "texts"}
_BY_SUFFIX |= dict.fromkeys(SURE, "tags")

_OTHER_NAMES = {
    **dict.fromkeys(("dir", "directory", "images", "imagefolder", "image_folder", "path", "local"), "folder"),
    **dict.fromkeys(("csv", "tsv", "jsonl", "list", "file"), "manifest"),
    **dict.fromkeys(("parquet", "vectors", "features", "numbers"), "table"),
    **dict.fromkeys(("text", "txt", "sentences"), "texts"),
    **dict.fromkeys(("conll", "conllu", "ner", "words", "tokens"), "tags"),
    **dict.fromkeys(("mnist", "emnist", "ubyte"), "idx"),
    **dict.fromkeys(("numpy", "np", "array", "arrays"), "npz"),
    **dict.fromkeys(("tensorflow", "tf", "tensorflow_datasets"), "tfds"),
    **dict.fromkeys(("huggingface", "hub", "datasets"), "hf"),
    "sklearn": "digits",
}


def kind_of(source: str) -> tuple[str, str]:
    """Return which of `KINDS` a name of data means, and what it says of the place: a path, mostly.

    A path needs no kind before it: a folder is one of images (or of texts), and a file is known by its suffix.

    Raises:
        ConfigError: for a kind that nobody knows.
        DataError: for a path where nothing is.

    >>> kind_of("idx:mnist"), kind_of("photos/flowers.csv")
    (('idx', 'mnist'), ('manifest', 'photos/flowers.csv'))
    """
    name, colon, where = source.partition(":")
    if name in KINDS:
        return name, where
    if "://" in source:
        raise DataError(f"{shown(source)}: an address; tlx downloads no data: fetch it, unpack it and name the folder")
    forms = ", ".join(f"{key}:{kind.where}" if kind.where else key for key, kind in KINDS.items())
    sure = name.lower() if name.lower() in KINDS else _OTHER_NAMES.get(name.lower())
    likely = sure or next(iter(difflib.get_close_matches(name.lower(), KINDS, 1)), None)
    meant = f", did you mean {likely!r}?" if likely else ""
    if not source or (colon and sure and not os.path.lexists(source)):
        raise ConfigError(f"source: unknown kind {name!r}{meant}; the kinds are {forms}")
    if (suffix := os.path.splitext(source)[1].lower()) in _BY_SUFFIX:
        return _BY_SUFFIX[suffix], source
    if os.sep in source or re.match(r"[A-Za-z]:[\\/]", source) or os.path.isdir(home(source)):
        return "folder", source
    if os.path.isfile(source):
        raise DataError(f"{shown(source)}: a file of no known suffix; expected a folder or {', '.join(_BY_SUFFIX)}")
    near = "" if colon or sure else nearest_paths(source)
    if colon or (meant and not near):
        raise ConfigError(f"source: unknown kind {name!r}{meant}; the kinds are {forms}")
    raise DataError(f"{shown(source)}: no such folder or kind of data{near}; the kinds are {forms}")


def kind_for(spec: DataSpec, preprocess: InputSpec | None = None) -> tuple[str, str]:
    """Return which of `KINDS` a spec means, as `kind_of` does; a manifest or a table may turn out to be one of texts.

    A folder, a manifest, or a file of texts may turn out to hold tagged words (`tlx.data.readers.tags`).

    It is where columns of texts are named, where the base takes texts, and where nothing says otherwise and the table
    has a column of prose but none of paths and none of numbers.

    >>> kind_for(DataSpec("reviews.csv", text="review"))
    ('texts', 'reviews.csv')
    """
    name, where = kind_of(spec.source)
    if name in ("folder", "manifest", "texts") and where and spec.target_kind in ("auto", "tags"):
        guessed = not spec.source.startswith(f"{name}:") and Request(where, spec, preprocess).may_be_texts
        if spec.target_kind == "tags" or (guessed and are_tags(str(home(where)))):
            return "tags", where
    if name not in ("manifest", "table") or not where:
        return name, where
    request = Request(where, spec, preprocess)
    if spec.text or request.takes_text:
        return "texts", where
    path = str(home(where))
    try:
        prose = request.may_be_texts and os.path.isfile(path) and names_texts(path, spec.target)
    except (DataError, ConfigError):  # which the reader says better
        prose = False
    return ("texts" if prose else name), where


def check_place(name: str, where: str) -> None:
    """Raise `DataError` where what a kind's path names is not there, with names that are like it, or is no such thing.

    >>> check_place("folder", "no/such")
    Traceback (most recent call last):
        ...
    tlx.errors.DataError: no/such: no such folder; check the path
    """
    what = KINDS[name].path
    if what not in ("folder", "file", "file or folder") or not where:
        return
    if not os.path.lexists(where):
        raise DataError(f"{shown(where)}: no such {what}{nearest_paths(where)}; check the path")
    if what == "folder" and os.path.isfile(where):
        raise DataError(f"{shown(where)}: a file and no folder; name the folder, or a manifest as manifest:FILE")
    if what == "file" and os.path.isdir(where):
        raise DataError(f"{shown(where)}: a folder and no file; say folder:{shown(where)}")


def nearest_paths(path: str) -> str:
    """Return ", did you mean …?" for up to three names beside a path that are like it, or nothing."""
    folder, name = os.path.split(path.rstrip(os.sep))
    try:
        names = {entry.lower(): entry for entry in sorted(os.listdir(folder or ".")) if not entry.startswith(".")}
    except OSError:
        return ""
    found = [shown(os.path.join(folder, names[near])) for near in difflib.get_close_matches(name.lower(), names, 3)]
    return f", did you mean {' or '.join(found)}?" if found else ""
