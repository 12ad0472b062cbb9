"""`tlx evaluate`: test a trained model."""

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from tlx.cli.options import InputOptions, percentage
from tlx.cli.output import percent, print_facts, print_json, print_table
from tlx.errors import ConfigError
from tlx.files import home
from tlx.progress import doing

if TYPE_CHECKING:
    from tlx.training import Evaluation

_SHOWN_CLASSES, _SHOWN_PAIRS = 30, 10


@dataclass(frozen=True, kw_only=True)
class Evaluate(InputOptions):
    """Test a finished run on its own test examples, or any model on --data."""

    model: Annotated[str, tyro.conf.Positional]
    """The folder of a run or an export, or a preset."""
    data: str | None = None
    """Test on these data, named as for tlx finetune; by default on the run's own. Their classes are matched by name.
    Data without a test set are split, as the run split its own."""
    part: Literal["test", "validation", "train"] = "test"
    """Which part of the data."""
    empty_classes: Literal["refuse", "skip"] = "refuse"
    """With --data: what becomes of a class folder that holds no images; skip: it is left out and noted."""
    weights: str | None = None
    """The weight file of a published model, as its source publishes it; by default it is fetched."""
    top: int = 5
    """Also count an example as right where its class is among so many most probable ones."""
    batch_size: int = 128
    """With --data."""

    def run(self) -> None:
        import tlx
        from tlx.training.accepts_pretrained import matched

        if self.top < 1:
            raise ConfigError(f"--top must be at least 1, not {self.top}")
        allowed = percentage("skip-bad", self.skip_bad)
        is_run = (home(self.model) / "run.json").is_file()
        doing(f"loading {self.model}")
        trained = tlx.load(self.model, self.weights)
        if self.data is None:
            if not is_run:
                raise ConfigError(f"{self.model}: not a run: say with --data what to test it on")
            scores = tlx.runs.evaluate_run(self.model, part=self.part, workers=self.workers)
        else:
            if not trained.classes:
                raise ConfigError(f"{self.model}: has no head, so it names no classes: name a model with one")
            # With the run's own seed and shares, data that the run was trained on are split as they were then.
            split = tlx.runs.split_of(self.model, self.data) if is_run else {}
            split |= _columns_of(trained, self.data, split.pop("target", ()), split.pop("text", ()))
            doing("reading the data")
            data = tlx.load_data(
                self.data,
                **split,
                skip_bad=allowed,
                empty_classes=self.empty_classes,
                preprocess=trained.preprocess,
                progress=True,
            )
            source = matched(getattr(data, self.part), trained.classes)  # before the notes: it may be refused
            for note in data.notes:
                print(f"tlx: {note}", file=sys.stderr)
            scores = tlx.evaluate(trained, source, batch_size=self.batch_size, workers=self.workers)
        if isinstance(scores.objective, tlx.TokenClassification):
            return self._tell_tags(scores, trained.classes)
        if not isinstance(scores.objective, tlx.Classification):
            return self._tell(scores, trained.classes)
        result = self._measure(scores, trained.classes)
        if self.json:
            print_json(result)
        else:
            _show(result, self.top)

    def _tell(self, scores: "Evaluation", names: tuple[str, ...]) -> None:
        """Print the metrics of another objective than classification, and the figures of each label or number."""
        import numpy as np

        from tlx.objectives import MultiLabel, Regression
        from tlx.records.outcome import Outcome

        thresholds: tuple[float, ...] = ()
        outputs: list[dict[str, Any]] = []
        if isinstance(scores.objective, MultiLabel):
            thresholds = scores.objective.thresholds or (0.5,) * len(names)
        if isinstance(scores.objective, MultiLabel | Regression):
            arrays = (np.asarray(each, np.float64) for each in (scores.targets, scores.predictions, thresholds))
            figures = Outcome(*arrays).figures()
            outputs = [{"name": name, **found} for name, found in zip(names, figures, strict=True)]
        if self.json:
            print_json({**scores.metrics, "examples": len(scores), "outputs": outputs})
            return
        told = [f"{name.replace('_', ' ')} {value:.4g}" for name, value in scores.metrics.items()]
        print_facts([*told, f"on {len(scores)} examples"])
        if outputs:
            columns = tuple(outputs[0])
            heads = tuple(column.replace("_", " ") for column in columns)
            print_table("outputs", heads, [[each[column] for column in columns] for each in outputs], prose=("name",))

    def _tell_tags(self, scores: "Evaluation", tags: tuple[str, ...]) -> None:
        """Print how words are tagged, each tag and type of entity apart."""
        from tlx.objectives import TokenClassification
        from tlx.training.per_word import per_word

        assert isinstance(scores.objective, TokenClassification)
        found = per_word(scores)
        entities = [
            {"type": kind, "precision": own.precision, "recall": own.recall, "f1": own.f1, "support": own.true}
            for kind, own in scores.objective.entities(scores.predictions, scores.targets).items()
            if "f1" in scores.metrics
        ]
        counts = {"texts": len(scores), "without_prediction": found.without, "entities": entities}
        result = {**self._measure(found.scores, tags), **scores.metrics, **counts}
        if self.json:
            print_json(result)
            return
        if entities:
            print_facts(f"entities: {name} {scores.metrics[name]:.4g}" for name in ("f1", "precision", "recall"))
            columns = tuple(entities[0])
            print_table("entities", columns, [[each[column] for column in columns] for each in entities])
        if found.without:
            print_facts([f"{found.without} words have no prediction, and count as wrong"])
        _show(result, self.top, f"words of {len(scores)} texts")

    def _measure(self, scores: "Evaluation", classes: tuple[str, ...]) -> dict[str, Any]:
        """Gather every figure as plain data; a figure without meaning is None."""
        from tlx import analysis

        labels, predicted = scores.labels, scores.predicted
        figures = analysis.class_figures(labels, predicted, len(classes))
        correct = labels == predicted
        return {
            "accuracy": scores.accuracy,
            "loss": scores.loss,
            "examples": len(labels),
            f"top{self.top}_accuracy": analysis.top_k_accuracy(labels, scores.probabilities, self.top),
            "calibration_error": analysis.expected_calibration_error(correct, scores.confidence),
            "classes": [
                {
                    "label": name,
                    "precision": _plain(figures.precision[index]),
                    "recall": _plain(figures.recall[index]),
                    "f1": _plain(figures.f1[index]),
                    "support": int(figures.support[index]),
                }
                for index, name in enumerate(classes)
            ],
            "confused": [
                {"label": classes[pair.label], "predicted": classes[pair.predicted], "count": pair.count}
                for pair in analysis.most_confused(labels, predicted, _SHOWN_PAIRS)
            ],
            "confusion": analysis.confusion_matrix(labels, predicted, len(classes)).tolist(),
        }


def _columns_of(trained: Any, data: str, target: tuple[str, ...], text: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return which columns of data hold a model's inputs and what it predicts, and its kind, as `load_data` does."""
    from tlx.data import Vectors
    from tlx.data.kinds import KINDS, kind_of
    from tlx.objectives import MultiLabel, Regression, TokenClassification

    columns = {"inputs": trained.preprocess.columns} if isinstance(trained.preprocess, Vectors) else {}
    if text and KINDS[kind_of(data)[0]].targets:
        columns["text"] = text
    if isinstance(trained.objective, Regression):
        return columns | {"target": trained.classes, "target_kind": "regression"}
    if isinstance(trained.objective, TokenClassification):
        return columns | {"target": target, "target_kind": "tags"}
    if isinstance(trained.objective, MultiLabel):
        return columns | {"target": target, "target_kind": "multi-label"}
    return columns | ({"target": target, "target_kind": "class"} if target and KINDS[kind_of(data)[0]].targets else {})


def _plain(figure: float) -> float | None:
    return None if figure != figure else float(figure)  # NaN differs from itself


def _show(result: dict[str, Any], top: int, noun: str = "examples") -> None:
    accuracy, among = percent(result["accuracy"]), percent(result[f"top{top}_accuracy"])
    error = percent(result["calibration_error"])
    print_facts(
        [
            f"accuracy {accuracy}",
            f"top {top} {among}",
            f"loss {result['loss']:.4f}",
            f"calibration error {error}",
            f"on {result['examples']} {noun}",
        ]
    )
    present = [found for found in result["classes"] if found["support"]]
    worst = sorted(present, key=lambda found: found["f1"] or 0.0)[:_SHOWN_CLASSES]
    title = "classes" if len(worst) == len(present) else f"the {len(worst)} hardest of {len(present)} classes"
    columns = ("label", "precision", "recall", "f1", "support")
    print_table(title, columns, [[found[column] for column in columns] for found in worst], prose=("label",))
    pairs = [(pair["label"], pair["predicted"], pair["count"]) for pair in result["confused"]]
    if pairs:
        print_table("most confused", ("class", "taken for", "times"), pairs, prose=("class", "taken for"))
