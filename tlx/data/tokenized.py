"""Texts as pieces: each tokenised once, kept one after the other in memory or on disk, and padded in batches."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tlx.data.inputs import InputSpec
from tlx.data.source import (
    Columns,
    Example,
    Source,
    TargetKind,
    describe,
    digests_of,
    names_of,
    take,
    target_kind,
    targets_of,
)
from tlx.data.spec import PARTS, Data
from tlx.data.views import Subset
from tlx.errors import DataError
from tlx.files import cache_dir, write_bytes
from tlx.files.opening import shown
from tlx.progress import doing
from tlx.text.rows import Rows, joined
from tlx.text.sentences import are_sentences
from tlx.tree.paths import quote

AT_ONCE = 8192  # texts that are tokenised, and kept on disk, together
KEPT = 4 * AT_ONCE  # so many texts, or more, are kept on disk: fewer take a few seconds
LIMIT = 4 << 30  # bytes of tokenised texts on disk; the longest unused go first
ARRAYS = ("ids", "starts", "second", "windows", "lost", "unknown", "special", "words", "counts")
OF_SOME = ("windows", "words", "counts")  # arrays that not all texts have


class TokenSource:
    """See a source of texts as rows of pieces, as `spec.encode` makes them; `source` holds the texts themselves.

    >>> from tlx.data import ColumnSource
    >>> from tlx.text import Tokenizer, Tokens
    >>> spec = Tokens(Tokenizer.from_vocabulary(["[UNK]", "[CLS]", "[SEP]", "good", "film"]), lengths=(8, 16))
    >>> texts = TokenSource(ColumnSource({"input": ["good film", "good"], "target": [1, 0]}, ("-", "+")), spec)
    >>> texts[0]["input"]["ids"].tolist(), texts.sizes.tolist()
    ([1, 3, 4, 2], [8, 8])
    """

    def __init__(self, source: Source, spec: Any, rows: Rows | None = None) -> None:
        self.source, self.spec, self.classes = source, spec, tuple(source.classes)
        self.rows = _encoded(source, spec) if rows is None else rows

    __repr__ = describe

    @property
    def target_kind(self) -> TargetKind:
        return target_kind(self.source)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Example:
        one = {name: column[0] for name, column in self.rows.take([index]).items()}
        return {**self.source[index], "input": one}

    @property
    def targets(self) -> Any:
        return getattr(self.source, "targets", None)

    @property
    def digests(self) -> tuple[bytes, ...]:
        return digests_of(self.source)

    @property
    def names(self) -> tuple[str, ...] | None:
        return names_of(self.source)

    @cached_property
    def sizes(self) -> np.ndarray:
        """To which length each row is padded, (N,) int64."""
        sizes: np.ndarray = self.spec.padded(self.rows.lengths)
        return sizes

    def take(self, indices: np.ndarray) -> Columns:
        """Gather rows of pieces, and the other columns as the source does."""
        columns = {**take(self.source, indices), "input": self.rows.take(indices)}
        # Tags are as wide in every batch, whatever the source pads some of them to.
        return {**columns, "target": self._tags[indices]} if self.target_kind == "tags" else columns

    @cached_property
    def _tags(self) -> np.ndarray:
        return targets_of(self.source)

    def fitted(self, spec: Any) -> TokenSource:
        """Return the same rows for a spec that only pads otherwise."""
        return TokenSource(self.source, spec, self.rows)


_known: weakref.WeakKeyDictionary[Any, TokenSource] = weakref.WeakKeyDictionary()  # a text's source, and its rows


def tokenized_for_use(source: Source, spec: InputSpec) -> Source:
    """Do as `tokenized`, and warn (logger "tlx") of texts that are new here and cut, or unknown as a whole."""
    found = tokenized(source, spec)
    if isinstance(found, TokenSource) and found is not source and not isinstance(source, TokenSource):
        for note in faults_of(found.rows, spec):
            logging.getLogger("tlx").warning("tlx: %s", note)
    return found


def tokenized(source: Source, spec: InputSpec) -> Source:
    """Return a source of texts as one of rows of pieces; another source, or for another spec, as it is."""
    if not hasattr(spec, "encode") or not len(source):
        return source
    return _tokenized(source, spec)


def _tokenized(view: Any, spec: Any) -> Any:
    if isinstance(view, TokenSource):
        if view.spec == spec:
            return view
        if view.spec.identity == spec.identity:
            return view.fitted(spec)
        view = view.source
    elif "ids" in _first(view):
        return view  # a view of rows
    try:
        known = _known.get(view)
    except TypeError:  # a source of the user's that cannot be hashed
        return TokenSource(view, spec)
    if known is None or known.spec.identity != spec.identity:
        known = _known[view] = TokenSource(view, spec)
    return known if known.spec == spec else known.fitted(spec)


def _first(source: Source) -> Any:
    first = source[0]["input"]
    return first if isinstance(first, dict) else ()


def tokenized_data(data: Data, spec: InputSpec) -> tuple[Data, InputSpec]:
    """Return data whose texts are rows of pieces, with notes on what is left out, and the spec that pads to their size.

    Data that are no texts come back as they are.
    """
    if not hasattr(spec, "encode"):
        return data, spec
    doing("tokenising the texts")
    known = any(isinstance(getattr(data, name), TokenSource) for name in PARTS)
    chosen, found = tokenized_parts(spec, *(getattr(data, name) for name in PARTS))
    parts: dict[str, Any] = dict(zip(PARTS, found, strict=True))
    rows = {name: part.rows for name, part in parts.items() if isinstance(part, TokenSource)}
    notes = () if known or not rows else tuple(notes_on(rows, chosen))  # which were told of already
    return replace(data, **parts, notes=(*data.notes, *notes)), chosen


def tokenized_parts(spec: InputSpec, *parts: Source | None) -> tuple[InputSpec, list[Source | None]]:
    """Return a spec that pads to the size of texts, where it is one of texts, and these as rows of pieces."""
    found = [part if part is None else tokenized(part, spec) for part in parts]
    rows = [part.rows.lengths for part in found if isinstance(part, TokenSource)]
    chosen: Any = spec
    if not rows or chosen.lengths:
        return spec, found
    chosen = chosen.fitted(np.concatenate(rows))
    return chosen, [part if part is None else tokenized(part, chosen) for part in found]


def notes_on(rows: dict[str, Rows], spec: Any) -> Iterator[str]:
    """Say how long the texts are, and how many are cut, unknown or hold special pieces."""
    lengths = np.concatenate([each.lengths for each in rows.values()])
    mean, most = lengths.mean(), lengths.max()
    waste = sum(int(spec.padded(each.lengths).sum()) for each in rows.values()) / max(int(lengths.sum()), 1)
    to = quote(map(str, spec.lengths), 10).replace("'", "")
    yield (
        f"texts of {mean:.1f} {spec.unit} on average, {most} at most; padded to {to}: {waste:.2f} positions are "
        f"computed for each of the {spec.unit}"
    )
    unknown = sum(int(each.unknown.sum()) for each in rows.values())
    if unknown:
        total = unknown + int(lengths.sum()) if spec.drops_unknown else int(lengths.sum())
        yield f"{unknown:,} of {total:,} {spec.unit} ({unknown / total:.1%}) are unknown to the vocabulary"
    yield from faults_of(joined(list(rows.values())), spec)


def faults_of(rows: Rows, spec: Any) -> Iterator[str]:
    """Say how many texts are cut, are unknown as a whole, or hold special pieces."""
    if cut := int((rows.lost > 0).sum()):
        lost, kept = int(rows.lost.sum()), int(rows.starts[-1])
        yield (
            f"{cut} of {len(rows)} texts ({cut / len(rows):.1%}) are longer than {spec.max_length} {spec.unit}: "
            f"{lost:,} of their {spec.unit} ({lost / (lost + kept):.1%} of all) are left out ({spec.long})"
        )
    if rows.windows is not None and len(rows.windows) and (most := int(rows.windows.max())) > 1:
        yield f"long texts are cut into windows of {spec.max_length} {spec.unit}, at most {most} each"
    if empty := int((rows.lengths == 0).sum()):
        yield f"{empty} texts have no known {spec.unit}: they are all alike to the model"
    if rows.words is not None and rows.counts is not None:
        total = int(rows.counts.sum())
        if gone := total - int(rows.words_kept.sum()):
            yield (
                f"{gone:,} of {total:,} words ({gone / total:.1%}) have no piece left: nothing is trained on them or "
                "predicted of them, and in a test they count as wrong"
            )
    if special := int((rows.special > 0).sum()):
        read = "read as those pieces" if spec.parse_special else "read as text"
        yield f"{special} texts hold names of special pieces, such as [MASK], which are {read}"


@dataclass(frozen=True)
class ByLength:
    """A view of a source in which inputs of one size are neighbours, and the way back to the source's order."""

    source: Source
    places: np.ndarray | None

    @property
    def rows(self) -> np.ndarray:
        """Which example of the source comes first, second, …, (N,)."""
        return np.arange(len(self.source)) if self.places is None else np.argsort(self.places, kind="stable")

    def restored(self, rows: Any) -> Any:
        """Put rows (N, …) of the view into the source's order."""
        return rows if self.places is None else rows[self.places]


def by_length(source: Source) -> ByLength:
    """Sort a source by the size of its inputs, so that little of a batch is padding; others stay as they are.

    >>> from tlx.data import ArraySource
    >>> by_length(ArraySource(np.zeros((2, 1, 1), np.uint8), [1, 0])).places is None
    True
    """
    sizes = getattr(source, "sizes", None)
    if sizes is None or not len(source):
        return ByLength(source, None)
    order = np.argsort(sizes, kind="stable")
    return ByLength(Subset(source, order), np.argsort(order, kind="stable"))


# Tokenising


def _encoded(source: Source, spec: Any) -> Rows:
    """Tokenise all texts, in parts; of many texts take the parts that are on disk, and put the others there."""
    count = len(source)
    spans = [range(at, min(at + AT_ONCE, count)) for at in range(0, count, AT_ONCE)]
    folder = _folder(source, spec) if count >= KEPT else None
    parts = []
    for number, span in enumerate(spans):
        doing("tokenising the texts", number, len(spans))
        part = _part(folder / f"{number}.npz", len(span)) if folder else None
        if part is None:
            part = spec.encode(_texts(source, span))
            if folder:
                _keep(folder / f"{number}.npz", part)
        parts.append(part)
    return parts[0] if len(parts) == 1 else joined(parts)


def _texts(source: Source, span: range) -> Any:
    inputs = take(source, np.arange(span.start, span.stop))["input"]
    first = inputs if isinstance(inputs, dict) else inputs[0]
    if not isinstance(first, str | dict) and not are_sentences(inputs):
        names = names_of(source)
        name = f"example {span.start}" if names is None else shown(names[span.start])
        raise DataError(f"{name}: {type(first).__name__}, expected a text: the base takes texts")
    return inputs


def _folder(source: Source, spec: Any) -> Path:
    said = json.dumps(spec.identity, sort_keys=True).encode()
    digest = hashlib.sha256(said + b"".join(digests_of(source))).hexdigest()
    return cache_dir() / "tokens" / digest


def _part(path: Path, count: int) -> Rows | None:
    """Read a part that is whole; None for one that is not there, or damaged."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as held:  # whose checksums are looked at
            arrays = {name: held.get(name) for name in ARRAYS}
    except Exception:  # whatever NumPy and zipfile make of a damaged file
        return None
    good = all(arrays[name] is not None for name in ARRAYS if name not in OF_SOME)
    return Rows(**arrays) if good and len(arrays["second"]) == count else None


def _keep(path: Path, part: Rows) -> None:
    """Put a part on disk; a disk that takes none is told of, for the texts are tokenised again another time."""
    content = io.BytesIO()
    arrays: dict[str, Any] = {name: getattr(part, name) for name in ARRAYS if getattr(part, name) is not None}
    np.savez(content, **arrays)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _make_room(path.parent, content.tell())
        write_bytes(path, content.getvalue())
    except OSError as error:
        logging.getLogger("tlx").warning("tlx: tokenised texts cannot be kept (%s)", error)


def _make_room(folder: Path, wanted: int) -> None:
    """Remove what was kept of other texts, longest unused first, until there is room."""
    sizes: dict[Path, int] = {}
    for other in folder.parent.iterdir():
        if other != folder and other.is_dir():
            sizes[other] = sum(file.stat().st_size for file in other.glob("*.npz"))
    own = sum(file.stat().st_size for file in folder.glob("*.npz"))
    age: Callable[[Path], float] = lambda place: place.stat().st_mtime  # noqa: E731
    for other in sorted(sizes, key=age):
        if own + wanted + sum(sizes.values()) <= LIMIT:
            return
        for file in other.glob("*.npz"):
            file.unlink(missing_ok=True)
        other.rmdir()
        del sizes[other]
