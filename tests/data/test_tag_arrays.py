"""Sentences and tags in memory: what is held, matched and refused."""

import numpy as np
import pytest

import tlx
from tlx.data import ColumnSource, Subset, data_from_arrays, data_from_sources
from tlx.data.source import digests_of, take, targets_of
from tlx.data.tag_arrays import tagged
from tlx.data.validate import check_tags
from tlx.data.views import Relabelled
from tlx.errors import DataError

WORDS = [["Rome", "fell"], ["so"], ["it", "is", "so"], ["Anna", "is"]]
TAGS = [["LOC", "O"], ["O"], ["O", "O", "O"], ["PER", "O"]]


def test_tags_are_padded_behind_the_last_word_and_inputs_stay_as_they_are():
    source = tagged(WORDS, TAGS)
    assert targets_of(source).tolist() == [[1, 0, -1], [0, -1, -1], [0, 0, 0], [2, 0, -1]]
    assert source[2]["input"] == ("it", "is", "so")
    assert Subset(source, [3, 1]).targets.tolist() == [[2, 0, -1], [0, -1, -1]]
    assert take(source, np.array([1]))["target"].tolist() == [[0, -1, -1]]
    assert len(set(digests_of(source))) == 4


def test_sentences_of_one_length_are_no_table():
    source = ColumnSource({"input": [("a", "b"), ("c", "d")], "target": [[0, 1], [1, 1]]}, ("x", "y"), "tags")
    assert source[1]["input"] == ("c", "d")


def test_a_source_of_ones_own_may_give_lists_of_any_length():
    class Own:
        classes = ("O", "LOC", "PER")
        target_kind = "tags"

        def __len__(self):
            return 20

        def __getitem__(self, index):
            return {"input": tuple(WORDS[index % 4]), "target": [self.classes.index(tag) for tag in TAGS[index % 4]]}

    data = data_from_sources(Own(), validation_share=0.0)
    assert targets_of(data.train).shape[1] == 3
    assert {tuple(row) for row in targets_of(data.train).tolist()} <= {(1, 0, -1), (0, -1, -1), (0, 0, 0), (2, 0, -1)}


def test_lists_of_words_and_tags_make_the_parts_of_a_run():
    data = data_from_arrays(WORDS * 5, TAGS * 5, test_inputs=WORDS[:1], test_targets=[["LOC", "O"]])
    assert data.classes == ("O", "LOC", "PER")
    assert data.target_kind == "tags"
    assert targets_of(data.test).tolist() == [[1, 0]]
    numbered = data_from_arrays(WORDS * 5, [[1, 0], [0], [0, 0, 0], [2, 0]] * 5, target_kind="tags")
    assert numbered.classes == ("0", "1", "2")


def test_tags_are_numbered_as_a_model_has_them():
    renamed = Relabelled(tagged(WORDS, TAGS), ("PER", "ORG", "O", "LOC"))
    assert targets_of(renamed).tolist()[0] == [3, 2, -1]
    assert renamed[3]["target"].tolist() == [0, 2, -1]
    with pytest.raises(DataError, match="1 classes that the model does not know: 'PER'"):
        Relabelled(tagged(WORDS, TAGS), ("O", "LOC"))


def test_training_on_one_tag_alone_is_refused():
    data = data_from_arrays(WORDS * 10, [["O"] * len(words) for words in WORDS] * 10)
    with pytest.raises(DataError, match="all words of the training texts have one tag, 'O'"):
        tlx.data.check_data(data, 2)


@pytest.mark.parametrize(
    ("words", "tags", "message"),
    [
        ([["a", "b"]], [["O"]], "row 0 has 2 words and 1 tags"),
        ([["a"], []], [["O"], []], "row 1 has no words"),
        ([["a"], ["b", " "]], [["O"], ["O", "O"]], "row 1 has an empty word"),
        ([["a"]], [["O"], ["O"]], "1 sentences and 2 lists of tags"),
        (["a b"], [["O"]], "row 0 is 'a b', and no list of words"),
        ([["a\0"]], [["O"]], "row 0 has a word that has a NUL"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_row(words, tags, message):
    with pytest.raises(DataError, match=message):
        tagged(words, tags)


@pytest.mark.parametrize("tags", [[[0, 3]], [[0, -2]], [[-1, 0]], [[]], [[True]], [[0.5]], [["O"]]])
def test_numbers_that_are_no_tags_are_refused(tags):
    with pytest.raises(DataError, match="tags: row 7"):
        check_tags(tags, classes=3, rows=[7])
