"""Networks that tlx has no table of, known by their names, so that a refusal can say what a file holds."""

import re
from collections.abc import Iterable

STRANGERS = (  # what a name matches, and whose it is; the first counts
    (r"block\d+\.rep\.\d+\.(conv1|pointwise)\.weight", "timm's Xception, which pads otherwise than Keras's"),
    (r"(.*\.)?blocks\.\d+\.attn\.(qkv|proj)\..*", "a vision transformer of timm"),
    (r"(.*\.)?encoder_layer_\d+\.self_attention\..*", "a vision transformer of torchvision"),
    (r"(vit|deit|beit|dinov2)\..*attention.*", "a vision transformer of transformers"),
    (r"(.*\.)?layers\.\d+\.blocks\.\d+\.attn\..*|swin.*", "a Swin transformer"),
    (r"(.*\.)?stages\.\d+\.blocks\.\d+\.(conv_dw|gamma|mlp\.fc1).*|convnext.*", "a ConvNeXt"),
    (r"(.*\.)?blocks\.\d+\.\d+\.se\..*", "an EfficientNet or MobileNet V3 of timm"),
    (r"(.*\.)?_blocks\.\d+\._.*", "an EfficientNet of efficientnet_pytorch"),
    (r"(.*\.)?features\.\d+\.\d+\.block\..*", "an EfficientNet of torchvision"),
    (r"(.*\.)?features\.\d+\.block\..*", "a MobileNet V3 or ConvNeXt of torchvision"),
    (r"block\d[a-z]_(se_|dwconv|expand|project).*", "an EfficientNet of Keras"),
    (r"(.*\.)?features\.denseblock\d.*|pool\d_(bn|conv)/.*", "a DenseNet"),
    (r"conv\d_block\d+_preact_bn/.*", "a ResNet V2 of Keras"),
    (r"conv_(dw|pw)_\d+(_bn)?/.*", "a MobileNet (V1) of Keras"),
    (r"(.*\.)?trunk_output\..*", "a RegNet of torchvision"),
    (r"(.*\.)?features\.\d+\.squeeze\..*", "a SqueezeNet of torchvision"),
    (r"(.*\.)?inception\d[a-e]\.branch.*", "a GoogLeNet of torchvision"),
    (r"(.*\.)?stage\d\.\d+\.branch\d\..*", "a ShuffleNet of torchvision"),
    (r"(.*\.)?layer\d\.\d+\.se\..*", "an SE-ResNet"),
    (r"(.*\.)?conv1\.[036]\.weight", "a ResNet-D of timm, whose stem has three convolutions"),
    (r"(.*\.)?layer\d\.\d+\.shortcut\.[01]\..*", "a ResNet whose shortcuts are called so (kuangliu's pytorch-cifar)"),
    (r"(.*[./])?bert[./](encoder|embeddings)[./].*", "a BERT"),
    (r"visual\.(conv1|transformer|trunk)\..*|vision_model\..*", "an image encoder of CLIP"),
    (r"(.*\.)?backbone\.bottom_up\..*", "a detector of Detectron2"),
    (r"(.*\.)?(backbone\.body|rpn\.head|roi_heads)\..*", "a detector of torchvision"),
    (r"(bbox|decode|rpn|roi|mask)_head\..*", "a model of OpenMMLab"),
    (r"(model\.)+\d+\.(conv|cv1|m\.\d+)\..*", "a YOLO of Ultralytics"),
)


def stranger(names: Iterable[str]) -> str | None:
    """Say whose names these are, where a network without a table has such; None where nobody knows.

    >>> stranger(["cls_token", "blocks.0.attn.qkv.weight"])
    'a vision transformer of timm'
    """
    listed = list(names)
    for pattern, whose in STRANGERS:
        compiled = re.compile(pattern)
        if any(compiled.fullmatch(name) for name in listed):
            return whose
    return None
