"""Lowerings: the operations that XLA compiles badly for a CPU, as others that it compiles well, behind one switch."""

from tlx.models._lowerings.choice import lowerings

__all__ = ["lowerings"]
