import hashlib

import numpy as np
import pytest
from image_files import encoded, numbered_images

from tlx.data import EncodedSource, Subset, encoded_images, gather, labels_of, names_of
from tlx.data.source import digests_of, take
from tlx.errors import DataError
from tlx.images import Preprocess

CONTENTS = [*numbered_images(2), encoded(np.zeros((3, 5, 3), np.uint8), "JPEG")]


@pytest.fixture
def paths(tmp_path):
    paths = [tmp_path / name for name in ("a.png", "b.png", "c.jpg")]
    for path, content in zip(paths, CONTENTS, strict=True):
        path.write_bytes(content)
    return [str(path) for path in paths]


def test_a_source_of_files_is_one_of_their_bytes(paths):
    for source in (
        encoded_images(paths, [1, 0, 1], ["cat", "dog"]),
        EncodedSource(CONTENTS.__getitem__, paths, [1, 0, 1], ["cat", "dog"]),
    ):
        assert (len(source), source.classes, names_of(source)) == (3, ("cat", "dog"), tuple(paths))
        assert labels_of(source).tolist() == [1, 0, 1]
        assert digests_of(source) == tuple(hashlib.sha256(content).digest() for content in CONTENTS)
        assert [example["input"].shape for example in source] == [(8, 8), (8, 8), (3, 5, 3)]
        columns = take(source, np.array([2, 0]))
        images, labels = columns["input"], columns["target"]
        assert [np.asarray(image).shape for image in images] == [(3, 5, 3), (8, 8)]
        assert labels.tolist() == [1, 1]
        assert gather(source, Preprocess(4, 4, 1), np.array([2, 0]))["input"].shape == (2, 4, 4, 1)
        assert names_of(Subset(source, [2, 0])) == (paths[2], paths[0])
        with pytest.raises(ValueError, match="read-only"):
            source.targets[0] = 0


def test_nothing_is_read_before_it_is_asked_for(paths, refuses, tmp_path):
    source = encoded_images([*paths, str(tmp_path / "no.png")], [0, 0, 0, 0], ("cat",))
    assert len(source) == 4
    with refuses(DataError, "no.png: No such file"):
        source[3]
    (tmp_path / "b.png").write_bytes(CONTENTS[1][:-1])
    with refuses(DataError, "b.png: cut short"):
        source[1]
    images = take(source, np.array([0, 3]))["input"]  # one at a time, so that a batch of photographs fits in memory
    assert np.asarray(next(images)).shape == (8, 8)
    with refuses(DataError, "no.png: No such file"):
        next(images)
