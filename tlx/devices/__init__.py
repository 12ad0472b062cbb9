"""Devices: the processes that train together, what lies where, and how programs are compiled."""

from tlx.devices.compilation_cache import enable_compilation_cache
from tlx.devices.compiler import compiler_options, forward_options, jit
from tlx.devices.hosts import initialize_distributed
from tlx.devices.parallel import Devices, Placement

__all__ = [
    "Devices",
    "Placement",
    "compiler_options",
    "enable_compilation_cache",
    "forward_options",
    "initialize_distributed",
    "jit",
]
