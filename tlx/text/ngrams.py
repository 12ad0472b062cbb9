"""The character n-grams of words, as fastText cuts and hashes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_FNV_START, _FNV_PRIME = np.uint32(2166136261), np.uint32(16777619)


def hashed_ngrams(words: Sequence[bytes], minn: int, maxn: int, bucket: int) -> tuple[np.ndarray, np.ndarray]:
    """Hash the n-grams of words into buckets.

    An n-gram is `minn` to `maxn` characters of "<" + word + ">", characters being cut at UTF-8's leading bytes whether
    the word is UTF-8 or not; "<" and ">" alone are none. The hash is FNV-1a over the bytes, each as a *signed* char
    extended to 32 bits, as the C++ code has it (P. Bojanowski et al., "Enriching Word Vectors with Subword
    Information", 2017; fastText's `Dictionary::computeSubwords`).

    Args:
        words: B words.
        minn: characters of the shortest n-grams.
        maxn: characters of the longest n-grams.
        bucket: how many buckets there are.

    Returns:
        For each n-gram the index of its word (N,) int64, not decreasing, and its bucket (N,) int64.

    >>> owners, buckets = hashed_ngrams([b"cat", b"a"], 3, 6, 100)
    >>> owners.tolist()  # <ca <cat <cat> cat cat> at>, and <a>
    [0, 0, 0, 0, 0, 0, 1]
    """
    marked = [b"<" + word + b">" for word in words]
    data = np.frombuffer(b"".join(marked), np.uint8)
    if maxn < 1 or bucket < 1 or not data.size:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    signed = data.view(np.int8).astype(np.int32).view(np.uint32)
    word_ends = np.cumsum([len(word) for word in marked])
    starts = np.flatnonzero((data & 0xC0) != 0x80)  # of characters; "<" and ">" are always among them
    lengths = np.diff(starts, append=len(data))
    owners = np.searchsorted(word_ends, starts, side="right")
    last = np.searchsorted(starts, word_ends, side="left")[owners]  # one past the last character of the word

    first = np.arange(len(starts))  # the characters from which an n-gram of this many characters begins
    hashes = np.full(len(starts), _FNV_START)
    found_owners, found_hashes = [], []
    for count in range(1, maxn + 1):
        fits = first + count <= last[first]
        first, hashes = first[fits], hashes[fits]
        if not len(first):
            break
        hashes = _extended(hashes, signed, starts[first + count - 1], lengths[first + count - 1])
        if count < minn:
            continue
        kept = slice(None)
        if count == 1:
            kept = (owners[first - 1] == owners[first]) & (first > 0) & (first + 1 < last[first])
        found_owners.append(owners[first][kept])
        found_hashes.append(hashes[kept])
    if not found_owners:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    all_owners = np.concatenate(found_owners)
    order = np.argsort(all_owners, kind="stable")
    buckets = np.concatenate(found_hashes)[order].astype(np.int64) % bucket
    return all_owners[order].astype(np.int64), buckets


def _extended(hashes: np.ndarray, signed: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Take one more character, of one byte or several, into each hash."""
    hashes = (hashes ^ signed[starts]) * _FNV_PRIME  # uint32 wraps around, as it should
    for byte in range(1, int(lengths.max())):
        longer = np.flatnonzero(lengths > byte)
        hashes[longer] = (hashes[longer] ^ signed[starts[longer] + byte]) * _FNV_PRIME
    return hashes
