"""Tagged words in files: columns, CoNLL-U, lists, folders of parts; faults are named with their lines."""

import json

import pytest

from tlx.data import load_data
from tlx.data.readers.tagged_lines import holds_tags
from tlx.data.sentence_files import sentence_files
from tlx.data.source import is_of_texts, names_of, targets_of
from tlx.errors import ConfigError, DataError

CONLL = "-DOCSTART- -X- O\n\nAnna NNP B-PER\nStone NNP I-PER\nfell VBD O\n\nRome NNP B-LOC\n# NN O\n"
CONLLU = (
    "# sent_id = 1\n# text = im Haus\n1-2\tim\t_\t_\t_\t_\t_\t_\t_\t_\n"
    "1\tin\tin\tADP\tAPPR\t_\t3\tcase\t_\t_\n2\tdem\tder\tDET\tART\t_\t3\tdet\t_\t_\n"
    "2.1\tx\t_\t_\t_\t_\t_\t_\t_\t_\n3\tHaus\tHaus\tNOUN\tNN\t_\t0\troot\t_\t_\n\n"
)
ALL = {"validation": 0, "test": 0}


@pytest.fixture
def write(tmp_path):
    def write(content, name="train.conll"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, encoding="utf-8", newline="")
        return str(path)

    return write


def named(source):
    """Return the words and tags of a source in the order of the file."""
    rows = sorted(range(len(source)), key=lambda row: int(names_of(source)[row].rpartition(" ")[2]))
    tags = targets_of(source)
    return [
        list(zip(source[row]["input"], (source.classes[tag] for tag in tags[row] if tag >= 0), strict=True))
        for row in rows
    ]


def test_words_and_tags_are_the_first_and_last_column(write):
    data = load_data(write(CONLL), **ALL)
    assert data.target_kind == "tags"
    assert data.classes == ("O", "B-LOC", "B-PER", "I-PER")
    assert named(data.train) == [
        [("Anna", "B-PER"), ("Stone", "I-PER"), ("fell", "O")],
        [("Rome", "B-LOC"), ("#", "O")],
    ]
    assert is_of_texts(data.train)
    assert [name.rpartition("line ")[2] for name in sorted(names_of(data.train))] == ["3", "7"]
    assert "1 lines that begin a document are left out" in data.notes[0]
    assert data.notes[1].endswith("entities in scheme IOB2, of 2 types: 'LOC', 'PER'")


def test_other_columns_are_named_by_number(write):
    data = load_data(write(CONLL), **ALL, target="2")
    assert data.classes == ("NN", "NNP", "VBD")
    assert "3 tags, which mark no entities" in data.notes[1]


def test_conllu_is_read_by_its_fields(write):
    path = write(CONLLU * 2, "train.conllu")
    assert named(load_data(path, **ALL).train)[0] == [("in", "ADP"), ("dem", "DET"), ("Haus", "NOUN")]
    other = load_data(path, **ALL, text="LEMMA", target="xpos").train
    assert named(other)[0] == [("in", "APPR"), ("der", "ART"), ("Haus", "NN")]
    assert named(load_data(f"tags:{write(CONLLU * 2, 'a.txt')}", **ALL).train)[0][0] == ("in", "ADP")
    with pytest.raises(DataError, match=r"no column 'upis', did you mean 'upos'.*--target"):
        load_data(path, target="upis")


def test_tabs_windows_lines_and_a_mark_of_bytes_are_read(write):
    data = load_data(write("\ufeffNew York\tB-LOC\r\nfell\tO\r\n\r\nso\tO\r\n"), **ALL)
    assert named(data.train) == [[("New York", "B-LOC"), ("fell", "O")], [("so", "O")]]


def test_lists_of_json_are_read(write):
    rows = [{"id": 1, "tokens": ["Rome", "fell"], "ner_tags": ["B-LOC", "O"]}, {"tokens": ["so"], "ner_tags": ["O"]}]
    path = write("".join(json.dumps(row) + "\n" for row in rows), "train.jsonl")
    assert named(load_data(path, **ALL).train) == [[("Rome", "B-LOC"), ("fell", "O")], [("so", "O")]]
    with pytest.raises(DataError, match=r"no list 'upos' \(--target\)"):
        load_data(path, target="upos", target_kind="tags")


def test_a_folder_has_a_file_for_each_part(write, tmp_path):
    write(CONLL, "parts/train.txt")
    write("fell O\n\nAnna B-PER\n", "parts/dev.conll")
    write(json.dumps({"tokens": ["Rome"], "tags": ["B-LOC"]}) + "\n", "parts/test.jsonl")
    (tmp_path / "parts" / "README.txt").write_text("words about it")
    data = load_data(tmp_path / "parts")
    assert [len(part) for part in (data.train, data.validation, data.test)] == [2, 2, 1]
    assert named(data.test) == [[("Rome", "B-LOC")]]
    write("x O\n", "parts/training.conll")
    with pytest.raises(DataError, match=r"train.txt and training.conll are both the train part"):
        load_data(tmp_path / "parts")


def test_other_files_are_the_other_parts_with_tags_matched_by_name(write):
    test = write("Stone I-PER\n\nRome B-LOC\n", "test.bio")
    data = load_data(write(CONLL), test_data=test, validation=0.5)
    assert named(data.test) == [[("Stone", "I-PER")], [("Rome", "B-LOC")]]
    with pytest.raises(DataError, match="test has the class 'B-ORG', which training has not"):
        load_data(write(CONLL), test_data=write("UN B-ORG\n", "more.iob"))


def test_texts_that_stand_in_several_parts_are_counted(write):
    data = load_data(write(CONLL), test_data=write("Rome B-LOC\n# O\n", "test.conll"), validation=0)
    assert any("1 of 1 test texts are also in training" in note for note in data.notes)


FAULTS = {
    "a line without a tag": ("a O\nb\nc B-X\n\nd O\n", "train.conll", r"line 2 has 1 column, the others 2"),
    "a line with more": ("a O\nb x B-X\nc O\n\nd O\n", "train.conll", r"line 2 has 3 columns, the others 2"),
    "an empty word": ("\tO\nb\tB-X\n\nd\tO\n", "train.conll", r"line 1: has an empty word"),
    "an empty tag": ("a\tO\nb\t\n\nd\tO\n", "train.conll", r"line 1: a word has no tag"),
    "one column": ("a\nb\n", "train.conll", "has one column, of words"),
    "no words": ("\n\n# x\n", "train.conll", "holds no words"),
    "unequal lists": ('{"tokens": ["a", "b"], "tags": ["O"]}\n', "train.jsonl", r"line 1: 2 words and 1 tags"),
    "no list": ('{"tokens": ["a"], "tags": ["O"]}\n{"tokens": "a b"}\n', "train.jsonl", "line 2 has no lists"),
    "tags that are none": ('{"tokens": ["a"], "tags": [1.5]}\n', "train.jsonl", "line 1 has a tag that is no text"),
    "words that are none": ('{"tokens": [1], "tags": ["O"]}\n', "train.jsonl", "line 1: has a word that is 1"),
    "no sentence": ('{"tokens": [], "tags": []}\n', "train.jsonl", "line 1: has no words"),
    "no UTF-8": ("a O\n", "train.conll", "line 2 is not UTF-8"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named_by_their_lines(write, fault):
    content, name, message = FAULTS[fault]
    path = write(content, name)
    if fault == "no UTF-8":
        with open(path, "ab") as file:
            file.write(b"caf\xe9 O\n")
    with pytest.raises(DataError, match=message):
        load_data(path, target_kind="tags")


def test_bad_texts_may_be_left_out(write):
    data = load_data(write(CONLL + "\nx O\ny\n"), **ALL, skip_bad=0.4)
    assert len(data.train) == 2
    assert len(data.skipped) == 1
    assert any("1 of 3 texts are bad and left out" in note for note in data.notes)


def test_which_files_hold_tags_is_told_by_what_they_hold(write):
    assert holds_tags(write(CONLL, "a.txt"))
    assert not holds_tags(write("a good film\nno film at all\n", "b.txt"))
    assert not holds_tags(write("a film\n\nno film\n\n" * 4, "c.txt"))
    assert not holds_tags(write("text\tlabel\na film\tB\nno film\tA\n", "d.tsv"))
    assert not holds_tags(write('{"text": "a", "tags": ["x"]}\n', "e.jsonl"))
    assert load_data(write("a film\n\nno film\n" * 4, "f.txt"), **ALL).target_kind == "none"
    assert load_data(f"texts:{write(CONLL, 'g.txt')}", **ALL).target_kind == "none"


def test_options_of_other_kinds_are_refused(write):
    with pytest.raises(DataError, match="a file has no splits"):
        load_data(write(CONLL), train_split="train")
    with pytest.raises(ConfigError, match="inputs: columns are for a table of numbers"):
        load_data(write(CONLL), inputs="f*")
    with pytest.raises(DataError, match="no such file"):
        load_data("no/such/train.conll")


def test_words_to_predict_from_come_from_columns_lists_and_lines(write):
    paths = [
        write(CONLL),
        write('{"tokens": ["so"], "tags": ["O"]}\n', "b.jsonl"),
        write("Rome fell .\n\nso\n", "c.txt"),
    ]
    source = sentence_files(paths)
    assert [source[row]["input"] for row in range(len(source))] == [
        ("Anna", "Stone", "fell"),
        ("Rome", "#"),
        ("so",),
        ("Rome", "fell", "."),
        ("so",),
    ]
    assert source.target_kind == "none"
    assert [note.rpartition(": ")[2] for note in source.notes] == [
        "1 lines that begin a document are left out",
        "1 empty lines are left out",
    ]
    with pytest.raises(DataError, match=r"1 of 2 texts are bad: .*line 3 has 3 columns"):
        sentence_files([write("a O\n\nb O x\n\n", "d.conll")])
