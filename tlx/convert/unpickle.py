"""Read a pickle as data: a machine that builds containers, plain values and descriptions of tensors, and nothing else.

Python's own unpickler calls what a pickle names and sets items and attributes of whatever that returns. This one knows
the opcodes that checkpoints use, answers the names in `pickle_names` with what stands in for them there, and refuses
the rest.
"""

from __future__ import annotations

import codecs
import pickletools
import struct
from collections.abc import Callable
from typing import Any, BinaryIO

from tlx.convert.pickle_names import CURES, GLOBALS, Global, Items, Opaque, Storage, is_count, pairs
from tlx.errors import TlxError, UnsafeFileError, WeightsError
from tlx.files.opening import one_line, shown

_MAX_STEPS = 5_000_000  # opcodes and copied items: fifty for each tensor of the largest file that is read
_MAX_TEXT = 16 << 20  # bytes of one string
_MAX_NUMBER = 1024  # bytes of one integer


class _Mark:
    """Where the arguments of an opcode begin on the stack."""


def unpickle(stream: BinaryIO, limit: int, where: str, storages: list[Storage] | None = None) -> Any:
    """Read one pickle of at most `limit` bytes from a stream, which is left behind it.

    The storages that it names are added to `storages`. Returns None, bool, int, float, str, bytes, list (also for a
    set), tuple, `Items`, `Opaque`, `Global`, `Storage` and `View` in one another; lists may contain themselves. Raises
    `UnsafeFileError` for whatever would run code or claims bytes that are not there, `WeightsError` for what is no
    pickle.

    >>> import io, os, pickle
    >>> unpickle(io.BytesIO(pickle.dumps({"epoch": 3})), 100, "model.pt")
    [('epoch', 3)]
    >>> unpickle(io.BytesIO(pickle.dumps(os.system)), 100, "model.pt")
    Traceback (most recent call last):
    ...
    tlx.errors.UnsafeFileError: model.pt: asks for posix.system, which could run code; refused ...
    """
    return _Machine(stream, limit, where, [] if storages is None else storages).run()


class _Machine:
    def __init__(self, stream: BinaryIO, limit: int, where: str, storages: list[Storage]) -> None:
        self._stream, self._left, self._where, self._storages = stream, limit, where, storages
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._steps = 0

    def run(self) -> Any:
        try:
            while True:
                self._count_steps(1)
                code = self._read(1)[0]
                if code == _STOP:
                    return self._pop()
                action = _ACTIONS.get(code)
                if action is None:
                    self._refuse_opcode(code)
                else:
                    action(self)
        except TlxError:
            raise
        except (IndexError, KeyError, ValueError, TypeError, OverflowError, struct.error) as error:
            raise self._damaged(one_line(error)) from error

    def _count_steps(self, more: int) -> None:
        self._steps += more
        if self._steps > _MAX_STEPS:
            raise WeightsError(
                f"{self._where}: more than {_MAX_STEPS} steps in its pickle; no weight file needs so many"
            )

    # Bytes

    def _read(self, count: int) -> bytes:
        if count > self._left:
            if count > 256:
                raise UnsafeFileError(f"{self._where}: its pickle claims {count} bytes where {self._left} are; refused")
            raise self._damaged("it is cut short")
        self._left -= count
        content = self._stream.read(count)
        if len(content) != count:
            raise self._damaged("it is cut short")
        return content

    def _line(self) -> str:
        return self._raw_line().decode()

    def _raw_line(self) -> bytes:
        line = self._stream.readline(min(self._left, _MAX_NUMBER) + 1)
        if not line.endswith(b"\n"):
            raise self._damaged("a line without an end")
        self._left -= len(line)
        if self._left < 0:
            raise self._damaged("it is cut short")
        return line[:-1]

    def _number(self, width: int) -> int:
        return int.from_bytes(self._read(width), "little")

    def _content(self, width: int, limit: int = _MAX_TEXT) -> bytes:
        count = self._number(width)
        if count > limit:
            raise UnsafeFileError(
                f"{self._where}: its pickle claims a value of {count} bytes, more than {limit}; refused"
            )
        return self._read(count)

    # The stack

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _pop(self) -> Any:
        value = self._stack.pop()
        if isinstance(value, _Mark):
            raise self._damaged("a mark where a value is expected")
        return value

    def _pop_to_mark(self) -> list[Any]:
        at = len(self._stack) - 1
        while not isinstance(self._stack[at], _Mark):
            at -= 1
            if at < 0:
                raise self._damaged("no mark")
        values = self._stack[at + 1 :]
        del self._stack[at:]
        return values

    def _top(self, kind: type, does: str) -> Any:
        target = self._stack[-1]
        if type(target) is not kind:
            raise UnsafeFileError(f"{self._where}: its pickle {does} a {_kind(target)}, which could run code; refused")
        return target

    def extend(self, values: list[Any]) -> None:
        self._top(list, "appends to").extend(values)

    def update(self, values: list[Any]) -> None:
        if len(values) % 2:
            raise self._damaged("a key without a value")
        self._top(Items, "sets items of").extend(zip(values[::2], values[1::2], strict=True))

    def append(self) -> None:
        value = self._pop()
        self.extend([value])

    def set_item(self) -> None:
        value, key = self._pop(), self._pop()
        self.update([key, value])

    # Names and what is made by them

    def find(self, module: Any, name: Any) -> None:
        full = f"{module}.{name}" if isinstance(module, str) and isinstance(name, str) else "?"
        if full not in GLOBALS:
            cure = next((cure for start, cure in CURES.items() if full.startswith(start)), CURES[""])
            raise UnsafeFileError(
                f"{self._where}: asks for {shown(full)}, which could run code; refused (if it is your own file, {cure})"
            )
        self._push(GLOBALS[full])

    def instance(self) -> None:
        self.find(self._line(), self._line())
        self._refuse_opcode(ord("i"))

    def reduce(self) -> None:
        arguments, function = self._pop(), self._pop()
        if not isinstance(function, Global) or function.build is None:
            raise UnsafeFileError(f"{self._where}: its pickle calls a {_kind(function)}; refused")
        if type(arguments) is not tuple:
            raise self._damaged("a call without a tuple of arguments")
        self._count_steps(len(arguments))
        self._count_steps(sum(len(a) for a in arguments if type(a) in (list, tuple, Items)))
        try:
            self._push(function.build(*arguments))
        except (TypeError, ValueError) as error:
            raise self._damaged(f"{function.name} with other arguments than it takes") from error

    def new_object(self) -> None:
        """Make what stands in for an object of a class that may be used; the class itself is never called."""
        arguments, kind = self._pop(), self._pop()
        if not isinstance(kind, Global) or not kind.is_class:
            raise UnsafeFileError(f"{self._where}: its pickle makes a {_kind(kind)} by NEWOBJ; refused")
        self._push(kind)
        self._push(arguments)
        self.reduce()

    def build(self) -> None:
        """Drop the state of an object: of a dict it is its attributes (a state_dict's _metadata), others are opaque."""
        state, target = self._pop(), self._pop()
        if not isinstance(target, Opaque) and not (isinstance(target, Items) and type(state) is Items):
            raise UnsafeFileError(
                f"{self._where}: its pickle sets the state of a {_kind(target)}, which could run code; refused"
            )
        self._push(target)

    def find_persistent(self) -> None:
        match self._pop():
            case ("storage", Global(dtype=dtype), str(key), _, count, *view) if dtype and is_count(count):
                match view:
                    case [] | [None]:
                        storage = Storage(dtype, key, count)
                    case [(str(within), offset, size)] if is_count(offset) and is_count(size):
                        storage = Storage(dtype, key, count, (within, offset, size))
                    case _:
                        raise self._damaged("a view of a storage without key, offset or size")
            case _:
                raise self._damaged("a storage without type, key or size")
        self._storages.append(storage)
        self._push(storage)

    # The memo

    def put(self, at: int) -> None:
        value = self._pop()
        self._memo[at] = value
        self._push(value)

    def get(self, at: int) -> None:
        self._push(self._memo[at])

    def _refuse_opcode(self, code: int) -> None:
        name = _OPCODE_NAMES.get(code)
        if name is None:
            raise self._damaged(f"0x{code:02x} is no opcode")
        raise UnsafeFileError(f"{self._where}: its pickle uses {name}, which could run code; refused")

    def _damaged(self, what: str) -> WeightsError:
        return WeightsError(f"{self._where}: damaged pickle ({what}); fetch the file again")

    # Opcodes of more than one line

    def frame(self) -> None:
        if (count := self._number(8)) > self._left:
            raise UnsafeFileError(f"{self._where}: its pickle claims {count} bytes where {self._left} are; refused")

    def text_number(self) -> None:
        line = self._line()
        self._push(line == "01" if line in ("00", "01") else int(line.removesuffix("L")))

    def text_index(self) -> int:
        if not 0 <= (index := int(self._line())) < 1 << 32:
            raise ValueError("no index of the memo")
        return index

    def quoted(self) -> None:
        line = self._line()
        if len(line) < 2 or line[0] != line[-1] or line[0] not in "'\"":
            raise self._damaged("a string without quotes")
        self._push(codecs.escape_decode(line[1:-1].encode())[0].decode("latin-1"))


def _kind(value: Any) -> str:
    return value.name if isinstance(value, Global) else type(value).__name__.lstrip("_").lower()


def _decoded(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:  # Python 2 wrote its byte strings with the same opcodes
        return content.decode("latin-1")


def _constant(value: Any) -> Callable[[_Machine], None]:
    return lambda machine: machine._push(value)


def _integer(width: int, signed: bool = False) -> Callable[[_Machine], None]:
    return lambda machine: machine._push(int.from_bytes(machine._read(width), "little", signed=signed))


def _long(width: int) -> Callable[[_Machine], None]:
    return lambda machine: machine._push(int.from_bytes(machine._content(width, _MAX_NUMBER), "little", signed=True))


def _text(width: int) -> Callable[[_Machine], None]:
    return lambda machine: machine._push(machine._content(width).decode("utf-8", "surrogatepass"))


def _byte_text(width: int) -> Callable[[_Machine], None]:
    return lambda machine: machine._push(_decoded(machine._content(width)))


def _raw(width: int) -> Callable[[_Machine], None]:
    return lambda machine: machine._push(machine._content(width))


def _tuple_of(count: int) -> Callable[[_Machine], None]:
    return lambda machine: machine._push(tuple([machine._pop() for _ in range(count)][::-1]))


_ACTIONS: dict[int, Callable[[_Machine], Any]] = {
    ord(code): action
    for code, action in {
        "\x80": lambda m: m._read(1),  # PROTO
        "\x95": _Machine.frame,
        "(": lambda m: m._push(_Mark()),
        "0": lambda m: m._stack.pop(),  # POP
        "1": _Machine._pop_to_mark,  # POP_MARK
        "2": lambda m: m._push(m._stack[-1]),  # DUP
        "N": _constant(None),
        "\x88": _constant(True),
        "\x89": _constant(False),
        "I": _Machine.text_number,
        "L": _Machine.text_number,
        "K": _integer(1),
        "M": _integer(2),
        "J": _integer(4, signed=True),
        "\x8a": _long(1),
        "\x8b": _long(4),
        "F": lambda m: m._push(float(m._line())),
        "G": lambda m: m._push(struct.unpack(">d", m._read(8))[0]),
        "S": _Machine.quoted,
        "U": _byte_text(1),
        "T": _byte_text(4),
        "V": lambda m: m._push(m._raw_line().decode("raw-unicode-escape")),
        "\x8c": _text(1),
        "X": _text(4),
        "\x8d": _text(8),
        "C": _raw(1),
        "B": _raw(4),
        "\x8e": _raw(8),
        "\x96": _raw(8),  # BYTEARRAY8
        "]": lambda m: m._push([]),
        "}": lambda m: m._push(Items()),
        "\x8f": lambda m: m._push([]),  # EMPTY_SET
        ")": _constant(()),
        "l": lambda m: m._push(m._pop_to_mark()),
        "d": lambda m: m._push(pairs(list(zip(*[iter(m._pop_to_mark())] * 2, strict=True)))),
        "t": lambda m: m._push(tuple(m._pop_to_mark())),
        "\x91": lambda m: m._push(m._pop_to_mark()),  # FROZENSET
        "\x85": _tuple_of(1),
        "\x86": _tuple_of(2),
        "\x87": _tuple_of(3),
        "a": _Machine.append,
        "e": lambda m: m.extend(m._pop_to_mark()),
        "\x90": lambda m: m.extend(m._pop_to_mark()),  # ADDITEMS, of a set
        "s": _Machine.set_item,
        "u": lambda m: m.update(m._pop_to_mark()),
        "p": lambda m: m.put(m.text_index()),
        "q": lambda m: m.put(m._number(1)),
        "r": lambda m: m.put(m._number(4)),
        "\x94": lambda m: m.put(len(m._memo)),  # MEMOIZE
        "g": lambda m: m.get(m.text_index()),
        "h": lambda m: m.get(m._number(1)),
        "j": lambda m: m.get(m._number(4)),
        "c": lambda m: m.find(m._line(), m._line()),
        "i": _Machine.instance,
        "\x93": lambda m: m.find(*[m._pop() for _ in range(2)][::-1]),  # STACK_GLOBAL
        "R": _Machine.reduce,
        "\x81": _Machine.new_object,
        "b": _Machine.build,
        "Q": _Machine.find_persistent,
    }.items()
}
_STOP = ord(".")
_OPCODE_NAMES = {ord(opcode.code): opcode.name for opcode in pickletools.opcodes}
