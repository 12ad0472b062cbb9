"""Names of networks, presets and ways to see images are checked when they are given, and the nearest name is said."""

import pytest

import tlx
from tlx.convert.tables import table_named, table_of
from tlx.errors import ConfigError
from tlx.models import ModelConfig
from tlx.models.inception_v3 import inception_v3
from tlx.models.mobilenet_v2 import mobilenet_v2
from tlx.models.resnet import cifar_resnet, resnet
from tlx.models.vgg import vgg
from tlx.presets.arch import arch_named
from tlx.presets.catalogue import class_names, published


def model(**options):
    return ModelConfig(**{"architecture": "cnn", "classes": 10, "input_shape": (28, 28, 1), **options})


@pytest.mark.parametrize(
    ("build", "fault"),
    [
        (lambda: model(architecture="resnet5"), "unknown architecture 'resnet5', did you mean 'resnet56'"),
        (lambda: model(pool="flaten"), "unknown pool 'flaten', did you mean 'flatten'"),
        (lambda: model(dtype="float31"), "unknown dtype 'float31', did you mean 'float32'"),
        (lambda: model(until="conv4"), "unknown stage 'conv4', did you mean 'conv3'"),
        (lambda: model(until=""), "unknown stage ''"),
        (lambda: resnet("resnet51"), "unknown variant 'resnet51', did you mean 'resnet50'"),
        (lambda: resnet("resnet50", "kears"), "unknown arrangement 'kears', did you mean 'keras'"),
        (lambda: cifar_resnet(51), r"depth: 51 is not 6 n \+ 2 layers"),
        (lambda: vgg("vgg15"), "unknown variant 'vgg15', did you mean 'vgg1"),
        (lambda: inception_v3("torch"), "unknown arrangement 'torch', did you mean 'torchvision'"),
        (lambda: mobilenet_v2("Keras"), "unknown arrangement 'Keras', did you mean 'keras'"),
        (lambda: tlx.Preprocess(4, 4, 3, "bicubc"), "unknown interpolation 'bicubc', did you mean 'bicubic'"),
        (lambda: tlx.Preprocess(4, 4, 3, channel_order="bgrr"), "unknown channel_order 'bgrr', did you mean 'bgr'"),
        (lambda: tlx.Preprocess(4, 4, 3, resize=4, rounding="near"), "unknown rounding 'near', did you mean 'nearest'"),
        (lambda: tlx.load("cnn-minst"), "did you mean 'cnn-mnist'"),
        (lambda: tlx.load("keras/resnet5"), "did you mean 'keras/resnet50'"),
        (lambda: tlx.load("resnet50"), "did you mean 'keras/resnet50'"),
        (lambda: published("timm/resnet50.a2_in1k"), "did you mean 'timm/resnet50.a1_in1k'"),
        (lambda: arch_named("torchvison/resnet50"), "did you mean 'torchvision/resnet50'"),
        (lambda: table_named("torchvision/resnet5"), "unknown table 'torchvision/resnet5', did you mean"),
        (lambda: table_of("torchvison", "resnet50"), "unknown source 'torchvison', did you mean 'torchvision'"),
        (lambda: table_of("cifar", "resnet50"), "cifar has no network that is arranged as 'resnet50'"),
        (lambda: class_names("imagent"), "unknown list of class names 'imagent', did you mean 'imagenet'"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_one(build, fault):
    with pytest.raises(ConfigError, match=fault):
        build()
