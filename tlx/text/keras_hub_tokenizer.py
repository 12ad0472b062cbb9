"""The tokenizer of a KerasHub preset: its rules, rebuilt as those of a `tokenizer.json`."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tlx.errors import TlxError, UnsafeFileError, WeightsError
from tlx.files.opening import one_line, shown
from tlx.text.tokenizer import Tokenizer, read_text, read_vocabulary
from tlx.text.tokenizer_guard import check_numbers, library_faults

CONFIG, ASSETS = "tokenizer.json", "assets/tokenizer"  # Keras's own file of that name, not the tokenizers library's
WORD_PIECES, PIECES, MERGES = "vocabulary.txt", "vocabulary.json", "merges.txt"
SPECIAL = {"cls": "[CLS]", "sep": "[SEP]", "unknown": "[UNK]"}
BLANKS = r"[ \t\n\r\f]|\p{Cc}|\p{Cf}"
MARKS = r"[!-/:-@\[-`{-~]|\p{P}"
CHINESE = (
    r"[\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{20000}-\x{2A6DF}\x{2A700}-\x{2CEAF}\x{F900}-\x{FAFF}\x{2F800}-\x{2FA1F}]"
)
FOLDED = (("ß", "ss"), ("ς", "σ"))  # what case folding changes in lower-case letters
# KerasHub folds what is a word already; tlx folds first, so what would part words then stands aside meanwhile.
ASIDE = tuple((sign, chr(0xE000 + number)) for number, sign in enumerate("…\u00a0\u2009\u202f\u3000"))


def read_keras_hub_tokenizer(folder: Path) -> tuple[Tokenizer, bool]:
    """Read the tokenizer of a preset.

    Args:
        folder: the preset: `tokenizer.json`, which is Keras's, and `assets/tokenizer/`.

    Returns:
        The tokenizer, and whether special pieces are recognised in texts.

    Raises:
        WeightsError: for files that are missing or damaged, and for rules that tlx does not have, naming file and key.
    """
    config = folder / CONFIG
    if not config.is_file():
        raise WeightsError(
            f"{shown(config)}: missing: save the tokenizer into the preset (tokenizer.save_to_preset), or name one "
            "(tokenizer=)"
        )
    said = _config_of(config)
    assets = folder / ASSETS
    try:
        if (assets / PIECES).is_file():
            merges = [line for line in read_text(assets / MERGES).split("\n") if line and not line.startswith("#")]
            pieces = json.loads(read_text(assets / PIECES))
            with _naming(assets):
                return byte_pairs(pieces, merges, prefix_space=said.get("add_prefix_space") is True), True
        if not (assets / WORD_PIECES).is_file():
            raise WeightsError(f"{shown(assets)}: holds neither {WORD_PIECES} nor {PIECES}: save the preset again")
        for key, value in (("split", True), ("suffix_indicator", "##"), ("oov_token", SPECIAL["unknown"])):
            if said.get(key, value) != value:
                raise WeightsError(f"{shown(config)}: {key!r} is {said[key]!r:.60}: tlx has {value!r} alone")
        if said.get("special_tokens"):
            raise WeightsError(f"{shown(config)}: 'special_tokens' names further ones, which tlx does not have")
        words = read_vocabulary(assets / WORD_PIECES)
        with _naming(assets / WORD_PIECES):
            found = word_pieces(
                words,
                lower=said.get("lowercase") is True,
                strip_accents=said.get("strip_accents") is True,
                chinese=said.get("split_on_cjk") is not False,
            )
    except (ValueError, TypeError, RecursionError) as error:
        if isinstance(error, TlxError):
            raise
        raise WeightsError(
            f"{shown(assets)}: not a vocabulary of pieces with their numbers ({one_line(error)})"
        ) from error
    return found, said.get("special_tokens_in_strings") is True


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Within this context errors say which file they are about."""
    try:
        yield
    except (WeightsError, UnsafeFileError) as error:
        raise type(error)(f"{shown(path)}: {error}") from error


def _config_of(path: Path) -> Mapping[str, Any]:
    try:
        said = json.loads(read_text(path))
        config = said["config"]
        assert isinstance(config, dict)
    except (ValueError, RecursionError, TypeError, LookupError, AssertionError) as error:
        raise WeightsError(f"{shown(path)}: not the configuration of a KerasHub tokenizer: save it again") from error
    return config


def word_pieces(pieces: Sequence[str], *, lower: bool, strip_accents: bool, chinese: bool = True) -> Tokenizer:
    """Build the WordPiece rules of KerasHub's `WordPieceTokenizer`.

    They differ from BERT's: accents stay unless `strip_accents` says otherwise, whatever the case; of blanks only
    ASCII's part words, and control characters do; case is folded by NFKC. Of "…" KerasHub makes the piece "...", and
    tlx leaves it as it is.

    Args:
        pieces: in the order of their numbers; pieces within words begin with "##".
        lower: whether case is folded.
        strip_accents: whether accents are left out.
        chinese: whether each Chinese character is a word.

    Raises:
        WeightsError: for a vocabulary without [UNK], [CLS] or [SEP], or with a piece twice.

    >>> rules = word_pieces(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "café", "##s"], lower=True, strip_accents=False)
    >>> rules.encode(["CAFÉS"])[0].tolist()
    [4, 5]
    """
    from tokenizers import Regex, models, normalizers, pre_tokenizers
    from tokenizers import Tokenizer as Rules

    plain = Tokenizer.from_vocabulary(pieces)  # which checks them, and has the special pieces around texts
    rules = Rules.from_str(plain.json)
    rules.model = models.WordPiece(dict(plain.vocabulary), unk_token=SPECIAL["unknown"], max_input_chars_per_word=100)
    steps: list[Any] = []
    if strip_accents:
        steps += [normalizers.NFD(), normalizers.Replace(Regex(r"\p{Mn}"), "")]
    if lower:
        steps += [normalizers.Replace(sign, aside) for sign, aside in ASIDE]
        steps += [normalizers.NFKC(), *(normalizers.Replace(aside, sign) for sign, aside in ASIDE)]
        steps += [normalizers.Lowercase(), *(normalizers.Replace(*pair) for pair in FOLDED)]
    rules.normalizer = normalizers.Sequence(steps)
    apart = f"{MARKS}|{CHINESE}" if chinese else MARKS
    rules.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(BLANKS), "removed"), pre_tokenizers.Split(Regex(apart), "isolated")]
    )
    return Tokenizer(rules.to_str())


def byte_pairs(pieces: Mapping[str, int], merges: Sequence[str], *, prefix_space: bool = False) -> Tokenizer:
    """Build RoBERTa's rules: byte pairs, between <s> and </s>.

    Words are split as GPT-2 splits them and RoBERTa was trained. KerasHub does so where tensorflow-text is installed;
    where it is not, it splits as Llama 3, long numbers by three digits.

    Args:
        pieces: the number of each piece.
        merges: pairs of pieces that become one, separated by a blank, the first ones first.
        prefix_space: whether a blank is put before texts.

    Raises:
        WeightsError: for a vocabulary without <s> or </s>, and merges of pieces that it lacks.
        UnsafeFileError: for numbers beyond any matrix.

    >>> pieces = {piece: number for number, piece in enumerate(["<s>", "<pad>", "</s>", "<mask>", "a", "b", "ab"])}
    >>> rules = byte_pairs(pieces, ["a b"])
    >>> rules.encode(["aba"])[0].tolist(), rules.pair.between
    ([6, 4], (2, 2))
    """
    from tokenizers import Tokenizer as Rules
    from tokenizers import decoders, models, pre_tokenizers, processors

    numbers = dict(pieces)
    missing = [name for name in ("<s>", "</s>") if name not in numbers]
    if missing:
        raise WeightsError(f"vocabulary: {' and '.join(missing)} missing: not a vocabulary of RoBERTa's kind")
    pairs = [tuple(merge.split(" ")) for merge in merges]
    strange = next((" ".join(pair) for pair in pairs if len(pair) != 2 or not set(pair) <= numbers.keys()), None)
    if strange is not None:
        raise WeightsError(f"merges: {strange!r:.60} is no pair of pieces of the vocabulary: fetch both files again")
    check_numbers(numbers.values())
    with library_faults(WeightsError, "vocabulary and merges"):
        rules = Rules(models.BPE(numbers, [(first, second) for first, second in pairs]))
        rules.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
        rules.decoder = decoders.ByteLevel()
        rules.add_special_tokens([name for name in ("<s>", "<pad>", "</s>", "<mask>", "<unk>") if name in numbers])
        ends = [(name, numbers[name]) for name in ("<s>", "</s>")]
        rules.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=ends
        )
        content = rules.to_str()
    return Tokenizer(content)
