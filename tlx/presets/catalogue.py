"""The pretrained models that others publish: where they are, how they see images, whose they are."""

import difflib
import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tlx.errors import ConfigError, check_choice
from tlx.images.preprocess import Preprocess
from tlx.presets.hub import HubFile, Location, Url

T = TypeVar("T")


@dataclass(frozen=True)
class Published:
    """A pretrained model as its source publishes it.

    `architecture` is tlx's name of the network; `location_notop` is the same without the classifier, which only Keras
    publishes. `preprocess` is the source's own, but for the sizes of Keras's (see `KERAS`). `classes` names the list of
    class names (`class_names`). `top1` is the accuracy in percent that the source states, on ImageNet's validation set
    or CIFAR-10's test set, and None where it states none in its code; nobody measured it here. `page` documents the
    weights.
    """

    name: str
    architecture: str
    source: str
    location: Location
    preprocess: Preprocess
    licence: str
    paper: str
    page: str
    location_notop: Location | None = None
    top1: float | None = None
    classes: str = "imagenet"


IMAGENET_STATISTICS: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
MINUS_ONE_TO_ONE: dict[str, Any] = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
PAPERS = {
    "vgg": "https://arxiv.org/abs/1409.1556",
    "resnet": "https://arxiv.org/abs/1512.03385",
    "xception": "https://arxiv.org/abs/1610.02357",
    "inception": "https://arxiv.org/abs/1512.00567",
    "mobilenet": "https://arxiv.org/abs/1801.04381",
}

# Keras 3.15, keras/src/applications/*.py: the files and their MD5, with and without the classifier (none are given for
# MobileNetV2), and the mode of `preprocess_input`. How an image comes to its size Keras leaves open; here it is by
# ImageNet's custom of 224 / 0.875, rounded as in the reference in the tests. The licences are those that
# docs/templates/applications.md stated in keras-team/keras while that file existed.
KERAS_FILES = "https://storage.googleapis.com/tensorflow/keras-applications/"
KERAS_MODES: dict[str, dict[str, Any]] = {
    "caffe": {"scale": 1.0, "channel_order": "bgr", "mean": (103.939, 116.779, 123.68)},
    "tf": {"scale": 1 / 127.5, "mean": (1.0, 1.0, 1.0)},
}
KERAS_SIZES = {224: 256, 299: 342}
KERAS_FAMILIES = {  # licence, mode, size, page
    "vgg": ("CC BY 4.0: VGG, University of Oxford", "caffe", 224, "vgg"),
    "resnet": ("MIT: Kaiming He", "caffe", 224, "resnet"),
    "xception": ("MIT: Keras", "tf", 299, "xception"),
    "inception": ("Apache-2.0: TensorFlow", "tf", 299, "inceptionv3"),
    "mobilenet": ("Apache-2.0: TensorFlow", "tf", 224, "mobilenet"),
}
KERAS = (
    ("vgg16", "vgg16", "64373286793e3c8b2b4e3219cbf3544b", "6d6bbae143d832006294945121d1f1fc"),
    ("vgg19", "vgg19", "cbe5617147190e668d6c5d5026f83318", "253f8cb515780f3b799900260a226db6"),
    ("resnet50", "resnet50_keras", "2cb95161c43110f7111970584f804107", "4d473c1dd8becc155b73f8504c6f6626"),
    ("resnet101", "resnet101_keras", "f1aeb4b969a6efcfb50fad2f0c20cfc5", "88cf7a10940856eca736dc7b7e228a21"),
    ("resnet152", "resnet152_keras", "100835be76be38e30d865e96f2aaae62", "ee4c566cf9a93f14d82f913c2dc6dd0c"),
    ("xception", "xception", "0a58e3b7378bc2990ea3b43d5981f1f6", "b0042744bf5b25fce3cb969f33bebb97"),
    ("inception_v3", "inception_v3_keras", "9a0d58056eeedaa3f26cb7ebd46da564", "bcbd6486424b2319ff4ef7d526e38f63"),
    ("mobilenet_v2", "mobilenet_v2_keras", None, None),
)

# torchvision 0.29, torchvision/models/*.py, `*_Weights`: the tag, the beginning of the file's SHA-256 (part of its
# name), the shorter side and the crop, top-1. All bilinear. Left out: VGG16's IMAGENET1K_FEATURES, which classify not.
TORCHVISION_LICENCE = "none of its own (the code's is BSD-3-Clause); trained on ImageNet, whose terms are for research"
TORCHVISION = (
    ("vgg11", "v1", "8a719046", 256, 224, 69.02),
    ("vgg13", "v1", "19584684", 256, 224, 69.928),
    ("vgg16", "v1", "397923af", 256, 224, 71.592),
    ("vgg19", "v1", "dcbb9e9d", 256, 224, 72.376),
    ("vgg11_bn", "v1", "6002323d", 256, 224, 70.37),
    ("vgg13_bn", "v1", "abd245e5", 256, 224, 71.586),
    ("vgg16_bn", "v1", "6c64b313", 256, 224, 73.36),
    ("vgg19_bn", "v1", "c79401a0", 256, 224, 74.218),
    ("resnet18", "v1", "f37072fd", 256, 224, 69.758),
    ("resnet34", "v1", "b627a593", 256, 224, 73.314),
    ("resnet50", "v1", "0676ba61", 256, 224, 76.13),
    ("resnet50", "v2", "11ad3fa6", 232, 224, 80.858),
    ("resnet101", "v1", "63fe2227", 256, 224, 77.374),
    ("resnet101", "v2", "cd907fc2", 232, 224, 81.886),
    ("resnet152", "v1", "394f9c45", 256, 224, 78.312),
    ("resnet152", "v2", "f82ba261", 232, 224, 82.284),
    ("inception_v3", "v1", "0cc3c7bd", 342, 299, 77.294),
    ("mobilenet_v2", "v1", "b0353104", 256, 224, 71.878),
    ("mobilenet_v2", "v2", "7ebf99e0", 232, 224, 72.154),
)

# timm 1.0, timm/models/*.py, `default_cfgs`: tlx's architecture, then for each tag crop_pct, interpolation and licence.
# The size is that of `input_size`, at which the weights were trained and which timm evaluates by default, not of
# `test_input_size`. Padding and epsilon are torchvision's in all of these, Inception's tf_in1k included.
_A1 = (0.95, "bicubic", "apache-2.0")
_GLUON = (0.875, "bicubic", "apache-2.0")
_TV = (0.875, "bilinear", "bsd-3-clause")
_RESNETS = {"gluon_in1k": _GLUON, "tv_in1k": _TV}
TIMM: dict[tuple[str, str], dict[str, tuple[float, str, str]]] = {
    ("resnet18", "resnet18"): {"a1_in1k": _A1, **_RESNETS},
    ("resnet34", "resnet34"): {"a1_in1k": _A1, **_RESNETS},
    ("resnet50", "resnet50"): {"a1_in1k": _A1, **_RESNETS},
    ("resnet101", "resnet101"): {"a1_in1k": _A1, "a1h_in1k": _A1, **_RESNETS},
    ("resnet152", "resnet152"): {"a1_in1k": _A1, "a1h_in1k": _A1, **_RESNETS},
    **{(f"vgg{n}{bn}", f"vgg{n}{bn}"): {"tv_in1k": _TV} for bn in ("", "_bn") for n in (11, 13, 16, 19)},
    ("mobilenetv2_100", "mobilenet_v2"): {"ra_in1k": _GLUON},
    ("inception_v3", "inception_v3"): {"gluon_in1k": _GLUON, "tf_in1k": _GLUON, "tv_in1k": _GLUON},
}

# Y. Idelbayev's pytorch_resnet_cifar10: the beginning of the file's SHA-256 (part of its name), and top-1 on CIFAR-10's
# test set as its README states it.
CIFAR_FILES = "https://github.com/akamaster/pytorch_resnet_cifar10/raw/master/pretrained_models/"
CIFAR = ((20, "12fca82f", 91.73), (32, "d509ac18", 92.63), (44, "014dd654", 93.10), (56, "4bfd9763", 93.39))
CLASSES = {
    "cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
}


def published(name: str) -> Published:
    """Return the entry of a published model: "keras/MODEL", "torchvision/MODEL[.TAG]", "timm/MODEL.TAG", "cifar/MODEL".

    torchvision's tags are imagenet1k_v1 and imagenet1k_v2, or v1 and v2 for short; none means v1, the paper's recipe
    (torchvision's own DEFAULT is the newest). Raise `ConfigError` with the nearest name for a name that is none.

    >>> published("torchvision/resnet50").name
    'torchvision/resnet50.imagenet1k_v1'
    >>> published("keras/vgg16").preprocess.channel_order
    'bgr'
    """
    wanted = str(name)
    if wanted.startswith("torchvision/"):
        model, _, tag = wanted.partition(".")
        tag = tag.lower().removeprefix("imagenet1k_") or "v1"
        wanted = f"{model}.imagenet1k_{tag}"
    if wanted in PUBLISHED:
        return PUBLISHED[wanted]
    near = difflib.get_close_matches(wanted, PUBLISHED, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"names are such as {', '.join(list(PUBLISHED)[::20])}"
    raise ConfigError(f"no published model is called {name!r}: {hint}")


def list_published() -> tuple[str, ...]:
    """Name the published models, each once, by source.

    >>> list_published()[:2]
    ('keras/vgg16', 'keras/vgg19')
    """
    return tuple(PUBLISHED)


@functools.cache
def class_names(classes: str = "imagenet") -> tuple[str, ...]:
    """Return the names of the classes in the order of a classifier's outputs: torchvision's, which are all different.

    >>> class_names()[340]
    'zebra'
    """
    if classes in CLASSES:
        return CLASSES[classes]
    check_choice("list of class names", classes, ("imagenet", *CLASSES))
    return tuple(Path(__file__).with_name("imagenet.txt").read_text(encoding="utf-8").splitlines())


def _keras(model: str, architecture: str, md5: str | None, md5_notop: str | None) -> Published:
    licence, mode, size, page = _of_family(KERAS_FAMILIES, model)
    folder = "resnet" if model.startswith("resnet") else model
    stem = f"{KERAS_FILES}{folder}/{model}_weights_tf_dim_ordering_tf_kernels"
    stem, notop = (f"{stem}_1.0_224", "no_top") if model == "mobilenet_v2" else (stem, "notop")
    return Published(
        name=f"keras/{model}",
        architecture=architecture,
        source="keras",
        location=Url(f"{stem}.h5", md5=md5),
        location_notop=Url(f"{stem}_{notop}.h5", md5=md5_notop),
        preprocess=Preprocess(size, size, 3, resize=KERAS_SIZES[size], rounding="nearest", **KERAS_MODES[mode]),
        licence=licence,
        paper=_of_family(PAPERS, model),
        page=f"https://keras.io/api/applications/{page}/",
    )


def _torchvision(model: str, tag: str, sha256_prefix: str, resize: int, size: int, top1: float) -> Published:
    inception = model == "inception_v3"
    # Inception V3's weights want [-1, 1]: torchvision standardises all the same, and its model undoes it
    # (transform_input): ((x - mean) / std) * std / 0.5 + (mean - 0.5) / 0.5 = (x - 0.5) / 0.5.
    statistics = MINUS_ONE_TO_ONE if inception else IMAGENET_STATISTICS
    stem = "inception_v3_google" if inception else model
    return Published(
        name=f"torchvision/{model}.imagenet1k_{tag}",
        architecture=model,
        source="torchvision",
        location=Url(f"https://download.pytorch.org/models/{stem}-{sha256_prefix}.pth", sha256_prefix=sha256_prefix),
        preprocess=Preprocess(size, size, 3, resize=resize, **statistics),
        licence=TORCHVISION_LICENCE,
        paper=_of_family(PAPERS, model),
        page=f"https://docs.pytorch.org/vision/stable/models/generated/torchvision.models.{model}.html",
        top1=top1,
    )


def _timm(model: str, architecture: str, tag: str, crop: float, interpolation: str, licence: str) -> Published:
    size = 299 if model == "inception_v3" else 224
    half = model == "inception_v3" and tag != "gluon_in1k"  # gluon trained its own Inception, on its own statistics
    statistics = MINUS_ONE_TO_ONE if half else IMAGENET_STATISTICS
    return Published(
        name=f"timm/{model}.{tag}",
        architecture=architecture,
        source="timm",
        location=HubFile(f"timm/{model}.{tag}", "model.safetensors"),
        preprocess=Preprocess(size, size, 3, interpolation, resize=math.floor(size / crop), **statistics),
        licence=licence,
        paper=_of_family(PAPERS, architecture),
        page=f"https://huggingface.co/timm/{model}.{tag}",
    )


def _cifar(depth: int, sha256_prefix: str, top1: float) -> Published:
    return Published(
        name=f"cifar/resnet{depth}",
        architecture=f"resnet{depth}",
        source="cifar",
        location=Url(f"{CIFAR_FILES}resnet{depth}-{sha256_prefix}.th", sha256_prefix=sha256_prefix),
        preprocess=Preprocess(32, 32, 3, **IMAGENET_STATISTICS),
        licence="BSD-2-Clause: Yerlan Idelbayev",
        paper=_of_family(PAPERS, "resnet"),
        page="https://github.com/akamaster/pytorch_resnet_cifar10",
        top1=top1,
        classes="cifar10",
    )


def _of_family(table: Mapping[str, T], model: str) -> T:
    return next(value for family, value in table.items() if model.startswith(family))


PUBLISHED: dict[str, Published] = {
    entry.name: entry
    for entry in (
        *(_keras(*row) for row in KERAS),
        *(_torchvision(*row) for row in TORCHVISION),
        *(_cifar(*row) for row in CIFAR),
        *(_timm(model, name, tag, *row) for (model, name), tags in TIMM.items() for tag, row in tags.items()),
    )
}
"""Every entry by name; put your own into it (docs/adding-a-family.md)."""
