"""`tlx predict`: name the classes of images, their labels, or the numbers that a model was trained to predict."""

import csv
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import tyro

from tlx.cli.model_inputs import check_faults, find_inputs, open_model
from tlx.cli.options import InputOptions, percentage
from tlx.cli.output import percent, print_json, print_table
from tlx.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Predict(InputOptions):
    """Name the most probable classes of images or vectors, or what else a model was trained to predict of them.

    The model comes first, or is named by --base: then all are inputs.
    """

    inputs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[MODEL] IMAGE...")]
    """MODEL IMAGE…: a run, an export or a preset; images (PNG, JPEG, BMP, GIF, TIFF, WebP), folders of them, patterns
    such as '*.jpg', arrays (.npy, idx), or - for a list of these, one a line, on standard input; of a model of vectors
    tables (.csv, .jsonl, .parquet) and .npz files."""
    base: str | None = None
    """The model, with its own head: keras/mobilenet_v2, say."""
    weights: str | None = None
    """The weight file of a published model, as its source publishes it; by default it is fetched."""
    top: int = 3
    """How many classes to name for each input."""
    format: Literal["table", "jsonl", "csv"] = "table"
    """jsonl and csv are written as the images are read; --json is one object at the end. Of tagged words table means
    CoNLL's lines, a word and its tag each, and csv a row a word."""
    invert: bool = False
    """Turn black into white: where the model knows light on dark and the images are dark on light."""
    batch_size: int = 64
    """How many images are computed at once."""

    def run(self) -> None:
        from tlx.images import Preprocess
        from tlx.predictions import describe, describe_words, predicted_kind
        from tlx.progress import counted
        from tlx.training import predictions

        if self.top < 1:
            raise ConfigError(f"--top must be at least 1, not {self.top}")
        if self.json and self.format != "table":
            raise ConfigError(f"--json and --format {self.format} are two forms: give one")
        allowed = percentage("skip-bad", self.skip_bad)
        name, trained, inputs = open_model(self.base, self.weights, self.inputs)
        examples = find_inputs(inputs, trained)
        if not trained.classes:
            raise ConfigError(f"{name}: has no head, so it names no classes: name a model with one")
        spec = trained.preprocess
        if isinstance(spec, Preprocess):
            spec = replace(spec, invert=spec.invert != self.invert)
        elif self.invert:
            raise ConfigError("--invert: is for images, and the model takes none: leave it out")
        objective = trained.objective
        pieces = (trained.model, trained.variables, examples, spec, objective)
        parts = predictions(*pieces, batch_size=self.batch_size, workers=self.workers)
        kept: list[dict[str, Any]] = []
        tags = predicted_kind(objective) == "tags"
        writers: dict[str, Callable[[dict[str, Any]], None]] = {"jsonl": _write_jsonl, "csv": _CsvWriter()}
        if tags:
            writers["csv"] = _TagsWriter()
            if not self.json:
                writers["table"] = _write_columns
        write = writers.get(self.format, kept.append)
        names, bad = examples.names or (), getattr(examples, "faults", {})
        texts = hasattr(spec, "takes_text")
        for index, row in enumerate(counted((row for part in parts for row in part), len(examples), "predicting")):
            if tags:
                words = examples[index]["input"]
                said = {"text": " ".join(words), "words": describe_words(row, words, trained.classes)}
                write({"path": names[index], **said})
            elif index not in bad:
                shown = {"text": _shown_text(examples[index]["input"])} if texts else {}
                write({"path": names[index], **shown, **describe(objective, row, trained.classes, self.top)})
        faults = list(bad.values())
        if len(faults) < len(examples):
            noun = "text" if texts else "image" if isinstance(spec, Preprocess) else "input"
            self._show(name, kept, faults, noun)
        check_faults(faults, len(examples), allowed)

    def _show(self, model: str, predictions: list[dict[str, Any]], skipped: list[str], column: str) -> None:
        if self.json:
            print_json({"model": model, "predictions": predictions, "skipped": skipped})
            return
        if self.format != "table" or not predictions:
            return
        predictions = [{**each, "path": each.get("text", each["path"])} for each in predictions]
        if "top" not in predictions[0]:
            names = tuple(predictions[0]["numbers"])
            print_table(model, (column, *names), [[each["path"], *each["numbers"].values()] for each in predictions])
        elif "labels" in predictions[0]:
            rows = [[each["path"], ", ".join(each["labels"]), *_best(each)] for each in predictions]
            places = [f"{place + 1}." for place in range(len(predictions[0]["top"]))]
            print_table(model, (column, "labels", *places), rows, prose=("labels", *places))
        else:
            places = [f"{place + 1}." for place in range(len(predictions[0]["top"]))]
            print_table(
                model,
                (column, *places),
                [[found["path"], *_best(found)] for found in predictions],
                prose=places,
            )


def _shown_text(value: Any) -> str:
    """Return a text, or a pair of them with a bar between."""
    return f"{value['text']} | {value['pair']}" if isinstance(value, dict) else str(value)


def _best(prediction: dict[str, Any]) -> list[str]:
    return [f"{best['label']} {percent(best['probability'])}" for best in prediction["top"]]


def _write_columns(prediction: dict[str, Any]) -> None:
    """Write a text as CoNLL's lines: each word, a tab and its tag, and an empty line behind the last."""
    from tlx.predictions import NONE

    for each in prediction["words"]:
        print(f"{each['word']}\t{each['tag'] or NONE}")
    print()


class _TagsWriter:
    """Write a row a word: the path, the number of the word from 1, the word, its tag and the tag's probability."""

    def __init__(self) -> None:
        self._writer, self._begun = csv.writer(sys.stdout, lineterminator="\n"), False

    def __call__(self, prediction: dict[str, Any]) -> None:
        if not self._begun:
            self._writer.writerow(["path", "number", "word", "tag", "probability"])
            self._begun = True
        for number, each in enumerate(prediction["words"], 1):
            self._writer.writerow([prediction["path"], number, each["word"], each["tag"], each["probability"]])


def _write_jsonl(prediction: dict[str, Any]) -> None:
    print(json.dumps(prediction))


class _CsvWriter:
    """Write a row an input: its path; the labels that apply; label and probability of each of the best; or numbers.

    Labels that apply stand between bars.
    """

    def __init__(self) -> None:
        self._writer, self._begun = csv.writer(sys.stdout, lineterminator="\n"), False

    def __call__(self, prediction: dict[str, Any]) -> None:
        if not self._begun:
            places = range(1, len(prediction.get("top", ())) + 1)
            best = [f"{what}_{i}" for i in places for what in ("label", "probability")]
            labels = ["labels"] * ("labels" in prediction)
            self._writer.writerow(["path", *labels, *best, *prediction.get("numbers", ())])
            self._begun = True
        best = [value for each in prediction.get("top", ()) for value in (each["label"], each["probability"])]
        labels = ["|".join(prediction["labels"])] if "labels" in prediction else []
        self._writer.writerow([prediction["path"], *labels, *best, *prediction.get("numbers", {}).values()])
