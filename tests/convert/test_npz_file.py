import ml_dtypes
import numpy as np
from weight_files import KERNEL

from tlx.convert.read import open_weights
from tlx.errors import UnsafeFileError, WeightsError


def test_tensors_are_listed_and_then_read(tmp_path):
    np.savez(tmp_path / "a.npz", **{"a/b": KERNEL.astype(">f4")})
    tensor = open_weights(tmp_path / "a.npz").tensors["a/b"]
    assert (tensor.shape, tensor.dtype) == (KERNEL.shape, "float32")
    assert np.array_equal(tensor.read(), KERNEL.astype(np.float32))


def test_text_is_among_others_and_raw_values_are_refused_when_read(tmp_path, refuses):
    np.savez(tmp_path / "a.npz", note="text", w=KERNEL.astype(ml_dtypes.bfloat16), record=np.zeros(2, "f4,i4"))
    source = open_weights(tmp_path / "a.npz")
    assert source.others == ("note", "record")
    with refuses(WeightsError, "tensor 'w'", "bfloat16", "float32"):
        source.tensors["w"].read()


def test_objects_are_refused(tmp_path, refuses):
    np.savez(tmp_path / "a.npz", w=np.array([object], dtype=object))
    with refuses(UnsafeFileError, "tensor 'w'", "unpickling"):
        open_weights(tmp_path / "a.npz")
