import hashlib
import json
import os

import pytest
from image_files import numbered_images

from tlx.data import labels_of, load_data
from tlx.data.readers.manifest import read_manifest
from tlx.data.spec import DataSpec, Request
from tlx.errors import DataError

CONTENTS = numbered_images(12)
SHA = [hashlib.sha256(content).hexdigest() for content in CONTENTS]


@pytest.fixture
def folder(tmp_path):
    """A folder of 0.png to 11.png, as small as images get."""
    for number, content in enumerate(CONTENTS):
        (tmp_path / f"{number}.png").write_bytes(content)
    return tmp_path


@pytest.fixture
def read(folder):
    def read(content, name="list.csv", **request):
        path = folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_manifest(Request(str(path), DataSpec(**request)))

    return read


TABLE = [("0.png", "cat", "train"), ("1.png", "dog", ""), ("2.png", "cat", "dev"), ("3.png", "dog", "Test")]
CSV = "path,label,split\n" + "".join(",".join(row) + "\n" for row in TABLE)
JSONL = "".join(json.dumps(dict(zip(("path", "label", "split"), row, strict=True))) + "\n" for row in TABLE)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.csv", CSV),
        ("list.csv", "\ufeff" + CSV),
        ("list.csv", CSV.replace("\n", "\r\n")),
        ("list.csv", CSV.replace("\n", "\n\n").replace("0.png", '"0.png"')),
        ("list.CSV", CSV.rstrip("\n")),
        ("list.tsv", CSV.replace(",", "\t")),
        ("list.csv", CSV.replace(",", ";")),
        ("list.csv", CSV.replace(",", ", ").replace(" cat", ' "cat"')),
        ("list.csv", CSV.replace(",", "\t")),
        ("list.tsv", CSV),
        ("list.csv", "sep=;\r\n" + CSV.replace(",", ";")),
        ("list.csv", "\n\n" + CSV),
        ("list.csv", CSV.encode("utf-16")),
        ("list.csv", ("\ufeff" + CSV.replace(",", "\t")).encode("utf-16-be")),
        ("list.csv", CSV.replace("path,label,split", " Path, LABEL ,Split")),
        ("list.csv", '"path";"label";"split"\n' + CSV.partition("\n")[2].replace(",", ";")),
        ("list.jsonl", JSONL.encode("utf-16")),
        ("list.jsonl", JSONL),
        ("list.jsonl", "\ufeff" + JSONL.replace("\n", "\r\n\n")),
        ("list.jsonl", JSONL.replace('""', "null")),
    ],
)
def test_rows_of_every_format(read, folder, name, content):
    parts = read(content, name)
    assert parts.train.classes == ("cat", "dog")
    assert [os.path.basename(path) for path in parts.train.names] == ["0.png", "1.png"]
    assert [labels_of(part).tolist() for part in (parts.train, parts.validation, parts.test)] == [[0, 1], [0], [1]]
    assert parts.notes == ()
    assert load_data(str(folder / name)).spec.source == f"manifest:{folder}/{name}"


def test_other_names_of_columns_are_taken_and_noted(read, folder):
    for name, content in {
        "a.csv": "id|File Name|class\n1|0.png|cat\n2|1.png|dog\n",
        "a.jsonl": '{"id": 1, "file_name": "0.png", "class": "cat"}\n{"class": "dog", "file_name": "1.png", "id": 2}\n',
    }.items():
        parts = read(content, name)
        assert (parts.train.classes, len(parts.train)) == (("cat", "dog"), 2)
        taken = "File Name" if name == "a.csv" else "file_name"
        assert parts.notes == (
            f"{folder}/{name}: the column {taken!r} is taken for the path, 'class' is taken for the label",
            f"{folder}/{name}: columns not used: id",
        )
    parts = read("file,path,label\n9.png,0.png,cat\n9.png,1.png,dog\n")
    assert parts.notes == (f"{folder}/list.csv: columns not used: file",)


def test_backslashes_of_windows_are_slashes_where_no_file_is_called_so(read, folder):
    (folder / "sub").mkdir()
    (folder / "sub/2.png").write_bytes(CONTENTS[2])
    (folder / "a\\3.png").write_bytes(CONTENTS[3])
    parts = read("path,label\nsub\\2.png,cat\n.\\1.png,cat\na\\3.png,dog\n")
    assert parts.train.names == (f"{folder}/sub/2.png", f"{folder}/./1.png", f"{folder}/a\\3.png")
    assert parts.notes == (f"{folder}/list.csv: the backslashes of 2 paths are taken for slashes",)


def test_a_leading_tilde_is_the_home_directory_where_no_file_is_called_so(read, folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder / "home"))
    for name in ("home/5.png", "home/~/6.png", "~/7.png", "~8.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(CONTENTS[int(name[-5])])
    parts = read("path,label\n~/5.png,cat\n~/~/6.png,cat\n~/7.png,dog\n~8.png,dog\n")
    assert parts.train.names == tuple(
        f"{folder}/{name}" for name in ("home/5.png", "home/~/6.png", "~/7.png", "~8.png")
    )


def test_lines_are_counted_with_quoted_breaks_and_blank_ones(read, refuses):
    with refuses(DataError, "line 6 has no label"):
        read('path,label\n\n0.png,"a\nb, c"\n\n1.png,\n')


def test_absolute_paths_and_whole_numbers_and_columns_that_nobody_knows(read, folder):
    rows = [{"path": f"{folder}/{i}.png", "label": i % 3 + 1, "author": {"name": "me"}} for i in range(12)]
    parts = read("\n".join(map(json.dumps, rows)), "a.jsonl")
    assert parts.train.classes == ("1", "2", "3")
    assert parts.notes == (
        f"{folder}/a.jsonl: columns not used: author",
        "the classes are numbers: class 1 has index 0, 2 has 1, 3 has 2",
    )


def test_splits_may_be_named(read, refuses):
    table = CSV.replace(",dev", ",three").replace(",\n", ",one\n").replace("train", "two").replace("Test", "two")
    parts = read(table, train_split="two", test_split="one")
    assert (len(parts.train), len(parts.test), parts.validation) == (2, 1, None)
    with refuses(DataError, "no line has the split 'on', which --test-split names"):
        read(table, train_split="two", test_split="on")


def with_row(row, header="path,label,split,sha256"):
    return f"{header}\n0.png,cat,,\n1.png,dog,,\n{row}\n"


WRONG_TABLES = [
    (b"", "names no column path and no label; begin it with path,label"),
    ("where,label\n0.png,cat\n", "names no column path; begin"),
    ("0.png,cat\n1.png,dog\n", "names no column path and no label; begin it with path,label"),
    ("file,image,label\n0.png,0.png,cat\n", "of the columns 'file' and 'image', which is the path? Call it path"),
    ("Path,path,label\n0.png,1.png,cat\n", "a column is named twice in its first line, path; rename one"),
    (with_row("C:\\a\\2.png,cat,,"), "line 4: C:\\a\\2.png is a path of Windows; make it relative"),
    (with_row("https://a.org/2.png,cat,,"), "line 4: https://a.org/2.png is an address; fetch the image"),
    (CSV.encode("utf-16-le"), "line 1 has a NUL character; save the file as UTF-8 text"),
    ("\ufeffpath,label\n0.png,cat\n".encode("utf-16-le") + b"\xd8", "line 3 is not UTF-16; save the file as UTF-8"),
    ("path,label,path\n", "a column is named twice"),
    ("path,label\n", "no images to train on"),
    (with_row("2.png,,,"), "line 4 has no label"),
    (with_row(",cat,,"), "line 4 has no path"),
    (with_row("2.png,cat,tset,"), "line 4: split 'tset' is none of train, validation and test"),
    (with_row("0.png,dog,,"), "line 4: 0.png is 'dog', and 'cat' in line 2"),
    (with_row("2.png,cat,,abc"), "line 4: sha256 is not 64 hexadecimal digits"),
    (with_row("2.png,cat"), "line 4 has 2 values for 4 columns; quote values that hold a separator"),
    (with_row('2.png,"cat,,'), "line 4: unexpected end of data"),
    (with_row("2.png,eel,test,"), "list.csv line 4: test has the class 'eel', which training has not"),
    (with_row("2.png,cat ,,"), "look alike"),
    (with_row("gone.png,cat,,"), "1 of 3 images (33.3%) are bad: "),
    (with_row(f"2.png,cat,,{SHA[3]}"), "2.png: its SHA-256 is not the manifest's"),
    (with_row("x" * 200_000 + ",cat,,"), "line 4: field larger than field limit"),
    (with_row("x" * (1 << 20) + ",cat,,"), "line 4 is longer than 1,048,576 bytes; is it a table?"),
    (with_row("2.png,caf\xe9,,").encode("latin-1"), "line 4 is not UTF-8; save the file as UTF-8"),
    (with_row("2.png,c\0t,,"), "line 4 has a NUL character"),
    (b"\xff\xd8\xff", "line 1 is not UTF-8"),
]


@pytest.mark.parametrize(("content", "words"), WRONG_TABLES, ids=[words for _, words in WRONG_TABLES])
def test_a_table_that_is_wrong_says_where(read, content, words, refuses):
    with refuses(DataError, words):
        read(content)


WRONG_LINES = [
    ("{", "line 2 is not JSON; write one object a line"),
    ("[" * 100_000, "line 2 is not JSON"),
    ("[1]", "line 2 is no object"),
    ('{"path": "1.png"}', "line 2 has no label"),
    ('{"label": "cat"}', "line 2 has no path"),
    ('{"path": "1.png", "label": null}', "line 2 has no label"),
    ('{"path": "1.png", "label": {"cat": 1}}', "line 2: label is {'cat': 1}; give a text or a number"),
    ('{"path": "1.png", "label": [["cat"]]}', "line 2: label is [['cat']]; give a text or a number or a list"),
    ('{"path": ["1.png"], "label": "cat"}', "line 2: path is ['1.png']"),
    ('{"path": "1\\u0000.png", "label": "cat"}', "embedded null"),
    ('{"path": "\\ud800.png", "label": "cat"}', "\\ud800.png: "),
    ('{"path": "1.png", "label": "\\ud800"}', "line 2: the label '\\ud800' is no Unicode text"),
]


@pytest.mark.parametrize(("line", "words"), WRONG_LINES, ids=[words for _, words in WRONG_LINES])
def test_an_object_that_is_wrong_says_where(read, line, words, refuses):
    with refuses(DataError, words):
        read('{"path": "0.png", "label": "cat"}\n' + line, "list.jsonl")


def test_ten_wrong_lines_are_listed(read, refuses):
    with refuses(DataError, "line 2 has no label; line 3", "line 11 has no label; and 2 more; mend these lines"):
        read("path,label\n" + "".join(f"{i}.png,\n" for i in range(12)))


def test_bad_images_are_left_out_as_far_as_is_allowed(read):
    content = "path,label,sha256\n" + "".join(f"{i}.png,{'ab'[i % 2]},{SHA[i]}\n" for i in range(11)) + "no.png,a,\n"
    parts = read(content.replace(SHA[4], SHA[5]), skip_bad=0.2)
    assert len(parts.train) == 10
    assert ["4.png: its SHA-256" in parts.skipped[0], "no.png: No such file" in parts.skipped[1]] == [True, True]


def test_any_name_of_a_file_or_a_class_will_do(read, folder):
    names = ["new\nline", "日本", 'a "quoted", one', os.fsdecode(b"\xff")]
    for number, name in enumerate(names):
        (folder / f"{name}.png").write_bytes(CONTENTS[number])
    quoted = "".join('"{0}.png","{0}"\n'.format(name.replace('"', '""')) for name in names[:3])
    assert set(read("path,label\n" + quoted).train.classes) == set(names[:3])
    rows = [{"path": f"{name}.png", "label": "ab"[number % 2]} for number, name in enumerate(names)]
    assert len(read("\n".join(map(json.dumps, rows)), "a.jsonl").train) == 4


def test_a_manifest_that_is_not_there(tmp_path, refuses):
    for source in (f"{tmp_path}/no.csv", f"manifest:{tmp_path}/no"):
        with refuses(DataError, f"{tmp_path}/no"):
            load_data(source)
    with refuses(DataError, "say manifest:FILE"):
        load_data("manifest:")
