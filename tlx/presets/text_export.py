"""Write text models as others read them: Hugging Face's folders and Google's checkpoints."""

import json
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from tlx.convert.export import write_tensors
from tlx.convert.rules import Table
from tlx.convert.source import Tensor
from tlx.convert.tables.texts import FAMILIES, TEXT_TABLES, tagging
from tlx.convert.text_plan import expected_tensors
from tlx.convert.tf_writer import write_tf_checkpoint
from tlx.convert.transforms import inverse, source_shape
from tlx.errors import ConfigError, StorageError
from tlx.files import write_bytes, write_json
from tlx.files.write import sync, sync_tree
from tlx.models.bert import BertConfig
from tlx.models.head import WORDS
from tlx.presets.bundle import WEIGHTS
from tlx.presets.converted import Converted
from tlx.presets.pretrained import Pretrained
from tlx.text.tokenizer import PROBE, Tokenizer
from tlx.text.tokens import TOKENIZER, Tokens

HUGGING_FACE, GOOGLE, KERAS = "hf", "google", "keras_hub"
TEXT_TARGETS = (HUGGING_FACE, GOOGLE, KERAS)
"""For whom text models are written."""

EPSILON = 1e-12  # of Google's code, which no configuration names
OF_GOOGLE = (
    *("attention_probs_dropout_prob", "hidden_act", "hidden_dropout_prob", "hidden_size", "intermediate_size"),
    *("max_position_embeddings", "num_attention_heads", "num_hidden_layers", "type_vocab_size", "vocab_size"),
)
TRAINING = ("hidden_dropout_prob", "attention_probs_dropout_prob")  # settings that no output depends on


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
        StorageError: where the folder cannot be written.
    """
    config = pretrained.config
    if family not in FAMILIES:
        raise ConfigError(f"family: {family!r} is not one of {', '.join(FAMILIES)}")
    spec = tokens_of(pretrained, "transformers", HUGGING_FACE)
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
    tensors = as_source(table, pretrained, leaves, start)
    own = {tensor.name for tensor in tensors}
    tensors += [tensor for tensor in kept if tensor.name not in own]

    def write(folder: Path) -> None:
        write_tensors(folder / WEIGHTS, tensors, {"format": "pt"})
        write_json(folder / "config.json", _hub_config(pretrained, family, plain))
        write_bytes(folder / TOKENIZER, spec.files[TOKENIZER])
        said = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": spec.max_length}
        write_json(folder / "tokenizer_config.json", said | _special_names(spec))

    write_folder(dest, write)
    return Converted(dest, table.name, 1.0, preprocessing="tokenizer.json")


def export_google(pretrained: Pretrained, leaves: Mapping[str, Tensor], dest: Path) -> Converted:
    """Write a BERT as Google released them: `bert_model.ckpt`, `bert_config.json` and `vocab.txt`.

    How the vocabulary treats case and accents stands in `tokenizer_config.json` beside; of Google's own scripts it is
    `--do_lower_case`.

    Args:
        pretrained: the model: a base, its pooler, or the heads of pretraining.
        leaves: its leaves by path.
        dest: the folder to make.

    Raises:
        ConfigError: for a network or tokenizer that Google's code does not have, and for classes.
        StorageError: where the folder cannot be written.
    """
    spec, settings = tokens_of(pretrained, "Google's code", GOOGLE), pretrained.config.settings
    refuse_classes(pretrained, "Google's checkpoints")
    own = BertConfig(**{name: getattr(settings, name) for name in OF_GOOGLE})
    refuse_settings(pretrained, own, "Google's BERT")
    rules, cased = word_pieces(spec, Tokenizer.from_vocabulary)
    if rules is None:
        raise ConfigError(
            f"{pretrained.name}: its tokenizer is no vocabulary of word pieces by BERT's rules, and Google has no "
            "others: write --to hf"
        )
    tensors = as_source(TEXT_TABLES["google/bert"], pretrained, leaves, "bert/")
    notes = ["gelu_new is what Google's code calls gelu"] if settings.hidden_act == "gelu_new" else []

    def write(folder: Path) -> None:
        write_tf_checkpoint(folder / "bert_model.ckpt", tensors)
        write_bytes(folder / "checkpoint", b'model_checkpoint_path: "bert_model.ckpt"\n')
        write_json(folder / "bert_config.json", {name: getattr(settings, name) for name in OF_GOOGLE})
        write_bytes(folder / "vocab.txt", lines(spec.tokenizer.pieces))
        lower, accents, chinese = cased
        said = {"do_lower_case": lower, "strip_accents": not accents, "tokenize_chinese_chars": chinese}
        write_json(folder / "tokenizer_config.json", said)

    write_folder(dest, write)
    return Converted(dest, "google/bert", 1.0, preprocessing="vocab.txt", notes=tuple(notes))


def tokens_of(pretrained: Pretrained, whose: str, to: str) -> Tokens:
    """Return the input spec of a whole text model; raise `ConfigError` for any other."""
    if not isinstance(pretrained.preprocess, Tokens) or pretrained.config.architecture != "bert":
        raise ConfigError(f"{pretrained.name}: is no text model that {whose} has: leave out --to {to}")
    if pretrained.config.until is not None:
        raise ConfigError(f"{pretrained.name}: is cut after {pretrained.config.until}: {whose} has whole networks only")
    return pretrained.preprocess


def refuse_classes(pretrained: Pretrained, where: str) -> None:
    if pretrained.config.classes:
        raise ConfigError(f"{pretrained.name}: {where} have no classes: write the base alone (--no-head), or --to hf")


def refuse_settings(pretrained: Pretrained, own: BertConfig, whose: str, held: BertConfig | None = None) -> None:
    """Raise `ConfigError` where a network cannot have the settings that it would be read with."""
    now, then = asdict(held or pretrained.config.settings), asdict(own)
    differ = [name for name in now if name not in TRAINING and now[name] != then[name]]
    if differ:
        other = ", ".join(f"{name} {then[name]}, not {now[name]}" for name in differ)
        raise ConfigError(f"{pretrained.name}: {whose} has {other}: it would be another network; write --to hf")


def as_source(table: Table, pretrained: Pretrained, leaves: Mapping[str, Tensor], prefix: str) -> list[Tensor]:
    """Return a model's leaves as the tensors of a table."""
    tensors = []
    for path, (name, rule) in expected_tensors(table, pretrained.config, prefix).items():
        leaf = leaves[path]

        def read(leaf: Tensor = leaf, transform: str = rule.transform) -> np.ndarray:
            return np.ascontiguousarray(inverse(transform, leaf.read()))

        tensors.append(Tensor(name, source_shape(rule.transform, leaf.shape), leaf.dtype, read))
    return tensors


def write_folder(dest: Path, write: Callable[[Path], None]) -> None:
    """Write a folder by `write`; it appears when it is complete."""
    partial = dest.with_name(f".{dest.name}.{secrets.token_hex(4)}.partial")
    try:
        partial.mkdir(parents=True)
        write(partial)
        sync_tree(partial)
        partial.replace(dest)
        sync(dest.parent)
    except OSError as error:
        raise StorageError(
            f"{dest}: cannot be written ({error.strerror}): choose another folder or free the disk"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)  # where it was not moved


def word_pieces(spec: Tokens, build: Callable[..., Tokenizer]) -> tuple[Tokenizer | None, tuple[bool, bool, bool]]:
    """Find the lower case, accents and signs of their own by which rules make the same pieces as a spec's tokenizer."""
    pieces = spec.tokenizer.pieces
    probe = spec.tokenizer.encode([PROBE])[0].tolist()
    if "" not in pieces and {"[UNK]", "[CLS]", "[SEP]"} <= set(pieces):
        for lower, accents, chinese in product((True, False), (False, True), (True, False)):
            rules = build(pieces, lower=lower, accents=accents, chinese=chinese)
            if rules.encode([PROBE])[0].tolist() == probe:
                return rules, (lower, accents, chinese)
    return None, (True, False, True)


def lines(pieces: Sequence[str]) -> bytes:
    return "".join(f"{piece}\n" for piece in pieces).encode()


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
