"""Every kind of image comes out upright, in 8 bits and in the right colours, or is refused in one line."""

import contextlib
import io
import random
import sys
import types

import numpy as np
import pytest
from image_files import as_ycck, empty_png, encoded, shown
from PIL import Image, ImageOps

from tlx.errors import DataError
from tlx.images.decode import decode_image, read_content

GREY = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)
SMOOTH = np.add.outer(np.arange(48), np.arange(64))[..., None] * np.array([1.0, 1.5, 2.0])
SMOOTH = SMOOTH.astype(np.uint8)
NOISE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def image_of(content):
    image = decode_image(content, "a.jpg").image
    assert image.dtype == np.uint8
    return image


WHOLE = {
    "jpeg": encoded(SMOOTH, "JPEG"),
    "noisy jpeg": encoded(NOISE, "JPEG", quality=95),
    "progressive jpeg": encoded(SMOOTH, "JPEG", progressive=True),
    "restarting jpeg": encoded(NOISE, "JPEG", restart_marker_blocks=1),
    "jpeg with a thumbnail": encoded(SMOOTH, "JPEG", exif=b"Exif\0\0" + encoded(GREY, "JPEG")),
    "png": encoded(SMOOTH),
    "webp": encoded(SMOOTH, "WEBP"),
    "bmp": encoded(SMOOTH, "BMP"),
    "tiff": encoded(SMOOTH, "TIFF"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_whole_is_decoded_and_what_is_cut_is_not(name, refuses):
    content = WHOLE[name]
    assert image_of(content).shape == (48, 64, 3)
    for cut in (1, 2, 20, len(content) // 2, len(content) - 10):
        with refuses(DataError, "a.jpg: ", "again"):
            decode_image(content[:-cut], "a.jpg")


def test_a_jpeg_of_which_only_a_part_was_ever_written(refuses):
    content = encoded(np.concatenate([NOISE, NOISE]), "JPEG")
    with refuses(DataError, "a.jpg: cut short, its end-of-image marker is missing"):
        decode_image(content[: len(content) // 2] + b"\0" * (len(content) // 2), "a.jpg")


@pytest.mark.filterwarnings("ignore:Truncated File Read", "ignore:Corrupt EXIF")
@pytest.mark.parametrize("cut", [20, 60, 300])
@pytest.mark.parametrize(
    "content", [encoded(SMOOTH, "GIF"), encoded(SMOOTH, "TIFF", compression="tiff_lzw")], ids=["gif", "tiff"]
)
def test_an_animation_and_a_compressed_image_that_are_cut(content, cut, refuses):
    with refuses(DataError, "a.jpg: ", "get or save it again"):
        decode_image(content[:-cut], "a.jpg")


@pytest.mark.parametrize("behind", [b"\0" * 100, b"mp4 \xff\xda and on", encoded(GREY, "JPEG")[:-9]])
def test_what_a_camera_puts_behind_a_jpeg_does_not_matter(behind):
    assert (image_of(WHOLE["jpeg"] + behind) == image_of(WHOLE["jpeg"])).all()


def test_most_flipped_bits_of_a_jpeg_go_unnoticed():
    """Which is why a manifest may have a SHA-256 of each image."""
    draw, silent = random.Random(0), 0
    for _ in range(40):
        content = bytearray(WHOLE["noisy jpeg"])
        content[draw.randrange(700, len(content) - 2)] ^= 1 << draw.randrange(8)
        with contextlib.suppress(DataError):
            image_of(bytes(content))
            silent += 1
    assert silent > 20


@pytest.mark.parametrize(
    "content",
    [
        encoded(Image.fromarray(SMOOTH).convert("CMYK"), "JPEG", quality=95, subsampling=0),
        as_ycck(SMOOTH),
        encoded(Image.fromarray(SMOOTH).convert("CMYK"), "TIFF"),
        encoded(SMOOTH, "JPEG", quality=95, subsampling=0),
    ],
    ids=["CMYK", "YCCK", "CMYK TIFF", "YCbCr"],
)
def test_printers_colours_become_rgb(content):
    difference = np.abs(image_of(content).astype(int) - SMOOTH)
    assert difference.mean() < 2
    assert difference.max() <= 12


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_as_their_exif_says(kind, orientation):
    turned = shown(SMOOTH, orientation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95, "subsampling": 0}}.get(kind, {})
    found = image_of(encoded(SMOOTH, kind, exif=exif, **lossless))
    assert found.shape == turned.shape
    assert np.abs(found.astype(int) - turned).max() <= (12 if kind == "JPEG" else 0)


RED, CLEAR_RED = (200, 10, 30, 255), (200, 10, 30, 0)
PALETTE = ImageOps.posterize(Image.fromarray(SMOOTH), 2).quantize(16)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (encoded(Image.new("RGBA", (3, 2), RED)), RED[:3]),
        (encoded(Image.new("RGBA", (3, 2), CLEAR_RED)), CLEAR_RED),
        (encoded(Image.new("RGBA", (3, 2), (9, 8, 7, 128))), (9, 8, 7, 128)),
        (encoded(Image.new("LA", (3, 2), (90, 255))), (90, 90, 90)),
        (encoded(Image.new("LA", (3, 2), (90, 5))), (90, 90, 90, 5)),
        (encoded(Image.new("RGB", (3, 2), RED[:3]), transparency=RED[:3]), CLEAR_RED),
        (encoded(Image.new("L", (3, 2), 90), transparency=90), (90, 90, 90, 0)),
        (encoded(Image.new("1", (3, 2), 1)), 255),
        (encoded(Image.new("1", (3, 2), 1), "TIFF"), 255),
        (encoded(np.full((2, 3), 257 * 90, np.uint16)), 90),
        (encoded(np.full((2, 3), 257 * 90 + 129, np.uint16)), 91),
        (encoded(np.full((2, 3), 257 * 90, np.uint16), "TIFF"), 90),
        (encoded(Image.frombytes("I;16B", (3, 2), b"\x5a\x5a" * 6), "TIFF"), 90),
        (encoded(Image.new("RGB", (3, 2), RED[:3]).convert("P", palette=Image.Palette.ADAPTIVE)), RED[:3]),
    ],
)
def test_modes(content, expected):
    found = image_of(content)
    assert found.shape[:2] == (2, 3)
    assert found[1, 2].tolist() == (list(expected) if isinstance(expected, tuple) else expected)


def test_a_palette_with_a_transparent_colour():
    whole = image_of(encoded(PALETTE))
    assert whole.shape == (48, 64, 3)
    part = image_of(encoded(PALETTE, transparency=0))
    assert (part[..., :3] == whole).all()
    assert (part[..., 3] == np.where(np.asarray(PALETTE) == 0, 0, 255)).all()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_several_frames_the_first_is_taken(kind):
    options = {"save_all": True, "append_images": [SMOOTH // 2, SMOOTH // 3]}
    found = decode_image(encoded(SMOOTH, kind, **options, **({"lossless": True} if kind == "WEBP" else {})), "a")
    assert found.frames == 3
    assert np.abs(found.image[..., :3].astype(int) - SMOOTH).mean() < (8 if kind == "GIF" else 0.1)


def test_the_second_eye_of_a_camera_is_no_frame():
    found = decode_image(encoded(SMOOTH, "MPO", save_all=True, append_images=[SMOOTH // 2]), "a.jpg")
    assert found.frames == 1
    assert np.abs(found.image.astype(int) - SMOOTH).mean() < 4


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not an image (PNG, JPEG, BMP, GIF, TIFF, WebP, AVIF, HEIC) but an empty file"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "but a PostScript file"),
        (b"<html>404", "but an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0isom", "but a video"),
        (b"%PDF-1.7", "but a PDF file"),
        (b"\0\0\0\x0cjP  \r\n", "but a JPEG 2000 image"),
        (bytes(128) + b"DICM", "but a DICOM file"),
        (encoded(GREY, "AVIF")[:40], "damaged, its header cannot be read"),
        (encoded(np.linspace(0, 1, 24, dtype=np.float32).reshape(4, 6), "TIFF"), "whose black and white nobody knows"),
        (encoded(np.full((4, 6), np.nan, np.float32), "TIFF"), "whose black and white nobody knows"),
        (encoded(GREY.astype(np.int32) << 20, "TIFF"), "32-bit pixels"),
        (empty_png(20_000, 20_000), "too large (Image size (400000000 pixels) exceeds limit"),
        (empty_png(0, 5), "damaged, its header cannot be read"),
        (empty_png(5, 5), "cannot be decoded"),
    ],
)
def test_what_is_no_image_is_refused(content, words, refuses):
    with refuses(DataError, "a\\nb.jpg: ", words):
        decode_image(content, "a\nb.jpg")


def test_one_pixel():
    assert image_of(encoded(Image.new("RGB", (1, 1), (1, 2, 3)))).tolist() == [[[1, 2, 3]]]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("exif", [b"nonsense", b"II*\0\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\0\x12\x01\x03\0"])
def test_a_damaged_exif_does_not_spoil_the_image(exif):
    assert image_of(encoded(SMOOTH, "JPEG", exif=b"Exif\0\0" + exif)).shape == SMOOTH.shape


def test_files_are_read_within_bounds(tmp_path, monkeypatch, refuses):
    path = tmp_path / "a.png"
    path.write_bytes(b"12345")
    assert read_content(str(path)) == b"12345"
    for place, words in ((tmp_path, "not a regular file"), (tmp_path / "no", "No such file"), ("a\0b", "a\\x00b")):
        with refuses(DataError, words):
            read_content(str(place))
    monkeypatch.setattr("tlx.images.decode.MAX_FILE", 4)
    with refuses(DataError, "a.png: larger than"):
        read_content(str(path))


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(300)


@pytest.mark.parametrize(
    ("content", "kind"), [(HEIC, "a HEIC image"), (HEIC.replace(b"heic", b"mif1"), "a HEIF image")]
)
def test_heic_needs_its_library(content, kind, refuses, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with refuses(
        DataError, f"a.jpg: {kind}, which needs pillow-heif: pip install pillow-heif", "or convert it to JPEG"
    ):
        decode_image(content, "a.jpg")


def test_heic_goes_the_way_of_every_image_once_its_library_is_there(refuses, monkeypatch):
    opened = {"input": Image.fromarray(GREY).convert("RGBA")}
    library = types.SimpleNamespace(HeifImageFile=lambda file: opened["input"])
    monkeypatch.setitem(sys.modules, "pillow_heif", library)
    image = decode_image(HEIC, "a.heic")
    assert (image.image[..., 0] == GREY).all()
    assert image.image.shape == (*GREY.shape, 3)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 11)
    with refuses(DataError, "a.heic: too large (Image size (24 pixels) exceeds limit)"):
        decode_image(HEIC, "a.heic")


def test_a_real_heic(refuses):
    heif = pytest.importorskip("pillow_heif", reason="pillow-heif is in the extra `heic`")
    content, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    rgb = np.zeros((32, 48, 3), np.uint8)
    rgb[:16, :24] = 250, 20, 20
    heif.from_pillow(Image.fromarray(rgb)).save(content, exif=exif.tobytes(), quality=95)
    image = decode_image(content.getvalue(), "a.heic")
    assert np.abs(image.image.astype(int) - np.rot90(rgb, -1)).mean() < 9
    with refuses(DataError, "a.heic: cannot be decoded"):
        decode_image(content.getvalue()[:-9], "a.heic")


def test_avif_is_turned_and_refused_where_pillow_lacks_it(refuses, monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = 6
    rgb = np.zeros((32, 48, 3), np.uint8)
    rgb[:16, :24] = 250, 20, 20
    content = encoded(rgb, "AVIF", exif=exif, quality=95)
    assert np.abs(decode_image(content, "a.avif").image.astype(int) - np.rot90(rgb, -1)).mean() < 9
    monkeypatch.setattr("PIL.features.check", lambda name: name != "avif")
    with refuses(DataError, "a.avif: an AVIF image, and this Pillow was built without AVIF: install Pillow from PyPI"):
        decode_image(content, "a.avif")


def test_of_a_raw_file_pillow_would_take_the_thumbnail(refuses):
    content = encoded(SMOOTH, "TIFF")
    assert (decode_image(content, "a.tif").image == SMOOTH).all()
    for name in ("a.DNG", "a.nef"):
        with refuses(DataError, f"{name}: a camera's raw file; develop it"):
            decode_image(content, name)
