"""Presets: weights, preprocessing, classes, licence and proof together, loaded, converted and saved as one."""

from tlx.presets.bundle import load_bundle, save
from tlx.presets.catalogue import Published, class_names, published, published_names
from tlx.presets.conversion import Converted, convert_weights, export_weights
from tlx.presets.convert_options import ConvertOptions
from tlx.presets.hub import fetch
from tlx.presets.load import PRESETS, load, preset_names
from tlx.presets.own import register_architecture
from tlx.presets.pretrained import Pretrained
from tlx.presets.sentinel import Verdict, check_inputs
from tlx.presets.specs import register_input_spec
from tlx.presets.vector_base import vector_base

__all__ = [
    "PRESETS",
    "ConvertOptions",
    "Converted",
    "Pretrained",
    "Published",
    "Verdict",
    "check_inputs",
    "class_names",
    "convert_weights",
    "export_weights",
    "fetch",
    "load",
    "load_bundle",
    "preset_names",
    "published",
    "published_names",
    "register_architecture",
    "register_input_spec",
    "save",
    "vector_base",
]
