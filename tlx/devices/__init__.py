"""Devices: the processes that train together, what lies where, and how programs are compiled."""

from tlx.devices.compilation_cache import enable_compilation_cache
from tlx.devices.compiler import compiler_options, forward_options, jit
from tlx.devices.hosts import join_hosts
from tlx.devices.parallel import Parallel, Placement

__all__ = [
    "Parallel",
    "Placement",
    "compiler_options",
    "enable_compilation_cache",
    "forward_options",
    "jit",
    "join_hosts",
]
