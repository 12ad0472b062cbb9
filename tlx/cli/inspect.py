"""`tlx inspect`: tabulate the parameters of a model."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from tlx.cli.options import Command
from tlx.cli.output import print_json, print_table


@dataclass(frozen=True, kw_only=True)
class Inspect(Command):
    """Tabulate the parameters of a preset, a run, an export or a safetensors file."""

    target: Annotated[str, tyro.conf.Positional]
    """A preset, the folder of a run or an export, or a .safetensors file."""
    phase: str | None = None
    """Of a run: the phase whose labels to show; by default the last."""

    def run(self) -> None:
        from tlx.presets.load import find
        from tlx.presets.summary import summarize_file, summarize_run

        if Path(self.target).suffix == ".safetensors":
            summary, phases = summarize_file(Path(self.target)), None
        else:
            summary, phases = summarize_run(find(self.target), self.phase)
        if self.json:
            content: dict[str, Any] = {"target": self.target, **summary.totals()}
            if phases is not None:
                content["phases"] = phases
            print_json({**content, "leaves": [asdict(row) for row in summary.rows]})
            return
        print_table(
            self.target,
            ("path", "shape", "dtype", "parameters", "label", "stage"),
            [(r.path, "x".join(map(str, r.shape)), r.dtype, r.parameters, r.label, r.stage) for r in summary.rows],
        )
        print("   ".join(f"{name} {count:,}" for name, count in summary.totals().items()))
