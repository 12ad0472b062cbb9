"""`tlx report`: write a run's report page again."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from tlx.cli.options import Command
from tlx.cli.output import print_json
from tlx.progress import doing


@dataclass(frozen=True, kw_only=True)
class Report(Command):
    """Write the report of a finished run, one self-contained HTML page."""

    run_dir: Annotated[str, tyro.conf.Positional]
    """The run's directory."""

    def run(self) -> None:
        import tlx

        doing("writing the report")
        page = tlx.write_report(self.run_dir)
        if self.json:
            print_json({"report": str(page)})
        else:
            print(page)
