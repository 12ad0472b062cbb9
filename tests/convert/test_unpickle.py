import argparse
import collections
import contextlib
import datetime
import decimal
import enum
import io
import os
import pathlib
import pickle
import pickletools
import struct
import time
import types
import uuid

import numpy as np
import pytest
from weight_files import EMPTY, NONE, call, mapping, name, number, pickled, row, storage, text

from tlx.convert.pickle_names import Items, Opaque
from tlx.convert.unpickle import unpickle
from tlx.errors import UnsafeFileError, WeightsError

LIST, TUPLE = b"]", b")"
WEIGHT_FREE = {
    "f": 1.5,
    "i": [0, 255, 65536, -1, 1 << 80, -(1 << 80)],
    "s": ["", "µ", "x" * 300],
    "t": ((), (1,), (1, 2, 3, 4)),
    "n": [None, True, False],
}


def read(content):
    return unpickle(io.BytesIO(content), len(content), "a.pt")


def plain(value):
    if isinstance(value, Items):
        return {key: plain(child) for key, child in value}
    return type(value)(map(plain, value)) if isinstance(value, (list, tuple)) else value


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_are_read_as_python_reads_them(protocol):
    assert plain(read(pickle.dumps(WEIGHT_FREE, protocol))) == WEIGHT_FREE


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_bytes_and_sets_are_read(protocol):
    content = read(pickle.dumps([b"bytes", {1}, frozenset({2})], protocol))
    assert content[1:] == [[1], [2]]


@pytest.mark.parametrize(
    ("tree", "word"),
    [
        (call(name("posix", "system"), text("touch canary")), "posix.system"),
        (call(name("builtins", "eval"), text("1")), "builtins.eval"),
        (call(name("__builtin__", "getattr"), text("a"), text("b")), "getattr"),
        (call(name("torch.storage", "_load_from_bytes"), text("")), "torch.storage._load_from_bytes"),
        (name("subprocess", "Popen") + row(text("touch canary")) + b"\x81", "subprocess.Popen"),
        (name("functools", "partial") + row(name("argparse", "Namespace")) + b"\x81", "functools.partial"),
        (name("argparse", "Namespace") + b")\x81" + text("a") + number(1) + b"s", "sets items of a opaque"),
        (name("argparse", "Namespace") + text("a") + number(1) + b"s", "sets items of a argparse.Namespace"),
        (name("argparse", "Namespace") + mapping({}) + b"b", "sets the state of a argparse.Namespace"),
        (name("numpy", "float64") + TUPLE + b"\x81", "makes a numpy.float64"),
        (call(name("builtins", "int"), text("7")), "calls a builtins.int"),
        (b"]" + TUPLE + b"\x81", "makes a list"),
        (EMPTY + b"2" + row(NONE, mapping({"__class__": name("argparse", "Namespace")})) + b"b", "state of a items"),
        (text("posix") + text("system") + b"\x93", "posix.system"),
        (number(1) + number(2) + b"\x93", "?"),
        (name("torch\x1b[31m", "x"), "\\x1b"),
        (b"(iposix\nsystem\n", "posix.system"),
        (b"(icollections\nOrderedDict\n", "INST"),
        (b"(" + name("collections", "OrderedDict") + b"o", "OBJ"),
        (name("collections", "OrderedDict") + b")\x81", "makes a collections.OrderedDict by NEWOBJ"),
        (name("collections", "OrderedDict") + b")}\x92", "NEWOBJ_EX"),
        (b"\x82\x01", "EXT1"),
        (b"\x83\x01\0", "EXT2"),
        (b"\x84\x01\0\0\0", "EXT4"),
        (b"\x97", "NEXT_BUFFER"),
        (b"Pstorage\n", "PERSID"),
        (name("torch", "FloatStorage") + text("a") + number(1) + b"s", "sets items of a torch.FloatStorage"),
        (LIST + b"(" + text("a") + number(1) + b"u", "list"),
        (EMPTY + number(1) + b"a", "items"),
        (TUPLE + b"(" + number(1) + b"e", "tuple"),
        (storage("0", 3) + text("a") + number(1) + b"s", "storage"),
        (LIST + mapping({"a": NONE}) + b"b", "sets the state of a list"),
        (EMPTY + row(NONE, mapping({})) + b"b", "sets the state of a items"),
        (name("torch", "FloatStorage") + mapping({}) + b"b", "state"),
        (call(name("torch", "FloatStorage"), number(3)), "torch.FloatStorage"),
        (text("a") + TUPLE + b"R", "calls a str"),
    ],
)
def test_whatever_could_run_code_is_refused(refuses, tree, word):
    with refuses(UnsafeFileError, "a.pt", word):
        read(pickled(tree))


def test_the_opcodes_that_are_refused():
    refused = set()
    for opcode in pickletools.opcodes:
        with contextlib.suppress(WeightsError):
            try:
                read(opcode.code.encode("latin-1") + b"collections\nOrderedDict\n.")
            except UnsafeFileError as error:
                refused |= {opcode.name} if f"uses {opcode.name}," in str(error) else set()
    buffers = {"NEXT_BUFFER", "READONLY_BUFFER"}
    assert refused == {"EXT1", "EXT2", "EXT4", "INST", "OBJ", "NEWOBJ_EX", "PERSID"} | buffers


@pytest.mark.parametrize(
    "claim",
    [
        b"\x8e" + struct.pack("<Q", 10**12),
        b"\x8e" + struct.pack("<Q", (1 << 64) - 1),
        b"\x8d" + struct.pack("<Q", 10**12),
        b"\x96" + struct.pack("<Q", 10**12),
        b"\x95" + struct.pack("<Q", 10**12),
        b"\x8b" + struct.pack("<i", -1),
        b"\x8b" + struct.pack("<i", (1 << 31) - 1),
        b"B" + struct.pack("<I", (1 << 32) - 1),
        b"X" + struct.pack("<I", (1 << 32) - 1),
        b"T" + struct.pack("<I", 1 << 20),
    ],
)
def test_claims_are_refused_before_anything_is_allocated(refuses, claim):
    with refuses(UnsafeFileError, "claims"):
        read(b"\x80\x04" + claim + b".")


@pytest.mark.parametrize(
    "content",
    [
        *(
            b"",
            b".",
            b"\x80",
            b"(.",
            b"0.",
            b"h\0.",
            b"(1.",
            b"a.",
            b"s.",
            b"u.",
            b"t.",
            b"R.",
            b"Q.",
            b"b.",
            b"\xff.",
            b"N",
        ),
        *(b"I1x\n.", b"Ix", b"I" + b"9" * 2000 + b"\n.", b"g-1\n.", b"p99999999999\n.", b"Sa\n.", b"F\n."),
        *(b"X\1\0\0\0\xff.", b"(Nd.", b"\x85.", b"c\xff\n\n."),
        pickled(call(name("torch", "Size"), text("a"))),
        pickled(call(name("collections", "OrderedDict"), number(3))),
        pickled(call(name("torch._utils", "_rebuild_tensor_v2"))),
        pickled(row(text("storage")) + b"Q"),
        pickled(row(text("module"), name("torch", "FloatStorage"), text("0"), text("cpu"), number(3)) + b"Q"),
        pickled(row(text("storage"), text("FloatStorage"), text("0"), text("cpu"), number(3)) + b"Q"),
        pickled(storage("0", -1)),
    ],
)
def test_a_damaged_pickle_is_one_error(refuses, content):
    with refuses(WeightsError, "a.pt: damaged pickle", "fetch the file again"):
        read(content)


def test_reading_stops_at_the_end_of_the_pickle():
    stream = io.BytesIO(pickled(number(1)) + pickled(number(2)) + b"rest")
    assert [unpickle(stream, 100, "a.pt") for _ in range(2)] == [1, 2]
    assert stream.read() == b"rest"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"]" * 6_000_000, marks=pytest.mark.slow),
        b"(" + b"N" * 6_000_000 + b"t.",
        # a list of 2,000 copied 10,000 times by a call
        b"]("
        + b"N" * 2000
        + b"eq\0("
        + (name("builtins", "list") + b"q\1" + b"h\0\x85R")
        + b"h\1h\0\x85R" * 10_000
        + b"t.",
        # one row of 2,000 arguments for 10,000 calls
        (b"(" + b"N" * 2000 + b"tq\0" + name("builtins", "complex") + b"q\1") + b"h\1h\0R" * 10_000 + b".",
    ],
    ids=["lists", "values", "copies", "arguments"],
)
def test_the_work_is_bounded(refuses, content):
    start = time.process_time()
    with refuses(WeightsError, "steps"):
        read(content)
    assert time.process_time() - start < 60


def test_chosen_keys_cost_nothing():
    modulus = (1 << 61) - 1  # integers that differ by it have one hash: in a dict, n of them would take n**2 steps
    keys = b"".join(number(index * modulus) + NONE for index in range(1, 20_000))
    start = time.process_time()
    assert len(read(pickled(b"}(" + keys + b"u"))) == 19_999
    assert time.process_time() - start < 20


@pytest.mark.slow
def test_deep_nesting_does_not_overflow_the_stack(run_child):
    program = """if True:
        import io
        from tlx.convert.unpickle import unpickle
        for content in (b")" + b"\\x85" * 1_000_000 + b".", b"]" * 1_000_000 + b"a" * 999_999 + b"."):
            unpickle(io.BytesIO(content), len(content), "a")
        print("done")
        """
    assert run_child(program).strip() == "done"


def test_what_makes_tensors_cannot_stand_within_itself(refuses):
    again = b"h\0(h\0h\1"  # asks for itself as the function that makes the tensor
    content = name("torch._tensor", "_rebuild_from_type_v2") + b"q\0" + name("torch", "Tensor") + b"q\1" + again
    with refuses(WeightsError, "a.pt: damaged pickle", "_rebuild_from_type_v2"):
        read(content + b"(h\0h\1" * 5000 + b")" + b"Nt" * 5000 + b"NtR.")


class Level(enum.IntEnum):
    LOW = 1


Point = collections.namedtuple("Point", "x")

BESIDE = {
    "args": argparse.Namespace(lr=0.1, layers=[1, 2], nested=argparse.Namespace(deep=True)),
    "config": types.SimpleNamespace(a=1),
    "counts": collections.Counter("aab"),
    "milestones": collections.defaultdict(list, {"a": [1]}),
    "recent": collections.deque([1, 2], maxlen=3),
    "out": pathlib.PurePosixPath("/runs/1"),
    "path": pathlib.Path("runs"),
    "when": datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC),
    "took": datetime.timedelta(seconds=3),
    "day": datetime.date(2024, 1, 2),
    "id": uuid.UUID(int=7),
    "best": np.float64(0.5),
    "seen": np.int64(7),
    "means": np.zeros(3),
    "scale": decimal.Decimal("0.1"),
    "crop": slice(1, 2),
}


@pytest.mark.parametrize(
    ("key", "protocol"),
    [(key, protocol) for key in BESIDE for protocol in (2, 4, 5)] + [("args", 0), ("config", 1)],
)
def test_plain_objects_beside_weights_are_read_as_data(key, protocol):
    """As training scripts keep them: what is no dict or list stands there as one value that holds nothing."""
    found = dict(read(pickle.dumps({"epoch": 3, key: BESIDE[key], "last": 4}, protocol)))
    assert (found["epoch"], found["last"]) == (3, 4)
    if isinstance(BESIDE[key], dict):
        assert plain(found[key]) == BESIDE[key]
    elif isinstance(BESIDE[key], collections.deque):
        assert found[key] == [1, 2]
    else:
        assert isinstance(found[key], Opaque)
        assert vars(found[key]).keys() == {"kind"}


@pytest.mark.parametrize("value", [Level.LOW, Point(1), print], ids=str)
def test_classes_and_functions_of_ones_own_are_refused_with_the_way_out(refuses, value):
    with refuses(UnsafeFileError, "could run code", "torch.load(FILE, weights_only=False)['state_dict']"):
        read(pickle.dumps({"a": value}, 2))


def test_what_stands_beside_weights_hides_no_call(refuses, tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'canary'}",)

    hiding = [
        argparse.Namespace(a=Evil()),
        types.SimpleNamespace(a=Evil()),
        collections.defaultdict(list, a=Evil()),
        collections.deque([Evil()]),
        np.array([Evil()]),
    ]
    for value in hiding:
        for protocol in (2, pickle.HIGHEST_PROTOCOL):
            with refuses(UnsafeFileError, "posix.system"):
                read(pickle.dumps({"args": value}, protocol))
    assert not (tmp_path / "canary").exists()


def test_nothing_is_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'canary'}",)

    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(UnsafeFileError, match=r"posix\.system"):
            read(pickle.dumps({"a": [Evil()]}, protocol))
    assert not (tmp_path / "canary").exists()
