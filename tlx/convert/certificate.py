"""The certificate: what a conversion did to every tensor, to be checked again without any other library."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from tlx.convert.leaves import Conversion, sha256
from tlx.convert.source import Source, Tensor
from tlx.convert.transforms import TRANSFORMS, inverse
from tlx.convert.verify import Verification
from tlx.errors import WeightsError
from tlx.tree.paths import quote

NAME = "certificate.json"
FORMAT = 1
MAX_BYTES = 64 << 20


def write_certificate(
    source: Source, conversion: Conversion, verification: Verification | None = None
) -> dict[str, Any]:
    """Describe a finished conversion as plain data: the content of `certificate.json`.

    `leaves` holds for every path the source's tensor, its type, the transform, the cast, and the SHA-256 of the bytes
    of both; `ignored` the tensors without use and why; `fresh` the leaves without a tensor; `coverage` the share of
    leaves that have one.
    """
    plan = conversion.plan
    return {
        "format": FORMAT,
        "tlx": metadata.version("tlx-jax"),
        "table": plan.table.name,
        "architecture": plan.config.architecture,
        "source": {
            "file": source.path.name,
            "format": source.format,
            "files": {file.name: {"bytes": file.stat().st_size, "sha256": _file_sha256(file)} for file in source.files},
        },
        "prefix": plan.prefix,
        "matched_by": plan.matched_by,
        "coverage": plan.coverage,
        "leaves": {path: asdict(proof) for path, proof in conversion.proofs.items()},
        "ignored": [asdict(ignored) for ignored in plan.ignored],
        "fresh": list(plan.fresh),
        "verification": describe(verification),
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
        if not isinstance(found, dict) or found.get("format") != FORMAT or not isinstance(found.get("leaves"), dict):
            raise ValueError("not of this format")
        for proof in found["leaves"].values():
            if proof["transform"] not in TRANSFORMS or not isinstance(proof["sha256"], str):
                raise ValueError("a leaf without transform or hash")
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


def check_certificate(certificate: Mapping[str, Any], leaves: Mapping[str, Tensor], path: Path) -> Check:
    """Hash every leaf again, transform it back and hash that, and compare both with the certificate.

    A leaf that was rounded from float64 cannot go back; `proven` counts those that do. Raise `WeightsError` naming the
    leaves that differ, are missing or are not certified.
    """
    proofs, fresh = certificate["leaves"], set(certificate.get("fresh", ()))
    faults = [f"{name} is missing" for name in sorted(proofs.keys() - leaves.keys())]
    faults += [f"{name} is not certified" for name in sorted(leaves.keys() - proofs.keys() - fresh)]
    proven = 0
    for name in sorted(proofs.keys() & leaves.keys()):
        proof, leaf = proofs[name], leaves[name].read()
        if sha256(leaf) != proof["sha256"]:
            faults.append(f"{name} has other bytes")
        elif proof["cast"] in (None, "exact"):
            if sha256(_as_source(inverse(proof["transform"], leaf), proof["dtype"])) != proof["source_sha256"]:
                faults.append(f"{name} is not {proof['source']} transformed")
            proven += 1
    if faults:
        raise WeightsError(f"{path}: does not hold: {quote(faults, 20)}: convert the source again")
    verification = certificate.get("verification")
    return Check(len(proofs), proven, len(certificate["ignored"]), len(fresh), (verification or {}).get("reference"))


def _as_source(array: np.ndarray, dtype: str) -> np.ndarray:
    import ml_dtypes

    return array.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
