"""The PyTorch libraries whose published models tests compare with."""

import importlib
import os
from types import ModuleType

import pytest


def import_peer(name: str) -> ModuleType:
    """Import torch, torchvision, timm or a module of theirs; skip the test without it, or fail: TLX_REQUIRE_TORCH=1."""
    try:
        _import_torchvision()
        return importlib.import_module(name)
    except ImportError as error:
        if os.environ.get("TLX_REQUIRE_TORCH") == "1":
            pytest.fail(f"{name}: {error}")
        pytest.skip(f"{name} is not installed")


def _import_torchvision() -> None:
    """Import torchvision also where its compiled half is missing, as beside a torch built for another device.

    Its import registers kernels for operators that the compiled half defines; that the operators exist is enough.
    """
    torch = importlib.import_module("torch")
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        torch._tlx_torchvision_operators = library  # they go when it does
        importlib.import_module("torchvision")
