"""`tlx presets`: a line each, names whole, chosen by a pattern."""

import pytest

from tlx.presets import list_presets, list_published, list_texts, list_vectors

EVERY = [*list_presets(), *list_published(), *list_texts(), *list_vectors()]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_each_is_one_line_that_begins_with_its_name(call, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    lines = call("presets").out.splitlines()
    assert [line.split()[0] for line in lines[2 : 2 + len(EVERY)]] == EVERY
    assert len(lines) <= 2 + len(EVERY) + 3
    assert max(map(len, lines[:-1])) <= width


def test_at_80_characters_input_data_accuracy_and_licence_are_there(call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    header = call("presets").out.splitlines()[1]
    assert header.split() == ["name", "input", "data", "accuracy", "licence"]
    (line,) = [line for line in call("presets", "cnn").out.splitlines() if line.startswith("cnn-mnist")]
    assert line.split() == ["cnn-mnist", "28x28x1", "MNIST", "99.43%", "Apache-2.0"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*mobile*", [name for name in EVERY if "mobile" in name]),
        ("mobile", [name for name in EVERY if "mobile" in name]),
        ("MNIST", ["cnn-mnist", "mlp-mnist"]),
        ("keras/*", [name for name in EVERY if name.startswith("keras/")]),
        ("keras/vgg1?", ["keras/vgg16", "keras/vgg19"]),
    ],
)
def test_a_pattern_chooses(call, pattern, expected):
    assert [row["name"] for row in call("presets", pattern, "--json").json["presets"]] == expected


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("mobilnet", "near it are keras/mobilenet_v2"),
        ("*resnet_50*", "keras/resnet50"),
        ("xyzzyqq", "tlx presets lists all"),
    ],
)
def test_no_match_is_refused_with_near_names(refused, pattern, words):
    line = refused(2, "presets", pattern)
    assert f"no preset is called or holds '{pattern}'" in line
    assert words in line
