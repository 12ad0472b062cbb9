"""The entry point: find the subcommand, run it, and turn failures into one line and an exit code."""

import contextlib
import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Sequence
from importlib import import_module
from types import FrameType
from typing import TYPE_CHECKING, Any

from tlx.cli import large_pages
from tlx.cli.imports import import_named, named_imports
from tlx.cli.memory import check_limit, is_out_of_memory, out_of_memory
from tlx.cli.streams import drop_output, repair_streams
from tlx.errors import ConfigError, StorageError, TlxError
from tlx.progress import doing, lines
from tlx.stop import SIGNALS, within_import

if TYPE_CHECKING:
    from tlx.cli.options import Command

COMMANDS = (
    "finetune",
    "probe",
    "evaluate",
    "predict",
    "embed",
    "convert",
    "inspect",
    "vocabulary",
    "presets",
    "report",
)
MEANT = {
    "version": "--version",
    "-v": "--version",
    "train": "finetune",
    "test": "evaluate",
    "list": "presets",
}  # other tools' words

INTERRUPTED, BROKEN_PIPE = 130, 141  # 128 and the signal, as a shell has it
INTERRUPTED_LINE = "tlx: interrupted; a run goes on from its last checkpoint with --resume --out RUN"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `tlx` with the given arguments (the process's own by default) and exit."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    for stream in (sys.stdout, sys.stderr):  # a file name need not be good UTF-8
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    warnings.filterwarnings("ignore", module="PIL")  # of odd metadata, in Python's own words
    logging.basicConfig(format="%(message)s")  # else a library may, and put "WARNING:tlx:" before tlx's own lines
    for name in ("absl", "asyncio"):  # Orbax tells through them of each failure that it also raises, with tracebacks
        logging.getLogger(name).setLevel(logging.NOTSET if debug else logging.CRITICAL)
    try:
        try:
            code: Any = _run(arguments)
        except SystemExit as stop:  # of --help
            code = stop.code
        if sys.stdout is not None:
            sys.stdout.flush()  # here, where what cannot be written has an exit code
        sys.exit(code)
    except BrokenPipeError:  # whoever read our output went away
        drop_output()
        sys.exit(BROKEN_PIPE)
    except Exception as error:
        if debug:
            traceback.print_exc()
        fault = _explain(error)
        print(f"tlx: {' '.join(str(fault).split())}", file=sys.stderr)
        sys.exit(fault.exit_code)
    except KeyboardInterrupt:
        if debug:
            raise
        print(INTERRUPTED_LINE, file=sys.stderr)
        sys.exit(INTERRUPTED)


def entry() -> None:
    """Run `main` as a process of its own, in large pages where there are any, and end it at once where it failed.

    After a full disk, threads of TensorStore and TensorBoard's writer would each print a traceback as Python ends.
    Where all is done, a request to stop comes too late: it is not to make the exit code another.
    """
    repair_streams()
    if "--debug" not in sys.argv:  # else XLA alarms about a program that takes it two minutes; what fails is raised
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    large_pages.restart()
    sys.unraisablehook = _say_unraisable
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    try:
        main()
    except SystemExit as stop:
        if not stop.code:
            for each in SIGNALS:
                signal.signal(each, signal.SIG_IGN)
            raise
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(stop.code))


def _interrupt(_: int, frame: FrameType | None) -> None:
    """Raise `KeyboardInterrupt`, but end at once within an import, which it might crash or come out of as an error."""
    if within_import(frame):
        print(INTERRUPTED_LINE, file=sys.__stderr__, flush=True)  # options are parsed with another sys.stderr
        os._exit(INTERRUPTED)
    raise KeyboardInterrupt


def _say_unraisable(found: Any) -> None:
    """Say what a thread could not raise; not that TensorStore's find the loop closed of a save that another failed."""
    if str(found.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(found)


def _run(arguments: list[str]) -> int:
    if arguments[:1] == ["help"]:
        arguments = [*arguments[1:], "--help"]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0
    name, *rest = arguments
    if name in ("-V", "--version"):
        from tlx.version import __version__

        print(f"tlx {__version__}")
        return 0
    from tlx.cli.options import nearest, parse  # imports tyro, which is to find the handlers of `entry`

    if name not in COMMANDS:
        meant = f", did you mean {MEANT[name]}?" if name in MEANT else nearest(name, COMMANDS, cutoff=0.5)
        raise ConfigError(f"unknown command {name!r}{meant}: the commands are {', '.join(COMMANDS)}")
    command = parse(_command(name), f"tlx {name}", rest)
    if [name] in large_pages.COMPUTING:
        large_pages.setting()  # raises what `restart` could not
        check_limit()
    with lines(), command.context():
        doing("starting")
        import_named(named_imports(command.import_))
        if [name] in large_pages.COMPUTING:
            from tlx.devices import enable_compilation_cache

            enable_compilation_cache()
        command.run()
    return 0


def _command(name: str) -> "type[Command]":
    module = import_module(f"tlx.cli.{name}")
    found: type[Command] = getattr(module, name.capitalize())
    return found


def _overview() -> str:
    lines = ["usage: tlx COMMAND [options]", "", "Transfer learning in JAX.", ""]
    lines += [f"  {name:<10} {(_command(name).__doc__ or '').splitlines()[0]}" for name in COMMANDS]
    return "\n".join([*lines, "", "tlx COMMAND --help tells more; tlx --version."])


def _explain(error: Exception) -> TlxError:
    """Find the line and the exit code for an exception that reached the top."""
    if isinstance(error, TlxError):
        return error
    if is_out_of_memory(error):
        return out_of_memory()
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return StorageError(f"{where}{error.strerror or error}: free the disk, mend the rights or name another place")
    return TlxError(f"internal error, {type(error).__name__}: {error} (please report it; --debug shows where)")
