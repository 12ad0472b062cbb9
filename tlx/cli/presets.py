"""`tlx presets`: list the pretrained bases."""

import difflib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Any

import tyro

from tlx.cli.options import Command
from tlx.cli.output import percent, print_json, print_table
from tlx.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Presets(Command):
    """List the pretrained bases, with their input, accuracy and licence.

    Those with a / in their name are published by others: they are fetched when they are used.
    """

    pattern: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[PATTERN]")] = None
    """Only those whose names hold this, or match it: mobilenet, 'keras/*', '*50*'."""

    def run(self) -> None:
        from tlx.presets.catalogue import list_published, published
        from tlx.presets.load import list_presets
        from tlx.presets.text_catalogue import PUBLISHED_TEXTS, list_texts
        from tlx.presets.vector_catalogue import PUBLISHED_VECTORS, list_vectors

        names = _matching(self.pattern, [*list_presets(), *list_published(), *list_texts(), *list_vectors()])
        packaged = set(list_presets())
        rows = [
            _packaged(name)
            if name in packaged
            else _text(PUBLISHED_TEXTS[name])
            if name in PUBLISHED_TEXTS
            else _vectors(PUBLISHED_VECTORS[name])
            if name in PUBLISHED_VECTORS
            else _published(published(name))
            for name in names
        ]
        if self.json:
            print_json({"presets": rows})
            return
        print_table(
            "presets",
            ("name", "input", "data", "accuracy", "licence"),
            [
                (
                    row["name"],
                    "x".join(map(str, row["input_shape"])) if row["input_shape"] else "texts",
                    row["data"].partition(":")[0],
                    _leading_share(row["accuracy"]),
                    row["licence"],
                )
                for row in rows
            ],
            cut=("data", "licence"),
            optional=("accuracy", "input", "data", "licence"),
            plain=True,
        )


def _matching(pattern: str | None, names: Sequence[str]) -> list[str]:
    """Return the names that hold a pattern or match it as a whole; raise `ConfigError` with near ones for none.

    >>> _matching("VGG", ["keras/vgg16", "resnet"]), _matching("*net", ["keras/vgg16", "resnet"])
    (['keras/vgg16'], ['resnet'])
    """
    if pattern is None:
        return list(names)
    wanted = pattern.lower()
    found = [name for name in names if wanted in name.lower() or fnmatchcase(name.lower(), wanted)]
    if found:
        return found
    bare = wanted.strip("*?")
    ends = {name: name.rpartition("/")[2].partition(".")[0] for name in names}  # of torchvision/vgg16.tag: vgg16
    close = set(difflib.get_close_matches(bare, [*names, *ends.values()], n=6))
    near = [name for name in names if close & {name, ends[name]}][:5]
    hint = f"near it are {', '.join(near)}" if near else "tlx presets lists all"
    raise ConfigError(f"no preset is called or holds {pattern!r}: {hint}")


def _packaged(name: str) -> dict[str, Any]:
    from tlx.presets.bundle import read_config
    from tlx.presets.load import PRESETS

    config = read_config(PRESETS / name)
    return {
        "name": name,
        "architecture": config["model"]["architecture"],
        "input_shape": config["model"]["input_shape"],
        "classes": len(config["classes"]),
        **config["card"],
        "sha256": config["weights"]["sha256"],
    }


def _published(entry: Any) -> dict[str, Any]:
    from tlx.presets.catalogue import class_names

    see = entry.preprocess
    return {
        "name": entry.name,
        "architecture": entry.architecture,
        "input_shape": [see.height, see.width, see.channels],
        "classes": len(class_names(entry.classes)),
        "data": {"imagenet": "ImageNet", "cifar10": "CIFAR-10"}.get(entry.classes, entry.classes),
        "accuracy": None if entry.top1 is None else f"{entry.top1:.2f}% top-1, as published",
        "licence": entry.licence,
        "preprocess": see.to_dict(),
        "location": {key: value for key, value in asdict(entry.location).items() if value is not None},
        "paper": entry.paper,
        "page": entry.page,
    }


def _text(entry: Any) -> dict[str, Any]:
    return {
        "name": entry.name,
        "architecture": "bert",
        "input_shape": None,
        "classes": 0,
        "data": entry.data,
        "accuracy": None,
        "licence": entry.licence,
        "location": {"repo": entry.repo},
        "paper": entry.paper,
        "page": entry.page,
    }


def _vectors(entry: Any) -> dict[str, Any]:
    return {
        "name": entry.name,
        "architecture": "words",
        "input_shape": None,
        "classes": 0,
        "data": entry.data,
        "accuracy": None,
        "licence": entry.licence,
        "words": entry.words,
        "size": entry.size,
        "location": {key: value for key, value in asdict(entry.location).items() if value is not None},
        "member": entry.member or None,
        "paper": entry.paper,
        "page": entry.page,
    }


def _leading_share(accuracy: str | None) -> str | None:
    """Return the figure that begins a statement of accuracy, as a percentage.

    >>> _leading_share("0.9943 on 10000 test images"), _leading_share("80.86% top-1, as published")
    ('99.43%', '80.86%')
    """
    first = (accuracy or "").split(" ")[0]
    try:
        return first if first.endswith("%") else percent(float(first))
    except ValueError:
        return accuracy
