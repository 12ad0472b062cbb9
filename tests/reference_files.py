"""Weight files that Keras, torchvision and timm write themselves, of networks with random weights and statistics."""

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from peers import import_peer

from tlx.convert import TABLES, Table

CLASSES = 7
PERIOD = 1_048_573  # numbers after which those of a large kernel repeat; a prime, so that no two rows are the same
COMPARED = [table.name for table in TABLES.values() if table.reference]
SIZES = {  # by family: about the least, with an odd and an even side at as many strides as can be
    "vgg": (71, 96),  # with features 2 by 3, so that their order counts
    "resnet": (32, 49),
    "xception": (71, 85),
    "inception": (75, 79),
    "mobilenet": (32, 49),
}
KERAS_SUFFIXES = {
    "keras/vgg16": ".keras",
    "keras/vgg19": ".weights.h5",
    "keras/resnet50": ".h5",
    "keras/resnet101": ".weights.h5",
    "keras/resnet152": ".h5",
    "keras/xception": ".weights.h5",
    "keras/inception_v3": ".h5",
    "keras/mobilenet_v2": ".whole.h5",
}
TORCH_SUFFIXES = (".pth", ".legacy.pth", ".safetensors")


def size_of(table: Table) -> tuple[int, int]:
    """Return the size of the images on which a network is compared."""
    return next(size for family, size in SIZES.items() if table.architecture.startswith(family))


def numbers(draw: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Draw a weight by the end of its name: kernels that keep a ReLU's variance, and all of a batch norm."""
    end = name.replace("/", ".").rpartition(".")[2]
    if end == "num_batches_tracked":
        return draw.integers(1, 1000, shape)
    if end in ("gamma", "moving_variance", "running_var") or (end == "weight" and len(shape) == 1):
        return draw.uniform(0.5, 1.5, shape).astype(np.float32)
    if len(shape) == 1:
        return draw.normal(0, 0.2, shape).astype(np.float32)
    if "depthwise" in name:  # of Keras; PyTorch's has the layout of all kernels
        inputs = math.prod(shape[:2])
    else:
        inputs = math.prod(shape) // (shape[0] if end == "weight" else shape[-1])
    limit = math.sqrt(6 / inputs)
    drawn = draw.uniform(-limit, limit, min(math.prod(shape), PERIOD)).astype(np.float32)
    return np.resize(drawn, shape)


def keras_network(table: Table, size: tuple[int, int], classes: int = CLASSES, seed: int = 0) -> Any:
    """Build a network of `keras.applications` (without its top for 0 classes) with random numbers."""
    network = empty_keras_network(table, size, classes)
    draw = np.random.default_rng(seed)
    for variable in network.variables:
        variable.assign(numbers(draw, variable.path, tuple(variable.shape)))
    return network


def empty_keras_network(table: Table, size: tuple[int, int], classes: int = CLASSES) -> Any:
    """Build a network of `keras.applications` that has shapes and no numbers."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras

    build = getattr(keras.applications, table.reference.partition(":")[2])
    more = {"classes": classes, "classifier_activation": None} if classes else {}
    with keras.StatelessScope(initialize_variables=False):
        network = build(weights=None, include_top=bool(classes), input_shape=(*size, 3), **more)
    keras.backend.clear_session()  # or Keras would draw the numbers later
    return network


def torch_network(table: Table, classes: int = CLASSES, seed: int = 0) -> Any:
    """Build a network of torchvision or timm with random numbers."""
    return fill(empty_torch_network(table, classes).to_empty(device="cpu"), seed)


def fill(network: Any, seed: int = 0) -> Any:
    """Fill a network of PyTorch with random numbers, in place, and return it."""
    draw = np.random.default_rng(seed)
    for name, tensor in network.state_dict().items():
        tensor.numpy()[...] = numbers(draw, name, tuple(tensor.shape))
    return network.eval()


def empty_torch_network(table: Table, classes: int = CLASSES) -> Any:
    """Build a network of torchvision or timm that has shapes and no numbers."""
    torch = import_peer("torch")
    library, _, name = table.reference.partition(":")
    with torch.device("meta"):
        if library == "timm":
            return import_peer("timm").create_model(name, num_classes=classes)
        more = {"init_weights": False} if name == "inception_v3" else {}
        return import_peer("torchvision").models.get_model(name, num_classes=classes, **more)


def cifar_network(depth: int) -> Any:
    """Build ResNet for CIFAR-10 with shortcuts of option A, as Y. Idelbayev's pytorch_resnet_cifar10 (resnet.py)."""
    torch = import_peer("torch")
    nn, functional = torch.nn, torch.nn.functional

    class BasicBlock(nn.Module):
        def __init__(self, in_planes: int, planes: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(in_planes, planes, kernel_size=3, stride=stride, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(planes)
            self.conv2 = nn.Conv2d(planes, planes, kernel_size=3, stride=1, padding=1, bias=False)
            self.bn2 = nn.BatchNorm2d(planes)
            self.padded = planes // 4 if stride != 1 or in_planes != planes else None

        def forward(self, x: Any) -> Any:
            out = functional.relu(self.bn1(self.conv1(x)))
            out = self.bn2(self.conv2(out))
            if self.padded is not None:
                x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.padded, self.padded), "constant", 0)
            return functional.relu(out + x)

    class ResNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(3, 16, kernel_size=3, stride=1, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(16)
            planes = 16
            for group, (features, stride) in enumerate(((16, 1), (32, 2), (64, 2)), start=1):
                blocks = []
                for index in range((depth - 2) // 6):
                    blocks.append(BasicBlock(planes, features, 1 if index else stride))
                    planes = features
                setattr(self, f"layer{group}", nn.Sequential(*blocks))
            self.linear = nn.Linear(64, 10)

        def forward(self, x: Any) -> Any:
            out = functional.relu(self.bn1(self.conv1(x)))
            out = self.layer3(self.layer2(self.layer1(out)))
            out = functional.avg_pool2d(out, out.size()[2:])
            return self.linear(out.view(out.size(0), -1))

    return ResNet()


def save_keras(network: Any, folder: Path, suffix: str) -> Path:
    """Save weights (.weights.h5, or .h5 as Keras 2 did), or the whole model (.keras, .whole.h5)."""
    path = folder / f"weights{suffix}"
    if suffix == ".weights.h5":
        network.save_weights(path)
    elif suffix == ".h5":
        import h5py
        from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

        with h5py.File(path, "w") as file:
            save_weights_to_hdf5_group(file, network)
    else:
        network.save(path)
    return path


def save_torch(network: Any, folder: Path, suffix: str) -> Path:
    """Save a state dict: as a zip file (.pth), as PyTorch did before 1.6 (.legacy.pth), or as safetensors."""
    path = folder / f"weights{suffix}"
    if suffix == ".safetensors":
        import_peer("safetensors.torch").save_file(network.state_dict(), path)
    else:
        import_peer("torch").save(network.state_dict(), path, _use_new_zipfile_serialization=suffix == ".pth")
    return path


def write_reference(table: Table, folder: Path, size: tuple[int, int], classes: int = CLASSES, seed: int = 0) -> Path:
    """Write a table's network as its library does; each table in one of the library's formats."""
    if table.dialect == "keras":
        return save_keras(keras_network(table, size, classes, seed), folder, KERAS_SUFFIXES[table.name])
    suffix = TORCH_SUFFIXES[COMPARED.index(table.name) % len(TORCH_SUFFIXES)]
    return save_torch(torch_network(table, classes, seed), folder, suffix)
