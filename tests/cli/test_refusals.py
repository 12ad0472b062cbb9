"""Bad input gives one line that names what is wrong and how to mend it, and the right exit code."""

import gzip
import os
import struct
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from tlx.files.lock import locked

QUICK = ["--base", "mlp-mnist", "--recipe", "probe", "--head-epochs", 1, "--compare-scratch", "never"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["finetun"], "did you mean finetune?"),
        (["--jsn"], "unknown command"),
        (["finetune", "--lerning-rate", 1], "unknown option --lerning-rate, did you mean --head-rate?"),
        (["finetune", "--head-rat", 1], "did you mean --head-rate?"),
        (["finetune", "--head-rate", "fast"], "--head-rate"),
        (["finetune", "--head-rate", "nan"], "--head-rate: the learning rate must be a finite number above 0"),
        (["finetune", "--head-rate=-1e-3"], "rate must be a finite number above 0"),
        (["finetune", "--base-rate", 0], "rate must be a finite number above 0"),
        (["finetune", "--head-rate", "inf"], "rate must be a finite number above 0"),
        (["finetune", "--recipe", "prob"], "probe"),
        (["finetune", "--base", "cnn-mnst"], "did you mean 'cnn-mnist'?"),
        (["finetune", "--data", "digts"], "digits"),
        (["finetune", "--head-epochs", 0], "epochs must be at least 1"),
        (["finetune", "--patience", 0], "patience must be at least 1"),
        (["finetune", "--thaw-from", "conv9"], "'conv1', 'conv2', 'conv3'"),
        (["finetune", "--recipe", "probe", "--thaw-from", "conv3"], "--thaw-from"),
        (["finetune", "--recipe", "probe", "--layer-decay", 0.5], "--layer-decay"),
        (["finetune", "--layer-decay", 1.5], "layer decay"),
        (["finetune", "--decay", 0.1], "--decay does not go with --schedule constant"),
        (["finetune", "--schedule", "inverse-time"], "needs --decay"),
        (["finetune", "--schedule", "cosine", "--warmup", 10_000], "warm-up"),
        (["finetune", "--momentum", 0.5], "--momentum does not go with --optimizer adam"),
        (["finetune", "--dropout", 1.5], "dropout"),
        (["finetune", "--hidden", -3], "hidden"),
        (["finetune", "--label-smoothing", 2], "label"),
        (["finetune", "--batch-size", 0], "batch_size"),
        (["finetune", "--seed", -1], "seed"),
        (["finetune", "--labels-per-class", 0], "labels_per_class"),
        (["finetune", "--validation", 1.5], "validation"),
        (["finetune", "--grey-to-rgb", "viridis"], "grey_to_rgb"),
        (["finetune", "--config", "nowhere.yaml"], "nowhere.yaml"),
        (["finetune", "--resume"], "--out"),
        (["evaluate"], "evaluate"),
        (["evaluate", "cnn-mnist"], "--data"),
        (["evaluate", "nowhere"], "nowhere"),
        (["inspect", "nowhere"], "tlx presets lists the presets"),
        (["predict", "cnn-mnist"], "no images"),
        (["predict", "cnn-mnist", "a.png", "--top", 0], "--top"),
    ],
)
def test_usage(refused, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert words in refused(2, *arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["mine.txt", "config.yaml"])
def test_a_directory_in_use_is_left_alone(refused, tmp_path, name):
    (tmp_path / name).write_text("precious")
    assert "already in use" in refused(2, "finetune", *QUICK, "--out", tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["precious"]


def test_an_output_that_cannot_be_written(refused, tmp_path):
    (tmp_path / "file").write_text("")
    assert "file" in refused(6, "finetune", *QUICK, "--out", tmp_path / "file" / "run")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lerning_rate: 1\n", "config.yaml: unknown key 'lerning_rate', did you mean head_rate?"),
        ("head_rte: 1\n", "did you mean head_rate?"),
        ("!!python/object/apply:os.system ['touch canary']\n", "config.yaml: not plain YAML (could not"),
        ("seed: !!python/object/apply:os.system ['touch canary']\n", "config.yaml: not plain YAML (could not"),
        ("seed: !!python/name:os.system\n", "config.yaml: not plain YAML (could not"),
        ("seed: &a 1\nhead_epochs: *a\n", "aliases are not allowed"),
        ("seed: 1\nseed: 2\n", "2 times"),
        ("- seed\n", "key: value"),
        ("seed: {a: 1}\n", "flat list"),
        ("flip: 3\n", "true or false"),
        ("json: true\n", "unknown key 'json'"),
        ("<<: {seed: 1}\n", "'<<' is not allowed"),
        ("seed: !!int abc\n", "not plain YAML"),
        ("seed: many\n", "--seed"),
        ("config: other.yaml\n", "config"),
        ("seed: [1\n", "not plain YAML"),
        ("\0", "not plain YAML"),
        ("", "key: value"),
    ],
)
def test_config_files(refused, tmp_path, monkeypatch, text, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(text)
    assert words in refused(2, "finetune", "--config", "config.yaml")
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_an_alias_bomb_is_refused_at_once(refused, tmp_path):
    levels = [f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]" for i in range(30)]
    (tmp_path / "bomb.yaml").write_text("\n".join(["a0: &a0 [x]", *levels]))
    started = time.monotonic()
    line = refused(2, "finetune", "--config", tmp_path / "bomb.yaml")
    assert "bomb.yaml: not plain YAML (line 2: aliases are not allowed)" in line
    assert time.monotonic() - started < 30  # expanded, it would have 9**30 items


def idx(array, magic=None):
    array = np.asarray(array, np.uint8)
    head = bytes([0, 0, 8, array.ndim]) if magic is None else magic
    return head + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


IMAGES, LABELS = np.zeros((40, 28, 28)), np.arange(40) % 4
PACKED, SIGNED = gzip.compress(idx(IMAGES)), b"\0\0\x09\1"


@pytest.fixture
def folder(tmp_path):
    """MNIST's four files, tiny; `folder(name=content)` writes some of them otherwise, in gzip unless they are."""

    def write(**other):
        where = tmp_path / "idx"
        where.mkdir()
        for name in ("images", "labels", "test_images", "test_labels"):
            content = other.get(name, idx(IMAGES if "images" in name else LABELS))
            packed = content if content.startswith(b"\x1f\x8b") else gzip.compress(content)
            part, kind = "t10k" if "test" in name else "train", name.removeprefix("test_")
            (where / f"{part}-{kind}-idx{3 if kind == 'images' else 1}-ubyte.gz").write_bytes(packed)
        return f"idx:{where}"

    return write


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"images": idx(IMAGES)[:-100]}, "announces 40 x 28 x 28 values but the data ends in row 39, after 31260 of"),
        ({"images": idx(IMAGES, magic=b"\1\2\3\4")}, "not an idx file but a file that starts with 0x01020304"),
        ({"images": idx(IMAGES) + b"more"}, "bytes follow the 40 x 28 x 28 values that the header announces"),
        ({"images": idx(IMAGES[:39])}, "train-labels-idx1-ubyte.gz: 40 labels for 39 images"),
        ({"images": b"<html>not found</html>"}, "not an idx file but an HTML page"),
        ({"images": b""}, "not an idx file but an empty file"),
        ({"images": bytes([0, 0, 8, 3]) + struct.pack(">3I", 10**6, 10**6, 10**6)}, "limit"),
        ({"images": PACKED[: len(PACKED) // 2]}, "truncated: the gzip stream has no end"),
        ({"images": PACKED[:-6] + bytes([PACKED[-6] ^ 1]) + PACKED[-5:]}, "damaged gzip file (CRC check failed"),
        ({"images": idx(IMAGES[:0]), "labels": idx(LABELS[:0])}, "shape (0, 28, 28) holds no images"),
        ({"labels": idx(np.where(np.arange(40) == 7, 200, LABELS))}, "row 7: label 200, though no row has label 4"),
        ({"labels": idx(LABELS - 1, magic=SIGNED)}, "row 0: label -1 is negative; number the classes from 0"),
        ({"labels": idx(LABELS[:5])}, "train-labels-idx1-ubyte.gz: 5 labels for 40 images"),
        ({"labels": idx(LABELS * 0), "test_labels": idx(LABELS * 0)}, "only one class, '0'"),
        ({"test_labels": idx(LABELS + 1)}, "row 3: label 4 is out of range for 4 classes"),
        ({"test_labels": idx(LABELS - 1, magic=SIGNED)}, "row 0: label -1 is negative; number the classes from 0"),
    ],
)
def test_idx_files(refused, folder, tmp_path, files, words):
    out = tmp_path / "run"
    line = refused(4, "finetune", *QUICK, "--data", folder(**files), "--out", out)
    assert words in line
    assert "only one class" in words or f"{tmp_path}/idx/{'t10k' if 'test_labels' in files else 'train'}-" in line
    assert not out.exists()


@pytest.mark.slow
def test_the_folder_that_the_faults_are_put_in_is_good(call, folder, tmp_path):
    assert call("finetune", *QUICK, "--data", folder(), "--out", tmp_path / "run").code == 0


def test_fewer_images_than_a_batch(refused, folder, tmp_path):
    line = refused(4, "finetune", *QUICK, "--data", folder(), "--batch-size", 64, "--out", tmp_path / "run")
    assert "32 training examples are fewer than a batch of 64; lower batch_size" in line
    assert not (tmp_path / "run").exists()


def test_data_that_are_not_there(refused, tmp_path):
    assert "nowhere" in refused(4, "finetune", *QUICK, "--data", f"idx:{tmp_path}/nowhere")


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (np.where(np.arange(40)[:, None, None] == 3, np.nan, IMAGES), LABELS, "[images]: image 3 has pixels"),
        (IMAGES, LABELS * 0, "only one class, '0', has training examples"),
        (IMAGES, LABELS - 1, "data.npz[labels]: row 0: label -1 is negative"),
        (IMAGES[:0], LABELS[:0], "data.npz[images]: shape (0, 28, 28) holds no images"),
    ],
)
def test_arrays(refused, tmp_path, images, labels, words):
    path = tmp_path / "data.npz"
    np.savez(path, images=images, labels=labels, value_range=np.array([0, 255]))
    assert words in refused(4, "finetune", *QUICK, "--data", f"npz:{path}", "--out", tmp_path / "run")


class Canary:
    def __reduce__(self):
        return open, ("canary", "w")


def test_pickles_are_never_read(refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bad = np.array([Canary()], dtype=object)
    np.savez("data.npz", images=bad, labels=bad, allow_pickle=True)
    np.save("data.npy", bad, allow_pickle=True)
    refused(8, "finetune", *QUICK, "--data", "npz:data.npz")
    refused(8, "predict", "mlp-mnist", "data.npy")
    assert not (tmp_path / "canary").exists()


def test_arrays_that_are_something_else(refused, tmp_path):
    (tmp_path / "page.npy").write_text("<html>")
    assert "an HTML page" in refused(4, "predict", "mlp-mnist", tmp_path / "page.npy")
    (tmp_path / "nan.npy").write_bytes(b"")
    np.save(tmp_path / "nan.npy", np.full((2, 8, 8), np.nan))
    assert "floats" in refused(4, "predict", "mlp-mnist", tmp_path / "nan.npy")


def test_images(refused, tmp_path):
    for name, content in (("empty.png", b""), ("text.jpg", b"not an image"), ("eps.jpg", b"%!PS-Adobe-3.0 EPSF-3.0")):
        (tmp_path / name).write_bytes(content)
        assert name in refused(4, "predict", "mlp-mnist", tmp_path / name)
    assert "missing.png" in refused(4, "predict", "mlp-mnist", tmp_path / "missing.png")


@pytest.mark.parametrize(
    "options",
    [
        ["--base", "mlp-mnist", "--out", "run"],
        ["--base", "not-there", "--out", "run"],
        ["--base", "mlp-mnist", "--out", "link", "--dry-run"],
        ["--config", "c.yaml"],
        ["--config", "c.yaml", "--out", "link/../run"],
        ["--resume", "--out", "run"],
        ["--resume", "--out", "link"],
    ],
    ids=" ".join,
)
def test_a_run_that_another_process_writes_is_refused_before_anything_is_loaded(
    refused, tmp_path, monkeypatch, options
):
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    Path("link").symlink_to("run")
    Path("c.yaml").write_text("data: folder:not-there\nout: run\n")
    with locked(Path("run")) as sign:
        sign()
        line = refused(6, "finetune", *options)
    assert f"another process ({os.getpid()} on " in line
    assert [entry.name for entry in Path("run").iterdir()] == [".lock"]


def test_resuming_what_was_never_begun(refused, tmp_path):
    assert "config.yaml" in refused(5, "finetune", "--resume", "--out", tmp_path)


@pytest.mark.slow
def test_resuming_with_another_option(refused, run_dir):
    assert "seed: 0 -> 7" in refused(5, "finetune", "--resume", "--out", run_dir, "--seed", 7)


def test_a_training_that_diverges(call, tmp_path):
    out = tmp_path / "run"
    called = call("finetune", *QUICK, "--labels-per-class", 4, "--optimizer", "sgd", "--head-rate", 1e38, "--out", out)
    assert called.code == 9
    last = called.err.splitlines()[-1]
    assert "phase 'head'" in last
    assert "step" in last
    assert "learning rate" in last


@pytest.mark.parametrize("command", ["report", "evaluate"])
def test_a_damaged_run(refused, tmp_path, run_dir, command):
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(run_dir, broken)
    (broken / "run.json").write_text('{"half": ')
    assert "run.json" in refused(5, command, broken)


def test_damaged_weights(refused, tmp_path, run_dir):
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(run_dir, broken)
    weights = broken / "export/model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert "model.safetensors" in refused(3, "evaluate", broken)
    (tmp_path / "renamed.safetensors").write_bytes(b"PK\3\4 not safetensors")
    assert "renamed.safetensors" in refused(3, "inspect", tmp_path / "renamed.safetensors")


def test_a_flag_given_twice_is_refused(refused):
    assert "--seed is there 2 times" in refused(2, "finetune", "--seed", 1, "--seed=2")


@pytest.mark.parametrize(
    "command",
    [
        ["finetune", *QUICK],
        ["predict", "mlp-mnist", "a.png"],
        ["embed", "mlp-mnist", "a.png", "--out", "a.npz"],
        ["evaluate", "mlp-mnist"],
    ],
)
def test_a_device_that_is_not_there_is_refused(refused, command):
    if jax.default_backend() != "cpu":
        pytest.skip("there is another device")
    assert "--device gpu: JAX finds none here, only cpu" in refused(2, *command, "--device", "gpu")


def test_a_device_that_a_file_names_is_refused_likewise(refused, tmp_path):
    absent = "gpu" if jax.default_backend() == "tpu" else "tpu"
    (tmp_path / "a.yaml").write_text(f"device: {absent}\n")
    assert f"--device {absent}: JAX finds none here" in refused(2, "finetune", "--config", tmp_path / "a.yaml")


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--device", "gpu"]])
def test_a_platform_that_is_not_there_is_refused(tmp_path, options):
    """In a process of its own: JAX reads the variable as it is imported."""
    command = [sys.executable, "-m", "tlx", "evaluate", "mlp-mnist", "--data", "digits", *options]
    environment = {**os.environ, "JAX_PLATFORMS": "rocm"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("tlx: JAX_PLATFORMS=rocm: JAX finds none here: unset it, or install what it needs")
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_device_that_is_there_is_taken(call, tmp_path):
    called = call("finetune", *QUICK, "--labels-per-class", 2, "--device", "cpu", "--out", tmp_path / "run", "--json")
    assert called.code == 0
    assert "device" not in (tmp_path / "run/config.yaml").read_text()
