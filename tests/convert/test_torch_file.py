import collections
import struct
import time
import zipfile

import ml_dtypes
import numpy as np
import pytest
from weight_files import (
    CONTENT,
    EMPTY,
    FALSE,
    NONE,
    call,
    mapping,
    name,
    number,
    row,
    storage,
    tensor,
    text,
    torch_legacy,
    torch_tree,
    torch_zip,
)

from tlx.convert.read import open_weights
from tlx.errors import UnsafeFileError, WeightsError
from tlx.files.archive import Member

ROW = np.arange(12, dtype=np.float32)


@pytest.fixture
def opened(tmp_path):
    """Write a zip file of this tree and these storages, and open it."""

    def write(tree, storages=None, **options):
        storages = {"0": ROW.tobytes()} if storages is None else storages
        return open_weights(torch_zip(tmp_path / "made.pt", tree, storages, **options))

    return write


def one(source):
    [only] = source.tensors.values()
    return only.read()


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [
        ((3, 4), (4, 1), 0),
        ((4, 3), (1, 4), 0),
        ((2, 2), (6, 2), 1),
        ((), (), 11),
        ((5, 2), (0, 1), 3),
        ((1, 4), (1 << 61, 3), 2),
        ((0, 7), (7, 1), 0),
        ((2, 2, 3), (1, 2, 4), 0),
    ],
)
def test_views_are_read_by_size_stride_and_offset(opened, size, stride, offset):
    array = one(opened(mapping({"w": tensor(storage("0", 12), size, stride, offset)})))
    expected = np.empty(size, np.float32)
    for index in np.ndindex(*size):
        expected[index] = ROW[offset + sum(i * s for i, s in zip(index, stride, strict=True))]
    assert np.array_equal(array, expected)
    assert array.shape == size
    assert array.flags.c_contiguous


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [
        ((13,), (1,), 0),
        ((12,), (1,), 1),
        ((3, 4), (5, 1), 0),
        ((2,), (1 << 61,), 0),
        ((1,), (1,), 12),
        ((3,), (1, 1), 0),
        ((1 << 61,), (0,), 0),
        ((0, 1 << 61, 1 << 61), (1, 1, 1), 0),
    ],
)
def test_views_that_leave_their_storage_are_refused_when_opened(opened, refuses, size, stride, offset):
    with pytest.raises((WeightsError, UnsafeFileError), match="tensor 'w': "):
        opened(mapping({"w": tensor(storage("0", 12), size, stride, offset)}))


@pytest.mark.parametrize(("size", "stride", "offset"), [((-1,), (1,), 0), ((1,), (-1,), 3), ((1,), (1,), -1)])
def test_negative_sizes_are_refused(opened, refuses, size, stride, offset):
    with refuses(WeightsError, "damaged pickle", "_rebuild_tensor_v2"):
        opened(mapping({"w": tensor(storage("0", 12), size, stride, offset)}))


def test_a_view_that_repeats_few_bytes_into_many_is_refused_before_they_are_made(opened, refuses):
    with refuses(UnsafeFileError, "tensor 'w'", "claim to become 400000000000"):
        opened(mapping({"w": tensor(storage("0", 12), (10**6, 10**5), (0, 0))}))


@pytest.mark.parametrize(("count", "words"), [(11, "outside"), (13, "outside"), (1 << 61, "outside")])
def test_a_storage_of_another_size_than_announced_is_refused(opened, refuses, count, words):
    with refuses(WeightsError, "tensor 'w'", words):
        opened(mapping({"w": tensor(storage("0", count), (2,))}))


def test_a_missing_storage_is_refused(opened, refuses):
    with refuses(WeightsError, "tensor 'w'", "'7' is missing"):
        opened(mapping({"w": tensor(storage("7", 12), (2,))}))


TYPES = {
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "ComplexFloatStorage": np.complex64,
}


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("kind", TYPES)
def test_types_and_byte_orders(opened, kind, order):
    expected = np.array([1, 2, 3]).astype(TYPES[kind])
    content = expected.tobytes()
    if order == "big":
        unit = expected.itemsize // (2 if expected.dtype.kind == "c" else 1)
        content = np.frombuffer(content, f"u{unit}").byteswap().tobytes()
    array = one(opened(mapping({"w": tensor(storage("0", 3, kind), (3,))}), {"0": content}, order=order))
    assert array.dtype == expected.dtype
    assert np.array_equal(array, expected)


def test_bools_are_true_or_false(opened):
    assert one(opened(mapping({"w": tensor(storage("0", 3, "BoolStorage"), (3,))}), {"0": b"\0\1\2"})).tolist() == [
        False,
        True,
        True,
    ]


@pytest.mark.parametrize(
    ("tree", "word"),
    [
        (tensor(storage("0", 48, "QInt8Storage"), (48,)), "quantized"),
        (
            call(
                name("torch._utils", "_rebuild_qtensor"),
                storage("0", 12),
                number(0),
                row(number(2)),
                row(number(1)),
                NONE,
            ),
            "dequantize()",
        ),
        (
            call(
                name("torch._utils", "_rebuild_tensor_v3"),
                *(storage("0", 48, "ByteStorage"), number(0), row(number(48)), row(number(1))),
                *(FALSE, EMPTY, name("torch", "float8_e4m3fn")),
            ),
            "quantized",
        ),
    ],
)
def test_quantized_tensors_are_listed_and_refused_when_read(opened, refuses, tree, word):
    source = opened(mapping({"w": tree, "b": tensor(storage("0", 12), (2,))}) if word != "x" else tree)
    with refuses(WeightsError, "tensor 'w'", word):
        source.tensors["w"].read()


def test_names_are_keys_joined_by_dots_and_the_rest_is_named(opened):
    weight = tensor(storage("0", 12), (2,))
    tree = mapping(
        {
            "state_dict": mapping({"module.conv.weight": weight, "../x": weight, "<script>": weight}),
            "layers": b"](" + weight + row(weight, number(1)) + b"e",
            "losses": b"](" + number(1) * 3 + b"e",
            "best": call(name("numpy._core.multiarray", "scalar"), NONE, NONE),
            "empty": EMPTY,
        }
    )
    source = opened(tree)
    assert list(source.tensors) == [
        *("state_dict.module.conv.weight", "state_dict.../x", "state_dict.<script>", "layers.0", "layers.1.0"),
    ]
    assert source.others == ("layers.1.1", "losses", "best", "empty")


def test_two_tensors_of_one_name_are_refused(opened, refuses):
    weight = tensor(storage("0", 12), (2,))
    with refuses(WeightsError, "two tensors are named 'a.b'"):
        opened(mapping({"a.b": weight, "a": mapping({"b": weight})}))


@pytest.mark.parametrize(
    "tree",
    [
        b"]q\0h\0a",  # a list within itself
        b"]q\0" + b"](h\0h\0eq\0" * 60,  # each holds the one before it twice: 2**60 lists
        b"]" * 100 + b"a" * 99,
        b"}q\0" + text("k" * 600) + b"}q\1" + text("k" * 600) + b"]" + number(1) + b"ass",
        b"}" + text("k" * 900) + b"(" + b"N" * 200_000 + b"]ls",  # 200,000 names, each of 900 characters and more
    ],
)
def test_containers_without_end_are_refused(opened, refuses, tree):
    with refuses(WeightsError, "no weight file has such"):
        opened(tree)


def test_a_list_at_many_places_is_looked_through_once(opened):
    start = time.process_time()
    assert len(opened(b"(" + b"N" * 50_000 + b"lq\x000(" + b"h\0" * 50_000 + b"l").others) == 50_000
    assert time.process_time() - start < 20


def test_a_flipped_bit_is_noticed_by_its_crc(tmp_path, refuses):
    path = torch_zip(tmp_path / "a.pt", torch_tree(), {"0": CONTENT})
    content = bytearray(path.read_bytes())
    content[content.index(CONTENT) + 5] ^= 1
    path.write_bytes(content)
    source = open_weights(path)
    for listed in source.tensors.values():
        with refuses(WeightsError, "CRC", "archive/data/0"):
            listed.read()


def test_views_of_one_storage_read_it_whole_only_once(opened, monkeypatch):
    store = storage("0", 12)
    source = opened(mapping({"a": tensor(store, (2,)), "b": tensor(store, (3,), offset=2)}))
    counted = []
    chunks = Member.chunks
    monkeypatch.setattr(Member, "chunks", lambda self, *step: counted.append(self.name) or chunks(self, *step))
    assert source.tensors["a"].read().tolist() == [0, 1]
    assert source.tensors["b"].read().tolist() == [2, 3, 4]
    assert counted == ["archive/data/0"]


def test_packed_storages_are_read_unless_they_claim_too_much(opened, refuses):
    tree = mapping({"w": tensor(storage("0", 12), (12,))})
    assert np.array_equal(one(opened(tree, packing=zipfile.ZIP_DEFLATED)), ROW)
    zeros = bytes(100 << 20)
    with refuses(UnsafeFileError, "claim to become", "archive/data/0"):
        opened(mapping({"w": tensor(storage("0", len(zeros) // 4), (12,))}), {"0": zeros}, packing=zipfile.ZIP_DEFLATED)


@pytest.mark.parametrize("order", ["middle", "", "\n"])
def test_an_unknown_byte_order_is_refused(opened, refuses, order):
    with refuses(WeightsError, "byte order"):
        opened(torch_tree(), {"0": CONTENT}, order=order)


# The format before 1.6


def legacy(path, tree, *storages):
    return torch_legacy(path, tree, {str(index): (len(row), row.tobytes()) for index, row in enumerate(storages)})


def test_storages_of_several_types_and_views_of_storages(tmp_path):
    half = np.arange(5, dtype=np.float16)
    view = row(text("v"), number(4), number(6))
    tree = mapping(
        {
            "a": tensor(storage("1", 5, "HalfStorage", old=True), (5,)),
            "b": tensor(storage("0", 12, old=True), (12,)),
            "c": tensor(storage("0", 12, old=True, view=view), (2, 2), (3, 1), 1),
        }
    )
    source = open_weights(legacy(tmp_path / "a.th", tree, ROW, half))
    assert source.format == "torch-legacy"
    assert np.array_equal(source.tensors["a"].read(), half)
    assert np.array_equal(source.tensors["b"].read(), ROW)
    assert np.array_equal(source.tensors["c"].read(), [[5, 6], [8, 9]])


@pytest.mark.parametrize("view", [row(text("v"), number(4), number(9)), row(text("v"), number(13), number(0))])
def test_a_view_outside_its_storage_is_refused(tmp_path, refuses, view):
    tree = mapping({"w": tensor(storage("0", 12, old=True, view=view), (1,))})
    with refuses(WeightsError, "tensor 'w'", "outside its storage"):
        open_weights(legacy(tmp_path / "a.th", tree, ROW))


@pytest.mark.parametrize("count", [13, 1 << 40, -1, -(1 << 63)])
def test_a_storage_longer_than_the_file_is_refused(tmp_path, refuses, count):
    tree = mapping({"w": tensor(storage("0", 12, old=True), (12,))})
    path = legacy(tmp_path / "a.th", tree, ROW)
    content = path.read_bytes()
    path.write_bytes(content.replace(struct.pack("<q", 12) + ROW.tobytes(), struct.pack("<q", count) + ROW.tobytes()))
    with refuses(WeightsError, "cut short or damaged"):
        open_weights(path)


# Compared with PyTorch


def trees(torch):
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(4, 6, generator=generator)
    parameter = torch.nn.Parameter(base.clone())
    parameter.note = "an attribute"
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.zeros(2, 3, 5, 5)).sum().backward()
    optimizer.step()
    dtypes = (
        torch.float64,
        torch.float16,
        torch.bfloat16,
        torch.int8,
        torch.uint8,
        torch.int64,
        torch.bool,
        torch.uint16,
    )
    return {
        "state_dict": model.state_dict(),
        "ordered": collections.OrderedDict(a=base, b=base.t(), c=base[1:, ::2], d=base[0].expand(3, 6)),
        "nested": {
            "list": [base, (base, 3)],
            "best": np.float64(0.5),
            "set": {1, 2},
            "device": base.device,
            "size": base.shape,
        },
        "parameters": {"plain": torch.nn.Parameter(base), "noted": parameter},
        "types": {str(dtype): base.to(dtype) for dtype in dtypes} | {"complex": torch.complex(base, base)},
        "optimizer": optimizer.state_dict(),
        "bytes": {
            "b": b"bytes",
            "none": None,
            "complex": 1j,
            "dtype": torch.float32,
            "empty": torch.zeros(0, 3),
            "scalar": base[0, 0],
        },
    }


def expected_tensors(torch, value, prefix=""):
    if isinstance(value, torch.Tensor):
        yield prefix, value.detach()
    elif isinstance(value, dict):
        for key, child in value.items():
            yield from expected_tensors(torch, child, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, (list, tuple)):
        for key, child in enumerate(value):
            yield from expected_tensors(torch, child, f"{prefix}.{key}")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("which", ["state_dict", "ordered", "nested", "parameters", "types", "optimizer", "bytes"])
def test_reads_what_pytorch_writes(tmp_path, torch, which, zipped):
    tree = trees(torch)[which]
    if not zipped and which == "types":
        del tree["torch.uint16"]
    torch.save(tree, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    source = open_weights(tmp_path / "a.pt")
    assert source.format == ("torch-zip" if zipped else "torch-legacy")
    expected = dict(expected_tensors(torch, tree))
    assert list(source.tensors) == list(expected)
    for key, value in expected.items():
        array = source.tensors[key].read()
        assert array.dtype.name == str(value.dtype).removeprefix("torch.")
        comparable = value.double().numpy() if value.dtype == torch.bfloat16 else value.numpy()
        assert np.array_equal(array.astype(np.float64) if value.dtype == torch.bfloat16 else array, comparable)
        assert array.shape == tuple(value.shape)


@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
def test_reads_every_protocol_that_pytorch_writes(tmp_path, torch, protocol):
    torch.save({"w": torch.ones(2), "flag": True, "n": 1 << 70}, tmp_path / "a.pt", pickle_protocol=protocol)
    assert one(open_weights(tmp_path / "a.pt")).tolist() == [1, 1]


def test_what_pytorch_cannot_give_as_plain_arrays_is_refused_when_read(tmp_path, torch, refuses):
    tensors = {
        "sparse": torch.eye(3).to_sparse(),
        "conjugated": torch.zeros(2, dtype=torch.complex64).conj(),
        "float8": torch.zeros(2).to(torch.float8_e4m3fn),
    }
    torch.save(tensors, tmp_path / "a.pt")
    source = open_weights(tmp_path / "a.pt")
    for key, word in {"sparse": "to_dense()", "conjugated": "resolve_conj()", "float8": "quantized"}.items():
        with refuses(WeightsError, f"tensor '{key}'", word):
            source.tensors[key].read()


def test_a_whole_model_is_refused_with_the_cure(tmp_path, torch, refuses):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "a.pt")
    with refuses(UnsafeFileError, "torch.nn.modules.linear.Linear", "state_dict()"):
        open_weights(tmp_path / "a.pt")


def test_reads_a_published_file_as_pytorch_does(torch, shared_data):
    path = shared_data / "weights" / "resnet20-12fca82f.th"
    source = open_weights(path)
    expected = dict(expected_tensors(torch, torch.load(path, weights_only=True, map_location="cpu")))
    assert list(source.tensors) == list(expected)
    assert all(np.array_equal(source.tensors[key].read(), value.numpy()) for key, value in expected.items())


def test_lists_a_published_file(shared_data):
    source = open_weights(shared_data / "weights" / "resnet20-12fca82f.th")
    assert source.format == "torch-legacy"
    assert source.others == ("best_prec1",)
    assert source.tensors["state_dict.module.conv1.weight"].shape == (16, 3, 3, 3)
    assert sum(np.prod(tensor.shape, dtype=int) for tensor in source.tensors.values()) == 271098
