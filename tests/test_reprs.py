"""What a cell shows of tlx's objects is short: no arrays, and nothing that HTML would obey."""

import numpy as np
import pytest

import tlx
from tlx.data import ArraySource, ImageFiles, Subset, encoded_images
from tlx.optim import AdamW, Constant, Group, Phase
from tlx.training import Evaluation

SOURCE = ArraySource(np.zeros((3, 8, 8), np.uint8), [0, 1, 2])
BASE = tlx.load("cnn-mnist")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (SOURCE, "ArraySource(3 examples, 3 classes: '0', '1', '2')"),
        (Subset(SOURCE, [0]), "Subset(1 examples, 3 classes: '0', '1', '2')"),
        (encoded_images(["a.png"], [0], ("cat",)), "EncodedSource(1 examples, 1 classes: 'cat')"),
        (
            tlx.Data(SOURCE, SOURCE, SOURCE, SOURCE.classes, notes=("odd",)),
            "Data(3 train, 3 validation, 3 test examples; 3 classes: '0', '1', '2'; 1 notes)",
        ),
        (BASE, "Pretrained('cnn-mnist': cnn, input 28x28x1, 93,322 parameters, 10 classes: '0', '1', '2' and 7 more)"),
        (BASE.cut("conv2"), "Pretrained('cnn-mnist': cnn until conv2, input 28x28x1, 18,816 parameters, no head)"),
        (BASE.model, "Classifier(Base(conv1 -> conv2 -> conv3), Head(classes=10, hidden=(64,), pool='flatten'))"),
        (Group(Constant(0.1), AdamW(b1=0.8)), "Group(schedule=Constant(rate=0.1), optimizer=AdamW(b1=0.8))"),
        (
            Phase("a", 1, (("**", "x"),), {"x": Group(Constant(0.1))}, fresh=("**",)),
            "Phase(name='a', epochs=1, rules=(('**', 'x'),), groups={'x': Group(schedule=Constant(rate=0.1))}, "
            "fresh=('**',))",
        ),
        (
            Evaluation({"loss": 0.0, "accuracy": 0.75}, None, np.eye(4, 2), {}, tlx.Classification()),
            "Evaluation(4 examples: accuracy 0.7500, loss 0.0000)",
        ),
        (
            tlx.tree.summarize(BASE.variables),
            "Summary(10 leaves: total 93,322, base 55,744, head 37,578, trainable 93,322, frozen 0)",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_repr_is_a_line(value, expected):
    assert repr(value) == expected


def test_images_are_counted_only(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((3, 8, 8), np.uint8))
    assert repr(ImageFiles([str(tmp_path / "a.npy")])) == "ImageFiles(3 images)"


@pytest.fixture
def run(tmp_path):
    phase = {"name": "<head>", "epochs": 2, "trainable": 1234, "frozen": 0, "val_accuracy": None, "val_loss": 0.5}
    return tlx.Run(tmp_path / "<a>", {"test_accuracy": 0.5, "scratch_accuracy": 0.25, "phases": [phase]})


def test_a_run_is_a_line_and_a_table(run):
    assert repr(run) == f"Run({str(run.path)!r}: test accuracy 0.5000, from scratch 0.2500; phases <head>)"
    shown = run._repr_html_()
    assert "<td>&lt;head&gt;</td><td>2</td><td>1,234</td><td>0</td><td>–</td><td>0.5000</td>" in shown
    assert "<a" not in shown.replace("<a href", "")
    assert "href" not in shown  # no report yet


def test_a_run_links_its_report(run):
    run.path.mkdir()
    (run.path / "report.html").touch()
    assert '%3Ca%3E/report.html">report</a>' in run._repr_html_()


def test_a_printed_summary_is_a_table_of_leaves():
    lines = str(tlx.tree.summarize(BASE.variables)).splitlines()
    assert lines[0].split() == ["path", "shape", "parameters", "label"]
    assert lines[3].split() == ["base/conv1/kernel", "3x3x1x32", "288", "trainable"]
    assert lines[-1] == "total 93,322   base 55,744   head 37,578   trainable 93,322   frozen 0"
    assert tlx.tree.summarize(BASE.variables)._repr_html_().count("<tr>") == 1 + 10 + 2


def test_the_version_is_there():
    assert tlx.__version__[0].isdigit()
