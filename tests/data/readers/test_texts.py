"""Tables of texts: what is taken for text, target and split, which tables are such, and how a bad row is named."""

import csv
import json
from collections import Counter

import numpy as np
import pytest
from image_files import numbered_images

from tlx.data import DataSpec, check_data, fingerprint, labels_of, load_data, names_of, targets_of
from tlx.errors import ConfigError, DataError

SENTENCES = [f"{kind} number {number} of the long list" for number in range(12) for kind in ("a film", "no film")]
LABELS = ["good", "bad"] * 12


class TakesText:
    """As much of an input spec of texts as readers look at."""

    takes_text = True

    def collate(self, inputs):
        return inputs

    def on_device(self, arrays):
        return arrays

    def to_dict(self):
        return {}


@pytest.fixture
def write(tmp_path):
    def write(content, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def table(separator=",", head="text,label"):
    lines = [head.replace(",", separator)] * bool(head)
    rows = zip(SENTENCES, LABELS, strict=True)
    return "\n".join([*lines, *(f"{text}{separator}{label}" for text, label in rows)]) + "\n"


def every(data):
    """Return what all parts hold, by text: its label."""
    found = {}
    for part in (data.train, data.validation, data.test):
        found |= {part[row]["input"]: part.classes[part[row]["target"]] for row in range(len(part))}
    return found


EXPECTED = dict(zip(SENTENCES, LABELS, strict=True))
OBJECTS = [{"text": text, "label": label} for text, label in EXPECTED.items()]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", table()),
        ("a.csv", table(head="")),
        ("a.tsv", table("\t")),
        ("a.tsv", table("\t", head="")),
        ("a.csv", table(";", "Review;Sentiment")),
        ("a.csv", "sep=;\r\n" + table(";")),
        ("a.csv", "\ufeff" + table()),
        ("a.tsv", table("\t").replace("\n", "\r\n\r\n")),
        ("a.tsv", ("\ufeff" + table("\t")).encode("utf-16-le")),
        ("a.csv", table().replace("a film", '"a film"', 0).replace(",good", ',"good"')),
        ("a.csv", table(head="id_of_rater,film_review").replace("id_of_rater,film_review", "film_review,rater_label")),
        ("a.csv", table(head="words_said,given")),
        ("a.jsonl", "\n".join(map(json.dumps, OBJECTS))),
        ("a.txt", table("\t", head="")),
    ],
)
def test_the_same_table_in_many_forms(write, name, content):
    named = {"text": "1", "target": "2"} if name == "a.txt" else {}
    data = load_data(write(content, name), **named)
    assert every(data) == EXPECTED
    assert data.spec.source == f"texts:{data.spec.source.partition(':')[2]}"
    assert load_data(data.spec).spec == data.spec
    assert "the text is column" in data.notes[0]


def test_parquet_with_bytes_that_are_no_text(tmp_path, refuses):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    words = pyarrow.array([b"a film here", b"caf\xe9 film here"])
    column = pyarrow.Array.from_buffers(pyarrow.string(), 2, words.buffers())
    parquet.write_table(pyarrow.table({"text": column, "label": ["a", "b"]}), tmp_path / "a.parquet")
    with refuses(DataError, "no Parquet file that can be read ('utf-8' codec can't decode byte 0xe9"):
        load_data(f"texts:{tmp_path / 'a.parquet'}")


def test_parquet(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame({"label": LABELS, "text": SENTENCES})
    frame.to_parquet(tmp_path / "a.parquet")
    assert every(load_data(tmp_path / "a.parquet")) == EXPECTED


def test_names_are_files_and_lines(write):
    path = write(table())
    data = load_data(path)
    for row, name in enumerate(names_of(data.train)):
        assert name == f"{path} line {SENTENCES.index(data.train[row]['input']) + 2}"


@pytest.mark.parametrize(
    ("file", "rows", "classes"),
    [
        ("sst2_train.tsv", 6920, [3310, 3610]),
        ("sst2_dev.tsv", 1821, [912, 909]),
        ("mrpc_train.tsv", 4080, None),
        ("mrpc_test.tsv", 1725, None),
        ("sentences_imdb.tsv", 1000, [500, 500]),
        ("medical_abstracts_test.csv", 2888, None),
    ],
)
def test_real_tables_come_out_with_all_their_rows(shared_data, file, rows, classes):
    path = shared_data / "text" / file
    data = load_data(path)
    parts = (data.train, data.validation, data.test)
    assert sum(map(len, parts)) == rows
    held = [set(part.digests) for part in parts]
    assert sum(map(len, held)) == len(set.union(*held))
    counts = np.bincount(np.concatenate([labels_of(part) for part in parts]))
    assert classes is None or counts.tolist() == classes
    found = Counter()
    for part in parts:
        inputs = part.take(np.arange(len(part)))["input"]
        columns = [inputs["text"], inputs["pair"]] if isinstance(inputs, dict) else [inputs]
        found.update(zip(*columns, strict=True))
    if file.endswith(".tsv"):  # nothing but the tabs divides them, so that quotes are characters
        lines = [line.split("\t")[1:] for line in path.read_text(encoding="utf-8").split("\n") if line]
        assert found == Counter(tuple(text.strip() for text in line) for line in lines)


def test_a_text_under_two_labels_is_in_one_part_and_named(shared_data):
    data = load_data(shared_data / "text" / "medical_abstracts_test.csv")
    notes = "\n".join(data.notes)
    assert "113 texts stand in several rows, 231 in all; all rows of one are in the same part" in notes
    assert "118 texts are equal to one of another class" in notes
    assert "images" not in notes


def test_pairs_by_name_and_by_number(write):
    rows = [(label, text, text.upper()) for text, label in EXPECTED.items()]
    headed = "label\tpremise\thypothesis\tnote\n" + "".join("\t".join((*row, "x")) + "\n" for row in rows)
    bare = "".join("\t".join(row) + "\n" for row in rows)
    for content, named in ((headed, {}), (bare, {}), (bare, {"text": ("2", "3"), "target": "1"})):
        data = load_data(write(content, "a.tsv"), **named)
        first = data.train[0]["input"]
        assert set(first) == {"text", "pair"}
        assert first["pair"] == first["text"].upper()
        assert data.train.classes[data.train[0]["target"]] == EXPECTED[first["text"]]
    turned = load_data(write(headed, "a.tsv"), text=("hypothesis", "premise"))
    assert turned.train[0]["input"]["text"] == turned.train[0]["input"]["pair"].upper()
    assert "columns not used: note" in turned.notes[0]


def test_a_title_beside_a_text_is_not_taken_for_one_of_a_pair(write):
    rows = "".join(f'{label},short title,"{text}, and {text}"\n' for text, label in EXPECTED.items())
    for head in ("label,title,text\n", "label,title,description\n", ""):
        data = load_data(write(head + rows))
        assert data.train[0]["input"].startswith(tuple(SENTENCES)), head


def test_targets_of_other_kinds(write):
    numbers = "".join(f"{text},{row / 4},red|{'odd' if row % 2 else 'even'}\n" for row, text in enumerate(SENTENCES))
    path = write("text,score,tags\n" + numbers)
    scores = load_data(path, target="score")
    assert (scores.target_kind, scores.classes) == ("regression", ("score",))
    row = SENTENCES.index(scores.train[0]["input"])
    assert targets_of(scores.train)[0].tolist() == [row / 4]
    tags = load_data(path, target="tags", text="text")
    assert (tags.target_kind, tags.classes) == ("multi-label", ("even", "odd", "red"))


def test_columns_of_numbers_that_are_the_target(write):
    """They are no inputs, so that the table is one of texts without a word on which column is the text."""
    flags = "".join(f"{row % 2},{row % 3 // 2},{text}\n" for row, text in enumerate(SENTENCES))
    path = write("long,sad,said\n" + flags)
    data = load_data(path, target=("long", "sad"))
    assert (data.target_kind, data.classes) == ("multi-label", ("long", "sad"))
    assert data.spec.source.startswith("texts:")
    with pytest.raises(DataError, match="has no column 'glad'; its columns are text, label"):
        load_data(write(table(), "b.csv"), target="glad")


def test_long_texts_between_commas(write):
    """Python's csv module takes no more than 131,072 characters a value, unless it is told to."""
    limit = csv.field_size_limit()
    book = "a film and more of it, " * 10_000
    data = load_data(write(table() + f'"{book}",bad\n'))
    assert every(data)[book.strip()] == "bad"
    assert csv.field_size_limit() == limit


def test_a_column_of_splits(write):
    lines = [
        f"{text},{label},{'dev' if row < 4 else 'test' if row < 8 else ''}"
        for row, (text, label) in enumerate(EXPECTED.items())
    ]
    path = write("text,label,split\n" + "\n".join(lines))
    data = load_data(path)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [16, 4, 4]
    assert data.validation[0]["input"] == SENTENCES[0]


@pytest.mark.parametrize("quote", ['"', '""'])
def test_quotes_between_tabs(write, quote):
    """A quote is a character, but where all quoted values close in their line and one needs its quotes."""
    texts = [f"{quote}Yes,{quote} said {name} to the man." for name in ("Ann", "Ben", "Cleo", "Dan")] * 3
    plain = write("".join(f"{text}{row}\t{row % 2}\n" for row, text in enumerate(texts)), "a.tsv")
    assert f"{texts[0]}0" in every(load_data(plain))
    quoted = "".join(f'"""Yes,"" said\tAnn to the man {row}"\t{row % 2}\n' for row in range(12))
    assert '"Yes," said\tAnn to the man 3' in every(load_data(write(quoted, "b.tsv")))
    several = "".join(f'"Yes, said Ann\nto the man {row}"\t{row % 2}\n' for row in range(12))
    assert "Yes, said Ann\nto the man 3" in every(load_data(write(several, "c.tsv")))
    around = "".join(f'"A film, number {row} of many"\t{row % 2}\n' for row in range(12))
    assert "A film, number 3 of many" in every(load_data(write(around, "d.tsv")))


BAD = {
    "no text": ("text,label\na film here,1\n,0\n", "of 2 texts (50%) are bad: {} line 3 has no text (column text)"),
    "blanks": ("text,label\na film here,1\n  ,0\n", "line 3 has no text"),
    "no label": ("text,label\na film here,1\nno film here,\n", "line 3 has no label (column label)"),
    "NaN for a text": ("text,label\na film here,1\nNaN,0\n", "line 3 has no text (column text is 'NaN')"),
    "NaN for a label": ("text,label\na film here,1\nno film here,nan\n", "line 3 has no label (column label)"),
    "an extra comma": ("text,label\na film here,1\nno, film here,1\n", "line 3 has 3 values for 2 columns"),
    "too few": ("text,label\na film here,1\nno film here\n", "line 3 has 1 values for 2 columns"),
    "not UTF-8": (b"text,label\na film here,1\n\xff film here,0\n", "line 3 is not UTF-8"),
    "a NUL": (b"text,label\na film here,1\na\0 film here,0\n", "line 3 has a NUL character"),
    "half of UTF-16": ("text,label\na film here,1\n".encode("utf-16") + b"\x00\xd8", "line 3 is not UTF-16"),
    "a long line": ("text,label\na film here,1\n" + "a " * (1 << 19) + "b,0\n", "line 3 is longer than 1,048,576"),
    "an open quote": ('text,label\na film here,1\n"no film,0\nno film,1\n', "line 3: unexpected end of data"),
    "no rows": ("text,label\n", "no column holds texts|has no rows"),
    "no target": ("text,n\na film here,x\nno film here,y\n", None),
    "two columns left": ("text,n,m\na film here,x,u\nno film here,y,v\n", "which column is to be predicted?"),
    "no such text": ("text,label\na film here,1\n", "has no column 'b'; its columns are text, label", {"text": "b"}),
    "beyond the last": ("a film here,1\nno film here,2\n", "has no column '3'; its columns are 1, 2", {"text": "3"}),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_bad_is_named(write, refuses, name):
    content, message, *more = BAD[name]
    path = write(content)
    fields = more[0] if more else {"text": "text"}
    if message is None:  # the only other column is the target
        assert load_data(path, **fields).classes == ("x", "y")
        return
    with pytest.raises(DataError) as caught:
        load_data(path, **fields)
    assert any(each.format(path) in str(caught.value) for each in message.split("|")), str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_rows_are_left_out_and_listed(write):
    bad = "  ,good\na film of no label,\none, two,three\n"
    path = write(table() + bad)
    with pytest.raises(DataError, match=r"3 of 27 texts \(11.1%\) are bad.*--skip-bad 12%"):
        load_data(path)
    data = load_data(path, skip_bad=0.12)
    assert every(data) == EXPECTED
    assert [line.partition("table.csv")[2] for line in data.skipped] == [
        ": line 28 has 3 values for 2 columns",
        " line 26 has no text (column text)",
        " line 27 has no label (column label)",
    ]
    assert any(note.startswith("3 of 27 texts are bad and left out") for note in data.notes)
    path = write("text,label,split\n" + "".join(f",a,train\na film here,{row},test\n" for row in range(9)), "b.csv")
    with pytest.raises(DataError, match="no row is of the training split"):
        load_data(path, skip_bad=0.9)


def test_json_texts_that_are_none(write):
    lines = [*map(json.dumps, OBJECTS), '{"text": "a \\ud800 film", "label": "good"}', '{"label": "good"}']
    path = write("\n".join(lines), "a.jsonl")
    with pytest.raises(DataError, match=r"line 25 is no Unicode text; .* line 26 has no text"):
        load_data(path)


def test_one_class_is_refused_before_training(write):
    data = load_data(write("".join(f"{text},good\n" for text in SENTENCES)))
    with pytest.raises(DataError, match="only one class, 'good'"):
        check_data(data, 4)


def test_which_tables_are_texts(write, tmp_path):
    for number, content in enumerate(numbered_images(12)):
        (tmp_path / f"a new photo {number}.png").write_bytes(content)
    rows = "".join(f"a new photo {row}.png,{row % 2},a photo of the sea\n" for row in range(12))
    assert load_data(write("path,label,caption\n" + rows)).spec.source.startswith("manifest:")
    numbers = "".join(f"{row},{row / 7},{row % 2},a note of the day\n" for row in range(12))
    vectors = load_data(write("a,b,label,note\n" + numbers))
    assert vectors.spec.inputs == ("a", "b")
    as_texts = load_data(write("a,b,label,note\n" + numbers), text="note")
    assert as_texts.spec.source.startswith("texts:")
    assert (
        load_data(write("a,b,label,note\n" + numbers), preprocess=TakesText()).train[0]["input"] == "a note of the day"
    )
    words = "".join(f"word{row},{row % 2}\n" for row in range(12))
    with pytest.raises(DataError, match="names no column path"):
        load_data(write("word,label\n" + words))
    assert load_data(write("word,label\n" + words), preprocess=TakesText()).train[0]["input"].startswith("word")


def test_a_base_of_images_never_gets_texts(write, refuses):
    from tlx.images import Preprocess

    with refuses(DataError, "names no column path"):
        load_data(write(table()), preprocess=Preprocess(8, 8, 1))


def test_lines_have_no_targets(write):
    path = write("a film\n\nno film\n" * 4, "a.txt")
    data = load_data(path, validation=0, test=0)
    assert data.target_kind == "none"
    assert len(data.train) == 8
    assert f"{path}: 4 empty lines are left out" in data.notes
    assert any("every line has a tab" in note for note in load_data(write("a\tb\n", "b.txt")).notes)


def test_columns_of_texts_go_with_tables_only(tmp_path):
    for fields, message in (
        ({"source": "digits", "text": "a"}, "text: columns are for a table of texts, and not for digits"),
        ({"source": "a.csv", "text": ("a", "b", "c")}, "text: 3 columns; name one, or two for pairs"),
        ({"source": "a.csv", "text": "a", "inputs": "b"}, "goes with texts, and inputs with vectors"),
        ({"source": "a.csv", "test_data": "b.csv", "test_split": "x"}, "test_data: goes without test_split"),
        ({"source": "a.csv", "test_data": ""}, "test_data: '' is not a path"),
    ):
        with pytest.raises(ConfigError) as caught:
            load_data(**fields)
        assert message in str(caught.value)


def test_the_fingerprint_knows_the_texts(write):
    one = fingerprint(load_data(write(table())))
    assert one == fingerprint(load_data(write(table("\t"), "b.tsv")))
    assert one != fingerprint(load_data(write(table().replace("a film number 0", "a film number O"))))
    assert one != fingerprint(load_data(write(table()), seed=1))


def test_a_spec_travels_as_plain_data(write):
    from dataclasses import asdict

    data = load_data(write(table()), text="text", target="label")
    plain = json.loads(json.dumps(asdict(data.spec)))
    assert fingerprint(load_data(DataSpec(**plain))) == fingerprint(data)


def test_a_named_target_that_is_missing_is_bad_but_among_several_labels(write):
    rows = "".join(f"{text},{row / 4},{'red|odd' if row % 2 else ''}\n" for row, text in enumerate(SENTENCES))
    path = write("text,score,tags\n" + rows + "a film without a score,,red\n")
    with pytest.raises(DataError, match=r"1 of 25 texts \(4%\) are bad: .* line 26 has no label \(column score\)"):
        load_data(path, target="score")
    data = load_data(path, target="score", skip_bad=0.04)
    assert sum(map(len, (data.train, data.validation, data.test))) == 24
    tags = load_data(path, target="tags")
    assert (tags.classes, sum(map(len, (tags.train, tags.validation, tags.test)))) == (("odd", "red"), 25)
