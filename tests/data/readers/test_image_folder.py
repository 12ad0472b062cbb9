import os
import shutil
import sys

import numpy as np
import pytest
from image_files import encoded, numbered_images, write_classes

from tlx.data import check_shapes, labels_of, load_data
from tlx.data.readers.image_folder import read_image_folder
from tlx.data.spec import DataSpec, Request
from tlx.errors import ConfigError, DataError
from tlx.images import Preprocess

GOOD = numbered_images(1)[0]


def read(root, **request):
    return read_image_folder(Request(str(root), DataSpec(**request)))


def put(path, content=GOOD):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_a_folder_for_each_class(tmp_path):
    parts = read(write_classes(tmp_path / "pets", ["dog", "cat", "Ant"]))
    assert parts.train.classes == ("Ant", "cat", "dog")
    assert labels_of(parts.train).tolist() == [0] * 8 + [1] * 8 + [2] * 8
    assert parts.train.names[8] == f"{tmp_path}/pets/cat/0.png"
    assert (parts.test, parts.validation, parts.notes, parts.skipped) == (None, None, (), ())
    for source in (f"{tmp_path}/pets", f"folder:{tmp_path}/pets"):
        data = load_data(source)
        assert (data.spec.source, data.classes) == (f"folder:{tmp_path}/pets", ("Ant", "cat", "dog"))
        assert [len(part) for part in (data.train, data.validation, data.test)] == [15, 3, 6]


@pytest.mark.parametrize(
    "names",
    [
        ("train", "validation", "test"),
        ("training", "VAL", "Testing"),
        ("Train", "dev", "TEST"),
        ("train", "valid", "test"),
    ],
)
def test_splits_are_known_by_their_usual_names(tmp_path, names):
    for place, name in enumerate(names):
        write_classes(tmp_path / name, {"cat": 3 + place, "dog": 3 + place}, seed=place)
    (tmp_path / "README.txt").write_text("")
    (tmp_path / "extra").mkdir()
    data = load_data(str(tmp_path))
    assert [len(part) for part in (data.train, data.validation, data.test)] == [6, 8, 10]
    assert data.notes == (f"{tmp_path}: left out 1 files beside train (README.txt), 1 folders beside train (extra)",)


def test_splits_may_be_named(tmp_path, refuses):
    for place, name in enumerate(("one", "two", "train")):
        write_classes(tmp_path / name, {"cat": 3, "dog": 3 + place}, seed=place)
    parts = read(tmp_path, train_split="two", test_split="one")
    assert (len(parts.train), len(parts.test), parts.validation) == (7, 6, None)
    with refuses(DataError, f"{tmp_path}/no: no such folder; --test-split names a folder"):
        read(tmp_path, train_split="two", test_split="no")
    with refuses(DataError, "--train-split is missing"):
        read(tmp_path, test_split="one")
    with refuses(ConfigError, "two of 'one', 'one' are the same"):
        load_data(str(tmp_path), train_split="one", test_split="one")


def test_validation_without_a_class_is_noted_and_one_with_an_extra_class_is_refused(tmp_path, refuses):
    write_classes(tmp_path / "train", ["ant", "bee", "cat"])
    write_classes(tmp_path / "val", {"cat": 2, "ant": 2}, seed=1)
    data = load_data(str(tmp_path))
    assert data.notes[0] == "no validation image of 1 of 3 classes: bee"
    assert labels_of(data.validation).tolist() == [0, 0, 2, 2]  # training's indices
    write_classes(tmp_path / "test", ["bee", "eel", "fly"])
    with refuses(DataError, f"{tmp_path}/test/eel: test has the class 'eel', which training has not (nor 1 more)"):
        load_data(str(tmp_path))


@pytest.mark.parametrize("beside", ["cafe\u0301", "../val/cafe\u0301"])
def test_classes_that_only_look_the_same(tmp_path, beside, refuses):
    write_classes(tmp_path / "train", ["caf\xe9", "dog", beside])
    with refuses(
        DataError, str(tmp_path), "the classes 'cafe\\u0301' and 'caf\\xe9' look alike; give them other names"
    ):
        load_data(str(tmp_path))


def test_what_systems_leave_behind_is_left_out_and_counted(tmp_path):
    write_classes(tmp_path, {"cat": 3, "dog": 3})
    for name in (
        ".DS_Store",
        "Thumbs.db",
        "cat/.DS_Store",
        "cat/._0.png",
        "cat/desktop.ini",
        "cat/.hidden/a.png",
        ".git/a.png",
        "__MACOSX/cat/._0.png",
    ):
        put(tmp_path / name)
    for name in ("dog/notes.txt", "dog/deep/er/b.JPG", "dog/b.md", "dog/a.md", "cat/a.md", "stray.png", "labels.csv"):
        put(tmp_path / name)
    parts = read(tmp_path)
    assert parts.notes == (
        f"{tmp_path}: left out 2 hidden folders (.git, cat/.hidden), 6 hidden or system files, 1 images beside the "
        "classes (stray.png), "
        "5 other files (3 .md, 1 .txt, 1 .csv: cat/a.md, dog/a.md, dog/b.md, ...)",
    )
    assert parts.train.classes == ("cat", "dog")
    assert labels_of(parts.train).tolist() == [0] * 3 + [1] * 4
    assert f"{tmp_path}/dog/deep/er/b.JPG" in parts.train.names


def test_links_are_followed_but_never_in_a_circle(tmp_path):
    write_classes(tmp_path / "kept", {"cat": 3, "dog": 2})
    root = tmp_path / "pets"
    (root / "cat").mkdir(parents=True)
    for link, target in {
        "dog": tmp_path / "kept/dog",
        "cat/more": tmp_path / "kept/cat",
        "cat/again": tmp_path / "kept/cat",
        "cat/round": root / "cat",
        "up": root,
    }.items():
        (root / link).symlink_to(target)
    parts = read(root)
    assert parts.train.classes == ("cat", "dog")
    assert labels_of(parts.train).tolist() == [0] * 3 + [1] * 2
    assert parts.notes == (
        f"{root}: left out 3 links to folders that were met before (cat/more, cat/round, up)",
        f"{root}: followed 2 links out of the folder (cat/again, dog)",
    )


@pytest.mark.parametrize("name", ["sp ace", "new\nline", "日本", "tab\t", "ca\x1b[31mt", b"\xff\xfe", b"caf\xe9"])
def test_any_name_of_a_file_or_a_class_will_do(tmp_path, name):
    name = os.fsdecode(name)
    write_classes(tmp_path / "d", ["dog"])
    put(tmp_path / "d" / name / f"{name}.png")
    data = load_data(str(tmp_path / "d"))
    label = os.fsencode(name).decode("utf-8", "backslashreplace")
    assert label in data.classes
    label.encode()  # can be stored as text
    paths = [name for part in (data.train, data.validation, data.test) for name in part.names]
    assert os.path.join(tmp_path, "d", name, f"{name}.png") in paths


BAD = {
    "empty.jpg": b"",
    "text.jpg": b"not an image",
    "postscript.jpg": b"%!PS-Adobe-3.0 EPSF-3.0",
    "cut.png": GOOD[:-1],
}


def test_bad_images_are_listed_or_left_out_as_far_as_is_allowed(tmp_path, refuses):
    write_classes(tmp_path, {"cat": 18, "dog": 18})
    for name, content in BAD.items():
        put(tmp_path / "cat" / name, content)
    with refuses(DataError, "4 of 40 images (10%) are bad", *BAD, "--skip-bad 10%"):
        load_data(str(tmp_path))
    data = load_data(str(tmp_path), skip_bad=0.1)
    assert len(data.skipped) == 4
    assert data.notes[0].startswith("4 of 40 images are bad and left out: ")
    assert data.spec.skip_bad == 0.1
    with refuses(DataError, "4 of 40 images (10%) are bad, of which --skip-bad allows 9%"):
        load_data(str(tmp_path), skip_bad=0.09)


def test_links_that_lead_nowhere_and_what_is_no_file_are_bad_images(tmp_path, refuses):
    write_classes(tmp_path)
    (tmp_path / "cat/gone.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(tmp_path / "cat/pipe.png")
    with refuses(DataError, "2 of 18", "gone.png: No such file", "pipe.png: not a regular file"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ([], "no images (PNG, JPEG, BMP, GIF, TIFF, WebP, AVIF, HEIC); give a folder of them for each class"),
        (
            ["cat/", "dog/notes.txt"],
            "give a folder of them for each class; there are 1 other files (1 .txt: dog/notes.t",
        ),
        (["a.png", "b.png"], "images lie in it, but in no class"),
        (["train-images-idx3-ubyte"], "holds idx files; say idx:"),
        (["cat/a.png"], "only one class, 'cat'; give a folder for each class"),
        (["pets/cat/a.png", "pets/dog/a.png"], "pets?"),
        (["train/", "test/cat/a.png"], "/train: no images"),
        (["train/cat/a.png", "test/cat/a.png"], "/train: only one class, 'cat'"),
        (["test/cat/a.png", "val/dog/a.png"], "test and val, but no folder train"),
        (["train/cat/a.png", "training/cat/a.png"], "both train and training; take one away"),
        (["1/a.png", "1 /a.png"], "look alike"),
    ],
)
def test_folders_that_cannot_be_trained_on(tmp_path, made, words, refuses):
    for name in made:
        if name.endswith("/"):
            (tmp_path / name).mkdir(parents=True)
        else:
            put(tmp_path / name)
    with refuses(DataError, str(tmp_path), words):
        read(tmp_path)


def test_a_folder_that_is_not_there(tmp_path, refuses):
    with refuses(DataError, f"{tmp_path}/no: no such folder"):
        load_data(f"{tmp_path}/no")
    with refuses(DataError, "say folder:DIR"):
        load_data("folder:")


def test_the_order_of_the_directory_does_not_matter(tmp_path):
    write_classes(tmp_path / "a", {"cat": 9, "dog": 9})
    for path in sorted((tmp_path / "a").rglob("*.png"), reverse=True):
        (tmp_path / "b" / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "b" / path.parent.name)
    first, second = (load_data(str(tmp_path / name)) for name in "ab")
    names = [[os.path.relpath(name, tmp_path)[2:] for name in data.train.names] for data in (first, second)]
    assert names[0] == names[1]


def test_numbers_are_classes_in_the_order_of_their_values(tmp_path):
    data = load_data(str(write_classes(tmp_path, {str(number): 2 for number in range(1, 13)})))
    assert data.classes == tuple(map(str, range(1, 13)))
    assert data.notes[0].startswith("the classes are numbers: class 1 has index 0, 2 has 1, ")


def test_a_class_whose_files_are_not_read_is_refused_or_left_out_by_choice(tmp_path, refuses):
    write_classes(tmp_path, {"cat": 5, "dog": 5})
    (tmp_path / "eel").mkdir()
    (tmp_path / "eel/up").symlink_to(tmp_path)
    for number in range(4):
        put(tmp_path / f"ant/{number}.xyz", GOOD)
        put(tmp_path / f"bee/deep/{number}.mp4", b"\0\0\0\x18ftypmp42")
    with refuses(
        DataError,
        "3 class folders hold no images (PNG, ",
        f"{tmp_path}/ant (4 other files (4 .xyz: 0.xyz, 1.xyz, 2.xyz, ...), the first a PNG image)",
        f"{tmp_path}/bee (4 other files (4 .mp4: deep/0.mp4, deep/1.mp4, deep/2.mp4, ...), the first a video)",
        f"{tmp_path}/eel (1 links to folders that were met before (up))",
        "or leave these classes out with --empty-classes skip",
    ):
        load_data(str(tmp_path))
    data = load_data(str(tmp_path), empty_classes="skip")
    assert data.classes == ("cat", "dog")
    assert data.spec.empty_classes == "skip"
    assert "3 class folders without images (ant, bee, eel)" in data.notes[0]
    assert "8 other files (4 .xyz, 4 .mp4: ant/0.xyz, ant/1.xyz, ant/2.xyz, ...)" in data.notes[0]


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (lambda root: (root / "ant").symlink_to("/no/such/disk/ant"), "ant (a link that leads nowhere)"),
        (lambda root: put(root / "ant/.0.png"), "ant (1 hidden or system files)"),
        (lambda root: put(root / "ant/0.jxl", b"\xff\x0a"), ", the first a JPEG XL image)"),
        (lambda root: put(root / "ant/0.png.part"), ", the first a PNG image)"),
    ],
    ids=["a link", "hidden", "another format", "half downloaded"],
)
def test_a_class_folder_never_vanishes(tmp_path, refuses, made, told):
    write_classes(tmp_path, {"cat": 3, "dog": 3})
    made(tmp_path)
    with refuses(DataError, "1 class folders hold no images", f"{tmp_path}/ant (", told):
        read(tmp_path)
    parts = read(tmp_path, empty_classes="skip")
    assert "1 class folders without images (ant)" in parts.notes[0]


def test_an_empty_class_of_validation_does_not_vanish_either(tmp_path, refuses):
    write_classes(tmp_path / "train")
    write_classes(tmp_path / "val", {"cat": 3, "dog": 0}, seed=1)
    with refuses(DataError, "1 class folders hold no images ", f"{tmp_path}/val/dog (empty)"):
        read(tmp_path)
    parts = read(tmp_path, empty_classes="skip")
    assert (len(parts.train), len(parts.validation)) == (16, 3)
    assert parts.notes == (f"{tmp_path}: left out 1 class folders without images (val/dog)",)


def test_heic_without_its_library_is_a_bad_image_and_avif_is_read(tmp_path, refuses, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    write_classes(tmp_path, {"cat": 5, "dog": 5})
    put(tmp_path / "ant/IMG_1.HEIC", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(300))
    with refuses(
        DataError, "1 of 11 images (9.09%) are bad", "ant/IMG_1.HEIC: a HEIC image", "pip install pillow-heif"
    ):
        read(tmp_path)
    put(tmp_path / "ant/IMG_2.avif", encoded(np.full((8, 8, 3), 99, np.uint8), "AVIF"))
    assert read(tmp_path, skip_bad=0.1).train.classes == ("ant", "cat", "dog")


def test_empty_classes_is_a_choice_for_folders(tmp_path, refuses):
    with refuses(ConfigError, "empty_classes: 'keep' is not one of refuse, skip"):
        load_data(str(tmp_path), empty_classes="keep")
    with refuses(ConfigError, "empty_classes: 'skip' is for folders, and not for digits"):
        load_data("digits", empty_classes="skip")


def test_images_of_a_shape_that_the_base_does_not_take_are_bad(tmp_path, refuses):
    write_classes(tmp_path, {"cat": 9, "dog": 9})
    put(tmp_path / "cat/tall.png", encoded(np.zeros((300, 1), np.uint8)))
    strict, base = Preprocess(224, 224, 3, resize=256), Preprocess(28, 28, 1)
    with refuses(DataError, f"1 of 19 images (5.26%) are bad: {tmp_path}/cat/tall.png: 300 x 1 would become 76800 pix"):
        load_data(str(tmp_path), preprocess=strict)
    data = load_data(str(tmp_path), preprocess=strict, skip_bad=0.1)
    assert "tall.png" in data.skipped[0]
    check_shapes(data, strict)
    unseen = load_data(str(tmp_path))
    check_shapes(unseen, base)
    with refuses(DataError, f"1 images cannot be used: {tmp_path}/cat/tall.png: 300 x 1 would", "and skip_bad"):
        check_shapes(unseen, strict)
    with refuses(DataError, "19 images cannot be used: ", "its 1 channels are not the 13", "; and 9 more; or leave"):
        check_shapes(unseen, Preprocess(28, 28, 13))
