"""The input spec of texts: how texts and pairs of them become numbers of pieces, padded to few lengths."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, get_args

import numpy as np

from tlx.errors import ConfigError, DataError, check_choice
from tlx.text.lengths import best_lengths, padded, usual_lengths
from tlx.text.rows import Rows
from tlx.text.sentences import are_sentences, encode_sentences
from tlx.text.tokenizer import Template, Tokenizer
from tlx.text.truncation import Long, Row, fit_row
from tlx.text.word_tokenizer import WordTokenizer

Tree = Any
TOKENIZER = "tokenizer.json"


class Splits(Protocol):
    """What turns texts into the numbers of pieces; `Tokenizer` and `WordTokenizer` do. It is hashable."""

    def __hash__(self) -> int: ...

    @property
    def size(self) -> int: ...
    @property
    def sha256(self) -> str: ...
    @property
    def probe_sha256(self) -> str: ...
    @property
    def single(self) -> Template: ...
    @property
    def pair(self) -> Template: ...
    @property
    def pieces(self) -> tuple[str, ...]: ...
    @property
    def special_texts(self) -> tuple[str, ...]: ...
    @property
    def file(self) -> str: ...
    @property
    def content(self) -> bytes: ...
    @property
    def unit(self) -> str: ...
    @property
    def drops_unknown(self) -> bool: ...
    def special(self, name: str) -> int | None: ...
    def encode(self, texts: Sequence[str], *, parse_special: bool = True) -> list[np.ndarray]: ...


@dataclass(frozen=True)
class Tokens:
    """Turn texts, and pairs of texts, into the numbers of their pieces; an input spec that travels with the weights.

    A text is a string, a pair a mapping of `text` and `pair`, a text that is split into words a tuple of these. The
    special pieces are put around them as the tokenizer says. Batches are padded to the least of `lengths` that holds
    their longest text, and `on_device` makes `ids`, `segments` (1 for the second text of a pair) and `mask`, each
    (B, T).

    Args:
        tokenizer: the vocabulary and its rules.
        max_length: the most pieces, special ones included.
        long: what becomes of longer texts. "error": they are refused. "head": their end is left out; of a pair that of
            the longer text, piece by piece. "head+tail": what is left out lies behind the first quarter (Sun et al.
            2019). "windows": they are cut into windows of `max_length` that do not see each other, and are pooled
            together. Whatever is left out is counted.
        lengths: to which batches are padded, ascending; () stands for 16, 32, 64 and on. `fitted` chooses them.
        parse_special: whether "[MASK]" in a text is the piece of that name, as Hugging Face's tokenizers have it.

    Raises:
        ConfigError: for a `max_length` that has no room for a piece, and lengths that are not ascending.

    >>> words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "good", "film"]
    >>> spec = Tokens(Tokenizer.from_vocabulary(words), max_length=8, lengths=(4, 8))
    >>> batch = spec.on_device(spec.collate(["A good film", "film"]))
    >>> batch["ids"].tolist()
    [[2, 4, 5, 6, 3, 0, 0, 0], [2, 6, 3, 0, 0, 0, 0, 0]]
    >>> batch["mask"].sum(1).tolist()
    [5, 3]
    """

    tokenizer: Splits
    max_length: int = 512
    long: Long = "head"
    lengths: tuple[int, ...] = ()
    parse_special: bool = True

    takes_text: ClassVar[bool] = True
    ragged: ClassVar[tuple[str, ...]] = ("ids", "windows")  # what `collate` pads to the length of texts

    def __post_init__(self) -> None:
        object.__setattr__(self, "lengths", tuple(self.lengths))
        check_choice("long", self.long, get_args(Long))
        least = self.tokenizer.single.size + 1
        if isinstance(self.max_length, bool) or not isinstance(self.max_length, int) or self.max_length < least:
            raise ConfigError(f"max_length: {self.max_length!r} is not a number of pieces of {least} or more")
        rising = all(a < b for a, b in zip(self.lengths, self.lengths[1:], strict=False))
        if not all(isinstance(length, int) and length > 0 for length in self.lengths) or not rising:
            raise ConfigError(f"lengths: {list(self.lengths)} are not ascending numbers of pieces")

    @property
    def unit(self) -> str:
        """What the tokenizer splits texts into: "pieces" or "words"."""
        return self.tokenizer.unit

    @property
    def largest_batch(self) -> int:
        """The most texts of a batch where nobody says: 32 for transformers (Devlin et al. 2018 take 16 or 32)."""
        return 32 if self.unit == "pieces" else 128

    @property
    def drops_unknown(self) -> bool:
        """Whether what is unknown is left out, and not a piece of its own."""
        return self.tokenizer.drops_unknown

    # Texts to pieces

    def encode(self, inputs: Any) -> Rows:
        """Turn texts or pairs into rows of pieces, and count what is left out; raise `DataError` for what is none.

        Sentences that are split into words, tuples of them, become rows that know the first piece of each word.
        """
        if are_sentences(inputs):
            return encode_sentences(self, inputs)
        texts, pairs = as_texts(inputs)
        first = self.tokenizer.encode(texts, parse_special=self.parse_special)
        second = None if pairs is None else self.tokenizer.encode(pairs, parse_special=self.parse_special)
        unknown, special = self.tokenizer.special("unknown"), self.tokenizer.special_texts
        absent = [_count_of(unknown, ids, second and second[row]) for row, ids in enumerate(first)]
        if self.tokenizer.drops_unknown:
            first = [ids[ids != unknown] for ids in first]
            second = None if second is None else [ids[ids != unknown] for ids in second]
        made, lost, whole = [], [], []
        for row, ids in enumerate(first):
            other = None if second is None else second[row]
            fitted = self.row_of(ids, other)
            made.append(fitted)
            lost.append(len(ids) + (0 if other is None else len(other)) - fitted.kept)
            whole.append(ids if other is None else np.concatenate([ids, other]))
        faults = [row for row, count in enumerate(lost) if count and self.long == "error"]
        if faults:
            row = faults[0]
            raise DataError(
                f"{len(faults)} of {len(texts)} texts are longer than {self.max_length} pieces, the first one with "
                f"{len(whole[row]) + self.tokenizer.single.size} ({texts[row]!r:.60}): raise max_length, or say what "
                "is left out with long (--long head, head+tail or windows)"
            )
        windowed = any(each.windows is not None for each in made)
        marks = [
            np.ones(len(each.ids), np.int16) if each.windows is None else each.windows for each in made if windowed
        ]
        return Rows(
            ids=np.concatenate([np.empty(0, np.int32), *(each.ids for each in made)]),
            starts=np.cumsum([0, *(len(each.ids) for each in made)], dtype=np.int64),
            second=np.array([each.second for each in made], np.int32),
            windows=np.concatenate(marks) if windowed else None,
            lost=np.array(lost, np.int32),
            unknown=np.array(absent, np.int32),
            special=np.array(
                [_count(special, texts[i], None if pairs is None else pairs[i]) for i in range(len(texts))], np.int32
            ),
        )

    def row_of(self, ids: np.ndarray, other: np.ndarray | None) -> Row:
        """Put the special pieces around one text or two, and leave out what is too long."""
        template = self.tokenizer.single if other is None else self.tokenizer.pair
        return fit_row(template, self.max_length, self.long, ids, other)

    # Pieces to batches

    def collate(self, inputs: Any, length: int | None = None) -> dict[str, np.ndarray]:
        """Return `ids` (B, T) int32, padded to `length` or to the least of `lengths` that serves, and what marks them.

        Args:
            inputs: texts (B,), pairs, or what `Rows.take` returned.
            length: T, of a batch of which these are a part.
        """
        rows = inputs if isinstance(inputs, Mapping) and "ids" in inputs else _rows_of(inputs)
        if rows is None:
            encoded = self.encode(inputs)
            rows = encoded.take(np.arange(len(encoded)))
        ids = [np.asarray(each) for each in rows["ids"]]
        lengths = np.array([len(each) for each in ids], np.int32)
        width = length or int(self.padded(lengths.max(initial=1)))
        pad = self.tokenizer.special("pad") or 0
        made = {"ids": _filled(ids, width, pad, np.int32), "second": np.asarray(rows["second"], np.int32)}
        if "places" in rows:
            made["places"] = np.asarray(rows["places"], np.int32)
        if self.long == "windows":
            marks = rows.get("windows", [np.ones(count, np.int16) for count in lengths])
            return {**made, "windows": _filled(marks, width, 0, np.int16)}
        return {**made, "length": lengths}

    def stack(self, collated: Sequence[Mapping[str, np.ndarray]], length: int | None = None) -> dict[str, np.ndarray]:
        """Join collated examples, without their batch axis, of different lengths."""
        width = length or max(each["ids"].shape[0] for each in collated)
        pad = {"ids": self.tokenizer.special("pad") or 0}
        return {
            name: _filled([each[name][:width] for each in collated], width, pad.get(name, 0), collated[0][name].dtype)
            if name in self.ragged
            else np.stack([each[name] for each in collated])
            for name in collated[0]
        }

    def on_device(self, arrays: Tree) -> Tree:
        """Return `ids`, `segments` and `mask`, (B, T); with windows `blocks` and `positions`, too.

        Of sentences that are split into words also `places` (B, W), where the first piece of each word stands, or -1.
        """
        import jax.numpy as jnp
        from jax import lax

        ids = arrays["ids"]
        places = jnp.arange(ids.shape[1], dtype=jnp.int32)[None]
        if "windows" in arrays:
            blocks = arrays["windows"].astype(jnp.int32)
            begins = jnp.concatenate([jnp.ones_like(blocks[:, :1], bool), blocks[:, 1:] != blocks[:, :-1]], axis=1)
            mask = blocks > 0
            # Padding has position 0: counted on, it might come to one that the model does not have, which is NaN.
            positions = jnp.where(mask, places - lax.cummax(jnp.where(begins, places, 0), axis=1), 0)
            more = {"blocks": blocks, "positions": positions}
        else:
            positions, more = places, {}
            mask = places < arrays["length"][:, None]
        if "places" in arrays:
            more["places"] = arrays["places"].astype(jnp.int32)
        segments = (positions >= arrays["second"][:, None]) & mask
        return {"ids": ids, "segments": segments.astype(jnp.int32), "mask": mask, **more}

    def padded(self, lengths: Any) -> Any:
        """Return the lengths to which texts of so many pieces are padded."""
        return padded(np.asarray(lengths), self.lengths or usual_lengths(self.max_length))

    def fitted(self, lengths: np.ndarray) -> Tokens:
        """Return the spec with the `lengths` that suit texts of so many pieces, (N,), best (`best_lengths`)."""
        return replace(self, lengths=best_lengths(lengths))

    # What belongs to it

    @property
    def identity(self) -> dict[str, Any]:
        """What decides which pieces a text becomes, as data for JSON."""
        names = {"max_length": self.max_length, "long": self.long, "parse_special": self.parse_special}
        return {**names, "vocabulary_sha256": self.tokenizer.sha256, "probe_sha256": self.tokenizer.probe_sha256}

    @functools.cached_property
    def files(self) -> Mapping[str, bytes]:
        """What a folder that holds the spec needs beside its description, by name."""
        return {self.tokenizer.file: self.tokenizer.content}

    def check_model(self, rows: int, positions: int | None) -> None:
        """Raise `ConfigError` where a model has fewer rows of pieces, or fewer positions, than texts would need."""
        if self.tokenizer.size > rows:
            raise ConfigError(
                f"the tokenizer numbers {self.tokenizer.size:,} pieces, and the model has {rows:,} rows: they do not "
                "belong together"
            )
        if positions is not None and self.max_length > positions:
            raise ConfigError(
                f"max_length {self.max_length}: the model has positions for {positions} pieces: lower it (--max-length)"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the spec as data that JSON can hold; its tokenizer is a file beside it (`files`)."""
        own = {} if self.tokenizer.file == TOKENIZER else {"tokenizer": self.tokenizer.file}
        return {"kind": "tokens", **own, **self.identity, "lengths": list(self.lengths)}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any], files: Mapping[str, bytes]) -> Tokens:
        """Build from `to_dict`'s data and the files beside it; raise `ConfigError` where these are not the same."""
        file = str(plain.get("tokenizer", TOKENIZER))
        if file not in files:
            raise ConfigError(f"preprocess: {file} is missing beside it")
        tokenizer: Splits = (
            WordTokenizer.from_content(files[file])
            if file == WordTokenizer.file
            else Tokenizer(files[file].decode("utf-8", "replace"))
        )
        fields = {name: plain[name] for name in ("max_length", "long", "parse_special", "lengths") if name in plain}
        spec = cls(tokenizer, **fields)
        check_same(spec.identity, plain)
        return spec


def check_same(now: Mapping[str, Any], then: Mapping[str, Any]) -> None:
    """Raise `ConfigError` where a tokenizer is not the one that a model was saved with."""
    for name, what in (("vocabulary_sha256", "vocabulary"), ("probe_sha256", "rules")):
        if now[name] != then.get(name):
            raise ConfigError(
                f"preprocess: the tokenizer has another {what} ({name} {now[name][:12]}…) than the model was saved "
                f"with ({str(then.get(name))[:12]}…): its file has been changed"
            )


# Inputs


def as_texts(inputs: Any) -> tuple[list[str], list[str] | None]:
    """Return the texts (N,) and, of pairs, the second ones; raise `DataError` for what is neither.

    >>> as_texts(["a", "b"]), as_texts([{"text": "a", "pair": "b"}])
    ((['a', 'b'], None), (['a'], ['b']))
    """
    if isinstance(inputs, str):
        raise DataError(f"inputs: {inputs!r:.60} is one text: give a list of texts")
    if isinstance(inputs, Mapping):
        columns: Any = inputs
    else:
        inputs = list(inputs)
        if inputs and all(isinstance(each, Mapping) for each in inputs):
            columns = {name: [each.get(name) for each in inputs] for name in ("text", "pair")}
        else:
            columns = {"text": inputs}
    if "text" not in columns:
        raise DataError(f"inputs: a pair has `text` and `pair`, not {', '.join(map(str, columns))}")
    texts = list(columns["text"])
    pairs = list(columns["pair"]) if columns.get("pair") is not None else None
    for column in (texts, pairs or []):
        row = next((row for row, text in enumerate(column) if not isinstance(text, str)), None)
        if row is not None:
            raise DataError(f"inputs: row {row} is {column[row]!r:.60}, expected a text")
    return texts, pairs


def _rows_of(inputs: Any) -> dict[str, Any] | None:
    """Return a list of rows of pieces as columns, or None where it is one of texts."""
    if isinstance(inputs, list) and inputs and isinstance(inputs[0], Mapping) and "ids" in inputs[0]:
        return {name: [each[name] for each in inputs] for name in inputs[0]}
    return None


def _count_of(piece: int | None, *rows: Any) -> int:
    return 0 if piece is None else sum(int((ids == piece).sum()) for ids in rows if ids is not None)


def _count(special: Sequence[str], text: str, pair: str | None) -> int:
    return sum(text.count(each) + (pair.count(each) if pair else 0) for each in special)


def _filled(rows: Sequence[np.ndarray], width: int, value: int, dtype: Any) -> np.ndarray:
    made = np.full((len(rows), width), value, dtype)
    for row, values in zip(made, rows, strict=True):
        row[: len(values)] = values
    return made
