"""Epochs for trackio."""

from typing import Any

from tlx.logs.service import Service, imported


class Trackio(Service):
    """Log the figures and learning rates of each epoch to trackio, with the epoch as the step.

    It begins its run with the first phase and ends it when closed. An epoch that is trained again after a resume is
    logged again, with the same figures: `name="..."`, `resume="allow"` let a resumed fit go on in the same run. Without
    `space_id` or `server_url` all stays on this machine, for `trackio show`.

    Args:
        project: the name of the project.
        options: what else `trackio.init` takes: `name`, `config`, `space_id`, …

    Raises:
        ConfigError: where trackio is not installed (the extra `trackio`).

    >>> log = Trackio("flowers", name="first")  # doctest: +SKIP
    >>> run = tlx.finetune(base, data, out="runs/flowers", callbacks=[log])  # doctest: +SKIP
    """

    def __init__(self, project: str = "tlx", **options: Any) -> None:
        self._trackio = imported("trackio", "Trackio")
        self.options = {"project": project, **options}

    def begin(self) -> Any:
        return self._trackio.init(**self.options)

    def send(self, scalars: dict[str, float], epoch: int, prefix: str) -> None:
        self.run.log(scalars, step=epoch)

    def end(self) -> None:
        if self._trackio.context_vars.current_run.get() is self.run:
            self._trackio.finish()  # which also forgets it, or trackio would finish it again as Python ends
        else:
            self.run.finish()
