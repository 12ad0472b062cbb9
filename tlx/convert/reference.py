"""References: the networks of Keras, torchvision and timm, run as their libraries run them."""

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tlx.convert.rules import Table
from tlx.convert.source import Source
from tlx.errors import ConfigError, TlxError, WeightsError
from tlx.models.registry import ModelConfig
from tlx.tree.paths import quote

OUTPUT = "logits"
DEEP = 320  # layers; Keras compiles a network of more for longer than it takes to run it layer by layer


class Reference(Protocol):
    """A network of another library, with weights that it read itself."""

    def preprocess(self, images: np.ndarray) -> np.ndarray:
        """Turn images (N, H, W, 3), uint8 of the network's own size, into its inputs as its publisher does."""
        ...

    def outputs(self, inputs: np.ndarray, nodes: Sequence[str]) -> dict[str, np.ndarray]:
        """Run the network on inputs (N, H, W, C); return the outputs of modules, axes as in tlx, and the logits."""
        ...


def reference_for(table: Table, config: ModelConfig, source: Source, prefix: str = "", tag: str = "") -> Reference:
    """Build the reference of a table, for a model of this configuration, with the weights of a source's file.

    `prefix` stands before the names of PyTorch's tensors; `tag` names the set of weights whose preprocessing is taken,
    where a library publishes several ('tf_in1k' of timm's Inception V3). Raise `ConfigError` where the library is not
    installed, and where it has no such network.
    """
    library, _, name = table.reference.partition(":")
    if not library:
        raise ConfigError(
            f"{table.name}: no library has this network to compare with: give what it makes of known inputs, --verify "
            "FILE.npz (arrays 'inputs' and 'outputs'), or leave out --verify"
        )
    if config.until is not None or config.input_shape[2] != 3:
        raise ConfigError(f"{table.name}: only a whole base for 3 channels can be compared: leave out --verify")
    try:
        if library == "keras":
            return _Keras(name, config, source.path)
        stored = _read_torch(source)
        return _Torch(*(_torchvision if library == "torchvision" else _timm)(name, config, tag), stored, prefix)
    except ImportError as error:
        package = "keras" if library == "keras" else f"torch {library}"
        raise ConfigError(
            f"{table.name} is compared with {library}, which cannot be imported ({error}): pip install {package}, or "
            "give known outputs (--verify FILE.npz)"
        ) from error
    except TlxError:
        raise
    except Exception as error:  # whatever a library makes of a file that tlx reads
        told = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"{source.path}: {library} cannot load it ({type(error).__name__}: {told}): leave out --verify"
        ) from error


@contextlib.contextmanager
def keras_backend(name: str) -> Iterator[None]:
    """Let Keras choose a backend as it is imported, where nobody has: its default, TensorFlow, need not be there."""
    if "KERAS_BACKEND" in os.environ:
        yield
        return
    os.environ["KERAS_BACKEND"] = name  # the one way to tell it without writing a file; read as it is imported
    try:
        yield
    finally:
        os.environ.pop("KERAS_BACKEND", None)


class _Keras:
    def __init__(self, name: str, config: ModelConfig, weights: Path) -> None:
        with keras_backend("jax"):
            import keras

        more: dict[str, Any] = {"classes": config.classes, "classifier_activation": None} if config.classes else {}
        build = getattr(keras.applications, name)
        self._keras: Any = keras
        self._has_head = config.classes > 0
        with keras.StatelessScope(initialize_variables=False):  # random numbers would cost more than all the rest
            self._network = build(weights=None, include_top=self._has_head, input_shape=config.input_shape, **more)
        self._network.load_weights(weights)
        keras.backend.clear_session()  # forgets what it would still initialise
        self._preprocess = sys.modules[build.__module__].preprocess_input

    def preprocess(self, images: np.ndarray) -> np.ndarray:
        return np.asarray(self._preprocess(images.astype(np.float32)))

    def outputs(self, inputs: np.ndarray, nodes: Sequence[str]) -> dict[str, np.ndarray]:
        tensors = {node: self._node(node).output for node in nodes}
        if self._has_head:
            tensors[OUTPUT] = self._network.output
        probe = self._keras.Model(self._network.input, list(tensors.values()))
        deep = len(self._network.layers) > DEEP
        found = probe(inputs, training=False) if deep else probe.predict_on_batch(inputs)
        return dict(zip(tensors, map(np.asarray, found), strict=True))

    def _node(self, node: str) -> Any:
        kind, _, number = node.partition("#")  # 'Add#3' is the fourth layer of the class; others have their own names
        if number:
            return [layer for layer in self._network.layers if type(layer).__name__ == kind][int(number)]
        return self._network.get_layer(node)


def _torchvision(name: str, config: ModelConfig, tag: str) -> tuple[Any, Callable[[Any], Any]]:
    """Build a network of torchvision, and its transforms for images that have its size already."""
    torchvision = import_torchvision()
    more = {"init_weights": False} if name == "inception_v3" else {}
    network = _unfilled(lambda: torchvision.models.get_model(name, num_classes=config.classes or 1000, **more))
    transforms = torchvision.models.get_model_weights(name)[tag.upper() or "IMAGENET1K_V1"].transforms()
    transforms.resize_size = transforms.crop_size = list(config.input_shape[:2])
    if name != "inception_v3":
        return network, transforms

    def with_input_transform(image: Any) -> Any:
        network.transform_input = True  # what `inception_v3(weights=…)` does behind the transforms
        inputs = network._transform_input(transforms(image)[None])[0]
        network.transform_input = False
        return inputs

    return network, with_input_transform


def _timm(name: str, config: ModelConfig, tag: str) -> tuple[Any, Callable[[Any], Any]]:
    """Build a network of timm, and its transforms for images that have its size already."""
    import_torchvision()
    import timm

    network = _unfilled(lambda: timm.create_model(f"{name}.{tag}".rstrip("."), num_classes=config.classes or 1000))
    published = timm.data.resolve_model_data_config(network)
    published |= {"input_size": (3, *config.input_shape[:2]), "crop_pct": 1.0}
    return network, timm.data.create_transform(**published, is_training=False)


def _unfilled(build: Callable[[], Any]) -> Any:
    """Build a network of PyTorch without the random numbers that would fill it: a file does."""
    import torch

    with torch.device("meta"):
        network = build()
    return network.to_empty(device="cpu")


def import_torchvision() -> Any:
    """Import torchvision; without its compiled operators, which no classifier needs, where they do not fit torch."""
    import torch

    try:
        import torchvision
    except RuntimeError:  # operator torchvision::nms does not exist
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _kept.append(library)  # the operators live as long as it does
        import torchvision
    return torchvision


_kept: list[Any] = []
BESIDE = re.compile(  # what a file may lack: heads that are not compared, and what is of use in training only
    r".*\.num_batches_tracked|(AuxLogits|fc|classifier|pre_logits|head)\..*"
)


class _Torch:
    def __init__(self, network: Any, transforms: Callable[[Any], Any], stored: Mapping[str, Any], prefix: str) -> None:
        import torch

        state = {name.removeprefix(prefix): value for name, value in stored.items() if name.startswith(prefix)}
        own = network.state_dict()
        state = {
            name: value
            for name, value in state.items()
            if not BESIDE.fullmatch(name) or (name in own and own[name].shape == value.shape)
        }
        missing = network.load_state_dict(state, strict=False).missing_keys
        absent = [name for name in missing if not BESIDE.fullmatch(name)]
        if absent:
            raise WeightsError(f"{type(network).__name__} misses {quote(absent)} in the file")
        self._network = network.eval()
        self._transforms = transforms
        self._torch = torch

    def preprocess(self, images: np.ndarray) -> np.ndarray:
        from PIL import Image

        inputs = [self._transforms(Image.fromarray(image)) for image in images]
        return np.asarray(self._torch.stack(inputs)).transpose(0, 2, 3, 1)

    def outputs(self, inputs: np.ndarray, nodes: Sequence[str]) -> dict[str, np.ndarray]:
        modules, found = dict(self._network.named_modules()), {}
        hooks = [
            modules[node].register_forward_hook(lambda _, __, out, node=node: found.update({node: _as_tlx(out)}))
            for node in nodes
        ]
        with self._torch.no_grad():
            logits = self._network(self._torch.from_numpy(np.ascontiguousarray(inputs.transpose(0, 3, 1, 2))))
        for hook in hooks:
            hook.remove()
        return {**found, OUTPUT: _as_tlx(logits)}


def _read_torch(source: Source) -> dict[str, Any]:
    """Read a file as PyTorch's users do; return its tensors by their whole names."""
    import torch

    if source.format == "safetensors":
        from safetensors.torch import load_file

        shards = [file for file in source.files if file.suffix != ".json"]
        return {name: value for file in shards for name, value in load_file(file).items()}
    if source.format == "npz":
        return {name: torch.from_numpy(tensor.read()) for name, tensor in source.tensors.items()}
    return _flat(torch.load(source.path, map_location="cpu", weights_only=True))


def _as_tlx(tensor: Any) -> np.ndarray:
    array = tensor.detach().numpy().copy()  # modules may go on in place
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array


def _flat(stored: Any, above: str = "") -> dict[str, Any]:
    if not isinstance(stored, Mapping):
        return {above.removesuffix("."): stored}
    return {name: value for key, child in stored.items() for name, value in _flat(child, f"{above}{key}.").items()}
