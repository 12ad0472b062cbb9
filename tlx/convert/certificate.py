"""The certificate: what a conversion did to every tensor, to be checked again without any other library."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlx.convert.heads import with_head
from tlx.convert.leaves import Conversion, LeafProof, sha256
from tlx.convert.plan import FLOATS
from tlx.convert.rules import KINDS, Row, Table, resolve
from tlx.convert.source import Source, Tensor
from tlx.convert.tables import TABLES
from tlx.convert.tables.texts import TEXT_TABLES, tagging
from tlx.convert.text_plan import current_name, expected_tensors
from tlx.convert.transforms import TRANSFORMS, inverse
from tlx.convert.verify import Verification
from tlx.errors import WeightsError
from tlx.models.head import WORDS
from tlx.models.registry import ModelConfig, leaf_shapes
from tlx.tree.paths import quote
from tlx.version import __version__

NAME = "certificate.json"
FORMAT = 1
MAX_BYTES = 64 << 20
FIELDS = {"table": str, "prefix": str, "leaves": dict, "ignored": list, "fresh": list, "verification": dict | None}
EXACT = (None, "exact")  # casts after which a leaf goes back to the source's bytes


def write_certificate(
    source: Source,
    conversion: Conversion,
    verification: Verification | None = None,
    kept_sha256: str | None = None,
    text: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Describe a finished conversion as plain data: the content of `certificate.json`.

    `leaves` holds for every path the source's tensor, its type, the transform, the cast, and the SHA-256 of the bytes
    of both; `head` the table's rows for a head that is not the published one; `ignored` the tensors without use and
    why, `kept_sha256` the hash of the file of those that are part of the network; `fresh` the leaves without a tensor;
    `coverage` the share of leaves that have one; `text` what else a text model depends on: its settings, activation and
    epsilon among them, how it pools, and the hashes of its tokenizer.
    """
    plan = conversion.plan
    return {
        "format": FORMAT,
        "tlx": __version__,
        "table": plan.table.name,
        "architecture": plan.config.architecture,
        "source": {
            "file": source.path.name,
            "format": source.format,
            "files": {file.name: {"bytes": file.stat().st_size, "sha256": file_sha256(file)} for file in source.files},
        },
        "prefix": plan.prefix,
        "head": [{"kind": row.kind, "source": row.source, "target": row.target} for row in plan.head_rows],
        "matched_by": plan.matched_by,
        "coverage": plan.coverage,
        "leaves": {path: asdict(proof) for path, proof in conversion.proofs.items()},
        "ignored": [asdict(ignored) for ignored in plan.ignored],
        "kept_sha256": kept_sha256,
        "fresh": list(plan.fresh),
        "verification": describe(verification),
        **({} if text is None else {"text": dict(text)}),
    }


def describe(verification: Verification | None) -> dict[str, Any] | None:
    """Return a verification as plain data."""
    if verification is None:
        return None
    return {
        "reference": verification.reference,
        "tolerance": verification.tolerance,
        "first": verification.first,
        "differences": {
            each.stage: {"absolute": each.absolute, "relative": each.relative} for each in verification.differences
        },
    }


def read_certificate(path: Path) -> dict[str, Any]:
    """Read a certificate; raise `WeightsError` for what is none."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"larger than {MAX_BYTES} bytes")
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise ValueError("not of this format")
        for name, kind in FIELDS.items():
            if not isinstance(found[name], kind):
                raise ValueError(f"{name!r} is of another type")
        for proof in (LeafProof(**fields) for fields in found["leaves"].values()):
            if proof.transform not in TRANSFORMS or (proof.cast in EXACT and proof.dtype not in FLOATS):
                raise ValueError("a leaf with a transform or a type that tlx does not know")
        if any(row.kind not in {**KINDS["torch"], **KINDS["keras"]} for row in _head_rows(found)):
            raise ValueError("a head with a kind of row that tlx does not know")
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise WeightsError(f"{path}: cannot be read as a certificate ({error}): convert the source again") from error
    return found


@dataclass(frozen=True)
class Check:
    """What checking a certificate found: leaves whose bytes are as certified, and back to the source's bytes."""

    leaves: int
    proven: int
    ignored: int
    fresh: int
    verified_with: str | None


def check_certificate(
    certificate: Mapping[str, Any], config: ModelConfig, leaves: Mapping[str, Tensor], path: Path
) -> Check:
    """Hash every leaf again, transform it back and hash that, and compare both with the certificate.

    That the certificate names the tensor and the transform which its table gives the leaf is checked, too. A leaf that
    was rounded from float64 cannot go back; `proven` counts those that do. Raise `WeightsError` naming the leaves that
    differ, are missing or are not certified.
    """
    proofs, fresh = certificate["leaves"], set(map(str, certificate["fresh"]))
    faults = [f"{name} is missing" for name in sorted(proofs.keys() - leaves.keys())]
    faults += [f"{name} is not certified" for name in sorted(leaves.keys() - proofs.keys() - fresh)]
    strange = _strange_proofs(certificate, config)
    faults += [f"{name} is not what {certificate['table']} says" for name in strange]
    proven = 0
    for name in sorted(proofs.keys() & leaves.keys() - strange):
        proof, leaf = proofs[name], leaves[name].read()
        if sha256(leaf) != proof["sha256"]:
            faults.append(f"{name} has other bytes")
        elif proof["cast"] in EXACT:
            if _source_sha256(leaf, proof["transform"], proof["dtype"]) != proof["source_sha256"]:
                faults.append(f"{name} is not {proof['source']} transformed")
            proven += 1
    if faults:
        raise WeightsError(f"{path}: does not hold: {quote(faults, 20)}: convert the source again")
    reference = (certificate["verification"] or {}).get("reference")
    return Check(len(proofs), proven, len(certificate["ignored"]), len(fresh), reference)


def _strange_proofs(certificate: Mapping[str, Any], config: ModelConfig) -> list[str]:
    """Name the leaves whose proof has another tensor or transform than the table says; all, without such a table."""
    table, proofs = TABLES.get(certificate["table"]), certificate["leaves"]
    if certificate["table"] in TEXT_TABLES:
        own = TEXT_TABLES[certificate["table"]]
        return _strange_texts(certificate, tagging(own) if config.pool == WORDS else own, config)
    if table is None or table.architecture != config.architecture:
        return sorted(proofs)
    rows = _head_rows(certificate)
    wanted, strange = resolve(with_head(table, rows), leaf_shapes(config)), []
    for path, proof in sorted(proofs.items()):
        name, rule = wanted.get(path, ("", None))
        start = "" if rows and path.startswith("params/head/") else certificate["prefix"]
        own_name = table.dialect == "keras" or proof["source"] == start + name  # Keras's names vary
        if rule is None or proof["transform"] != rule.transform or not own_name:
            strange.append(path)
    return strange


def _strange_texts(certificate: Mapping[str, Any], table: Table, config: ModelConfig) -> list[str]:
    """Do the same for a text model."""
    if table.architecture != config.architecture:
        return sorted(certificate["leaves"])
    wanted = expected_tensors(table, config, certificate["prefix"])

    def is_strange(path: str, proof: Mapping[str, Any]) -> bool:
        name, rule = wanted.get(path, ("", None))
        return rule is None or proof["transform"] != rule.transform or current_name(proof["source"], table) != name

    return [path for path, proof in sorted(certificate["leaves"].items()) if is_strange(path, proof)]


def _head_rows(certificate: Mapping[str, Any]) -> tuple[Row, ...]:
    return tuple(Row(**row) for row in certificate.get("head", ()))


def _source_sha256(leaf: np.ndarray, transform: str, dtype: str) -> str | None:
    """Transform a leaf back and hash it; None where the transform is not one of arrays like it."""
    import ml_dtypes

    try:
        array = inverse(transform, leaf)
    except (ValueError, IndexError):
        return None
    return sha256(array.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype))


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as a hexadecimal string."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
