"""Look at a `tokenizer.json` before the library that runs it does: what would grow, hang or end the process."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tlx.errors import TlxError, UnsafeFileError, WeightsError
from tlx.files.opening import one_line, shown

MOST_PIECES = 1 << 24  # the largest vocabulary in use has 256,000
MOST_CHARACTERS = 1000  # of a word: WordPiece looks at all of its parts; published tokenizers say 100
MOST_GROWTH = 1000  # of a text by what its normalizers put in the place of each character
MOST_REGEX = 2000  # characters; the longest in use, of GPT-4o, has 300
STEPS = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
_QUANTIFIER = re.compile(r"[*+]|\{\d*,\d*\}")
_GROUP = re.compile(r"\([^()]*\)")  # an innermost one
_ESCAPE = re.compile(
    r"\\[pP]\{[^}]*\}|\\.|\[(?:\\.|[^\]\\])*\]", re.DOTALL
)  # a sign that stands for itself, or a class
_RECALLS = re.compile(r"\\[1-9kg]")  # what a group matched, or the group itself, again


def check_rules(content: str) -> None:
    """Raise `WeightsError` for what is no `tokenizer.json`, and `UnsafeFileError` for one that would harm.

    Refused are words and pieces without a bound, normalizers under which a text grows without one, regular expressions
    that can take exponential time, and a character map that claims more than it holds, for which the library ends the
    process.

    >>> check_rules('{"model": {"type": "WordPiece", "max_input_chars_per_word": 100000}}')
    Traceback (most recent call last):
    tlx.errors.UnsafeFileError: tokenizer: max_input_chars_per_word is 100000: words of over 1,000 characters take hours
    """
    try:
        rules = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"tokenizer: not a tokenizer.json ({one_line(error)})") from error
    model = rules.get("model") if isinstance(rules, dict) else None
    if not isinstance(model, dict):
        raise WeightsError("tokenizer: not a tokenizer.json (an object with a 'model' was expected)")
    longest = model.get("max_input_chars_per_word")
    if isinstance(longest, int | float) and longest > MOST_CHARACTERS:
        raise UnsafeFileError(
            f"tokenizer: max_input_chars_per_word is {longest!r:.40}: words of over {MOST_CHARACTERS:,} characters "
            "take hours"
        )
    growth = 1.0
    for step in STEPS:
        for node in _nodes(rules.get(step)):
            growth *= _checked_growth(node)
    if growth > MOST_GROWTH:
        raise UnsafeFileError(f"tokenizer: its normalizers make a text up to {growth:.3g} times as long")


def check_numbers(numbers: Iterable[int]) -> None:
    """Raise `UnsafeFileError` for numbers of pieces beyond any matrix: the library goes through all below them."""
    if (largest := max(numbers, default=0)) >= MOST_PIECES:
        raise UnsafeFileError(f"tokenizer: numbers a piece {largest:,}: no matrix has as many rows")


@contextlib.contextmanager
def library_faults(kind: type[TlxError], what: str) -> Iterator[None]:
    """Within this context whatever the library raises, panics of its Rust code included, is a `kind` of one line.

    >>> with library_faults(WeightsError, "tokenizer"):
    ...     raise RuntimeError("no such model")
    Traceback (most recent call last):
    tlx.errors.WeightsError: tokenizer: no such model
    """
    try:
        yield
    except TlxError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__module__ != "pyo3_runtime":
            raise
        raise kind(f"{what}: {one_line(error)}") from error


def _nodes(value: Any) -> Iterator[Mapping[str, Any]]:
    """Go through all objects in a value, without recursion."""
    left = [value]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            yield value
            left += value.values()
        elif isinstance(value, list):
            left += value


def _checked_growth(node: Mapping[str, Any]) -> float:
    """Return how many times as long a text may become by one step; raise for a step that is unsafe."""
    kind, pattern, content = node.get("type"), node.get("pattern"), node.get("content")
    if isinstance(pattern, dict) and isinstance(pattern.get("Regex"), str):
        _check_regex(pattern["Regex"])
    if kind == "Precompiled":
        _check_map(node.get("precompiled_charsmap"))
    if kind == "ByteLevel":  # each byte becomes a character of up to two
        return 2
    if kind == "Replace" and isinstance(content, str):
        replaced = pattern.get("String") if isinstance(pattern, dict) else None
        return max(1, len(content) / max(1, len(replaced) if isinstance(replaced, str) else 1))
    for name in ("prepend", "replacement"):
        if isinstance(node.get(name), str) and len(node[name]) > MOST_GROWTH:
            raise UnsafeFileError(f"tokenizer: {name} has {len(node[name]):,} characters")
    return 1


def _check_regex(pattern: str) -> None:
    """Raise `UnsafeFileError` for a repeated group that repeats or chooses inside, and for one that is recalled.

    Those are the ones that can take exponential time. Others stay within the library's own limit.
    """
    plain = _ESCAPE.sub("x", pattern)
    unsafe = len(pattern) > MOST_REGEX or bool(_RECALLS.search(pattern))
    while not unsafe and (group := _GROUP.search(plain)):
        repeats = _QUANTIFIER.match(plain, group.end())
        inside = group.group()[3 if group.group().startswith("(?") else 1 : -1]
        unsafe = bool(repeats and (_QUANTIFIER.search(inside) or "|" in inside or "\0" in inside))
        # What is inside goes on counting for the group around it.
        mark = "\0" if _QUANTIFIER.search(inside) or "\0" in inside else "x"
        plain = plain[: group.start()] + mark + plain[group.end() :]
    if unsafe:
        raise UnsafeFileError(f"tokenizer: the regular expression {shown(pattern)!r:.80} can take exponential time")


def _check_map(packed: Any) -> None:
    """Raise for a map of characters whose trie, in blocks of 256 numbers, is not as long as its first bytes say."""
    try:
        content = base64.b64decode(packed, validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise WeightsError(f"tokenizer: precompiled_charsmap is not base64 ({one_line(error)})") from error
    size = int.from_bytes(content[:4], "little")
    if len(content) < 4 or not size or size % 1024 or size > len(content) - 4:
        raise UnsafeFileError(
            f"tokenizer: precompiled_charsmap claims {size:,} bytes and holds {max(0, len(content) - 4):,}"
        )
