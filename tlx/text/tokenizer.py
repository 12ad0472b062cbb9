"""The tokenizer: a vocabulary and the rules by which texts become the numbers of its pieces."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tlx.errors import ConfigError, DataError, UnsafeFileError, WeightsError
from tlx.files.opening import RegularFile, one_line, shown
from tlx.text.tokenizer_guard import check_numbers, check_rules, library_faults

MAX_BYTES = 64 << 20  # the largest tokenizer.json in use, of 256,000 pieces, has 34 MB
PROBE = (
    "Tokenizers differ: Café naïve, ÅNGSTRÖM; don't stop-believing! 3.14 x 2,000 = $6,280 [MASK] 你好 こんにちは "
    "привет\tunaffable antidisestablishmentarianism \u00a0 \u200d end."
)
"""A text whose pieces tell tokenizers apart: case, accents, punctuation, digits, CJK signs, odd blanks."""

SPECIAL = {"pad": ("[PAD]", "<pad>"), "mask": ("[MASK]", "<mask>"), "unknown": ("[UNK]", "<unk>")}


class Template(NamedTuple):
    """The special pieces around one text, or around two and between them, as numbers."""

    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many pieces these are."""
        return sum(map(len, self))


class Piece(NamedTuple):
    """A piece of a text: its number, where it stands in the text, and the number of its word (None: special)."""

    id: int
    start: int
    end: int
    word: int | None


@dataclass(frozen=True, repr=False)
class Tokenizer:
    """Turn texts into pieces by the rules of a `tokenizer.json`; equal where these are.

    It is Hugging Face's `tokenizers` underneath, with its truncation and padding switched off: `Tokens` does both.

    Args:
        json: the content of a `tokenizer.json`.

    Raises:
        WeightsError: for what is none.
        UnsafeFileError: for rules that would hang, or grow without a bound (`check_rules`).

    >>> words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "film", "##s"]
    >>> tokenizer = Tokenizer.from_vocabulary(words)
    >>> tokenizer.encode(["Good films"])[0].tolist(), tokenizer.single.before
    ([5, 6, 7], (2,))
    """

    json: str

    file = "tokenizer.json"
    unit = "pieces"
    drops_unknown = False

    def __post_init__(self) -> None:
        check_rules(self.json)
        with library_faults(WeightsError, "tokenizer: not a tokenizer.json"):
            rules = _built(self.json)
            check_numbers(rules.get_vocab(with_added_tokens=True).values())
            # A canonical form, so that equality does not hang on blanks or on what tlx switches off.
            object.__setattr__(self, "json", rules.to_str())
            facts = _facts(self.json)  # which encodes: some faults show only then
        around = [number for template in (facts.single, facts.pair) for part in template for number in part]
        if max(around, default=-1) >= facts.size:
            raise WeightsError(f"tokenizer: puts a piece {max(around)} around texts, and has {facts.size:,} pieces")

    @classmethod
    def from_vocabulary(
        cls,
        pieces: Sequence[str],
        *,
        lower: bool = True,
        accents: bool | None = None,
        chinese: bool = True,
        most_characters: int = 100,
    ) -> Tokenizer:
        """Build BERT's WordPiece tokenizer of a vocabulary (Devlin et al. 2018).

        Args:
            pieces: in the order of their numbers; pieces within words begin with "##".
            lower: whether text is put into lower case.
            accents: whether accents stay; None strips them where text is put into lower case, as BERT does.
            chinese: whether each CJK sign is a word of its own.
            most_characters: words that are longer are unknown.

        Raises:
            WeightsError: for a piece that is there twice, and where `[UNK]`, `[CLS]` or `[SEP]` is not.
        """
        from tokenizers import Tokenizer as Rules
        from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

        numbers = {piece: number for number, piece in enumerate(pieces)}
        if len(numbers) != len(pieces):
            twice = next(piece for number, piece in enumerate(pieces) if numbers[piece] != number)
            raise WeightsError(f"vocabulary: {twice!r} is there twice, on line {numbers[twice] + 1} last")
        missing = [name for name in ("[UNK]", "[CLS]", "[SEP]") if name not in numbers]
        if missing:
            raise WeightsError(f"vocabulary: {' and '.join(missing)} missing: not a vocabulary of BERT's kind")
        rules = Rules(models.WordPiece(numbers, unk_token="[UNK]", max_input_chars_per_word=most_characters))
        strip = None if accents is None else not accents
        rules.normalizer = normalizers.BertNormalizer(
            clean_text=True, handle_chinese_chars=chinese, strip_accents=strip, lowercase=lower
        )
        rules.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        ends = [(name, numbers[name]) for name in ("[CLS]", "[SEP]")]
        rules.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
        )
        rules.decoder = decoders.WordPiece()
        rules.add_special_tokens([name for name in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]") if name in numbers])
        return cls(rules.to_str())

    def __repr__(self) -> str:
        return f"Tokenizer({self.size:,} pieces, {self.sha256[:12]})"

    @property
    def content(self) -> bytes:
        """The rules as a file."""
        return self.json.encode()

    @property
    def _rules(self) -> Any:
        return _built(self.json)

    @property
    def size(self) -> int:
        """One more than the largest number of a piece: how many rows the matrix of a model needs."""
        return _facts(self.json).size

    @property
    def vocabulary(self) -> Mapping[str, int]:
        """The number of each piece."""
        return _facts(self.json).vocabulary

    @functools.cached_property
    def pieces(self) -> tuple[str, ...]:
        """The pieces in the order of their numbers; '' where a number has none."""
        listed = [""] * self.size
        for piece, number in self.vocabulary.items():
            listed[number] = piece
        return tuple(listed)

    @property
    def sha256(self) -> str:
        """The SHA-256 of the vocabulary, pieces with their numbers, in hexadecimal."""
        return _facts(self.json).sha256

    @functools.cached_property
    def probe_sha256(self) -> str:
        """The SHA-256 of the numbers of a fixed probe text's pieces, in hexadecimal: the rules show in it."""
        (ids,) = self.encode([PROBE])
        return hashlib.sha256(ids.astype("<i4").tobytes()).hexdigest()

    @property
    def single(self) -> Template:
        """The special pieces around one text."""
        return _facts(self.json).single

    @property
    def pair(self) -> Template:
        """The special pieces around two texts."""
        return _facts(self.json).pair

    def special(self, name: str) -> int | None:
        """Return the number of the piece for "pad", "mask" or "unknown"; None where there is none."""
        return next((self.vocabulary[piece] for piece in SPECIAL[name] if piece in self.vocabulary), None)

    @functools.cached_property
    def special_texts(self) -> tuple[str, ...]:
        """The special pieces, such as [MASK], which are recognised in texts, too."""
        return tuple(
            each.content for each in self._rules.get_added_tokens_decoder().values() if each.special and each.content
        )

    def encode(self, texts: Iterable[str], *, parse_special: bool = True) -> list[np.ndarray]:
        """Return the numbers of each text's pieces, (L,) int32, without special pieces around them.

        With `parse_special` "[MASK]" in a text is the piece of that name, as the library has it; without, three signs.
        """
        rules, listed = self._rules_for(parse_special), list(texts)
        with library_faults(DataError, "the tokenizer takes no such texts"):
            found = rules.encode_batch_fast(listed, add_special_tokens=False)
        return [np.array(each.ids, np.int32) for each in found]

    def locate(self, text: str, *, parse_special: bool = True) -> list[Piece]:
        """Return a text's pieces, each with its place in the text and the number of its word."""
        with library_faults(DataError, "the tokenizer takes no such text"):
            found = self._rules_for(parse_special).encode(text, add_special_tokens=False)
        pieces = zip(found.ids, found.offsets, found.word_ids, strict=True)
        return [Piece(number, start, end, word) for number, (start, end), word in pieces]

    def encode_words(
        self, sentences: Sequence[Sequence[str]], *, parse_special: bool = True
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the pieces (L,) int32 of texts that are split into words, and the number of each piece's word (L,).

        Byte-level rules see a blank before every word, as Hugging Face's `add_prefix_space` has it.
        """
        blank = " " if _needs_blank(self.json) else ""
        given = [[f"{blank}{word}" for word in words] for words in sentences]
        with library_faults(DataError, "the tokenizer takes no such words"):
            rules = self._rules_for(parse_special)
            found = rules.encode_batch(given, is_pretokenized=True, add_special_tokens=False)
        numbers = [[-1 if word is None else word for word in each.word_ids] for each in found]
        return [
            (np.array(each.ids, np.int32), np.array(of_pieces, np.int32))
            for each, of_pieces in zip(found, numbers, strict=True)
        ]

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text that pieces make, without special pieces."""
        decoded: str = self._rules.decode(list(map(int, ids)))
        return decoded

    def _rules_for(self, parse_special: bool) -> Any:
        return self._rules if parse_special else _without_parsing(self.json)


@functools.lru_cache(maxsize=16)
def _needs_blank(content: str) -> bool:
    """Tell whether byte-level rules would take a word alone for the middle of one."""
    before = json.loads(content).get("pre_tokenizer") or {}
    parts = before.get("pretokenizers", [before])
    return any(part.get("type") == "ByteLevel" and not part.get("add_prefix_space") for part in parts)


class _Facts(NamedTuple):
    vocabulary: Mapping[str, int]
    size: int
    sha256: str
    single: Template
    pair: Template


@functools.lru_cache(maxsize=16)
def _built(content: str) -> Any:
    from tokenizers import Tokenizer as Rules

    rules = Rules.from_str(content)
    rules.no_truncation()
    rules.no_padding()
    return rules


@functools.lru_cache(maxsize=16)
def _without_parsing(content: str) -> Any:
    from tokenizers import Tokenizer as Rules

    rules = Rules.from_str(content)
    rules.encode_special_tokens = True
    return rules


@functools.lru_cache(maxsize=16)
def _facts(content: str) -> _Facts:
    rules = _built(content)
    vocabulary = dict(rules.get_vocab(with_added_tokens=True))
    total = hashlib.sha256()
    for piece, number in sorted(vocabulary.items(), key=lambda item: (item[1], item[0])):
        total.update(f"{number}\t{piece}\n".encode())
    single, pair = _template(rules, ("a",)), _template(rules, ("a", "a"))
    return _Facts(vocabulary, max(vocabulary.values(), default=-1) + 1, total.hexdigest(), single, pair)


def _template(rules: Any, texts: tuple[str, ...]) -> Template:
    """Find the special pieces around texts: what a tokenizer adds to the first of these, and to both."""
    found = rules.encode(*texts)
    parts: tuple[list[int], list[int], list[int]] = ([], [], [])
    place = 0
    for number, special, sequence in zip(found.ids, found.special_tokens_mask, found.sequence_ids, strict=True):
        if not special:
            place = 1 if sequence == 0 else 2
        else:
            parts[place].append(number)
    before, between, after = map(tuple, parts)
    return Template(before, (), between) if len(texts) == 1 else Template(before, between, after)


def read_vocabulary(path: Path) -> tuple[str, ...]:
    """Read the pieces of a `vocab.txt`, one a line; raise `WeightsError` naming the line that is none.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile(suffix=".txt") as file:
    ...     _ = Path(file.name).write_text("[PAD]\\n[UNK]\\n")
    ...     read_vocabulary(Path(file.name))
    ('[PAD]', '[UNK]')
    """
    lines = read_text(path).split("\n")  # not splitlines: some pieces are separators of lines
    if lines and not lines[-1]:
        lines.pop()
    pieces = tuple(line.removesuffix("\r") for line in lines)
    empty = next((number for number, piece in enumerate(pieces, 1) if not piece), None)
    if empty or not pieces:
        raise WeightsError(f"{shown(path)}: line {empty or 1} is empty: a vocabulary has a piece a line")
    return pieces


def read_tokenizer(path: str | Path, *, lower: bool | None = None) -> Tokenizer:
    """Read the tokenizer of a folder as model hubs lay them out, of a `tokenizer.json` or of a `vocab.txt`.

    Args:
        path: the file, or a folder with one of them; `tokenizer.json` counts first.
        lower: of a `vocab.txt`: whether text is put into lower case; by default as the `tokenizer_config.json` beside
            it says, and true without one.

    Raises:
        WeightsError: for a file that is missing, damaged or none of these.
        ConfigError: for `lower` with a `tokenizer.json`, which says it itself.
    """
    path = Path(path)
    if path.is_dir():
        names = ("tokenizer.json", "vocab.txt")
        found = next((path / name for name in names if (path / name).is_file()), None)
        if found is None:
            raise WeightsError(f"{shown(path)}: holds neither {' nor '.join(names)}: name a tokenizer (--tokenizer)")
        path = found
    if path.suffix == ".json":
        if lower is not None:
            raise ConfigError(f"lower: {shown(path)} says itself what becomes of case: leave it out")
        try:
            return Tokenizer(read_text(path))
        except (WeightsError, UnsafeFileError) as error:
            raise type(error)(f"{shown(path)}: {str(error).removeprefix('tokenizer: ')}") from error
    said = _beside(path)
    choices: dict[str, Any] = {"lower": said.get("do_lower_case", True) if lower is None else lower}
    strip = said.get("strip_accents")
    choices["accents"] = None if strip is None else not strip
    choices["chinese"] = said.get("tokenize_chinese_chars", True)
    try:
        return Tokenizer.from_vocabulary(read_vocabulary(path), **choices)
    except WeightsError as error:
        raise WeightsError(f"{shown(path)}: {str(error).removeprefix('vocabulary: ')}") from error


def _beside(path: Path) -> dict[str, Any]:
    """Return what the configuration beside a vocabulary says of it."""
    said = _config(path.with_name("tokenizer_config.json"))
    names = ("do_lower_case", "strip_accents", "tokenize_chinese_chars")
    if not all(isinstance(said.get(name), bool | None) for name in names):
        where = shown(path.with_name("tokenizer_config.json"))
        raise WeightsError(f"{where}: expected an object whose {', '.join(names)} are true or false")
    return {name: said[name] for name in names if said.get(name) is not None}


def length_beside(config: Path) -> int | None:
    """Return to how many pieces a `tokenizer_config.json` cuts texts; None where it says none, or 1e30."""
    length = _config(config).get("model_max_length")
    return length if type(length) is int and 0 < length < 1 << 31 else None


def _config(config: Path) -> dict[str, Any]:
    if not config.is_file():
        return {}
    try:
        said = json.loads(read_text(config))
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{shown(config)}: not JSON ({one_line(error)})") from error
    if not isinstance(said, dict):
        raise WeightsError(f"{shown(config)}: expected an object")
    return said


def read_text(path: Path) -> str:
    file = RegularFile.at(path)
    if file.size > MAX_BYTES:
        raise WeightsError(f"{shown(path)}: {file.size:,} bytes, more than {MAX_BYTES:,}: no tokenizer has as many")
    try:
        return file.read(0, file.size).tobytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise WeightsError(f"{shown(path)}: not UTF-8 at byte {error.start}: fetch it again") from error
