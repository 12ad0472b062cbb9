"""Presets: weights, preprocessing, classes, licence and proof together, loaded, converted and saved as one."""

from tlx.presets.bundle import load_bundle, save
from tlx.presets.catalogue import Published, class_names, list_published, published
from tlx.presets.conversion import Converted, convert_weights, export_weights
from tlx.presets.convert_options import ConvertOptions
from tlx.presets.hub import fetch
from tlx.presets.load import PRESETS, list_presets, load
from tlx.presets.own import register_architecture
from tlx.presets.pretrained import Pretrained
from tlx.presets.sentinel import Verdict, check_preprocessing
from tlx.presets.specs import register_input_spec
from tlx.presets.text_catalogue import list_texts
from tlx.presets.vector_base import vector_base
from tlx.presets.vector_catalogue import list_vectors
from tlx.presets.word_base import word_base

__all__ = [
    "PRESETS",
    "ConvertOptions",
    "Converted",
    "Pretrained",
    "Published",
    "Verdict",
    "check_preprocessing",
    "class_names",
    "convert_weights",
    "export_weights",
    "fetch",
    "list_presets",
    "list_published",
    "list_texts",
    "list_vectors",
    "load",
    "load_bundle",
    "published",
    "register_architecture",
    "register_input_spec",
    "save",
    "vector_base",
    "word_base",
]
