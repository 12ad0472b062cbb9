"""Walking through folders ends, finds every image, and accounts for the rest."""

import inspect
import os
import sys

import numpy as np
from image_files import encoded, numbered_images

from tlx.data.readers.walk import BROKEN, HIDDEN, HIDDEN_FOLDERS, MET, OTHERS, Walk
from tlx.errors import DataError

GOOD = numbered_images(1)[0]


def put(path, content=GOOD):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def walked(root):
    walk = Walk(str(root))
    found = [os.path.relpath(path, root) for path in walk.files(str(root))]
    return found, {reason: [os.path.relpath(p, root) for p in group.first] for reason, group in walk.left_out.items()}


def test_images_come_by_name_at_any_depth(tmp_path):
    for name in ("b.png", "a/z.gif", "c.txt", "a/.x.png", "a/b/c/d/e.WEBP", "d.HEIC", "e.Avif", ".NET/a.png"):
        put(tmp_path / name)
    found, left_out = walked(tmp_path)
    assert found == ["a/b/c/d/e.WEBP", "a/z.gif", "b.png", "d.HEIC", "e.Avif"]
    assert left_out == {HIDDEN: ["a/.x.png"], HIDDEN_FOLDERS: [".NET"], OTHERS: ["c.txt"]}


def test_a_file_without_a_suffix_is_what_it_holds(tmp_path):
    rgb = np.zeros((4, 4, 3), np.uint8)
    for kind in ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "AVIF"):
        put(tmp_path / kind, encoded(rgb, kind))
    for name, content in {"LICENSE": b"BMW", "empty": b"", "scan.7": GOOD, "sound": b"RIFF\0\0\0\0WAVE"}.items():
        put(tmp_path / name, content)
    os.mkfifo(tmp_path / "pipe")
    walk = Walk(str(tmp_path))
    assert len(list(walk.files(str(tmp_path)))) == 7
    assert walk.notes() == [
        f"{tmp_path}: left out 5 other files (4 no suffix, 1 .7: LICENSE, empty, pipe, ...)",
        f"{tmp_path}: read 7 files without a suffix, which are images (AVIF, BMP, GIF, ...)",
    ]


def test_circles_and_loops_of_links_end(tmp_path):
    put(tmp_path / "a/b/0.png")
    for link, target in {"a/b/up": "..", "a/me": "me", "x": "y", "y": "x", "a/gone": "nowhere"}.items():
        (tmp_path / link).symlink_to(target)
    (tmp_path / "a/gone.png").symlink_to("nowhere.png")  # an image by its name: bad, not left out
    found, left_out = walked(tmp_path)
    assert found == ["a/b/0.png", "a/gone.png"]
    assert left_out == {MET: ["a/b/up"], BROKEN: ["a/gone", "a/me", "x"]}


def test_links_out_of_the_folder_are_followed_and_named(tmp_path):
    put(tmp_path / "other/0.png")
    put(tmp_path / "root/1.png")
    for link, target in {"out": tmp_path / "other", "2.png": tmp_path / "other/0.png", "3.png": "1.png"}.items():
        (tmp_path / "root" / link).symlink_to(target)
    walk = Walk(str(tmp_path / "root"))
    assert len(list(walk.files(walk.root))) == 4
    assert walk.notes() == [f"{tmp_path}/root: followed 2 links out of the folder (2.png, out)"]


def test_folders_deeper_than_the_stack_of_python(tmp_path):
    put(tmp_path / "/".join("d" * 150) / "0.png")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 100)
    try:
        [found] = Walk(str(tmp_path)).files(str(tmp_path))
    finally:
        sys.setrecursionlimit(limit)
    assert found.endswith("/d/0.png")


def test_a_folder_that_cannot_be_read(tmp_path, refuses, monkeypatch):
    def scandir(folder):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", scandir)
    with refuses(DataError, f"{tmp_path}: ", "Permission denied; check the folder's permissions"):
        list(Walk(str(tmp_path)).files(str(tmp_path)))
