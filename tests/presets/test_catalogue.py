"""The catalogue says of every published model what its source says, wherever the source is installed."""

import hashlib
import importlib
import inspect
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from peers import import_peer
from PIL import Image

from tlx.errors import ConfigError
from tlx.presets.catalogue import CIFAR, KERAS, TIMM, TORCHVISION, class_names, list_published, published
from tlx.presets.hub import HubFile, Url
from tlx.presets.hub_json import JsonFile
from tlx.presets.hub_preprocess import described_preprocess, difference

ARCHITECTURES = {
    *(f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")),
    *(f"resnet{depth}" for depth in (18, 20, 32, 34, 44, 50, 56, 101, 152)),
    *(f"resnet{depth}_keras" for depth in (50, 101, 152)),
    *("xception", "inception_v3", "inception_v3_keras", "mobilenet_v2", "mobilenet_v2_keras"),
}
RNG = np.random.default_rng(0)
IMAGES = [RNG.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((375, 500), (601, 333), (224, 224))]


def names_of(source: str) -> list[str]:
    return [name for name in list_published() if name.startswith(source)]


def test_every_architecture_has_an_entry_and_every_entry_an_architecture():
    assert {published(name).architecture for name in list_published()} == ARCHITECTURES


def test_no_two_entries_share_a_name_or_a_file():
    names = list_published()
    assert len(names) == len(KERAS) + len(TORCHVISION) + len(CIFAR) + sum(map(len, TIMM.values()))
    assert len({published(name).location for name in names}) == len(names)


@pytest.mark.parametrize("name", list_published())
def test_an_entry_is_whole(name):
    entry = published(name)
    assert entry.name == name
    assert entry.source == name.partition("/")[0]
    for location in (entry.location, entry.location_notop):
        if isinstance(location, Url):
            assert re.fullmatch(r"https://[\w./-]+\.(h5|pth|th)", location.url)
            assert location.checked or "mobilenet_v2" in name  # Keras gives no hash for it
    assert (entry.location_notop is not None) == (entry.source == "keras")
    assert isinstance(entry.location, HubFile) == (entry.source == "timm")
    assert all(address.startswith("https://") for address in (entry.paper, entry.page))
    assert entry.licence
    made = (entry.preprocess.height, entry.preprocess.width, entry.preprocess.channels)
    size = 299 if "ception" in name else 32 if entry.source == "cifar" else 224
    assert made == (size, size, 3)
    assert len(class_names(entry.classes)) == (10 if entry.source == "cifar" else 1000)


@pytest.mark.parametrize(
    "name", ["torchvision/resnet50", "torchvision/resnet50.v1", "torchvision/resnet50.IMAGENET1K_V1"]
)
def test_the_plain_name_is_the_papers_recipe(name):
    assert published(name) is published("torchvision/resnet50.imagenet1k_v1")


def test_a_name_that_is_none_gets_the_nearest():
    for wrong, near in (
        ("keras/vgg-16", "keras/vgg16"),
        ("torchvision/resnet18.v2", "torchvision/resnet18.imagenet1k_v1"),
        ("timm/resnet50.a1", "timm/resnet50.a1_in1k"),
        ("resnet50", "keras/resnet50"),
    ):
        with pytest.raises(ConfigError, match=re.escape(near)):
            published(wrong)
    with pytest.raises(ConfigError, match="such as keras/vgg16"):
        published("?")


def test_class_names_are_imagenets(shared_data):
    names = class_names()
    assert len(set(names)) == 1000
    assert not [name for name in names if not name or name != name.strip()]
    labels = json.loads((shared_data / "imagenet50" / "labels.json").read_text())
    for file, index in labels.items():
        assert names[index].lower() == file[10:-5].replace("_", " ").lower()
    with pytest.raises(ConfigError, match="imagenet"):
        class_names("imagenet21k")


def test_the_catalogue_is_light():
    program = (
        "import sys; from tlx.presets.catalogue import published; published('keras/vgg16');"
        "print([m for m in ('pooch', 'requests', 'huggingface_hub', 'torch', 'PIL') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_keras_mobilenet_sees_the_images_of_the_reference(shared_data):
    folder = shared_data / "imagenet50"
    with np.load(folder / "mobilenet_v2_reference.npz") as reference:
        names, expected = reference["names"].tolist(), reference["pixels_sha"].tobytes()
    pixels = replace(published("keras/mobilenet_v2").preprocess, scale=1.0, mean=())
    total = hashlib.sha256()
    for name in names:
        with Image.open(folder / name) as file:
            total.update(pixels(np.asarray(file.convert("RGB"))[None]).astype(np.uint8).tobytes())
    assert total.digest() == expected


@pytest.mark.parametrize("name", names_of("keras/"))
def test_keras_files_hashes_and_scaling(name, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    pytest.importorskip("keras")
    entry, model = published(name), name.removeprefix("keras/")
    module = importlib.import_module("keras.src.applications." + re.sub(r"resnet\d+", "resnet", model))
    source = inspect.getsource(module)
    if model.startswith("resnet"):
        assert (entry.location.md5, entry.location_notop.md5) == module.WEIGHTS_HASHES[model]
        assert entry.location.url == f"{module.BASE_WEIGHTS_PATH}{model}_weights_tf_dim_ordering_tf_kernels.h5"
        assert entry.location_notop.url == entry.location.url.replace(".h5", "_notop.h5")
    elif model == "mobilenet_v2":
        assert entry.location.url.startswith(module.BASE_WEIGHT_PATH)
        assert "file_hash" not in source
    else:
        assert (entry.location.url, entry.location_notop.url) == (module.WEIGHTS_PATH, module.WEIGHTS_PATH_NO_TOP)
        assert re.findall(r'file_hash="(\w+)"', source) == [entry.location.md5, entry.location_notop.md5]
    size = entry.preprocess.height
    assert f"default_size={size}" in source or (model, size) == ("mobilenet_v2", 224)
    cropped = replace(entry.preprocess, scale=1.0, mean=(), channel_order="rgb")(IMAGES[0][None])
    assert np.abs(entry.preprocess(IMAGES[0][None]) - module.preprocess_input(cropped.copy())).max() <= 1e-6


@pytest.mark.parametrize("name", names_of("torchvision/"))
def test_torchvisions_weights(name):
    models = import_peer("torchvision.models")
    entry = published(name)
    weights = models.get_model_weights(entry.architecture)[name.partition(".")[2].upper()]
    assert entry.location.url == weights.url
    assert entry.top1 == weights.meta["_metrics"]["ImageNet-1K"]["acc@1"]
    assert class_names(entry.classes) == tuple(weights.meta["categories"])
    transforms = weights.transforms()
    for image in IMAGES:
        expected = transforms(Image.fromarray(image))
        if entry.architecture == "inception_v3":
            expected = models.Inception3._transform_input(SimpleInception, expected[None])[0]
        assert np.abs(entry.preprocess(image[None])[0] - expected.numpy().transpose(1, 2, 0)).max() <= 1e-6


class SimpleInception:
    """What torchvision's Inception V3 is when it is built with weights, as far as its input goes."""

    transform_input = True


def test_torchvisions_classifiers_are_all_in():
    models = import_peer("torchvision.models")
    architectures = {row[0] for row in TORCHVISION}
    offered = [weights for name in architectures for weights in models.get_model_weights(name)]
    assert len([weights for weights in offered if weights.meta["categories"]]) == len(TORCHVISION)


@pytest.mark.slow
@pytest.mark.parametrize("name", names_of("timm/"))
def test_timms_configuration(name):
    timm, data = import_peer("timm"), import_peer("timm.data")
    entry = published(name)
    cfg = timm.get_pretrained_cfg(name.removeprefix("timm/"))
    assert (entry.location.repo, entry.licence) == (cfg.hf_hub_id, cfg.license)
    assert cfg.hf_hub_filename in (None, entry.location.filename)
    assert (cfg.num_classes, cfg.crop_mode) == (1000, "center")
    hub = JsonFile(Path("config.json"), {"pretrained_cfg": json.loads(json.dumps(cfg.to_dict(remove_null=True)))})
    assert difference(described_preprocess(hub).value, entry.preprocess) is None  # as timm writes it to hubs
    config = data.resolve_data_config(pretrained_cfg=cfg.to_dict())
    transform = data.create_transform(**config, is_training=False)
    for image in IMAGES:
        expected = transform(Image.fromarray(image)).numpy().transpose(1, 2, 0)
        assert np.abs(entry.preprocess(image[None])[0] - expected).max() <= 1e-6


def convolutions(model) -> list[tuple]:
    from torch import nn

    norms = {module.eps for module in model.modules() if isinstance(module, nn.BatchNorm2d)}
    return [norms] + [
        (module.in_channels, module.out_channels, module.kernel_size, module.stride, module.padding, module.groups)
        for module in model.modules()
        if isinstance(module, nn.Conv2d)
    ]


@pytest.mark.parametrize(("model", "architecture"), [("mobilenetv2_100", "mobilenet_v2"), ("resnet18", "resnet18")])
def test_timms_networks_are_torchvisions(model, architecture):
    timm, models = import_peer("timm"), import_peer("torchvision.models")
    assert (model, architecture) in TIMM
    assert convolutions(timm.create_model(model)) == convolutions(models.get_model(architecture, weights=None))
