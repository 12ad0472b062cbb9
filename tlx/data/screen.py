"""Look at every image once before a run: hash it, decode it, and leave out or refuse what is bad."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import NamedTuple

import numpy as np

from tlx.data.bad import check_bad, left_out, some
from tlx.data.encoded import EncodedSource
from tlx.errors import DataError
from tlx.files.opening import shown
from tlx.images.decode import decode_image
from tlx.images.preprocess import Preprocess
from tlx.progress import counted, lines


class _Seen(NamedTuple):
    digest: bytes
    fault: str | None
    frames: int = 1
    shape: tuple[int, int, int] = (0, 0, 0)


class Screened(NamedTuple):
    """The sources by part without their bad images, a line for each of these, and notes for the user."""

    sources: dict[str, EncodedSource]
    skipped: tuple[str, ...]
    notes: tuple[str, ...]


def screen(
    sources: Mapping[str, EncodedSource],
    skip_bad: float = 0.0,
    *,
    expected: Mapping[str, Sequence[str]] | None = None,
    preprocess: Preprocess | None = None,
    progress: bool = False,
) -> Screened:
    """Read and decode every image of the sources, on all cores, and leave out the bad ones.

    `sources` go by the names of their parts, `train` and so on. `skip_bad` is the share of all images, from 0 to 1,
    that may be bad. `expected` gives each source's SHA-256 in hexadecimal ("" for any): it alone finds damage that a
    decoder does not notice, and most flipped bits are such. Images of a shape that `preprocess` does not take are bad,
    too. With `progress`, a bar goes to standard error. Raise `DataError` that lists the bad images where they are more,
    or where they are all that a part has.
    """
    total = sum(map(len, sources.values()))
    wanted = expected or {part: [""] * len(source) for part, source in sources.items()}
    looking = _look_at_all(sources, wanted, preprocess)
    with lines() if progress else nullcontext():
        looked = iter(list(counted(looking, total, "looking at the images")))
    seen = {part: [next(looked) for _ in range(len(source))] for part, source in sources.items()}
    bad = {part: [found.fault for found in each if found.fault is not None] for part, each in seen.items()}
    every = [fault for each in bad.values() for fault in each]
    check_bad(every, total, skip_bad)
    for part, faults in bad.items():
        if faults and len(faults) == len(sources[part]):
            raise DataError(f"{part}: none of {len(faults)} images is left, all are bad: {some(faults)}; mend them")
    kept = {part: _without_bad(source, seen[part]) for part, source in sources.items()}
    good = [found for each in seen.values() for found in each if not found.fault]
    return Screened(kept, tuple(every), tuple(_notes(good, every)))


def _look_at_all(
    sources: Mapping[str, EncodedSource], expected: Mapping[str, Sequence[str]], preprocess: Preprocess | None
) -> Iterator[_Seen]:
    with ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, 16)) as pool:
        for part, source in sources.items():
            look = functools.partial(_look_at, source, preprocess)
            yield from pool.map(look, range(len(source)), expected[part])


def _look_at(source: EncodedSource, preprocess: Preprocess | None, index: int, expected: str) -> _Seen:
    name, digest = source.names[index], hashlib.sha256()
    try:
        content = source.read(index)
        digest.update(content)
        if expected and digest.hexdigest() != expected.lower():
            raise DataError(f"{shown(name)}: its SHA-256 is not the manifest's; get the file again")
        image = decode_image(content, name)
        height, width, channels = (*image.image.shape, 1)[:3]
        if preprocess is not None:
            preprocess.check_shape((height, width, channels), name)
    except DataError as error:
        return _Seen(digest.digest(), str(error))
    return _Seen(digest.digest(), None, image.frames, (height, width, channels))


def _without_bad(source: EncodedSource, seen: Sequence[_Seen]) -> EncodedSource:
    rows = [row for row, found in enumerate(seen) if not found.fault]
    names = [source.names[row] for row in rows]
    kept = EncodedSource(
        functools.partial(_read_row, source.read, rows),
        names,
        source.targets[np.array(rows, int)],
        source.classes,
        source.target_kind,
    )
    kept.digests = tuple(seen[row].digest for row in rows)
    kept.shapes = np.array([seen[row].shape for row in rows], np.int32).reshape(-1, 3)
    return kept


def _read_row(read: Callable[[int], bytes], rows: Sequence[int], index: int) -> bytes:
    return read(rows[index])


def _notes(good: Sequence[_Seen], bad: Sequence[str]) -> Iterator[str]:
    yield from left_out(bad, len(bad) + len(good))
    if animated := sum(found.frames > 1 for found in good):
        yield f"{animated} images have several frames, of which the first is taken"
    if transparent := sum(found.shape[2] == 4 for found in good):
        yield f"{transparent} images are transparent in part, and laid on black"
