"""Formats of models that tlx does not read: how to know each, and the way to a file that it reads."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import PurePath

_KERAS = "save the model as .keras or .h5"


@dataclass(frozen=True)
class Unread:
    """A format: its name, what to do instead, and what tells it.

    `head` matches its first bytes; `inside` are names of which a folder or a zip file has one (patterns over the path
    within); `suffixes` tell it where the content does not.
    """

    name: str
    instead: str
    suffixes: tuple[str, ...] = ()
    head: bytes = b""
    inside: str = ""

    def __str__(self) -> str:
        return f"{self.name}, which tlx does not read: {self.instead}"


UNREAD = (
    Unread(
        "the graph of a TensorFlow SavedModel",
        "name its folder, whose variables are read (variables/variables.index and the data beside it)",
        head=rb"\x08\x01\x12",
        inside=r"saved_model\.pb(txt)?|keras_metadata\.pb|tfhub_module\.pb",
    ),
    Unread(
        "an ONNX model",
        "convert the PyTorch or Keras file that it was exported from",
        (".onnx",),
        rb"\x08[\x03-\x20](\x12[\x01-\x40][\w.\- ]{3}|:[\x80-\xff])",
    ),
    Unread(
        "a TensorFlow Lite (LiteRT) model", "convert the Keras model that it was made from", (".tflite",), rb".{4}TFL3"
    ),
    Unread(
        "a msgpack file, as Flax and transformers write",
        "read it with flax.serialization.msgpack_restore and numpy.savez its arrays under PyTorch's names, or in "
        "transformers from_pretrained(FOLDER, from_flax=True).save_pretrained(OUT)",
        (".msgpack",),
        rb"([\x81-\x8f]|\xde..)[\xa1-\xbf][a-zA-Z_]",
    ),
    Unread(
        "an Orbax checkpoint",
        "restore it with orbax.checkpoint and numpy.savez its arrays under PyTorch's names (a run of tlx is converted "
        "by its own folder)",
        inside=r"(\w+/)?(_METADATA|_CHECKPOINT_METADATA|manifest\.ocdbt)",
    ),
    Unread(
        "a TorchScript archive",
        "torch.save(torch.jit.load(FILE).state_dict(), 'weights.pth')",
        (".ptl",),
        inside=r"[^/]+/(constants\.pkl|code/.*\.py)",
    ),
    Unread(
        "a program of torch.export",
        "torch.save(torch.export.load(FILE).state_dict, 'weights.pth')",
        (".pt2",),
        inside=r"([^/]+/)?(archive_format|serialized_exported_program\.json|models/.*\.json)",
    ),
    Unread("an ExecuTorch program", "convert the PyTorch file that it was exported from", (".pte",), rb".{4}ET1\d"),
    Unread(
        "a distributed checkpoint of PyTorch",
        "python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER weights.pth",
        (".distcp",),
        inside=r"\.metadata|.*\.distcp",
    ),
    Unread("a DeepSpeed checkpoint", "python zero_to_fp32.py FOLDER weights.pth", inside=r"zero_to_fp32\.py"),
    Unread("a TensorFlow graph", f"{_KERAS} that it was frozen from", (".pb", ".pbtxt", ".meta")),
    Unread(
        "a TensorFlow checkpoint without its index",
        "fetch the .index file that belongs to it; one from before TensorFlow 1.0, which has none, restore and save "
        "with tf.compat.v1.train.Saver",
        (".ckpt",),
        inside=r".*\.data-\d{5}-of-\d{5}",
    ),
    Unread("a GGUF file", "use the safetensors file of the same model", (".gguf",), rb"GGUF|lmgg|tjgg"),
    Unread(
        "a Core ML model",
        "convert the PyTorch or Keras file that it was made from",
        (".mlmodel", ".mlpackage", ".mlmodelc"),
        inside=r"Manifest\.json|Data/com\.apple\.CoreML/.*|coremldata\.bin",
    ),
    Unread(
        "a PaddlePaddle model",
        "use the PyTorch or Keras weights of the same model",
        (".pdparams", ".pdiparams", ".pdmodel", ".pdopt"),
    ),
    Unread(
        "a file of MXNet",
        "use the PyTorch or Keras weights of the same model (timm has Gluon's, as gluon_in1k)",
        (".params",),
        rb"\x12\x01\x00{6}",
    ),
    Unread("a Caffe model", "use the PyTorch or Keras weights of the same model", (".caffemodel", ".prototxt")),
    Unread(
        "a Darknet file",
        "use the PyTorch or Keras weights of the same model",
        (".weights",),
        rb"\x00{4}[\x01\x02]\x00{7}",
    ),
    Unread("an OpenVINO model", "convert the file that it was made from", (), rb"<\?xml[^>]*>\s*<net "),
    Unread(
        "a TensorFlow.js model",
        "convert the Keras model that it was made from, or tensorflowjs_converter --input_format tfjs_layers_model "
        "--output_format keras model.json model.h5",
        head=rb'\s*\{.*"(modelTopology|weightsManifest)"',
        inside=r"group1-shard\d+of\d+(\.bin)?",
    ),
    Unread("a TensorRT engine", "convert the file that it was made from", (".engine", ".plan", ".trt")),
    Unread(
        "a model of scikit-learn or joblib",
        "tlx reads networks for images only; save arrays with numpy.savez",
        (".joblib", ".sav"),
    ),
)
"""Every such format; what the content tells counts before what the name says."""


def unread_file(name: str, head: bytes) -> Unread | None:
    """Tell which unread format a file is of, by its first bytes or else by its name.

    >>> unread_file("model.bin", bytes(4) + b"TFL3").name
    'a TensorFlow Lite (LiteRT) model'
    >>> unread_file("model.onnx", b"?").name
    'an ONNX model'
    """
    found = [each for each in UNREAD if each.head and re.match(each.head, head, re.DOTALL)]
    found += [each for each in UNREAD if each.inside and re.fullmatch(each.inside, name)]
    suffix = PurePath(name).suffix.lower()
    return next(iter([*found, *(each for each in UNREAD if suffix in each.suffixes)]), None)


def unread_members(names: Collection[str], suffix: str = "") -> Unread | None:
    """Tell which unread format a folder or a zip file is of, by the paths in it and its suffix.

    >>> unread_members(["model/constants.pkl", "model/data.pkl"]).name
    'a TorchScript archive'
    """
    for each in UNREAD:
        if suffix.lower() in each.suffixes or (each.inside and any(re.fullmatch(each.inside, name) for name in names)):
            return each
    return None
