"""`tlx finetune`: transfer a pretrained base to other data."""

import os
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tlx.cli.imports import named_imports
from tlx.cli.options import value_of
from tlx.cli.outcome import show_estimate, show_result
from tlx.cli.output import print_json
from tlx.cli.recipe import RecipeOptions
from tlx.cli.transfer import VECTORS
from tlx.errors import CheckpointError, ConfigError
from tlx.files import home
from tlx.progress import doing, listening
from tlx.stop import stopping_at_once

if TYPE_CHECKING:
    from tlx.data import Data, DataSpec, InputSpec
    from tlx.presets import Pretrained

OF_THE_MACHINE = ("workers", "device", "cache", "cache_limit", "checkpoint_every", "devices", "parallel", "shard")
HOSTS = ("coordinator", "processes", "process")
NOT_SAVED = ("json", "debug", "import_", "resume", "allow", "dry_run", "config", "out", *OF_THE_MACHINE, *HOSTS)


@dataclass(frozen=True, kw_only=True)
class Finetune(RecipeOptions):
    """Transfer a pretrained base to other data: new head, frozen base, then as the recipe says.

    Without options it takes `cnn-mnist` to the digits of scikit-learn with ten labels a class.
    """

    GROUPS: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "most used": (
            *("data", "base", "weights", "out", "recipe", "head_epochs", "base_epochs", "batch_size"),
            *("resume", "dry_run"),
        ),
        "recipe and learning rates": (
            *("head_rate", "base_rate", "thaw_from", "layer_decay", "norms", "patience", "monitor", "compare_scratch"),
            *("optimizer", "momentum", "weight_decay", "clip_norm"),
            *("schedule", "warmup", "end", "every", "factor", "decay"),
        ),
        "loss and sampling": ("label_smoothing", "focal", "class_weights", "regression_loss", "sampling"),
        "augmentation": (
            *("flip", "flip_vertical", "crop", "rotate", "brightness", "contrast", "saturation", "hue"),
            *("randaugment", "erase", "mixup", "cutmix", "word_dropout", "mask_pieces", "cache_views"),
        ),
        **RecipeOptions.GROUPS,
        "model": ("hidden", "dropout", "pool", "keep_head", "until", "dtype", "ema"),
        "memory and devices": ("accumulate", "remat", "devices", "parallel", "shard", "sync_norms"),
        "several processes": ("coordinator", "processes", "process"),
        "checkpoints and logs": ("checkpoint_every", "allow", "log"),
    }

    out: str | None = None
    """The run's directory; by default a new one under runs/."""
    resume: bool = False
    """Go on with the run that was interrupted in --out."""
    allow: tuple[str, ...] = ()
    """With --resume: what may differ from what the run was begun with, by its name in run.json: data_sha256, say."""
    checkpoint_every: float | None = None
    """Seconds between two checkpoints; by default 10, or more where saving would take over a fiftieth of the time."""
    log: tuple[Literal["csv", "wandb", "mlflow", "trackio"], ...] = ()
    """Where each epoch goes beside metrics.jsonl: metrics.csv in the run's directory, tracking services, or both."""
    dry_run: bool = False
    """Train nothing: say what memory and time the run would take here, and whether it fits (exit code 6 if not).
    Weights are not fetched; of a text model of the hub, configuration and tokenizer are."""
    keep_head: bool = False
    """Begin with the base's own head, as tlx probe leaves one, and not with a fresh one; its classes are the data's."""
    hidden: tuple[int, ...] = ()
    """Sizes of the head's hidden layers; none for a linear head."""
    dropout: float = 0.0
    """The rate of dropout in the head."""

    batch_size: int | None = None
    """By default a twentieth of the training examples, but at least 20 (all, where they are fewer) and at most 128, or
    at most 32 for a text model."""
    label_smoothing: float = 0.0
    """The share of each label that is spread over all classes: 0.1, say."""
    focal: float = 0.0
    """The exponent of the focal loss, which lets examples that are told well count less: 2, say."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: weight each class by the inverse of its frequency."""
    regression_loss: Literal["squared", "absolute", "huber"] = "squared"
    """Of numbers to predict, which are standardised: what an error costs."""
    sampling: Literal["natural", "balanced"] = "natural"
    """balanced: draw from every class equally often."""
    compare_scratch: Literal["auto", "always", "never"] = "auto"
    """Train the same model from scratch beside, for as many epochs; auto: where it has under a million parameters."""

    accumulate: int = 1
    """Take a batch in so many parts, one after the other, to spare memory."""
    remat: bool = False
    """Compute what is inside a stage again for the gradient and do not keep it: slower, and less memory."""
    ema: float | None = None
    """Test and keep a moving average of the weights, with this decay: 0.999, say."""

    devices: int | None = None
    """How many devices share each batch; by default all that JAX finds. The result is the same, but for rounding."""
    parallel: Literal["jit", "pmap"] = "jit"
    """How they share it: one program for all, or one each, through jax.pmap."""
    shard: Literal["nothing", "optimizer", "all"] = "nothing"
    """What is split among the devices, not kept whole on each: what the optimizer remembers, or the weights, too."""
    sync_norms: bool = True
    """Take the batch norms' statistics of each device's own rows, not of the rows of all devices together."""

    coordinator: str | None = None
    """Train with other processes: the first one's HOST:PORT; auto under SLURM, Open MPI, GKE and Cloud TPU."""
    processes: int | None = None
    """How many processes train together."""
    process: int | None = None
    """Which of them this is, from 0."""

    cache_views: int = 0
    """With augmentation: how many variations of each image are kept and taken in turns; 0: none, no cache."""

    flip: bool = False
    """Mirror every second training image."""
    flip_vertical: bool = False
    """Turn every second training image upside down."""
    crop: tuple[float, float] | None = None
    """Cut a random part out of training images: the least and greatest share of the area, 0.08 1 for ImageNet."""
    rotate: float = 0.0
    """Turn training images up to so many degrees either way."""
    brightness: float = 0.0
    """Vary it by a factor within 1 +- this."""
    contrast: float = 0.0
    """Likewise."""
    saturation: float = 0.0
    """Likewise."""
    hue: float = 0.0
    """Vary by so much of a turn of the colour circle, at most 0.5."""
    randaugment: tuple[int, float] | None = None
    """Apply so many random operations of a magnitude from 0 to 30: 2 9, say."""
    erase: float = 0.0
    """The probability that a part of a training image becomes noise."""
    mixup: float = 0.0
    """Blend images in pairs; the alpha of the shares' Beta distribution, 0.2, say."""
    cutmix: float = 0.0
    """Put a part of one image into another; alpha, 1, say."""
    word_dropout: float = 0.0
    """The probability that a word of a training text is left out: 0.1, say."""
    mask_pieces: float = 0.0
    """The probability that a piece of a training text is masked: 0.15, say."""

    @classmethod
    def expand(cls, arguments: list[str]) -> list[str]:
        """With --resume, take the options of the run that is to go on; others given beside must not differ."""
        if "--resume" not in arguments:
            return arguments
        out = value_of("out", arguments)
        if out is None:
            raise ConfigError("--resume needs --out, the directory of the run that is to go on")
        from tlx.files.lock import check_unlocked

        check_unlocked(home(out))
        config = home(out) / "config.yaml"
        if not config.is_file():
            raise CheckpointError(f"{out}: no run of tlx finetune was begun there (config.yaml is missing)")
        return ["--config", str(config), *arguments]

    def base_as_named(self) -> "Pretrained":
        from tlx.presets.blank import is_hub_model, load_blank

        if not self.dry_run or self.weights is not None or not is_hub_model(self.base_name):
            return super().base_as_named()
        self._would_fetch(self.base_name)
        base = load_blank(self.base_name, until=self.until)  # shapes tell what a run takes
        return base if self.dtype is None else replace(base, config=replace(base.config, dtype=self.dtype))

    def load_words(self, file: str, name: str, data: "Data") -> "Pretrained":
        from tlx.presets.blank import blank_words

        if not self.dry_run or not self._would_fetch(file):
            return super().load_words(file, name, data)
        return blank_words(file, data)

    def _would_fetch(self, name: str) -> bool:
        """Say which weights a run would fetch; tell whether there are such."""
        from tlx.presets.blank import to_fetch

        addresses = to_fetch(name)
        for address in addresses:
            print(f"tlx: {name}: a run would fetch {address}; this estimate does not need it", file=sys.stderr)
        return bool(addresses)

    def context(self) -> AbstractContextManager[Any]:
        if self.coordinator is not None:
            from tlx.devices.hosts import initialize_distributed

            doing("waiting for the other processes")
            initialize_distributed(
                None if self.coordinator == "auto" else self.coordinator, self.processes, self.process
            )
        elif self.processes is not None or self.process is not None:
            raise ConfigError("--processes and --process go with --coordinator, the address of the first of them")
        return super().context()

    def run(self) -> None:
        from tlx.devices.hosts import is_first

        with stopping_at_once():
            if is_first():
                self._run()
            else:
                with listening(None):
                    self._run()

    def _run(self) -> None:
        import tlx
        from tlx.cli.logs import check_installed, logs_of
        from tlx.devices.hosts import broadcast_from_first, is_first
        from tlx.files.lock import check_unlocked
        from tlx.objectives import as_objective

        self.check_options(self.out)
        check_installed(self.log)
        if self.out is not None:
            broadcast_from_first(lambda: check_unlocked(home(self.out or "")))
        if self.checkpoint_every is not None and not self.checkpoint_every >= 0:
            raise ConfigError(
                f"--checkpoint-every: {self.checkpoint_every} is no number of seconds; say 10, for example"
            )
        of_images, of_texts = tlx.Augment(**self.given(tlx.Augment)), tlx.TextAugment(**self.given(tlx.TextAugment))

        def check(base: "Pretrained", spec: "InputSpec") -> None:
            self.build_recipe(base)
            for augment in (of_images, of_texts):
                if augment:
                    augment.check(spec)

        base, preprocess, data = self.base_and_data(check)
        objective = self._objective(data.target_kind)
        recipe = self.build_recipe(base, as_objective(objective, data.train).monitor(data.train))
        if self.patience is not None and not len(data.validation) and data.spec and data.spec.validation:
            unstopped = "no class has three examples, so none is kept for validation, and no phase stops early"
            data = replace(data, notes=(*data.notes, unstopped))
        for note in self.check_suits(data, preprocess) if is_first() else ():
            print(f"tlx: {note}", file=sys.stderr)
        options = tlx.RunOptions(
            batch_size=self.batch_size,
            seed=self.seed,
            objective=objective,
            preprocess=preprocess,
            augment=of_texts or of_images,
            mix=tlx.Mixup(self.mixup, self.cutmix),
            balanced=self.sampling == "balanced",
            workers=self.workers,
            cache=self.kept(self.cache_views),
            accumulate=self.accumulate,
            remat=self.remat,
            ema=self.ema,
            devices=tlx.Devices(self.devices, self.parallel, self.shard, "all" if self.sync_norms else "each"),
            hidden=self.hidden,
            pool=self.pool,
            dropout=self.dropout,
            keep_head=self.keep_head,
            compare_scratch={"auto": None, "always": True, "never": False}[self.compare_scratch],
            checkpoint_every=self.checkpoint_every,
            allow=self.allow,
            config=self.resolved(
                data.spec.source if data.spec else self.data,
                VECTORS if base.name == VECTORS else None,
                data.spec,
            ),
        )
        if self.dry_run:
            return show_estimate(tlx.estimate(base, data, recipe, options), base.name, json=self.json)
        with tlx.StopOnSignals() as stop:
            named = base.name if self.base is None or hasattr(preprocess, "takes_text") else self.base
            name = f"{Path(named).name}-{_data_name(self.data)}"
            out = self.out or broadcast_from_first(lambda: _free_directory(name))
            how: dict[str, Any] = {"out": out, "resume": self.resume, "progress": True, "stop": stop}
            with ExitStack() as stack:
                logs = [stack.enter_context(log) for log in logs_of(self.log, home(out))]
                run = tlx.finetune(base, data, recipe, options, callbacks=logs, **how)
        if not is_first():
            return
        report = run.path / "report.html"
        if not report.is_file():  # a finished run that is resumed has one, and nothing is written
            doing("writing the report")
            tlx.write_report(run.path)
        if self.json:
            print_json(run.result)
        else:
            show_result(run.result, report)

    def _objective(self, kind: str) -> Any:
        """Return what the options say to train for, given the kind of targets; None where they leave it to the data."""
        import tlx

        given = {
            "label-smoothing": (self.label_smoothing, ("class", "tags")),
            "focal": (self.focal, ("class", "multi-label")),
            "class-weights": (self.class_weights != "none", ("class",)),
            "sampling": (self.sampling != "natural", ("class",)),
            "regression-loss": (self.regression_loss != "squared", ("regression",)),
        }
        for option, (value, kinds) in given.items():
            if value and kind not in kinds:
                raise ConfigError(
                    f"--{option} goes with {' or '.join(kinds)} targets, and these are {kind}: leave it out"
                )
        if kind == "tags":
            return tlx.TokenClassification(self.label_smoothing)
        if kind == "regression":
            return tlx.Regression(self.regression_loss)
        if kind == "multi-label":
            return tlx.MultiLabel(self.focal)
        if not self.label_smoothing and not self.focal and self.class_weights == "none":
            return None
        return tlx.Classification(
            self.label_smoothing, "balanced" if self.class_weights == "balanced" else (), self.focal
        )

    def resolved(self, source: str, base: str | None = None, spec: "DataSpec | None" = None) -> dict[str, Any]:
        """Return the options as they are stored with the run: good from any directory.

        Args:
            source: the data, as they were loaded.
            base: the name of the base where it is another than --base says.
            spec: what names further data, as they were loaded.
        """
        from tlx.presets.load import is_published, list_presets
        from tlx.presets.text_catalogue import is_published_text
        from tlx.presets.vector_catalogue import is_published_vectors
        from tlx.presets.word_base import is_word_base

        base = base or self.base_name
        named = (*list_presets(), VECTORS)
        if base not in named and not (is_published(base) or is_published_text(base) or is_word_base(base)):
            base = str(home(base).absolute())
        weights = self.weights
        if weights is not None and not is_published_vectors(weights):
            weights = str(home(weights).absolute())
        resolved = replace(self, data=source, base=base, weights=weights)
        if spec is not None:
            resolved = replace(resolved, test_data=spec.test_data, validation_data=spec.validation_data)
        options = {key: _plain(value) for key, value in asdict(resolved).items() if key not in NOT_SAVED}
        imports = named_imports(self.import_)
        return options | ({"import": os.pathsep.join(imports)} if imports else {})


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _data_name(source: str) -> str:
    """Name data in a path: the last part of theirs, or the kind.

    >>> _data_name("digits"), _data_name("idx:a/mnist"), _data_name("flowers.csv")
    ('digits', 'mnist', 'flowers')
    """
    return Path(source.partition(":")[2] or source).absolute().stem


def _free_directory(name: str) -> str:
    """Return the first of runs/NAME-1, runs/NAME-2, … that does not exist."""
    number = 1
    while Path("runs", f"{name}-{number}").exists():
        number += 1
    return str(Path("runs", f"{name}-{number}"))
