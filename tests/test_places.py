"""Names that are fit to be shared say which file or data it was, and not where on whose machine."""

import pytest

from tlx.places import public_source, public_text


@pytest.fixture(autouse=True)
def home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann smith")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("digits", "digits"),
        ("folder:/home/ann/photos", "folder:photos"),
        ("folder:/home/ann smith/my photos/", "folder:my photos"),
        ("folder:/home/ann smith", "folder:~"),
        ("idx:/data/emnist/emnist-letters", "idx:emnist-letters"),
        ("npz:C:\\Users\\ann\\a b.npz", "npz:a b.npz"),
        ("C:\\Users\\ann\\a.h5", "a.h5"),
        ("\\\\server\\ann\\a.h5", "a.h5"),
        ("hf:/home/ann/pets", "hf:pets"),
        ("hf:ann/pets", "hf:ann/pets"),  # a public name
        ("tfds:mnist", "tfds:mnist"),
        ("~/photos", "photos"),
        ("~bob/photos", "photos"),
        ("photos/flowers", "photos/flowers"),
        ("keras/vgg16", "keras/vgg16"),
        ("torchvision/resnet50.imagenet1k_v1", "torchvision/resnet50.imagenet1k_v1"),
        ("folder:/home/ann/\udcff", "folder:\\udcff"),
        ("/", "/"),
        ("", ""),
    ],
)
def test_data_and_files(source, expected):
    assert public_source(source) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/data/my photos/cats/a b.jpg: cut short", "cats/a b.jpg: cut short"),
        ("/data/my photos: left out 1", "my photos: left out 1"),
        ("/data/my photos2/a.jpg", "my photos2/a.jpg"),  # beside the folder, within its parent
        ("folder:/data/my photos", "folder:my photos"),
        ("/var/lib/x.jpg and /var/y.jpg", "x.jpg and y.jpg"),
        ("'/var/lib/x.jpg'", "'x.jpg'"),
        ("(/var/lib/x.jpg)", "(x.jpg)"),
        ("file:///var/lib/x.jpg", "x.jpg"),
        ("/home/ann smith/notes.txt", "~/notes.txt"),
        ("/home/ann smith", "~"),
        ("~/images/a.jpg", "a.jpg"),
        ("C:\\Users\\ann\\a.jpg: bad", "a.jpg: bad"),
        ("https://a.example/b/c", "https://a.example/b/c"),
        ("3/4 of base/conv1/kernel, 1 / 2", "3/4 of base/conv1/kernel, 1 / 2"),
        ("8x8 images resized to 28x28", "8x8 images resized to 28x28"),
        ("", ""),
    ],
)
def test_texts(text, expected):
    assert public_text(text, ["/data/my photos", "/data", "/"]) == expected


def test_a_folder_whose_name_is_a_pattern():
    assert public_text(r"/d/a+(b)\1/x.jpg in /d/a+(b)\1", [r"/d/a+(b)\1"]) == "x.jpg in 1"
