"""Which columns of a table are the text, the target and the split, and whether its first line names them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tlx.data.readers.numbers import INDICES, PATHS, SPLITS
from tlx.data.readers.table import plain_name
from tlx.errors import ConfigError, DataError
from tlx.files.opening import shown

PAIRS = (
    *(("sentence1", "sentence2"), ("question1", "question2"), ("text1", "text2"), ("string1", "string2")),
    *(("sentence_a", "sentence_b"), ("text_a", "text_b"), ("sentence_1", "sentence_2"), ("text_1", "text_2")),
    *(("premise", "hypothesis"), ("question", "sentence"), ("#1_string", "#2_string"), ("text", "pair")),
)
TEXTS = (
    *("text", "sentence", "review", "content", "comment", "abstract", "document", "question", "tweet", "message"),
    *("utterance", "body", "headline", "description", "title", "phrase"),
)
TARGETS = (
    *("class", "label", "target", "gold_label", "category", "sentiment", "intent", "topic", "is_duplicate"),
    *("quality", "rating", "stars", "score"),
)
_KNOWN = {*TEXTS, *TARGETS, *SPLITS, *PATHS, *INDICES[1:], *(name for pair in PAIRS for name in pair)}
_PROSE = 3  # words of a text that is prose
_SHORT = 40  # characters of a name, or of a label
_FEW = 20  # different labels that are few in any table
_SAMPLE = 1000  # rows that are looked at
_ALIKE = 2  # times as long as the other text of a pair
_IMAGE = re.compile(r"\.(png|jpe?g|bmp|gif|tiff?|webp|avif|heic)$", re.IGNORECASE)
_WIDE = re.compile("[\u2e80-\u9fff\uac00-\ud7af\uff66-\uff9f]")  # scripts that put no blanks between words


class TextColumns(NamedTuple):
    """The columns of texts (one, or two for pairs), of targets and of the split, and a note that says so."""

    text: tuple[str, ...]
    target: tuple[str, ...]
    split: str | None
    note: str


def find_columns(
    place: str,
    columns: Mapping[str, Sequence[Any]],
    headed: bool,
    text: Sequence[str] = (),
    target: Sequence[str] = (),
    needs_target: bool = True,
) -> TextColumns:
    """Find what the columns of a table of texts hold, as they are named or as they look.

    Args:
        place: the table, as errors call it.
        columns: the first values of each, by name; without a header the names are "1" and on.
        headed: whether the table has a header.
        text: the columns of the text, by name or by number from 1; by default a usual pair of names, the first usual
            name, or the column of the longest prose. Without a header two columns of prose, neither twice as long as
            the other, are a pair.
        target: the columns to predict, likewise; by default the first usual name, or the only other column, and
            without a header the column with the fewest different short values.
        needs_target: whether a table without a target is an error.

    Raises:
        DataError: for a column that is not there, and where none is found.

    >>> columns = {"1": ["0", "1", "0"], "2": ["a long sad film", "a film of joy", "what a waste of time"]}
    >>> find_columns("a.tsv", columns, headed=False)[:2]
    (('2',), ('1',))
    """
    names = list(columns)
    sample = {
        name: [value for value in values[:_SAMPLE] if value not in (None, "")] for name, values in columns.items()
    }
    by_plain = {plain_name(name): name for name in reversed(names)}
    split = next((by_plain[each] for each in SPLITS if each in by_plain), None) if headed else None
    asked_text, asked_target = (
        tuple(_named(each, names, by_plain, place, headed) for each in given) for given in (text, target)
    )
    if twice := [name for name in asked_text if name in asked_target]:
        raise ConfigError(f"{place}: the column {shown(twice[0])!r} is both the text and the target: leave one out")
    free = [name for name in names if name != split and name not in (*asked_text, *asked_target)]
    if headed:
        free = [name for name in free if plain_name(name) not in (*PATHS, *INDICES)]
    target = asked_target or (_usual(TARGETS, free) if headed else ())
    free = [name for name in free if name not in target]
    text = asked_text or (_usual_texts(free, sample) if headed else _pair_of_prose(sample, free))
    text = text or _longest(sample, free)
    if not text:
        raise DataError(f"{place}: no column holds texts; its columns are {_listed(names)}: name it (--text)")
    if not target:
        target = _other(sample, [name for name in free if name not in text], headed)
    if needs_target and not target:
        raise DataError(
            f"{place}: which column is to be predicted? None is called class, label or target; its columns are "
            f"{_listed(names)}: name it (--target)"
        )
    used = {*text, *target, split}
    return TextColumns(text, target, split, _note(place, text, target, [n for n in names if n not in used], headed))


def is_header(first: Sequence[str], rows: Sequence[Sequence[str]], asked: Sequence[str] = ()) -> bool:
    """Tell whether the first row of a table names its columns.

    It does where its values are short names, none of which stands again in its column, and one is usual; or where they
    are different, and one is asked for, or stands above prose.

    Args:
        first: the first row.
        rows: some more of the same width.
        asked: columns that the user names.

    >>> is_header(["label", "sentence"], [["1", "what a film"]]), is_header(["1", "a film"], [["0", "no film"]])
    (True, False)
    """
    cells = [cell.strip() for cell in first]
    plain = list(map(plain_name, cells))
    usual = any(name in _KNOWN or _last_word(name) in (*TEXTS, *TARGETS) for name in plain)
    named = list(filter(None, plain))
    # Names that stand twice or are empty are those of a header only where another is usual: `text,label,` is one.
    if not named or (not usual and (len(set(named)) < len(named) or "" in plain[1:])):
        return False
    if any(len(cell) > _SHORT or len(cell.split()) > _PROSE + 1 or _is_figure(cell) for cell in cells):
        return False
    below = [[row[at].strip() for row in rows[:_SAMPLE] if at < len(row)] for at in range(len(cells))]
    if any(cell and cell in column for cell, column in zip(cells, below, strict=True)):
        return False
    if {plain_name(name) for name in asked if not name.isdigit()} & set(plain):
        return True
    return usual or any(
        len(cell.split()) < _PROSE and is_prose(column) for cell, column in zip(cells, below, strict=True)
    )


def is_prose(values: Sequence[Any]) -> bool:
    """Tell whether at least half of some values are texts of three words or more, and no paths of images.

    >>> is_prose(["what a film", "no way out of here", "why"]), is_prose(["cat", "dog"])
    (True, False)
    """
    texts = [value for value in values if isinstance(value, str)]
    prose = sum(words(text) >= _PROSE and not _IMAGE.search(text.strip()) for text in texts)
    return 2 * prose >= len(values) > 0


def words(text: str) -> int:
    """Count the words of a text, two characters each in scripts that put no blanks between them.

    >>> words("two words"), words("\u81ea\u7136\u8a00\u8a9e")
    (2, 2)
    """
    wide = 0 if text.isascii() else len(_WIDE.findall(text))
    return max(sum(any(map(str.isalpha, word)) for word in text.split()), wide // 2)


def _named(name: str, names: Sequence[str], by_plain: Mapping[str, str], place: str, headed: bool) -> str:
    """Return the column that a user means: by its name, or by its number from 1."""
    if name in names:
        return name
    if plain_name(name) in by_plain:
        return by_plain[plain_name(name)]
    if name.isascii() and name.isdigit() and 1 <= int(name) <= len(names):
        return names[int(name) - 1]
    if not headed and not name.isdigit():
        raise DataError(
            f"{place}: has no line of names, so none of its {len(names)} columns is called {shown(name)!r}: begin it "
            "with one, or name columns by number (--text 1 --target 2, say)"
        )
    raise DataError(f"{place}: has no column {shown(name)!r}; its columns are {_listed(names)}")


def _usual(usual: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """Return the column with the first of the usual names, or the only one whose last word is such a name."""
    by_plain = {plain_name(name): name for name in reversed(names)}
    if exact := [by_plain[name] for name in usual if name in by_plain]:
        return (exact[0],)
    ending = [name for name in names if _last_word(plain_name(name)) in usual]
    return tuple(ending) if len(ending) == 1 else ()


def _usual_texts(names: Sequence[str], sample: Mapping[str, Sequence[Any]]) -> tuple[str, ...]:
    """Return the column of texts with a usual name, or both of a usual pair."""
    texts = [name for name in names if _holds_texts(sample[name])]
    by_plain = {plain_name(name): name for name in reversed(texts)}
    pair = next((pair for pair in PAIRS if set(pair) <= set(by_plain)), ())
    return tuple(by_plain[name] for name in pair) or _usual(TEXTS, texts)


def _pair_of_prose(sample: Mapping[str, Sequence[Any]], names: Sequence[str]) -> tuple[str, ...]:
    """Return the two columns of prose where there are two, of about one length."""
    prose = [name for name in names if is_prose(sample[name])]
    lengths = [_mean_length(sample[name]) for name in prose]
    return tuple(prose) if len(prose) == 2 and max(lengths) < _ALIKE * min(lengths) else ()


def _longest(sample: Mapping[str, Sequence[Any]], names: Sequence[str]) -> tuple[str, ...]:
    """Return the column of the longest prose, or of the longest texts where there is no prose."""
    texts = [name for name in names if _holds_texts(sample[name])]
    ranked = sorted(texts, key=lambda name: (is_prose(sample[name]), _mean_length(sample[name])))
    return tuple(ranked[-1:])


def _other(sample: Mapping[str, Sequence[Any]], names: Sequence[str], headed: bool) -> tuple[str, ...]:
    """Return the column that is left for the target: with a header the only one, without the one of labels."""
    if headed:
        return tuple(names) if len(names) == 1 else ()
    few: list[tuple[int, str]] = []
    for name in names:
        values = set(map(str, sample[name]))
        short = all(len(value) <= _SHORT and words(value) < _PROSE for value in values)
        if short and 1 < len(values) <= max(_FEW, len(sample[name]) // 10):
            few.append((len(values), name))
    return (min(few, key=lambda each: each[0])[1],) if few else tuple(names) if len(names) == 1 else ()


def _holds_texts(values: Sequence[Any]) -> bool:
    """Tell whether most values are texts that are neither figures nor paths of images."""
    texts = sum(isinstance(v, str) and not _is_figure(v) and not _IMAGE.search(v.strip()) for v in values)
    return 2 * texts > len(values)


def _is_figure(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _mean_length(values: Sequence[Any]) -> float:
    return sum(len(value) for value in values if isinstance(value, str)) / max(1, len(values))


def _last_word(name: str) -> str:
    return name.rpartition("_")[2]


def _note(place: str, text: Sequence[str], target: Sequence[str], unused: Sequence[str], headed: bool) -> str:
    name: Callable[[str], str] = (lambda each: repr(shown(each))) if headed else str
    inputs = f"the text is column {name(text[0])}" if len(text) == 1 else f"pairs of texts are {_columns(text, name)}"
    targets = f", the target {_columns(target, name)}" if target else ", no target"
    left = f"; columns not used: {_listed(unused)}" if unused else ""
    return f"{place}: {'' if headed else 'no header; '}{inputs}{targets}{left}"


def _columns(names: Sequence[str], name: Callable[[str], str]) -> str:
    return f"{'columns' if len(names) > 1 else 'column'} {' and '.join(map(name, names))}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(shown(name) or "(no name)" for name in names[:10]) + (", ..." if len(names) > 10 else "")
