"""Tables, folders and lines of texts: which column is what, quotation marks, faults, splits by text."""

import itertools

import numpy as np
import pytest

from tlx.data import load_data
from tlx.data.text_files import text_files
from tlx.errors import ConfigError, DataError

WORDS = ["it", "was", "a", "good", "film", "of", "some", "length"]
ROWS = [(f"text number {i} {' '.join(WORDS[: 3 + i % 5])}", "yes" if i % 2 else "no") for i in range(20)]


class Texts:
    """A spec that takes texts, as far as readers look at one."""

    takes_text = True

    def collate(self, inputs): ...
    def on_device(self, arrays): ...
    def to_dict(self): ...


SPEC = Texts()


def write(path, header, rows, separator=","):
    lines = ([separator.join(header)] if header else []) + [separator.join(map(str, row)) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def everything(data):
    return {
        (each["input"], data.classes[each["target"]])
        for part in (data.train, data.validation, data.test)
        for each in (part[row] for row in range(len(part)))
    }


@pytest.mark.parametrize(
    ("name", "header", "order", "separator"),
    [
        ("a.csv", ("text", "label"), (0, 1), ","),
        ("a.csv", ("Label", "Review"), (1, 0), ";"),
        ("a.tsv", ("sentence", "class"), (0, 1), "\t"),
        ("a.tsv", None, (1, 0), "\t"),
        ("a.csv", None, (0, 1), ","),
        ("a.csv", ("condition_label", "medical_abstract"), (1, 0), ","),
        ("a.csv", ("id", "body", "sentiment"), None, ","),
    ],
)
def test_columns_are_found(name, header, order, separator, tmp_path):
    rows = [(i, *row) for i, row in enumerate(ROWS)] if order is None else [[row[at] for at in order] for row in ROWS]
    data = load_data(write(tmp_path / name, header, rows, separator), preprocess=SPEC)
    assert everything(data) == set(ROWS)
    assert "texts in" in data.notes[0]
    assert "labels in" in data.notes[0]


def test_columns_are_named(tmp_path):
    rows = [(text, "x", text.upper(), label) for text, label in ROWS]
    path = write(tmp_path / "a.csv", ("text", "label", "shout", "mood"), rows)
    data = load_data(path, text="shout", target="mood")
    assert everything(data) == {(text.upper(), label) for text, label in ROWS}
    bare = write(tmp_path / "b.tsv", None, rows, "\t")
    assert everything(load_data(bare, text="3", target="4")) == everything(data)


def test_pairs_are_found_by_name_or_by_prose(tmp_path):
    rows = [(label, text, text.upper()) for text, label in ROWS]
    named = load_data(write(tmp_path / "a.csv", ("label", "sentence1", "sentence2"), rows), preprocess=SPEC)
    bare = load_data(write(tmp_path / "a.tsv", None, rows, "\t"), preprocess=SPEC)
    for data in (named, bare):
        first = data.train[0]["input"]
        assert first["pair"] == first["text"].upper()
        assert "pairs of texts" in data.notes[0]


def test_quotation_marks_in_tabs_are_characters_unless_they_stand_around_values(tmp_path):
    rows = [("1", '"quoted" at the start of this'), ("0", 'an inch is 1" long or so'), ("1", "plain words stand here")]
    bare = load_data(write(tmp_path / "a.tsv", None, rows * 4, "\t"), preprocess=SPEC, validation=0.2, test=0.2)
    assert {text for text, _ in everything(bare)} == {text for _, text in rows}
    around = [("1", '"one ""two"" three four"'), ("0", '"five six, seven eight"')]
    quoted = load_data(write(tmp_path / "b.tsv", None, around * 4, "\t"), preprocess=SPEC)
    assert {text for text, _ in everything(quoted)} == {'one "two" three four', "five six, seven eight"}


def test_json_lines_and_parquet(tmp_path):
    import json

    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"text": t, "label": y}) for t, y in ROWS))
    assert everything(load_data(tmp_path / "a.jsonl", preprocess=SPEC)) == set(ROWS)
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"text": [t for t, _ in ROWS], "label": [y for _, y in ROWS]})
    parquet.write_table(table, tmp_path / "a.parquet")
    assert everything(load_data(tmp_path / "a.parquet", preprocess=SPEC)) == set(ROWS)


def test_folders_of_files_by_class(tmp_path):
    for number, (text, label) in enumerate(ROWS):
        (tmp_path / "data" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / label / f"{number}.txt").write_text(text)
    assert everything(load_data(tmp_path / "data")) == set(ROWS)
    split = tmp_path / "split"
    for part in ("train", "test"):
        for label in ("no", "yes"):
            (split / part / label).mkdir(parents=True)
            (split / part / label / "a.txt").write_text(f"{part} {label} words")
            (split / part / label / "b.txt").write_text(f"{part} {label} more words")
    data = load_data(split, validation=0.5)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [2, 2, 4]
    assert data.test.names[0].endswith("test/no/a.txt")


def test_other_data_to_validate_and_test_on(tmp_path):
    train = write(tmp_path / "train.tsv", None, [(y, t) for t, y in ROWS], "\t")
    test = write(tmp_path / "test.tsv", None, [("yes", "only one class is here")] * 3, "\t")
    data = load_data(train, preprocess=SPEC, test_data=test)
    assert (len(data.test), data.classes) == (3, ("no", "yes"))
    assert data.test[0]["target"] == 1
    assert data.spec.test_data == f"manifest:{test}"
    again = load_data(data.spec, preprocess=SPEC)
    assert len(again.test) == 3
    with pytest.raises(DataError, match="maybe"):
        load_data(
            train, preprocess=SPEC, test_data=write(tmp_path / "b.tsv", None, [("maybe", "a text of words")], "\t")
        )


def test_other_data_of_images_and_numbers(tmp_path):
    rows = [(i, i * 2.5, "a" if i % 2 else "b") for i in range(12)]
    train = write(tmp_path / "a.csv", ("x", "y", "label"), rows)
    test = write(tmp_path / "b.csv", ("x", "y", "label"), rows[:4])
    data = load_data(train, test_data=test)
    assert len(data.test) == 4
    assert data.test[0]["input"].shape == (2,)


def test_equal_texts_come_into_one_part_whatever_their_labels(tmp_path):
    rows = [(label, text) for text, label in ROWS] + [("no" if y == "yes" else "yes", t) for t, y in ROWS[:10]]
    data = load_data(write(tmp_path / "a.tsv", None, rows, "\t"), preprocess=SPEC, validation=0.3, test=0.3)
    parts = [{part[row]["input"] for row in range(len(part))} for part in (data.train, data.validation, data.test)]
    assert [one & other for one, other in itertools.combinations(parts, 2)] == [set()] * 3
    assert sum(map(len, (data.train, data.validation, data.test))) == 30
    notes = " ".join(data.notes)
    assert "10 of 30 texts stand there before" in notes
    assert "10 texts are equal to one of another class" in notes


def test_an_image_manifest_and_a_table_of_numbers_stay_what_they_are(tmp_path):
    from PIL import Image

    for i in range(6):
        Image.new("L", (8, 8), i * 20).save(tmp_path / f"{i}.png")
    rows = [(f"{i}.png", "ab"[i % 2], "a long description of what is seen") for i in range(6)]
    images = load_data(write(tmp_path / "images.csv", ("path", "label", "caption"), rows))
    assert images.train[0]["input"].shape == (8, 8)
    numbers = [(i, i * 2.5, "ab"[i % 2], "a long note on the row") for i in range(6)]
    data = load_data(write(tmp_path / "numbers.csv", ("x", "y", "label", "remark"), numbers))
    assert data.train[0]["input"].dtype == np.float32


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["has no rows"]),
        (b"text,label\na b c,yes\nd e f\n", ["line 3 has 1", "2 columns"]),
        (b"text,label\na b c,yes\n ,no\nx y z,no\n", ["line 3 has no text"]),
        (b"text,label\na b c,yes\nd e f,\n", ["line 3", "label"]),
        (b"text,label\na b \xff,yes\n", ["line 2", "UTF-8"]),
        (b"text,label\na \0 c,yes\n", ["line 2", "NUL"]),
        (b"text,label\n" + b"a " * (1 << 20) + b",yes\n", ["line 2", "longer than"]),
        (b"text,x,y,z\na b c,1.5,2,3\nd e f,2.5,2,3\n", ["no column looks like labels", "--target"]),
        (b'text,label\n"a b,yes\n', ["line 2"]),
    ],
)
def test_faults_are_named_with_their_line(content, words, tmp_path, refuses):
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with refuses(DataError, "a.csv", *words):
        load_data(path, preprocess=SPEC)


def test_bad_texts_can_be_left_out(tmp_path):
    rows = [*((t, y) for t, y in ROWS), (" ", "yes")]
    data = load_data(write(tmp_path / "a.csv", ("text", "label"), rows), preprocess=SPEC, skip_bad=0.1)
    assert everything(data) == set(ROWS)
    assert len(data.skipped) == 1
    assert "line 22" in data.skipped[0]


def test_utf16_and_a_byte_order_mark(tmp_path):
    text = "text,label\n" + "\n".join(f"{t},{y}" for t, y in ROWS)
    for encoding in ("utf-8-sig", "utf-16"):
        (tmp_path / "a.csv").write_text(text, encoding=encoding)
        assert everything(load_data(tmp_path / "a.csv", preprocess=SPEC)) == set(ROWS)


def test_several_labels_and_numbers(tmp_path):
    rows = [(t, "x|y" if i % 2 else "y", i / 2) for i, (t, _) in enumerate(ROWS)]
    path = write(tmp_path / "a.csv", ("text", "tags", "stars"), rows)
    tags = load_data(path, text="text", target="tags", target_kind="multi-label")
    assert (tags.classes, tags.target_kind) == (("x", "y"), "multi-label")
    assert load_data(path, text="text", target="stars").target_kind == "regression"


def test_too_many_columns_of_texts(tmp_path):
    with pytest.raises(ConfigError, match="3 columns"):
        load_data(write(tmp_path / "a.csv", ("a", "b", "c"), [("x", "y", "z")]), text=("a", "b", "c"))


def test_files_without_labels(tmp_path, refuses):
    (tmp_path / "a.txt").write_text("one text\n\nanother text\n")
    write(tmp_path / "b.csv", ("id", "text"), [(1, "a third text here")])
    source = text_files([str(tmp_path / "a.txt"), str(tmp_path / "b.csv")])
    assert [source[row]["input"] for row in range(3)] == ["one text", "another text", "a third text here"]
    assert source.names == (
        f"{tmp_path / 'a.txt'} line 1",
        f"{tmp_path / 'a.txt'} line 3",
        f"{tmp_path / 'b.csv'} line 2",
    )
    with refuses(DataError, "no texts"):
        text_files([])
    (tmp_path / "c.txt").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 40)
    with refuses(DataError, "c.txt", "PNG image"):
        text_files([str(tmp_path / "c.txt")])


def test_the_real_files_come_out_whole(shared_data):
    folder = shared_data / "text"
    data = load_data(folder / "sst2_train.tsv", preprocess=SPEC, test_data=folder / "sst2_dev.tsv")
    assert (len(data.train) + len(data.validation), len(data.test)) == (6920, 1821)
    pairs = load_data(folder / "mrpc_train.tsv", preprocess=SPEC, test_data=folder / "mrpc_test.tsv")
    assert (len(pairs.train) + len(pairs.validation), len(pairs.test)) == (4080, 1725)
    medical = load_data(folder / "medical_abstracts_test.csv", preprocess=SPEC)
    assert len(medical.train) + len(medical.validation) + len(medical.test) == 2888
    assert "118 of 2888 texts stand there before" in " ".join(medical.notes)
