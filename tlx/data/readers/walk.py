"""Walk through folders for image files, and account for everything else that lies in them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tlx.errors import DataError
from tlx.files.opening import one_line, open_regular, shown
from tlx.images.decode import SUFFIXES, is_image

_NO_DATA = {"thumbs.db", "desktop.ini", "__macosx"}  # what systems leave behind, besides hidden files
_NAMED = 3  # paths of each kind
HIDDEN, HIDDEN_FOLDERS, OTHERS = "hidden or system files", "hidden folders", "other files"
MET, BROKEN = "links to folders that were met before", "links that lead nowhere"


@dataclass
class Group:
    """Count paths of one kind; keep the first few, and the suffixes of all."""

    count: int = 0
    first: list[str] = field(default_factory=list)
    suffixes: Counter[str] = field(default_factory=Counter)

    def add(self, path: str) -> None:
        self.count += 1
        self.suffixes[os.path.splitext(path)[1].lower() or "no suffix"] += 1
        if len(self.first) < _NAMED:
            self.first.append(path)

    def describe(self, root: str, *, suffixes: bool = False) -> str:
        """Name the first paths, relative to a folder, after the suffixes of all where these are wanted."""
        names = ", ".join(shown(os.path.relpath(path, root)) for path in self.first)
        more = ", ..." if self.count > len(self.first) else ""
        of_all = ", ".join(f"{count} {shown(suffix)}" for suffix, count in self.suffixes.most_common(5))
        return f"{of_all}: {names}{more}" if suffixes else names + more


class Walk:
    """Find the image files below a folder, or other files that are `wanted`, and remember what else is there.

    A file with an image's suffix (`tlx.images.decode.SUFFIXES`) is one, whatever it holds; a file without any suffix is
    one where its first bytes say so. Links are followed, but no folder is entered twice from one start, so that a
    circle of links ends. `left_out` groups the rest by reason.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("b.png", "a.jpg", "notes.txt"):
    ...         open(f"{folder}/{name}", "w").close()
    ...     walk = Walk(folder)
    ...     [os.path.basename(path) for path in walk.files(folder)], walk.describe()
    (['a.jpg', 'b.png'], '1 other files (1 .txt: notes.txt)')
    """

    def __init__(self, root: str, wanted: Callable[[os.DirEntry[str]], bool] | None = None) -> None:
        self.root = root
        self.wanted = is_image_file if wanted is None else wanted
        self.left_out: dict[str, Group] = {}
        self.outside, self.by_content = Group(), Group()

    def leave_out(self, reason: str, path: str) -> None:
        self.left_out.setdefault(reason, Group()).add(path)

    def visible(self, folder: str) -> list[os.DirEntry[str]]:
        """List a folder by name, without what is hidden or left by a system; raise `DataError` where it cannot be."""
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(f"{shown(folder)}: {one_line(error)}; check the folder's permissions") from error
        found = []
        for entry in entries:
            if entry.name.lower() in _NO_DATA or entry.name.startswith("."):
                self.leave_out(HIDDEN_FOLDERS if entry.name[0] == "." and is_folder(entry) else HIDDEN, entry.path)
            else:
                found.append(entry)
        return found

    def files(self, folder: str, seen: set[tuple[int, int]] | None = None) -> Iterator[str]:
        """Yield the paths of the files that are wanted, at any depth, by name; the folders `seen` are not entered."""
        seen = set() if seen is None else seen
        if not self._enter(folder, seen):
            return
        waiting = [iter(self.visible(folder))]  # not by recursion: paths can be deeper than Python's stack
        while waiting:
            entry = next(waiting[-1], None)
            if entry is None:
                waiting.pop()
            elif is_folder(entry):
                if self._enter(entry.path, seen):
                    waiting.append(iter(self.visible(entry.path)))
            elif self.wanted(entry):
                self._take(entry)
                yield entry.path
            else:
                self.leave_out(BROKEN if is_broken(entry) else OTHERS, entry.path)

    def _take(self, entry: os.DirEntry[str]) -> None:
        """Note what is remarkable about an image."""
        if not os.path.splitext(entry.name)[1]:
            self.by_content.add(entry.path)
        if entry.is_symlink():
            self._note_link(entry.path)

    def _enter(self, folder: str, seen: set[tuple[int, int]]) -> bool:
        if identity(folder) in seen:
            self.leave_out(MET, folder)
            return False
        seen.add(identity(folder))
        if folder != self.root and os.path.islink(folder):
            self._note_link(folder)
        return True

    def _note_link(self, path: str) -> None:
        root = os.path.realpath(self.root)
        if os.path.commonpath([root, os.path.realpath(path)]) != root:
            self.outside.add(path)

    def describe(self) -> str:
        """Say in one phrase what is left out: how much of what, and the first of each."""
        reasons = []
        for reason in sorted(self.left_out):
            group = self.left_out[reason]
            named = "" if reason == HIDDEN else f" ({group.describe(self.root, suffixes=reason == OTHERS)})"
            reasons.append(f"{group.count} {reason}{named}")
        return ", ".join(reasons)

    def notes(self) -> list[str]:
        """Return what a user should know of the folder, a line each."""
        notes = [f"left out {self.describe()}"] if self.left_out else []
        if self.by_content.count:
            named = self.by_content.describe(self.root)
            notes.append(f"read {self.by_content.count} files without a suffix, which are images ({named})")
        if self.outside.count:
            notes.append(f"followed {self.outside.count} links out of the folder ({self.outside.describe(self.root)})")
        return [f"{shown(self.root)}: {note}" for note in notes]


def identity(folder: str) -> tuple[int, int]:
    """Return what tells a folder from all others, whatever path leads to it; raise `DataError` where it is hidden."""
    try:
        found = os.stat(folder)
    except OSError as error:
        raise DataError(f"{shown(folder)}: {one_line(error)}; check the folder's permissions") from error
    return found.st_dev, found.st_ino


def is_image_file(entry: os.DirEntry[str]) -> bool:
    """Tell whether an entry is taken for an image: by its suffix or, where it has none, by its first bytes."""
    suffix = os.path.splitext(entry.name)[1].lower()
    return suffix in SUFFIXES or (not suffix and _holds_image(entry.path))


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Tell whether an entry is a folder, or a link to one; a link to itself is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def is_broken(entry: os.DirEntry[str]) -> bool:
    """Tell whether an entry is a link that leads nowhere."""
    return entry.is_symlink() and not os.path.exists(entry.path)


def _holds_image(path: str) -> bool:
    try:
        with open_regular(path) as file:
            return is_image(file.read(64))
    except (DataError, OSError):  # no file, or not to be read: another file, then
        return False
