"""Epochs for Weights & Biases."""

from typing import Any

from tlx.logs.service import Service, imported


class WandB(Service):
    """Log the figures and learning rates of each epoch to Weights & Biases, over the epoch.

    It begins its run with the first phase and ends it when closed. An epoch that is trained again after a resume is
    logged again, with the same figures: `id="..."`, `resume="allow"` let a resumed fit go on in the same run.

    Args:
        options: what `wandb.init` takes: `project`, `name`, `config`, `mode="offline"`, …

    Raises:
        ConfigError: where wandb is not installed (the extra `wandb`).

    >>> log = WandB(project="flowers", mode="offline")  # doctest: +SKIP
    >>> run = tlx.finetune(base, data, out="runs/flowers", callbacks=[log])  # doctest: +SKIP
    """

    def __init__(self, **options: Any) -> None:
        self._wandb, self.options = imported("wandb", "WandB"), options
        self._defined: set[str] = set()

    def begin(self) -> Any:
        self._defined.clear()
        return self._wandb.init(**self.options)

    def send(self, scalars: dict[str, float], epoch: int, prefix: str) -> None:
        # wandb's own step only ever rises, and the epochs of a baseline begin at 1 again: each run has its own axis.
        if prefix not in self._defined:
            self.run.define_metric(f"{prefix}*", step_metric=f"{prefix}epoch")
            self._defined.add(prefix)
        self.run.log({f"{prefix}epoch": epoch, **scalars})

    def end(self) -> None:
        self.run.finish()
