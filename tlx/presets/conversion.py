"""Convert weight files: to a folder that tlx loads, with its certificate, and back to the layout of a source."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tlx.convert.certificate import NAME as CERTIFICATE
from tlx.convert.certificate import Check, check_certificate, file_sha256, read_certificate, write_certificate
from tlx.convert.element_types import numpy_type
from tlx.convert.export import export, write_tensors
from tlx.convert.identify import identify
from tlx.convert.keras_model import check_graph, read_graph
from tlx.convert.known_outputs import KnownOutputs, looks_like_probabilities, read_known_outputs, verify_outputs
from tlx.convert.leaves import Conversion
from tlx.convert.library import TORCH, library_of, torch_table
from tlx.convert.plan import Plan, make_plan
from tlx.convert.read import open_weights
from tlx.convert.reference import reference_for
from tlx.convert.source import Source, Tensor
from tlx.convert.strangers import stranger
from tlx.convert.tables import table_of
from tlx.convert.tables.texts import FAMILIES, KERAS_HUB, TEXT_TABLES
from tlx.convert.verify import Verification, verify
from tlx.convert.write import Entry, write_safetensors
from tlx.errors import ConfigError, WeightsError, check_flags
from tlx.files import home, write_json
from tlx.images.preprocess import of_images
from tlx.models.registry import ModelConfig, leaf_shapes
from tlx.presets.arch import Arch, arch_named, arch_of_file
from tlx.presets.bundle import METADATA, WEIGHTS, load_bundle, read_config, write_bundle
from tlx.presets.convert_options import ConvertOptions, as_convert_options
from tlx.presets.converted import KEPT, Converted
from tlx.presets.hub_config import HubConfig, hub_config
from tlx.presets.keras_hub_export import export_keras_hub
from tlx.presets.load import find
from tlx.presets.pretrained import Pretrained
from tlx.presets.published import describe
from tlx.presets.stated import settle
from tlx.presets.text_conversion import check_text, convert_text
from tlx.presets.text_export import GOOGLE, KERAS, TEXT_TARGETS, export_google, export_text
from tlx.presets.text_folder import text_family
from tlx.tree.paths import quote, unflatten


def convert_weights(
    source: str | Path, dest: str | Path, arch: str | None = None, options: ConvertOptions | None = None
) -> Converted:
    """Convert a weight file of Keras, PyTorch or safetensors to a folder that `tlx.load` reads, with its certificate.

    The folder holds what `save` writes, `certificate.json`, and, where the source has tensors that belong to the
    network but fill no leaf, `kept.safetensors`. No more than about one tensor is in memory.

    Args:
        source: the file, or a folder as model hubs lay them out.
        dest: the folder to make.
        arch: who wrote the file and what it holds ('keras/vgg16', 'torchvision/resnet50', 'cifar/resnet20'); None
            takes what fits names and shapes, and the preprocessing is assumed unless the file's hash is a published
            one.
        options: how it is read, and what is made of it (`tlx.ConvertOptions`).

    Returns:
        What was made, and what came of each tensor and leaf.

    Raises:
        WeightsError: for a file that does not fit or cannot be read, and where the networks differ.
        UnsafeFileError: for a file that would run code, or that hides what it is.
        ConfigError, StorageError: for bad options, and for a folder that cannot be written.
    """
    options = as_convert_options(options)
    compare = options.compare
    dest = _named(home(dest))
    check_free(dest)
    if arch in TEXT_TABLES or (arch is None and options.use_hub_config and text_family(home(source)) is not None):
        return convert_text(source, dest, arch, options)
    if options.head == "pretraining":
        raise ConfigError(f"{source}: heads of pretraining are a text model's: leave out --pretraining")
    opened = open_weights(source)
    _refuse_own(opened)
    hub = hub_config(Path(source), opened) if options.use_hub_config else HubConfig()
    if arch is not None:
        known = arch_named(arch)
    elif hub.table is not None:
        known = replace(arch_named(hub.table), assumed=True)
    else:
        known = _identified(opened, options.prefix, options.ignored)
    known, stated = settle(
        known,
        hub,
        opened.path,
        named=arch is not None,
        preprocess=options.preprocess,
        classes=tuple(options.classes),
        input_size=options.input_size,
    )
    graph = read_graph(opened)
    try:
        plan = make_plan(
            opened,
            known.table,
            input_size=stated.size or (graph and graph.input_size) or known.size,
            until=options.until,
            head=options.head,
            prefix=options.prefix,
            ignored=options.ignored,
            fresh=options.fresh,
        )
    except WeightsError as error:
        if arch is not None or hub.architecture is None:
            raise
        said = hub.architecture
        raise WeightsError(
            f"{error} ({said.where} says what it is: name another --arch, or --no-hub-config)"
        ) from error
    if graph is not None and plan.config.classes:
        check_graph(opened, graph, plan.table, stated.preprocess or known.preprocess)
    if compare and plan.head_rows:
        raise ConfigError(f"the head is not that of {known.table.name}: --verify compares the base alone (--no-head)")
    allowed = {name: getattr(options, name) for name in ("allow_nonfinite", "allow_negative_variance")}
    outputs = None if isinstance(compare, bool) else read_known_outputs(home(compare), plan.config)
    conversion = Conversion(plan, str(opened.path), **allowed, seed=options.seed)
    described = describe(known, plan, opened, stated)
    verification: list[Verification] = []

    def write(file: Path) -> dict[str, Any]:
        entries = [Entry(path, "float32", shape) for path, shape in conversion.shapes()]
        digest = write_safetensors(file, entries, conversion.pieces(), METADATA)
        return {"sha256": digest, **{flag: True for flag, is_on in allowed.items() if is_on}}

    def beside(folder: Path) -> None:
        if compare:
            verification.append(_compare(known, plan, opened, folder, described, outputs))
        kept = [opened.tensors[tensor.source] for tensor in plan.ignored if tensor.kept]
        list_own = [replace(tensor, name=tensor.name.removeprefix(plan.prefix)) for tensor in kept]
        digest = write_tensors(folder / KEPT, list_own, METADATA) if kept else None
        certificate = write_certificate(opened, conversion, verification[0] if compare else None, digest)
        write_json(folder / CERTIFICATE, certificate)

    path = write_bundle(described, dest, write, beside)
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
        copies=plan.copies,
        head=plan.head,
        preprocessing=str(described.card["preprocessing"]),
        class_names=str(described.card.get("class names", "")),
        notes=hub.notes,
    )


def _refuse_own(source: Source) -> None:
    """Raise `ConfigError` for a file whose names are tlx's own: there is nothing to convert."""
    if source.tensors and all(name.startswith(("params/", "batch_stats/")) for name in source.tensors):
        raise ConfigError(
            f"{source.path}: is tlx's own already: load its folder as it is, or write it for another library "
            "(tlx convert FOLDER back.pth --to torchvision, timm or cifar; back.h5 --to keras)"
        )


def _identified(source: Source, prefix: str | None, ignored: Sequence[str]) -> Arch:
    """Return what a file is: by its hash, or else from names and shapes, of tables that agree on it the first."""
    found = identify(source, prefix, ignored)
    if not found:
        whose = stranger(source.tensors)
        raise WeightsError(
            f"{source.path}: {f'looks like {whose}: ' if whose else ''}of no architecture that tlx knows: it holds "
            f"{quote(source.tensors, 6)}; name one (--arch), or register your own (--import FILE.py, "
            "docs/adding-a-family.md)"
        )
    others = [each.table.name for each in found[1:] if each.table.architecture != found[0].table.architecture]
    if found[0].is_complete and others:
        raise ConfigError(f"{source.path}: may be {quote([found[0].table.name, *others])}: say which with --arch")
    agreeing = [each.table for each in found if each.table.architecture == found[0].table.architecture]
    return arch_of_file(agreeing, source.path)


def _compare(
    known: Arch, plan: Plan, source: Source, folder: Path, described: Pretrained, outputs: KnownOutputs | None
) -> Verification:
    """Run what was written beside the reference, or known outputs; raise `WeightsError` naming what differs first."""
    leaves = {name: tensor.read() for name, tensor in open_weights(folder / WEIGHTS).tensors.items()}
    own_size = replace(of_images(described.preprocess), resize=None, rounding="torchvision")
    cure = f"it is not what {known.table.name} says, name another --arch"
    if outputs is None:
        reference = reference_for(known.table, plan.config, source, plan.prefix, known.tag)
        done = verify(known.table, plan.config, unflatten(leaves), reference, own_size)
    else:
        done = verify_outputs(outputs, plan.config, unflatten(leaves), own_size)
        if looks_like_probabilities(outputs):
            cure = "its 'outputs' look like probabilities, give the logits before the softmax"
    if done.first is not None:
        differs = next(each for each in done.differences if each.stage == done.first)
        raise WeightsError(
            f"{source.path}: differs from {done.reference} at {done.first!r} by {differs.absolute:.3g}, which is "
            f"{differs.relative:.2g} of the largest value (at most {done.tolerance:g}): {cure}"
        )
    return done


def check_free(path: Path) -> None:
    """Raise `ConfigError` where there is something at a path already."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ConfigError(f"{path}: is already there: name another")


def _named(path: Path) -> Path:
    """Return a path that has a name, which '.' has not."""
    return path if path.name else path.absolute()


def export_weights(
    source: str | Path, dest: str | Path, to: str | None = None, *, until: str | None = None, head: bool = True
) -> Converted:
    """Write what tlx loads (a preset, a conversion, a run) as `to` writes it: the inverse of `convert_weights`.

    `to` is 'keras' (`dest` ends in .h5), 'torchvision', 'timm', 'cifar' (.pth, .pt or .safetensors) or 'safetensors'
    (tlx's own paths); of a text model 'hf' (for transformers), 'google' (a checkpoint of TensorFlow 1) or 'keras_hub'
    (a preset), each a folder. Left out, the suffix of `dest` tells: .safetensors is tlx's own paths, and .pth and .pt
    are of whom the source was converted from, or of the one library that has the network. With `until` the base ends
    there, and without `head` it is alone. A folder that `convert_weights` made gives back its source's tensors bit for
    bit, in the source's types, but for those that were rounded. Raise `ConfigError` where `to` has no such network, or
    the file exists; `WeightsError` for a damaged folder.
    """
    check_flags(head=head)
    folder, dest = find(source), _named(home(dest))
    if dest.exists():
        raise ConfigError(f"{dest}: is already there: name another file")
    to = to or library_of(dest)
    if to is None:
        raise ConfigError(f"{dest}: its name tells no format: end it in .h5, .pth, .pt or .safetensors, or say to=")
    if to in TEXT_TARGETS:
        return _exported_text(folder, dest, to, until, head)
    whole = load_bundle(folder)  # checks every byte
    pretrained = whole.cut(until) if until is not None else whole if head else whole.without_head()
    found = open_weights(folder / WEIGHTS).tensors
    leaves = [found[path] for path in leaf_shapes(pretrained.config)]
    preprocessing = "not in the file: config.json has it"
    if to == "safetensors":
        write_tensors(dest, leaves, METADATA)
        return Converted(dest, pretrained.config.architecture, 1.0, preprocessing=preprocessing)
    check_folder(folder)
    certificate = read_certificate(folder / CERTIFICATE) if (folder / CERTIFICATE).is_file() else None
    if to == TORCH:
        table = torch_table(dest, pretrained.config.architecture, certificate["table"] if certificate else "")
    else:
        table = table_of(to, pretrained.config.architecture)
    kept = list[Tensor]()
    if certificate and certificate["table"] == table.name:
        leaves = [_as_it_was(leaf, certificate["leaves"].get(leaf.name)) for leaf in leaves]
        if pretrained is whole and (folder / KEPT).is_file():
            kept = list(open_weights(folder / KEPT).tensors.values())
    done = export(table, pretrained.config, leaves, dest, kept)
    return Converted(dest, table.name, len(done.tensors) / len(leaves), preprocessing=preprocessing)


def _exported_text(folder: Path, dest: Path, to: str, until: str | None, head: bool) -> Converted:
    """Write a text model for others, of the family that it was converted from."""
    whole = load_bundle(folder)
    pretrained = whole.cut(until) if until is not None else whole if head else whole.without_head()
    check_folder(folder)
    certificate = read_certificate(folder / CERTIFICATE) if (folder / CERTIFICATE).is_file() else None
    table = certificate["table"] if certificate else "hf/bert"
    named = table.partition("/")[2]
    leaves = open_weights(folder / WEIGHTS).tensors
    if to == GOOGLE:
        return export_google(pretrained, leaves, dest)
    if to == KERAS:
        kinds = {described.table.partition("/")[2]: kind for kind, described in KERAS_HUB.items()}
        return export_keras_hub(pretrained, leaves, dest, kinds.get(named, "BertBackbone"))
    family = named if named in FAMILIES else "bert"
    more: dict[str, Any] = {}
    if certificate and pretrained is whole and table == FAMILIES[family].table:
        more["prefix"] = certificate["prefix"]
        more["kept"] = list(open_weights(folder / KEPT).tensors.values()) if (folder / KEPT).is_file() else []
    return export_text(pretrained, leaves, dest, family, **more)


def _as_it_was(leaf: Tensor, proof: Mapping[str, Any] | None) -> Tensor:
    """Return a leaf in the type that its tensor had in the source, where nothing was lost on the way here."""
    if proof is None or proof["cast"] != "exact":
        return leaf
    kind = numpy_type(proof["dtype"], leaf.name)
    return Tensor(leaf.name, leaf.shape, proof["dtype"], lambda: leaf.read().astype(kind))


def check_folder(folder: Path) -> Check | None:
    """Check the certificate of a folder that `convert_weights` made; None for a folder without one.

    Raise `WeightsError` naming the leaves that differ, and where what was kept beside them has changed.
    """
    path = folder / CERTIFICATE
    if not path.is_file():
        return None
    certificate, config = read_certificate(path), ModelConfig.from_dict(read_config(folder)["model"])
    expected, kept = certificate.get("kept_sha256"), folder / KEPT
    if expected != (file_sha256(kept) if kept.is_file() else None):
        raise WeightsError(f"{kept}: is not what was kept of the source: convert it again")
    if "text" in certificate:
        check_text(certificate, load_bundle(folder), path)
    return check_certificate(certificate, config, open_weights(folder / WEIGHTS).tensors, path)
