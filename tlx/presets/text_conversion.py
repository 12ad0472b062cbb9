"""Convert text models: to a folder that tlx loads, with a certificate over weights and tokenizer, and back."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tlx.convert.certificate import NAME as CERTIFICATE
from tlx.convert.certificate import write_certificate
from tlx.convert.export import write_tensors
from tlx.convert.leaves import Conversion
from tlx.convert.read import open_weights
from tlx.convert.source import Tensor
from tlx.convert.tables.texts import FAMILIES, TEXT_TABLES, tagging
from tlx.convert.text_plan import check_tied, expected_tensors
from tlx.convert.text_reference import verify_text
from tlx.convert.transforms import inverse, source_shape
from tlx.convert.verify import Verification
from tlx.convert.write import Entry, write_safetensors
from tlx.errors import ConfigError, WeightsError
from tlx.files import write_bytes, write_json
from tlx.models.head import WORDS
from tlx.presets.bundle import METADATA, WEIGHTS, write_bundle
from tlx.presets.convert_options import ConvertOptions
from tlx.presets.converted import KEPT, Converted
from tlx.presets.pretrained import Pretrained
from tlx.presets.text_folder import read_text_model
from tlx.presets.text_model import TextModel
from tlx.text.tokens import TOKENIZER, Tokens
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


def export_text(
    pretrained: Pretrained,
    leaves: Mapping[str, Tensor],
    dest: Path,
    family: str = "bert",
    *,
    prefix: str | None = None,
    kept: Sequence[Tensor] = (),
) -> Converted:
    """Write a text model as a folder that transformers loads: weights, `config.json` and `tokenizer.json`.

    Args:
        pretrained: the model.
        leaves: its leaves by path.
        dest: the folder to make.
        family: as which of the families it is written.
        prefix: what stands before the names of the base's tensors; by default nothing, and the family with a head.
        kept: tensors of the source that fill no leaf.

    Raises:
        ConfigError: where the family has no such network.
    """
    config, spec = pretrained.config, pretrained.preprocess
    if family not in FAMILIES:
        raise ConfigError(f"family: {family!r} is not one of {', '.join(FAMILIES)}")
    if not isinstance(spec, Tokens) or config.architecture != "bert":
        raise ConfigError(f"{pretrained.name}: is no text model that transformers has: leave out --to hf")
    if config.until is not None:
        raise ConfigError(f"{pretrained.name}: is cut after {config.until}: transformers has whole networks only")
    described, table = FAMILIES[family], TEXT_TABLES[FAMILIES[family].table]
    if config.classes and config.pool == WORDS:
        table = tagging(table)
    plain = asdict(config.settings)
    if family == "roberta" and not plain["first_position"]:
        raise ConfigError(
            f"{pretrained.name}: has no rows for positions of padding, as transformers' roberta has: leave out --to hf"
        )
    fixed = {name: value for name, value in described.fixed.items() if plain[name] != value}
    if fixed:
        raise ConfigError(f"{pretrained.name}: {family} has {fixed}: it is another family's")
    if config.classes and config.pool != table.pool:
        raise ConfigError(
            f"{pretrained.name}: its head pools by {config.pool!r}, and transformers' {family} by {table.pool!r}: "
            "write the base alone (--no-head)"
        )
    alone = not config.classes and config.pretraining is None
    start = ("" if alone else f"{family}.") if prefix is None else prefix
    expected = expected_tensors(table, config, start)
    tensors = []
    for path, (name, rule) in expected.items():
        leaf = leaves[path]
        read = _inverse_reader(rule.transform, leaf)
        tensors.append(Tensor(name, source_shape(rule.transform, leaf.shape), leaf.dtype, read))
    dest.mkdir(parents=True)
    own = {tensor.name for tensor in tensors}
    tensors += [tensor for tensor in kept if tensor.name not in own]
    write_tensors(dest / WEIGHTS, tensors, {"format": "pt"})
    write_json(dest / "config.json", _hub_config(pretrained, family, plain))
    write_bytes(dest / TOKENIZER, spec.files[TOKENIZER])
    said = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": spec.max_length}
    write_json(dest / "tokenizer_config.json", said | _special_names(spec))
    return Converted(dest, table.name, 1.0, preprocessing="tokenizer.json")


def _inverse_reader(transform: str, leaf: Tensor) -> Any:
    import numpy as np

    return lambda: np.ascontiguousarray(inverse(transform, leaf.read()))


def _special_names(spec: Tokens) -> dict[str, str]:
    """Name the special pieces as transformers' configurations do."""
    pieces = spec.tokenizer.pieces
    numbers = {name: spec.tokenizer.special(name) for name in ("pad", "mask", "unknown")}
    keys = {"pad": "pad_token", "mask": "mask_token", "unknown": "unk_token"}
    named = {keys[name]: pieces[number] for name, number in numbers.items() if number is not None}
    single = spec.tokenizer.single
    ends = {"cls_token": single.before, "sep_token": single.after}
    return named | {key: pieces[own[0]] for key, own in ends.items() if len(own) == 1}


def _hub_config(pretrained: Pretrained, family: str, plain: dict[str, Any]) -> dict[str, Any]:
    """Describe a model as Hugging Face's `config.json` does."""
    described = FAMILIES[family]
    classes = pretrained.classes
    names = {"bert": "Bert", "distilbert": "DistilBert", "roberta": "Roberta", "electra": "Electra"}
    heads = {None: "Model", "mlm": "ForMaskedLM", "mlm+nsp": "ForPreTraining"}
    classifier = "ForTokenClassification" if pretrained.config.pool == WORDS else "ForSequenceClassification"
    kind = classifier if classes else heads[pretrained.config.pretraining]
    said: dict[str, Any] = {"model_type": family, "architectures": [f"{names[family]}{kind}"]}
    for name, value in plain.items():
        if name not in described.fixed and name != "first_position" and value is not None:
            said[described.names.get(name, name)] = value
    if family == "roberta":
        said["max_position_embeddings"] += plain["first_position"]
        said["pad_token_id"] = plain["first_position"] - 1
    if classes:
        said["id2label"] = {str(number): name for number, name in enumerate(classes)}
        said["label2id"] = {name: number for number, name in enumerate(classes)}
    return json.loads(json.dumps(said))
