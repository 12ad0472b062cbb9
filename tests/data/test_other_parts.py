"""Test and validation parts from files and folders of their own."""

import numpy as np
import pytest
from image_files import write_classes

from tlx.data import data_from_arrays, fingerprint, labels_of, load_data, targets_of
from tlx.errors import ConfigError, DataError

TEXTS = [f"{kind} number {number}" for number in range(20) for kind in ("a film", "no film")]


@pytest.fixture
def write(tmp_path):
    def write(name, rows, head="text,label\n"):
        (tmp_path / name).write_text(head + "".join(f"{text},{label}\n" for text, label in rows))
        return str(tmp_path / name)

    return write


def labelled(texts, names=("good", "bad")):
    return [(text, names[text.startswith("no")]) for text in texts]


def named(part):
    return {part[row]["input"]: part.classes[label] for row, label in enumerate(labels_of(part).tolist())}


def test_texts_of_three_files(write, monkeypatch, tmp_path):
    train, validation = write("train.csv", labelled(TEXTS[:24])), write("dev.csv", labelled(TEXTS[24:32]))
    test = write("test.csv", labelled(TEXTS[33::2]))  # one class alone
    monkeypatch.chdir(tmp_path)
    data = load_data("train.csv", validation_data="dev.csv", test_data="test.csv")
    assert named(data.train) == dict(labelled(TEXTS[:24]))
    assert named(data.validation) == dict(labelled(TEXTS[24:32]))
    assert named(data.test) == dict(labelled(TEXTS[33::2]))
    assert data.classes == data.test.classes == ("bad", "good")
    assert (data.spec.validation_data, data.spec.test_data) == (validation, test)
    monkeypatch.chdir("/")
    assert fingerprint(load_data(data.spec)) == fingerprint(data)
    assert fingerprint(load_data(train, validation_data=validation)) != fingerprint(data)


def test_repeated_texts_are_counted_over_files(write):
    train, test = write("train.csv", labelled(TEXTS)), write("test.csv", labelled(TEXTS[:3]))
    notes = load_data(train, test_data=test, validation=0).notes
    assert "3 of 3 test texts are also in training" in notes


def test_only_one_of_two_tables_has_names(write):
    train, bare = write("train.csv", labelled(TEXTS)), write("bare.csv", labelled(TEXTS[:4]), head="")
    for each, other in ((train, bare), (bare, train)):
        data = load_data(each, test_data=other, text="1", target="2", validation=0)
        assert named(data.train) | named(data.test) == dict(labelled(TEXTS))


def test_folders_of_images(tmp_path):
    write_classes(tmp_path / "train", ["cat", "dog", "eel"])
    write_classes(tmp_path / "more", ["dog", "eel"])
    data = load_data(tmp_path / "train", test_data=str(tmp_path / "more"))
    assert data.test.classes == ("cat", "dog", "eel")
    assert np.bincount(labels_of(data.test)).tolist() == [0, 8, 8]
    assert len(data.train) + len(data.validation) == 24


def test_manifests_of_images(tmp_path):
    write_classes(tmp_path, ["cat", "dog"])
    for name, rows in (("a.csv", range(6)), ("b.csv", (6, 7))):
        lines = [f"{label}/{row}.png,{label}" for row in rows for label in ("cat", "dog")]
        (tmp_path / name).write_text("\n".join(["path,label", *lines]))
    data = load_data(tmp_path / "a.csv", test_data=f"manifest:{tmp_path / 'b.csv'}")
    assert len(data.test) == 4


def test_tables_of_numbers(tmp_path):
    rng = np.random.default_rng(0)
    for name, head in (("a.csv", "x,y,height"), ("b.csv", "height,y,x")):
        rows = "\n".join(",".join(map(repr, row)) for row in rng.normal(size=(12, 3)).tolist())
        (tmp_path / name).write_text(f"{head}\n{rows}\n")
    data = load_data(tmp_path / "a.csv", target="height", test_data=str(tmp_path / "b.csv"))
    first = (tmp_path / "b.csv").read_text().split("\n")[1].split(",")
    assert data.test[0]["input"].tolist() == [np.float32(first[2]), np.float32(first[1])]
    assert targets_of(data.test)[0].tolist() == [np.float32(first[0])]


def test_what_does_not_fit_is_refused(write, refuses, tmp_path):
    train, test = write("train.csv", labelled(TEXTS)), write("test.csv", labelled(TEXTS[:4]))
    other = write("other.csv", labelled(TEXTS[:4], ("fair", "foul")))
    with refuses(DataError, "other.csv: test has the class 'fair', which training has not (nor 1 more)"):
        load_data(train, test_data=other)
    with refuses(DataError, "gone.csv: no such file or folder; check validation_data (--validation-data)"):
        load_data(train, validation_data=str(tmp_path / "gone.csv"))
    with refuses(ConfigError, "test_data: is for files and folders, and not for digits"):
        load_data("digits", test_data=test)
    with refuses(DataError, f"{tmp_path}: no file, and the data to train on are one; name one (--test-data)"):
        load_data(train, test_data=str(tmp_path))
    (tmp_path / "photos").mkdir()
    with refuses(DataError, "test.csv: no folder, and the data to train on are one; name one (--test-data)"):
        load_data(str(tmp_path / "photos"), test_data=test)
    rows = [(text, f"{label},{('train', 'test')[row % 3 == 0]}") for row, (text, label) in enumerate(labelled(TEXTS))]
    divided = write("divided.csv", rows, "text,label,split\n")
    with refuses(DataError, "divided.csv: is divided into parts itself; name a validation part alone"):
        load_data(train, validation_data=divided)
    with refuses(DataError, "divided.csv: has a test part of its own, beside test_data (--test-data)"):
        load_data(divided, test_data=test)
    bare = write("bare.csv", labelled(TEXTS[:4]), head="")
    with refuses(DataError, "bare.csv: has no line of names, so none of its 2 columns is called 'text'"):
        load_data(train, test_data=bare)
    numbers = write("numbers.csv", [(text, "0.5") for text in TEXTS[:4]])
    with refuses(DataError, "0.5"):
        load_data(train, test_data=numbers)


def test_texts_in_memory_are_split():
    labels = np.arange(40) % 2
    data = data_from_arrays([*TEXTS[:38], TEXTS[0], TEXTS[1]], labels, test_inputs=TEXTS[38:], test_targets=[0, 1])
    assert data.test[0]["input"] == TEXTS[38]
    assert "2 texts stand in several rows, 4 in all; all rows of one are in the same part" in data.notes
    once = data_from_arrays([*TEXTS[:39], TEXTS[0]], labels)
    assert "1 text stands in several rows, 2 in all; all rows of one are in the same part" in once.notes
    pairs = data_from_arrays([(text, text.upper()) for text in TEXTS], labels)
    assert pairs.train[0]["input"]["pair"] == pairs.train[0]["input"]["text"].upper()
    with pytest.raises(DataError, match="test_inputs: row 0 is empty"):
        data_from_arrays(TEXTS, labels, test_inputs=[" "], test_targets=[0])
