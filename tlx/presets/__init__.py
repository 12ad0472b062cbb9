"""Presets: weights, preprocessing, classes, licence and proof together, loaded and saved as one."""

from tlx.presets.bundle import load_bundle, save
from tlx.presets.load import PRESETS, load, preset_names
from tlx.presets.pretrained import Pretrained

__all__ = ["PRESETS", "Pretrained", "load", "load_bundle", "preset_names", "save"]
