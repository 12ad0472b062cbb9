"""Predict what examples are: paths or arrays in; classes, labels or numbers out."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np

from tlx.data.arrays import ColumnSource
from tlx.data.image_files import ImageFiles
from tlx.data.inputs import Vectors
from tlx.data.source import Source, check_source
from tlx.data.spec import Data
from tlx.data.tag_arrays import tagged
from tlx.data.validate import as_array, on_scale
from tlx.data.vector_files import vector_array, vector_files
from tlx.devices.parallel import ONE, Placement
from tlx.errors import ConfigError, DataError
from tlx.models.staged import Model
from tlx.objectives import Classification, MultiLabel, NamedObjective, Objective
from tlx.presets.pretrained import Pretrained
from tlx.stop import Stop, never
from tlx.table import html_table, text_table
from tlx.text.tokens import as_texts
from tlx.training.accepts_pretrained import has_pieces, opened
from tlx.training.evaluate import evaluated, predict_arrays
from tlx.tree.paths import Tree, quote

Paths = str | os.PathLike[str]
SHOWN = 20  # images in a printed table
CHANNELS = (1, 3, 4)
NONE = "_"  # the tag of a word that has none, as CoNLL-U writes what is not there
_ANSWER = ("tag", "probability")


@dataclass(frozen=True, repr=False)
class Predictions:
    """What a model says of N inputs.

    `predictions` is (N, C) float32 in the order of `classes`: the probability of each class or label, or numbers in
    their own units; of tagged `words` (N, W, C), zeros where a word has none. `names` are the paths of files, the texts
    themselves, or numbers; `noun` is what an input is.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    predictions: np.ndarray
    objective: Objective = field(default_factory=Classification, compare=False)
    noun: str = "image"
    words: tuple[tuple[str, ...], ...] = ()

    @property
    def probabilities(self) -> np.ndarray:
        """The probability of each class or label, (N, C) float32."""
        if self._kind == "numbers":
            raise AttributeError("no probabilities: the model predicts numbers (Predictions.predictions)")
        return self.predictions

    @property
    def labels(self) -> tuple[Any, ...]:
        """The most probable class of each image; where it can have several labels, a tuple of those that apply.

        Of tagged words a tuple of their tags for each text, with None for a word that was cut off.
        """
        if self._kind == "tags":
            rows = zip(self.words, self.predictions, strict=True)
            return tuple(tuple(each["tag"] for each in describe_words(row, words, self.classes)) for words, row in rows)
        if self._kind == "class":
            return tuple(self.classes[index] for index in self.predictions.argmax(-1))
        return tuple(tuple(each["labels"]) for each in self._described(0))

    @property
    def _kind(self) -> str:
        return predicted_kind(self.objective)

    def _described(self, top: int) -> list[dict[str, Any]]:
        self.probabilities  # noqa: B018  numbers have none
        return [describe(self.objective, row, self.classes, top) for row in self.predictions]

    def __len__(self) -> int:
        return len(self.names)

    def top(self, count: int = 3) -> list[dict[str, Any]]:
        """Return the `count` most probable classes of each image, or each word's tag, as `tlx predict --json` does.

        >>> Predictions(("a.png",), ("cat", "dog"), np.array([[0.25, 0.75]])).top(1)
        [{'path': 'a.png', 'top': [{'index': 1, 'label': 'dog', 'probability': 0.75}]}]
        """
        if self._kind == "tags":
            named = zip(self.names, self.words, self.predictions, strict=True)
            return [{"path": name, "words": describe_words(row, words, self.classes)} for name, words, row in named]
        rows = zip(self.names, self.probabilities, strict=True)
        return [{"path": name, "top": most_probable(row, self.classes, count)} for name, row in rows]

    def _table(self) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Return the columns and the first rows of a table."""
        names, rows = self.names[:SHOWN], self.predictions[:SHOWN]
        match self._kind:
            case "class":
                labels = self.labels[:SHOWN]
                return (self.noun, "label", "probability"), list(zip(names, labels, rows.max(-1).tolist(), strict=True))
            case "tags":
                tags = tuple(" ".join(tag or NONE for tag in each) for each in self.labels[:SHOWN])
                return (self.noun, "tags"), list(zip(names, tags, strict=True))
            case "multi-label":
                labels = tuple(", ".join(each) for each in self.labels[:SHOWN])
                return (self.noun, "labels"), list(zip(names, labels, strict=True))
        return (self.noun, *self.classes), [(name, *row) for name, row in zip(names, rows.tolist(), strict=True)]

    def __repr__(self) -> str:
        if self._kind == "class":
            return f"Predictions({len(self):,} {self.noun}s: {quote(self.labels, 3)})"
        return f"Predictions({len(self):,} {self.noun}s: {quote(self.classes, 3)})"

    def __str__(self) -> str:
        more = f"\n… and {len(self) - SHOWN:,} more" if len(self) > SHOWN else ""
        return text_table(*self._table()) + more

    def _repr_html_(self) -> str:
        more = f"<p>… and {len(self) - SHOWN:,} more</p>" if len(self) > SHOWN else ""
        return html_table(*self._table()) + more


@dataclass(frozen=True)
class _Unscored(Objective):
    """Stand for an objective that is known by its name alone: outputs are predicted as they are, and not scored."""

    def __call__(self, outputs: Tree, batch: Mapping[str, Any], key: Any = None) -> Mapping[str, Any]:
        return {}


def predicted_kind(objective: Objective) -> str:
    """Return what an objective predicts: "class", "multi-label", "tags" or "numbers"."""
    known = objective.target_kinds or ()
    if "tags" in known:
        return "tags"
    return "class" if "class" in known else "multi-label" if isinstance(objective, MultiLabel) else "numbers"


def describe(objective: Objective, row: np.ndarray, classes: tuple[str, ...], count: int) -> dict[str, Any]:
    """Describe what was predicted of one image: `top` classes, `labels` that apply, or `numbers` by name.

    >>> from tlx.objectives import Regression
    >>> describe(Regression(), np.array([1.5]), ("height",), 1)
    {'numbers': {'height': 1.5}}
    """
    if predicted_kind(objective) == "numbers":
        return {"numbers": dict(zip(classes, map(float, row), strict=True))}
    top = {"top": most_probable(row, classes, count)}
    if not isinstance(objective, MultiLabel):
        return top
    applies = objective.decide(row[None])[0]
    return {"labels": [name for name, each in zip(classes, applies, strict=True) if each], **top}


def describe_words(row: np.ndarray, words: tuple[str, ...], classes: tuple[str, ...]) -> list[dict[str, Any]]:
    """Describe the tags of a text's words, of probabilities (W, C); None for a word that has no prediction.

    >>> describe_words(np.array([[0.25, 0.75]]), ("Rome", "fell"), ("O", "B-LOC"))[1]
    {'word': 'fell', 'tag': None, 'probability': None}
    """
    found = []
    for place, word in enumerate(words):
        given = place < len(row) and bool(row[place].any())
        best = int(row[place].argmax()) if given else 0
        answer = {"tag": classes[best], "probability": float(row[place, best])} if given else dict.fromkeys(_ANSWER)
        found.append({"word": word, **answer})
    return found


def most_probable(probabilities: np.ndarray, classes: tuple[str, ...], count: int) -> list[dict[str, Any]]:
    """Describe the `count` most probable classes of one image, the first of equals first."""
    order = (-probabilities).argsort(kind="stable")[:count]
    return [{"index": int(i), "label": classes[i], "probability": float(probabilities[i])} for i in order]


@overload
def predict(
    model: Pretrained,
    images: Any,
    *,
    batch_size: int = 128,
    workers: int | None = None,
    stop: Stop = never,
    placement: Placement = ONE,
) -> Predictions: ...


@overload
def predict(model: Model, variables: Tree, images: np.ndarray, batch_size: int = 128) -> np.ndarray: ...


def predict(model: Any, *arguments: Any, **options: Any) -> Any:
    """Predict what images, texts or vectors are.

    With a `Pretrained`, `predict(pretrained, images)` returns `Predictions`: labels and probabilities, or numbers where
    the model was trained for these. `images` are a path (an image file, a folder of them, a pattern such as `*.jpg`, an
    array file: `tlx.data.ImageFiles`), an array of integers from 0 to 255, (H, W), (H, W, C), (N, H, W) or (N, H, W,
    C), a list of such paths or arrays, or a source; for a model of texts a list of texts, or of pairs `{"text": …,
    "pair": …}`; for one that tags words a list of texts, which are split at blanks, or of lists of words; for a model
    of vectors an array (D,) or (N, D), files of vectors (`tlx.data.vector_files`) or a source. All go through the
    model's input spec. The options are those of `tlx.evaluate`.

    In pieces, `predict(model, variables, images, batch_size=128)` returns the probabilities (N, C) float32 of images
    that are preprocessed already, (N, H, W, C) of floats, N at least 1.

    Raise `DataError` for files that cannot be read, listing them, for floats of unknown scale where pixels are
    expected and integers where preprocessed images are, and `ConfigError` for a model without a head.

    >>> import tlx
    >>> digits = tlx.load("mlp-mnist")
    >>> predict(digits, np.zeros((28, 28), np.uint8)).labels
    ('4',)
    """
    model = opened(model)
    if has_pieces(model) and not isinstance(model, Pretrained):
        raise ConfigError(
            f"a {type(model).__name__} has no names of classes: put its variables into the Pretrained, "
            "dataclasses.replace(pretrained, variables=fit.variables)"
        )
    if isinstance(model, Pretrained):
        return _predictions(model, *arguments, **options)
    return predict_arrays(model, *arguments, **options)


def _predictions(pretrained: Pretrained, images: Any, **options: Any) -> Predictions:
    if not pretrained.classes:
        raise ConfigError(f"{pretrained.name}: has no head, so it names no classes: give it one (with_head)")
    objective = pretrained.objective
    tags = predicted_kind(objective) == "tags"
    source, names = (_sentences_of if tags else _source_of)(images, pretrained.preprocess)
    scored = _Unscored() if isinstance(objective, NamedObjective) else objective
    pieces = (pretrained.model, pretrained.variables, source, pretrained.preprocess, scored)
    predictions = evaluated(*pieces, **{"batch_size": 128, **options}).predictions
    if faults := list(getattr(source, "faults", {}).values()):
        if len(source) == 1:
            raise DataError(faults[0])
        listed = "; ".join(faults[:5]) + (f"; and {len(faults) - 5} more" if len(faults) > 5 else "")
        raise DataError(f"{len(faults)} of {len(source)} images cannot be read: {listed}")
    spec = pretrained.preprocess
    noun = "text" if hasattr(spec, "takes_text") else "vector" if isinstance(spec, Vectors) else "image"
    words = tuple(source[row]["input"] for row in range(len(source))) if tags else ()
    return Predictions(names, pretrained.classes, predictions, objective, noun, words)


def _sentences_of(texts: Any, spec: Any) -> tuple[Source, tuple[str, ...]]:
    """Return texts, split into words already or at their blanks, as a source, and what they are called."""
    if hasattr(texts, "classes"):
        return texts, getattr(texts, "names", None) or tuple(map(str, range(len(texts))))
    listed = [texts] if isinstance(texts, str) else list(texts)
    words = [each.split() if isinstance(each, str) else each for each in listed]
    if not words:
        raise DataError("texts: give at least one")
    source = tagged(words, inputs_name="texts")
    return source, tuple(" ".join(source[row]["input"]) for row in range(len(source)))


def _source_of(images: Any, spec: Any) -> tuple[Source, tuple[str, ...]]:
    """Return the images or vectors as a source, and what they are called."""
    if isinstance(images, Data):
        check_source(images, "images")
    if isinstance(images, str | os.PathLike):
        images = [images]
    if hasattr(spec, "takes_text") and not hasattr(images, "classes"):
        column = _texts(images)
        return ColumnSource({"input": column}), tuple(column["text"] if isinstance(column, dict) else column)
    if isinstance(spec, Vectors) and not hasattr(images, "classes") and not _are_paths(images):
        images = vector_array(images, spec)
    if isinstance(images, Iterable) and not hasattr(images, "__array__") and not hasattr(images, "classes"):
        images = list(images)
        if images and all(isinstance(each, str | os.PathLike) for each in images):
            if isinstance(spec, Vectors):
                vectors = vector_files(map(os.fspath, images), spec)
                return vectors, vectors.names or ()
            files = ImageFiles(map(os.fspath, images))
            return files, files.names
        if not images or any(isinstance(each, str | os.PathLike) for each in images):
            raise DataError("images: expected paths or arrays, all of one kind, and at least one")
        images = _Listed([_one(each, index) for index, each in enumerate(images)])
    elif not hasattr(images, "classes"):
        images = _array_source(_array(images, "images"))
    names = getattr(images, "names", None) or tuple(map(str, range(len(images))))
    return images, names


def _texts(texts: Any) -> Any:
    """Return texts, or pairs of them, as a column; raise `DataError` for what is none."""
    listed = list(texts) if isinstance(texts, Iterable) else [texts]
    first, second = as_texts(listed)
    if not first:
        raise DataError("texts: give at least one")
    column = np.array(first, object)
    return column if second is None else {"text": column, "pair": np.array(second, object)}


def _are_paths(values: Any) -> bool:
    return isinstance(values, list | tuple) and all(isinstance(each, str | os.PathLike) for each in values)


class _Listed:
    """Images of different sizes in memory, as a source without labels."""

    classes: tuple[str, ...] = ()
    target_kind = "none"

    def __init__(self, images: list[np.ndarray]) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Any:
        return {"input": self._images[index]}


class _Images(_Listed):
    """Images of one size in memory, checked, as a source without labels."""

    def __init__(self, array: np.ndarray, name: str) -> None:
        self.images = on_scale(array, None, name)
        super().__init__(list(self.images))


def _one(image: Any, index: int) -> np.ndarray:
    """Check one of a list of images."""
    array = _array(image, f"images[{index}]")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in CHANNELS):
        raise DataError(f"images[{index}]: shape {array.shape}, expected (H, W) or (H, W, C) with 1, 3 or 4 channels")
    return _pixels(array[None], f"images[{index}]").images[0]


def _array(image: Any, name: str) -> np.ndarray:
    mode = getattr(image, "mode", None)  # of Pillow's
    if mode not in (None, "L", "RGB", "RGBA"):
        raise DataError(f"{name}: an image of mode {mode!r}, expected L, RGB or RGBA: call convert('RGB')")
    return as_array(image, name)


def _array_source(array: np.ndarray) -> "_Images":
    if array.ndim not in (2, 3, 4):
        raise DataError(f"images: shape {array.shape}, expected (H, W), (H, W, C), (N, H, W) or (N, H, W, C)")
    one = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in CHANNELS)
    return _pixels(array[None] if one else array, "images")


def _pixels(array: np.ndarray, name: str) -> "_Images":
    if array.dtype.kind == "f":
        raise DataError(
            f"{name}: type {array.dtype}, expected integers from 0 to 255: convert them, or call "
            "predict(model, variables, images) where they are preprocessed already"
        )
    return _Images(array, name)
