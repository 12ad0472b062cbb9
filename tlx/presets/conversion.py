"""Convert weight files: to a folder that tlx loads, with its certificate, and back to the layout of a source."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tlx.convert.certificate import NAME as CERTIFICATE
from tlx.convert.certificate import read_certificate, write_certificate
from tlx.convert.export import export, write_tensors
from tlx.convert.identify import identify
from tlx.convert.leaves import Conversion
from tlx.convert.plan import Plan, make_plan
from tlx.convert.read import open_weights
from tlx.convert.reference import reference_for
from tlx.convert.source import Source
from tlx.convert.tables import table_of
from tlx.convert.verify import Verification, verify
from tlx.convert.write import Entry, write_safetensors
from tlx.errors import ConfigError, WeightsError
from tlx.files import write_json
from tlx.presets.bundle import METADATA, WEIGHTS, load_bundle, write_bundle
from tlx.presets.load import find
from tlx.presets.pretrained import Pretrained
from tlx.presets.published import Arch, arch_named, describe
from tlx.tree.paths import quote, unflatten

KEPT = "kept.safetensors"  # beside the weights: what the source has and no leaf takes
TARGETS = ("tlx", "keras", "torchvision", "timm", "cifar", "safetensors")


@dataclass(frozen=True)
class Converted:
    """What a conversion came to.

    `arch` names the table; `ignored` are the source's tensors without use, each with the reason, `fresh` the leaves
    without a tensor, `coverage` the share of leaves with one. `certificate` and `verification` are None where none was
    made.
    """

    path: Path
    arch: str
    coverage: float
    ignored: tuple[tuple[str, str], ...] = ()
    fresh: tuple[str, ...] = ()
    certificate: Path | None = None
    verification: Verification | None = None
    matched_by: str = "name"
    prefix: str = ""


def convert_weights(
    source: str | Path,
    dest: str | Path,
    *,
    arch: str | None = None,
    input_size: tuple[int, int] | None = None,
    until: str | None = None,
    head: bool = True,
    prefix: str | None = None,
    ignored: Sequence[str] = (),
    fresh: Sequence[str] = (),
    allow_nonfinite: bool = False,
    compare: bool = False,
    seed: int = 0,
) -> Converted:
    """Convert a weight file of Keras, PyTorch or safetensors to a folder that `tlx.load` reads, with its certificate.

    `arch` names who wrote the file and what it holds ('keras/vgg16', 'torchvision/resnet50', 'cifar/resnet20'); left
    out, names and shapes tell. Of the others see `make_plan`; `fresh` leaves are initialised by `seed`. With `compare`
    the reference library loads the file, too, and both networks run beside each other (`verify`).

    The folder holds what `save` writes, `certificate.json`, and, where the source has tensors that belong to the
    network but fill no leaf, `kept.safetensors`. No more than about one tensor is in memory. Raise `WeightsError` for a
    file that does not fit or cannot be read, and where the networks differ; `UnsafeFileError`; `ConfigError`;
    `StorageError`.
    """
    opened = open_weights(source)
    known = arch_named(arch) if arch is not None else _identified(opened)
    size = input_size or (known.entry.preprocess.height, known.entry.preprocess.width)
    plan = make_plan(
        opened, known.table, input_size=size, until=until, head=head, prefix=prefix, ignored=ignored, fresh=fresh
    )
    conversion = Conversion(plan, str(opened.path), allow_nonfinite, seed=seed)
    described = describe(known.entry, plan, opened)
    verification: list[Verification] = []

    def write(file: Path) -> dict[str, Any]:
        entries = [Entry(path, "float32", shape) for path, shape in conversion.shapes()]
        digest = write_safetensors(file, entries, conversion.pieces(), METADATA)
        return {"sha256": digest} | ({"allow_nonfinite": True} if allow_nonfinite else {})

    def beside(folder: Path) -> None:
        if compare:
            verification.append(_compare(known, plan, opened, folder, described))
        certificate = write_certificate(opened, conversion, verification[0] if compare else None)
        write_json(folder / CERTIFICATE, certificate)
        kept = [opened.tensors[tensor.source] for tensor in plan.ignored if tensor.kept]
        if kept:
            write_tensors(folder / KEPT, [replace(t, name=t.name.removeprefix(plan.prefix)) for t in kept], METADATA)

    path = write_bundle(described, Path(dest), write, beside)
    return Converted(
        path=path,
        arch=known.table.name,
        coverage=plan.coverage,
        ignored=tuple((tensor.source, tensor.reason) for tensor in plan.ignored),
        fresh=plan.fresh,
        certificate=path / CERTIFICATE,
        verification=verification[0] if compare else None,
        matched_by=plan.matched_by,
        prefix=plan.prefix,
    )


def _identified(source: Source) -> Arch:
    """Return what a file is from names and shapes; of tables that agree on it, the first."""
    found = identify(source)
    if not found:
        raise WeightsError(
            f"{source.path}: of no architecture that tlx knows: it holds {quote(source.tensors, 6)}; name one (--arch)"
        )
    others = [each.table.name for each in found[1:] if each.table.architecture != found[0].table.architecture]
    if found[0].is_complete and others:
        raise ConfigError(f"{source.path}: may be {quote([found[0].table.name, *others])}: say which with --arch")
    return arch_named(found[0].table.name)


def _compare(known: Arch, plan: Plan, source: Source, folder: Path, described: Pretrained) -> Verification:
    """Run what was written beside the reference; raise `WeightsError` naming the first stage that differs."""
    reference = reference_for(known.table, plan.config, source.path, plan.prefix)
    leaves = {name: tensor.read() for name, tensor in open_weights(folder / WEIGHTS).tensors.items()}
    own_size = replace(described.preprocess, resize=None, rounding="torchvision")
    done = verify(known.table, plan.config, unflatten(leaves), reference, own_size)
    if done.first is not None:
        differs = next(each for each in done.differences if each.stage == done.first)
        raise WeightsError(
            f"{source.path}: differs from {done.reference} at {done.first!r} by {differs.relative:.2g} of the largest "
            f"value (at most {done.tolerance:g}): it is not what {known.table.name} says, name another --arch"
        )
    return done


def export_weights(source: str | Path, dest: str | Path, to: str) -> Converted:
    """Write a folder that tlx loads (a preset, a conversion, a run) as `to` writes it: the inverse of
    `convert_weights`.

    `to` is 'keras' (`dest` ends in .h5), 'torchvision', 'timm', 'cifar' (.pth, .pt or .safetensors) or 'safetensors'
    (tlx's own paths). A folder that `convert_weights` made gives back its source's tensors bit for bit. Raise
    `ConfigError` where `to` has no such network, or the file exists; `WeightsError` for a damaged folder.
    """
    folder, dest = find(source), Path(dest)
    if dest.exists():
        raise ConfigError(f"{dest}: is already there: name another file")
    pretrained = load_bundle(folder)  # checks every byte
    leaves = open_weights(folder / WEIGHTS).tensors
    if to == "safetensors":
        write_tensors(dest, list(leaves.values()), METADATA)
        return Converted(dest, pretrained.config.architecture, 1.0)
    table = table_of(to, pretrained.config.architecture)
    kept = open_weights(folder / KEPT).tensors if (folder / KEPT).is_file() else {}
    certified = read_certificate(folder / CERTIFICATE)["table"] if (folder / CERTIFICATE).is_file() else table.name
    own = list(kept.values()) if certified == table.name else ()
    done = export(table, pretrained.config, leaves.values(), dest, own)
    return Converted(dest, table.name, len(done.tensors) / len(leaves))
