"""Read a folder of images: a folder for each class, or such folders under train, validation and test."""

from __future__ import annotations

import os

from tlx.data.readers.class_folders import Files, files_by_class
from tlx.data.readers.layout import build_parts
from tlx.data.readers.walk import is_image_file
from tlx.data.spec import Parts, Request
from tlx.files.opening import shown
from tlx.images.decode import LISTED, SUFFIXES


def read_image_folder(request: Request) -> Parts:
    """Read `DIR/CLASS/image.jpg`, or `DIR/train/CLASS/image.jpg` with validation and test beside (`files_by_class`).

    Class names are ordered as `order_classes` says. Raises `DataError` for a folder without classes, for a class folder
    without images (unless the request skips empty classes), for images that cannot be decoded beyond `skip_bad`, and
    for classes that training does not have.
    """
    listed, notes = files_by_class(request, Files("images", LISTED, is_image_file, _advice))
    return build_parts(listed, request, notes)


def _advice(folder: str, names: list[str]) -> str | None:
    """Say how a folder that holds images otherwise can be read."""
    if any(os.path.splitext(name)[1].lower() in SUFFIXES for name in names):
        return "images lie in it, but in no class; put those of each class into a folder, or write a manifest"
    return f"holds idx files; say idx:{shown(folder)}" if any("-ubyte" in name for name in names) else None
