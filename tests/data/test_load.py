import dataclasses
import os
import pickle
import typing

import numpy as np
import pytest
from image_files import write_classes

from tlx.data import (
    ArraySource,
    Data,
    DataSpec,
    Subset,
    check_data,
    data_from_arrays,
    data_from_sources,
    fingerprint,
    labels_of,
    load_data,
)
from tlx.data.load import KINDS
from tlx.data.source import digests_of
from tlx.data.spec import DataFields, Parts, Request
from tlx.errors import ConfigError, DataError

IMAGES = np.arange(40, dtype=np.uint8).reshape(40, 1, 1) * 6
LABELS = np.arange(40) % 2


def test_digits_have_ten_labels_a_class_by_default():
    data = load_data()
    assert data.spec.labels_per_class == 10
    assert any("10 labels a class: 100 for training, 100 for validation" in note for note in data.notes)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [100, 100, 539]
    assert np.bincount(labels_of(data.train)).tolist() == [10] * 10
    assert data.classes == tuple("0123456789")
    image = data.train[0]["input"]
    assert (image.shape, image.dtype) == ((8, 8), np.uint8)
    assert set(np.unique(data.train.source.images)) == {round(level * 255 / 16) for level in range(17)}


def test_all_the_digits_are_split_in_three():
    data = load_data(labels_per_class=1000)
    assert sum(len(part) for part in (data.train, data.validation, data.test)) == 1797
    parts = [set(digests_of(part)) for part in (data.train, data.validation, data.test)]
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]


def test_the_spec_says_how_to_have_the_same_data_again():
    data = load_data(seed=3, validation=0.2, test=0.4)
    again = load_data(**{name: getattr(data.spec, name) for name in data.spec.__dataclass_fields__})
    assert fingerprint(data) == fingerprint(again)
    assert data.spec == again.spec


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("ids:x", "unknown kind 'ids', did you mean 'idx'?; the kinds are digits, folder:DIR"),
        ("Digits", "did you mean 'digits'?"),
        ("mnist", "unknown kind 'mnist', did you mean 'idx'?"),
        ("IDX:x", "did you mean 'idx'?"),
        ("dir:photos", "did you mean 'folder'?"),
        ("csv:a.txt", "did you mean 'manifest'?"),
        ("huggingface:a/b", "did you mean 'hf'?"),
        ("zzz:x", "unknown kind 'zzz'; the kinds"),
        ("", "idx:DIR"),
        ("digits:x", "take no path"),
    ],
)
def test_an_unknown_kind_names_the_nearest(source, words, refuses):
    with refuses(ConfigError, words):
        load_data(source)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("fotos", "fotos: no such folder or kind of data, did you mean photos?; the kinds are digits, folder:DIR"),
        ("zzz", "zzz: no such folder or kind of data; the kinds are"),
        ("photos/rosse", "photos/rosse: no such folder, did you mean {here}/photos/roses?; check the path"),
        ("folder:foto", "foto: no such folder, did you mean {here}/photos?"),
        ("folders.csv", "folders.csv: no such file, did you mean {here}/flowers.csv or {here}/flowers.json?"),
        ("https://a.org/photos.zip", "an address; tlx downloads no data: fetch it, unpack it and name the folder"),
        ("folder:flowers.csv", "a file and no folder; name the folder, or a manifest as manifest:FILE"),
        ("manifest:photos", "photos: a folder and no file; say folder:{here}/photos"),
        ("flowers.json", "flowers.json: a file of no known suffix; expected a folder or .csv, .tsv, .jsonl, .npz"),
        ("C:\\photos", "C:\\photos: no such folder"),
        ("D:/photos", "D:/photos: no such folder"),
        ("C:\\photos\\a.csv", "C:\\photos\\a.csv: no such file"),
    ],
)
def test_what_is_not_there_names_what_is_like_it(tmp_path, monkeypatch, source, words, refuses):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos/roses").mkdir(parents=True)
    (tmp_path / "flowers.csv").write_text("path,label\n")
    (tmp_path / "flowers.json").write_text("[]")
    with refuses(DataError, words.format(here=tmp_path)):
        load_data(source)


def test_by_default_a_fifth_is_tested_on_and_a_fifth_of_the_rest_validated_on(tmp_path):
    data = load_data(str(write_classes(tmp_path, {"cat": 40, "dog": 40, "eel": 2, "fly": 1, "gnu": 3})))
    counts = [np.bincount(labels_of(part), minlength=5).tolist() for part in (data.train, data.validation, data.test)]
    assert counts == [[26, 26, 1, 1, 1], [6, 6, 0, 0, 1], [8, 8, 1, 0, 1]]
    assert (data.spec.validation, data.spec.test) == (0.2, 0.2)
    assert (
        data.notes[-1]
        == "of 86 examples, kept from training: 18 for testing (--test), 13 for validation (--validation)"
    )
    assert load_data("digits").spec == DataSpec("digits", labels_per_class=10, validation=0.15, test=0.3)
    none = load_data(str(tmp_path), test=0.0, validation=0.0)
    assert (len(none.train), [note for note in none.notes if "kept" in note]) == (86, [])


def test_a_missing_path_is_a_data_error(tmp_path, refuses):
    for kind in ("idx", "npz"):
        with refuses(DataError, str(tmp_path / "no")):
            load_data(f"{kind}:{tmp_path}/no/no")
        with refuses(DataError, f"say {kind}:"):
            load_data(f"{kind}:")


def test_a_folder_may_be_a_path_and_what_is_loaded_can_be_pickled(tmp_path):
    write_classes(tmp_path, {"cat": 10, "dog": 10})
    data = load_data(tmp_path)
    assert data.spec == load_data(str(tmp_path)).spec
    copied = pickle.loads(pickle.dumps(data))
    assert (copied.train[0]["input"] == data.train[0]["input"]).all()


def test_a_home_directory_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    np.savez(tmp_path / "x.npz", images=IMAGES, labels=LABELS)
    assert len(load_data("npz:~/x.npz").classes) == 2


def test_arrays_are_split_like_files(tmp_path):
    np.savez(tmp_path / "x.npz", images=IMAGES, labels=LABELS)
    from_file = load_data(f"npz:{tmp_path}/x.npz", labels_per_class=4)
    from_memory = data_from_arrays(IMAGES, LABELS, labels_per_class=4)
    assert from_memory.spec is None
    assert fingerprint(from_file) == fingerprint(from_memory)
    shuffled = np.random.default_rng(0).permutation(40)
    assert fingerprint(data_from_arrays(IMAGES[shuffled], LABELS[shuffled], labels_per_class=4)) == fingerprint(
        from_file
    )


def test_own_test_arrays_are_kept_whole(refuses):
    data = data_from_arrays(
        IMAGES / 255, LABELS, test_inputs=IMAGES[:9] / 255, test_targets=LABELS[:9], value_range=(0, 1)
    )
    assert len(data.test) == 9
    assert len(data.train) + len(data.validation) == 40
    with refuses(ConfigError, "test_targets go together"):
        data_from_arrays(IMAGES, LABELS, test_inputs=IMAGES)
    with refuses(DataError, "test_targets: row 1: label 2"):
        data_from_arrays(IMAGES, LABELS, test_inputs=IMAGES[:2], test_targets=[0, 2])
    with refuses(DataError, "inputs", "not finite"):
        data_from_arrays(np.where(IMAGES == 30, np.nan, IMAGES), LABELS, value_range=(0, 255))
    with refuses(DataError, "labels: row 1: label 9", "label 1"):
        data_from_arrays(IMAGES[:2], [0, 9])


def arrays(labels, classes=("a", "b"), **options):
    return data_from_arrays(IMAGES[: len(labels)], labels, classes=classes, **options)


@pytest.mark.parametrize(
    ("data", "batch_size", "words"),
    [
        (arrays([0] * 9, ("a",)), 1, "only one class, 'a'"),
        (arrays([1] * 9), 1, "only one class, 'b'"),
        (arrays([0, 2] * 9, ("a", "b", "c")), 1, "no training image: 'b'"),
        (arrays([0, 1] * 9), 13, "12 training examples are fewer than a batch of 13; lower batch_size (--batch-size)"),
        (arrays([0, 1] * 9, test=0.0), 4, "no test examples, of 18 in all"),
        (arrays([0, 1]), 1, "no test examples, of 2 in all; a class gives one to testing where it has two or more"),
    ],
)
def test_data_that_cannot_be_trained_on(data, batch_size, words, refuses):
    with refuses(DataError, words):
        check_data(data, batch_size)


def test_empty_training_data(refuses):
    source = ArraySource(IMAGES, LABELS)
    with refuses(DataError, "no training examples"):
        check_data(Data(Subset(source, []), source, source, source.classes), 1)


def test_good_data_passes():
    check_data(arrays([0, 1] * 9), 10)
    check_data(arrays([0, 1] * 9, validation=0.0), 12)


def test_the_fingerprint_sees_every_change():
    def of(images=IMAGES, labels=LABELS, classes=("a", "b"), **options):
        return fingerprint(data_from_arrays(images, labels, classes=classes, **options))

    changed, relabelled = IMAGES.copy(), LABELS.copy()
    changed[7] += 1
    relabelled[7] = 0
    prints = [
        of(),
        of(images=changed),
        of(labels=relabelled),
        of(classes=("a", "c")),
        of(seed=1),
        of(validation=0.3),
        of(test=0.3),
        of(labels_per_class=3),
        of(images=IMAGES.reshape(20, 2, 1).repeat(2, axis=0)),
        of(images=IMAGES.astype(np.float32), value_range=(0, 255)),
    ]
    assert of() == prints[0]
    assert len(set(prints)) == len(prints)


def test_real_mnist_and_letters(shared_data):
    letters = load_data(f"idx:{shared_data / 'letters47'}", labels_per_class=20)
    check_data(letters, 128)
    assert (len(letters.train), len(letters.test), len(letters.classes)) == (940, 1240, 47)
    assert any("upright" in note for note in letters.notes)
    assert any("test images are also in training" in note for note in letters.notes)
    mnist = load_data(f"idx:{os.path.relpath(shared_data / 'mnist')}{os.sep}")
    check_data(mnist, 128)
    assert [len(part) for part in (mnist.train, mnist.validation, mnist.test)] == [48_000, 12_000, 10_000]
    assert mnist.notes == ("of 60000 examples, kept from training: 12000 for validation (--validation)",)


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("a.csv", "manifest"),
        ("a.TSV", "manifest"),
        ("sub/a.jsonl", "manifest"),
        ("a.npz", "npz"),
        ("pets", "folder"),
        ("./no", "folder"),
        ("a:b/c", "folder"),
        ("~/pets", "folder"),
    ],
)
def test_a_path_says_its_kind(tmp_path, monkeypatch, source, kind):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "pets").mkdir()
    asked = []
    monkeypatch.setitem(KINDS, kind, KINDS[kind]._replace(read=lambda request: asked.append(request) or digits()))
    spec = load_data(source, skip_bad=0.25, train_split="a").spec
    where = os.path.abspath(os.path.expanduser(source))
    assert spec.source == f"{kind}:{where}"
    assert asked == [Request(where, spec)]


def digits():
    return Parts(ArraySource(IMAGES, LABELS), None, ())


@pytest.mark.parametrize("option", [{"skip_bad": 0.1}, {"train_split": "a"}, {"test_split": "a"}])
@pytest.mark.parametrize("source", ["digits", "idx:x", "npz:x"])
def test_what_has_no_image_files_and_no_named_splits(source, option, refuses):
    with refuses(ConfigError, "has neither named splits nor image files"):
        load_data(source, **option)


class Squares:
    """Examples of somebody's own, with the least that a source must have."""

    classes = ("dark", "bright")

    def __init__(self, count=20, labels=None, classes=classes):
        self.count, self.own, self.classes = count, labels, classes

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        label = index % 2 if self.own is None else self.own[index]
        return {"input": np.full((8, 8), 12 * index + self.count, np.uint8), "target": label}


def test_sources_of_ones_own():
    data = data_from_sources(Squares())
    assert [len(part) for part in (data.train, data.validation, data.test)] == [12, 4, 4]
    assert (data.spec, data.classes) == (None, ("dark", "bright"))
    check_data(data, 12)
    given = data_from_sources(Squares(), Squares(7), Squares(9), labels_per_class=3)
    assert [len(part) for part in (given.train, given.validation, given.test)] == [6, 6, 9]
    assert len(data_from_sources(Squares(), test_share=0.5, validation_share=0).train) == 10


def test_each_example_of_a_source_is_asked_for_once_to_split_it():
    class Counted(Squares):
        asked = 0

        def __getitem__(self, index):
            type(self).asked += 1
            return super().__getitem__(index)

    data = data_from_sources(Counted(), test=Counted(9))
    assert Counted.asked == 29
    fingerprint(data)
    assert Counted.asked == 29
    assert data.train[0]["target"] == labels_of(data.train)[0]


@pytest.mark.parametrize(
    ("part", "source", "words"),
    [
        ("train", Squares(2, (0, -1)), "train: row 1: label -1 is negative"),
        ("validation", Squares(2, (0, 2)), "validation: row 1: label 2 is out of range for 2 classes"),
        ("test", Squares(2, classes=("bright", "dark")), "test: its classes are not those of train"),
    ],
    ids=["train", "validation", "test"],
)
def test_sources_that_do_not_fit(part, source, words, refuses):
    with refuses(DataError, words):
        data_from_sources(**{"train": Squares(), part: source})


def test_images_in_two_parts_are_counted_and_too_few_are_refused(tmp_path, refuses):
    write_classes(tmp_path / "train", {"cat": 5, "dog": 5})
    write_classes(tmp_path / "val", {"cat": 3, "dog": 2})
    write_classes(tmp_path / "test", seed=1)
    data = load_data(str(tmp_path))
    assert "5 of 5 validation images are also in training, pixel for pixel" in data.notes
    with refuses(DataError, "10 training examples are fewer than a batch of 20"):
        check_data(data, 20)


def test_the_keyword_arguments_are_the_fields_of_the_spec():
    assert typing.get_type_hints(DataFields).keys() | {"source"} == {each.name for each in dataclasses.fields(DataSpec)}
