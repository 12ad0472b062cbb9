"""Time feature extraction, the forward pass of published networks, beside Keras and PyTorch.

    python benchmarks/forward.py [--networks resnet50 vgg16] [--quick] [--json]

The base alone on random images that are in memory already, in inference, float32 (`benchmarks/networks.py` says how
each program is built). Each program is a process, asked for a batch in turns; a figure is the median, `ratio` the
fastest peer's time over tlx's. `limit` is what the FLOPs of the network, as it is written, would allow at the speed of
products of large matrices.
"""

import sys

import tyro
from networks import Compared, compare

if __name__ == "__main__":
    compare("forward", tyro.cli(Compared, args=sys.argv[1:]))
