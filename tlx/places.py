"""Places: data and files named without the folders above them, fit to be shown to others."""

import os
import re
from collections.abc import Iterable

_ROOT = r"(?:~[^\\/\s]*[\\/]|[A-Za-z]:[\\/]|/|\\\\)"  # what a path from the top begins with
_KIND = re.compile(rf"(?P<kind>[a-z]{{2,}}:)?(?P<path>{_ROOT}.*)", re.DOTALL)  # folder:/home/ann/photos
# Of a text, all of such a path but its last part; not what follows the // of a URL.
_FOLDERS = re.compile(rf"(?<![\w./\\~])(?!//){_ROOT}(?:[^\\/\s'\",;:()<>|]+[\\/])+")


def public_source(source: str) -> str:
    """Name data, as `tlx.load_data` takes them, or a file or folder, without the folders above.

    Bytes of a name that are not UTF-8 are written out, so that the text can be stored anywhere.

    >>> [public_source(each) for each in ("folder:/home/ann/my photos", "/data/a.csv", "hf:user/name", "photos")]
    ['folder:my photos', 'a.csv', 'hf:user/name', 'photos']
    """
    found = _KIND.fullmatch(source)
    named = source if found is None else f"{found['kind'] or ''}{_last(found['path'])}"
    return named.encode("utf-8", "backslashreplace").decode("utf-8")


def public_text(text: str, folders: Iterable[str] = ()) -> str:
    """Name all files in a text without the folders above: relative to one of `folders`, else by their last part.

    `folders` are known by their names alone, as is the home directory: of a path with spaces in it, nothing else tells
    where it ends.

    >>> public_text("/home/ann/my photos/cats/a.jpg: cut short; see https://a.example/b/c", ["/home/ann/my photos"])
    'cats/a.jpg: cut short; see https://a.example/b/c'
    >>> public_text("no /data/b/c.png")
    'no c.png'
    """
    text = text.replace("file:///", "/")
    known = {os.path.normpath(folder): "" for folder in folders if folder and os.path.dirname(folder) != folder}
    known[os.path.expanduser("~")] = "~/"
    for folder, start in sorted(known.items(), key=lambda each: -len(each[0])):
        text = re.sub(rf"{re.escape(folder)}[\\/]+(?=[^\s'\"])", start, text)
        text = re.sub(rf"{re.escape(folder)}(?![\w.-])", _last(folder).replace("\\", ""), text)
    return _FOLDERS.sub("", text)


def _last(path: str) -> str:
    """Return the last part of a path of this or another system; of a home directory, whose name tells whose, "~"."""
    if os.path.normpath(path) == os.path.expanduser("~"):
        return "~"
    parts = re.split(r"[\\/]+", path.rstrip("\\/"))
    return parts[-1] or "/"
