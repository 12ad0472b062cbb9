"""Folders of text files: their classes and parts, which folders are such, and bad files."""

import os

import pytest
from image_files import write_classes

from tlx.data import labels_of, load_data
from tlx.data.readers.text_folder import read_text_folder
from tlx.data.spec import DataSpec, Request
from tlx.errors import DataError


@pytest.fixture
def folder(tmp_path):
    """Ten texts in each of two classes."""
    for name in ("good", "bad"):
        (tmp_path / "films" / name).mkdir(parents=True)
        for number in range(10):
            (tmp_path / "films" / name / f"{number}.txt").write_text(f"a {name} film,\nnumber {number}\n")
    return tmp_path / "films"


def test_a_folder_for_each_class(folder):
    (folder / "good" / "notes.md").write_text("x")
    (folder / "readme.txt").write_text("x")
    data = load_data(folder)
    assert data.classes == ("bad", "good")
    assert [len(part) for part in (data.train, data.validation, data.test)] == [12, 4, 4]
    for part in (data.train, data.test):
        for row, name in enumerate(part.names):
            label, number = name.removesuffix(".txt").split(os.sep)[-2:]
            assert part[row]["input"] == f"a {label} film,\nnumber {number}"
            assert part.classes[labels_of(part)[row]] == label
    assert "1 other files (1 .md: good/notes.md), 1 texts beside the classes (readme.txt)" in data.notes[0]


def test_folders_of_parts(folder):
    for part in ("train", "test"):
        for name in ("good", "bad"):
            (folder / "parts" / part / name).mkdir(parents=True)
            (folder / "parts" / part / name / "a.txt").write_text(f"{part} of {name}")
    data = load_data(folder / "parts", validation=0)
    assert sorted(data.train[row]["input"] for row in range(2)) == ["train of bad", "train of good"]
    assert [data.test[row]["input"] for row in range(2)] == ["test of bad", "test of good"]


def test_a_folder_of_images_stays_one(folder, tmp_path):
    write_classes(tmp_path / "pets")
    (tmp_path / "pets" / "cat" / "about.txt").write_text("a cat")
    assert hasattr(load_data(tmp_path / "pets").train, "shapes")
    from tlx.images import Preprocess

    with pytest.raises(DataError, match="no images"):
        load_data(folder, preprocess=Preprocess(8, 8, 1))


def test_files_in_other_encodings(folder):
    (folder / "good" / "0.txt").write_bytes("\ufeffa good film: ü".encode())
    (folder / "good" / "1.txt").write_bytes("\ufeffa good film: ö".encode("utf-16-be"))
    data = load_data(folder, validation=0, test=0)
    found = {data.train[row]["input"] for row in range(20)}
    assert {"a good film: ü", "a good film: ö"} <= found


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b" \n", "0.txt: is empty"),
        (b"a film\nb\xff", "0.txt: line 2 is not UTF-8"),
        (b"a\0b", "0.txt: has a NUL character"),
        (b"a " * (1 << 23) + b"b", "0.txt: over 16 MiB; is it one text?"),
    ],
)
def test_bad_files_are_listed_or_left_out(folder, content, message):
    (folder / "good" / "0.txt").write_bytes(content)
    with pytest.raises(DataError, match=r"1 of 20 texts \(5%\) are bad") as caught:
        load_data(folder)
    assert message in str(caught.value)
    data = load_data(folder, skip_bad=0.05)
    assert sum(map(len, (data.train, data.validation, data.test))) == 19
    assert message in data.skipped[0]


def test_what_is_no_folder_of_classes(folder, tmp_path, refuses):
    def read(path):
        return read_text_folder(Request(str(path), DataSpec()))

    (folder / "empty").mkdir()
    with refuses(DataError, "1 class folders hold no texts (.txt)", "put texts into them"):
        read(folder)
    with refuses(DataError, "texts lie in it, but in no class"):
        read(folder / "good")
    with refuses(DataError, "only one class, 'films'; did you mean"):
        read(tmp_path)
    with refuses(DataError, "no texts (.txt); give a folder of them for each class"):
        read(folder / "empty")
