import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from sources import changed, source_of, tensor

from tlx.convert import TABLES, check_certificate, open_weights, read_certificate
from tlx.convert.certificate import FORMAT
from tlx.convert.torch_writer import write_torch
from tlx.convert.verify import Difference, Verification
from tlx.convert.write import Entry, write_safetensors
from tlx.errors import WeightsError
from tlx.models import ModelConfig
from tlx.presets import convert_weights

CIFAR = TABLES["cifar/resnet20"]
CONV1, CONV2 = (f"params/base/block1_1/conv{n}/kernel" for n in (1, 2))


def write(path: Path, change=lambda tensors: None) -> Path:
    write_torch(path, list(changed(source_of(CIFAR), change).tensors.values()))
    return path


def put(name, array):
    return lambda tensors: tensors.update({name: tensor(name, array)})


@pytest.fixture
def made(tmp_path) -> Path:
    convert_weights(write(tmp_path / "resnet20.th"), tmp_path / "made", arch="cifar/resnet20")
    return tmp_path / "made"


def check(folder: Path, change=lambda leaves: None, edit=lambda certificate: None):
    """Check a folder after its leaves were changed and its certificate edited."""
    source = open_weights(folder / "model.safetensors")
    leaves = {name: each.read() for name, each in source.tensors.items()}
    change(leaves)
    entries = [Entry(name, leaf.dtype.name, leaf.shape) for name, leaf in leaves.items()]
    path = folder / "certificate.json"
    certificate = json.loads(path.read_text())
    edit(certificate)
    path.write_text(json.dumps(certificate))
    write_safetensors(folder / "model.safetensors", entries, iter(leaves.values()), {})
    config = ModelConfig.from_dict(json.loads((folder / "config.json").read_text())["model"])
    return check_certificate(read_certificate(path), config, open_weights(folder / "model.safetensors").tensors, path)


def test_a_certificate_says_what_was_done(made):
    certificate = read_certificate(made / "certificate.json")
    source = made.parent / "resnet20.th"
    assert certificate["format"] == FORMAT
    assert (certificate["table"], certificate["architecture"]) == ("cifar/resnet20", "resnet20")
    assert certificate["source"]["file"] == "resnet20.th"
    assert certificate["source"]["format"] == "torch-zip"
    assert certificate["source"]["files"]["resnet20.th"]["bytes"] == source.stat().st_size
    assert (certificate["coverage"], certificate["fresh"], certificate["verification"]) == (1, [], None)
    assert certificate["leaves"][CONV1]["source"] == "layer1.0.conv1.weight"
    assert {
        "source": "bn1.num_batches_tracked",
        "reason": "a counter of batches, of no use in inference",
        "kept": True,
    } in (certificate["ignored"])


def test_one_that_holds(made):
    found = check(made)
    leaves = len(open_weights(made / "model.safetensors").tensors)
    assert (found.leaves, found.proven, found.fresh, found.verified_with) == (leaves, leaves, 0, None)
    assert found.ignored == 19


def flip(leaves):
    leaves[CONV1].reshape(-1).view(np.uint8)[7] ^= 1


def swap(leaves):
    leaves[CONV1], leaves[CONV2] = leaves[CONV2], leaves[CONV1]


def transpose(leaves):
    leaves[CONV1] = np.ascontiguousarray(leaves[CONV1].transpose(1, 0, 2, 3))


def swap_proofs(certificate):
    """Certify a leaf with another's tensor, both hashes of leaves as they are."""
    one, other = certificate["leaves"][CONV1], certificate["leaves"][CONV2]
    one["source_sha256"], other["source_sha256"] = other["source_sha256"], one["source_sha256"]


def rest(certificate):
    return sorted(certificate["leaves"].keys() - {CONV1})


CHANGES: dict[str, tuple[dict[str, Callable[..., None]], str]] = {
    "a bit": ({"change": flip}, f"'{CONV1} has other bytes'"),
    "a leaf in another's place": ({"change": swap}, f"'{CONV1} has other bytes', '{CONV2} has other bytes'"),
    "a transposed leaf": ({"change": transpose}, f"'{CONV1} has other bytes'"),
    "a leaf that is gone": ({"change": lambda leaves: leaves.pop(CONV1)}, f"'{CONV1} is missing'"),
    "a leaf too many": ({"change": lambda leaves: leaves.update(x=np.zeros(2, "f4"))}, "'x is not certified'"),
    "another hash": ({"edit": lambda c: c["leaves"][CONV1].update(sha256="0" * 64)}, f"'{CONV1} has other bytes'"),
    "another source": (
        {"edit": swap_proofs},
        f"'{CONV1} is not layer1.0.conv1.weight transformed', '{CONV2} is not layer1.0.conv2.weight transformed'",
    ),
    "another transform": (
        {"edit": lambda c: c["leaves"][CONV1].update(transform="hwcm_to_hwmc")},
        f"'{CONV1} is not what cifar/resnet20 says'",
    ),
    "another type": (
        {"edit": lambda c: c["leaves"][CONV1].update(dtype="float16", cast="exact")},
        f"'{CONV1} is not layer1.0.conv1.weight transformed'",
    ),
    "another tensor": (
        {"edit": lambda c: c["leaves"][CONV1].update(source="layer1.0.conv2.weight")},
        f"'{CONV1} is not what cifar/resnet20 says'",
    ),
    "another prefix": (
        {"edit": lambda c: [c.update(prefix="x."), c.update(leaves={CONV1: c["leaves"][CONV1]}, fresh=rest(c))]},
        f"'{CONV1} is not what cifar/resnet20 says'",
    ),
    "another table": (
        {"edit": lambda c: c.update(table="cifar/resnet32", leaves={CONV1: c["leaves"][CONV1]}, fresh=rest(c))},
        f"'{CONV1} is not what cifar/resnet32 says'",
    ),
    "no proof": ({"edit": lambda c: c["leaves"].pop(CONV1)}, f"'{CONV1} is not certified'"),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", CHANGES)
def test_a_change_is_found_and_the_leaf_named(made, what):
    change, words = CHANGES[what]
    with pytest.raises(WeightsError) as caught:
        check(made, **change)
    assert str(caught.value) == f"{made / 'certificate.json'}: does not hold: {words}: convert the source again"


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_what_was_cast_goes_back_but_for_what_was_rounded(tmp_path, dtype):
    bias = (np.arange(10) / 3).astype(dtype)
    convert_weights(write(tmp_path / "a.th", put("linear.bias", bias)), tmp_path / "made", arch="cifar/resnet20")
    found = check(tmp_path / "made")
    assert found.leaves - found.proven == (dtype is np.float64)


PROOF = {"source": "a", "transform": "same", "dtype": "float32", "cast": None, "source_sha256": "0", "sha256": "0"}
EMPTY = {
    "format": FORMAT,
    "table": "a/b",
    "prefix": "",
    "leaves": {},
    "ignored": [],
    "fresh": [],
    "verification": None,
}


def without(name):
    return {key: value for key, value in EMPTY.items() if key != name}


BROKEN = {
    "no object": [],
    "no JSON": "{",
    "deep": "[" * 100_000,
    "another format": {**EMPTY, "format": FORMAT + 1},
    **{f"no {name}": without(name) for name in EMPTY},
    **{f"{name} of another type": {**EMPTY, name: 3} for name in EMPTY if name != "format"},
    "a leaf that is no object": {**EMPTY, "leaves": {"a": 1}},
    "a leaf without a hash": {**EMPTY, "leaves": {"a": {"transform": "same", "sha256": "0"}}},
    "a leaf that says more": {**EMPTY, "leaves": {"a": {**PROOF, "b": 1}}},
    "an unknown transform": {**EMPTY, "leaves": {"a": {**PROOF, "transform": "x"}}},
    "a transform of another type": {**EMPTY, "leaves": {"a": {**PROOF, "transform": []}}},
    "an unknown type": {**EMPTY, "leaves": {"a": {**PROOF, "dtype": "object"}}},
}


def test_an_empty_one_is_read(tmp_path):
    path = tmp_path / "certificate.json"
    path.write_text(json.dumps({**EMPTY, "leaves": {"a": PROOF}}))
    assert read_certificate(path)["leaves"] == {"a": PROOF}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_what_is_no_certificate_is_refused(tmp_path, text):
    path = tmp_path / "certificate.json"
    path.write_text(text if isinstance(text, str) else json.dumps(text))
    with pytest.raises(WeightsError, match="cannot be read as a certificate") as caught:
        read_certificate(path)
    assert "\n" not in str(caught.value)


def test_a_verification_is_written_down(made):
    from tlx.convert.certificate import describe

    found = Verification("keras:VGG16", (Difference("input", 0.0, 0.0), Difference("block1_conv1", 1e-3, 2e-4)))
    assert describe(found) == {
        "reference": "keras:VGG16",
        "tolerance": 1e-4,
        "first": "block1_conv1",
        "differences": {
            "input": {"absolute": 0.0, "relative": 0.0},
            "block1_conv1": {"absolute": 1e-3, "relative": 2e-4},
        },
    }
    assert describe(None) is None
    assert replace(found, differences=found.differences[:1]).first is None


def test_one_of_another_head_than_the_published_one_holds(tmp_path):
    """As of a checkpoint of Lightning: base and head under names of their own."""

    def change(tensors):
        for name in list(tensors):
            each = tensors.pop(name)
            new = f"net.{name}" if not name.startswith("linear") else f"classifier.2{name.removeprefix('linear')}"
            tensors[new] = replace(each, name=new)

    done = convert_weights(write(tmp_path / "a.ckpt", change), tmp_path / "made")
    assert (done.prefix, done.head) == ("net.", "read from classifier.2, after 'average' pooling")
    certificate = read_certificate(done.certificate)
    assert certificate["head"] == [{"kind": "dense", "source": "classifier.2", "target": "head/logits"}]
    assert check(tmp_path / "made").proven == 97
    with pytest.raises(WeightsError, match="'params/head/logits/bias is not what cifar/resnet20 says'"):
        check(tmp_path / "made", edit=lambda c: c["head"][0].update(source="other"))
    with pytest.raises(WeightsError, match="cannot be read as a certificate"):
        check(tmp_path / "made", edit=lambda c: c["head"][0].update(kind="other"))
