"""Hugging Face data sets are read from folders and, with the network played, from the hub."""

import builtins

import pytest
from image_files import numbered_images

from tlx.data import labels_of, load_data
from tlx.errors import ConfigError, DataError

datasets = pytest.importorskip("datasets", reason="datasets is in the extra `hf`")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:datasets")

CONTENTS = numbered_images(24)
CLASSES = datasets.ClassLabel(names=["dog", "cat"])


def table(contents=CONTENTS, labels=None, kind=CLASSES, image="image", label="label", column_type=None):
    """Make a data set of images and labels, whose columns are called and typed as the arguments say."""
    labels = [row % 2 for row in range(len(contents))] if labels is None else labels
    images = [each if each is None else {"bytes": each, "path": None} for each in contents]
    features = datasets.Features({image: column_type or datasets.Image(), label: kind, "id": datasets.Value("int32")})
    columns = {image: contents if column_type else images, label: labels, "id": range(len(contents))}
    return datasets.Dataset.from_dict(columns, features=features)


@pytest.fixture
def saved(tmp_path):
    def save(found):
        folder = tmp_path / "saved"
        (datasets.DatasetDict(found) if isinstance(found, dict) else found).save_to_disk(str(folder))
        return f"hf:{folder}"

    return save


def test_splits_are_found_by_name_and_classes_come_from_the_features(saved):
    source = saved({"train": table(), "dev": table(CONTENTS[:4]), "test": table(CONTENTS[4:6]), "unlabelled": table()})
    data = load_data(source)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [24, 4, 2]
    assert data.classes == ("dog", "cat")
    assert labels_of(data.validation).tolist() == [0, 1, 0, 1]
    assert data.notes[0] == f"{source}: splits not used: unlabelled"
    assert data.test.names == (f"{source} test#0", f"{source} test#1")
    assert (data.test[0]["input"] == load_data(source).test[0]["input"]).all()
    assert data.spec.source == source


def test_a_table_alone_is_split(saved):
    data = load_data(saved(table().select(range(20)).shuffle(seed=0)))
    assert [len(part) for part in (data.train, data.validation, data.test)] == [12, 4, 4]


def test_a_test_set_that_numbers_its_classes_otherwise(saved, refuses):
    other = datasets.ClassLabel(names=["eel", "cat", "dog"])
    data = load_data(saved({"train": table(), "test": table(CONTENTS[:4], [1, 2, 2, 1], other)}))
    assert labels_of(data.test).tolist() == [1, 0, 0, 1]
    assert data.test.classes == ("dog", "cat")


@pytest.mark.parametrize(
    ("kind", "labels", "classes"),
    [
        ("string", ["b", "a", "b", "a"], ("a", "b")),
        ("int64", [10, 9, 10, 9], ("9", "10")),
        ("bool", [True, False, True, False], ("False", "True")),
    ],
)
def test_labels_that_are_texts_or_numbers(saved, kind, labels, classes):
    data = load_data(saved(table(CONTENTS[:4], labels, datasets.Value(kind))), test=0, validation=0)
    assert data.classes == classes
    assert sorted(labels_of(data.train).tolist()) == [0, 0, 1, 1]


@pytest.mark.parametrize("names", [("img", "labels"), ("photo", "kind")])
def test_columns_by_type_or_by_name(saved, names):
    assert len(load_data(saved(table(image=names[0], label=names[1])), test=0, validation=0).train) == 24


LIST = datasets.List(datasets.Value("int32"))


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (
            lambda: table(label="kind", kind=datasets.Value("string"), labels=["a"] * 24),
            "the columns are image, kind, id",
        ),
        (
            lambda: table(column_type=datasets.Value("string"), image="file"),
            "the columns are file, label, id; expected one",
        ),
        (lambda: table([3] * 4, column_type=datasets.Value("int32")), "the column image holds no images ("),
        (lambda: table(CONTENTS[:3], [0, -1, 1]), "train: row 1: label -1 is negative"),
        (lambda: table(CONTENTS[:3], [0, None, 1]), "train: row 1: label None is missing, expected integers"),
        (lambda: table(CONTENTS[:3], ["a", "", "b"], datasets.Value("string")), "row 1: its label is ''"),
        (lambda: table(CONTENTS[:3], ["a", None, "b"], datasets.Value("string")), "row 1: its label is None"),
        (lambda: table(CONTENTS[:2], [[1], [2]], LIST), "row 0: its label is [1]; give a text or a whole number"),
        (lambda: table(CONTENTS[:2], [0.5, 1], datasets.Value("float32")), "row 0: its label is 0.5"),
        (lambda: table([CONTENTS[0], None, b"bad"], [0, 1, 1]), "2 of 3 images (66.7%) are bad: "),
        (lambda: {"validation": table()}, "no split to train on; name one with --train-split"),
        (
            lambda: {"train": table(CONTENTS[:2]), "test": table(CONTENTS[:1], ["eel"], datasets.Value("string"))},
            "test: the class 'eel' is not in training",
        ),
    ],
)
def test_other_tables_are_refused(saved, found, words, refuses):
    source = saved(found())
    with refuses(DataError, source, words):
        load_data(source)


def test_bad_images_are_left_out_as_far_as_is_allowed(saved):
    source = saved(table([*CONTENTS[:18], None, b"bad"]))
    data = load_data(source, skip_bad=0.1)
    assert [line.partition(": ")[0] for line in data.skipped] == [f"{source} train row 18", f"{source} train#19"]
    assert sum(len(part) for part in (data.train, data.validation, data.test)) == 18


def test_images_beside_the_table_are_read_from_their_paths(tmp_path, monkeypatch, refuses):
    path = tmp_path / "a.png"
    path.write_bytes(CONTENTS[0])
    kept = datasets.Dataset.from_dict({"image": [str(path)] * 2, "label": ["a", "b"]})
    kept = datasets.DatasetDict(train=kept.cast_column("image", datasets.Image()))
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: kept)
    assert len(load_data("hf:us/pets", test=0, validation=0).train) == 2
    path.unlink()
    with refuses(DataError, "2 of 2", "a.png: No such file"):
        load_data("hf:us/pets")


def test_a_folder_of_something_else(tmp_path, refuses):
    with refuses(DataError, f"hf:{tmp_path}: cannot be had", "check the name"):
        load_data(f"hf:{tmp_path}")
    with refuses(DataError, "say hf:NAME, hf:NAME@CONFIG or hf:FOLDER"):
        load_data("hf:")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub of one data set, played by parquet files; every call is remembered."""
    table().to_parquet(tmp_path / "train.parquet")
    table(CONTENTS[:6]).to_parquet(tmp_path / "extra.parquet")
    files = {name: str(tmp_path / f"{name}.parquet") for name in ("train", "extra")}
    real, calls = datasets.load_dataset, []

    def load_dataset(name, config, split):
        calls.append((name, config, split))
        if name != "us/pets":
            raise ConnectionError("Couldn't reach\nthe hub")
        return real("parquet", data_files=files, split=split, cache_dir=str(tmp_path / "cache"))

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return calls


def test_the_hub_gives_what_is_named(hub, refuses):
    data = load_data("hf:us/pets@small", train_split="train[:50%]", test_split="extra")
    assert hub == [("us/pets", "small", ["train[:50%]", "extra"])]
    assert (len(data.train) + len(data.validation), len(data.test), data.classes) == (12, 6, ("dog", "cat"))
    assert "hf:us/pets@small: splits not used: extra" in load_data("hf:us/pets@small").notes
    assert hub[1] == ("us/pets", "small", None)
    with refuses(DataError, "hf:us/cars: cannot be had (Couldn't reach the hub); check the name and the network"):
        load_data("hf:us/cars")
    with refuses(DataError, "no split to train on; name one with --train-split"):
        load_data("hf:us/pets", test_split="extra")


def test_splits_of_a_folder_cannot_be_named(saved, refuses):
    with refuses(DataError, "cannot be named"):
        load_data(saved(table()), train_split="train")


def test_a_missing_package_names_the_extra(monkeypatch, refuses):
    whole = builtins.__import__

    def without_datasets(name, *rest):
        if name == "datasets":
            raise ModuleNotFoundError("No module named 'datasets'")
        return whole(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_datasets)
    with refuses(ConfigError, "hf:us/pets needs Hugging Face's datasets", "pip install 'tlx-jax[hf]'"):
        load_data("hf:us/pets")
