"""Interpret a trained model on its test examples: where it looked in its mistakes, and how its features lie."""

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

from tlx.data.inputs import Showable
from tlx.data.source import Source, names_of, take
from tlx.data.views import Subset
from tlx.models.gradcam import gradcam, last_spatial_stage
from tlx.objectives import Classification, MultiLabel, TokenClassification
from tlx.presets.pretrained import Pretrained
from tlx.progress import doing
from tlx.records.evaluation import write_answers
from tlx.runs.seen import MISTAKES, Seen, mapped_rows
from tlx.runs.tags import tagged_columns
from tlx.runs.texts import text_record
from tlx.training.evaluate import Evaluation
from tlx.training.features import features


def write_evaluation(
    path: Path,
    scores: Evaluation,
    source: Source,
    trained: Pretrained,
    *,
    workers: int | None = None,
    interpret: bool = True,
    seen: Seen | None = None,
    training: Source | None = None,
) -> None:
    """Write the test results of a trained model, and what interprets them, into an `evaluation.npz`.

    Args:
        path: the file.
        scores: of every example of `source`, in its order.
        source: the test examples.
        trained: the model.
        workers: threads that prepare batches (`tlx.data.Feed`).
        interpret: whether a map of the features is drawn and, where inputs can be shown, Grad-CAM of the mistakes.
        seen: what was kept of the examples as they were tested; without it some are asked for again.
        training: the training examples, whose lengths are kept beside those of the test examples where they are texts.

    The file holds, by objective: `labels`, `predicted`, `confidence` and `loss`, all (N,), of a classification;
    `targets`, `predictions` and, of several labels, `thresholds` of others, (N, C). Of a classification it also holds K
    most confident mistakes (`mistakes`, their rows) and what the network was shown (`mistake_images`,
    (K, H, W, C) uint8), with Grad-CAM of the class that was answered (`mistake_maps`, (K, H, W) uint8; none where the
    base has no spatial features) and the examples' names, if the source has `names` (`mistake_names`); and a map of M
    examples (`map_rows`, (M,); `map_points`, (M, 2) float32). Of texts it holds what `tlx.records.TextRecord` says:
    lengths, what was left out, and the words that spoke for the answer in each mistake, by gradient x input. Where
    words are tagged each of the N is a word, and the file holds what `tlx.records.TagRecord` says, too.

    Raises:
        StorageError: where it cannot be written.

    >>> import tempfile, tlx
    >>> trained, source = tlx.load("mlp-mnist"), tlx.data.Subset(tlx.load_data("digits").test, range(8))
    >>> scores = tlx.evaluate(trained, source)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_evaluation(Path(folder, "evaluation.npz"), scores, source, trained)
    ...     np.load(Path(folder, "evaluation.npz"))["map_points"].shape
    (8, 2)
    """
    trained = replace(trained, variables=jax.device_put(trained.variables))
    if isinstance(scores.objective, TokenClassification):
        write_answers(path, tagged_columns(scores, source, trained, training))
        return
    columns = _results(scores)
    if "predicted" in columns:
        columns |= _mistakes(scores, source, trained, interpret, seen)
    worst = columns.get("mistakes", np.zeros(0, np.int64))
    parts = {"training": training, "test": source}
    answers = scores.predicted[worst] if len(worst) else worst
    texts = text_record(trained, parts, source, worst, answers, interpret=interpret)
    columns |= {} if texts is None else texts.to_arrays()
    if interpret and not isinstance(scores.predictions, dict):
        doing("mapping the features")
        columns["map_rows"], columns["map_points"] = map_features(trained, source, workers=workers, seen=seen)
    write_answers(path, columns)


def _results(scores: Evaluation) -> dict[str, np.ndarray]:
    """Return what each example came to, by name."""
    if isinstance(scores.objective, Classification):
        own = {"labels": scores.labels, "predicted": scores.predicted, "confidence": scores.confidence}
        return {**own, "loss": scores.losses}
    leaves = jax.tree.leaves(scores.predictions)
    columns = {"predictions": leaves[0]} if len(leaves) == 1 else {}
    if scores.targets is not None:
        columns["targets"] = scores.targets
    if isinstance(scores.objective, MultiLabel) and columns:
        count = columns["predictions"].shape[1]
        columns["thresholds"] = np.asarray(scores.objective.thresholds or (0.5,) * count, np.float32)
    return columns


def _mistakes(
    scores: Evaluation, source: Source, trained: Pretrained, interpret: bool, seen: Seen | None
) -> dict[str, np.ndarray]:
    """Return the most confident mistakes, as the network saw them where that can be shown."""
    wrong = np.flatnonzero(scores.predicted != scores.labels)
    worst = wrong[np.argsort(-scores.confidence[wrong], kind="stable")][:MISTAKES]
    names = names_of(source) or ("",) * len(source)
    columns = {"mistakes": worst.astype(np.int64), "mistake_names": np.array([names[row] for row in worst], np.str_)}
    spec = trained.preprocess
    if not isinstance(spec, Showable):
        return columns
    doing("looking at the mistakes")
    nothing = np.zeros((0, *spec.shape), np.uint8)
    if seen is not None and all(row in seen.mistakes for row in worst.tolist()):
        framed = [seen.mistakes[row] for row in worst.tolist()]
    else:
        framed = [spec.frame_one(each) for each in (take(source, worst)["input"] if len(worst) else ())]
    frames = np.concatenate([nothing, *(frame[None] for frame in framed)])
    columns["mistake_images"] = _viewable(frames)
    maps = _heat(trained, spec, frames if interpret else nothing, scores.predicted[worst])
    return {**columns, "mistake_maps": maps}


def map_features(
    trained: Pretrained, source: Source, *, workers: int | None = None, seen: Seen | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Project features of at most 1,000 evenly spread examples onto a plane: rows (M,) int64, points (M, 2) float32.

    The features are the base's, pooled as the head pools them; examples whose features are not finite are left out.
    """
    rows, pool = mapped_rows(len(source)), trained.config.pool
    if seen is None:
        mapped = Subset(source, rows)
        parts = features(trained.model, trained.variables, mapped, trained.preprocess, pool=pool, workers=workers)
        found = np.concatenate(list(parts))
    else:
        found = seen.features()
    finite = np.isfinite(found).all(axis=1)
    return rows[finite], project(found[finite])


def project(features: np.ndarray) -> np.ndarray:
    """Project features (N, D) onto a plane, neighbours beside neighbours: (N, 2) float32, the same on every call.

    By t-SNE (L. van der Maaten and G. Hinton, Visualizing Data using t-SNE, 2008) of at most 50 principal components,
    begun from the first two and with a perplexity of 30, or (N - 1) / 3 if that is less; fewer than 10 examples are
    placed by the first two components alone.

    >>> project(np.array([[0.0, 3.0], [0.0, 1.0], [0.0, -4.0]])).shape
    (3, 2)
    """
    if not len(features) or not np.ptp(features, axis=0).any():  # all of them alike
        return np.zeros((len(features), 2), np.float32)
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # the order of sums must not depend on the machine's load; and it is no slower
        components = PCA(min(50, *features.shape), random_state=0).fit_transform(features.astype(np.float64))
        components /= components[:, 0].std()
        components = np.pad(components, ((0, 0), (0, max(0, 2 - components.shape[1]))))
        start = components[:, :2].astype(np.float32)
        if len(features) < 10:
            return start
        perplexity = min(30.0, (len(features) - 1) / 3)
        tsne = TSNE(init=1e-4 * start, perplexity=perplexity, max_iter=500, random_state=0)
        return np.asarray(tsne.fit_transform(components), np.float32)


def _viewable(frames: np.ndarray) -> np.ndarray:
    """Make frames on 0..255 into what a page can show: uint8, and the mean of channels that are no colours."""
    if frames.shape[3] not in (1, 3, 4):
        frames = frames.mean(3, keepdims=True)
    return frames.round().astype(np.uint8)


def _heat(trained: Pretrained, spec: Showable, frames: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return Grad-CAM of frames (K, H, W, C): (K, H, W) uint8, or (0, H, W) where the base has no spatial features."""
    from PIL import Image

    model, size = trained.model, frames.shape[1:3]
    stage = last_spatial_stage(model, trained.variables, frames.shape[1:]) if len(frames) else None
    if stage is None:
        return np.zeros((0, *size), np.uint8)
    maps = gradcam(model, trained.variables, spec.normalise(frames), classes, stage=stage)
    resized = [Image.fromarray(255 * each).resize(size[::-1], Image.Resampling.BILINEAR) for each in maps]
    return np.stack([np.asarray(each) for each in resized]).round().astype(np.uint8)
