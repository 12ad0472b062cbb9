"""Read texts that are split into words, with a tag for each word."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from tlx.data.arrays import ColumnSource
from tlx.data.bad import check_bad, left_out
from tlx.data.readers.layout import SPLIT_NAMES
from tlx.data.readers.table import plain_name
from tlx.data.readers.tagged_lines import CONLLU, TAGS, WORDS, holds_tags, read_columns, read_lists
from tlx.data.spec import PARTS, Parts, Request
from tlx.data.tag_arrays import order_tags, sentence_fault, tagged
from tlx.errors import DataError, suggestion
from tlx.files import home
from tlx.files.opening import shown
from tlx.text.entities import entities_of, scheme_of
from tlx.tree.paths import quote

SUFFIXES = (".conll", ".conllu", ".bio", ".iob", ".iob2", ".txt", ".tsv", ".jsonl")
SURE = SUFFIXES[:5]  # which hold nothing else


class Sentences(NamedTuple):
    """The words and tags of sentences, what they are called, what is bad, the columns read, and notes."""

    words: list[list[str]]
    tags: list[list[str]]
    names: list[str]
    faults: list[str]
    columns: tuple[str, ...]
    notes: list[str]


def read_tags(request: Request) -> Parts:
    """Read a file of tagged words, or a folder with one for each part.

    A file has CoNLL's lines (`read_columns`) or is `.jsonl` with lists of words and tags, named `tokens` and `tags` or
    as `WORDS` and `TAGS` list. The word is in the first column and the tag in the last, in CoNLL-U in FORM and UPOS;
    `text` and `target` name others, by number or field. A folder has the files `train`, `validation` (or `valid`,
    `dev`, `val`) and `test`, with one of `SUFFIXES`. Texts with a line of another width, an empty word or another
    number of tags than words are bad: more than `skip_bad` are refused, with their lines.

    Args:
        request: the file or folder, and what of it is wanted.

    Returns:
        Sources of sentences, called "FILE line N".

    Raises:
        DataError: naming the line.
    """
    if not request.where:
        raise DataError("tags: no file named; say tags:FILE")
    path, spec = str(home(request.where)), request.spec
    if spec.splits() and not os.path.isdir(path):
        raise DataError(f"{shown(path)}: a file has no splits: name a folder, or others by --test-data")
    files = part_files(path, spec.splits()) if os.path.isdir(path) else {"train": path}
    if "train" not in files:
        raise DataError(f"{shown(path)}: holds no train{SURE[0]} (or {', '.join(SUFFIXES[1:])}); add it")
    read = {part: read_sentences(file, spec.text, spec.target) for part, file in files.items()}
    faults = [fault for each in read.values() for fault in each.faults]
    total = sum(len(each.words) + len(each.faults) for each in read.values())
    check_bad(faults, total, spec.skip_bad, "texts")
    train = read["train"]
    classes = order_tags(tag for tags in train.tags for tag in tags)
    sources = {}
    for part, each in read.items():
        if not each.words:
            raise DataError(f"{shown(files[part])}: no text of it is left, all are bad; mend them")
        for name, tags in zip(each.names, each.tags, strict=True):
            if extra := [tag for tag in tags if tag not in classes]:
                raise DataError(
                    f"{shown(name)}: has the tag {shown(extra[0])!r}, which training has not; add it to training or "
                    "take it out"
                )
        sources[part] = _source(each, classes)
    notes = [*train.notes, _said(train, classes), *left_out(faults, total, "texts")]
    return Parts(
        sources["train"],
        sources.get("test"),
        tuple(notes),
        sources.get("validation"),
        tuple(faults),
        text=spec.text,  # as they were named: by default each file has its own
        target=spec.target,
    )


def part_files(folder: str, splits: dict[str, str] | None = None) -> dict[str, str]:
    """Return the files of a folder that hold the parts of tagged words, by part.

    >>> part_files("no/such")
    {}
    """
    found: dict[str, str] = {}
    known = {name: part for part, name in (splits or {}).items()} or dict(SPLIT_NAMES)
    for entry in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        stem, suffix = os.path.splitext(entry)
        part = known.get(stem if splits else stem.lower())
        path = os.path.join(folder, entry)
        if part not in PARTS or suffix.lower() not in SUFFIXES or not os.path.isfile(path):
            continue
        if suffix.lower() not in SURE and not holds_tags(path):
            continue
        if part in found:
            raise DataError(
                f"{shown(folder)}: {shown(os.path.basename(found[part]))} and {shown(entry)} are both the {part} part: "
                "take one of the two out"
            )
        found[part] = path
    return found


def are_tags(path: str) -> bool:
    """Tell whether a path is one of tagged words: by its suffix, what it holds, or the files of a folder."""
    if os.path.isdir(path):
        try:
            return "train" in part_files(path)
        except DataError:
            return True  # which the reader says
    suffix = os.path.splitext(path)[1].lower()
    return suffix in SURE or (suffix in SUFFIXES and os.path.isfile(path) and holds_tags(path))


def read_sentences(
    path: str, text: Sequence[str] = (), target: Sequence[str] = (), *, needs_tags: bool = True
) -> Sentences:
    """Read the words and, where they are needed, the tags of a file; raise `DataError` for columns it does not have."""
    if path.lower().endswith(".jsonl"):
        return _of_lists(path, text, target, needs_tags)
    found = read_columns(path)
    defaults = ("form", "upos") if found.names == CONLLU else (found.names[0], found.names[-1])
    word = _place(path, found.names, text, defaults[0], "text")
    tag = _place(path, found.names, target, defaults[1], "target") if needs_tags else None
    if tag == word and len(found.names) == 1:
        raise DataError(f"{shown(path)}: has one column, of words; add a tag behind each, after a tab or a blank")
    if tag == word:
        raise DataError(
            f"{shown(path)}: column {found.names[word]} cannot be word and tag: name two (--text, --target)"
        )
    made = Sentences([], [], [], [], (found.names[word], *(() if tag is None else (found.names[tag],))), [])
    for block in found.blocks:
        name = f"{path} line {block.line}"
        fault = block.fault and f"{shown(path)}: {block.fault}"
        words = [row[word] if word < len(row) else "" for row in block.rows]
        tags = [] if tag is None else [row[tag] if tag < len(row) else "" for row in block.rows]
        _add(made, name, words, tags, fault, needs_tags)
    if found.documents:
        made.notes.append(f"{shown(path)}: {found.documents} lines that begin a document are left out")
    return made


def _of_lists(path: str, text: Sequence[str], target: Sequence[str], needs_tags: bool) -> Sentences:
    """Read the lists of JSON lines."""
    made: Sentences | None = None
    for line, row in read_lists(path):
        names = tuple(row)
        if made is None:
            wanted = [(text, WORDS, "text"), (target, TAGS, "target")][: 1 + needs_tags]
            columns = tuple(_list_named(path, names, *each) for each in wanted)
            made = Sentences([], [], [], [], columns, [])
        words, tags = row.get(made.columns[0]), row.get(made.columns[1]) if needs_tags else []
        fault = None
        if not isinstance(words, list) or not isinstance(tags, list):
            fault = f"{shown(path)}: line {line} has no lists {' and '.join(made.columns)}"
        elif any(isinstance(tag, list | dict | float | bool | None) for tag in tags):
            fault = f"{shown(path)}: line {line} has a tag that is no text or whole number"
        listed = words if isinstance(words, list) else []
        _add(made, f"{path} line {line}", listed, list(map(str, tags or [])), fault, needs_tags)
    if made is None:
        raise DataError(f"{shown(path)}: has no lines; give at least one")
    return made


def _add(made: Sentences, name: str, words: list[str], tags: list[str], fault: str | None, needs_tags: bool) -> None:
    """Add a sentence to those that were read, or to those that are bad."""
    if fault is None and needs_tags and len(words) != len(tags):
        fault = f"{shown(name)}: {len(words)} words and {len(tags)} tags"
    if fault is None and (said := sentence_fault(words)) is not None:
        fault = f"{shown(name)}: {said}"
    if fault is None and needs_tags and not all(tags):
        fault = f"{shown(name)}: a word has no tag"
    if fault is not None:
        made.faults.append(fault)
        return
    made.words.append(words)
    made.tags.append(tags)
    made.names.append(name)


def _place(path: str, names: tuple[str, ...], asked: Sequence[str], default: str, option: str) -> int:
    """Return at which place a column stands, named by number or by its field."""
    if len(asked) > 1:
        raise DataError(f"{shown(path)}: {option}: {len(asked)} columns; name one")
    wanted = plain_name(asked[0]) if asked else default
    if wanted in names:
        return names.index(wanted)
    if wanted.isdigit() and 1 <= int(wanted) <= len(names):
        return int(wanted) - 1
    raise DataError(
        f"{shown(path)}: has no column {shown(wanted)!r}{suggestion(wanted, names)} (--{option}); it has "
        f"{quote(names, 10)}"
    )


def _list_named(path: str, names: tuple[str, ...], asked: Sequence[str], usual: tuple[str, ...], option: str) -> str:
    wanted = [plain_name(each) for each in asked] or [name for name in usual if name in names][:1]
    if len(wanted) != 1 or wanted[0] not in names:
        named = shown(wanted[0]) if wanted else " or ".join(usual[:2])
        raise DataError(f"{shown(path)}: has no list {named!r} (--{option}); it has {quote(names, 10)}")
    return wanted[0]


def _source(read: Sentences, classes: tuple[str, ...]) -> ColumnSource:
    return tagged(read.words, read.tags, classes, read.names)


def _said(read: Sentences, classes: tuple[str, ...]) -> str:
    """Say which columns were read, and what the tags mark."""
    scheme = scheme_of(read.tags)
    columns = f"words from column {shown(read.columns[0])}, tags from {shown(read.columns[1])}"
    if scheme is None:
        return f"{columns}: {len(classes)} tags, which mark no entities: {quote(classes, 10)}"
    types = sorted({entity.type for tags in read.tags for entity in entities_of(tags)})
    return f"{columns}: entities in scheme {scheme}, of {len(types)} types: {quote(types, 10)}"
