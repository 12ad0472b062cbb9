"""Lowerings: how a CPU computes convolutions and pools fastest, for their gradients too."""
