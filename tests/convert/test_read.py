import gzip
import io
import os
import pickle
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from marks import slow_but
from weight_files import BIAS, KERNEL, SAMPLES

from tlx.convert.read import open_weights
from tlx.errors import UnsafeFileError, WeightsError

ROOT = Path(__file__).resolve().parents[2]
SAMPLE_FILES = [(form, name, write) for form, files in SAMPLES.items() for name, write in files]
MODELS = (
    "model.h5",
    "packed.h5",
    "model.weights.h5",
    "model.keras",
    "model.pt",
    "model.th",
    "model.safetensors",
    "model.npz",
)


def read_all(path):
    return [tensor.read() for tensor in open_weights(path).tensors.values()]


def table(content):
    return content.ljust(100, b"\0") + bytes.fromhex("57fb808b247547db")


@pytest.mark.parametrize(
    ("form", "name", "write"), SAMPLE_FILES, ids=lambda value: value if isinstance(value, str) else ""
)
@pytest.mark.parametrize("suffix", ["", ".bin"])
def test_a_format_is_known_by_its_content(tmp_path, form, name, write, suffix):
    write(tmp_path / name)
    path = (tmp_path / name).rename(tmp_path / (name + suffix))
    source = open_weights(path)
    assert source.format == form
    assert source.path == path
    assert source.files == (path,)
    assert list(source.tensors) == [tensor.name for tensor in source.tensors.values()]


@pytest.mark.parametrize(
    ("form", "name", "write"), SAMPLE_FILES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_arrays_are_as_listed_native_contiguous_and_the_callers_own(tmp_path, form, name, write):
    write(tmp_path / name)
    for tensor in open_weights(tmp_path / name).tensors.values():
        array = tensor.read()
        assert array.shape == tensor.shape
        assert array.dtype.name == tensor.dtype
        assert array.dtype.isnative
        assert array.flags.c_contiguous
        assert array is not tensor.read()


@pytest.mark.parametrize("name", MODELS)
def test_every_format_brings_the_same_convolution(tmp_path, name):
    write = next(write for _, sample, write in SAMPLE_FILES if sample == name)
    write(tmp_path / name)
    kernel, bias = [
        tensor.read() for tensor in open_weights(tmp_path / name).tensors.values() if "conv" in tensor.name
    ][:2]
    transposed = "torch" in open_weights(tmp_path / name).format
    assert np.array_equal(kernel, KERNEL.transpose(3, 2, 0, 1) if transposed else KERNEL)
    assert np.array_equal(bias, BIAS.astype(np.float16) if "safetensors" in name else BIAS)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.h5", b"", ["an empty file"]),
        ("a.h5", b"<!DOCTYPE html><html>", ["HTML", "whatever .h5 says"]),
        ("a.pt", b"\n  <HTML><head>", ["HTML"]),
        ("a.safetensors", b"version https://git-lfs.github.com/spec/v1\noid", ["Git LFS pointer", "git lfs pull"]),
        ("a.pth", gzip.compress(b"x", mtime=0), ["gzip"]),
        ("a.png", b"\x89PNG\r\n\x1a\n", ["PNG"]),
        ("a.txt", "Zugriff verweigert: über".encode(), ["a text that begins 'Zugriff verweigert"]),
        ("a.txt", b"Not Found\x1b[31m", ["0x4e6f7420"]),
        ("a.npy", b"\x93NUMPY\1\0", [".npy", ".npz"]),
        ("a.bin", b"\0\1\2\3", ["0x00010203"]),
        ("a.json", b'{"model": 1}', ["weight_map"]),
        ("a.json", b'{"weight_map": [', ["damaged"]),
        ("a.pkl", pickle.dumps({"w": [1.0]}), ["a pickle"]),
        ("a.pkl", pickle.dumps({"w": [1.0]}, protocol=0), []),
        ("ckpt.meta", table(b"x"), ["TensorFlow"]),
    ],
    ids=str,
)
def test_what_is_no_weight_file_is_named(tmp_path, refuses, name, content, words):
    (tmp_path / name).write_bytes(content)
    with refuses(WeightsError, tmp_path / name, *words):
        open_weights(tmp_path / name)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_would_run_code_is_refused(tmp_path, refuses, protocol):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'canary'}",)

    (tmp_path / "a.pth").write_bytes(pickle.dumps(Evil(), protocol))
    with refuses(UnsafeFileError, "posix.system"):
        open_weights(tmp_path / "a.pth")
    assert not (tmp_path / "canary").exists()


def test_a_tar_file_is_refused(tmp_path, refuses):
    with tarfile.open(tmp_path / "a.pt", "w") as tar:
        tar.add(__file__, "storages")
    with refuses(WeightsError, "tar file", "0.1.10"):
        open_weights(tmp_path / "a.pt")


def test_a_zip_file_without_weights_is_refused(tmp_path, refuses):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("image.png", b"")
    with refuses(WeightsError, "zip file", "safetensors"):
        open_weights(tmp_path / "a.zip")


@pytest.mark.parametrize("name", ["missing.h5", "nul\0byte.h5", "x" * 300])
def test_a_file_that_cannot_be_opened_is_refused(tmp_path, refuses, name):
    with refuses(WeightsError, "check the path"):
        open_weights(tmp_path / name)


def test_folders_and_devices_are_refused(tmp_path, refuses):
    os.mkfifo(tmp_path / "pipe.h5")
    with refuses(WeightsError, "not a regular file"):
        open_weights(tmp_path / "pipe.h5")
    with refuses(WeightsError, "not a regular file"):
        open_weights("/dev/zero")
    with refuses(WeightsError, "a folder"):
        open_weights(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with refuses(WeightsError, "SavedModel"):
        open_weights(tmp_path)


@pytest.mark.parametrize(
    ("form", "name", "write"), SAMPLE_FILES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_file_cut_anywhere_is_refused_or_still_whole(tmp_path, form, name, write):
    write(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    for length in sorted(
        {0, 1, 8, 100, len(content) // 2, len(content) - 1, *range(0, len(content), len(content) // 25)}
    ):
        (tmp_path / name).write_bytes(content[:length])
        with pytest.raises(WeightsError):
            read_all(tmp_path / name)


@pytest.mark.parametrize("name", MODELS)
def test_a_file_that_changes_between_opening_and_reading_is_noticed(tmp_path, refuses, name):
    write = next(write for _, sample, write in SAMPLE_FILES if sample == name)
    write(tmp_path / name)
    tensor = next(iter(open_weights(tmp_path / name).tensors.values()))
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes() + b"x")
    with refuses(WeightsError, "changed since it was opened"):
        tensor.read()


def test_reading_needs_neither_torch_nor_keras_nor_tensorflow(tmp_path, run_child):
    for _, name, write in SAMPLE_FILES:
        write(tmp_path / name)
    program = """if True:
        import sys
        from tlx.convert.read import open_weights
        for name in sys.argv[1:]:
            for tensor in open_weights(name).tensors.values():
                tensor.read()
        print([name for name in ("torch", "keras", "tensorflow") if name in sys.modules])
        """
    assert run_child(program, *(name for _, name, _ in SAMPLE_FILES)).strip() == "[]"


@pytest.mark.parametrize("form", slow_but("keras-h5", of=SAMPLES))
def test_damaged_files_neither_crash_nor_hang_nor_run_code(tmp_path, form):
    script = ROOT / "experiments" / "fuzz_readers.py"
    arguments = ["--format", form, "--mutations", "150", "--seed", "7", "--keep", str(tmp_path)]
    done = subprocess.run([sys.executable, str(script), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 150 mutations, 0 defects" in done.stdout


def test_the_fuzzer_sees_another_file_opened(run_child):
    program = """if True:
        import contextlib, runpy, sys
        import tlx.convert.read as module
        read = module.read_npz_weights
        def read_more(file, members):
            open("/dev/null").close()
            return read(file, members)
        module.read_npz_weights = read_more
        script, sys.argv = sys.argv[1], ["fuzz", "--child", "npz:0:9"]
        with contextlib.suppress(SystemExit):
            runpy.run_path(script, run_name="__main__")
        """
    assert "open ('/dev/null'" in run_child(program, ROOT / "experiments" / "fuzz_readers.py")


def zipped(*names):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return content.getvalue()


UNREAD_FILES = {
    "m.onnx": (b"\x08\x07\x12\x07pytorch\x1a\x052.1.0:\x80\x01" + bytes(200), "ONNX"),
    "renamed.pth": (b"\x08\x08\x12\x04tf2onnx", "ONNX"),
    "m.tflite": (b"\x1c\0\0\0TFL3" + bytes(300), "TensorFlow Lite"),
    "m.msgpack": (b"\x81\xa6params\x81\xa4conv", "msgpack"),
    "flax_model.bin": (b"\xde\0\x11\xa6params", "msgpack"),
    "saved_model.pb": (b"\x08\x01\x12\xf0\x04" + bytes(300), "SavedModel"),
    "frozen.pb": (b"\n\x20\n\x05input", "TensorFlow graph"),
    "model.ckpt": (b"\0\0\0\0\1\2", "TensorFlow checkpoint"),
    "scripted.pt": (zipped("m/data.pkl", "m/code/__torch__.py", "m/constants.pkl", "m/version"), "torch.jit.load"),
    "program.pt2": (zipped("archive_format", "models/model.json"), "torch.export"),
    "m.pte": (bytes(4) + b"ET12" + bytes(9), "ExecuTorch"),
    "m.gguf": (b"GGUF\3\0\0\0", "GGUF"),
    "m.mlmodel": (b"\x08\4\x12\x10", "Core ML"),
    "m.pdparams": (pickle.dumps({"w": [1.0]}), "PaddlePaddle"),
    "m.params": (b"\x12\1\0\0\0\0\0\0" + bytes(8), "MXNet"),
    "m.caffemodel": (b"\n\x05VGG16", "Caffe"),
    "yolo.weights": (bytes(4) + b"\2" + bytes(15), "Darknet"),
    "m.xml": (b'<?xml version="1.0"?>\n<net name="m" version="11">', "OpenVINO"),
    "model.json": (b'{"format": "layers-model", "modelTopology": {"keras_version": "2.4"}}', "TensorFlow.js"),
    "group1-shard1of2.bin": (bytes(99), "TensorFlow.js"),
    "m.joblib": (pickle.dumps({"w": [1.0]}), "joblib"),
}


@pytest.mark.parametrize("name", UNREAD_FILES)
def test_a_format_that_is_not_read_is_named_with_the_way_out(tmp_path, refuses, name):
    content, word = UNREAD_FILES[name]
    (tmp_path / name).write_bytes(content)
    with refuses(WeightsError, tmp_path / name, word, "which tlx does not read: "):
        open_weights(tmp_path / name)


@pytest.mark.parametrize(
    ("names", "word"),
    [
        (["saved_model.pb", "assets/vocab.txt"], "SavedModel, which tlx does not read: name its folder"),
        (["_METADATA", "d/0"], "Orbax"),
        (["default/_METADATA", "default/manifest.ocdbt"], "Orbax"),
        (["Manifest.json", "Data/com.apple.CoreML/model.mlmodel"], "Core ML"),
        (["model.ckpt-7.data-00000-of-00001"], "TensorFlow checkpoint without its index"),
        ([".metadata", "__0_0.distcp"], "dcp_to_torch"),
        (["zero_to_fp32.py", "latest"], "DeepSpeed"),
        (["model.json", "group1-shard1of1.bin"], "TensorFlow.js"),
        (["saved_model.pb", "weights.h5"], "name the weight file in it: 'weights.h5'"),
        (["a.pth", "b.pth", "notes.txt"], "name the weight file in it: 'a.pth', 'b.pth'"),
        (["notes.txt"], "there is none that tlx reads"),
    ],
)
def test_a_folder_that_is_not_read_is_named(tmp_path, refuses, names, word):
    for name in names:
        (tmp_path / "m" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "m" / name).write_bytes(b"x")
    with refuses(WeightsError, tmp_path / "m", word):
        open_weights(tmp_path / "m")


@pytest.mark.parametrize("name", ["a.joblib", "a.ckpt", "a.pdparams", "a.msgpack", "a.onnx", "a.weights"])
def test_no_name_makes_a_pickle_that_would_run_code_harmless(tmp_path, refuses, name):
    (tmp_path / name).write_bytes(b"\x80\x02cposix\nsystem\nX\x01\0\0\0x\x85R.")
    with refuses(UnsafeFileError, "posix.system"):
        open_weights(tmp_path / name)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("sklearn.svm", "scikit-learn"),
        ("fastai.learner", "learn.save"),
        ("torch.nn.modules", "FILE, weights_only=False)"),
    ],
)
def test_a_pickle_of_a_known_library_is_refused_with_its_way_out(tmp_path, refuses, module, words):
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02c" + module.encode() + b"\nThing\n)\x81.")
    with refuses(UnsafeFileError, f"{module}.Thing", words):
        open_weights(tmp_path / "a.pkl")
