"""`tlx inspect`: tabulate what a model or a weight file holds, and check its certificate."""

import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from tlx.cli.options import Command
from tlx.cli.output import print_facts, print_json, print_table
from tlx.files import home
from tlx.progress import doing

if TYPE_CHECKING:
    from pathlib import Path

    from tlx.tree.summary import Summary


def _holds_weights_alone(path: "Path") -> bool:
    """Tell whether a path is a folder that is no run and no export."""
    return os.path.isdir(path) and not any(
        os.path.exists(path / name) for name in ("config.json", "run.json", "export")
    )


@dataclass(frozen=True, kw_only=True)
class Inspect(Command):
    """Tabulate the parameters of a preset, a run, an export, a conversion or a weight file.

    A published preset (keras/vgg16) is told from shapes alone, without its weights. A conversion's certificate is
    checked: every leaf's bytes, and that they go back to the source's.
    """

    target: Annotated[str, tyro.conf.Positional]
    """A preset, the folder of a run, an export or a conversion, or a weight file of any format that tlx reads."""
    phase: str | None = None
    """Of a run: the phase whose labels to show; by default the last."""

    def run(self) -> None:
        from tlx.convert.tf_checkpoint import find_index
        from tlx.presets.conversion import check_folder
        from tlx.presets.load import find, is_published
        from tlx.presets.summary import summarize_file, summarize_published, summarize_run

        doing(f"reading {self.target}")
        more: dict[str, Any] = {}
        path = home(self.target)
        if os.path.isfile(find_index(path)) or _holds_weights_alone(path):
            summary, more = summarize_file(self.target)
        elif is_published(self.target):
            summary, more = summarize_published(self.target)
        else:
            folder = find(self.target)
            summary, phases = summarize_run(folder, self.phase)
            more = {} if phases is None else {"phases": phases}
            certificate = check_folder(folder)
            if certificate is not None:
                more["certificate"] = asdict(certificate)
        if self.json:
            print_json({"target": self.target, **summary.totals(), **more, "leaves": [asdict(r) for r in summary.rows]})
            return
        self._print(summary, more)

    def _print(self, summary: "Summary", more: dict[str, Any]) -> None:
        print_table(
            self.target,
            ("path", "shape", "dtype", "parameters", "label", "stage"),
            [(r.path, "x".join(map(str, r.shape)), r.dtype, r.parameters, r.label, r.stage) for r in summary.rows],
            optional=("label", "dtype", "stage"),
        )
        print_facts(f"{name} {count:,}" for name, count in summary.totals().items())
        if "format" in more:
            print(f"format {more['format']}")
            for each in more["looks_like"]:
                places = [repr(start) for start in each["prefixes"] if start or len(each["prefixes"]) > 1]
                print(
                    f"looks like {each['arch']}: {each['matched']} tensors, {each['missing']} missing"
                    + (f", {each['misfits']} that do not fit" if each["misfits"] else "")
                    + (f", below {' and '.join(places)}" if places else "")
                )
            if not more["looks_like"]:
                what = more["stranger"] or "no network that tlx has a table of"
                print(f"looks like {what}; docs/adding-a-family.md says how to write a table")
        if "certificate" in more:
            check = more["certificate"]
            by = f"; it records a comparison with {check['verified_with']}" if check["verified_with"] else ""
            fresh = f", {check['fresh']} fresh" if check["fresh"] else ""
            print(f"certificate holds: {check['leaves']} leaves, {check['proven']} go back to the source's{fresh}{by}")
