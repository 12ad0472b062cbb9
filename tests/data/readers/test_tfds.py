import builtins
import io
import json
import socket

import numpy as np
import pytest
from PIL import Image

from tlx.cli.main import main
from tlx.data import Feed, batches, check_data, fingerprint, load_data
from tlx.data.readers.emnist import SUBSETS
from tlx.data.readers.tfds import TfdsSource
from tlx.data.source import digests_of, labels_of, take
from tlx.errors import ConfigError, DataError
from tlx.images import Preprocess

PIXELS = np.random.default_rng(0).integers(0, 256, (60, 5, 4, 1), dtype=np.uint8)
DIGITS = SUBSETS["digits"]


class Examples(list):
    """A list that counts how often it is read."""

    def __init__(self, images, labels):
        super().__init__({"image": image, "label": label} for image, label in zip(images, labels, strict=True))
        self.reads = 0

    def __getitem__(self, index):
        self.reads += 1
        return super().__getitem__(index)


def source(labels=(3, 1, 3), **options):
    decoded = Examples(PIXELS[: len(labels)], labels)
    encoded = Examples([image.tobytes() for image in PIXELS[: len(labels)]], labels)
    return TfdsSource("tfds:x train", decoded, encoded, DIGITS, **options), decoded, encoded


def test_images_are_decoded_when_asked_for_and_kept_where_they_fit():
    lazy, decoded, encoded = source(shape=(5, 4, 1))
    assert labels_of(lazy).tolist() == [3, 1, 3]
    assert len(set(digests_of(lazy))) == 3
    assert (decoded.reads, encoded.reads) == (0, 3)
    for _ in range(2):
        columns = take(lazy, np.array([2, 0]))
        images, labels = columns["input"], columns["target"]
        assert (images == PIXELS[[2, 0]]).all()
        assert labels.tolist() == [3, 3]
    assert (decoded.reads, encoded.reads) == (2, 3)
    for options in ({"shape": (None, None, 1)}, {"shape": (5, 4, 1), "cache_bytes": 59}):
        lazy, decoded, _ = source(**options)
        assert (lazy[0]["input"] == lazy[0]["input"]).all()
        assert decoded.reads == 2


def test_transposed_images_come_out_upright():
    lazy, *_ = source(upright=True)
    assert (lazy[1]["input"] == PIXELS[1].transpose(1, 0, 2)).all()
    assert lazy[1]["input"].flags.c_contiguous


def test_numbers_outside_end_an_iteration():
    lazy, *_ = source()
    assert [example["target"] for example in lazy] == [3, 1, 3]
    assert (lazy[-1]["input"] == PIXELS[2]).all()
    with pytest.raises(IndexError):
        lazy[-4]


def test_faults_name_the_split_and_the_row(refuses):
    lazy, *_ = source(labels=(3, 12, -1))
    with refuses(DataError, "tfds:x train: row 2: label -1"):
        labels_of(lazy)
    lazy, *_ = source(labels=(3, 12))
    with refuses(DataError, "tfds:x train: row 1: label 12 is out of range"):
        labels_of(lazy)
    lazy, decoded, _ = source()
    decoded.append({"image": PIXELS[0].astype(np.float32), "label": 0})
    with refuses(DataError, "row 3: image of type float32"):
        lazy._image(3)

    hollow = TfdsSource("tfds:x train", Examples(PIXELS[:1], [0]), Examples([None], [0]), DIGITS)
    with refuses(DataError, "row 0 is empty"):
        labels_of(hollow)

    class Broken(Examples):
        def __getitem__(self, index):
            raise RuntimeError("CRC\nmismatch")

    broken = TfdsSource("tfds:x train", Broken(PIXELS[:1], [0]), Broken(PIXELS[:1], [0]), DIGITS)
    with refuses(DataError, "row 0 cannot be read (CRC mismatch)", "prepare"):
        labels_of(broken)


def test_a_missing_package_names_the_extra(monkeypatch, refuses):
    whole = builtins.__import__

    def without_tfds(name, *rest):
        if name == "tensorflow_datasets":
            raise ModuleNotFoundError("No module named 'tensorflow_datasets'")
        return whole(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_tfds)
    with refuses(ConfigError, "tfds:mnist needs tensorflow-datasets", "pip install 'tlx-jax[tfds]'"):
        load_data("tfds:mnist")


def prepare(root, name, config, version, classes, splits):
    """Write a data set as `download_and_prepare` leaves it, by hand: array_record files of tf.train.Example."""
    import tensorflow_datasets as tfds
    from array_record.python.array_record_module import ArrayRecordWriter
    from tensorflow_datasets.proto import tf_example_pb2, tf_feature_pb2

    folder = root / name / config / version
    folder.mkdir(parents=True)
    infos = []
    for split, (images, labels) in splits.items():
        writer = ArrayRecordWriter(str(folder / f"{name}-{split}.array_record-00000-of-00001"), "group_size:1")
        for image, label in zip(images, labels, strict=True):
            png = io.BytesIO()
            Image.fromarray(image[..., 0]).save(png, "PNG")
            feature = {
                "image": tf_feature_pb2.Feature(bytes_list=tf_feature_pb2.BytesList(value=[png.getvalue()])),
                "label": tf_feature_pb2.Feature(int64_list=tf_feature_pb2.Int64List(value=[int(label)])),
            }
            example = tf_example_pb2.Example(features=tf_feature_pb2.Features(feature=feature))
            writer.write(example.SerializeToString())
        writer.close()
        template = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
        infos.append({"name": split, "shardLengths": [str(len(labels))], "numBytes": "1", "filepathTemplate": template})
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=images.shape[1:], dtype=np.uint8),
            "label": tfds.features.ClassLabel(num_classes=classes),
        }
    )
    (folder / "features.json").write_text(json.dumps(features.to_json()))
    info = {"name": name, "version": version, "configName": config, "fileFormat": "array_record", "splits": infos}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return folder


@pytest.fixture
def tfds_dir(tmp_path, monkeypatch):
    """An empty local tfds folder, and no network."""
    pytest.importorskip("tensorflow_datasets", reason="tensorflow-datasets is in the extra `tfds`")
    from tensorflow_datasets.core import constants
    from tensorflow_datasets.core.utils import file_utils

    def unreachable(*_, **__):
        raise AssertionError("tlx never downloads")

    monkeypatch.setattr(socket.socket, "connect", unreachable)
    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    monkeypatch.setattr(constants, "DATA_DIR", str(tmp_path))
    monkeypatch.setattr(file_utils.constants, "DATA_DIR", str(tmp_path))
    return tmp_path


def test_a_prepared_emnist_is_read_without_tensorflow(tfds_dir):
    images = np.random.default_rng(1).integers(0, 256, (94, 28, 28, 1), dtype=np.uint8)
    labels = np.arange(94) % 47
    prepare(
        tfds_dir, "emnist", "balanced", "3.1.0", 47, {"train": (images, labels), "test": (images[:10], labels[:10])}
    )
    data = load_data("tfds:emnist/balanced", validation=0.0)
    check_data(data, 94)
    assert data.classes == SUBSETS["balanced"].classes
    assert "EMNIST stores each image transposed; the images were turned upright" in data.notes
    assert "10 of 10 test images are also in training, pixel for pixel" in data.notes
    assert (data.test[3]["input"] == images[3].transpose(1, 0, 2)).all()
    assert labels_of(data.test).tolist() == list(range(10))
    seen = 0
    for batch in batches(data.train, Preprocess(28, 28, 1, scale=1.0), Feed(40, shuffle=True)):
        for image, label in zip(batch["input"], batch["target"], strict=True):
            stored = images[labels == label].transpose(0, 2, 1, 3)
            assert (stored == image).all(axis=(1, 2, 3)).any()
            seen += 1
    assert seen == 94
    assert fingerprint(data) == fingerprint(load_data("tfds:emnist/balanced", validation=0.0))


def test_emnist_letters_start_at_one(tfds_dir):
    images = np.random.default_rng(1).integers(0, 256, (52, 28, 28, 1), dtype=np.uint8)
    prepare(tfds_dir, "emnist", "letters", "3.1.0", 37, {"train": (images, np.arange(52) % 26 + 1)})
    data = load_data("tfds:emnist/letters", test=0.5, validation=0.0)
    assert data.classes == SUBSETS["letters"].classes
    check_data(data, 26)
    assert len(data.test) == 26


def test_other_data_sets_are_not_transposed_and_unused_splits_are_named(tfds_dir):
    split = (PIXELS, np.arange(60) % 3)
    prepare(tfds_dir, "my_set", "", "1.0.0", 3, {"train": split, "test": split, "unlabeled": split})
    data = load_data("tfds:my_set")
    assert (data.test[7]["input"] == PIXELS[7]).all()
    assert "tfds:my_set: splits not used: unlabeled" in data.notes


@pytest.mark.parametrize("name", ["emnist/balanced", "mnist", "nothing_of_this_name", "emnist/nothing", "../x"])
def test_what_is_not_prepared_says_how_to(tfds_dir, name, refuses, capsys):
    with refuses(DataError, f"tfds:{name}: not prepared", "never downloads", "download_and_prepare()"):
        load_data(f"tfds:{name}")
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", "mlp-mnist", "--data", f"tfds:{name}"])
    assert stop.value.code == 4
    assert capsys.readouterr().err.startswith(f"tlx: tfds:{name}: not prepared")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("absent", "cannot be read (open() failed: No such file or directory"),
        ("truncated", "is empty"),
        ("flipped", "cannot be read (Corrupted Riegeli/records file"),
        ("empty", "cannot be read (ArrayRecord file should be at least 64KB big)"),
    ],
)
def test_a_damaged_shard_ends_a_run_before_it_begins(tfds_dir, damage, words, refuses, capsys):
    split = (PIXELS, np.arange(60) % 3)
    folder = prepare(tfds_dir, "my_set", "", "1.0.0", 3, {"train": split, "test": split})
    shard = folder / "my_set-train.array_record-00000-of-00001"
    content = bytearray(shard.read_bytes())
    shard.unlink()
    if damage == "truncated":
        shard.write_bytes(content[: len(content) // 2])
    if damage == "flipped":
        content[len(content) // 2] ^= 1
        shard.write_bytes(content)
    if damage == "empty":
        shard.write_bytes(b"")
    with refuses(DataError, f"tfds:my_set train: row 0 {words}", "; prepare the data set again"):
        load_data("tfds:my_set")
    out = tfds_dir / "run"
    with pytest.raises(SystemExit) as stop:
        main(["finetune", "--base", "mlp-mnist", "--data", "tfds:my_set", "--out", str(out)])
    told = capsys.readouterr()
    assert (stop.value.code, told.out, out.exists()) == (4, "", False)
    assert told.err.startswith(f"tlx: tfds:my_set train: row 0 {words}")


def test_a_validation_split_is_used_and_splits_may_be_named(tfds_dir, refuses):
    labels = np.arange(60) % 3
    three = {name: (PIXELS + np.uint8(place), labels) for place, name in enumerate(("train", "validation", "test"))}
    prepare(tfds_dir, "my_set", "", "1.0.0", 3, three)
    data = load_data("tfds:my_set")
    assert [len(part) for part in (data.train, data.validation, data.test)] == [60, 60, 60]
    assert (data.validation[7]["input"] == PIXELS[7] + 1).all()
    data = load_data("tfds:my_set", train_split="train[:50%]", test_split="train[50%:]", validation=0.5)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [15, 15, 30]
    assert (data.test[7]["input"] == PIXELS[37]).all()
    assert data.spec.train_split == "train[:50%]"
    assert not any("splits not used" in note for note in data.notes)
    with refuses(DataError, "tfds:my_set: --train-split is missing"):
        load_data("tfds:my_set", test_split="test")
    with refuses(DataError, "tfds:my_set: ", "trian"):
        load_data("tfds:my_set", train_split="trian")
