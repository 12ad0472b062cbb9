"""Options: a typed dataclass a command, read from flags and from a YAML file alike."""

import collections
import contextlib
import dataclasses
import difflib
import io
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import tyro

from tlx.cli.help import help_of
from tlx.cli.imports import VARIABLE
from tlx.errors import ConfigError
from tlx.files import home

MAX_CONFIG_BYTES = 1_000_000
MEANT = {  # what other tools call an option
    "--lr": "--head-rate",
    "--learning-rate": "--head-rate",
    "--model": "--base",
    "--output": "--out",
    "--output-dir": "--out",
    "--gpu": "--device",
    "--freeze": "--thaw-from",
    "--label": "--target",
    "--labels": "--target",
    "--label-column": "--target",
    "--text-column": "--text",
    "--max-seq-length": "--max-length",
}
FLAGS_ONLY = ("json", "debug", "resume", "config", "import_")  # what makes no sense in a file


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
    """What every command understands."""

    GROUPS: ClassVar[Mapping[str, tuple[str, ...]]] = {}  # titles and options, as --help lists them

    json: bool = False
    """Print one JSON object on standard output and nothing else there."""
    debug: bool = False
    """Show the traceback of a failure."""
    import_: Annotated[str | None, tyro.conf.arg(name="import")] = None
    """A Python file (FILE.py) or module to run first, which registers architectures of your own, or several, separated
    as in PATH; TLX_IMPORT may name them, too. No folder, weight file or --config makes tlx run code."""

    @classmethod
    def expand(cls, arguments: list[str]) -> list[str]:
        """Return the arguments with what they imply added."""
        return arguments

    def context(self) -> contextlib.AbstractContextManager[Any]:
        """Return the context to run in."""
        return contextlib.nullcontext()

    def run(self) -> None:
        """Do what the command is for."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputOptions(Command):
    """What every command understands that reads images."""

    skip_bad: str = "0%"
    """How many of the images or texts may be bad; they are left out and listed. By default any is an error."""
    workers: int | None = None
    """How many threads read images; by default one a core. The result does not depend on it."""
    device: Literal["auto", "cpu", "gpu", "tpu"] = "auto"
    """What to compute on; auto: the best that JAX finds. One that is not there is an error."""

    def context(self) -> contextlib.AbstractContextManager[Any]:
        if platforms := os.environ.get("JAX_PLATFORMS"):
            _check_platforms(platforms)
        if self.device == "auto":
            return contextlib.nullcontext()
        import jax

        try:
            device = jax.devices(self.device)[0]
        except RuntimeError as error:
            there = ", ".join(sorted({found.platform for found in jax.devices()}))
            raise ConfigError(
                f"--device {self.device}: JAX finds none here, only {there}: leave it out, or install what it needs "
                "(tlx-jax[cuda] for NVIDIA's GPUs)"
            ) from error
        return jax.default_device(device)


def _check_platforms(platforms: str) -> None:
    """Raise `ConfigError` where JAX has none of the devices that the environment asks for."""
    import jax

    try:
        jax.devices()
    except (AssertionError, RuntimeError) as error:  # JAX asserts where it knows the name
        raise ConfigError(
            f"JAX_PLATFORMS={platforms}: JAX finds none here: unset it, or install what it needs (tlx-jax[cuda] for "
            "NVIDIA's GPUs)"
        ) from error


def percentage(option: str, text: str) -> float:
    """Return the share that a percentage says, or raise `ConfigError` naming the option.

    >>> percentage("skip-bad", "2.5%")
    0.025
    """
    found = re.fullmatch(r"(\d{1,3}(?:\.\d+)?)%", text)
    if found is None or float(found[1]) >= 100:
        raise ConfigError(f"--{option}: {text!r} is not a percentage under 100; say 5%, for example")
    return float(f"{found[1]}e-2")  # rounded once, so that 29% allows 29 of 100


AnyCommand = TypeVar("AnyCommand", bound=Command)


def parse(kind: type[AnyCommand], prog: str, arguments: Sequence[str]) -> AnyCommand:
    """Build a command from its flags; raise `ConfigError`, in one line, for what does not fit.

    `--config FILE` stands for the flags that a YAML file names; flags given beside it win over the file. Where help is
    asked for, print it and exit.
    """
    if {"-h", "--help"} & set(arguments):
        print(help_of(kind, prog))
        sys.exit(0)
    counts = collections.Counter(a.partition("=")[0] for a in arguments if a.startswith("--"))
    twice = next((flag for flag, count in counts.items() if count > 1), None)
    if twice:
        raise ConfigError(f"{twice} is there {counts[twice]} times: give it once, with all its values behind it")
    arguments = _with_config(kind, kind.expand(list(arguments)))
    known = flags(kind)
    for argument in arguments:
        flag = argument.partition("=")[0].replace("_", "-")
        if flag.startswith("--") and flag not in known:
            other = MEANT.get(flag)
            meant = f", did you mean {other}?" if other in known else nearest(flag, known, cutoff=0.5)
            raise ConfigError(f"unknown option {flag}{meant}: see {prog} --help")
    message = io.StringIO()
    try:
        with contextlib.redirect_stderr(message):
            return tyro.cli(kind, prog=prog, args=arguments, config=(tyro.conf.FlagCreatePairsOff,))
    except SystemExit as stop:
        if not stop.code:
            raise
        raise ConfigError(_reworded(_one_line(message.getvalue()), prog)) from None


def flags(kind: type[Command]) -> tuple[str, ...]:
    """Name the flags of a command.

    >>> flags(Command)
    ('--help', '--json', '--debug', '--import')
    """
    return ("--help", *(_flag(field) for field in dataclasses.fields(kind)))


def _flag(field: "dataclasses.Field[Any]") -> str:
    name = field.name.rstrip("_").replace("_", "-")
    return f"--no-{name}" if field.default is True else f"--{name}"


def nearest(name: str, known: Iterable[str], *, cutoff: float = 0.0) -> str:
    """Return ', did you mean …?' for the known name that is most like `name`, or nothing where none is by `cutoff`.

    >>> nearest("--lerning-rate", ["--head-rate", "--learning-rate"])
    ', did you mean --learning-rate?'
    """
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f", did you mean {found[0]}?" if found else ""


def _one_line(box: str) -> str:
    """Take the message out of the box that tyro draws: what stands between the first ruled line and the second."""
    lines = [line.strip("│ ") for line in box.splitlines()]
    rules = [index for index, line in enumerate(lines) if line.startswith(("╭", "─", "----"))]
    message = lines[rules[0] + 1 : rules[1]] if len(rules) > 1 else lines
    return re.split("─{4}|-{4}", " ".join(" ".join(message).split()))[0].strip()


def _reworded(message: str, prog: str) -> str:
    """Put what tyro says of arguments that are missing or too many in words that say what to do.

    >>> _reworded("Unrecognized options: photos", "tlx probe")
    "'photos' is no option: options begin with --, see tlx probe --help"
    >>> _reworded("Missing from tlx report: STR The run's directory. (required)", "tlx report")
    "missing: the run's directory; see tlx report --help"
    """
    if found := re.fullmatch(r"Unrecognized options: (.*)", message):
        return f"{found[1]!r} is no option: options begin with --, see {prog} --help"
    if found := re.fullmatch(r"Missing from [^:]*: (?:[A-Z\[][A-Z\[\].]* )+(.)(.*?)\.? \(required\)", message):
        return f"missing: {found[1].lower()}{found[2]}; see {prog} --help"
    return message


def value_of(name: str, arguments: Sequence[str]) -> str | None:
    """Return the value that `--name VALUE` or `--name=VALUE` gives, or None; the last one counts.

    >>> value_of("out", ["--out", "a", "--out=b"])
    'b'
    """
    found = None
    for index, argument in enumerate(arguments):
        if argument == f"--{name}":
            found = "".join(arguments[index + 1 : index + 2])
        elif argument.startswith(f"--{name}="):
            found = argument.partition("=")[2]
    return found


def _with_config(kind: type[Command], arguments: list[str]) -> list[str]:
    """Put the flags that `--config FILE` stands for before all others."""
    path = value_of("config", arguments)
    if path is None:
        return arguments
    given = config_flags(kind, home(path))
    _check_imports(home(path), arguments)
    return given + arguments


def _check_imports(path: Path, arguments: list[str]) -> None:
    """Raise `ConfigError` where a configuration notes what was imported and nobody names it now: it is never run."""
    noted = read_config(path).get("import")
    if noted and value_of("import", arguments) is None and not os.environ.get(VARIABLE):
        raise ConfigError(
            f"{path}: was made with --import {noted}: name it again, for a configuration makes tlx run no code"
        )


def config_flags(kind: type[Command], path: Path) -> list[str]:
    """Turn a YAML file of options into flags; raise `ConfigError` for what is no option, naming the nearest."""
    fields = {field.name: field for field in dataclasses.fields(kind) if field.name not in FLAGS_ONLY}
    given: list[str] = []
    for key, value in read_config(path).items():
        name = str(key).replace("-", "_")
        if name == "import":  # a note; the user names it
            continue
        if name not in fields:
            raise ConfigError(f"{path}: unknown key {key!r}{nearest(name, fields)}")
        given += _as_flags(fields[name], value, path)
    return given


def _as_flags(field: "dataclasses.Field[Any]", value: Any, path: Path) -> list[str]:
    if isinstance(field.default, bool):
        if not isinstance(value, bool):
            raise ConfigError(f"{path}: {field.name} must be true or false, not {value!r}")
        return [_flag(field)] if value != field.default else []
    if value is None and field.default == ():  # as files have it from when such an option took one value or none
        return []
    values = value if isinstance(value, list) else [value]
    if any(isinstance(item, dict | list) for item in values):
        raise ConfigError(f"{path}: {field.name} must be a single value or a flat list")
    return [_flag(field), *map(str, values)]


def read_config(path: Path) -> dict[str, Any]:
    """Read a YAML mapping: plain data only, no aliases, no key twice; raise `ConfigError` otherwise."""
    import yaml

    class Loader(yaml.SafeLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.events.AliasEvent):
                raise yaml.YAMLError(f"line {self.peek_event().start_mark.line + 1}: aliases are not allowed")
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
                raise yaml.YAMLError("'<<' is not allowed")
            counts = collections.Counter(str(key.value) for key, _ in node.value)
            name, count = counts.most_common(1)[0] if counts else ("", 0)
            if count > 1:
                raise yaml.YAMLError(f"the key {name!r} is there {count} times")
            return super().construct_mapping(node, deep)

    try:
        with path.open("rb") as file:
            content = file.read(MAX_CONFIG_BYTES + 1)
        if len(content) > MAX_CONFIG_BYTES:
            raise yaml.YAMLError(f"larger than {MAX_CONFIG_BYTES} bytes")
        found = yaml.load(content, Loader)
    except OSError as error:
        raise ConfigError(f"--config {path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not plain YAML ({error})") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: must hold one 'key: value' a line")
    return found
