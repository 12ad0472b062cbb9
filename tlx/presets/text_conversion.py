"""Convert text models: to a folder that tlx loads, with a certificate over weights and tokenizer."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tlx.convert.certificate import NAME as CERTIFICATE
from tlx.convert.certificate import write_certificate
from tlx.convert.export import write_tensors
from tlx.convert.leaves import Conversion
from tlx.convert.read import open_weights
from tlx.convert.text_plan import check_tied
from tlx.convert.text_reference import verify_text
from tlx.convert.verify import Verification
from tlx.convert.write import Entry, write_safetensors
from tlx.errors import ConfigError, WeightsError
from tlx.files import write_json
from tlx.presets.bundle import METADATA, WEIGHTS, write_bundle
from tlx.presets.convert_options import ConvertOptions
from tlx.presets.converted import KEPT, Converted
from tlx.presets.pretrained import Pretrained
from tlx.presets.text_folder import read_text_model
from tlx.presets.text_model import TextModel
from tlx.text.tokens import Tokens
from tlx.tree.paths import unflatten


def convert_text(source: str | Path, dest: Path, arch: str | None, options: ConvertOptions) -> Converted:
    """Convert a text model's folder or file as `convert_weights` does."""
    if options.compare and not isinstance(options.compare, bool):
        raise ConfigError(
            "--verify FILE.npz: is for images; a text model is compared with the library that wrote it (--verify)"
        )
    read = read_text_model(source, options, table=arch)
    check_tied(read.plan, read.source)
    conversion = Conversion(read.plan, str(read.source.path), options.allow_nonfinite, seed=options.seed)
    verification: list[Verification] = []

    def write(file: Path) -> dict[str, Any]:
        entries = [Entry(path, "float32", shape) for path, shape in conversion.shapes()]
        digest = write_safetensors(file, entries, conversion.pieces(), METADATA)
        return {"sha256": digest, **({"allow_nonfinite": True} if options.allow_nonfinite else {})}

    def beside(folder: Path) -> None:
        if options.compare:
            verification.append(_compared(read, folder))
        kept = [read.source.tensors[tensor.source] for tensor in read.plan.ignored if tensor.kept]
        digest = write_tensors(folder / KEPT, kept, METADATA) if kept else None
        done = verification[0] if verification else None
        write_json(folder / CERTIFICATE, write_certificate(read.source, conversion, done, digest, read.certified))

    path = write_bundle(read.described, dest, write, beside)
    plan = read.plan
    return Converted(
        path=path,
        arch=read.table.name,
        coverage=plan.coverage,
        ignored=tuple((tensor.source, tensor.reason) for tensor in plan.ignored),
        fresh=plan.fresh,
        certificate=path / CERTIFICATE,
        verification=verification[0] if verification else None,
        prefix=plan.prefix,
        preprocessing=str(read.described.card["preprocessing"]),
    )


def _compared(read: TextModel, folder: Path) -> Verification:
    """Run what was written beside the library that wrote it; raise `WeightsError` naming what differs first."""
    leaves = {name: tensor.read() for name, tensor in open_weights(folder / WEIGHTS).tensors.items()}
    spec = read.described.preprocess
    assert isinstance(spec, Tokens)
    config = replace(read.plan.config, normalize=False)
    done = verify_text(read.table, config, unflatten(leaves), spec, read.source.path.parent)
    if done.first is not None:
        differs = next(each for each in done.differences if each.stage == done.first)
        raise WeightsError(
            f"{read.source.path}: differs from {done.reference} at {done.first!r} by {differs.absolute:.3g}, which is "
            f"{differs.relative:.2g} of the largest value (at most {done.tolerance:g})"
        )
    return done


def check_text(certificate: Mapping[str, Any], pretrained: Pretrained, path: Path) -> None:
    """Raise `WeightsError` where settings or tokenizer are not those that a certificate speaks of."""
    said = certificate.get("text")
    if said is None:
        return
    now = {"settings": asdict(pretrained.config.settings), **pretrained.preprocess.to_dict()}
    other = [name for name in ("settings", "vocabulary_sha256", "probe_sha256") if said.get(name) != now[name]]
    if other:
        raise WeightsError(f"{path}: speaks of other {', '.join(other)} than the model has: convert the source again")
