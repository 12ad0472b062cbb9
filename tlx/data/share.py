"""The share of a host: which rows of a batch one of several hosts makes."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Share:
    """Say which rows of a batch one of several hosts makes, for `devices` devices of all hosts, in order.

    A batch is taken in `parts`, one after the other. The rows of each, filled up so that the devices get equally many,
    go to the devices in order, and so to the hosts.
    """

    parts: int = 1
    devices: int = 1
    host: int = 0
    hosts: int = 1

    @classmethod
    def of(cls, placement: Any, parts: int = 1) -> "Share":
        """Return what this host makes for a `tlx.devices.Placement`."""
        return cls(parts, placement.count, placement.host, placement.hosts)

    def rows(self, batch_size: int) -> np.ndarray:
        """Return the rows that this host makes, part after part, (n,) int64; `batch_size` where one is padding.

        >>> Share(devices=4).rows(6).tolist(), Share(parts=2, devices=2, host=1, hosts=2).rows(8).tolist()
        ([0, 1, 2, 3, 4, 5, 6, 6], [2, 3, 6, 7])
        """
        rows = np.arange(batch_size).reshape(self.parts, -1)
        missing = -rows.shape[1] % self.devices
        filled = np.pad(rows, ((0, 0), (0, missing)), constant_values=batch_size)
        return filled.reshape(self.parts, self.hosts, -1)[:, self.host].ravel()

    def pads(self, batch_size: int) -> bool:
        """Tell whether some rows of a whole batch are padding."""
        return batch_size // self.parts % self.devices > 0
