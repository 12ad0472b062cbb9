"""Run the command as `python -m tlx`."""

from tlx.cli.main import entry

entry()
