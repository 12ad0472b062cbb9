"""Read Hugging Face data sets of images or texts, from the hub or from a folder that `save_to_disk` wrote."""

from __future__ import annotations

from typing import Any

import numpy as np

from tlx.data.encoded import EncodedSource
from tlx.data.readers.hub_texts import holds_texts, read_hub_texts
from tlx.data.readers.layout import SPLIT_NAMES, notes_on, order_classes
from tlx.data.screen import screen
from tlx.data.spec import PARTS, Parts, Request
from tlx.data.validate import check_classes, check_label_texts, check_labels
from tlx.errors import ConfigError, DataError
from tlx.files import home
from tlx.files.opening import one_line, shown
from tlx.images.decode import read_content


def read_hub(request: Request) -> Parts:
    """Read `NAME`, `NAME@CONFIG` or a folder with Hugging Face's `datasets`; its splits train, validation and test.

    The request may name the splits, with `datasets`' slices (`train[:10%]`). The images are in the only column of
    images, or in that called image; the classes in the only column of class labels, or in that called label. Where the
    base takes texts, and where there is prose and no image, texts are read (`read_hub_texts`). No code of a data set
    is run (`datasets` 4 and later have none). Raises `ConfigError` where `datasets` is not installed, and `DataError`
    for a data set that cannot be had or has other columns, and for bad images or texts beyond `skip_bad`.
    """
    try:
        import datasets
    except ImportError as error:
        raise ConfigError(
            f"hf:{shown(request.where)} needs Hugging Face's datasets ({one_line(error)}); pip install 'tlx-jax[hf]'"
        ) from error
    place = f"hf:{shown(request.where)}"
    if not request.where:
        raise DataError("hf: no data set named; say hf:NAME, hf:NAME@CONFIG or hf:FOLDER")
    tables, unused = _tables(datasets, request, place)
    if holds_texts(datasets, tables["train"], request):
        parts = read_hub_texts(datasets, tables, request, place)
        return parts._replace(notes=(*unused, *parts.notes))
    if request.spec.target:
        raise ConfigError(f"{place}: target: columns are for texts, and these are images; leave it out")
    sources = {}
    classes: tuple[str, ...] | None = None
    for part in PARTS:
        if part in tables:
            sources[part] = _source(datasets, tables[part], f"{place} {part}", classes)
            classes = sources[part].classes
    assert classes is not None
    screened = screen(sources, request.spec.skip_bad, preprocess=request.images, progress=request.progress)
    found = screened.sources
    notes = (*unused, *screened.notes, *notes_on(classes))
    return Parts(found["train"], found.get("test"), notes, found.get("validation"), screened.skipped)


def _tables(datasets: Any, request: Request, place: str) -> tuple[dict[str, Any], list[str]]:
    """Open the splits by part, and note those that are not used."""
    asked = request.spec.splits()
    try:
        if home(request.where).is_dir():
            found = datasets.load_from_disk(str(home(request.where)))
            if asked:
                raise DataError(f"{place}: splits of a saved folder cannot be named; they are found by their names")
        else:
            name, _, config = request.where.partition("@")
            found = datasets.load_dataset(name, config or None, split=list(asked.values()) or None)
    except DataError:
        raise
    except MemoryError:  # says nothing about the file
        raise
    except Exception as error:  # datasets raises many kinds, its network libraries more
        raise DataError(
            f"{place}: cannot be had ({one_line(error)}); check the name and the network, or fetch it before"
        ) from error
    tables: dict[str, Any] = {}
    unused: list[str] = []
    if asked:
        tables = dict(zip(asked, found, strict=True))
    elif isinstance(found, datasets.DatasetDict):
        for name, table in found.items():
            part = SPLIT_NAMES.get(str(name).lower())
            if part is None or part in tables:
                unused.append(shown(str(name)))
            else:
                tables[part] = table
    else:
        tables["train"] = found
    if "train" not in tables:
        raise DataError(f"{place}: no split to train on; name one with --train-split")
    return tables, [f"{place}: splits not used: {', '.join(unused)}"] if unused else []


def _source(datasets: Any, table: Any, place: str, classes: tuple[str, ...] | None) -> EncodedSource:
    """Build the source of one split; `classes` are those of training, once known."""
    image = _column(table, place, datasets.Image, ("image", "img"))
    label = _column(table, place, datasets.ClassLabel, ("label", "labels"))
    try:
        table = table.select_columns([image, label]).cast_column(image, datasets.Image(decode=False))
    except MemoryError:  # says nothing about the file
        raise
    except Exception as error:  # datasets and pyarrow raise many kinds
        raise DataError(f"{place}: the column {shown(image)} holds no images ({one_line(error)})") from error
    feature, values = table.features[label], table[label][:]
    if isinstance(feature, datasets.ClassLabel):
        own = check_classes(feature.names, np.empty(0, np.int64), place)
        texts = [own[value] for value in check_labels(values, place, len(own))]
        ordered = own
    else:
        for row, value in enumerate(values):
            if value == "" or not isinstance(value, str | int):
                raise DataError(f"{place}: row {row}: its label is {value!r:.40}; give a text or a whole number")
        texts = list(map(str, values))
        check_label_texts(texts, lambda row: f"{place}: row {row}")
        ordered = order_classes(texts, place)
    names = ordered if classes is None else classes
    index = {name: number for number, name in enumerate(names)}
    extra = sorted(set(texts) - index.keys())
    if extra:
        raise DataError(f"{place}: the class {extra[0]!r} is not in training; add it there or take it out")
    numbers = [index[text] for text in texts]

    def read(row: int) -> bytes:
        cell = table[row][image]
        if cell is None:
            raise DataError(f"{place} row {row}: no image; take the row out")
        return cell["bytes"] if cell["bytes"] is not None else read_content(cell["path"])

    return EncodedSource(read, [f"{place}#{row}" for row in range(len(table))], numbers, names)


def _column(table: Any, place: str, kind: type, names: tuple[str, ...]) -> str:
    """Name the column of a kind: the only one of it, or the one that bears a usual name."""
    of_kind = [name for name, feature in table.features.items() if isinstance(feature, kind)]
    usual = [name for name in names if name in table.features and (not of_kind or name in of_kind)]
    if len(of_kind) == 1:
        return of_kind[0]
    if not usual:
        raise DataError(
            f"{place}: the columns are {', '.join(table.features)}; expected one of images and one of class labels, "
            f"or one called {names[0]}"
        )
    return usual[0]
