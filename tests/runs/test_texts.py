"""What a run on texts keeps of them, and that it comes back from the file."""

import dataclasses
import itertools

import numpy as np
import pytest
from text_models import write_text_folder

import tlx
from tlx.data import ColumnSource
from tlx.data.tokenized import tokenized
from tlx.errors import CheckpointError
from tlx.models.saliency import saliency
from tlx.objectives import Classification
from tlx.records import read_evaluation, read_texts
from tlx.records.texts import Counts
from tlx.runs.interpret import write_evaluation
from tlx.runs.texts import MOST_CHARACTERS
from tlx.training import Evaluation

CLASSES = ("no", "yes")
TEXTS = ["Good films, <b>café</b>", "bad \u2603 play", "the film is [MASK] " * 12, "a film\x00", "not " + "a" * 5000]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    base = tlx.load(str(write_text_folder(tmp_path_factory.mktemp("model") / "tiny"))).with_head(CLASSES)
    kernel = np.random.default_rng(0).normal(size=(12, 2)).astype(np.float32)
    logits = {**base.variables["params"]["head"]["logits"], "kernel": kernel}
    params = {**base.variables["params"], "head": {"logits": logits}}
    spec = dataclasses.replace(base.preprocess, lengths=(8, 16, 40))
    return dataclasses.replace(base, variables={**base.variables, "params": params}, preprocess=spec)


def answers(labels, predicted):
    """Make up answers, the first the surest."""
    probabilities = np.zeros((len(labels), 2), np.float32)
    probabilities[np.arange(len(labels)), predicted] = np.linspace(0.9, 0.6, len(labels))
    losses = {"loss": np.ones(len(labels), np.float32)}
    return Evaluation(
        {"loss": 1.0, "accuracy": 0.5}, np.array(labels, np.int32), probabilities, losses, Classification()
    )


def written(path, trained, inputs, wrong, **how):
    """Write and read back an evaluation of texts whose true class is 0, those of `wrong` mistaken."""
    labels, predicted = [0] * len(inputs), [int(row in wrong) for row in range(len(inputs))]
    source = ColumnSource({"input": inputs, "target": labels}, CLASSES)
    how.setdefault("interpret", True)
    write_evaluation(path, answers(labels, predicted), tokenized(source, trained.preprocess), trained, **how)
    count = len(read_evaluation(path, 2).mistakes)
    return read_texts(path, count)


@pytest.mark.slow
def test_mistakes_are_kept_as_texts_with_the_scores_of_their_words(tmp_path, trained):
    found = written(tmp_path / "evaluation.npz", trained, TEXTS, {0, 1, 3, 4})
    assert [each.text for each in found.mistakes] == [TEXTS[0], TEXTS[1], "a film", TEXTS[4][:MOST_CHARACTERS]]
    first = found.mistakes[0]
    words = [first.text[begin:end] for _, begin, end in first.words]
    assert words == ["Good", "films", ",", "<", "b", ">", "café", "<", "/", "b", ">"]
    spec = trained.preprocess
    inputs = spec.on_device(spec.collate([TEXTS[0]]))
    scores = saliency(trained.model, trained.variables, inputs, np.array([1]))[0]
    pieces = [len(spec.tokenizer.encode([word])[0]) for word in words]
    ends = 1 + np.cumsum([0, *pieces])
    wanted = [scores[begin:end].sum() for begin, end in itertools.pairwise(ends)]
    np.testing.assert_allclose(first.scores, wanted, rtol=1e-3, atol=1e-6)
    assert first.scores.any()


@pytest.mark.slow
def test_pairs_are_kept_with_both_texts(tmp_path, trained):
    pairs = {"text": ["good film", "bad"], "pair": ["a car", "not fine"]}
    found = written(tmp_path / "evaluation.npz", trained, pairs_of(pairs), {1})
    assert (found.mistakes[0].text, found.mistakes[0].pair) == ("bad", "not fine")
    assert found.mistakes[0].words.tolist() == [[0, 0, 3], [1, 0, 3], [1, 4, 8]]


def pairs_of(columns):
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def test_the_parts_are_counted(tmp_path, trained):
    training = ColumnSource({"input": TEXTS[:2], "target": [0, 1]}, CLASSES)
    found = written(tmp_path / "evaluation.npz", trained, TEXTS[1:4], set(), training=training, interpret=False)
    rows = trained.preprocess.encode(TEXTS[1:4])
    lengths = rows.lengths.tolist()
    counts = Counts(3, sum(lengths), int(trained.preprocess.padded(lengths).sum()), 1, int(rows.lost.sum()), 1, 1)
    assert found.parts["test"].counts == counts
    assert counts.lost > 0
    assert found.parts["test"].lengths.tolist() == [[each, 1] for each in sorted(lengths)]
    assert found.parts["training"].counts.texts == 2
    assert found.mistakes == ()


def test_a_run_that_interprets_nothing_keeps_the_texts_without_scores(tmp_path, trained):
    found = written(tmp_path / "evaluation.npz", trained, TEXTS, {2}, interpret=False)
    assert [each.text for each in found.mistakes] == [TEXTS[2]]
    assert len(found.mistakes[0].words) == len(found.mistakes[0].scores) == 0


def changed(path, **arrays):
    """Replace arrays of a file; None leaves one out."""
    with np.load(path) as held:
        everything = {**held, **arrays}
    np.savez(path, **{name: array for name, array in everything.items() if array is not None})


@pytest.fixture
def file(tmp_path, trained):
    written(tmp_path / "evaluation.npz", trained, TEXTS, {0}, interpret=False)
    changed(tmp_path / "evaluation.npz", mistake_words=np.array([[0, 0, 0, 4]]), mistake_scores=np.ones(1, np.float32))
    return tmp_path / "evaluation.npz"


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"mistake_words": np.array([[0, 0, 0, 99]])}, "outside of the texts"),
        ({"mistake_words": np.array([[0, 1, 0, 1]])}, "outside of the texts"),
        ({"mistake_words": np.array([[1, 0, 0, 1]])}, "outside of the texts"),
        ({"mistake_words": np.array([[0, 2, 0, 0]])}, "outside of the texts"),
        ({"mistake_words": np.array([[0, 0, -1, 1]])}, "not counts"),
        ({"mistake_words": np.array([[0, 0, 1]])}, "4 columns"),
        ({"mistake_scores": np.ones(2, np.float32)}, "'mistake_scores' has 2 rows"),
        ({"mistake_scores": np.array([np.nan])}, "not finite"),
        ({"mistake_texts": np.array(["a", "b"])}, "'mistake_texts' has 2 rows"),
        ({"mistake_texts": np.frombuffer(b"\xff\xff\xff\x7f", "<U1")}, "characters that do not exist"),
        ({"text_counts": np.ones((1, 3), int)}, "'text_counts' has shape"),
        ({"text_lengths": np.array([[4, 1, 1]])}, "names part 4"),
        ({"text_parts": None}, "no array 'text_parts'"),
        ({"mistake_scores": np.array(["a"])}, "expected floats"),
    ],
)
def test_what_is_at_odds_with_itself_is_refused(file, arrays, words):
    assert read_texts(file, 1).mistakes[0].words.tolist() == [[0, 0, 4]]
    changed(file, **arrays)
    with pytest.raises(CheckpointError, match=words):
        read_texts(file, 1)


def test_a_file_of_other_inputs_holds_no_texts(file):
    with np.load(file) as held:
        names = [name for name in held if name.startswith("text_") or name in ("mistake_texts", "mistake_pairs")]
    changed(file, **dict.fromkeys((*names, "mistake_words", "mistake_scores")))
    assert read_texts(file, 1) is None
    assert len(read_evaluation(file, 2).mistakes) == 1


@pytest.mark.slow
def test_texts_as_long_as_the_model_takes_are_trained_on(tmp_path, trained):
    """The frozen stages' activations are kept, the lengths of which are found out by trying another length."""
    source = ColumnSource(
        {"input": [f"{word} film " * 30 for word in ("good", "bad") * 6], "target": [0, 1] * 6}, CLASSES
    )
    data = tlx.data_from_sources(source, test=source)
    options = tlx.RunOptions(compare_scratch=False, batch_size=4)
    run = tlx.finetune(trained, data, tlx.recipes.probe(trained, epochs=1), options, out=tmp_path / "run")
    assert run.result["test_examples"] == 12
