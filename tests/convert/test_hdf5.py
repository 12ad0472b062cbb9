import random
import resource
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest
from weight_files import BIAS, KERNEL, legacy_h5

from tlx.convert.hdf5 import read_tree
from tlx.errors import UnsafeFileError, WeightsError
from tlx.files.opening import RegularFile, Stretch

LIBVERS = pytest.mark.parametrize("libver", ["earliest", "latest"])


@pytest.fixture
def tree(tmp_path):
    """Write a file with a function of the open file, and list it."""

    def write(fill, **options):
        with h5py.File(tmp_path / "a.h5", "w", **options) as file:
            fill(file)
        return listed(tmp_path / "a.h5")

    return write


def listed(path):
    file = RegularFile.at(path)
    return read_tree(Stretch(file, 0, file.size), str(path))


@LIBVERS
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunks": (2, 1, 2, 3)},
        {"compression": "gzip"},
        {"compression": "gzip", "shuffle": True},
        {"shuffle": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", ["f4", ">f4", "f8", "f2", "i8", "u1", "?", ">u2"])
def test_datasets_are_read_as_h5py_reads_them(tree, libver, options, dtype):
    array = (KERNEL * 100).astype(dtype)
    dataset = tree(lambda file: file.create_dataset("g/w", data=array, **options), libver=libver).datasets["g", "w"]
    assert dataset.shape == array.shape
    assert dataset.dtype == array.dtype.name
    assert dataset.read().dtype == array.dtype.newbyteorder("=")
    assert np.array_equal(dataset.read(), array)


@LIBVERS
@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1,)])
def test_scalars_and_arrays_of_nothing_are_read(tree, libver, shape):
    array = tree(lambda file: file.create_dataset("w", data=np.ones(shape)), libver=libver).datasets[("w",)].read()
    assert np.array_equal(array, np.ones(shape))
    assert array.shape == shape


@LIBVERS
def test_attributes_are_listed_where_they_are_text(tree, libver):
    def fill(file):
        file.attrs["one"] = "µ"
        file.attrs["fixed"] = np.array([b"a", b"bc"])
        file.attrs["many"] = ["x", "yz"]
        file.attrs["none"] = h5py.Empty("f4")
        file.attrs["nothing"] = []
        file.attrs["number"] = 3
        file.create_dataset("w", data=1.0).attrs["dtype"] = "bfloat16"

    texts = tree(fill, libver=libver).texts
    assert texts[()] == {"one": ("µ",), "fixed": ("a", "bc"), "many": ("x", "yz"), "none": (), "nothing": ()}
    assert texts[("w",)] == {"dtype": ("bfloat16",)}


LEADING_OUT = {  # kinds, and what the refusal names
    "external": ["secret"],
    "external link": ["secret", "link"],
    "soft link": ["/elsewhere"],
    "virtual": ["virtual"],
    "unlimited virtual": ["virtual"],
}


def write_leading_out(path, kind, libver):
    """Write a file whose 'conv/w' is of the file 'secret' beside it, or of a place that does not exist."""
    with h5py.File(path.with_name("secret"), "w") as file:
        file["w"] = np.arange(4, dtype="f4")
    with h5py.File(path, "w", libver=libver) as file:
        group = file.create_group("conv")
        if kind == "external":
            group.create_dataset("w", (4,), "f4", external=[("secret", 0, 16)])
        elif kind == "external link":
            group["w"] = h5py.ExternalLink("secret", "/w")
        elif kind == "soft link":
            group["w"] = h5py.SoftLink("/elsewhere")
        else:
            most = (None,) if kind.startswith("unlimited") else (4,)
            layout = h5py.VirtualLayout((4,), "f4", maxshape=most)
            source = h5py.VirtualSource("secret", "w", (4,), "f4", maxshape=most)
            everything = slice(h5py.h5s.UNLIMITED if most == (None,) else 4)
            layout[everything] = source[everything]
            group.create_virtual_dataset("w", layout)


@LIBVERS
@pytest.mark.parametrize("kind", LEADING_OUT)
def test_what_leads_out_is_refused(tmp_path, refuses, libver, kind):
    write_leading_out(tmp_path / "a.h5", kind, libver)
    with refuses(UnsafeFileError, tmp_path / "a.h5", "'conv/w'", *LEADING_OUT[kind]):
        listed(tmp_path / "a.h5")


@pytest.mark.slow
def test_what_leads_out_is_never_opened(tmp_path, run_child):
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    names = []
    for libver in ("earliest", "latest"):
        for kind in LEADING_OUT:
            names.append(f"{libver} {kind}.h5")
            write_leading_out(tmp_path / names[-1], kind, libver)
    program = """if True:
        import sys
        from tlx.convert.read import open_weights
        for name in sys.argv[1:]:
            try:
                open_weights(name)
            except ValueError as error:
                print(error.exit_code)
        """
    trace = ("strace", "-f", "-e", "trace=file", "-o", str(tmp_path / "trace"))
    assert run_child(program, *names, prefix=trace).split() == ["8"] * len(names)
    opened = (tmp_path / "trace").read_text()
    assert [name for name in names if name not in opened] == []
    assert '"secret"' not in opened
    assert f'{tmp_path}/secret"' not in opened


@pytest.mark.parametrize("chunks", [(1, 1), (1000, 1000)])
def test_a_shape_that_no_file_could_fill_is_refused_before_allocation(tmp_path, refuses, chunks):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset("w", (50_000_000, 50_000_000), "f4", chunks=chunks, compression="gzip")
        dataset[0, 0] = 1
    assert (tmp_path / "a.h5").stat().st_size < 10_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with refuses(UnsafeFileError, "'w'", "claim to become 10000000000000000"):
        listed(tmp_path / "a.h5")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_a_chunk_that_inflates_to_more_than_it_should_is_refused_at_that_size(tmp_path, refuses):
    import zlib

    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset("w", (4, 4), "f4", chunks=(4, 4), compression="gzip")
        dataset.id.write_direct_chunk((0, 0), zlib.compress(bytes(100 << 20)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with refuses(WeightsError, "'w'", "a chunk of 65 bytes, expected 64"):
        listed(tmp_path / "a.h5").datasets[("w",)].read()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


@LIBVERS
@pytest.mark.parametrize("options", [{}, {"chunks": (2,)}, {"chunks": (2,), "compression": "gzip"}], ids=str)
def test_a_dataset_never_written_is_refused(tree, refuses, libver, options):
    with refuses(WeightsError, "'w'", "no stored data"):
        tree(lambda file: file.create_dataset("w", (4,), "f4", **options), libver=libver)


def test_a_dataset_written_in_part_is_refused_when_read(tree, refuses):
    def fill(file):
        file.create_dataset("w", (4,), "f4", chunks=(2,))[:2] = 1

    with refuses(WeightsError, "'w'", "no stored data at (2,)"):
        tree(fill).datasets[("w",)].read()


@pytest.mark.parametrize(
    "options",
    [{"compression": "lzf"}, {"fletcher32": True}, {"scaleoffset": 2}],
    ids=lambda options: next(iter(options)),
)
def test_other_filters_are_refused_without_looking_for_a_plugin(tree, refuses, options):
    with refuses(WeightsError, "'w'", "h5repack"):
        tree(lambda file: file.create_dataset("w", data=BIAS, chunks=(2,), **options))


@pytest.mark.parametrize(
    "value",
    [
        np.array(["text"], dtype=h5py.string_dtype()),
        np.zeros(2, [("a", "f4"), ("b", "i4")]),
        np.array([1 + 2j]),
        np.zeros(2, "V3"),
    ],
    ids=["text", "compound", "complex", "opaque"],
)
def test_what_is_no_array_of_numbers_is_listed_and_refused_when_read(tree, refuses, value):
    with refuses(WeightsError, "'w'", "are not read"):
        tree(lambda file: file.create_dataset("w", data=value)).datasets[("w",)].read()


def test_names_are_only_names(tree):
    names = ["..", "<script>", "new\nline", "x" * 2000]
    found = tree(lambda file: [file.create_dataset(f"{name}/w", data=1.0) for name in names])
    assert {path[0] for path in found.datasets} == set(names)


def test_cycles_and_depth_are_refused(tree, refuses):
    def cycle(file):
        file.create_group("a")["b"] = file["/"]

    with refuses(WeightsError, "several links"):
        tree(cycle)
    with refuses(WeightsError, "levels of groups"):
        tree(lambda file: file.create_dataset("/".join("g" * 100), data=1.0))


def test_a_type_of_its_own_is_refused(tree, refuses):
    def fill(file):
        file["t"] = np.dtype("f4")

    with refuses(WeightsError, "'t'", "neither a group nor a dataset"):
        tree(fill)


def test_a_userblock_is_refused(tree, refuses):
    with refuses(WeightsError, "HDF5"):
        tree(lambda file: file.create_dataset("w", data=1.0), userblock_size=512)


@pytest.mark.slow
def test_bit_flips_never_end_the_process(tmp_path, run_child):
    legacy_h5(tmp_path / "a.h5", {"conv": {"conv/kernel:0": KERNEL, "conv/bias:0": BIAS}}, model_config='{"a": 1}')
    content = (tmp_path / "a.h5").read_bytes()
    chance = random.Random(0)
    for index in range(300):
        flipped = bytearray(content)
        flipped[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        (tmp_path / f"{index}.h5").write_bytes(flipped)
    program = """if True:
        from tlx.convert.read import open_weights
        from tlx.errors import TlxError
        codes = []
        for index in range(300):
            try:
                for tensor in open_weights(f"{index}.h5").tensors.values():
                    tensor.read()
                codes.append(0)
            except TlxError as error:
                codes.append(error.exit_code)
        print(len(codes), set(codes) <= {0, 3, 8}, codes.count(3) > 10)
        """
    assert run_child(program).split() == ["300", "True", "True"]


def test_a_file_on_a_medium_that_cannot_be_locked_is_read(tmp_path):
    path = legacy_h5(tmp_path / "a.h5", {"conv": {"conv/bias": BIAS}})
    holder = """if True:
        import fcntl, sys, time
        file = open(sys.argv[1], "rb")
        fcntl.flock(file, fcntl.LOCK_EX)
        print("locked", flush=True)
        time.sleep(60)
        """
    with subprocess.Popen([sys.executable, "-c", holder, str(path)], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert listed(path).datasets
        process.kill()


@pytest.mark.slow
def test_reading_one_dataset_costs_its_own_size(tmp_path, run_child):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["layer_names"] = ["conv"]
        file.create_group("conv").attrs["weight_names"] = [f"w{index}" for index in range(4)]
        for index in range(4):
            file["conv"].create_dataset(f"w{index}", data=np.full((10 << 20,), index, "f4"))
    program = """if True:
        import re
        import h5py
        from tlx.convert.read import open_weights
        def peak():  # megabytes; unlike ru_maxrss not inherited
            return int(re.search("VmHWM:(.*)kB", open("/proc/self/status").read())[1]) / 1024
        start = peak()
        source = open_weights("a.h5")
        opened = peak()
        for tensor in source.tensors.values():
            tensor.read()
        print(opened - start < 8, 30 < peak() - start < 60)
        """
    assert run_child(program).split() == ["True", "True"]


@LIBVERS
@pytest.mark.parametrize("owner", ["/", "w"])
def test_a_text_that_claims_more_than_the_file_is_refused_before_allocation(tmp_path, libver, owner):
    path, text = tmp_path / "a.h5", "a text of some length"
    with h5py.File(path, "w", libver=libver) as file:
        (file.create_dataset("w", data=1.0) if owner == "w" else file).attrs["note"] = [text, text]
    content = path.read_bytes()
    claim = len(text).to_bytes(4, "little")
    found = [
        at for at in range(len(content)) if content[at : at + 4] == claim and content[at + 12 : at + 16] == b"\2\0\0\0"
    ]
    assert len(found) == 1  # the second element: length, the heap's address, index 2
    path.write_bytes(content[: found[0]] + (2**31).to_bytes(4, "little") + content[found[0] + 4 :])
    with pytest.raises(WeightsError, match=f"'{owner}': an attribute claims more bytes than the file has|checksum"):
        listed(path)
