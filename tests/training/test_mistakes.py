"""What people give by mistake is answered in a line that says what to write."""

import pytest

import tlx
from tlx.errors import ConfigError, DataError

BASE, DATA = tlx.load("mlp-mnist"), tlx.load_data("digits", labels_per_class=2)
PROBE = tlx.recipes.probe(BASE.stages, epochs=1)
START = BASE.with_head(DATA.classes)
FIT = tlx.Fit(START.variables, (), tlx.History(), {}, START.model, START.preprocess, tlx.Classification())


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: tlx.fit(START, PROBE[0], DATA), r"recipe: one Phase, expected a tuple: write \(phase,\)"),
        (lambda: tlx.fit(START, (), DATA), "recipe: expected at least one"),
        (
            lambda: tlx.fit(START, DATA.train, PROBE),
            r"recipe: Subset\(.*expected a tuple",
        ),
        (lambda: tlx.fit(START, PROBE, [1, 2, 3]), "train: list is no source of examples: it lacks classes"),
        (lambda: tlx.fit(START, PROBE, (DATA.train, 0.2)), "validation: float is no source"),
        (lambda: tlx.fit("mlp-mnist", PROBE, DATA), r"give the model, tlx\.load\('mlp-mnist'\)"),
        (lambda: tlx.evaluate(START, DATA), r"source: a Data has three parts: give one"),
        (lambda: tlx.evaluate("mlp-mnist", DATA.test), r"tlx\.load\('mlp-mnist'\)"),
        (lambda: tlx.predict("mlp-mnist", DATA.test), r"tlx\.load\('mlp-mnist'\)"),
        (lambda: tlx.predict(FIT, DATA.test), r"a Fit has no names of classes: .*replace\(pretrained, variables="),
        (lambda: tlx.predict(START, DATA), "images: a Data has three parts"),
        (lambda: list(tlx.training.features(START, DATA)), "source: a Data has three parts"),
        (lambda: tlx.finetune("mlp-mnist", DATA, PROBE, out="nowhere"), r"no tlx\.Pretrained: give what tlx\.load"),
        (lambda: tlx.finetune(BASE, DATA.train, PROBE, out="nowhere"), r"no tlx\.Data: give what tlx\.load_data"),
        (lambda: tlx.finetune(BASE, DATA, PROBE[0], out="nowhere"), "one Phase, expected a tuple"),
        (
            lambda: tlx.finetune(BASE, DATA, PROBE, tlx.RunOptions(compare_scratch="never"), out="nowhere"),
            "compare_scratch: 'never' is n",
        ),
        (lambda: tlx.finetune(BASE, DATA, PROBE, out="nowhere", resume="no"), "resume: 'no' is neither True nor False"),
        (lambda: tlx.fit(START, PROBE, DATA, tlx.TrainOptions(balanced="natural")), "balanced: 'natural' is neither"),
        (lambda: tlx.fit(START, PROBE, DATA, progress="off"), "progress: 'off' is neither"),
        (lambda: tlx.runs.estimate(BASE, DATA, PROBE, tlx.RunOptions(keep_head="no")), "keep_head: 'no' is neither"),
        (lambda: tlx.data.Feed(batch_size=2, pad="no"), "pad: 'no' is neither"),
        (lambda: tlx.optim.Sgd(nesterov="no"), "nesterov: 'no' is neither"),
        (lambda: tlx.load("mlp-mnist", head="no"), "head: 'no' is neither"),
        (
            lambda: tlx.convert_weights("a.pth", "b", options=tlx.ConvertOptions(allow_nonfinite="no")),
            "allow_nonfinite: 'no' is neither",
        ),
        (lambda: tlx.export_weights("mlp-mnist", "b.pth", head="no"), "head: 'no' is neither"),
        (lambda: tlx.load(START), r"name: Pretrained, expected a name or a folder; a run's model is run\.load\(\)"),
        (lambda: tlx.save(FIT, "nowhere"), "pretrained: Fit, expected a tlx.Pretrained"),
        (lambda: BASE.with_head(10), r"classes: int, expected a tuple of names, such as data\.classes"),
        (lambda: BASE.with_head(DATA), "classes: Data, expected a tuple of names"),
        (lambda: BASE.with_head(range(3)), r"class names must be strings, not 0: write tuple\(map\(str"),
        (lambda: BASE.with_head(("a", "b"), hidden=64), r"hidden: 64 is no tuple of sizes: write \(64,\)"),
        (lambda: BASE.with_input(32), r"size: 32 is no \(height, width\): write \(32, 32\)"),
        (lambda: BASE.summary("probe"), "recipe: 'probe' is none"),
        (lambda: BASE.summary(3), "recipe: 3 is none"),
        (lambda: tlx.load_data(123), "source: 123 is neither a path or name nor a tlx.data.DataSpec"),
        (lambda: tlx.load_data("digits", preprocess="x"), "preprocess: str is no input spec"),
        (
            lambda: tlx.load_data("digits", label_per_class=2),
            "unknown option 'label_per_class', did you mean",
        ),
        (lambda: tlx.Devices("2"), "Devices.count: '2' is not an integer of 1 or more"),
        (
            lambda: tlx.fit(START, PROBE, DATA, tlx.TrainOptions(objective=lambda outputs, *others: outputs.mean(-1))),
            r"objective: it returned .*, expected terms by name: \{'loss': \.\.\.\}",
        ),
        (lambda: tlx.ConvertOptions(classes="ab"), "classes: 'ab' is one string; give a tuple of names"),
    ],
)
def test_a_mistake_is_answered_in_a_line(call, said):
    with pytest.raises((ConfigError, DataError), match=said) as error:
        call()
    assert "\n" not in str(error.value)
