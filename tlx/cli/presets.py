"""`tlx presets`: list the pretrained bases."""

from dataclasses import asdict, dataclass
from typing import Any

from tlx.cli.options import Command
from tlx.cli.output import print_json, print_table


@dataclass(frozen=True, kw_only=True)
class Presets(Command):
    """List the pretrained bases, with their input, accuracy and licence.

    Those with a / in their name are published by others: they are fetched when they are used.
    """

    def run(self) -> None:
        from tlx.presets.bundle import read_config
        from tlx.presets.catalogue import class_names, published, published_names
        from tlx.presets.load import PRESETS, preset_names

        rows: list[dict[str, Any]] = []
        for name in preset_names():
            config = read_config(PRESETS / name)
            rows.append(
                {
                    "name": name,
                    "architecture": config["model"]["architecture"],
                    "input_shape": config["model"]["input_shape"],
                    "classes": len(config["classes"]),
                    **config["card"],
                    "sha256": config["weights"]["sha256"],
                }
            )
        for entry in map(published, published_names()):
            see = entry.preprocess
            stated = None if entry.top1 is None else f"{entry.top1:.2f}% top-1, as published"
            rows.append(
                {
                    "name": entry.name,
                    "architecture": entry.architecture,
                    "input_shape": [see.height, see.width, see.channels],
                    "classes": len(class_names(entry.classes)),
                    "data": {"imagenet": "ImageNet", "cifar10": "CIFAR-10"}.get(entry.classes, entry.classes),
                    "accuracy": stated,
                    "licence": entry.licence,
                    "preprocess": see.to_dict(),
                    "location": {key: value for key, value in asdict(entry.location).items() if value is not None},
                    "paper": entry.paper,
                    "page": entry.page,
                }
            )
        if self.json:
            print_json({"presets": rows})
            return
        print_table(
            "presets",
            ("name", "input", "classes", "data", "accuracy", "licence"),
            [
                (r["name"], "x".join(map(str, r["input_shape"])), r["classes"], r["data"], r["accuracy"], r["licence"])
                for r in rows
            ],
        )
