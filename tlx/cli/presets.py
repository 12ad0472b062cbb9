"""`tlx presets`: list the pretrained bases."""

from dataclasses import dataclass

from tlx.cli.options import Command
from tlx.cli.output import print_json, print_table


@dataclass(frozen=True, kw_only=True)
class Presets(Command):
    """List the pretrained bases, with their input, accuracy and licence."""

    def run(self) -> None:
        from tlx.presets.bundle import read_config
        from tlx.presets.load import PRESETS, preset_names

        rows = []
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
