import hashlib
import math

import ml_dtypes
import numpy as np
import pytest
from cases import bits
from sources import changed, source_of, tensor

from tlx.convert import TABLES, Conversion, make_plan
from tlx.convert.leaves import sha256
from tlx.errors import WeightsError
from tlx.models import init_variables
from tlx.tree import flatten

CIFAR = TABLES["cifar/resnet20"]
KERNEL, BIAS = "layer1.0.conv1.weight", "linear.bias"
PATH = "params/base/block1_1/conv1/kernel"


def converted(change=lambda tensors: None, **how):
    source = changed(source_of(CIFAR), change)
    return Conversion(make_plan(source, CIFAR, fresh=how.pop("fresh", ())), "file.pth", **how)


def proven(change=lambda tensors: None):
    """Return the leaves and their proofs."""
    conversion = converted(change)
    content, leaves = b"".join(piece.tobytes() for piece in conversion.pieces()), {}
    for path, shape in conversion.shapes():
        size = 4 * math.prod(shape)
        leaves[path], content = np.frombuffer(content[:size], np.float32).reshape(shape), content[size:]
    for path, leaf in flatten(converted(change).variables()).items():
        assert bits(leaf) == bits(leaves[path])
    return leaves, conversion.proofs


def put(name, array):
    return lambda tensors: tensors.update({name: tensor(name, array)})


def test_pieces_are_the_variables_in_the_order_of_shapes():
    one, other = converted(), converted()
    leaves = flatten(one.variables())
    content = b"".join(piece.tobytes() for piece in other.pieces())
    assert content == b"".join(leaves[path].tobytes() for path, _ in other.shapes())
    assert {path: leaf.shape for path, leaf in leaves.items()} == dict(other.shapes())
    assert other.proofs.keys() == leaves.keys()
    assert not one.proofs  # nothing is hashed that nobody asked for


def test_a_proof_holds_the_bytes_of_both_sides():
    leaves, proofs = proven()
    leaf = leaves[PATH]
    array = source_of(CIFAR).tensors[KERNEL].read()
    proof = proofs[PATH]
    assert (proof.source, proof.transform, proof.dtype, proof.cast) == (KERNEL, "oihw_to_hwio", "float32", None)
    assert proof.source_sha256 == hashlib.sha256(array.tobytes()).hexdigest() == sha256(array)
    assert proof.sha256 == hashlib.sha256(np.ascontiguousarray(array.transpose(2, 3, 1, 0)).tobytes()).hexdigest()
    assert bits(leaf) == bits(np.ascontiguousarray(array.transpose(2, 3, 1, 0)))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_narrow_numbers_are_taken_exactly(dtype):
    array = np.random.default_rng(0).normal(size=(16, 16, 3, 3)).astype(dtype)
    leaves, proofs = proven(put(KERNEL, array))
    leaf = leaves[PATH]
    assert leaf.dtype == np.float32
    assert bits(leaf.transpose(3, 2, 0, 1).astype(dtype)) == bits(array)
    assert proofs[PATH].cast == "exact"
    assert proofs[PATH].dtype == np.dtype(dtype).name


def test_wide_numbers_are_rounded_and_that_is_told():
    array = np.zeros(10)
    array[3], array[4] = 1 + 2**-30, -2.0
    leaves, proofs = proven(put(BIAS, array))
    assert leaves["params/head/logits/bias"].tolist() == array.astype(np.float32).tolist()
    assert proofs["params/head/logits/bias"].cast == f"rounded by at most {2**-30:.3g}"
    _, proofs = proven(put(BIAS, np.ones(10)))
    assert proofs["params/head/logits/bias"].cast == "rounded by at most 0"


def test_numbers_that_float32_cannot_hold_are_refused():
    for take in (lambda c: c.variables(), lambda c: list(c.pieces())):
        with pytest.raises(WeightsError, match=r"file\.pth: 'linear\.bias' holds numbers that float32 cannot"):
            take(converted(put(BIAS, np.full(10, 1e300))))


BROKEN = {"nan": np.nan, "inf": np.inf, "minus inf": -np.inf}


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64, ml_dtypes.bfloat16])
@pytest.mark.parametrize("value", BROKEN.values(), ids=BROKEN)
def test_numbers_that_are_not_finite_are_counted_in_every_tensor(dtype, value):
    kernel, bias = np.ones((16, 16, 3, 3), dtype), np.ones(10, dtype)
    kernel[3, :2, 0, 0] = kernel[9, 5, 2, 2] = bias[-1] = value

    def spoil(tensors):
        put(KERNEL, kernel)(tensors)
        put(BIAS, bias)(tensors)

    for take in (lambda c: c.variables(), lambda c: list(c.pieces())):
        with pytest.raises(WeightsError) as caught:
            take(converted(spoil))
        assert str(caught.value) == (
            f"file.pth: numbers that are not finite in '{KERNEL} (3 of 2,304)', 'linear.bias (1 of 10)' "
            "(--allow-nonfinite takes them)"
        )


def test_numbers_that_are_not_finite_may_be_wanted():
    bias = np.zeros(10, np.float32)
    bias[2] = np.inf
    leaf = flatten(converted(put(BIAS, bias), allow_nonfinite=True).variables())["params/head/logits/bias"]
    assert bits(leaf) == bits(bias)


@pytest.mark.slow
def test_fresh_leaves_are_initialised_by_the_seed():
    seeds = {seed: flatten(converted(fresh=["head"], seed=seed).variables()) for seed in (0, 3)}
    path = "params/head/logits/kernel"
    for seed, leaves in seeds.items():
        made = flatten(init_variables(make_plan(source_of(CIFAR), CIFAR).config, seed))
        assert bits(leaves[path]) == bits(made[path])
        assert bits(leaves[PATH]) != bits(made[PATH])
    assert bits(seeds[0][path]) != bits(seeds[3][path])
    conversion = converted(fresh=["head"])
    list(conversion.pieces())
    assert path not in conversion.proofs
    assert path in dict(conversion.shapes())


def test_one_tensor_at_a_time_is_read():
    reads = []

    def watch(tensors):
        for name, each in list(tensors.items()):

            def read(each=each, name=name):
                reads.append(name)
                return each.read()

            tensors[name] = type(each)(name, each.shape, each.dtype, read)

    conversion = converted(watch)
    pieces = conversion.pieces()
    next(pieces)
    assert len(reads) == 1
    list(pieces)
    assert len(reads) == len(set(reads)) == len(conversion.proofs)
