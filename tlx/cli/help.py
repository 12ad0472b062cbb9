"""The help of a command: its options in groups, those that people need first at the top."""

import ast
import dataclasses
import functools
import inspect
import shutil
import textwrap
import types
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from tlx.cli.options import Command

_INDENT = 26  # characters before what an option is for
_WIDEST = 100
_TYPES = {int: "INT", float: "NUMBER", str: "TEXT"}


def help_of(kind: "type[Command]", prog: str) -> str:
    """Lay out what a command is for and its options, each in the first group of `kind.GROUPS` that names it.

    >>> from tlx.cli.options import Command
    >>> print(help_of(Command, "tlx x").splitlines()[0])
    usage: tlx x [options]
    """
    width = min(shutil.get_terminal_size((80, 24)).columns, _WIDEST)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    hints, documented = get_type_hints(kind, include_extras=True), _documentation(kind)
    positional = {name: label for name in fields if (label := _positional(name, hints[name]))}
    required = [
        f"--{_flag(name)} {_value(hints[name])}"
        for name, field in fields.items()
        if name not in positional and field.default is field.default_factory
    ]
    usage = " ".join([f"usage: {prog}", *positional.values(), *required, "[options]"])
    lines = [usage, "", *_paragraphs(inspect.getdoc(kind) or "", width)]
    if positional:
        lines.append("")
    for name, label in positional.items():
        lines += _entry(label, documented[name], "", width)
    for title, names in _grouped(kind, set(positional)).items():
        lines += ["", f"{title}:"]
        for name in names:
            label = f"--{_flag(name, fields[name].default is True)} {_value(hints[name])}".rstrip()
            lines += _entry(label, documented.get(name, ""), _default(fields[name]), width)
    return "\n".join([*lines, *_entry("-h, --help", "Show this.", "", width)])


def _grouped(kind: "type[Command]", placed: set[str]) -> dict[str, list[str]]:
    """Put each option that is not `placed` into the first group that names it; a command's own come before others."""
    names = [field.name for field in dataclasses.fields(kind)]
    inherited = [
        field.name for base in kind.__bases__ if dataclasses.is_dataclass(base) for field in dataclasses.fields(base)
    ]
    own = [name for name in names if name not in inherited]
    found: dict[str, list[str]] = {}
    for title, members in {**kind.GROUPS, "options": own, "general options": names}.items():
        left = [name for name in dict.fromkeys(members) if name not in placed]
        placed = placed | set(left)
        if left:
            found[title] = left
    return found


def _flag(name: str, negated: bool = False) -> str:
    return ("no-" if negated else "") + name.rstrip("_").replace("_", "-")


def _positional(name: str, hint: Any) -> str:
    """Return how a positional argument is written, or nothing for an option."""
    marks = [str(mark) for mark in get_args(hint)[1:]] if get_origin(hint) is Annotated else []
    if not any("Positional" in mark or "POSITIONAL" in mark for mark in marks):
        return ""
    metavar = next((getattr(mark, "metavar", None) for mark in get_args(hint)[1:] if hasattr(mark, "metavar")), None)
    return metavar or name.upper()


def _value(hint: Any) -> str:
    """Write what an option takes: a choice, a type, several of them; nothing for a switch.

    >>> [_value(each) for each in (bool, int | None, Literal["a", "b"], tuple[int, float], tuple[int, ...])]
    ['', 'INT', '{a,b}', 'INT NUMBER', 'INT ...']
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        metavar = next((mark.metavar for mark in arguments[1:] if getattr(mark, "metavar", None)), None)
        return metavar or _value(arguments[0])
    if origin in (Union, types.UnionType):
        return "|".join(_value(each) for each in arguments if each is not type(None))
    if origin is Literal:
        return "{" + ",".join(str(each) for each in arguments if each is not None) + "}"
    if origin is tuple:
        return " ".join("..." if each is Ellipsis else _value(each) for each in arguments)
    return "" if hint is bool else _TYPES.get(hint, getattr(hint, "__name__", str(hint)).upper())


def _default(field: "dataclasses.Field[Any]") -> str:
    """Write what an option is without being given; nothing where it is a switch, absent or required."""
    value = field.default
    if value is dataclasses.MISSING or value is None or value == () or isinstance(value, bool):
        return ""
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _entry(label: str, purpose: str, default: str, width: int) -> list[str]:
    """Set an option on the left and what it is for on the right, below where the option is long."""
    text = " ".join(f"{purpose} {f'[{default}]' if default else ''}".split())
    indent = " " * _INDENT
    folded = textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
    folded = folded or [indent]
    if len(label) + 2 < _INDENT - 1:
        return [f"  {label:<{_INDENT - 2}}{folded[0][_INDENT:]}".rstrip(), *folded[1:]]
    return [*_label_lines(label, width), *(folded if text else [])]


def _label_lines(label: str, width: int) -> Iterator[str]:
    """Fold a long list of choices between them."""
    lines = textwrap.wrap(label.replace(",", ", "), width - 2, break_long_words=False, break_on_hyphens=False)
    for number, line in enumerate(lines):
        text = line if len(lines) > 1 else label
        yield f"  {'' if not number else '    '}{text}"


def _paragraphs(text: str, width: int) -> list[str]:
    found = []
    for paragraph in text.split("\n\n"):
        found += [*textwrap.wrap(" ".join(paragraph.split()), width, break_on_hyphens=False), ""]
    return found[:-1]


def _documentation(kind: type) -> dict[str, str]:
    """Return what stands below each field in the source of a dataclass and those it derives from."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if dataclasses.is_dataclass(base):
            found |= _documented(base)
    return found


@functools.cache
def _documented(kind: type) -> dict[str, str]:
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for statement, below in zip(definition.body, definition.body[1:], strict=False):
        match statement, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=text)):
                found[name] = " ".join(str(text).split())
    return found
