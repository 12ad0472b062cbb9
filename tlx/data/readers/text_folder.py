"""Read a folder of text files: a folder for each class, or such folders under train, validation and test."""

from __future__ import annotations

import codecs
import os

import numpy as np

from tlx.data.bad import check_bad, left_out
from tlx.data.readers.class_folders import Files, files_by_class
from tlx.data.readers.image_folder import read_image_folder
from tlx.data.readers.layout import Listed, classes_of, notes_on
from tlx.data.readers.texts import text_source
from tlx.data.readers.walk import Walk, is_image_file
from tlx.data.spec import Parts, Request
from tlx.data.text_arrays import text_fault
from tlx.errors import DataError
from tlx.files import home
from tlx.files.opening import open_regular, shown

MAX_TEXT = 1 << 24  # bytes of a file
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_folder(request: Request) -> Parts:
    """Read a folder of texts where the base takes texts, or where there are text files and no images; else of images.

    Args:
        request: the folder and what of it is wanted.
    """
    of_texts = request.takes_text or (request.may_be_texts and _holds_only_texts(str(home(request.where))))
    return read_text_folder(request) if of_texts else read_image_folder(request)


def read_text_folder(request: Request) -> Parts:
    """Read `DIR/CLASS/any.txt`, or `DIR/train/CLASS/any.txt` with validation and test beside; a file is one text.

    Args:
        request: the folder and what of it is wanted.

    Returns:
        Sources of texts, called by their paths.

    Raises:
        DataError: as for a folder of images (`files_by_class`); for files that are empty, no UTF-8 (or UTF-16 with its
            mark) or over 16 MiB beyond `skip_bad`; and for a class that training does not have.
    """
    listed, notes = files_by_class(request, Files("texts", ".txt", is_text_file, _advice))
    texts: dict[str, list[str]] = {}
    good: dict[str, list[Listed]] = {}
    faults: list[str] = []
    for part, files in listed.items():
        for file in files:
            try:
                text = read_text(file.path)
            except DataError as error:
                faults.append(str(error))
            else:
                texts.setdefault(part, []).append(text)
                good.setdefault(part, []).append(file)
    total = sum(map(len, listed.values()))
    check_bad(faults, total, request.spec.skip_bad, "texts")
    place = shown(request.where)
    if empty := [part for part in listed if listed[part] and part not in good]:
        raise DataError(f"{place}: no text of {empty[0]} is left, all are bad; mend them")
    classes = classes_of(good, place)
    index = {name: number for number, name in enumerate(classes)}
    sources = {
        part: text_source(
            [(text,) for text in texts[part]],
            np.array([index[file.label] for file in files], np.int32),
            classes,
            names=[file.path for file in files],
        )
        for part, files in good.items()
    }
    notes = [*notes, *left_out(faults, total, "texts"), *notes_on(classes)]
    return Parts(sources["train"], sources.get("test"), tuple(notes), sources.get("validation"), tuple(faults))


def read_text(path: str) -> str:
    """Return the text of a file, without blanks around it.

    Raise `DataError` for a file that is empty, over 16 MiB or no text in UTF-8, or UTF-16 with its mark.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile(suffix=".txt") as file:
    ...     _ = file.write(b"a film\\n")
    ...     file.flush()
    ...     read_text(file.name)
    'a film'
    """
    with open_regular(path) as file:
        content = file.read(MAX_TEXT + 1)
    if len(content) > MAX_TEXT:
        raise DataError(f"{shown(path)}: over {MAX_TEXT >> 20} MiB; is it one text?")
    encoding = "utf-16" if content[:2] in _UTF16 else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(f"{shown(path)}: line {line} is not {'UTF-16' if encoding == 'utf-16' else 'UTF-8'}") from error
    if (fault := text_fault(text)) is not None:
        raise DataError(f"{shown(path)}: {fault}")
    return text.strip()


def is_text_file(entry: os.DirEntry[str]) -> bool:
    """Tell whether an entry is taken for a text file, by its suffix `.txt`."""
    return entry.name.lower().endswith(".txt")


def _holds_only_texts(folder: str) -> bool:
    """Tell whether a folder holds text files within its folders, and no images."""
    if not os.path.isdir(folder):
        return False
    walk = Walk(folder, lambda entry: is_text_file(entry) or is_image_file(entry))
    found = False
    try:
        for path in walk.files(folder):
            if not path.lower().endswith(".txt"):
                return False
            found = found or os.path.dirname(path) != folder
    except DataError:  # which the reader says better
        return False
    return found


def _advice(folder: str, names: list[str]) -> str | None:
    """Say how a folder that holds texts otherwise can be read."""
    if any(name.lower().endswith(".txt") for name in names):
        return "texts lie in it, but in no class; put those of each class into a folder, or write a table"
    return None
