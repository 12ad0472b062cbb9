"""What the logs of tracking services share: a library that an extra installs, and a run that begins when it is told."""

import contextlib
import sys
from importlib import import_module
from typing import Any

from tlx.errors import ConfigError
from tlx.files.opening import one_line
from tlx.logs.log import Log
from tlx.logs.record import scalars_of


def imported(module: str, log: str) -> Any:
    """Import the library of a service, or raise `ConfigError` that names the extra which installs it.

    >>> imported("no_such_service", "NoSuch")
    Traceback (most recent call last):
    tlx.errors.ConfigError: tlx.logs.NoSuch needs no_such_service (No module named 'no_such_service'): pip install
    'tlx-jax[no_such_service]'
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"tlx.logs.{log} needs {module} ({one_line(error)}): pip install 'tlx-jax[{module}]'"
        ) from error


class Service(Log):
    """Tell a service of each epoch's numbers, with those of one run of `tlx.finetune` under its name: `transfer/loss`.

    `run` is the service's own object, from the first phase or epoch on: what is refused before training leaves nothing
    there. What the service prints goes to standard error.
    """

    run: Any = None

    def phase(self, name: str, epochs: int, steps: int, done: int) -> None:
        self._begin()

    def epoch(self, record: dict[str, Any]) -> None:
        self._begin()
        prefix = f"{record['run']}/" if "run" in record else ""
        scalars = {f"{prefix}{name}": value for name, value in scalars_of(record).items()}
        with contextlib.redirect_stdout(sys.stderr):
            self.send(scalars, record["epoch"], prefix)

    def close(self) -> None:
        if self.run is not None:
            with contextlib.redirect_stdout(sys.stderr):
                self.end()
            self.run = None

    def _begin(self) -> None:
        if self.run is None:
            with contextlib.redirect_stdout(sys.stderr):
                self.run = self.begin()

    def begin(self) -> Any:
        """Begin a run of the service, or go on with one, and return it."""
        raise NotImplementedError

    def send(self, scalars: dict[str, float], epoch: int, prefix: str) -> None:
        """Send the numbers of an epoch, each of whose names begins with the prefix."""
        raise NotImplementedError

    def end(self) -> None:
        """End the run, once all is sent."""
        raise NotImplementedError
