"""Bad images are found, listed, and left out as far as is allowed."""

import hashlib

import numpy as np
import pytest
from image_files import encoded, numbered_images
from PIL import Image

from tlx.data import EncodedSource, labels_of
from tlx.data.screen import screen
from tlx.data.source import digests_of
from tlx.errors import DataError


def source_of(contents, name="a"):
    names = [f"{name}{number}" for number in range(len(contents))]
    return EncodedSource(contents.__getitem__, names, np.arange(len(contents)) % 2, ("cat", "dog"))


GOOD = numbered_images(40)


@pytest.mark.parametrize(
    ("bad", "total", "percent", "allowed"),
    [
        (0, 4, 0, True),
        (1, 40, 0, False),
        (1, 40, 2.4, False),
        (1, 40, 2.5, True),
        (2, 40, 5, True),
        (3, 40, 5, False),
        (29, 100, 29, True),  # 0.29 * 100 < 29 in floating point
        (30, 100, 29, False),
        (57, 100, 57, True),
        (4, 4, 99.9, False),
    ],
)
def test_no_more_may_be_bad_than_the_share_says(bad, total, percent, allowed, refuses):
    contents = [b"bad"] * bad + (GOOD * 3)[: total - bad]
    if allowed:
        found = screen({"train": source_of(contents)}, percent / 100)
        assert (len(found.sources["train"]), len(found.skipped)) == (total - bad, bad)
    else:
        with refuses(DataError, f"{bad} of {total} images", "a0: not an image", "mend them"):
            screen({"train": source_of(contents)}, percent / 100)


def test_the_error_lists_ten_and_says_how_many_to_allow(refuses):
    with refuses(DataError, "12 of 52 images (23.1%) are bad: a0: ", "; a9: ", "; and 2 more; ", "--skip-bad 24%"):
        screen({"train": source_of([b"bad"] * 12 + GOOD)})
    with refuses(DataError, "(23.1%) are bad, of which --skip-bad allows 5%: a0"):
        screen({"train": source_of([b"bad"] * 12 + GOOD)}, 0.05)
    with pytest.raises(DataError) as caught:
        screen({"train": source_of([b"bad"] * 3)})
    assert "3 of 3 images (100%)" in str(caught.value)
    assert "--skip-bad" not in str(caught.value)  # nothing would be left


def test_a_part_of_which_nothing_is_left_is_refused_whatever_is_allowed(refuses):
    parts = {"train": source_of(GOOD), "validation": source_of([b"bad"] * 11, "v")}
    with refuses(DataError, "validation: none of 11 images is left, all are bad: v0: ", "; and 1 more; mend them"):
        screen(parts, 0.5)
    with refuses(DataError, "train: none of 2 images is left"):
        screen({"train": source_of([b"bad"] * 2), "test": source_of(GOOD)}, 0.5)


def test_what_is_left_out_is_listed_and_the_rest_keeps_its_places():
    whole = source_of([GOOD[0], b"", GOOD[1], GOOD[2]])
    found = screen({"train": whole, "test": source_of([GOOD[3], GOOD[4][:-1]], "b")}, 0.4)
    first, second = found.sources["train"], found.sources["test"]
    assert (first.names, second.names) == (("a0", "a2", "a3"), ("b0",))
    assert labels_of(first).tolist() == [0, 0, 1]
    assert (first[2]["input"] == whole[3]["input"]).all()
    assert digests_of(first) == tuple(hashlib.sha256(GOOD[i]).digest() for i in (0, 1, 2))
    assert [line[:3] for line in found.skipped] == ["a1:", "b1:"]
    assert found.notes == (f"2 of 6 images are bad and left out: {found.skipped[0]}; {found.skipped[1]}",)
    many = screen({"train": source_of([b"bad"] * 12 + GOOD)}, 0.5)
    assert len(many.skipped) == 12
    assert many.notes[0].endswith("; and 2 more, listed in the run")


def test_a_hash_finds_what_a_decoder_does_not(refuses):
    content = encoded(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8), "JPEG", quality=95)
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    source = EncodedSource([bytes(flipped), content].__getitem__, ["a\n0", "a1"], [0, 0], ("cat",))
    sha256 = hashlib.sha256(content).hexdigest()
    assert screen({"train": source}).skipped == ()
    assert screen({"train": source}, expected={"train": ["", sha256.upper()]}).skipped == ()
    with refuses(DataError, "1 of 2 images (50%) are bad: a\\n0: its SHA-256 is not the manifest's"):
        screen({"train": source}, expected={"train": [sha256, sha256]})


def test_notes_count_frames_and_what_is_transparent():
    grey = np.zeros((4, 4), np.uint8)
    contents = [
        encoded(grey, "GIF", save_all=True, append_images=[grey + 90]),
        encoded(grey, "WEBP", save_all=True, append_images=[grey + 90]),
        encoded(grey, "PNG", save_all=True, append_images=[grey + 90]),
        encoded(Image.new("RGBA", (4, 4), (9, 9, 9, 200))),
        GOOD[0],
    ]
    assert screen({"train": source_of(contents)}).notes == (
        "3 images have several frames, of which the first is taken",
        "1 images are transparent in part, and laid on black",
    )


def test_a_bar_stands_on_the_terminal_alone_and_ends_before_a_fault_is_told(capsys, monkeypatch, refuses):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.delenv("TLX_PROGRESS", raising=False)
    contents = [*(GOOD * 6)[:219], b"bad"]
    with refuses(DataError, "1 of 220"):
        screen({"train": source_of(contents)}, progress=True)
    told = capsys.readouterr().err
    assert "looking at the images" in told
    assert told.endswith("\x1b[?25h\r\x1b[1A\x1b[2K")  # the cursor is back, the line empty


def test_no_sources_at_all():
    assert screen({}) == ({}, (), ())
