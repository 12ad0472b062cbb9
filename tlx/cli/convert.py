"""`tlx convert`: convert weight files, with proof, and back."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from tlx.cli.options import Command, read_config
from tlx.cli.output import print_json, print_table
from tlx.errors import ConfigError, check_choice
from tlx.files import home
from tlx.progress import doing

if TYPE_CHECKING:
    from tlx.images import Preprocess
    from tlx.presets.conversion import Converted

LIBRARY = "library"  # what --verify stands for alone
FOR_FILES = (
    "arch",
    "preprocess",
    "classes",
    "hub_config",
    "verify",
    "input_size",
    "prefix",
    "ignore",
    "fresh",
    "allow_nonfinite",
    "allow_negative_variance",
    "pretraining",
    "seed",
)


@dataclass(frozen=True, kw_only=True)
class Convert(Command):
    """Convert weights of Keras, PyTorch, TensorFlow or safetensors to a folder for tlx with a certificate, or back.

    SOURCE is a weight file (.h5, .weights.h5, .keras, .pth, .pt, .th, .bin, .safetensors, .npz, .index; what it is, its
    content tells) or a SavedModel, and DEST a folder. Where DEST is a file (.h5, .pth, .pt, .safetensors), it is
    written for that library; --to hf, google or keras_hub writes a folder for that one. SOURCE may then also be what
    tlx loads.
    """

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """A weight file; to write a file also a preset, a run, or the folder of a conversion."""
    dest: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DEST")]
    """The folder to make, or the file to write."""
    arch: str | None = None
    """Who wrote the file, and what it holds: keras/vgg16, torchvision/resnet50 and so on; by default what fits it."""
    preprocess: str | None = None
    """A YAML or JSON file that says how the network sees images: height, width, channels, mean, std and so on, as
    "preprocess" in a conversion's config.json; by default the folder's own configuration, or as published."""
    classes: tuple[str, ...] = ()
    """The names of the outputs in order, or a text file with one on each line; by default as for --preprocess."""
    hub_config: bool = True
    """Leave out the folder's own config.json and preprocessor_config.json."""
    to: str | None = None
    """tlx: a folder. keras: .h5. torchvision, timm, cifar: .pth, .pt or .safetensors. safetensors: tlx's own paths. Of
    texts, each a folder: hf: for transformers; google: a checkpoint of TensorFlow 1; keras_hub: a preset. For a table
    of your own, such as lab/tiny: what stands before the /. By default what DEST ends in, and a folder for any other
    name."""
    verify: Annotated[str | None, tyro.conf.arg(metavar="[FILE.npz]")] = None
    """Run the result beside the library that the file is for, stage by stage (it must be installed). With FILE.npz, run
    it on the 'inputs' in that file and compare with its 'outputs', and with what it holds under the names of stages."""
    until: str | None = None
    """Cut the base after this stage; the file may end there."""
    head: bool = True
    """Leave out the published head."""
    pretraining: bool = False
    """Take the heads that a text model was pretrained with: masked words and, where it has it, next sentence."""
    input_size: tuple[int, int] | None = None
    """Height and width of the images, where a head's size depends on them; by default as published."""
    prefix: str | None = None
    """Below which of PyTorch's names to look, where a file holds the network several times: 'model_ema', for one."""
    ignore: tuple[str, ...] = ()
    """Patterns of tensors to leave out, such as 'optimizer/**' ('.' in names is '/')."""
    fresh: tuple[str, ...] = ()
    """Patterns of leaves to initialise instead, such as head."""
    allow_nonfinite: bool = False
    """Take numbers that are not finite."""
    allow_negative_variance: bool = False
    """Take negative variances of batch norms, which no training leaves."""
    seed: int = 0
    """Of what is initialised."""

    @classmethod
    def expand(cls, arguments: list[str]) -> list[str]:
        """Let --verify stand alone: a file behind it is meant as its value where its name ends in .npz."""
        found = []
        for argument, after in zip_longest(arguments, arguments[1:], fillvalue=""):
            alone = argument == "--verify" and not after.endswith(".npz")
            found += [argument, LIBRARY] if alone else [argument]
        return found

    def run(self) -> None:
        doing(f"converting {self.source}")
        done = self._convert()
        for note in done.notes:
            print(f"tlx: {note}", file=sys.stderr)
        if self.json:
            differences = done.verification.differences if done.verification else ()
            print_json(
                {
                    "path": str(done.path),
                    "arch": done.arch,
                    "coverage": done.coverage,
                    "ignored": [{"source": name, "reason": reason} for name, reason in done.ignored],
                    "fresh": list(done.fresh),
                    "certificate": str(done.certificate) if done.certificate else None,
                    "preprocessing": done.preprocessing,
                    "class_names": done.class_names,
                    "matched_by": done.matched_by,
                    "prefix": done.prefix,
                    "copies": list(done.copies),
                    "head": done.head,
                    "verification": {each.stage: each.relative for each in differences} if differences else None,
                }
            )
            return
        print(f"{done.path}: {done.arch}, {done.coverage:.1%} of the leaves filled")
        print(f"preprocessing {done.preprocessing}")
        if done.class_names:
            print(f"class names {done.class_names}")
        if done.prefix or done.copies:
            others = f", not {', '.join(map(repr, done.copies))}" if done.copies else ""
            print(f"below the prefix {done.prefix!r}{others}")
        if done.head:
            print(f"head {done.head}")
        if done.matched_by == "position":
            print("layers matched by position, as Keras loads weights: the file has other names for them")
        if done.fresh:
            print(f"fresh: {', '.join(done.fresh)}")
        if done.ignored:
            print_table("not used", ("tensor", "reason"), _by_reason(done.ignored), prose=("reason",))
        if done.verification:
            print_table(
                f"beside {done.verification.reference}",
                ("stage", "largest difference", "relative"),
                [
                    (each.stage, f"{each.absolute:.2e}", f"{each.relative:.2e}")
                    for each in done.verification.differences
                ],
            )

    def _convert(self) -> "Converted":
        import tempfile
        from dataclasses import replace

        from tlx.convert.library import library_of
        from tlx.convert.tables import targets
        from tlx.convert.tf_checkpoint import find_index
        from tlx.presets import ConvertOptions
        from tlx.presets.conversion import check_free, convert_weights, export_weights
        from tlx.presets.text_export import TEXT_TARGETS
        from tlx.presets.text_folder import is_text_folder

        if not self.source or not self.dest:
            raise ConfigError("name a SOURCE and a DEST")
        if self.verify not in (None, LIBRARY) and not str(self.verify).endswith(".npz"):
            raise ConfigError(f"--verify {self.verify}: expected a file that ends in .npz, or nothing")
        if not 0 <= self.seed < 1 << 32:
            raise ConfigError(f"--seed must be at least 0 and under 2**32, not {self.seed}")
        if self.to is not None:
            check_choice("--to", self.to, ("tlx", "safetensors", *targets(), *TEXT_TARGETS))
        to = self.to or library_of(home(self.dest)) or "tlx"
        is_read = find_index(home(self.source)).is_file() or is_text_folder(self.source)
        if to != "tlx" and not is_read:
            defaults = {field.name: field.default for field in fields(self)}
            idle = [name for name in FOR_FILES if getattr(self, name) != defaults[name]]
            if idle:
                flags = ", ".join(f"--{name.replace('_', '-')}" for name in idle)
                raise ConfigError(f"{self.source}: not a weight file, and {flags} say how one is read: leave them out")
            return export_weights(self.source, self.dest, self.to or to, until=self.until, head=self.head)
        check_free(home(self.dest))
        with tempfile.TemporaryDirectory(prefix="tlx-convert-") as between:
            done = convert_weights(
                self.source,
                self.dest if to == "tlx" else Path(between, "converted"),
                self.arch,
                ConvertOptions(
                    preprocess=_preprocess(self.preprocess),
                    classes=_classes(self.classes),
                    use_hub_config=self.hub_config,
                    input_size=self.input_size,
                    until=self.until,
                    head="pretraining" if self.pretraining else self.head,
                    prefix=self.prefix,
                    ignored=self.ignore,
                    fresh=self.fresh,
                    allow_nonfinite=self.allow_nonfinite,
                    allow_negative_variance=self.allow_negative_variance,
                    compare=self.verify == LIBRARY or self.verify or False,
                    seed=self.seed,
                ),
            )
            if to == "tlx":
                return done
            written = export_weights(done.path, self.dest, to)
            notes = (*done.notes, *written.notes)
            return replace(done, path=written.path, arch=written.arch, certificate=None, notes=notes)


def _by_reason(ignored: Sequence[tuple[str, str]], most: int = 6) -> list[tuple[str, str]]:
    """Shorten a list of tensors with reasons: of more than a few that share a reason, the first and the number.

    >>> _by_reason([(f"bn{n}.num_batches_tracked", "a counter") for n in range(20)])
    [('bn0.num_batches_tracked and 19 more', 'a counter')]
    """
    names: dict[str, list[str]] = {}
    for name, reason in ignored:
        names.setdefault(reason, []).append(name)
    rows = []
    for reason, own in names.items():
        shown = own if len(own) <= most else [f"{own[0]} and {len(own) - 1} more"]
        rows += [(name, reason) for name in shown]
    return rows


def _preprocess(path: str | None) -> "Preprocess | None":
    from tlx.images import Preprocess

    if path is None:
        return None
    fields = read_config(home(path))
    try:
        return Preprocess.from_dict(fields.get("preprocess", fields))
    except ConfigError as error:
        raise ConfigError(f"--preprocess {path}: {error}") from error


def _classes(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names, or what stands on the lines of the file that one name names."""
    if len(names) != 1 or not home(names[0]).is_file():
        return names
    try:
        lines = home(names[0]).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise ConfigError(f"--classes {names[0]}: cannot be read as text ({error})") from error
    return tuple(line for line in lines if line)
