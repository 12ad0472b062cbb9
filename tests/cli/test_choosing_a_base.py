"""Without --base the command says what it took and why, and refuses a base that cannot suit."""

import numpy as np
import pytest
from PIL import Image

SHORT = ["--recipe", "probe", "--head-epochs", 1, "--compare-scratch", "never", "--batch-size", 4]


@pytest.fixture
def folder(tmp_path):
    """Make a folder of two classes of images of some size, grey or in colour; return its path."""

    def folder(side, colour=False):
        random = np.random.default_rng(side)
        for name in ("cats", "dogs"):
            (tmp_path / "photos" / name).mkdir(parents=True)
            for number in range(8):
                pixels = random.integers(0, 256, (side, side, 3) if colour else (side, side)).astype(np.uint8)
                Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
        return tmp_path / "photos"

    return folder


@pytest.mark.parametrize("command", ["finetune", "probe"])
def test_photos_in_colour_are_refused_with_bases_that_suit(refused, folder, tmp_path, monkeypatch, command):
    photos = folder(120, colour=True)
    monkeypatch.chdir(tmp_path)
    line = refused(2, command, "--data", photos)
    assert "no --base was named, and the default one does not suit: the images are in colour, about 120x120" in line
    assert "cnn-mnist takes 28x28 grey images: name --base cifar/resnet20 or --base keras/mobilenet_v2" in line
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


@pytest.mark.slow
def test_small_grey_images_are_taken_and_it_is_said(call, folder, tmp_path):
    called = call("finetune", "--data", folder(9), *SHORT, "--out", tmp_path / "run", "--json")
    assert called.code == 0, called.err
    assert called.json["base"] == "cnn-mnist"
    assert "tlx: no --base was named: took cnn-mnist, which comes with tlx and takes 28x28 grey images\n" in called.err
    assert "base: cnn-mnist\n" in (tmp_path / "run/config.yaml").read_text()
    assert "lost" not in called.err


@pytest.mark.slow
def test_large_grey_images_are_taken_with_a_note(call, folder):
    called = call("finetune", "--data", folder(112), *SHORT, "--dry-run", "--json")
    assert called.code == 0, called.err
    assert (
        "the images are grey, about 112x112, and cnn-mnist takes 28x28 grey images: detail will be lost" in called.err
    )


@pytest.mark.slow
def test_a_base_that_is_named_is_taken_with_a_note(call, folder):
    called = call("finetune", "--data", folder(112, colour=True), *SHORT, "--base", "cnn-mnist", "--dry-run", "--json")
    assert called.code == 0, called.err
    assert "colour and detail will be lost; try --base cifar/resnet20 or --base keras/mobilenet_v2" in called.err
    assert "no --base" not in called.err


def test_the_default_data_need_no_word(call):
    called = call("finetune", *SHORT, "--labels-per-class", 2, "--dry-run", "--json")
    assert "base" not in called.err
