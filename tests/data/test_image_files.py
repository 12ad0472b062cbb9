"""ImageFiles from files come out as they look, or are refused by name."""

import gzip
import io
import sys

import numpy as np
import pytest
from image_files import encoded, numbered_images, write_classes
from PIL import Image

from tlx.data import ImageFiles, gather, names_of
from tlx.data.image_files import read_images
from tlx.errors import DataError, UnsafeFileError
from tlx.images import Preprocess

GREY = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)
RGB = np.stack([GREY, 255 - GREY, GREY // 2], axis=-1)


def read(path):
    [(name, image)] = read_images(str(path))
    assert name == str(path)
    return image


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "webp"])
def test_lossless_formats(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(RGB).save(path, lossless=True)
    assert (read(path) == RGB).all()


def test_the_content_decides_not_the_name(tmp_path):
    path = tmp_path / "really-a-png.jpg"
    Image.fromarray(GREY).save(path, format="PNG")
    assert (read(path) == GREY).all()


def test_sixteen_bits_become_eight(tmp_path):
    path = tmp_path / "deep.png"
    Image.fromarray(GREY.astype(np.uint16) * 257).save(path)
    assert (read(path) == GREY).all()


@pytest.mark.parametrize(
    ("mode", "channels"), [("1", None), ("P", 3), ("LA", 3), ("RGBA", 3), ("CMYK", 3), ("L", None), ("RGB", 3)]
)
def test_other_modes(tmp_path, mode, channels):
    path = tmp_path / ("a.tiff" if mode == "CMYK" else "a.png")
    Image.fromarray(RGB).convert(mode).save(path)
    image = read(path)
    assert image.dtype == np.uint8
    assert image.shape == ((4, 6) if channels is None else (4, 6, channels))
    if mode == "CMYK":
        assert np.abs(image.astype(int) - RGB).max() <= 2


def test_a_image_is_turned_as_its_exif_says(tmp_path):
    path = tmp_path / "a.png"
    exif = Image.Exif()
    exif[0x0112] = 6  # stored a quarter turn to the left
    Image.fromarray(GREY).save(path, exif=exif)
    assert (read(path) == np.rot90(GREY, -1)).all()


def test_the_first_frame_of_an_animation(tmp_path, caplog):
    path = tmp_path / "a.gif"
    frames = [Image.fromarray(np.full((4, 6), value, np.uint8)) for value in (10, 200)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert read(path)[0, 0].tolist() in ([10, 10, 10], [10, 10, 10, 255], 10)
    assert "only the first of 2 frames" in caplog.text


def test_arrays(tmp_path):
    np.save(tmp_path / "a.npy", np.stack([GREY, GREY + 1]))
    assert [name for name, _ in read_images(str(tmp_path / "a.npy"))] == [f"{tmp_path}/a.npy#{i}" for i in range(2)]
    np.save(tmp_path / "b.npy", GREY)
    assert (read_images(str(tmp_path / "b.npy"))[0][1] == GREY).all()
    np.save(tmp_path / "c.npy", GREY / 255)
    with pytest.raises(DataError, match="floats"):
        read_images(str(tmp_path / "c.npy"))


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files(tmp_path, suffix):
    content = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 6]) + GREY.tobytes() * 2
    path = tmp_path / f"images{suffix}"
    path.write_bytes(gzip.compress(content) if suffix else content)
    assert [(image == GREY).all() for _, image in read_images(str(path))] == [True, True]


def damaged(kind):
    content = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(content, format=kind)
    return content.getvalue()[: len(content.getvalue()) // 2]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("half.png", damaged("PNG")),
        ("half.jpg", damaged("JPEG")),
        ("empty.jpg", b""),
        ("text.jpg", b"hello"),
        ("postscript.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n"),
        ("page.npy", b"<html>"),
        ("short.npy", b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (9, 9), }" + b" " * 60),
    ],
)
def test_damage_is_refused_by_name(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=name) as caught:
        read_images(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_floating_point_images_are_refused(tmp_path):
    Image.fromarray(np.linspace(0, 1, 24, dtype=np.float32).reshape(4, 6)).save(tmp_path / "a.tiff")
    with pytest.raises(DataError, match="whose black and white nobody knows"):
        read_images(str(tmp_path / "a.tiff"))


def test_a_pickle_is_unsafe(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"\x80\x04N.")
    with pytest.raises(UnsafeFileError, match=r"a\.npy"):
        read_images(str(tmp_path / "a.npy"))


def test_folders_patterns_files_and_arrays_stand_for_images_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(write_classes(tmp_path, {"cat": 2, "dog": 2}))
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "cat/notes.txt").write_text("")
    (tmp_path / "dog/round").symlink_to(tmp_path / "dog")
    (tmp_path / "more").symlink_to(tmp_path / "cat")
    np.save("a.npy", np.stack([GREY, GREY]))
    np.save("b.npy", GREY)
    images = ImageFiles([".", "dog/*.png", "*/1.png", "?.npy", "cat/0.png"])
    assert names_of(images) == (
        *("./cat/0.png", "./cat/1.png", "./dog/0.png", "./dog/1.png"),
        *("dog/0.png", "dog/1.png", "cat/1.png", "dog/1.png", "more/1.png"),
        *("a.npy#0", "a.npy#1", "b.npy#0", "cat/0.png"),
    )
    assert images.target_kind == "none"
    assert (images[11]["input"] == GREY).all()
    assert images.notes == [
        ".: left out 1 hidden or system files, 2 links to folders that were met before (dog/round, more), 3 other "
        "files (2 .npy, 1 .txt: a.npy, b.npy, cat/notes.txt)"
    ]


def test_a_name_that_looks_like_a_pattern_is_a_name(tmp_path):
    for name in ("a[1].png", "a1.png"):
        (tmp_path / name).write_bytes(encoded(GREY))
    assert names_of(ImageFiles([f"{tmp_path}/a[1].png"])) == (f"{tmp_path}/a[1].png",)


def test_a_bad_image_is_a_fault_and_a_black_pixel(tmp_path):
    for number, content in enumerate([*numbered_images(2), b"bad", encoded(GREY, "JPEG")[:-1]]):
        (tmp_path / f"{number}.png").write_bytes(content)
    images = ImageFiles([str(tmp_path)])
    assert images.faults == {}
    batch = gather(images, Preprocess(4, 4, 1), np.arange(4))
    assert batch["input"].shape == (4, 4, 4, 1)
    assert images[2]["input"].tolist() == [[0]]
    assert sorted(images.faults) == [2, 3]
    assert images.faults[2].startswith(f"{tmp_path}/2.png: not an image")
    assert images.faults[3].startswith(f"{tmp_path}/3.png: cut short")


def test_an_image_of_a_shape_that_the_model_does_not_take_is_a_fault(tmp_path):
    for name, shape in {"a": (8, 8), "b": (1, 300), "c": (300, 1), "d": (1, 200)}.items():
        (tmp_path / f"{name}.png").write_bytes(encoded(np.zeros(shape, np.uint8)))
    preprocess = Preprocess(224, 224, 3, resize=256)
    images = ImageFiles([str(tmp_path)], preprocess)
    assert gather(images, preprocess, np.arange(4))["input"].shape == (4, 224, 224, 3)
    assert sorted(images.faults) == [1, 2]
    assert images.faults[1].startswith(f"{tmp_path}/b.png: 1 x 300 would become 76800 pixels long")
    deep = Preprocess(8, 8, 13)
    assert gather(blank := ImageFiles([str(tmp_path)], deep), deep, np.arange(4))["input"].shape == (4, 8, 8, 13)
    assert "its 1 channels are not the 13 that the network takes" in blank.faults[0]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC image"),
        (b"\0\0\1\0", "an icon"),
        (b"%PDF-1.4", "a PDF file"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image"),
        (gzip.compress(bytes(352), mtime=0), "a gzip file"),  # a volume of NIfTI, whose first bytes are an idx file's
        (gzip.compress(b"<svg/>", mtime=0), "a gzip file"),
        (gzip.compress(b"", mtime=0), "a gzip file"),
    ],
)
def test_what_is_no_image_for_us_is_named_as_what_it_is(tmp_path, monkeypatch, content, kind):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.png").write_bytes(content + bytes(99))
    images = ImageFiles([str(tmp_path / "a.png")])
    assert images[0]["input"].shape == (1, 1)
    assert kind in images.faults[0]
    assert "idx" not in images.faults[0]


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ([], "no images; name files or folders"),
        (["no.png"], "no.png: No such file"),
        (["*.jpg"], "*.jpg: nothing matches; check the pattern"),
        (["empty"], "empty: holds no images (PNG, "),
        (["a.npy"], "a.npy: "),
        (["a\0b"], "a\\x00b: "),
    ],
)
def test_inputs_that_stand_for_nothing(tmp_path, monkeypatch, inputs, words, refuses):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/notes.txt").write_text("")
    (tmp_path / "a.npy").write_bytes(b"")
    with refuses(DataError, words):
        ImageFiles(inputs)
