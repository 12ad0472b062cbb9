"""Texts of Hugging Face's tables: which are such, what is read of them, and parts without labels."""

import pytest

from tlx.data import labels_of, load_data, targets_of
from tlx.errors import ConfigError, DataError

datasets = pytest.importorskip("datasets", reason="datasets is in the extra `hf`")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:datasets")

TEXTS = [f"{kind} number {number}" for number in range(12) for kind in ("a film", "no film")]
CLASSES = datasets.ClassLabel(names=["positive", "negative"])


def table(texts=TEXTS, labels=None, kind=CLASSES, **columns):
    labels = [row % 2 for row in range(len(texts))] if labels is None else labels
    features = {"text": datasets.Value("string"), "label": kind, "idx": datasets.Value("int32")}
    features |= {name: datasets.Value("string") for name in columns}
    held = {"text": texts, "label": labels, "idx": range(len(texts)), **columns}
    return datasets.Dataset.from_dict(held, features=datasets.Features(features))


@pytest.fixture
def saved(tmp_path):
    def save(found):
        folder = tmp_path / "saved"
        (datasets.DatasetDict(found) if isinstance(found, dict) else found).save_to_disk(str(folder))
        return f"hf:{folder}"

    return save


def test_classes_keep_their_order_and_parts_their_names(saved):
    source = saved({"train": table(), "validation": table(TEXTS[:4]), "test": table(TEXTS[:2], [-1, -1])})
    data = load_data(source)
    assert data.classes == ("positive", "negative")
    assert data.validation[1] == {"input": TEXTS[1], "target": 1}
    assert data.validation.names[1] == f"{source} validation#1"
    assert len(data.test) == 4  # of training's, since the test part has no labels
    assert f"{source} test: no row has a label; the part is left out" in data.notes
    assert f"{source}: the text is column 'text', the target column 'label'; columns not used: idx" in data.notes


def test_pairs_names_of_classes_and_numbers(saved):
    text = datasets.Value("string")
    labels = ["yes" if row % 3 else "no" for row in range(24)]
    source = saved(table(labels=labels, kind=text, question1=TEXTS, question2=TEXTS[::-1]))
    data = load_data(source)
    assert data.classes == ("no", "yes")
    first = data.train[0]["input"]
    assert TEXTS.index(first["text"]) == 23 - TEXTS.index(first["pair"])
    assert load_data(source, text="text").train[0]["input"] in TEXTS
    scores = saved(table(labels=[row / 4 for row in range(24)], kind=datasets.Value("float32")))
    found = load_data(scores, target="label")
    assert found.target_kind == "regression"
    assert targets_of(found.train)[0].tolist() == [TEXTS.index(found.train[0]["input"]) / 4]


def test_a_row_without_a_label_or_a_text_is_bad(saved, refuses):
    source = saved(table(labels=[-1] + [row % 2 for row in range(23)]))
    with refuses(DataError, f"1 of 24 texts (4.17%) are bad: {source} train#0 has no label"):
        load_data(source)
    data = load_data(source, skip_bad=0.05)
    assert len(data.train) + len(data.validation) + len(data.test) == 23
    assert labels_of(data.train).max() == 1
    with refuses(DataError, "train#1 has no text"):
        load_data(saved(table(["a film", None, "no film"])), text="text")


def test_columns_of_texts_are_not_for_images(saved, refuses):
    from image_files import numbered_images

    features = datasets.Features({"image": datasets.Image(), "label": CLASSES, "caption": datasets.Value("string")})
    images = [{"bytes": content, "path": None} for content in numbered_images(8)]
    held = {"image": images, "label": [0, 1] * 4, "caption": TEXTS[:8]}
    source = saved(datasets.Dataset.from_dict(held, features=features))
    assert hasattr(load_data(source).train, "shapes")
    with refuses(ConfigError, "target: columns are for texts, and these are images"):
        load_data(source, target="label")
    assert load_data(source, text="caption", target="label").train[0]["input"] in TEXTS
